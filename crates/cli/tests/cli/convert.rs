//! Conversions, on the command line.

use insta::assert_snapshot;
use palan_core::Compression;
use palan_testkit::image::{Attestation, Image, ImageSpec, IndexSpec, LayerSpec};

use crate::TestContext;

fn image(platform: &str) -> Image {
    let layer = |name: &str, text: &str| LayerSpec::new().file(name, text).build();
    ImageSpec::new(platform).layers([layer("shared", "same"), layer("app", platform)]).build()
}

fn context() -> TestContext {
    let context = TestContext::new();
    let images = || ["linux/amd64", "linux/arm64"].map(image);
    context.name(context.push("app:1", &IndexSpec::new().images(images()).build().graph()), "APP");
    let attested = IndexSpec::new().images(images()).attest(Attestation::Artifact).build();
    context.name(context.push("attested:1", &attested.graph()), "ATTESTED");
    for (attestation, name) in attested.attestations.iter().zip(["ABOUT-AMD", "ABOUT-ARM"]) {
        context.name(attestation.manifest.digest(), name);
    }
    let zstd = LayerSpec::new().file("app", "x").compression(Compression::Zstd).build();
    context.name(zstd.digest, "ZSTD-LAYER");
    context.push("zstd:1", &ImageSpec::new("linux/amd64").layer(zstd).annotation("k", "v").build().graph());
    context
}

#[test]
fn media_types_change_there_and_back() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@app:1", "--to", "docker", "-t", "@@app:docker"]), @"");
    let manifest = context.run(&["manifest", "@@app:docker"]).ok().text();
    assert!(!manifest.contains("vnd.oci"), "{manifest}");
    context.run(&["validate", "@@app:docker"]).ok();
    assert_snapshot!(context.run(&["convert", "@@app:docker", "--to", "oci"]), @"");
    assert_eq!(
        context.run(&["digest", "@@app:docker"]).ok().text(),
        context.run(&["digest", "@@app:1"]).ok().text()
    );
}

#[test]
fn layers_are_compressed_otherwise() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "zstd", "--level", "19"]), @"");
    context.run(&["validate", "@@app:1"]).ok();
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "zstd"]), @"");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--compression", "none", "--dry-run"]), @"");
}

#[test]
fn digests_are_by_sha512() {
    let context = context();
    let done = context.run(&["convert", "@@app:1", "--digest", "sha512", "-t", "@@app:512"]).ok();
    assert!(done.text().contains("/app@sha512:"), "{done}");
    context.run(&["validate", &done.text()]).ok();
    context.run(&["convert", "@@app:1", "--digest", "sha512", "-t", "oci:dir:v1"]).ok();
    context.run(&["validate", "oci:dir:v1"]).ok();
}

#[test]
fn what_docker_cannot_say_is_listed() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@zstd:1", "--to", "docker"]), @"");
    let words = ["convert", "@@zstd:1", "--to", "docker", "--compression", "gzip", "--annotations", "strip"];
    assert_snapshot!(context.run(&words), @"");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--to", "docker"]), @"");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--to", "docker", "--attestations", "drop"]), @"");
    assert_snapshot!(context.run(&["convert", "@@app:1", "--to", "docker", "--platform", "linux/arm64"]), @"");
}

#[test]
fn nothing_to_convert_is_a_usage_error() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@app:1"]), @"");
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "gzip", "--level", "19"]), @"");
    assert_eq!(context.run(&["convert", "@@app:1", "--level", "1"]).code, Some(2));
    assert_eq!(context.run(&["convert", "@@app:1", "--digest", "md5"]).code, Some(2));
}
