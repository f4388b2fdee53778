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
    assert_snapshot!(context.run(&["layout", "gc", "dir", "--dry-run"]), @"");
    assert_snapshot!(context.run(&["layout", "gc", "dir"]), @"");
    assert_snapshot!(context.run(&["layout", "gc", "oci:dir", "--format", "json"]), @"");
    context.run(&["validate", "oci:dir:v1"]).ok();
}

#[test]
fn only_layouts_have_garbage() {
    let context = TestContext::new();
    std::fs::create_dir(context.path("other")).unwrap();
    assert_snapshot!(context.run(&["layout", "gc", "other"]), @"");
    assert_snapshot!(context.run(&["layout", "gc", "absent"]), @"");
    assert_snapshot!(context.run(&["layout", "gc", "oci:dir:v1"]), @"");
    assert_eq!(context.run(&["layout"]).code, Some(2));
}
