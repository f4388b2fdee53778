//! Layers that cannot be opened: which one, which entry, where; and no file that is half a result.

use palan_testkit::{
    image::{ImageSpec, layer},
    malformed::{Malformed, malformed},
};

use crate::TestContext;

/// Every verb that opens layers, with whether it puts files together.
const VERBS: [(&str, &[&str], bool); 8] = [
    ("export to a file", &["export", "oci:in", "out.tar"], true),
    ("flatten to a layout", &["flatten", "oci:in", "-t", "oci:out"], true),
    ("flatten to an archive", &["flatten", "oci:in", "-t", "oci-archive:out.tar"], true),
    ("flatten in a registry", &["flatten", "@@in:1", "-t", "@@out:1"], true),
    (
        "convert to an archive",
        &["convert", "oci:in", "--compression", "none", "-t", "oci-archive:out.tar"],
        false,
    ),
    ("convert in a registry", &["convert", "@@in:1", "--compression", "none", "-t", "@@out:1"], false),
    ("append to an archive", &["append", "-f", "bad.layer", "-t", "app:1", "-o", "out.tar"], false),
    ("validate", &["validate", "oci:in"], false),
];

#[test]
fn are_named_and_leave_nothing_behind() {
    let context = TestContext::new();
    for Malformed { name, layer: bad, says, only_merged } in malformed() {
        let image = ImageSpec::new("linux/amd64").layer(layer(&[("good", b"1")])).layer(bad.clone()).build();
        context.push("in:1", &image.graph());
        context.run(&["copy", "@@in:1", "oci:in"]).ok();
        context.write("bad.layer", &bad.bytes);
        let before = context.left();
        for (verb, words, merges) in VERBS {
            // What only says that it is an archive need not make sense; validate looks at entries, one by one.
            let validated = verb == "validate" && !name.contains("hard link");
            if only_merged && !merges && !validated {
                continue;
            }
            let ran = context.run(words);
            // What `append` is given has no digest yet.
            let layer = if words[0] == "append" { "bad.layer".to_owned() } else { bad.digest.to_string() };
            let told = context.filter(&format!("{}{}", ran.stderr, ran.text()));
            assert!(ran.code.is_some_and(|code| code != 0), "{verb}, {name}: {ran}");
            assert!(told.contains(&context.filter(&layer)), "{verb}, {name}: {ran}");
            assert!(says.iter().all(|part| told.contains(part)), "{verb}, {name}: {ran}");
            assert_eq!(context.left(), before, "{verb}, {name}");
            assert_ne!(context.run(&["digest", "@@out:1"]).code, Some(0), "{verb}, {name}");
        }
        std::fs::remove_dir_all(context.path("in")).unwrap();
    }
}

#[test]
fn bounds_can_be_set() {
    let context = TestContext::new();
    let files: Vec<String> = (0..20).map(|n| format!("file-{n}")).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    let big = layer(&files);
    context.push(
        "in:1",
        &ImageSpec::new("linux/amd64").layer(big.clone()).layer(layer(&[("a", b"")])).build().graph(),
    );
    context.write("big.layer", &big.bytes);
    for words in [
        &["export", "@@in:1", "out.tar"][..],
        &["flatten", "@@in:1", "-t", "oci:out"],
        &["convert", "@@in:1", "--compression", "none", "-t", "oci:out"],
        &["append", "-f", "big.layer", "-t", "app:1", "-o", "out.tar"],
        &["validate", "@@in:1"],
    ] {
        let before = context.left();
        let ran = context.run(&[words, &["--limit", "entries=9"]].concat());
        let told = format!("{}{}", ran.stderr, ran.text());
        assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
        let says = "the layer has more than 9 entries, at byte 9728 of the archive, after entry \"file-9\"";
        assert!(told.contains(says), "{ran}");
        assert_eq!(context.left(), before, "{ran}");
        context.run(&[words, &["--limit", "entries=20", "--limit", "size=1M"]].concat()).ok();
        let _ = std::fs::remove_file(context.path("out.tar"));
        let _ = std::fs::remove_dir_all(context.path("out"));
    }
}

#[test]
fn the_layers_of_an_image_are_bounded_together() {
    let context = TestContext::new();
    let content = vec![b'a'; 300_000];
    let layers = ["a", "b", "c"].map(|name| layer(&[(name, &content)]));
    let [a, b, c] = layers;
    context.push("in:1", &ImageSpec::new("linux/amd64").layer(a).layer(b).layer(c).build().graph());
    for words in [&["export", "@@in:1", "out.tar"][..], &["flatten", "@@in:1", "-t", "oci:out"]] {
        let before = context.left();
        let ran = context.run(&[words, &["--limit", "size=700K"]].concat());
        assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
        let says = "more than 716800 uncompressed bytes, together with the image's other layers";
        assert!(ran.stderr.contains(says), "{ran}");
        assert_eq!(context.left(), before, "{ran}");
        context.run(&[words, &["--limit", "size=1M"]].concat()).ok();
    }
    // What holds one at a time has no sum.
    context.run(&["validate", "@@in:1", "--limit", "size=400K"]).ok();
}
