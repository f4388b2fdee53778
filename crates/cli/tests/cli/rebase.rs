//! The main job, on the command line.

use insta::assert_snapshot;
use palan_core::MediaType;
use palan_testkit::image::{ImageSpec, LayerSpec, layer};

use crate::{TestContext, families, family};

/// `base:old`, `base:new` and `app:1`, for two platforms.
fn context() -> TestContext {
    let (context, all) = (TestContext::new(), families());
    context.name(context.push("base:old", &all.old.graph()), "OLD");
    context.name(context.push("base:new", &all.new.graph()), "NEW");
    context.name(context.push("app:1", &all.app.graph()), "APP");
    context
}

#[test]
fn an_index_is_rebased_in_place() {
    let context = context();
    let before = context.requests();
    let ran = context
        .run(&["rebase", "@@app:1", "--old_base", "@@base:old", "--new_base", "@@base:new", "--check=none"])
        .ok();
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    rebased [HOST]/app:1 for 2 platforms (not assessed): 2 blobs moved (1.74 KiB), 3 blobs mounted or linked, 1 blob already there
    ");
    let asked = context.requests().split_off(before.len());
    let [app, new] = [families().app, families().new].map(|index| index.graph());
    for (layer, _) in
        app.blobs.iter().chain(&new.blobs).filter(|(d, _)| d.media_type == MediaType::OCI_LAYER_GZIP)
    {
        let get = |line: &&String| line.starts_with("GET ") && line.contains(&layer.digest.hex());
        assert_eq!(asked.iter().find(get), None, "no layer moves");
    }
    assert!(asked.iter().filter(|line| line.ends_with(" /v2/")).count() <= 1, "{asked:#?}");
    let digest = context.run(&["digest", "--full-ref", "@@app:1"]).ok().text();
    assert_eq!(digest, ran.text());
    context.run(&["validate", "@@app:1"]).ok();
    let again =
        context.run(&["rebase", "@@app:1", "--old-base", "@@base:new", "--new-base", "@@base:new"]).ok();
    assert_snapshot!(again, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    nothing to do: [HOST]/app:1 stands on the new base already
    ");
}

#[test]
fn the_result_may_go_elsewhere() {
    let context = context();
    let words =
        ["rebase", "@@app:1", "--old-base", "@@base:old", "--new-base", "@@base:new", "-t", "@@out:2"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    [HOST]/out@sha256:…

    --- stderr
    looked into 7 layers: 810 B read
    rebased [HOST]/app:1 for 2 platforms (clean): 2 blobs moved (1.74 KiB), 4 blobs mounted or linked
    ");
    assert_eq!(context.run(&["digest", "@@app:1"]).ok().text(), families().app.digest().to_string());
    context.run(&["validate", "@@out:2"]).ok();
    let words = [
        "rebase",
        "--original",
        "@@app:1",
        "--old_base=@@base:old",
        "--new_base=@@base:new",
        "--rebased",
        "@@out:2",
    ];
    assert_eq!(context.run(&words).ok().text(), context.run(&["digest", "--full-ref", "@@out:2"]).text());
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    let context = context();
    let words = ["rebase", "@@app:1", "--old-base", "@@base:old", "--new-base", "@@base:new", "--dry-run"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    image:   [HOST]/app:1 is [APP]
    result:  [HOST]/app:1 would be sha256:…
    verdict: clean

    linux/amd64: clean
      layers:   2 of the old base become 2 of the new base, 1 of the image's own stay
      old base: [HOST]/base:old (sha256:…)
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…
      content:  45 B in 3 files become 45 B in 3
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the new base is of another distribution: new after old

    linux/arm64: clean
      layers:   2 of the old base become 2 of the new base, 1 of the image's own stay
      old base: [HOST]/base:old (sha256:…)
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…
      content:  45 B in 3 files become 45 B in 3
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the new base is of another distribution: new after old

    --- stderr
    looked into 7 layers: 810 B read
    ");
    assert_eq!(context.run(&["digest", "@@app:1"]).ok().text(), families().app.digest().to_string());
    let plan = context.run(&[words.as_slice(), &["--format", "json"]].concat()).ok();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["platforms"][1]["platform"], "linux/arm64");
    assert_eq!(plan["platforms"][1]["boundary"], 2);
    let done = context.run(&[&words[..6], &["--format", "json"]].concat()).ok();
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["new_digest"], plan["new_digest"]);
    assert_eq!(done["outcome"]["pushed"], true);
}

#[test]
fn what_was_not_built_on_the_base_is_refused() {
    let context = context();
    let stranger = ImageSpec::new("linux/amd64").layer(layer(&[("etc/os-release", b"ID=other\n")])).build();
    let digest = context.push("stranger:1", &stranger.graph());
    let words = ["rebase", "@@stranger:1", "--old-base", "@@base:old", "--new-base", "@@base:new"];
    assert_snapshot!(context.run(&words), @"
    exit: 5
    --- stdout

    --- stderr
    error: [HOST]/stranger@sha256:… (linux/amd64) is not based on [HOST]/base:old: layer 1 of the image has diff ID sha256:…, layer 1 of the base has sha256:…
    hint: give the base that the image was really built on with --old-base, by digest if its tag has moved since
    ");
    assert_eq!(context.run(&["digest", "@@stranger:1"]).ok().text(), digest.to_string());
}

#[test]
fn bases_that_nobody_names() {
    let context = context();
    assert_snapshot!(context.run(&["rebase", "@@app:1"]), @"
    exit: 6
    --- stdout

    --- stderr
    error: the new base of [HOST]/app@sha256:… is not known: it has no org.opencontainers.image.base.name annotation or label
    hint: name it with --new-base
    ");
    assert_snapshot!(context.run(&["rebase", "@@app:1", "--new-base", "@@base:new"]), @"
    exit: 6
    --- stdout

    --- stderr
    error: the old base of [HOST]/app@sha256:… is not known: it has no org.opencontainers.image.base.digest annotation or label
    hint: name it with --old-base, or where it ends with --boundary; `palan base index add` makes bases known
    ");
    assert_snapshot!(context.run(&["rebase", "@@app:1", "--old-base", "@@base:gone", "--new-base", "@@base:new"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: gone was not found in [HOST]/base
    ");
    assert_snapshot!(context.run(&["rebase"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      <IMAGE>

    Usage: palan rebase <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["rebase", "@@app:1", "@@app:2"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: unexpected argument '[HOST]/app:2' found

    Usage: palan rebase [OPTIONS] [IMAGE]

    For more information, try '--help'.
    ");
}

#[test]
fn bases_are_found_by_annotations() {
    let context = context();
    let family = family("linux/amd64");
    let app = ImageSpec::new("linux/amd64").on(&family.old).layer(layer(&[("app/run", b"#!/bin/sh\n")]));
    let app = app
        .annotation("org.opencontainers.image.base.name", format!("{}/base:new", context.host()))
        .annotation("org.opencontainers.image.base.digest", family.old.digest().to_string());
    context.push("hinted:1", &app.build().graph());
    assert_snapshot!(context.run(&["rebase", "@@hinted:1"]), @"
    exit: 0
    --- stdout
    [HOST]/hinted@sha256:…

    --- stderr
    looked into 5 layers: 568 B read
    rebased [HOST]/hinted:1 for 1 platform (clean): 1 blob moved (840 B), 2 blobs mounted or linked, 1 blob already there
    ");
    context.run(&["validate", "@@hinted:1"]).ok();
}

#[test]
fn one_platform_is_replaced_inside_the_index() {
    let context = context();
    let words = [
        "rebase",
        "@@app:1",
        "--old-base",
        "@@base:old",
        "--new-base",
        "@@base:new",
        "--platform",
        "linux/arm64",
    ];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    looked into 5 layers: 566 B read
    rebased [HOST]/app:1 for 1 platform (clean): 1 blob moved (891 B), 2 blobs mounted or linked, 1 blob already there
    ");
    let app = families().app;
    let same = context.run(&["digest", "@@app:1", "--platform", "linux/amd64"]).ok().text();
    assert_eq!(same, app.image("linux/amd64").unwrap().digest().to_string());
    let changed = context.run(&["digest", "@@app:1", "--platform", "linux/arm64"]).ok().text();
    assert_ne!(changed, app.image("linux/arm64").unwrap().digest().to_string());
}

/// `base:old`, `base:new`, and `app:NAME` with one layer of its own for each kind of verdict.
fn graded() -> TestContext {
    let (context, all) = (TestContext::new(), family("linux/amd64"));
    context.push("base:old", &all.old.graph());
    context.push("base:new", &all.new.graph());
    let link = LayerSpec::new().symlink("app/current", "/usr/lib/old-only").build();
    let old = ImageSpec::new("linux/amd64").on(&all.old).layer(layer(&[("usr/lib/old-only", b"x")])).build();
    context.push("base:link", &old.graph());
    for (name, base, layer) in [
        ("clean", &all.old, layer(&[("app/run", b"1")])),
        ("shadowed", &all.old, layer(&[("usr/lib/runtime", b"my own build")])),
        ("broken", &old, link),
    ] {
        context.push(
            &format!("app:{name}"),
            &ImageSpec::new("linux/amd64").on(base).layer(layer).build().graph(),
        );
    }
    context
}

#[test]
fn the_verdict_is_explained() {
    let context = graded();
    let words =
        ["rebase", "@@app:shadowed", "--old-base", "@@base:old", "--new-base", "@@base:new", "--explain"];
    assert_snapshot!(context.run(&words), @r#"
    exit: 0
    --- stdout
    image:   [HOST]/app:shadowed is sha256:…
    result:  [HOST]/app:shadowed would be sha256:…
    verdict: shadowed

    linux/amd64: shadowed
      layers:   2 of the old base become 2 of the new base, 1 of the image's own stay
      old base: [HOST]/base:old (sha256:…)
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…
      content:  19 B in 2 files become 19 B in 2
      - shadowed: /usr/lib/runtime is the application's, and the new base changed its own
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the config starts "/bin/sh", which the result does not have
      - note: the new base is of another distribution: new after old
      shadow        warn          1 finding, the worst is shadowed
      reach         pass          no build step depends on what the new base changed elsewhere
      stale-copies  pass          no own file is a copy of one that the new base changed
      build-steps   pass          no build step names what the new base changed
      elf           pass          0 own ELF files find what they found before
      entrypoint    pass          what the config names is there, or was not there before either
      runtime       pass          no language runtime was found
      distribution  warn          the new base is of another distribution: new after old
      libc          pass          the bases have no C library
      platform      pass          both are for amd64/v1
      packages      not assessed  the bases have no package database that could be read
      accounts      not assessed  there is no etc/passwd

    --- stderr
    looked into 5 layers: 576 B read
    "#);
    let json = context.run(&[words.as_slice(), &["--format", "json"]].concat()).ok();
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["verdict"], "shadowed");
    let finding = &report["platforms"][0]["assessment"]["findings"][0];
    assert_eq!((&finding["class"], &finding["path"]), (&"file".into(), &"usr/lib/runtime".into()));
    assert!(json.stderr.contains("all known from before"), "{json}");
    assert_eq!(context.run(&["ls", "@@app"]).ok().text().lines().count(), 3);
}

#[test]
fn a_result_that_is_worth_too_little_is_not_written() {
    let context = graded();
    let rebase = |name: &str, more: &[&str]| {
        let base = if name == "broken" { "@@base:link" } else { "@@base:old" };
        let image = format!("@@app:{name}");
        let words = ["rebase", &image, "--old-base", base, "--new-base", "@@base:new", "-t", "@@out:1"];
        context.run(&[words.as_slice(), more].concat())
    };
    assert_snapshot!(rebase("broken", &[]), @r#"
    exit: 11
    --- stdout

    --- stderr
    looked into 6 layers: 677 B read
    warning: linux/amd64: broken
      broken: /app/current is a link to "/usr/lib/old-only", which the new base does not have
    error: the result for [HOST]/app:broken is refused: it would be broken
    hint: look at what was found (--explain), or accept it by name: --accept broken
    "#);
    assert_snapshot!(rebase("shadowed", &["--fail-on", "shadowed"]), @"
    exit: 11
    --- stdout

    --- stderr
    looked into 5 layers: 112 B read, 4 known from before
    warning: linux/amd64: shadowed
      shadowed: /usr/lib/runtime is the application's, and the new base changed its own
    error: the result for [HOST]/app:shadowed is refused: it would be shadowed
    hint: look at what was found (--explain), or accept it by name: --accept shadowed
    ");
    assert_eq!(rebase("broken", &["--dry-run"]).code, Some(11));
    assert_eq!(rebase("broken", &["--accept", "shadowed"]).code, Some(11));
    assert_eq!(context.run(&["digest", "@@out:1"]).code, Some(3), "nothing was written");
    assert_snapshot!(rebase("broken", &["--accept", "broken"]), @r#"
    exit: 0
    --- stdout
    [HOST]/out@sha256:…

    --- stderr
    looked into 6 layers, all known from before
    warning: linux/amd64: broken
      broken: /app/current is a link to "/usr/lib/old-only", which the new base does not have
    rebased [HOST]/app:broken for 1 platform (broken): 1 blob moved (840 B), 3 blobs mounted or linked
    "#);
    rebase("clean", &["--fail-on", "shadowed"]).ok();
    assert_snapshot!(rebase("clean", &["--fail-on", "shadowed", "--check", "metadata"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --accept and --fail-on need --check content: without it there is no verdict
    ");
    assert_snapshot!(rebase("clean", &["--accept", "good"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'good' for '--accept <VERDICT>': "good" is no grade (clean, shadowed, db-shadowed, broken)

    For more information, try '--help'.
    "#);
}

#[test]
fn the_cut_may_be_anywhere() {
    let context = graded();
    let rebase = |more: &[&str]| {
        let words = ["rebase", "@@app:clean", "--new-base", "@@base:new", "-t", "@@out:1"];
        context.run(&[words.as_slice(), more].concat())
    };
    assert_snapshot!(rebase(&[]), @"
    exit: 6
    --- stdout

    --- stderr
    error: the old base of [HOST]/app@sha256:… is not known: it has no org.opencontainers.image.base.digest annotation or label
    hint: name it with --old-base, or where it ends with --boundary; `palan base index add` makes bases known
    ");
    assert_snapshot!(rebase(&["--boundary", "2"]), @"
    exit: 0
    --- stdout
    [HOST]/out@sha256:…

    --- stderr
    looked into 5 layers: 556 B read
    warning: linux/amd64: shadowed
      config: the old base's config is not known, so nothing tells what the image inherited: its config is kept
    rebased [HOST]/app:clean for 1 platform (shadowed): 1 blob moved (932 B), 3 blobs mounted or linked
    ");
    assert_snapshot!(rebase(&["--boundary", "7"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app@sha256:…: there is no layer 7, the image has 3
    hint: palan inspect [HOST]/app@sha256:… shows the layers; they are counted from 1
    ");
    assert_snapshot!(rebase(&["--replace", "2..2", "--dry-run"]), @r#"
    exit: 0
    --- stdout
    image:   [HOST]/app:clean is sha256:…
    result:  [HOST]/out:1 would be sha256:…
    verdict: shadowed

    linux/amd64: shadowed
      layers:   1 of the old base become 2 of the new base, 1 of the image's own stay
      old base: layers 2 to 2 of 3 (digest unknown), known by the layers given: 2..2
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…
      config:   the old base's config is not known, so nothing tells what the image inherited: its config is kept
      content:  36 B in 3 files become 36 B in 3
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the config starts "/bin/sh", which the result does not have
      - note: the new base is of another distribution: new after old

    --- stderr
    looked into 5 layers, all known from before
    "#);
    assert_eq!(rebase(&["--replace", "2", "--boundary", "2"]).code, Some(2));
    context.run(&["validate", "@@out:1"]).ok();
}

#[test]
fn a_statement_goes_with_the_result() {
    let context = graded();
    let words = ["rebase", "@@app:clean", "--old-base", "@@base:old", "--new-base", "@@base:new", "--attest"];
    context.run(&words).ok();
    let tree = context.run(&["tree", "@@app:clean"]).ok().text();
    assert!(tree.contains("application/vnd.in-toto+json"), "{tree}");
}

#[test]
fn the_time_of_creation_may_be_given() {
    let context = graded();
    let words = ["rebase", "@@app:clean", "--old-base", "@@base:old", "--new-base", "@@base:new"];
    let bad = context.run_with(&words, &[("SOURCE_DATE_EPOCH", "yesterday".as_ref())]);
    assert_eq!(bad.code, Some(2), "{bad}");
    context.run_with(&words, &[("SOURCE_DATE_EPOCH", "1700000000".as_ref())]).ok();
    let config = context.run(&["config", "@@app:clean"]).ok().text();
    assert!(config.contains("\"created\":\"2023-11-14T22:13:20Z\""), "{config}");
}
