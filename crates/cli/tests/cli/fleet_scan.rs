//! Fleets are found, and their sources put on other bases.

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, layer};

use crate::{TestContext, context::Ran, family};

const NAME: &str = "org.opencontainers.image.base.name";

/// `base:1`, which has moved on; `mid:1` on it; `api:1` and `web:1` on that; `old:1`, which says nothing.
fn context() -> TestContext {
    let (context, family) = (TestContext::new(), family("linux/amd64"));
    context.push("base:1", &family.old.graph());
    context.push("base:2", &family.new.graph());
    let base = format!("{}/base:1", context.host());
    let on = |base| ImageSpec::new("linux/amd64").on(base).created("2026-01-02T03:04:05Z");
    let mid = on(&family.old).layer(layer(&[("usr/lib/mid", b"1")])).annotation(NAME, &base).build();
    context.push("team/mid:1", &mid.graph());
    for name in ["api", "web"] {
        let app = on(&mid).layer(layer(&[("app/run", name.as_bytes())]));
        context.push(&format!("team/{name}:1"), &app.build().graph());
    }
    let old = ImageSpec::new("linux/amd64").layer(layer(&[("app/run", b"old")])).build();
    context.push("team/old:1", &old.graph());
    context
}

/// Hosts have ports of different widths, and images name them: tables with one space between columns, and no digits.
fn narrow(ran: &Ran) -> String {
    let word = |word: &str| match word.starts_with("sha256:") {
        true => "sha256:…".to_owned(),
        false => word.to_owned(),
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    ran.to_string().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn images_are_grouped_by_base() {
    let context = context();
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*"])), @"
    exit: 0
    --- stdout
    BASE IMAGE PLATFORMS EVIDENCE STATUS BEHIND CREATED BELOW DIGEST BASE DIGEST
    [HOST]/team/mid:1 [HOST]/team/api:1 linux/amd64 fleet current 2026-01-02 sha256:… sha256:…
    [HOST]/team/mid:1 [HOST]/team/web:1 linux/amd64 fleet current 2026-01-02 sha256:… sha256:…

    [HOST]/base:1 [HOST]/team/mid:1 linux/amd64 manifest-annotation newer-tag 1 (2) 2026-01-02 2 sha256:… sha256:…

    unknown [HOST]/team/old:1 linux/amd64 unknown 2025-01-01 sha256:…

    --- stderr
    4 images on 2 bases
    ");
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", "@@base:1"])), @"
    exit: 0
    --- stdout
    BASE IMAGE PLATFORMS EVIDENCE STATUS BEHIND CREATED BELOW DIGEST BASE DIGEST
    [HOST]/team/mid:1 [HOST]/team/api:1 linux/amd64 fleet current 2026-01-02 sha256:… sha256:…
    [HOST]/team/mid:1 [HOST]/team/web:1 linux/amd64 fleet current 2026-01-02 sha256:… sha256:…

    [HOST]/base:1 [HOST]/team/mid:1 linux/amd64 manifest-annotation newer-tag 1 (2) 2026-01-02 2 sha256:… sha256:…

    --- stderr
    3 images on 2 bases
    ");
    let ran = context.run(&["fleet", "scan", "@@team/*", "--on", "@@base:2"]).ok();
    assert!(ran.to_string().contains("note: none of 4 images stands on"), "{ran}");
}

#[test]
fn what_is_not_known_of_who_stands_on_a_base_is_said() {
    let context = context();
    let other = family("linux/amd64").new;
    context.push("other:1", &other.graph());
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", "@@other:1"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: it is not known of 3 images whether [HOST]/other:1 is below: [HOST]/team/api:1, [HOST]/team/mid:1, [HOST]/team/web:1
    note: with the base's digest (NAME@sha256:…) layers are compared, and no doubt is left
    0 images on 0 bases
    ");
    let by_digest = format!("@@other@{}", other.digest());
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", &by_digest])), @"
    exit: 0
    --- stdout

    --- stderr
    note: none of 4 images stands on [HOST]/other@sha256:…
    0 images on 0 bases
    ");
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", "@@gone:1"])), @"
    exit: 3
    --- stdout

    --- stderr
    warning: [HOST]/gone:1 cannot be compared with images, only its name: 1 was not found in [HOST]/gone
    0 images on 0 bases
    ");
}

#[test]
fn lists_and_manifests_name_images_and_what_fails_is_missed() {
    let context = context();
    let host = context.host();
    context.write("list", format!("{host}/team/api:1 # ours\n{host}/team/gone:1\n"));
    context.write("pod.yaml", format!("spec:\n  containers:\n  - image: {host}/team/api:1\n"));
    let words = ["fleet", "scan", "--from", "list", "--manifests", "pod.yaml", "--format", "json"];
    let ran = context.run(&[&words[..], &["-o", "report.json"]].concat());
    assert_snapshot!(ran, @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/gone:1 (list:2): 1 was not found in [HOST]/team/gone
    1 image on 0 bases, 1 missed
    ");
    let report = std::fs::read_to_string(context.path("report.json")).unwrap();
    assert_snapshot!(context.filter(&report), @r#"
    {
      "schema": "palan.fleet.inventory/v1",
      "images": [
        {
          "image": "[HOST]/team/api:1",
          "digest": "sha256:…",
          "named_in": [
            "list:1",
            "pod.yaml:3"
          ],
          "created": "2026-01-02T03:04:05Z",
          "below": 0,
          "platforms": [
            {
              "platform": "linux/amd64",
              "digest": "sha256:…",
              "status": "unknown",
              "versions_behind": 0
            }
          ]
        }
      ],
      "missed": [
        {
          "image": "[HOST]/team/gone:1",
          "named_in": [
            "list:2"
          ],
          "reason": "1 was not found in [HOST]/team/gone"
        }
      ]
    }
    "#);
    let ran = context.run_input(&["fleet", "scan", "--from", "-"], format!("{host}/team/web:1\n").as_bytes());
    assert_eq!(ran.code, Some(0), "{ran}");
    let ran = context.run_input(&["fleet", "scan", "--from", "-"], b"a:1\nB:1\n");
    assert_snapshot!(ran, @r#"
    exit: 2
    --- stdout

    --- stderr
    error: stdin, line 2: invalid reference "B:1": repository (at position 0): 'B' is upper case, repository names are lower case
    "#);
}

#[test]
fn settings_are_written_and_read_again() {
    let context = context();
    assert_snapshot!(context.run(&["fleet", "scan"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read fleet.toml
      caused by: No such file or directory (os error 2)
    hint: palan fleet init writes one
    ");
    assert_snapshot!(context.run(&["fleet", "init"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: no images are named
    hint: palan fleet init 'ghcr.io/org/*:1.*', or --manifests FOLDER
    ");
    assert_snapshot!(context.run(&["fleet", "init", "@@team/*"]), @"
    exit: 0
    --- stdout
    fleet.toml

    --- stderr
    4 images on 2 bases
    ");
    let text = std::fs::read_to_string(context.path("fleet.toml")).unwrap();
    // What would be written is what was written, whether there is such a file or not.
    let would = context.run(&["fleet", "init", "@@team/*", "--dry-run"]).ok();
    assert_eq!(would.text(), text.trim_end());
    assert_eq!(would.stderr.trim_end(), "4 images on 2 bases");
    assert_snapshot!(context.filter(&text), @r##"
    # What becomes of a fleet of images. `palan fleet plan` reads this file, and writes nothing but a plan.
    # Lines that begin with "#" and a key show what could be said; each key is explained where it comes first.
    # how many images are worked on at the same time, also when the plan is applied, promoted and given back; `--at-once` counts before it; default: 16
    # jobs = 4
    # how many requests at once to each registry that has no number of its own; those that carry content are counted apart
    # requests = 16

    # Where the images are named.
    [images]
    # images by name; the tag is what is moved
    # references = ["ghcr.io/org/api:1"]
    # files with names separated by white space, `#` begins a comment; or what `kubectl get pods -A -o json` prints
    # files = ["images.txt"]
    # Kubernetes manifests, kustomizations, Compose files and Helm values, or folders of them: `*.yaml` and `*.yml`
    # manifests = ["deploy"]
    # repositories and patterns of tags: `*` for any characters, `?` for one; wildcards in the name ask for the registry's catalog
    repositories = [
        "[HOST]/team/*",
    ]
    # repositories and patterns of tags that are left out
    # exclude = ["ghcr.io/org/old"]

    # [HOST]/team/mid:1 is an image of the fleet itself: 2 images on it

    # 1 image on this base; the newest tag like it is 2.
    [[base]]
    # images whose base has such a name; the first rule that fits counts
    from = "[HOST]/base:1"
    # of these only what stands on this manifest or index
    # digest = "sha256:…"
    # what takes its place; without this, `newest` and `semver`: what the old base's tag stands for now
    # to = "[HOST]/base:2"
    # what takes its place: the highest version among the tags that match
    # newest = "13*"
    # what takes its place: the highest version in a range
    # semver = ">=17, <18"

    # How tags are named.
    [tags]
    # where results are pushed to be tested: `{tag}` is the image's, `{old}` and `{new}` are digits of digests, `{base}` is the new base's tag
    # candidate = "{tag}-palan-{new}"
    # what keeps the old image when the tag is moved
    # backup = "{tag}-before-{new}"

    # What a result must pass.
    [gates]
    # the worst verdict that is accepted: `clean`, `shadowed`, `db-shadowed`, `broken`
    accept = "clean"
    # whether results that were not assessed are accepted
    # accept-unassessed = false
    # by how many percent the layers may grow, compressed, all platforms together
    # max-growth-percent = 20
    # a program and its arguments, run for each candidate; the exit code decides
    # hook = ["./smoke-test"]
    # after how many seconds it is ended, with all that it has started (not on Windows), and has failed
    # hook-timeout = 600
    # whether the new base must be signed
    # signed-base = false

    # Who goes first. An image is in the first wave that it fits.
    [[wave]]
    # its name; the images that are in no wave are in `rest`
    name = "canary"
    # images with this label, `key` or `key=value`, in their config
    # label = "tier=canary"
    # images with such names
    # images = ["ghcr.io/org/canary-*"]
    # at most so many
    # count = 3
    # at most so many percent of the images to rebase, rounded up
    percent = 10
    # what results of this wave must pass, instead of what all must
    # gates = { accept = "shadowed" }

    # How each image is rebased.
    [rebase]
    # how closely results are looked at, as `rebase --check`
    # check = "content"
    # what becomes of configs, as `rebase --config`
    # config = "merge"
    # whose value is taken where image and new base both changed one, as `rebase --on-conflict`
    # on-conflict = "app"
    # what becomes of attestations about the old image, as `rebase --attestations`
    # attestations = "drop"
    # whether to look for signatures and the like that stay with the old images; costs one to two requests for each manifest
    # referrers = true
    # whether a statement about the rebase is attached to each result
    # attest = false
    # when results are said to be created; without it, when the images were
    # created = "2026-01-01T00:00:00Z"

    # What registries bear.
    [registry."[HOST]"]
    # how many requests at once; those that carry content are counted apart
    # requests = 8
    "##);
    assert_snapshot!(context.run(&["fleet", "init", "@@team/*"]), @"
    exit: 8
    --- stdout

    --- stderr
    error: fleet.toml exists
    ");
    let ran = context.run(&["fleet", "scan"]).ok();
    assert_eq!(ran.text(), context.run(&["fleet", "scan", "@@team/*"]).ok().text());

    std::fs::create_dir(context.path("deep")).unwrap();
    context.write("list", format!("{}/team/api:1\n", context.host()));
    context.run(&["fleet", "init", "--from", "list", "-o", "deep/fleet.toml"]).ok();
    let ran = context.run(&["fleet", "scan", "-f", "deep/fleet.toml"]).ok();
    assert!(ran.text().contains("team/api:1"), "{ran}");

    context.write("wrong.toml", "[image]\n[gates]\nacept = 1\n");
    assert_snapshot!(context.run(&["fleet", "scan", "-f", "wrong.toml"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    warning: wrong.toml, line 1: image: there is no such key, did you mean "images"?
    error: wrong.toml, line 3: gates.acept: there is no such key, did you mean "accept"?
    "#);
}

#[test]
fn what_a_cluster_prints_comes_by_stdin_too() {
    let context = context();
    let image = format!("{}/team/web:1", context.host());
    let pods = format!(r#"{{"items":[{{"spec":{{"containers":[{{"image":"{image}"}}]}}}}]}}"#);
    let scan = ["fleet", "scan", "--from", "-"];
    let ran = context.run_input(&scan, pods.as_bytes()).ok();
    assert!(ran.text().contains("team/web:1"), "{ran}");
    assert_snapshot!(context.run_input(&scan, &pods.as_bytes()[..pods.len() - 5]), @"
    exit: 2
    --- stdout

    --- stderr
    error: stdin, line 1: it is no JSON that could be read to its end: EOF while parsing a list at line 1 column 71
    ");
    assert_snapshot!(context.run_input(&scan, b"{\"foo\": 1}"), @"
    exit: 2
    --- stdout

    --- stderr
    error: stdin names no image
    ");
}

#[test]
fn what_fits_nothing_is_said() {
    let context = context();
    context.write("pods.json", "{\"items\": [");
    context.write("none", "");
    assert_snapshot!(context.run(&["fleet", "scan", "@@nope/*", "--from", "pods.json", "--from", "none"]), @"
    exit: 12
    --- stdout

    --- stderr
    warning: none names no image
    warning: no image fits [HOST]/nope/*
    warning: an unknown number of images (pods.json:1): it is no JSON that could be read to its end: EOF while parsing a list at line 1 column 11
    0 images on 0 bases, 1 missed
    ");
    assert_snapshot!(context.run(&["fleet", "init", "@@nope/*"]), @"
    exit: 3
    --- stdout

    --- stderr
    warning: no image fits [HOST]/nope/*
    0 images on 0 bases
    error: no image was found, so that nothing is written
    ");
    assert!(!context.path("fleet.toml").exists());
    let rules = "[[base]]\nfrom = \"h.io/ooos:*\"\n[[wave]]\nname = \"canary\"\nlabel = \"tier=nobody\"\n";
    let images =
        format!("[images]\nrepositories = [\"{}/team/*\"]\nfiles = [\"pods.json\"]\n", context.host());
    context.write("fleet.toml", images + rules);
    assert_snapshot!(context.run(&["fleet", "plan", "-o", "plan.json"]), @r#"
    exit: 12
    --- stdout

    --- stderr
    warning: no image stands on h.io/ooos:*, as a rule has it
    warning: no image fits the wave "canary"
    warning: an unknown number of images (pods.json:1): it is no JSON that could be read to its end: EOF while parsing a list at line 1 column 11
    0 of 4 images to rebase, 3 without a rule, 1 with an unknown base, 1 not looked at
    "#);
    assert_snapshot!(context.run(&["fleet", "apply", "plan.json", "--only", "*/nope"]), @r#"
    exit: 3
    --- stdout

    --- stderr
    error: an image like "*/nope" was not found in the plan
    "#);
    assert_snapshot!(context.run(&["fleet", "plan", "--platform", "linux/amd64"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --platform cannot be used here: a tag is moved with all its platforms
    ");
}

#[test]
fn a_hyphen_is_stdout() {
    let context = context();
    let init = context.run(&["fleet", "init", "@@team/*", "-o", "-"]).ok();
    context.write("fleet.toml", init.text());
    let (scan, plan) = (["fleet", "scan", "-o", "-"], ["fleet", "plan", "-o", "-"]);
    assert_eq!(context.run(&scan).ok().text(), context.run(&scan[..2]).ok().text());
    let text = context.run(&plan).text().to_owned();
    assert!(text.starts_with("{"), "{text}");
    context.write("plan.json", text);
    let status = ["fleet", "status", "plan.json", "-o", "-"];
    assert!(context.run(&status).text().contains("4 images"));
    assert!(!context.path("-").exists());
}

/// Two checkouts that name bases, and one that does not.
fn checkouts() -> TestContext {
    let context = TestContext::new();
    for folder in ["a/svc/deploy", "b/svc", "none"] {
        std::fs::create_dir_all(context.path(folder)).unwrap();
    }
    context.write("a/svc/Dockerfile", "FROM debian:12\nFROM node:20\n");
    context
        .write("a/svc/deploy/pod.yaml", "image: {{ .Values.image }}\nother:\n  image: debian:12@sha256:0\n");
    context.write("b/svc/Dockerfile", "FROM debian:12-slim\nFROM debian:$V\n");
    context.write("none/Dockerfile", "FROM alpine\n");
    context
}

#[test]
fn a_patch_is_written_for_each_checkout() {
    let context = checkouts();
    let swap = ["--old-base", "debian:12", "--new-base", "debian:13"];
    let words = [&["fleet", "patch-source", "./a/svc", "b/svc", "none", "a/svc"], &swap[..]].concat();
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    FOLDER   FILES  IMAGES  LEFT ALONE  PATCH
    ./a/svc  1      1       1           patches/svc.patch
    b/svc    0      0       1
    none     0      0       0

    --- stderr
    note: b/svc/Dockerfile:2: FROM debian:$V was left alone: V has no value in the file
    note: 1 image in templates left alone; --format json names them
    wrote 1 patch file for 3 checkouts to patches
    ");
    assert_snapshot!(std::fs::read_to_string(context.path("patches/svc.patch")).unwrap(), @"
    --- a/Dockerfile
    +++ b/Dockerfile
    @@ -1,2 +1,2 @@
    -FROM debian:12
    +FROM debian:13
     FROM node:20
    ");
    assert_eq!(std::fs::read_dir(context.path("patches")).unwrap().count(), 1);
    assert_eq!(
        std::fs::read_to_string(context.path("a/svc/Dockerfile")).unwrap(),
        "FROM debian:12\nFROM node:20\n"
    );
}

#[test]
fn rules_say_what_is_replaced() {
    let context = checkouts();
    let rules = [
        "[[base]]\nfrom = \"debian:12*\"\nto = \"debian:13\"\n",
        "[[base]]\nfrom = \"node\"\n",
        "[[base]]\nfrom = \"alpine\"\nto = \"debian:12\"\n",
    ];
    context.write("fleet.toml", rules.concat());
    let words = ["fleet", "patch-source", "a/svc", "b/svc", "none", "--patches", "deep/out"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    FOLDER  FILES  IMAGES  LEFT ALONE  PATCH
    a/svc   1      1       0           deep/out/svc.patch
    b/svc   1      1       1           deep/out/svc-2.patch
    none    1      1       0           deep/out/none.patch

    --- stderr
    note: the rule for index.docker.io/library/node:* keeps the base's name: sources that have it stay
    note: b/svc/Dockerfile:2: FROM debian:$V was left alone: V has no value in the file
    wrote 3 patch files for 3 checkouts to deep/out
    ");
    for (name, lines) in
        [("svc", "+FROM debian:13"), ("svc-2", "+FROM debian:13"), ("none", "+FROM debian:12")]
    {
        let patch = std::fs::read_to_string(context.path(format!("deep/out/{name}.patch"))).unwrap();
        assert!(
            patch.starts_with("--- a/Dockerfile\n+++ b/Dockerfile\n") && patch.contains(lines),
            "{patch}"
        );
    }
    context.write("fleet.toml", rules[1]);
    assert_snapshot!(context.run(&words[..3]), @"
    exit: 2
    --- stdout

    --- stderr
    error: fleet.toml has no rule that gives a base another name
    hint: --old-base BASE --new-base BASE
    ");
}

#[test]
fn rules_that_name_no_base_ask_the_registry_once() {
    let context = TestContext::new();
    let base = family("linux/amd64").new.graph();
    for tag in ["17.0.2", "17.0.10", "17.0.10-slim", "18.0.1"] {
        context.push(&format!("base/jre:{tag}"), &base);
    }
    let host = context.host();
    for folder in ["a", "b", "c"] {
        std::fs::create_dir_all(context.path(folder)).unwrap();
    }
    let pinned = format!("FROM {host}/base/jre:17.0.2@{}\n", base.root().digest());
    context.write(
        "a/Dockerfile",
        format!("FROM {host}/base/jre:17.0.2\nFROM {host}/base/jre:17.0.2-slim\n{pinned}"),
    );
    context
        .write("b/pod.yaml", format!("image: {host}/base/jre:17.0.2\nside:\n  image: {host}/base/gone:1\n"));
    context.write("c/Dockerfile", format!("FROM {host}/base/gone:1\nFROM {host}/base/jre:16\n"));
    let rules =
        [("jre:17*", "semver = \">=17, <18\""), ("gone", "newest = \"2*\""), ("jre", "semver = \">99\"")];
    let rules = rules.map(|(from, rule)| format!("[[base]]\nfrom = \"{host}/base/{from}\"\n{rule}\n"));
    context.write("fleet.toml", rules.concat());
    let before = context.registry().stats();
    assert_snapshot!(context.run(&["fleet", "patch-source", "a", "b", "c"]), @"
    exit: 12
    --- stdout
    FOLDER  FILES  IMAGES  LEFT ALONE  PATCH
    a       1      2       1           patches/a.patch
    b       1      1       0           patches/b.patch
    c       0      0       0

    --- stderr
    warning: a/Dockerfile:3: FROM [HOST]/base/jre:17.0.2@sha256:… was left alone: is pinned to a digest, and the new base has none
    warning: [HOST]/base/gone:1 was left alone: GET http://[HOST]/v2/base/gone/tags/list?n=1000 answered 404 Not Found: NAME_UNKNOWN: repository base/gone is not known
    warning: [HOST]/base/jre:16 was left alone: [HOST]/base/jre has no tag that the rule allows
    wrote 2 patch files for 3 checkouts to patches
    ");
    // The tags of two repositories, however many files name them.
    assert_eq!(context.registry().stats().since(&before).requests, 2);
    context.name(base.root().digest(), "BASE");
    let patch = |name: &str| context.filter(&std::fs::read_to_string(context.path(name)).unwrap());
    assert_snapshot!(patch("patches/a.patch"), @"
    --- a/Dockerfile
    +++ b/Dockerfile
    @@ -1,3 +1,3 @@
    -FROM [HOST]/base/jre:17.0.2
    -FROM [HOST]/base/jre:17.0.2-slim
    +FROM [HOST]/base/jre:17.0.10
    +FROM [HOST]/base/jre:17.0.10-slim
     FROM [HOST]/base/jre:17.0.2@[BASE]
    ");
    assert_snapshot!(patch("patches/b.patch"), @"
    --- a/pod.yaml
    +++ b/pod.yaml
    @@ -1,3 +1,3 @@
    -image: [HOST]/base/jre:17.0.2
    +image: [HOST]/base/jre:17.0.10
     side:
       image: [HOST]/base/gone:1
    ");
}
