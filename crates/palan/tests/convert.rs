//! Converting: every form into every other one, back again, and what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use common::{chain, places, server, store};
use palan::{
    Error, Event, Location, Observer,
    convert::{self, Annotations, Form, Request},
    copy::Options,
    place::{Layout, PutAs, Source},
    rewrite::{self, Attestations, Plan, Subject},
    validate,
};
use palan_core::{
    Algorithm, Compression, Digest, Document, Family, Kind, MediaType, Role, Selector, annotation, view,
};
use palan_testkit::image::{Attestation, Graph, Image, ImageSpec, Index, IndexSpec, LayerSpec, layer};
use proptest::prelude::*;
use serde_json::json;

fn location(folder: &Path, name: &str) -> Location {
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, name)
}

async fn plan(image: &Location, target: &Location, form: Form) -> Result<Plan, Error> {
    let subject = Subject { target: Some(target.clone()), ..Subject::new(image.clone()) };
    convert::plan(&places(), Request { subject, form }, &Options::default()).await
}

/// Converts, checks every byte of the result, and gives its documents.
async fn run(image: &Location, target: &Location, form: Form) -> Result<Vec<Document>, Error> {
    write(plan(image, target, form).await?, target).await
}

async fn write(plan: Plan, target: &Location) -> Result<Vec<Document>, Error> {
    let outcome = rewrite::apply(&places(), &plan, &Options::default()).await?;
    let place = places().source(target)?.place;
    let selector = Selector::Digest(outcome.digest);
    let report = validate::validate(place.as_ref(), &selector, &validate::Options::default()).await?;
    assert!(report.is_valid(), "{:?}", report.faults);
    Ok(documents(place.as_ref(), outcome.digest).await)
}

/// The root first.
async fn documents(source: &dyn Source, root: Digest) -> Vec<Document> {
    let (mut out, mut todo) = (Vec::new(), vec![root]);
    while let Some(digest) = todo.pop() {
        let document = source.document(&digest.into()).await.unwrap();
        if document.kind() == Kind::Index {
            todo.extend(document.view::<view::Index>().unwrap().manifests.iter().rev().map(|e| e.digest));
        }
        out.push(document);
    }
    out
}

fn images(documents: &[Document]) -> Vec<view::Manifest> {
    let manifests = documents.iter().filter(|d| d.kind() == Kind::Manifest);
    manifests.map(|d| d.view::<view::Manifest>().unwrap()).filter(view::Manifest::is_image).collect()
}

fn image(platform: &str, family: Family, compression: Compression) -> Image {
    let own =
        LayerSpec::new().file("app", platform).noise("data", 7, 20_000).compression(compression).build();
    let shared = LayerSpec::new().file("shared", "same").compression(compression).build();
    let spec = ImageSpec::new(platform).family(family).layer(shared).layer(own).label("keep", "me");
    spec.config_field("/x-unknown", json!({"n": 1.50})).manifest_field("/x-unknown", json!([null])).build()
}

fn index(family: Family, compression: Compression) -> Index {
    let both = ["linux/amd64", "linux/arm64"].map(|p| image(p, family, compression));
    IndexSpec::new().family(family).images(both).field("/x-unknown", 1).build()
}

fn shapes(family: Family, compression: Compression) -> Vec<(&'static str, Graph)> {
    let inner = index(family, compression);
    let nested =
        IndexSpec::new().family(family).nested(&inner).image(image("linux/s390x", family, compression));
    vec![
        ("single", image("linux/amd64", family, compression).graph()),
        ("index", inner.graph()),
        ("nested", nested.build().graph()),
    ]
}

const FORMS: [(Family, Compression); 5] = [
    (Family::Oci, Compression::Gzip),
    (Family::Oci, Compression::Zstd),
    (Family::Oci, Compression::None),
    (Family::Docker, Compression::Gzip),
    (Family::Docker, Compression::None),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_form_becomes_every_other_one() {
    let folder = tempfile::tempdir().unwrap();
    for (from, stored) in FORMS {
        for (name, graph) in shapes(from, stored) {
            let source = publish(folder.path(), &format!("{from}-{stored}-{name}"), &graph).await;
            for (family, compression) in FORMS {
                let form = Form { family: Some(family), compression: Some(compression), ..Form::default() };
                let case = format!("{from} {stored} {name} to {family} {compression}");
                let plan =
                    plan(&source, &source, form).await.unwrap_or_else(|e| panic!("{case}: {}", chain(&e)));
                assert_eq!(plan.is_noop(), (from, stored) == (family, compression), "{case}");
                let target = location(folder.path(), "target");
                let found = run(&source, &target, form).await.unwrap();
                assert!(found.iter().all(|d| d.media_type().family() == Some(family)), "{case}");
                for manifest in images(&found) {
                    assert_eq!(manifest.config.media_type.family(), Some(family), "{case}");
                    assert!(
                        graph.blob(manifest.config.digest).is_some(),
                        "{case}: the config is what it was"
                    );
                    for layer in &manifest.layers {
                        assert_eq!(
                            Some(&layer.media_type),
                            MediaType::layer(family, compression).as_ref(),
                            "{case}"
                        );
                    }
                }
                let unknown = found[0].object().unwrap().contains_key("x-unknown");
                assert_eq!(unknown, name != "nested", "{case}");
                if stored == compression {
                    let back = Form { family: Some(from), ..Form::default() };
                    let back = run(&target, &location(folder.path(), "back"), back).await.unwrap();
                    assert_eq!(back[0].bytes(), graph.root().bytes(), "{case} and back");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// To Docker's family and back gives the same bytes, where there is nothing that it cannot say.
    #[test]
    fn there_and_back_is_the_same(
        count in 0usize..4,
        labels in prop::collection::btree_map("[a-z.]{1,8}", ".{0,8}", 0..3),
        field in "x-[a-z]{1,8}",
        compressed in any::<bool>(),
        platforms in prop::collection::btree_set(prop::sample::select(vec!["linux/amd64", "linux/arm64/v8", "windows/amd64"]), 0..3),
    ) {
        let compression = if compressed { Compression::Gzip } else { Compression::None };
        let of = |platform: &str| {
            let layers = (0..count).map(|n| LayerSpec::new().file("f", [n as u8]).compression(compression).build());
            ImageSpec::new(platform).layers(layers).labels(labels.clone()).manifest_field(format!("/{field}"), json!({"a": [1]})).build()
        };
        let graph = match platforms.is_empty() {
            true => of("linux/amd64").graph(),
            false => IndexSpec::new().images(platforms.iter().map(|p| of(p))).field(format!("/{field}"), "x").build().graph(),
        };
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let source = publish(folder.path(), "source", &graph).await;
            let (there, back) = (location(folder.path(), "there"), location(folder.path(), "back"));
            let to = |family| Form { family: Some(family), ..Form::default() };
            let docker = run(&source, &there, to(Family::Docker)).await.unwrap();
            assert!(docker.iter().all(|d| d.family() == Family::Docker));
            let oci = run(&there, &back, to(Family::Oci)).await.unwrap();
            assert_eq!(oci[0].bytes(), graph.root().bytes());
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_by_sha512_and_back() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    for (name, graph) in shapes(Family::Oci, Compression::Gzip) {
        let source = publish(folder.path(), name, &graph).await;
        let remote: Location = format!("{}/{name}:1", server.host()).parse().unwrap();
        let to = |algorithm| Form { algorithm: Some(algorithm), ..Form::default() };
        for target in [location(folder.path(), &format!("{name}-512")), remote] {
            let found = run(&source, &target, to(Algorithm::Sha512))
                .await
                .unwrap_or_else(|e| panic!("{target}: {}", chain(&e)));
            let named = images(&found).into_iter().flat_map(|m| m.layers.into_iter().chain([m.config]));
            let digests = named.map(|d| d.digest).chain(found.iter().map(Document::digest));
            assert!(digests.into_iter().all(|d| d.algorithm() == Algorithm::Sha512), "{target}");
        }
        let there = location(folder.path(), &format!("{name}-512"));
        let back = run(&there, &location(folder.path(), "back"), to(Algorithm::Sha256)).await.unwrap();
        assert_eq!(back[0].bytes(), graph.root().bytes(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_several_platforms_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let index = index(Family::Oci, Compression::Gzip);
    let source = publish(folder.path(), "source", &index.graph()).await;
    let started: Arc<Mutex<BTreeMap<Digest, usize>>> = Arc::default();
    let seen = Arc::clone(&started);
    let observer = Observer::new(move |event| {
        if let Event::BlobStarted { blob } = event {
            *seen.lock().unwrap().entry(blob.digest).or_default() += 1;
        }
    });
    let form = Form { compression: Some(Compression::Zstd), ..Form::default() };
    let request = Request { subject: Subject::new(source), form };
    let options = Options { observer, ..Options::default() };
    convert::plan(&places(), request, &options).await.unwrap();
    let started = started.lock().unwrap();
    assert_eq!(started.len(), 3, "one layer is shared by two images of two layers");
    assert!(started.values().all(|n| *n == 1), "{started:?}");
}

#[tokio::test]
async fn what_docker_cannot_say_is_refused_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let zstd = LayerSpec::new().file("a", "a").compression(Compression::Zstd).build();
    let other = image("linux/arm64", Family::Oci, Compression::Gzip).manifest.descriptor();
    let rich = ImageSpec::new("linux/amd64").layer(zstd).annotation("k", "v");
    let rich =
        rich.manifest_field("/subject", json!(other)).manifest_field("/artifactType", "text/x").build();
    let source = publish(folder.path(), "rich", &rich.graph()).await;
    let target = location(folder.path(), "target");
    let form = Form { family: Some(Family::Docker), ..Form::default() };
    let Err(Error::Inexpressible { what, .. }) = plan(&source, &target, form).await else { panic!() };
    assert_eq!(
        what,
        [
            "the image for linux/amd64 has annotations".to_owned(),
            "the image for linux/amd64 has artifactType".to_owned(),
            "the image for linux/amd64 has subject".to_owned(),
            format!("the layer {} would be zstd", rich.layers[0].digest),
        ]
    );
    assert!(!folder.path().join("target").exists(), "nothing was written");
    let gone = Layout::open(folder.path().join("rich")).unwrap().blob_path(rich.layers[0].digest);
    std::fs::rename(&gone, folder.path().join("away")).unwrap();
    let to_gzip = Form { compression: Some(Compression::Gzip), ..form };
    let refused = plan(&source, &target, to_gzip).await;
    assert!(matches!(refused, Err(Error::Inexpressible { .. })), "refused before a layer is read");
    std::fs::rename(folder.path().join("away"), &gone).unwrap();
    let form = Form { annotations: Annotations::Strip, compression: Some(Compression::Gzip), ..form };
    let stripped = plan(&source, &target, form).await.unwrap();
    assert_eq!(stripped.notes().len(), 3, "{:?}", stripped.notes());
    let keys: Vec<String> = stripped.root().object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["schemaVersion", "mediaType", "config", "layers"]);
    write(stripped, &target).await.unwrap();
}

#[tokio::test]
async fn attestations_are_marked_dropped_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    for attestation in [Attestation::Legacy, Attestation::Artifact] {
        let images = ["linux/amd64", "linux/arm64"].map(|p| image(p, Family::Oci, Compression::Gzip));
        let index = IndexSpec::new().images(images).attest(attestation).build();
        let source = publish(folder.path(), "source", &index.graph()).await;
        let target = location(folder.path(), "target");
        let subject = |attestations| Subject {
            attestations,
            target: Some(target.clone()),
            ..Subject::new(source.clone())
        };
        let plan = async |attestations, form| {
            let request = Request { subject: subject(attestations), form };
            convert::plan(&places(), request, &Options::default()).await
        };
        let zstd = Form { compression: Some(Compression::Zstd), ..Form::default() };
        let kept = write(plan(Attestations::Keep, zstd).await.unwrap(), &target).await.unwrap();
        let entries = kept[0].view::<view::Index>().unwrap().manifests;
        for (entry, about) in entries[2..].iter().zip(&index.images) {
            assert_eq!(entry.annotation(annotation::MADE_ABOUT), Some(about.digest().to_string().as_str()));
        }
        let docker = Form { family: Some(Family::Docker), ..Form::default() };
        let Err(Error::Inexpressible { what, .. }) = plan(Attestations::Keep, docker).await else { panic!() };
        assert_eq!(what.len(), 2, "{what:?}");
        let dropped = plan(Attestations::Drop, docker).await.unwrap();
        assert_eq!(dropped.notes().len(), 2);
        let dropped = write(dropped, &target).await.unwrap();
        assert!(dropped.iter().all(|d| d.family() == Family::Docker));
        assert_eq!(dropped.len(), 3);
    }
}

#[tokio::test]
async fn attestations_that_an_earlier_change_kept_do_not_stop_docker() {
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSpec::new().image(image("linux/amd64", Family::Oci, Compression::Gzip));
    let index = index.attest(Attestation::Artifact).build();
    let source = publish(folder.path(), "source", &index.graph()).await;
    let (kept, target) = (location(folder.path(), "kept"), location(folder.path(), "target"));
    run(&source, &kept, Form { compression: Some(Compression::None), ..Form::default() }).await.unwrap();
    let subject = Subject { attestations: Attestations::Drop, target: Some(target), ..Subject::new(kept) };
    let form = Form { family: Some(Family::Docker), ..Form::default() };
    let plan = convert::plan(&places(), Request { subject, form }, &Options::default()).await.unwrap();
    assert_eq!(plan.root().view::<view::Index>().unwrap().manifests.len(), 1);
}

#[tokio::test]
async fn non_distributable_layers_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = layer(&[("win", b"x")]).with_media_type(MediaType::OCI_FOREIGN_LAYER_GZIP);
    let spec = ImageSpec::new("windows/amd64").layer(foreign.clone()).layer(layer(&[("own", b"y")]));
    let source = publish(folder.path(), "source", &spec.build().graph()).await;
    let target = location(folder.path(), "target");
    let to = Form { family: Some(Family::Docker), compression: Some(Compression::None), ..Form::default() };
    let plan = plan(&source, &target, to).await.unwrap();
    assert_eq!(
        plan.notes(),
        [format!("the layer {} is not distributable: its content stays as it is", foreign.digest)]
    );
    let layers = plan.root().view::<view::Manifest>().unwrap().layers;
    assert_eq!(layers[0].media_type, MediaType::DOCKER_FOREIGN_LAYER_GZIP);
    assert_eq!((layers[0].digest, layers[1].media_type.clone()), (foreign.digest, MediaType::DOCKER_LAYER));
}

/// crane #2433: images whose manifest is of one family and whose config and layers are of the other.
#[tokio::test]
async fn mixed_images_become_whole() {
    let folder = tempfile::tempdir().unwrap();
    let docker = layer(&[("a", b"a")]).with_media_type(MediaType::DOCKER_LAYER_GZIP);
    let mixed = ImageSpec::new("linux/amd64").layer(docker).layer(layer(&[("b", b"b")]));
    let mixed = mixed.manifest_field("/config/mediaType", MediaType::DOCKER_CONFIG.as_str()).build();
    let source = publish(folder.path(), "source", &mixed.graph()).await;
    for family in [Family::Oci, Family::Docker] {
        let form = Form { family: Some(family), ..Form::default() };
        let plan = plan(&source, &location(folder.path(), "target"), form).await.unwrap();
        let manifest: view::Manifest = plan.root().view().unwrap();
        let types = manifest.layers.iter().chain([&manifest.config]).map(|d| d.media_type.family());
        assert!(types.into_iter().all(|f| f == Some(family)));
    }
}

#[tokio::test]
async fn artifacts_in_an_index_keep_their_media_types() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = ImageSpec::new("linux/amd64").family(Family::Docker);
    let plugin = plugin.manifest_field("/config/mediaType", "application/vnd.docker.plugin.v1+json").build();
    let image = image("linux/amd64", Family::Docker, Compression::Gzip);
    let index = IndexSpec::new().family(Family::Docker).image(image);
    let index = index.entry(json!(plugin.manifest.descriptor()), &plugin.graph()).build();
    let source = publish(folder.path(), "source", &index.graph()).await;
    let form = Form { family: Some(Family::Oci), ..Form::default() };
    let plan = plan(&source, &location(folder.path(), "target"), form).await.unwrap();
    let note = format!("the entry {} is no container image: its media types stay", plugin.digest());
    assert_eq!(plan.notes(), [note]);
    let types = plan.root().view::<view::Index>().unwrap().manifests.into_iter().map(|e| e.media_type);
    assert!(types.eq([MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST]));
}

#[tokio::test]
async fn annotations_are_promoted_or_stripped() {
    let folder = tempfile::tempdir().unwrap();
    let of = |platform: &str| {
        let spec = ImageSpec::new(platform).layer(layer(&[("a", platform.as_bytes())])).label("other", "x");
        spec.label("org.opencontainers.image.title", "all")
            .label("org.opencontainers.image.version", platform)
            .annotation("own", platform)
            .annotation("same", "same")
            .build()
    };
    let index = IndexSpec::new().annotation("same", "the index's own");
    let index = index.annotated_image(of("linux/amd64"), &[("entry", "1")]).image(of("linux/arm64")).build();
    let source = publish(folder.path(), "source", &index.graph()).await;
    let target = location(folder.path(), "target");
    let form = |annotations| Form { annotations, ..Form::default() };
    let found = run(&source, &target, form(Annotations::Promote)).await.unwrap();
    let root: view::Index = found[0].view().unwrap();
    let expected = [("org.opencontainers.image.title", "all"), ("same", "the index's own")];
    assert_eq!(root.annotations, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let own = &images(&found)[1].annotations;
    assert_eq!(own["org.opencontainers.image.version"], "linux/arm64");
    assert_eq!((own.len(), own.contains_key("other")), (4, false));
    assert!(plan(&target, &target, form(Annotations::Promote)).await.unwrap().is_noop());

    let found = run(&source, &target, form(Annotations::Strip)).await.unwrap();
    assert!(found.iter().all(|d| !String::from_utf8_lossy(d.bytes()).contains("annotations")));
}

#[tokio::test]
async fn what_a_docker_image_should_not_have_stays_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let odd = ImageSpec::new("linux/amd64").family(Family::Docker).layer(layer(&[("a", b"a")]));
    let odd = odd.annotation("k", "v").label("org.opencontainers.image.title", "x").build();
    let source = publish(folder.path(), "source", &odd.graph()).await;
    let target = location(folder.path(), "target");
    let plain = Form { compression: Some(Compression::None), ..Form::default() };
    let found = run(&source, &target, plain).await.unwrap();
    assert_eq!(found[0].object().unwrap()["annotations"], json!({"k": "v"}));
    for form in
        [Form { family: Some(Family::Docker), ..plain }, Form { annotations: Annotations::Promote, ..plain }]
    {
        let Err(Error::Inexpressible { what, .. }) = plan(&source, &target, form).await else { panic!() };
        assert_eq!(what, ["the image for linux/amd64 has annotations"]);
    }
    let oci = Form { family: Some(Family::Oci), annotations: Annotations::Promote, ..plain };
    let found = run(&source, &target, oci).await.unwrap();
    assert_eq!(images(&found)[0].annotations.len(), 2);
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = json!({"type": "layers", "diff_ids": [Digest::sha256(b"something else")]});
    let image =
        ImageSpec::new("linux/amd64").layer(layer(&[("a", b"a")])).config_field("/rootfs", wrong).build();
    let source = publish(folder.path(), "source", &image.graph()).await;
    let form = Form { compression: Some(Compression::None), ..Form::default() };
    let error = plan(&source, &source, form).await.err().unwrap();
    let Error::Layer { source: palan_layer::Error::DiffId { found, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(found, image.layers[0].diff_id);
}

#[tokio::test]
async fn part_of_an_index_keeps_its_family_and_may_change_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let index = index(Family::Oci, Compression::Gzip);
    let source = publish(folder.path(), "source", &index.graph()).await;
    let target = location(folder.path(), "target");
    let subject = Subject {
        platforms: vec!["linux/arm64".parse().unwrap()],
        target: Some(target.clone()),
        ..Subject::new(source)
    };
    let request = |form| Request { subject: subject.clone(), form };
    let docker = Form { family: Some(Family::Docker), ..Form::default() };
    assert!(matches!(
        convert::plan(&places(), request(docker), &Options::default()).await,
        Err(Error::Unsupported(_))
    ));
    let zstd = Form { compression: Some(Compression::Zstd), ..Form::default() };
    let plan = convert::plan(&places(), request(zstd), &Options::default()).await.unwrap();
    let found = write(plan, &target).await.unwrap();
    let compressions = images(&found).into_iter().map(|m| m.layers[0].media_type.role());
    let stored = |compression| Role::Layer { compression, foreign: false };
    assert!(compressions.eq([stored(Compression::Gzip), stored(Compression::Zstd)]));
}

/// What is said about bytes is not said about other bytes; all else is kept.
#[tokio::test(flavor = "multi_thread")]
async fn annotations_about_the_old_bytes_of_a_layer_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let toc = "containerd.io/snapshot/stargz/toc.digest";
    let position = "io.github.containers.zstd-chunked.manifest-position";
    let annotations = json!({toc: "sha256:0", position: "1:2:3:1", "keep": "me"});
    let graph = |compression| {
        let layer = LayerSpec::new().file("a", "1").compression(compression).build();
        let image = ImageSpec::new("linux/amd64").layer(layer).build();
        let annotated = image.manifest.edit(|json| json["layers"][0]["annotations"] = annotations.clone());
        Graph { documents: vec![annotated.unwrap()], ..image.graph() }
    };
    let to_zstd = Form { compression: Some(Compression::Zstd), ..Form::default() };
    let target = location(folder.path(), "target");
    let image = publish(folder.path(), "gzip", &graph(Compression::Gzip)).await;
    let plan = plan(&image, &target, to_zstd).await.unwrap();
    let notes = plan.notes().join("\n");
    assert!(notes.contains(&format!("its old bytes: {toc}, {position}")), "{notes}");
    let left =
        |documents: &[Document]| images(documents)[0].layers[0].annotations.clone().unwrap_or_default();
    assert_eq!(left(&write(plan, &target).await.unwrap()), [("keep".to_owned(), "me".to_owned())].into());
    let image = publish(folder.path(), "zstd", &graph(Compression::Zstd)).await;
    assert_eq!(left(&run(&image, &target, to_zstd).await.unwrap()).len(), 3);
    let sha512 = Form { algorithm: Some(Algorithm::Sha512), ..Form::default() };
    assert_eq!(left(&run(&image, &target, sha512).await.unwrap()).len(), 3, "the bytes are the same");
}
