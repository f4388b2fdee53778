//! `palan push`: what is found in files, and which of it is pushed where.

use std::io::Write as _;

use insta::assert_snapshot;

use crate::{TestContext, families, family};

fn context() -> TestContext {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    context.name(context.push("single:2", &family("linux/arm64").old.graph()), "SINGLE");
    context
}

fn digest(context: &TestContext, location: &str) -> String {
    context.run(&["digest", location]).ok().text()
}

/// Issue 1373.
#[test]
fn compressed_archives_are_pushed() {
    let context = context();
    context.run(&["pull", "@@single:2", "x.tar"]).ok();
    let tar = std::fs::read(context.path("x.tar")).unwrap();
    for compression in [palan_core::Compression::Gzip, palan_core::Compression::Zstd] {
        let mut encoder =
            palan_layer::Encoder::new(Vec::new(), compression, palan_layer::Level::DEFAULT).unwrap();
        encoder.write_all(&tar).unwrap();
        context.write("x.tar.z", encoder.finish().unwrap());
        let target = format!("@@back:{compression}");
        context.run(&["push", "x.tar.z", &target]).ok();
        assert_eq!(digest(&context, &target), digest(&context, "@@single:2"));
        assert_eq!(
            context.run(&["digest", "--tarball", "x.tar.z"]).ok().text(),
            digest(&context, "@@single:2")
        );
    }
    // From a pipe: `palan pull - | palan push -`.
    context.run_input(&["push", "-", "@@back:pipe"], &tar).ok();
    assert_eq!(digest(&context, "@@back:pipe"), digest(&context, "@@single:2"));
    assert!(context.left().iter().all(|name| name.starts_with("x.tar")), "{:?}", context.left());
}

#[test]
fn several_images_of_one_archive() {
    let context = context();
    context.run(&["pull", "--platform", "linux/arm64", "@@app:1", "@@single:2", "two.tar"]).ok();
    assert_snapshot!(context.run(&["push", "two.tar", "@@both:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: docker-archive:two.tar holds 2 images, choose one: 1, 2
    hint: name one of them: palan push docker-archive:two.tar:1 IMAGE; or push each under its own tag with --all-tags
    ");
    context.run(&["push", "docker-archive:two.tar:2", "@@both:second"]).ok();
    assert_eq!(digest(&context, "@@both:second"), digest(&context, "@@single:2"));
    let words = ["push", "--all-tags", "two.tar", "@@both", "--image-refs", "refs.txt"];
    let ran = context.run(&words).ok();
    let app = family("linux/arm64").app.digest();
    let expected = [format!("both@{app}"), format!("both@{}", digest(&context, "@@single:2"))];
    let expected = expected.map(|name| format!("{}/{name}", context.host()));
    assert_eq!(ran.text().lines().collect::<Vec<_>>(), expected);
    assert!(ran.stderr.starts_with("pushed 2 images of two.tar to [HOST]/both: "), "{ran}");
    assert_eq!(std::fs::read_to_string(context.path("refs.txt")).unwrap(), ran.text());
    assert_eq!(context.run(&["ls", "@@both"]).ok().text(), "1\n2\nsecond");
    assert_snapshot!(context.run(&["push", "--all-tags", "docker-archive:two.tar:1", "@@both"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: docker-archive:two.tar:1 names one image, --all-tags takes all
    ");
    let ran = context.run(&["push", "--all-tags", "two.tar", "@@both:1"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    context.run(&["pull", "--format", "oci", "@@app:1", "nameless"]).ok();
    assert_snapshot!(context.run(&["push", "--all-tags", "nameless", "@@both"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: nameless holds no image with a name
    ");
}

#[test]
fn names_that_share_a_tag_are_a_choice() {
    let context = context();
    context.push("other:1", &family("linux/arm64").new.graph());
    context.run(&["pull", "--platform", "linux/arm64", "@@app:1", "@@other:1", "two.tar"]).ok();
    let before = context.requests().len();
    assert_snapshot!(context.run(&["push", "--all-tags", "two.tar", "@@both"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: several images of two.tar would get the tag 1
    hint: push them one by one: palan push docker-archive:two.tar:[HOST]/other:1 IMAGE
    ");
    assert_eq!(context.requests().len(), before, "nothing was asked");
}

/// As scripts for Helm charts and other artifacts use it.
#[test]
fn configs_of_artifacts_are_printed() {
    let context = TestContext::new();
    let attestation = palan_testkit::image::Attestation::Artifact.about(&family("linux/amd64").app);
    let config = attestation.manifest.view::<palan_core::view::Manifest>().unwrap().config;
    let expected = attestation.blobs.iter().find(|(d, _)| d.digest == config.digest).unwrap().1.clone();
    let graph =
        palan_testkit::image::Graph { blobs: attestation.blobs, documents: vec![attestation.manifest] };
    context.push("artifact:1", &graph);
    assert_eq!(context.run(&["config", "@@artifact:1"]).ok().stdout, expected);
}

#[test]
fn blobs_of_archives_are_printed() {
    let context = context();
    context.run(&["pull", "@@single:2", "x.tar"]).ok();
    let layer = family("linux/arm64").app.layers[0].clone();
    let ran = context.run(&["blob", &format!("docker-archive:x.tar@{}", layer.digest)]).ok();
    assert_eq!(ran.stdout, layer.bytes);
    let missing = palan_core::Digest::sha256(b"missing");
    assert_eq!(context.run(&["blob", &format!("docker-archive:x.tar@{missing}")]).code, Some(3));
}
