//! Indexes, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{Attestation, Image, ImageSpec, Index, IndexSpec, layer};

use crate::TestContext;

fn image(platform: &str, content: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("app", content.as_bytes())])).build()
}

fn index() -> Index {
    IndexSpec::new()
        .images([image("linux/amd64", "old"), image("linux/arm64", "old")])
        .attest(Attestation::Artifact)
        .build()
}

fn context() -> TestContext {
    let context = TestContext::new();
    let index = index();
    context.name(context.push("app:1", &index.graph()), "INDEX");
    context.name(context.push("new:1", &image("linux/amd64", "new").graph()), "NEW");
    context.name(index.images[0].digest(), "AMD");
    context.name(index.images[1].digest(), "ARM");
    context.name(index.attestations[0].manifest.digest(), "ABOUT-AMD");
    context.name(index.attestations[1].manifest.digest(), "ABOUT-ARM");
    context
}

#[test]
fn an_index_is_listed_as_crane_lists_it() {
    let context = context();
    let listed = context.run(&["index", "list", "@@app:1"]).ok();
    let index = index();
    let mut lines = format!("{:<70} {:<20} Platform\n", "Digest", "MediaType");
    for (digest, platform) in [
        (index.images[0].digest(), "linux/amd64"),
        (index.images[1].digest(), "linux/arm64"),
        (index.attestations[0].manifest.digest(), "unknown/unknown"),
        (index.attestations[1].manifest.digest(), "unknown/unknown"),
    ] {
        lines += &format!("{digest} application/vnd.oci.image.manifest.v1+json {platform}\n");
    }
    // A digest has 71 characters: one more than crane's column.
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), lines);

    let json = context.run(&["index", "list", "@@app:1", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[1]["platform"]["architecture"], "arm64");
    context.run(&["pull", "--format", "oci", "@@app:1", "dir"]).ok();
    assert_snapshot!(context.run(&["index", "list", "./dir"]), @"
    exit: 0
    --- stdout
    Digest                                                                 MediaType            Platform
    [INDEX] application/vnd.oci.image.index.v1+json -

    --- stderr
    note: ./dir is taken for oci:./dir, not for a reference into a registry
    ");
    assert_snapshot!(context.run(&["index", "list", "@@new:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/new@[NEW] is a single image, an index is needed
    ");
}

#[test]
fn an_image_is_appended() {
    let context = context();
    assert_snapshot!(context.run(&["index", "append", "@@app:1", "-m", "@@new:1", "-t", "@@app:2"]), @"");
    assert_snapshot!(context.run(&["index", "list", "@@app:2"]), @"");
    assert_snapshot!(context.run(&["index", "append", "@@app:2", "@@new:1"]), @"");
    assert_snapshot!(context.run(&["index", "append", "-m", "@@new:1"]), @"");
    let words = [
        "index",
        "append",
        "-m",
        "@@new:1,@@app:1",
        "-t",
        "@@made:1",
        "--docker-empty-base",
        "--flatten=false",
    ];
    assert_snapshot!(context.run(&words), @"");
    let made = context.run(&["manifest", "@@made:1"]).ok().text();
    assert!(made.contains("application/vnd.docker.distribution.manifest.list.v2+json"), "{made}");
    context.run(&["validate", "@@made:1"]).ok();
}

#[test]
fn a_digest_is_appended_to_without_a_tag() {
    let context = context();
    let base = format!("@@app@{}", index().digest());
    let done = context.run(&["index", "append", &base, "-m", "@@new:1", "--keep-existing"]).ok().text();
    let listed = context.run(&["index", "list", &done]).ok().text();
    assert_eq!(listed.lines().count(), 6);
    let tagged = context.run(&["digest", "@@app:1"]).ok().text();
    assert_eq!(tagged, index().digest().to_string(), "the tag was not moved");
}

#[test]
fn a_layout_is_appended_to_as_crane_does_it() {
    let context = context();
    assert_snapshot!(context.run(&["index", "append", "./dir", "@@new:1", "@@app:1"]), @"");
    assert_snapshot!(context.run(&["index", "list", "oci:dir"]), @"");
    let archive = context.run(&["pull", "@@new:1", "new.tar"]);
    assert_eq!(archive.code, Some(0));
    assert_snapshot!(context.run(&["index", "append", "-m", "new.tar", "-t", "@@from-file:1"]), @"");
}

#[test]
fn an_index_is_filtered() {
    let context = context();
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "linux/arm64", "-t", "@@app:2"]), @"");
    let listed = context.run(&["index", "list", "@@app:2"]).ok().text();
    assert_eq!(listed.lines().count(), 3);
    assert_snapshot!(context.run(&["index", "filter", "@@app:1"]), @"");
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "all"]), @"");
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "windows"]), @"");
    assert_eq!(context.run(&["index", "filter", "@@app:9", "--platform", "linux"]).code, Some(3));
    assert_eq!(context.run(&["digest", "@@app:1"]).ok().text(), index().digest().to_string());
}

#[test]
fn entries_are_removed() {
    let context = context();
    let digest = index().images[0].digest().to_string();
    assert_snapshot!(context.run(&["index", "remove", "@@app:1", "--digest", &digest, "--dry-run"]), @"");
    assert_snapshot!(context.run(&["index", "remove", "@@app:1", "--platform", "linux"]), @"");
    assert_snapshot!(context.run(&["index", "remove", "@@app:1"]), @"");
    assert_eq!(context.run(&["index", "remove", "@@app:1", "--platform", "linux/arm64"]).code, Some(0));
}
