//! Appending: every kind of layer on every kind of base, from files and streams, and what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use common::{chain, client, places, repository, server, store};
use palan::{
    Error, Event, Location, Observer, Places,
    append::{self, LayerContent, LayerSource, Request, append},
    copy::Options,
    files,
    image::{self, Image},
    place::{Layout, PutAs, Source},
    rewrite::{self, Attestations, Outcome},
    validate,
};
use palan_core::{Compression, Digest, Family, MediaType, Selector, annotation, view};
use palan_layer::tree::Content;
use palan_testkit::fault::{FaultRegistry, Reply, Store};
use palan_testkit::image::{
    Attestation, Graph, History, Image as Fixture, ImageSpec, IndexSpec, Layer, LayerSpec, layer,
};
use serde_json::{Value, json};

fn location(folder: &Path, name: &str) -> Location {
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, name)
}

fn request(base: Option<Location>, layers: Vec<LayerSource>, target: Location) -> Request {
    Request::new(base, layers, target)
}

fn stream(name: &str, bytes: impl Into<Vec<u8>>) -> LayerSource {
    let content = LayerContent::Stream(Box::new(std::io::Cursor::new(bytes.into())));
    LayerSource { name: name.into(), content }
}

async fn run(request: Request) -> Result<Outcome, Error> {
    append(&places(), request, &Options::default()).await
}

fn base(platform: &str) -> ImageSpec {
    ImageSpec::new(platform)
        .layer(layer(&[("etc/os-release", b"ID=x\n")]))
        .label("keep", "me")
        .config_field("/x-unknown", json!({"n": 1.50}))
        .manifest_field("/x-unknown", json!([null]))
}

fn bases() -> Vec<(&'static str, Family, Option<Graph>, usize)> {
    let of = |family| base("linux/amd64").family(family).build();
    let both = |family| [of(family), base("linux/arm64").family(family).build()];
    let oci = IndexSpec::new().images(both(Family::Oci)).attest(Attestation::Artifact).build();
    let docker = IndexSpec::new().family(Family::Docker).images(both(Family::Docker)).build();
    vec![
        ("empty", Family::Oci, None, 1),
        ("oci", Family::Oci, Some(of(Family::Oci).graph()), 1),
        ("docker", Family::Docker, Some(of(Family::Docker).graph()), 1),
        ("oci-index", Family::Oci, Some(oci.graph()), 2),
        ("docker-index", Family::Docker, Some(docker.graph()), 2),
    ]
}

async fn images(source: &dyn Source, digest: Digest) -> Vec<Image> {
    let root = source.document(&digest.into()).await.unwrap();
    let manifests = match root.kind() {
        palan_core::Kind::Index => {
            let mut all = Vec::new();
            for (entry, _) in image::platforms(source, &root).await.unwrap() {
                all.push(source.document(&entry.digest.into()).await.unwrap());
            }
            all
        }
        _ => vec![root],
    };
    let mut images = Vec::new();
    for manifest in manifests {
        images.push(Image::load(source, manifest).await.unwrap());
    }
    images
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_on_every_base() {
    let folder = tempfile::tempdir().unwrap();
    let of = |c| LayerSpec::new().file("app/run", b"new").noise("app/data", 1, 50_000).compression(c).build();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let added = of(compression);
        let path = folder.path().join("layer");
        std::fs::write(&path, &added.bytes).unwrap();
        for (name, family, graph, count) in bases() {
            let id = format!("{name}-{compression}");
            let base = match &graph {
                Some(graph) => Some(publish(folder.path(), &format!("{id}-base"), graph).await),
                None => None,
            };
            let mut digests = Vec::new();
            for how in ["file", "stream"] {
                let content = match how {
                    "file" => LayerContent::File(path.clone()),
                    _ => LayerContent::Stream(Box::new(std::io::Cursor::new(added.bytes.clone()))),
                };
                let layer = LayerSource { name: "layer".into(), content };
                let target = location(folder.path(), &format!("{id}-{how}"));
                let request = Request { recompress: true, ..request(base.clone(), vec![layer], target) };
                let outcome = run(request).await;
                digests.push(outcome.unwrap_or_else(|e| panic!("{id}: {}", chain(&e))).digest);
            }
            assert_eq!(digests[0], digests[1], "{id}: a file and a stream");

            let result = Layout::open(folder.path().join(format!("{id}-file"))).unwrap();
            assert_eq!(result.resolve(&Selector::Tag("v1".into())).await.unwrap().digest, digests[0]);
            let options = validate::Options::default();
            let report = validate::validate(&result, &digests[0].into(), &options).await.unwrap();
            assert!(report.faults.iter().all(|f| f.text.contains("which the index does not list")), "{id}");
            assert!(report.faults.iter().all(|f| f.severity == validate::Severity::Warning), "{id}");
            let results = images(&result, digests[0]).await;
            assert_eq!(results.len(), count, "{id}");
            for image in results {
                check_image(&id, &result, &image, family, &added, graph.is_some()).await;
            }
        }
    }
}

async fn check_image(id: &str, source: &Layout, image: &Image, family: Family, added: &Layer, based: bool) {
    assert_eq!(image.manifest.family(), family, "{id}");
    let top = image.manifest_view.layers.last().unwrap();
    assert_eq!(image.config_view.rootfs.diff_ids.last(), Some(&added.diff_id), "{id}");
    assert_eq!(top.media_type.family(), Some(family), "{id}");
    // What a family can hold is stored as it came, but plain archives.
    let kept = added.compression == Compression::Gzip
        || (added.compression == Compression::Zstd && family == Family::Oci);
    assert_eq!(top.digest == added.digest, kept, "{id}");
    let history = &image.config_view.history;
    assert_eq!(history.last().unwrap().created_by.as_deref(), Some("palan append"), "{id}");
    let tree = files(source, image, Content::Digest).await.unwrap();
    assert!(tree.get("app/run").is_some(), "{id}");
    assert_eq!(tree.get("etc/os-release").is_some(), based, "{id}");
    if based {
        let manifest = image.manifest.object().unwrap();
        let config = image.config.object().unwrap();
        assert_eq!(manifest["x-unknown"], json!([null]), "{id}");
        assert_eq!(config["x-unknown"].to_string(), r#"{"n":1.5}"#, "{id}");
        assert_eq!(config["config"]["Labels"]["keep"], "me", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_only_continued_where_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let first = ImageSpec::new("linux/amd64").layer(layer(&[("a", b"")])).build();
    let on = |history| {
        ImageSpec::new("linux/amd64").on(&first).layer(layer(&[("b", b"")])).history(history).build()
    };
    for (name, history, added) in [
        ("full", History::Full, 1),
        ("padded", History::Padded, 1),
        ("none", History::None, 0),
        ("own", History::OwnOnly, 0),
    ] {
        let base = on(history);
        let before: view::Config = base.config.view().unwrap();
        let base = publish(folder.path(), name, &base.graph()).await;
        let target = location(folder.path(), &format!("{name}-target"));
        let outcome =
            run(request(Some(base), vec![stream("x", layer(&[("c", b"")]).tar)], target)).await.unwrap();
        let layout = Layout::open(folder.path().join(format!("{name}-target"))).unwrap();
        let image = &images(&layout, outcome.digest).await[0];
        assert_eq!(image.config_view.history.len(), before.history.len() + added, "{name}");
        assert_eq!(
            image.config.object().unwrap().contains_key("history"),
            !before.history.is_empty(),
            "{name}"
        );
    }
}

/// `FROM scratch` without a layer: Docker writes no diff IDs, or `null`.
#[tokio::test(flavor = "multi_thread")]
async fn images_without_diff_ids_get_them() {
    let folder = tempfile::tempdir().unwrap();
    for (n, rootfs) in
        [json!({"type": "layers"}), json!({"type": "layers", "diff_ids": null})].iter().enumerate()
    {
        let image = ImageSpec::new("linux/amd64").config_field("/rootfs", rootfs.clone());
        let image = image.manifest_field("/layers", Value::Null).build();
        let base = publish(folder.path(), &format!("b{n}"), &image.graph()).await;
        let target = location(folder.path(), &format!("t{n}"));
        let added = layer(&[("c", b"")]);
        let outcome = run(request(Some(base), vec![stream("x", added.bytes.clone())], target)).await.unwrap();
        let layout = Layout::open(folder.path().join(format!("t{n}"))).unwrap();
        assert_eq!(images(&layout, outcome.digest).await[0].config_view.rootfs.diff_ids, [added.diff_id]);
    }
}

/// However a layer is cut: refused, and nothing is written anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn cut_layers_are_refused_and_nothing_is_written() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let targets: Vec<Location> = vec![
        location(folder.path(), "layout"),
        format!("oci-archive:{}", folder.path().join("oci.tar").display()).parse().unwrap(),
        format!("docker-archive:{}:a:b", folder.path().join("docker.tar").display()).parse().unwrap(),
        format!("{}/app:v1", server.host()).parse().unwrap(),
    ];
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let spec = LayerSpec::new().file("a", vec![7; 700]).file("b", b"x").compression(compression);
        let whole = spec.build().bytes;
        let cuts: Vec<usize> = match compression {
            // Inside a header, behind it, inside content and its padding, behind the header of an empty file's neighbour.
            Compression::None => vec![300, 512, 1000, 1300, 1700, 2048],
            _ => vec![1, whole.len() / 2, whole.len() - 1],
        };
        for cut in cuts {
            for target in &targets {
                let layers =
                    vec![stream("good", layer(&[("g", b"")]).bytes), stream("cut.tar", &whole[..cut])];
                let error = run(request(None, layers, target.clone())).await.unwrap_err();
                let text = chain(&error);
                let named = matches!(&error, Error::Append { name, .. } if name == "cut.tar");
                assert!(named, "{compression} cut at {cut}: {text}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(server.registry().stats().requests, 0);
    server.stop().await;
}

/// As crane takes them, but not silently.
#[tokio::test(flavor = "multi_thread")]
async fn layers_without_end_marker_and_empty_ones_are_taken_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let whole = LayerSpec::new().file("a", vec![7; 700]).file("b", b"x").build().tar;
    // Behind the first member, behind the last, inside the end marker; nothing at all.
    for (cut, told) in [
        (1536, Some("no end marker after its last entry")),
        (2560, Some("no end marker after its last entry")),
        (3072, Some("no end marker after its last entry")),
        (0, Some("the layer cut.tar is empty")),
        (whole.len(), None),
    ] {
        let layers = vec![stream("cut.tar", &whole[..cut])];
        let request = request(None, layers, location(folder.path(), "target"));
        let plan = append::plan(&places(), request).await.unwrap_or_else(|e| panic!("{cut}: {}", chain(&e)));
        match (plan.notes(), told) {
            ([], None) => {}
            ([note], Some(told)) if note.contains(told) => {}
            (notes, _) => panic!("{cut}: {notes:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_appended_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let image = base("linux/amd64").build();
    let docker = base("linux/arm64").family(Family::Docker).build();
    let mixed = IndexSpec::new().image(image.clone()).image(docker.clone()).build();
    let index = IndexSpec::new().image(image.clone()).build();
    let artifact = Attestation::Artifact.about(&image);
    let artifact = Graph { blobs: artifact.blobs, documents: vec![artifact.manifest] };
    let zstd = LayerSpec::new().file("a", b"b").compression(Compression::Zstd).build().bytes;
    let tar = layer(&[("a", b"b")]).tar;
    let no_file = LayerSource { name: "f".into(), content: LayerContent::File(folder.path().join("none")) };
    let graphs = [
        ("mixed", mixed.graph()),
        ("docker", docker.graph()),
        ("index", index.graph()),
        ("image", image.graph()),
        ("artifact", artifact),
    ];
    for (name, graph) in graphs {
        publish(folder.path(), name, &graph).await;
    }
    let arm = || vec!["linux/arm64".parse().unwrap()];
    let cases = [
        ("mixed", stream("z", zstd.clone()), Vec::new(), Compression::Gzip, "cannot hold the layer"),
        ("docker", stream("t", tar.clone()), Vec::new(), Compression::Zstd, "zstd layers in Docker images"),
        // crane-cli.md bug 15: never an OCI media type in a Docker manifest.
        ("docker", stream("z", zstd.clone()), Vec::new(), Compression::Gzip, "zstd layers in Docker images"),
        ("image", stream("text", "x".repeat(2000)), Vec::new(), Compression::Gzip, "it is no tar archive"),
        (
            "index",
            stream("t", tar.clone()),
            arm(),
            Compression::Gzip,
            "has no image for linux/arm64 (it has linux/amd64)",
        ),
        (
            "image",
            stream("t", tar.clone()),
            arm(),
            Compression::Gzip,
            "is an image for linux/amd64, not for linux/arm64",
        ),
        ("artifact", stream("t", tar), Vec::new(), Compression::Gzip, "a container image is needed"),
        ("image", no_file, Vec::new(), Compression::Gzip, "cannot read"),
        (
            "image",
            stream("text", "hello"),
            Vec::new(),
            Compression::Gzip,
            "the layer text cannot be appended",
        ),
    ];
    for (name, layer, platforms, compression, text) in cases {
        let mut request =
            request(Some(location(folder.path(), name)), vec![layer], location(folder.path(), "target"));
        request.platforms = platforms;
        request.compression = compression;
        let error = chain(&run(request).await.unwrap_err());
        assert!(error.contains(text), "{name}: {error}");
        assert!(!folder.path().join("target").exists(), "{name}");
    }
    let missing = location(folder.path(), "none");
    let error = run(request(Some(missing), Vec::new(), location(folder.path(), "target"))).await.unwrap_err();
    assert!(chain(&error).contains("none"), "{}", chain(&error));
}

/// One platform inside an index: the others stay, attestations about what is replaced are marked, and that is told.
#[tokio::test(flavor = "multi_thread")]
async fn one_platform_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = |platform: &str| base(platform).build();
    let (amd64, arm64): (Fixture, Fixture) = (fixture("linux/amd64"), fixture("linux/arm64"));
    let index = IndexSpec::new().image(amd64.clone()).image(arm64.clone()).attest(Attestation::Legacy);
    let index = index.annotation("org.example/k", "v").build();
    let base = publish(folder.path(), "base", &index.graph()).await;
    let notes = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&notes);
    let observer = Observer::new(move |event| {
        if let Event::Note { text } = event {
            hear.lock().unwrap().push(text.clone());
        }
    });
    let mut request =
        request(Some(base), vec![stream("x", layer(&[("c", b"")]).tar)], location(folder.path(), "t"));
    request.platforms = vec!["linux/arm64".parse().unwrap()];
    let outcome = append(&places(), request, &Options { observer, ..Options::default() }).await.unwrap();

    let target = Layout::open(folder.path().join("t")).unwrap();
    let root = target.document(&outcome.digest.into()).await.unwrap();
    let result: view::Index = root.view().unwrap();
    assert_eq!(result.annotations["org.example/k"], "v");
    let before: view::Index = index.document.view().unwrap();
    assert_eq!(result.manifests.len(), 4);
    assert_eq!(result.manifests[0], before.manifests[0]);
    assert_eq!(result.manifests[1].platform, before.manifests[1].platform);
    assert_ne!(result.manifests[1].digest, arm64.digest());
    assert_eq!(result.manifests[2].attested_digest(), Some(amd64.digest()));
    let marked = &result.manifests[3];
    assert_eq!(marked.attested_digest(), Some(arm64.digest()), "still about the old manifest");
    assert_eq!(marked.annotation(annotation::MADE_ABOUT), Some(arm64.digest().to_string().as_str()));
    let notes = notes.lock().unwrap();
    let gone = index.attestations[1].manifest.digest().to_string();
    assert!(notes.len() == 1 && notes[0].contains(&gone), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn base_hints_are_written_when_asked_for() {
    let server = server().await;
    let image = base("linux/amd64").build();
    store(repository(&server, "base/os").as_ref(), &image.graph(), PutAs::Tag("v1".into())).await.unwrap();
    let before = server.registry().stats();
    let name = format!("{}/base/os:v1", server.host());
    let target: Location = format!("{}/app:v1", server.host()).parse().unwrap();
    let added = layer(&[("c", b"")]);
    let layers = vec![stream("x", added.bytes.clone())];
    let mut request = request(Some(name.parse().unwrap()), layers, target);
    request.base_annotations = true;
    let outcome = run(request).await.unwrap();
    let moved = server.registry().stats().since(&before);
    assert_eq!(moved.mounted, 1, "the base's layer");

    let app = repository(&server, "app");
    let manifest = app.document(&outcome.digest.into()).await.unwrap();
    let manifest: view::Manifest = manifest.view().unwrap();
    assert_eq!(manifest.annotations[annotation::BASE_NAME], name);
    assert_eq!(manifest.annotations[annotation::BASE_DIGEST], image.digest().to_string());
    let config = manifest.config.size;
    assert_eq!(moved.blob_bytes_in, added.bytes.len() as u64 + config, "the layer and the config");
    assert_eq!(manifest.layers[1].media_type, MediaType::OCI_LAYER_GZIP);
    server.stop().await;
}

/// Counts what is read through it.
struct Counted {
    content: std::io::Cursor<Vec<u8>>,
    count: Arc<std::sync::atomic::AtomicUsize>,
}

impl std::io::Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.content.read(buf)?;
        self.count.fetch_add(n, std::sync::atomic::Ordering::SeqCst);
        Ok(n)
    }
}

/// crane reads a file three times and compresses it twice.
#[tokio::test(flavor = "multi_thread")]
async fn layers_are_read_once_however_many_images_get_them() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bytes = LayerSpec::new().noise("data", 1, 300_000).compression(compression).build().bytes;
        let all = ["linux/amd64", "linux/arm64", "windows/amd64"].map(|p| base(p).build());
        let index = IndexSpec::new().images(all).build();
        let id = compression.to_string();
        let base = publish(folder.path(), &format!("{id}-base"), &index.graph()).await;
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let content = std::io::Cursor::new(bytes.to_vec());
        let reader = Counted { content, count: Arc::clone(&count) };
        let layer = LayerSource { name: "counted".into(), content: LayerContent::Stream(Box::new(reader)) };
        let target = location(folder.path(), &format!("{id}-target"));
        let outcome = run(request(Some(base), vec![layer], target)).await.unwrap();
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), bytes.len(), "{id}");
        let layout = Layout::open(folder.path().join(format!("{id}-target"))).unwrap();
        let images = images(&layout, outcome.digest).await;
        let tops: Vec<Digest> =
            images.iter().map(|i| i.manifest_view.layers.last().unwrap().digest).collect();
        assert_eq!(tops[0], tops[1], "{id}: one blob for both");
        assert_ne!(tops[0], tops[2], "{id}: Windows has another form");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_image_for_windows_has_layers_for_windows() {
    let folder = tempfile::tempdir().unwrap();
    let layer = || stream("x", layer(&[("a/b", b"1")]).tar);
    for (platform, expected) in [("linux/amd64", "a/b"), ("windows/amd64:10.0.17763.1", "Files/a/b")] {
        let target = location(folder.path(), &platform.replace(['/', ':'], "-"));
        let request = Request {
            empty_platform: platform.parse().unwrap(),
            ..request(None, vec![layer()], target.clone())
        };
        let outcome = run(request).await.unwrap();
        let layout = Layout::open(target_path(&target)).unwrap();
        let image = images(&layout, outcome.digest).await.remove(0);
        assert_eq!(image.platform().to_string(), platform);
        let tree = files(&layout, &image, Content::Digest).await.unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
        assert!(paths.iter().any(|path| path == expected), "{paths:?}");
        let options = validate::Options::default();
        let report = validate::validate(&layout, &outcome.digest.into(), &options).await.unwrap();
        assert!(report.is_valid(), "{report:?}");
    }
}

fn target_path(location: &Location) -> std::path::PathBuf {
    match location {
        Location::Layout { path, .. } => path.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_for_windows_do_not_lead_out_of_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let base = publish(folder.path(), "base", &base("windows/amd64").build().graph()).await;
    for path in ["../Hives/x", "Files/../Hives/x"] {
        let tar = LayerSpec::new().file(path, b"1").build().tar;
        let target = location(folder.path(), "target");
        let error = run(request(Some(base.clone()), vec![stream("x", tar)], target)).await.unwrap_err();
        assert!(chain(&error).contains("it has a part \"..\""), "{path}: {}", chain(&error));
        assert!(!folder.path().join("target").exists(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_on_the_way_is_of_the_whole_index_and_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["linux/amd64", "linux/arm64"].map(|p| base(p).family(Family::Docker).build());
    let index = IndexSpec::new().family(Family::Docker).images(all).attest(Attestation::Legacy).build();
    let image = publish(folder.path(), "base", &index.graph()).await;
    let target = location(folder.path(), "target");
    for attestations in [Attestations::Keep, Attestations::Drop] {
        let request = Request {
            oci: true,
            platforms: vec!["linux/arm64".parse().unwrap()],
            attestations,
            ..request(Some(image.clone()), vec![stream("x", layer(&[("x", b"1")]).tar)], target.clone())
        };
        let plan = append::plan(&places(), request).await.unwrap();
        assert_eq!(plan.root().family(), Family::Oci);
        assert!(plan.notes().iter().any(|note| note.contains("attestation")), "{:?}", plan.notes());
        let listed = plan.root().view::<view::Index>().unwrap().manifests.len();
        assert_eq!(listed, if attestations == Attestations::Drop { 2 } else { 4 }, "{:?}", plan.notes());
        let outcome = rewrite::apply(&places(), &plan, &Options::default()).await.unwrap();
        let layout = Layout::open(folder.path().join("target")).unwrap();
        let layers: Vec<_> =
            images(&layout, outcome.digest).await.iter().map(|i| i.manifest_view.layers.len()).collect();
        assert_eq!(layers, [1, 2]);
    }
}

#[tokio::test]
async fn times_must_be_rfc_3339() {
    let folder = tempfile::tempdir().unwrap();
    for time in ["yesterday", "2025-01-01 00:00:00Z"] {
        let layers = vec![stream("x", layer(&[("x", b"1")]).tar)];
        let mut request = request(None, layers, location(folder.path(), "target"));
        request.history.created = Some(time.into());
        let error = run(request).await.unwrap_err();
        assert!(matches!(error, Error::Inapplicable { .. }), "{time}: {}", chain(&error));
    }
}

#[tokio::test]
async fn new_layers_wait_in_the_folder_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let places = places().with_scratch(palan::Scratch::new(&missing));
    let request = request(None, vec![stream("-", "")], location(folder.path(), "new"));
    let error = append(&places, request, &Options::default()).await.unwrap_err();
    assert!(chain(&error).contains(missing.to_str().unwrap()), "{}", chain(&error));
}

/// A layer is at the registry when it is packed, and is sent once; where it cannot be sent meanwhile, it is sent then.
#[tokio::test(flavor = "multi_thread")]
async fn layers_are_sent_while_they_are_packed() {
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let content: Vec<u8> = (0..4_000_000).map(|_| noise()).collect();
    let tar = LayerSpec::new().file("noise", &content).compression(Compression::None).build().bytes;
    for (refused, ahead) in [("", true), ("PATCH", true), ("PUT /v2/app/blobs", true), ("", false)] {
        let store = Store::new();
        let (answers, first) = (store.clone(), AtomicBool::new(!refused.is_empty()));
        let registry = FaultRegistry::start(move |request| {
            match request.line().starts_with(refused) && first.swap(false, Relaxed) {
                true => Reply::error(400, "UNSUPPORTED"),
                false => answers.answer(request),
            }
        })
        .await;
        let target: Location = format!("{}/app:v1", registry.host()).parse().unwrap();
        let client = client();
        let layers = vec![stream("noise.tar", tar.clone())];
        let request = Request { ahead, ..request(None, layers, target) };
        append(&Places::new(client.clone()), request, &Options::default()).await.unwrap();
        assert!(store.tag("app", "v1").is_some() && store.damaged().is_empty(), "{refused}");
        assert_eq!(registry.count("PATCH") > 0, ahead, "{refused}: {:?}", registry.lines());
        let (sent, times) = (client.stats().bytes_sent, if refused.is_empty() { 1 } else { 2 });
        assert!(sent < times * 4_000_000 + 100_000, "{refused}: {sent} bytes");
        let uploads = registry.count("PATCH /v2/app/blobs") + registry.count("PUT /v2/app/blobs");
        assert!(uploads <= 3, "{refused}: {:?}", registry.lines());
    }
}
