//! copy beyond the whole image: tag patterns, platforms, attestations, what is said about an image.

use insta::assert_snapshot;
use palan_core::{Descriptor, Digest, Document, MediaType};
use palan_testkit::{
    fault::Reply,
    image::{Attestation, Graph, Image, ImageSpec, Index, IndexSpec, layer},
};
use serde_json::{Value, json};

use crate::TestContext;

fn image(platform: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("arch", platform.as_bytes())])).build()
}

fn index() -> Index {
    let inner = IndexSpec::new().image(image("linux/riscv64")).build();
    let images = ["linux/amd64", "linux/arm64", "linux/s390x"].map(image);
    IndexSpec::new().images(images).nested(&inner).attest(Attestation::Artifact).build()
}

/// An artifact that refers to `subject`, and its blob.
fn referrer(subject: &Document, name: &str) -> Graph {
    let config = Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(b"{}"), 2);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": format!("example/{name}"),
        "config": config, "layers": [], "subject": subject.descriptor(),
    });
    let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap();
    Graph { blobs: vec![(config, "{}".into())], documents: vec![manifest] }
}

pub(crate) fn context() -> TestContext {
    let context = TestContext::new();
    let index = index();
    context.name(context.push("app:1", &index.graph()), "APP");
    let amd64 = index.image("linux/amd64").unwrap();
    let sbom = referrer(&amd64.manifest, "sbom");
    context.push("app:tmp-sbom", &sbom);
    context.push("app:tmp-sign", &referrer(sbom.root(), "signature"));
    for tag in ["tmp-sbom", "tmp-sign"] {
        context.run(&["delete", &format!("@@app:{tag}")]).ok();
    }
    let signature = image("linux/amd64").graph();
    context.push(&format!("app:sha256-{}.sig", index.digest().hex()), &signature);
    context
}

fn digest(context: &TestContext, location: &str) -> String {
    context.run(&["digest", location]).ok().text()
}

fn json(ran: &crate::context::Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn several_platforms_are_an_index() {
    let context = context();
    let words = ["copy", "--platform", "linux/amd64,linux/riscv64", "@@app:1", "@@some:1"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout

    --- stderr
    note: the index was rewritten, with 2 of 4 images: [APP] became sha256:…
    copied [HOST]/app:1 to [HOST]/some:1: 6 blobs mounted or linked
    ");
    context.run(&["validate", "@@some:1"]).ok();
    let manifest = json(&context.run(&["manifest", "@@some:1"]).ok());
    assert_eq!(manifest["manifests"].as_array().unwrap().len(), 3);
    assert_snapshot!(context.run(&["copy", "--platform", "linux/amd64,windows", "@@app:1", "@@none:1"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app@[APP] has no image for windows (it has linux/amd64, linux/arm64, linux/s390x, linux/riscv64)
    hint: choose one of them, for example --platform linux/amd64
    ");
    let words = ["copy", "--dry-run", "--platform", "linux/amd64,linux/arm64", "@@app:1", "oci:layout:1"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    would copy [HOST]/app:1 to oci:layout:1: 7 blobs moved (1.56 KiB)

    --- stderr
    note: the index was rewritten, with 2 of 4 images: [APP] became sha256:…
    ");
    assert!(context.left().is_empty());
}

#[test]
fn one_platform_goes_into_a_docker_archive() {
    let context = context();
    for platform in ["linux/arm64", "linux/riscv64"] {
        let to = "docker-archive:x.tar:example.com/app:1";
        let ran = context.run(&["copy", "--platform", platform, "@@app:1", to]).ok();
        assert!(ran.stdout.is_empty(), "{ran}");
        assert_eq!(digest(&context, to), image(platform).digest().to_string());
    }
    // What BuildKit makes for one platform.
    let one = IndexSpec::new().image(image("linux/s390x")).attest(Attestation::Legacy).build();
    context.push("one:1", &one.graph());
    context.run(&["copy", "@@one:1", "docker-archive:one.tar"]).ok();
    assert_eq!(digest(&context, "docker-archive:one.tar"), image("linux/s390x").digest().to_string());
    assert_snapshot!(context.run(&["copy", "--dry-run", "@@app:1", "docker-archive:y.tar"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [APP] is an image index, one image (a docker archive holds single images: choose a platform, or use oci-archive:) is needed
    ");
}

#[test]
fn what_is_said_travels() {
    let context = context();
    assert_snapshot!(context.run(&["copy", "--referrers", "@@app:1", "@@all:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to [HOST]/all:1: 12 blobs mounted or linked; 3 manifests about it
    ");
    let tree = context.run(&["tree", "@@all:1"]).ok().text();
    assert!(tree.contains("example/sbom") && tree.contains("example/signature"), "{tree}");
    assert!(context.run(&["ls", "@@all"]).ok().text().contains(".sig"));
    assert_snapshot!(context.run(&["ls", "-O", "@@all"]), @"
    exit: 0
    --- stdout
    1

    --- stderr
    ");
    assert_snapshot!(context.run(&["copy", "--digest-tags", "@@app:1", "oci:layout:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    copied [HOST]/app:1 to oci:layout:1: 12 blobs moved (2.88 KiB); 1 manifest about it
    ");
    assert_snapshot!(context.run(&["copy", "--dry-run", "--referrers", "@@app:1", "@@new:1"]), @"
    exit: 0
    --- stdout
    would copy [HOST]/app:1 to [HOST]/new:1: 12 blobs mounted or linked; 3 manifests about it

    --- stderr
    ");
    let ran = context.run(&["copy", "--format", "json", "--referrers", "@@app:1", "oci:second:1"]).ok();
    let report = json(&ran);
    assert_eq!(report["images"][0]["digest"], report["images"][0]["source_digest"]);
    assert_eq!(report["images"][0]["companions"].as_array().unwrap().len(), 3);
    assert_eq!(report["summary"]["companions"], 3);
}

#[test]
fn attestations_change_their_form() {
    let context = context();
    assert_snapshot!(context.run(&["copy", "--attestations", "strip", "@@app:1", "@@strip:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    note: 3 attestations were left out of the index
    note: the index was rewritten: [APP] became sha256:…
    copied [HOST]/app:1 to [HOST]/strip:1: 8 blobs mounted or linked
    ");
    assert_snapshot!(context.run(&["copy", "--attestations", "legacy", "@@app:1", "@@legacy:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    note: 3 attestations were rewritten to the legacy form
    note: the index was rewritten: [APP] became sha256:…
    copied [HOST]/app:1 to [HOST]/legacy:1: 3 blobs moved (501 B), 11 blobs mounted or linked
    ");
    assert_snapshot!(context.run(&["copy", "--attestations", "referrers", "@@app:1", "@@ref:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    note: 3 attestations were made referrers of their images
    note: the index was rewritten: [APP] became sha256:…
    copied [HOST]/app:1 to [HOST]/ref:1: 12 blobs mounted or linked; 3 manifests about it
    ");
    for name in ["strip", "legacy", "ref"] {
        context.run(&["validate", &format!("@@{name}:1")]).ok();
    }
}

#[test]
fn a_registry_that_refuses_artifacts_is_named() {
    // The container registry of Alibaba Cloud, and old ones.
    let context = context();
    let registry = context.faulty(|request| match (request.method.as_str(), request.path()) {
        (_, "/v2/") => Reply::json("{}"),
        ("POST", _) => Reply::status(202).header("location", "/v2/x/blobs/uploads/1"),
        ("PUT", path) if path.contains("/blobs/") => Reply::status(201),
        ("PUT", _) if request.body.windows(9).any(|w| w == b"oci.empty") => {
            Reply::error(400, "MANIFEST_INVALID")
        }
        ("PUT", _) => Reply::status(201),
        _ => Reply::error(404, "MANIFEST_UNKNOWN"),
    });
    let to = format!("{}/x:1", registry.host());
    let ran = context.run(&["copy", "@@app:1", &to]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("whose config is of type application/vnd.oci.empty.v1+json"), "{ran}");
    assert!(ran.stderr.contains("--attestations legacy"), "{ran}");
    context.run(&["copy", "--attestations", "legacy", "@@app:1", &to]).ok();
    context.run(&["copy", "--attestations", "strip", "@@app:1", &to]).ok();
}

#[test]
fn tags_are_chosen_by_patterns() {
    let context = context();
    for tag in ["v1.0", "v1.1", "v1.1-rc1", "v2.0"] {
        context.run(&["tag", "@@app:1", tag]).ok();
    }
    let words = ["copy", "--tags", "v1.*", "--exclude-tags", "*-rc?", "@@app", "@@some"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout

    --- stderr
    copied 2 tags of [HOST]/app to [HOST]/some: 12 blobs mounted or linked
    ");
    assert_eq!(context.run(&["ls", "@@some"]).ok().text(), "v1.0\nv1.1");
    context.run(&["copy", "--tags", "v1.?", "--digest-tags", "@@app", "oci:layout"]).ok();
    let tags = context.run(&["ls", "oci:layout"]).ok().text();
    assert!(tags.starts_with("sha256-") && tags.ends_with(".sig\nv1.0\nv1.1"), "{tags}");
    context.run(&["copy", "--exclude-tags", "v*", "--exclude-tags", "sha256-*", "@@app", "@@rest"]).ok();
    assert_eq!(context.run(&["ls", "@@rest"]).ok().text(), "1");
    assert_snapshot!(context.run(&["copy", "--tags", "v3*", "@@app", "@@none"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: no tag of [HOST]/app matches v3*
    hint: palan ls [HOST]/app lists the tags
    ");
    let ran =
        context.run(&["copy", "--tags", "v*", "--no-clobber", "--format", "json", "@@app", "@@some"]).ok();
    let images = json(&ran)["images"].as_array().unwrap().clone();
    let tags: Vec<&str> = images.iter().map(|i| i["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["v1.1-rc1", "v2.0"]);
}

#[test]
fn one_tag_of_five_fails() {
    let context = context();
    for tag in ["a", "b", "c", "d"] {
        context.run(&["copy", "@@app:1", &format!("oci:layout:{tag}")]).ok();
    }
    let other = image("linux/ppc64le");
    context.push("other:1", &other.graph());
    context.run(&["copy", "@@other:1", "oci:layout:bad"]).ok();
    let lost = other.manifest.view::<palan_core::view::Manifest>().unwrap().layers[0].digest;
    std::fs::remove_file(context.path("layout/blobs/sha256").join(lost.hex())).unwrap();
    for jobs in ["1", "8"] {
        let to = format!("@@jobs{jobs}");
        let ran = context.run(&["copy", "-a", "-j", jobs, "--referrers", "oci:layout", &to]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("bad was not copied") && ran.stderr.contains("copied 4 tags"), "{ran}");
        assert_eq!(context.run(&["ls", &to]).ok().text(), "a\nb\nc\nd");
    }
    let ran = context.run(&["copy", "-a", "oci:layout", "oci-archive:all.tar"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(!context.path("all.tar").exists(), "an archive of some of the tags");
}

#[test]
fn the_same_images_make_the_same_archive() {
    let context = context();
    for tag in ["v1", "v2", "v3"] {
        context.run(&["tag", "@@app:1", tag]).ok();
    }
    let read = |name: &str| std::fs::read(context.path(name)).unwrap();
    for name in ["a.tar", "b.tar"] {
        context.run(&["copy", "-a", "--referrers", "-j", "8", "@@app", &format!("oci-archive:{name}")]).ok();
    }
    assert!(read("a.tar") == read("b.tar"));
}

#[test]
fn a_dry_run_says_what_is_done() {
    let context = context();
    let cases: [&[&str]; 6] = [
        &[],
        &["--referrers"],
        &["--platform", "linux/amd64,linux/riscv64", "--referrers"],
        &["--platform", "linux/s390x", "--attestations", "referrers"],
        &["--attestations", "legacy"],
        &["--attestations", "strip", "--digest-tags", "--no-clobber"],
    ];
    for (n, words) in cases.iter().enumerate() {
        for to in [format!("@@to{n}:1"), format!("oci:layout{n}:1"), format!("oci-archive:{n}.tar:1")] {
            let run = |more: &[&str]| context.run(&[&["copy", "@@app:1", &to], *words, more].concat()).ok();
            let foretold = run(&["--dry-run"]);
            let done = run(&[]);
            let told = foretold.text().replace("would copy", "copied").replace(&context.host(), "[HOST]");
            assert!(done.stderr.contains(&told), "{words:?}: {told}\n{done}");
        }
    }
}
