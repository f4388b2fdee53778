//! The main job, on the command line.

use insta::assert_snapshot;
use palan_core::MediaType;
use palan_testkit::image::{ImageSpec, layer};

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
    let ran =
        context.run(&["rebase", "@@app:1", "--old_base", "@@base:old", "--new_base", "@@base:new"]).ok();
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    rebased [HOST]/app:1 for 2 platforms: 2 blobs moved (1.74 KiB), 3 blobs mounted or linked, 1 blob already there
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
    rebased [HOST]/app:1 for 2 platforms: 2 blobs moved (1.74 KiB), 4 blobs mounted or linked
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
    image:  [HOST]/app:1 is [APP]
    result: [HOST]/app:1 would be sha256:…

    linux/amd64
      layers:   2 of the old base become 2 of the new base, 1 of the image's own stay
      old base: [HOST]/base:old (sha256:…)
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…

    linux/arm64
      layers:   2 of the old base become 2 of the new base, 1 of the image's own stay
      old base: [HOST]/base:old (sha256:…)
      new base: [HOST]/base:new (sha256:…)
      manifest: sha256:… becomes sha256:…

    --- stderr
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
    hint: name it with --old-base
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
    rebased [HOST]/hinted:1 for 1 platform: 1 blob moved (840 B), 2 blobs mounted or linked, 1 blob already there
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
    rebased [HOST]/app:1 for 1 platform: 1 blob moved (891 B), 2 blobs mounted or linked, 1 blob already there
    ");
    let app = families().app;
    let same = context.run(&["digest", "@@app:1", "--platform", "linux/amd64"]).ok().text();
    assert_eq!(same, app.image("linux/amd64").unwrap().digest().to_string());
    let changed = context.run(&["digest", "@@app:1", "--platform", "linux/arm64"]).ok().text();
    assert_ne!(changed, app.image("linux/arm64").unwrap().digest().to_string());
}
