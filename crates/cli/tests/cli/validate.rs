//! `palan validate`: every target has its say, and nothing is read twice.

use insta::assert_snapshot;
use palan_server::RequestKind;
use palan_testkit::image::{ImageSpec, LayerSpec};

use crate::{TestContext, family};

/// crane-cli.md bug 11.
#[test]
fn layers_of_every_compression_pass_and_are_asked_for_once() {
    use palan_core::Compression::{Gzip, None, Zstd};
    let context = TestContext::new();
    let of = |compression| LayerSpec::new().noise("data", 1, 10_000).compression(compression).build();
    context.push("all:1", &ImageSpec::new("linux/amd64").layers([Gzip, Zstd, None].map(of)).build().graph());
    let before = context.registry().stats();
    assert_snapshot!(context.run(&["validate", "--remote", "@@all:1"]), @"
    exit: 0
    --- stdout
    PASS: [HOST]/all:1

    --- stderr
    ");
    let asked = context.registry().stats().since(&before);
    assert_eq!(asked.of(RequestKind::BlobGet), 4, "three layers and a config");
}

#[test]
fn a_target_that_is_missing_does_not_hide_the_others() {
    let context = TestContext::new();
    context.push("good:1", &family("linux/amd64").app.graph());
    context.write("text.tar", "hello ".repeat(500));
    let words = ["validate", "--tarball", "text.tar", "oci:nowhere", "@@none:1", "@@good:1"];
    assert_snapshot!(context.run(&words), @"
    exit: 7
    --- stdout
    FAIL: text.tar: docker-archive:text.tar: is no tar archive
    FAIL: oci:nowhere: cannot read nowhere/oci-layout: No such file or directory (os error 2)
    FAIL: [HOST]/none:1: 1 was not found in [HOST]/none
    PASS: [HOST]/good:1

    --- stderr
    ");
    let ran = context.run(&["validate", "oci:nowhere", "@@good:1", "--format", "json"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report[0]["faults"][0]["severity"], "error");
    assert_eq!(report[1]["faults"].as_array().unwrap().len(), 0);
}

#[test]
fn what_documents_say_cannot_forge_a_line() {
    let context = TestContext::new();
    let forged = "x\nPASS: app:1\n\u{1b}[31mred";
    let image = ImageSpec::new("linux/amd64").layer(palan_testkit::image::layer(&[("a", b"1")]));
    let image = image.annotation("org.opencontainers.image.base.name", forged);
    context.push("app:1", &image.config_field("/rootfs/type", forged).build().graph());
    let ran = context.run(&["validate", "@@app:1"]);
    assert_eq!(ran.code, Some(7), "{ran}");
    let stdout = String::from_utf8(ran.stdout.clone()).unwrap();
    for (text, what) in [(stdout.as_str(), "FAIL: "), (ran.stderr.as_str(), "warning: ")] {
        assert_eq!(text.lines().count(), 1, "{ran}");
        assert!(text.starts_with(what) && text.contains(r#""x\nPASS: app:1\n\u{1b}[31mred""#), "{ran}");
    }
    let ran = context.run(&["validate", "@@app:1", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(report[0]["faults"][0]["text"].as_str().unwrap().contains(forged), "{ran}");
}
