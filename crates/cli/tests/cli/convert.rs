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
    assert_snapshot!(context.run(&["convert", "@@app:1", "--to", "docker", "-t", "@@app:docker"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    converted to [HOST]/app:docker: 5 blobs already there
    ");
    let manifest = context.run(&["manifest", "@@app:docker"]).ok().text();
    assert!(!manifest.contains("vnd.oci"), "{manifest}");
    context.run(&["validate", "@@app:docker"]).ok();
    assert_snapshot!(context.run(&["convert", "@@app:docker", "--to", "oci"]), @"
    exit: 0
    --- stdout
    [HOST]/app@[APP]

    --- stderr
    converted to [HOST]/app:docker: 5 blobs already there
    ");
    assert_eq!(
        context.run(&["digest", "@@app:docker"]).ok().text(),
        context.run(&["digest", "@@app:1"]).ok().text()
    );
}

#[test]
fn layers_are_compressed_otherwise() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "zstd", "--level", "19"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    converted to [HOST]/app:1: 3 blobs moved (259 B), 2 blobs already there
    ");
    context.run(&["validate", "@@app:1"]).ok();
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "zstd"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    nothing changed: [HOST]/app:1
    ");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--compression", "none", "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/attested@sha256:…

    --- stderr
    note: the attestation [ABOUT-AMD] is about sha256:…, which is replaced: kept, and marked as such
    note: the attestation [ABOUT-ARM] is about sha256:…, which is replaced: kept, and marked as such
    dry run: nothing was written: [HOST]/attested:1
    ");
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
    assert_snapshot!(context.run(&["convert", "@@zstd:1", "--to", "docker"]), @"
    exit: 11
    --- stdout

    --- stderr
    error: [HOST]/zstd:1 cannot be Docker: the image for linux/amd64 has annotations; the layer [ZSTD-LAYER] would be zstd
    hint: --compression gzip converts zstd layers; --annotations strip and --attestations drop leave out the rest
    ");
    let words = ["convert", "@@zstd:1", "--to", "docker", "--compression", "gzip", "--annotations", "strip"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    [HOST]/zstd@sha256:…

    --- stderr
    note: the image for linux/amd64: left out: annotations
    converted to [HOST]/zstd:1: 1 blob moved (91 B), 1 blob already there
    ");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--to", "docker"]), @"
    exit: 11
    --- stdout

    --- stderr
    error: [HOST]/attested:1 cannot be Docker: the index lists the attestation [ABOUT-AMD]; the index lists the attestation [ABOUT-ARM]
    hint: --compression gzip converts zstd layers; --annotations strip and --attestations drop leave out the rest
    ");
    assert_snapshot!(context.run(&["convert", "@@attested:1", "--to", "docker", "--attestations", "drop"]), @"
    exit: 0
    --- stdout
    [HOST]/attested@sha256:…

    --- stderr
    note: the attestation [ABOUT-AMD] is about sha256:…, which is replaced: left out of the new index (the old index still lists it)
    note: the attestation [ABOUT-ARM] is about sha256:…, which is replaced: left out of the new index (the old index still lists it)
    converted to [HOST]/attested:1: 5 blobs already there
    ");
    assert_snapshot!(context.run(&["convert", "@@app:1", "--to", "docker", "--platform", "linux/arm64"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: not supported yet: converting some images of an index to another family: filter the index first
    ");
}

#[test]
fn nothing_to_convert_is_a_usage_error() {
    let context = context();
    assert_snapshot!(context.run(&["convert", "@@app:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: nothing to convert: give --to, --compression, --digest or --annotations
    ");
    assert_snapshot!(context.run(&["convert", "@@app:1", "--compression", "gzip", "--level", "19"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: gzip has no level 19; levels are 0 to 12
    ");
    assert_eq!(context.run(&["convert", "@@app:1", "--level", "1"]).code, Some(2));
    for verb in [&["convert"][..], &["flatten"], &["append", "-f", "none", "-t", "@@x:1", "-b"]] {
        let words = [verb, &["@@nowhere:1", "--compression", "none", "--level", "1"]].concat();
        let ran = context.run(&words);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains("what is not compressed has no level"), "{ran}");
    }
    assert_eq!(context.run(&["convert", "@@app:1", "--digest", "md5"]).code, Some(2));
}
