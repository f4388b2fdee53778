//! Layouts, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, layer};

use crate::TestContext;

#[test]
fn garbage_of_a_layout_is_collected() {
    let context = TestContext::new();
    for version in ["1", "2"] {
        let image = ImageSpec::new("linux/amd64").layer(layer(&[("app", version.as_bytes())])).build();
        context.push(&format!("app:{version}"), &image.graph());
        context.run(&["copy", &format!("@@app:{version}"), "oci:dir:v1"]).ok();
    }
    assert_snapshot!(context.run(&["layout", "gc", "dir", "--dry-run"]), @"
    exit: 0
    --- stdout

    --- stderr
    garbage collecting: sha256:…
    garbage collecting: sha256:…
    garbage collecting: sha256:…
    dir: 3 files would be removed, 932 B; 3 blobs kept
    ");
    assert_snapshot!(context.run(&["layout", "gc", "dir"]), @"
    exit: 0
    --- stdout

    --- stderr
    garbage collecting: sha256:…
    garbage collecting: sha256:…
    garbage collecting: sha256:…
    dir: 3 files removed, 932 B; 3 blobs kept
    ");
    assert_snapshot!(context.run(&["layout", "gc", "oci:dir", "--format", "json"]), @r#"
    exit: 0
    --- stdout
    {
      "blobs": {},
      "temporary": [],
      "bytes": 0,
      "kept": 3
    }

    --- stderr
    oci:dir: 0 files removed, 0 B; 3 blobs kept
    "#);
    context.run(&["validate", "oci:dir:v1"]).ok();
}

/// crane lists an image again each time that it is pulled.
#[test]
fn an_image_that_is_pulled_twice_is_listed_once() {
    let context = TestContext::new();
    let image = ImageSpec::new("linux/amd64").layer(layer(&[("app", b"1")])).build();
    context.push("app:1", &image.graph());
    for _ in 0..2 {
        context.run(&["pull", "--format", "oci", "@@app:1", "dir"]).ok();
    }
    assert_eq!(context.run(&["index", "list", "oci:dir"]).ok().text().lines().count(), 2);
    assert!(context.run(&["layout", "gc", "dir"]).ok().stderr.contains("0 files removed"));
}

#[test]
fn only_layouts_have_garbage() {
    let context = TestContext::new();
    std::fs::create_dir(context.path("other")).unwrap();
    assert_snapshot!(context.run(&["layout", "gc", "other"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: oci:other: is not an OCI layout: the file oci-layout is missing
    ");
    assert_snapshot!(context.run(&["layout", "gc", "absent"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read absent/oci-layout
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(context.run(&["layout", "gc", "oci:dir:v1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: oci:dir:v1 is an image, a layout is wanted
    ");
    assert_eq!(context.run(&["layout"]).code, Some(2));
}
