//! Looking: inspect, tree, the merged files and the choice of a platform.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{chain, memory, server, store};
use palan::{
    Error, files,
    image::{self, Image},
    inspect::inspect,
    place::{Memory, PutAs, Source, Target},
    tree::{Node, tree},
};
use palan_core::{Descriptor, Digest, Document, MediaType, Platform, Selector, annotation};
use palan_layer::tree::Content;
use palan_testkit::{
    conformance::place::Feed,
    image::{Attestation, Graph, History, ImageSpec, Index, IndexSpec, LayerSpec, layer},
};
use serde_json::json;

fn spec(platform: &str) -> ImageSpec {
    let base = ImageSpec::new(platform)
        .layer(
            LayerSpec::new()
                .file("etc/os-release", "ID=old\n")
                .file("etc/gone", "x")
                .created_by("ADD os")
                .build(),
        )
        .build();
    let top =
        LayerSpec::new().file("etc/os-release", "ID=new\n").whiteout("etc/gone").created_by("RUN upgrade");
    ImageSpec::new(platform).on(&base).layer(top.build())
}

fn index() -> Index {
    let amd64 = spec("linux/amd64").annotation(annotation::BASE_NAME, "docker.io/library/os:1").build();
    let arm64 =
        spec("linux/arm64").history(History::OwnOnly).label(annotation::BASE_NAME, "ghcr.io/os:2").build();
    IndexSpec::new().image(amd64).image(arm64).attest(Attestation::Artifact).annotation("k", "v").build()
}

#[tokio::test]
async fn inspect_tells_what_an_image_is() {
    let index = index();
    let source = memory(&index.graph()).await;
    let report = inspect(source.as_ref(), &index.digest().into(), None).await.unwrap();
    assert_eq!((report.digest, report.size), (index.digest(), index.document.size()));
    assert_eq!(report.name, format!("memory@{}", index.digest()));
    assert_eq!(report.annotations["k"], "v");
    let [amd64, arm64] = &report.images[..] else { panic!("{:?}", report.images) };
    assert_eq!((amd64.platform.as_str(), arm64.platform.as_str()), ("linux/amd64", "linux/arm64"));
    assert_eq!(amd64.digest, index.images[0].digest());
    // By annotation, else by label.
    assert_eq!(amd64.base.as_deref(), Some("docker.io/library/os:1"));
    assert_eq!(arm64.base.as_deref(), Some("ghcr.io/os:2"));
    // Commands only where the history is complete.
    let commands =
        |i: usize| report.images[i].layers.iter().map(|l| l.created_by.clone()).collect::<Vec<_>>();
    assert_eq!(commands(0), [Some("ADD os".to_owned()), Some("RUN upgrade".to_owned())]);
    assert_eq!(commands(1), [None, None]);
    let sizes: Vec<u64> = amd64.layers.iter().map(|l| l.size).collect();
    assert_eq!(amd64.size, sizes.iter().sum::<u64>());
    assert_eq!(amd64.layers.iter().map(|l| l.diff_id).collect::<Vec<_>>(), index.images[0].diff_ids());
    assert_eq!(amd64.config.cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    let about: Vec<_> = report.others.iter().map(|o| (o.what.as_str(), o.about)).collect();
    let expected = index.images.iter().map(|i| ("attestation", Some(i.digest())));
    assert_eq!(about, expected.collect::<Vec<_>>());

    let wanted = "linux/arm64".parse().unwrap();
    let report = inspect(source.as_ref(), &index.digest().into(), Some(&wanted)).await.unwrap();
    assert_eq!(report.images.len(), 1);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["images"][0]["config"]["Env"], json!(["PATH=/usr/bin:/bin"]));
}

#[tokio::test]
async fn inspect_tells_what_is_no_image() {
    let image = spec("linux/amd64").build();
    let inner = IndexSpec::new().image(image.clone()).build();
    let artifact = Attestation::Artifact.about(&image);
    let graph = Graph { blobs: artifact.blobs.clone(), documents: vec![artifact.manifest.clone()] };
    let plain = artifact.manifest.descriptor();
    let index = IndexSpec::new().nested(&inner).entry(json!(plain), &graph).build();
    let source = memory(&index.graph()).await;
    let report = inspect(source.as_ref(), &index.digest().into(), None).await.unwrap();
    assert!(report.images.is_empty());
    let kind = "artifact application/vnd.docker.attestation.manifest.v1+json";
    let others: Vec<_> = report.others.iter().map(|o| (o.what.as_str(), o.digest, o.about)).collect();
    assert_eq!(
        others,
        [("index", inner.digest(), None), (kind, artifact.manifest.digest(), Some(image.digest()))]
    );
    let error = Image::load(source.as_ref(), artifact.manifest.clone()).await.unwrap_err();
    assert!(matches!(error, Error::WrongKind { .. }), "{error}");
}

/// A line for each node: depth, role, digest's beginning.
fn lines(node: &Node, depth: usize, out: &mut Vec<String>) {
    let missing = if node.missing { " missing" } else { "" };
    out.push(format!("{}{}{missing}", "  ".repeat(depth), node.role));
    for child in node.children.iter().chain(&node.referrers) {
        lines(child, depth + 1, out);
    }
}

async fn drawn(source: &dyn Source, root: Digest) -> Vec<String> {
    let mut out = Vec::new();
    lines(&tree(source, &root.into()).await.unwrap(), 0, &mut out);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn tree_shows_children_referrers_and_holes() {
    let amd64 = spec("linux/amd64").build();
    let gone = spec("linux/s390x").build().descriptor();
    let index = IndexSpec::new().image(amd64.clone()).entry(json!(gone), &Graph::default()).build();
    let mut feed = Feed::new(10);
    let empty =
        Descriptor { media_type: MediaType::OCI_EMPTY, ..feed.add(palan_core::Algorithm::Sha256, "{}") };
    let referrer = |subject: Descriptor, kind: &str| {
        let json = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
            "config": empty, "layers": [empty], "subject": subject,
        });
        Document::from_value(&json, MediaType::OCI_MANIFEST).unwrap()
    };
    let signature = referrer(index.document.descriptor(), "text/signature");
    let about_it = referrer(signature.descriptor(), "text/receipt");
    let mut expected =
        vec!["index", "  manifest", "    config", "    layer", "    layer", "  manifest missing"];
    expected.extend(["  referrer", "    config", "    layer", "    referrer", "      config", "      layer"]);

    let memory: Arc<dyn Target> = Arc::new(Memory::new());
    let server = server().await;
    // The embedded registry demands what an index lists: there, the hole comes by deletion.
    let registry = common::repository(&server, "app");
    let remote: Arc<dyn Target> = registry.clone();
    let s390x = spec("linux/s390x").build();
    for target in [&memory, &remote] {
        if Arc::ptr_eq(target, &remote) {
            store(target.as_ref(), &s390x.graph(), PutAs::Child).await.unwrap();
        }
        store(target.as_ref(), &index.graph(), PutAs::Tag("v1".into())).await.unwrap();
        target.put_blob(&empty, &feed).await.unwrap();
        for document in [&signature, &about_it] {
            target.put_document(document, &PutAs::Root).await.unwrap();
        }
    }
    let client = common::client();
    let repository = format!("{}/app", server.host()).parse().unwrap();
    client.repository(&repository).delete_manifest(&s390x.digest().into()).await.unwrap();
    for source in [&memory, &remote] {
        assert_eq!(drawn(source.as_ref(), index.digest()).await, expected, "{}", source.name());
    }
    let node = tree(memory.as_ref(), &Selector::Tag("v1".into())).await.unwrap();
    assert_eq!(node.children[0].platform.as_deref(), Some("linux/amd64"));
    assert_eq!(node.referrers[0].artifact_type.as_deref(), Some("text/signature"));
    let error = tree(memory.as_ref(), &Selector::Tag("v2".into())).await.unwrap_err();
    assert!(error.is_not_found());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_what_a_container_sees() {
    let image = spec("linux/amd64").build();
    let source = memory(&image.graph()).await;
    let loaded = Image::load(source.as_ref(), image.manifest.clone()).await.unwrap();
    let tree = files(source.as_ref(), &loaded, Content::Digest).await.unwrap();
    assert!(tree.get("etc/os-release").is_some());
    assert!(tree.get("etc/gone").is_none(), "a whiteout hides it");
    // A layer that is no layer is named.
    let mut graph = image.graph();
    let text = Feed::new(10).add(palan_core::Algorithm::Sha256, "not a tar at all");
    let bad = Descriptor { media_type: MediaType::OCI_LAYER, ..text };
    let spec = spec("linux/amd64")
        .manifest_field("/layers", json!([bad, image.layers[1].descriptor(palan_core::Family::Oci)]));
    graph.extend(&spec.build().graph());
    graph.blobs.push((bad.clone(), "not a tar at all".into()));
    let source = memory(&graph).await;
    let loaded = Image::load(source.as_ref(), graph.root().clone()).await.unwrap();
    let error = files(source.as_ref(), &loaded, Content::Digest).await.unwrap_err();
    assert!(chain(&error).starts_with(&format!("layer {} of memory@", bad.digest)), "{}", chain(&error));
}

#[tokio::test]
async fn a_platform_is_chosen() {
    let of =
        |platform: &str, seed: &str| ImageSpec::new(platform).layer(layer(&[("x", seed.as_bytes())])).build();
    let amd64 = of("linux/amd64", "");
    let (v8, twin) = (of("linux/arm64/v8", ""), of("linux/arm64", "twin"));
    let windows = |version: &str| {
        let platform = Platform { os_version: Some(version.into()), ..Platform::new("windows", "amd64") };
        ImageSpec::for_platform(platform).layer(layer(&[("v", version.as_bytes())])).build()
    };
    let (w1, w2) = (windows("10.0.1"), windows("10.0.2"));
    let newer = w2.digest();
    let inner = IndexSpec::new().image(of("linux/riscv64", "")).build();
    let index = IndexSpec::new()
        .image_without_platform(amd64.clone())
        .images([v8.clone(), twin, w1, w2])
        .attest(Attestation::Legacy)
        .nested(&inner)
        .build();
    let only = IndexSpec::new().image(v8.clone()).attest(Attestation::Artifact).build();
    let mut graph = index.graph();
    graph.extend(&only.graph());
    let source = memory(&graph).await;
    let choose = async |root: Digest, wanted: Option<&str>| {
        let wanted = wanted.map(|w| w.parse().unwrap());
        image::choose(&source, &root.into(), wanted.as_ref()).await
    };
    for (root, wanted, expected) in [
        (index.digest(), None, amd64.digest()),
        (index.digest(), Some("linux/amd64"), amd64.digest()),
        (index.digest(), Some("linux/arm64"), v8.digest()),
        (only.digest(), None, v8.digest()),
        (v8.digest(), None, v8.digest()),
        (v8.digest(), Some("linux/arm64"), v8.digest()),
    ] {
        assert_eq!(choose(root, wanted).await.unwrap().digest(), expected, "{wanted:?}");
    }
    let error = choose(index.digest(), Some("windows/amd64")).await.unwrap_err();
    assert!(error.to_string().ends_with("choose one: windows/amd64:10.0.1, windows/amd64:10.0.2"), "{error}");
    assert_eq!(choose(index.digest(), Some("windows/amd64:10.0.2")).await.unwrap().digest(), newer);
    let error = choose(index.digest(), Some("linux/s390x")).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
    let error = choose(v8.digest(), Some("linux/amd64")).await.unwrap_err();
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
}
