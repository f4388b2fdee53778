//! What copies and changes must not touch: other repositories, other images of a file, files that exist.

use palan_core::MediaType;
use palan_testkit::{
    fault::Reply,
    image::{Image, ImageSpec, IndexSpec, layer},
};
use serde_json::Value;

use crate::TestContext;

fn image(text: &str) -> Image {
    ImageSpec::new("linux/amd64").layer(layer(&[("text", text.as_bytes())])).build()
}

/// Two images, `a` and `b`, in the layout `two` and the archive `two.tar`.
fn two() -> TestContext {
    let context = TestContext::new();
    for tag in ["a", "b"] {
        context.push(&format!("two:{tag}"), &image(tag).graph());
    }
    context.run(&["copy", "-a", "@@two", "oci:two"]).ok();
    context.run(&["copy", "-a", "oci:two", "oci-archive:two.tar"]).ok();
    context
}

/// Gives the first image of a layout another name.
fn rename(context: &TestContext, layout: &str, name: &str) {
    let path = format!("{layout}/index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(context.path(&path)).unwrap()).unwrap();
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = name.into();
    context.write(&path, index.to_string());
}

#[test]
fn names_of_a_layout_do_not_reach_other_repositories() {
    let context = two();
    context.push("victim:latest", &image("victim").graph());
    for name in ["../../victim/manifests/latest", "b?x=y#z", "%2e%2e", "b/c", "-b"] {
        rename(&context, "two", name);
        let ran = context.run(&["copy", "-a", "oci:two", "@@to"]);
        assert_ne!(ran.code, Some(0), "{ran}");
        assert!(ran.stderr.contains(name), "{ran}");
        assert_eq!(context.run(&["ls", "@@to"]).ok().text(), "b", "{name}");
        let tagged = |location: &str| context.run(&["digest", location]).ok().text();
        assert_eq!(tagged("@@victim:latest"), image("victim").digest().to_string());
        assert_eq!(tagged("@@to:b"), image("b").digest().to_string());
    }
}

#[test]
fn names_of_a_registry_that_are_no_tags_are_left_out() {
    let context = TestContext::new();
    let registry = context.faulty(|request| match request.target.split('?').next() {
        Some("/v2/") => Reply::ok("{}"),
        Some("/v2/a/tags/list") => Reply::ok("{\"name\":\"a\",\"tags\":[\"../../victim/manifests/latest\"]}"),
        _ => Reply::error(404, "MANIFEST_UNKNOWN"),
    });
    let ran = context.run(&["copy", "-a", &format!("{}/a", registry.host()), "@@to"]).ok();
    assert!(ran.stderr.contains("not tags"), "{ran}");
    assert!(registry.lines().iter().all(|line| !line.contains("victim")), "{:?}", registry.lines());
}

#[test]
fn changing_an_archive_in_place_is_refused() {
    let context = two();
    let before = std::fs::read(context.path("two.tar")).unwrap();
    let by_digest = format!("oci-archive:two.tar@{}", image("a").digest());
    for words in [
        ["mutate", "-l", "x=y", &by_digest].as_slice(),
        &["mutate", "-l", "x=y", "oci-archive:two.tar:a"],
        &["convert", "--to", "oci", "-t", "oci-archive:two.tar:c", "oci-archive:two.tar:a"],
    ] {
        let ran = context.run(words);
        assert_ne!(ran.code, Some(0), "{ran}");
        assert!(std::fs::read(context.path("two.tar")).unwrap() == before, "{words:?}");
    }
    let elsewhere = "oci-archive:other.tar:a";
    context.run(&["mutate", "-l", "x=y", "-t", elsewhere, "oci-archive:two.tar:a"]).ok();
}

#[test]
fn no_clobber_leaves_archives_alone() {
    let context = two();
    let before = std::fs::read(context.path("two.tar")).unwrap();
    for words in [
        ["copy", "-n", "@@two:a", "oci-archive:two.tar:c"].as_slice(),
        &["copy", "-n", "@@two:a", "docker-archive:two.tar"],
        &["copy", "-n", "-a", "@@two", "oci-archive:two.tar"],
    ] {
        let ran = context.run(words);
        assert_eq!(ran.code, Some(8), "{ran}");
        assert!(std::fs::read(context.path("two.tar")).unwrap() == before, "{words:?}");
    }
    context.run(&["copy", "-n", "-a", "@@two", "oci-archive:new.tar"]).ok();
}

#[test]
fn an_archive_that_was_not_written_is_not_called_copied() {
    let context = two();
    let blob = image("a").manifest.digest().to_string().replace("sha256:", "two/blobs/sha256/");
    std::fs::remove_file(context.path(blob)).unwrap();
    let ran = context.run(&["copy", "-a", "oci:two", "oci-archive:part.tar"]);
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(!ran.stderr.contains("copied 1 tag"), "{ran}");
    assert!(ran.stderr.contains("oci-archive:part.tar was not written"), "{ran}");
    assert!(!context.path("part.tar").exists());
}

#[test]
fn a_layer_that_is_foreign_in_one_image_only_is_copied_for_the_other() {
    let context = TestContext::new();
    let shared = layer(&[("shared", b"shared")]);
    let foreign = shared
        .clone()
        .with_media_type(MediaType::from("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
    let images = [("linux/amd64", foreign), ("linux/arm64", shared)];
    let images = images.map(|(platform, layer)| ImageSpec::new(platform).layer(layer).build());
    let index = IndexSpec::new().images(images).build();
    context.push("app:1", &index.graph());
    context.run(&["copy", "-j", "1", "@@app:1", "oci:to:1"]).ok();
    context.run(&["pull", "--platform", "linux/arm64", "oci:to:1", "out.tar"]).ok();
}
