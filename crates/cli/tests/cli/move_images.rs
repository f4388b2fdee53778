//! The verbs that write: copy, pull, push, tag, append.

use insta::assert_snapshot;
use palan_server::RequestKind;
use palan_testkit::image::layer;

use crate::{TestContext, families, family};

fn context() -> TestContext {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    context.name(context.push("single:1", &family("linux/arm64").app.graph()), "SINGLE");
    context
}

fn digest(context: &TestContext, location: &str) -> String {
    context.run(&["digest", location]).ok().text()
}

#[test]
fn copying_inside_a_registry_mounts() {
    let context = context();
    let before = context.registry().stats();
    assert_snapshot!(context.run(&["copy", "@@app:1", "@@other/app:2"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to [HOST]/other/app:2: 6 blobs mounted or linked
    ");
    let asked = context.registry().stats().since(&before);
    assert_eq!((asked.blob_bytes_in, asked.blob_bytes_out), (0, 0));
    assert_eq!(asked.of(RequestKind::UploadStart), 0);
    assert_eq!(digest(&context, "@@app:1"), digest(&context, "@@other/app:2"));
    assert_snapshot!(context.run(&["cp", "@@app:1", "@@other/app:2"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to [HOST]/other/app:2: everything was there
    ");
}

#[test]
fn every_location_to_every_other() {
    let context = context();
    let wanted = digest(&context, "@@single:1");
    let way = [
        "@@single:1",
        "oci:layout:a",
        "oci-archive:a.tar:b",
        "docker-archive:b.tar:example.com/c:d",
        "oci-archive:c.tar",
        "oci:second",
        "@@back:1",
    ];
    for step in way.windows(2) {
        let ran = context.run(&["copy", step[0], step[1]]).ok();
        assert!(ran.stdout.is_empty(), "{ran}");
        assert_eq!(digest(&context, step[1]), wanted, "{step:?}");
    }
    context.run(&["validate", "@@back:1", "oci:second", "oci-archive:a.tar:b"]).ok();
    assert_eq!(context.left(), ["a.tar", "b.tar", "c.tar", "layout", "second"]);
}

#[test]
fn copy_of_one_platform() {
    let context = context();
    assert_snapshot!(context.run(&["copy", "@@app:1", "@@amd:1", "--platform", "linux/amd64"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to [HOST]/amd:1: 4 blobs mounted or linked
    ");
    assert_eq!(
        digest(&context, "@@amd:1"),
        families().app.image("linux/amd64").unwrap().digest().to_string()
    );
    assert_snapshot!(context.run(&["copy", "@@app:1", "docker-archive:x.tar"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [APP] is an image index, one image (a docker archive holds single images: choose a platform, or use oci-archive:) is needed
    ");
    assert!(context.left().is_empty());
}

#[test]
fn no_clobber_leaves_tags_alone() {
    let context = context();
    assert_snapshot!(context.run(&["copy", "-n", "@@app:1", "@@single:1"]), @"
    exit: 8
    --- stdout

    --- stderr
    error: [HOST]/single:1 exists ([SINGLE]) and --no-clobber was given
    ");
    assert_snapshot!(context.run(&["copy", "-n", "@@app:1", "@@single:2"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to [HOST]/single:2: 4 blobs mounted or linked
    ");
}

#[test]
fn all_tags_go_on_after_a_failure() {
    let context = context();
    context.run(&["copy", "@@app:1", "oci:layout:good"]).ok();
    let other = family("linux/s390x").app;
    context.push("other:1", &other.graph());
    context.run(&["copy", "@@other:1", "oci:layout:bad"]).ok();
    let lost = other.manifest.view::<palan_core::view::Manifest>().unwrap().layers[1].digest;
    std::fs::remove_file(context.path("layout/blobs/sha256").join(lost.hex())).unwrap();
    let ran = context.run(&["copy", "--all-tags", "oci:layout", "@@all"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert_eq!(context.run(&["ls", "@@all"]).ok().text(), "good");
    assert!(ran.stderr.contains("bad was not copied"), "{ran}");
    assert_snapshot!(context.run(&["copy", "-a", "@@app", "@@copies/app"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied 1 tag of [HOST]/app to [HOST]/copies/app: 6 blobs mounted or linked
    ");
    assert_snapshot!(context.run(&["copy", "-a", "-n", "@@app", "@@copies/app"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied 0 tags of [HOST]/app to [HOST]/copies/app: everything was there
    ");
    assert_snapshot!(context.run(&["copy", "-a", "@@app:1", "@@copies/app"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid reference "[HOST]/app:1": tag (at position 19): a repository is wanted, without a tag
    "#);
}

#[test]
fn a_dry_run_writes_nothing() {
    let context = context();
    assert_snapshot!(context.run(&["copy", "--dry-run", "@@app:1", "@@new:1"]), @"
    exit: 0
    --- stdout
    would copy [HOST]/app:1 to [HOST]/new:1: 6 blobs mounted or linked

    --- stderr
    ");
    assert_snapshot!(context.run(&["copy", "--dry-run", "@@app:1", "oci:layout:1"]), @"
    exit: 0
    --- stdout
    would copy [HOST]/app:1 to oci:layout:1: 6 blobs moved (2.19 KiB)

    --- stderr
    ");
    assert!(context.left().is_empty());
    assert_eq!(context.run(&["digest", "@@new:1"]).code, Some(3));
}

#[test]
fn tag_prints_nothing() {
    let context = context();
    assert_snapshot!(context.run(&["tag", "@@app:1", "2"]), @"
    exit: 0
    --- stdout

    --- stderr
    tagged [APP] as 2
    ");
    assert_eq!(digest(&context, "@@app:2"), digest(&context, "@@app:1"));
    assert_snapshot!(context.run(&["tag", "@@app:1", "-x"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: unexpected argument '-x' found

      tip: to pass '-x' as a value, use '-- -x'

    Usage: palan tag [OPTIONS] <IMAGE> <TAG>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["tag", "@@app:1", "a:b"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid reference "a:b": tag (at position 1): ':' is not allowed here
    "#);
    assert_snapshot!(context.run(&["tag", "@@none:1", "2"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: 1 was not found in [HOST]/none
    ");
    context.run(&["copy", "@@app:1", "oci:layout:a"]).ok();
    context.run(&["tag", "oci:layout:a", "b"]).ok();
    assert_eq!(context.run(&["ls", "oci:layout"]).ok().text(), "a\nb");
    context.run(&["pull", "@@single:1", "x.tar"]).ok();
    assert_snapshot!(context.run(&["tag", "docker-archive:x.tar", "b"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: not supported yet: tagging inside an archive
    hint: copy it to a layout: oci:DIR
    ");
}

#[test]
fn pull_and_push_round_trips() {
    let context = context();
    assert_snapshot!(context.run(&["pull", "@@app:1", "app.tar"]), @"
    exit: 0
    --- stdout

    --- stderr
    note: chose linux/amd64 of 2 platforms
    pulled 1 image to app.tar
    ");
    assert_snapshot!(context.run(&["pull", "--format", "oci", "@@app:1", "layout"]), @"
    exit: 0
    --- stdout

    --- stderr
    pulled 1 image to layout
    ");
    context.run(&["pull", "--format", "oci", "@@app:1", "layout"]).ok();
    assert_snapshot!(context.run(&["push", "layout", "@@pushed/index:1"]), @"
    exit: 0
    --- stdout
    [HOST]/pushed/index@[APP]

    --- stderr
    pushed layout to [HOST]/pushed/index:1: 6 blobs moved (2.19 KiB)
    ");
    assert_snapshot!(context.run(&["push", "app.tar", "@@pushed/image:1"]), @"
    exit: 0
    --- stdout
    [HOST]/pushed/image@sha256:…

    --- stderr
    pushed app.tar to [HOST]/pushed/image:1: 4 blobs moved (1.20 KiB)
    ");
    assert_snapshot!(context.run(&["push", "nothing", "@@x:1"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read nothing
      caused by: No such file or directory (os error 2)
    ");
    assert_eq!(digest(&context, "@@pushed/index:1"), digest(&context, "@@app:1"));
    let amd64 = families().app.image("linux/amd64").unwrap().digest().to_string();
    assert_eq!(digest(&context, "@@pushed/image:1"), amd64);
}

#[test]
fn several_images_in_one_layout() {
    let context = context();
    context.run(&["pull", "--format=oci", "--annotate-ref", "@@app:1", "@@single:1", "layout"]).ok();
    assert_snapshot!(context.run(&["ls", "oci:layout"]), @"
    exit: 0
    --- stdout
    [HOST]/app:1
    [HOST]/single:1

    --- stderr
    ");
    assert_snapshot!(context.run(&["push", "layout", "@@both:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: oci:layout holds 2 images, choose one: [HOST]/app:1, [HOST]/single:1
    hint: name one of them: palan push oci:layout:[HOST]/app:1 IMAGE; or push each under its own tag with --all-tags, or all as one index with --index
    ");
    let ran = context.run(&["push", "layout", "@@both:1", "--index", "--image-refs", "refs.txt"]).ok();
    assert_eq!(ran.text(), format!("{}/both@{}", context.host(), digest(&context, "@@both:1")));
    assert_eq!(std::fs::read_to_string(context.path("refs.txt")).unwrap(), ran.text());
    context.run(&["validate", "@@both:1"]).ok();
}

#[test]
fn pull_to_stdout() {
    let context = context();
    let ran = context.run(&["pull", "@@single:1", "-"]).ok();
    context.write("x.tar", &ran.stdout);
    assert_eq!(digest(&context, "docker-archive:x.tar"), digest(&context, "@@single:1"));
    assert_snapshot!(context.run(&["pull", "--format", "oci", "@@single:1", "-"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --format oci writes a directory, not stdout
    hint: --format oci-archive writes a layout as one file
    ");
    assert_snapshot!(context.run(&["pull", "--annotate-ref", "@@single:1", "x"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --annotate-ref is for --format oci
    ");
    assert_snapshot!(context.run(&["pull", "@@single:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: an image and a path are required: palan pull IMAGE... PATH
    ");
}

#[test]
fn append_to_an_index_and_to_nothing() {
    let context = context();
    let tar = layer(&[("etc/motd", b"hello\n")]);
    context.write("layer.tar.gz", &tar.bytes);
    assert_snapshot!(context.run(&["append", "-b", "@@app:1", "-f", "layer.tar.gz", "-t", "@@more:1"]), @"
    exit: 0
    --- stdout
    [HOST]/more@sha256:…

    --- stderr
    appended 1 layer to [HOST]/more:1: 3 blobs moved (2.04 KiB), 4 blobs mounted or linked
    ");
    context.run(&["validate", "@@more:1"]).ok();
    let report = context.run(&["inspect", "@@more:1", "--format", "json"]).ok();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    for image in report["images"].as_array().unwrap() {
        assert_eq!(image["layers"].as_array().unwrap().len(), 4);
    }
    let words =
        ["append", "-f", "layer.tar.gz", "-f", "-", "--new_tag", "@@scratch:1", "--platform", "linux/arm64"];
    assert_snapshot!(context.run_input(&words, &tar.bytes), @"
    exit: 0
    --- stdout
    [HOST]/scratch@sha256:…

    --- stderr
    note: no --base was given: starting from an empty image for linux/arm64
    appended 2 layers to [HOST]/scratch:1: 2 blobs moved (410 B)
    ");
    context.run(&["validate", "@@scratch:1"]).ok();
    assert_snapshot!(context.run(&["append", "--oci-empty-base", "-f", "layer.tar.gz", "-o", "out.tar"]), @"
    exit: 0
    --- stdout

    --- stderr
    appended 1 layer to docker-archive:out.tar: 2 blobs moved (306 B)
    ");
    context.run(&["validate", "--tarball", "out.tar"]).ok();
}

#[test]
fn append_needs_its_words() {
    let context = context();
    assert_snapshot!(context.run(&["append", "-f", "layer.tar"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      --new-tag <IMAGE>

    Usage: palan append --new-layer <LAYER> --new-tag <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["append", "-t", "@@x:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      --new-layer <LAYER>

    Usage: palan append --new-layer <LAYER> --new-tag <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["append", "-t", "@@x:1", "-f", "none.tar"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.tar
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(context.run(&["append", "-b", "@@app:1", "--oci-empty-base", "-t", "@@x:1", "-f", "x"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the argument '--base <IMAGE>' cannot be used with '--oci-empty-base'

    Usage: palan append --new-layer <LAYER> --base <IMAGE> --new-tag <IMAGE>

    For more information, try '--help'.
    ");
    context.write("bad.tar", "this is not a tar");
    assert_snapshot!(context.run(&["append", "-b", "@@app:1", "-t", "@@x:1", "-f", "bad.tar"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: the layer bad.tar cannot be appended
      caused by: it is no tar archive
    ");
}
