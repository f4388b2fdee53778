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

/// Hosts have ports of different widths: tables with one space between columns.
fn narrow(ran: &Ran) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.to_string().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn images_are_grouped_by_base() {
    let context = context();
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*"])), @"");
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", "@@base:1"])), @"");
    assert_snapshot!(narrow(&context.run(&["fleet", "scan", "@@team/*", "--on", "@@base:2"])), @"");
}

#[test]
fn lists_and_manifests_name_images_and_what_fails_is_missed() {
    let context = context();
    let host = context.host();
    context.write("list", format!("{host}/team/api:1 # ours\n{host}/team/gone:1\n"));
    context.write("pod.yaml", format!("spec:\n  containers:\n  - image: {host}/team/api:1\n"));
    let words = ["fleet", "scan", "--from", "list", "--manifests", "pod.yaml", "--format", "json"];
    let ran = context.run(&[&words[..], &["-o", "report.json"]].concat());
    assert_snapshot!(ran, @"");
    let report = std::fs::read_to_string(context.path("report.json")).unwrap();
    assert_snapshot!(context.filter(&report), @"");
    let ran = context.run_input(&["fleet", "scan", "--from", "-"], format!("{host}/team/web:1\n").as_bytes());
    assert_eq!(ran.code, Some(0), "{ran}");
    let ran = context.run_input(&["fleet", "scan", "--from", "-"], b"a:1\nB:1\n");
    assert_snapshot!(ran, @"");
}

#[test]
fn settings_are_written_and_read_again() {
    let context = context();
    assert_snapshot!(context.run(&["fleet", "scan"]), @"");
    assert_snapshot!(context.run(&["fleet", "init"]), @"");
    assert_snapshot!(context.run(&["fleet", "init", "@@team/*"]), @"");
    let text = std::fs::read_to_string(context.path("fleet.toml")).unwrap();
    assert_snapshot!(context.filter(&text), @"");
    assert_snapshot!(context.run(&["fleet", "init", "@@team/*"]), @"");
    let ran = context.run(&["fleet", "scan"]).ok();
    assert_eq!(ran.text(), context.run(&["fleet", "scan", "@@team/*"]).ok().text());

    std::fs::create_dir(context.path("deep")).unwrap();
    context.write("list", format!("{}/team/api:1\n", context.host()));
    context.run(&["fleet", "init", "--from", "list", "-o", "deep/fleet.toml"]).ok();
    let ran = context.run(&["fleet", "scan", "-f", "deep/fleet.toml"]).ok();
    assert!(ran.text().contains("team/api:1"), "{ran}");

    context.write("wrong.toml", "[image]\n[gates]\nacept = 1\n");
    assert_snapshot!(context.run(&["fleet", "scan", "-f", "wrong.toml"]), @"");
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
    assert_snapshot!(context.run(&words), @"");
    assert_snapshot!(std::fs::read_to_string(context.path("patches/svc.patch")).unwrap(), @"");
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
        "[[base]]\nfrom = \"node\"\nnewest = \"22*\"\n",
        "[[base]]\nfrom = \"alpine\"\nto = \"debian:12\"\n",
    ];
    context.write("fleet.toml", rules.concat());
    let words = ["fleet", "patch-source", "a/svc", "b/svc", "none", "--patches", "deep/out"];
    assert_snapshot!(context.run(&words), @"");
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
    assert_snapshot!(context.run(&words[..3]), @"");
}
