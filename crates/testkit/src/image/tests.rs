use palan_core::{Compression, Family, Kind, MediaType, view};
use palan_layer::{Limits, scan_expecting};
use serde_json::json;

use super::*;

fn base() -> Image {
    let os = LayerSpec::new().file("etc/os-release", "ID=a\n").created_by("ADD os").build();
    ImageSpec::new("linux/amd64").layer(os).layer(layer(&[("usr/lib/libc", b"1")])).build()
}

fn app(history: History) -> Image {
    ImageSpec::new("linux/amd64").on(&base()).layer(layer(&[("app", b"x")])).history(history).build()
}

fn check(graph: &Graph) {
    for (descriptor, bytes) in &graph.blobs {
        assert_eq!((descriptor.digest, descriptor.size), (Digest::sha256(bytes), bytes.len() as u64));
    }
    let known = |d: &Descriptor| graph.blob(d.digest).is_some() || graph.document(d.digest).is_some();
    for document in &graph.documents {
        if document.kind() == Kind::Index {
            assert!(document.view::<view::Index>().unwrap().manifests.iter().all(known));
        } else {
            let manifest = document.view::<view::Manifest>().unwrap();
            assert!(known(&manifest.config) && manifest.layers.iter().all(known));
        }
    }
}

#[test]
fn images_are_complete_and_reproducible() {
    let image = app(History::Full);
    assert_eq!(image.digest(), app(History::Full).digest());
    check(&image.graph());
    let manifest: view::Manifest = image.manifest.view().unwrap();
    let config: view::Config = image.config.view().unwrap();
    assert_eq!(config.rootfs.diff_ids, image.diff_ids());
    assert_eq!(config.rootfs.diff_ids[..2], base().diff_ids());
    for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let blob = image.graph().blob(descriptor.digest).unwrap().clone();
        assert_eq!(
            scan_expecting(&*blob, &descriptor.clone().into(), &Limits::default()).unwrap().diff_id,
            *diff_id
        );
    }
}

#[test]
fn history_comes_in_all_shapes() {
    let shape = |history| {
        let config: view::Config = app(history).config.view().unwrap();
        config.history.iter().map(|h| (h.created.is_some(), h.empty_layer)).collect::<Vec<_>>()
    };
    let (layer, empty) = ((true, false), (true, true));
    assert_eq!(shape(History::Full), [layer, layer, empty, layer, empty]);
    assert_eq!(shape(History::None), []);
    assert_eq!(shape(History::OwnOnly), [layer]);
    assert_eq!(shape(History::Padded), [layer, layer, layer]);
    assert_eq!(shape(History::NullCreated).iter().filter(|(created, _)| *created).count(), 0);
}

#[test]
fn a_recompressed_base_keeps_its_diff_ids_only() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let image = ImageSpec::new("linux/amd64").on(&base()).recompress_base(compression).build();
        assert_eq!(image.diff_ids(), base().diff_ids());
        assert!(image.layers.iter().zip(base().layers).all(|(a, b)| a.digest != b.digest));
    }
}

#[test]
fn docker_images_have_docker_types_only() {
    let image = ImageSpec::new("linux/amd64").family(Family::Docker).on(&base()).build();
    let manifest: view::Manifest = image.manifest.view().unwrap();
    let types: Vec<_> =
        manifest.layers.iter().map(|l| &l.media_type).chain([&manifest.config.media_type]).collect();
    assert!(types.iter().all(|t| t.family() == Some(Family::Docker)), "{types:?}");
    assert_eq!(*image.manifest.media_type(), MediaType::DOCKER_MANIFEST);
}

#[test]
fn unknown_fields_are_carried() {
    let image = ImageSpec::new("linux/arm/v6")
        .config_field("/x-custom", json!({"deep": [1]}))
        .config_field("/config/Healthcheck/StartInterval", 5)
        .config_field("/os.features", json!(["f"]))
        .manifest_field("/artifactType", "a/b")
        .label("a/b", "c")
        .build();
    let config = image.config.object().unwrap();
    assert_eq!(config["x-custom"], json!({"deep": [1]}));
    assert_eq!(config["config"]["Healthcheck"], json!({"StartInterval": 5}));
    assert_eq!(config["config"]["Labels"], json!({"a/b": "c"}));
    assert_eq!(config["variant"], "v6");
    assert_eq!(image.manifest.object().unwrap()["artifactType"], "a/b");
}

#[test]
fn indexes_list_images_and_attestations() {
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let arm = ImageSpec::new("linux/arm64/v8").layer(layer(&[("a", b"arm")])).build();
        let index = IndexSpec::new()
            .image(app(History::Full))
            .annotated_image(arm, &[("k", "v")])
            .attest(form)
            .annotation("org.example/a", "b")
            .build();
        check(&index.graph());
        assert_eq!(index.graph().root().digest(), index.digest());
        let view: view::Index = index.document.view().unwrap();
        assert_eq!(view.annotations["org.example/a"], "b");
        assert_eq!(view.manifests.len(), 4);
        assert_eq!(view.manifests[1].annotation("k"), Some("v"));
        assert!(view.manifests[2..].iter().all(Descriptor::is_attestation));
        assert_eq!(view.manifests[3].attested_digest(), Some(index.images[1].digest()));
        let manifest: view::Manifest = index.attestations[0].manifest.view().unwrap();
        assert_eq!(manifest.is_image(), form == Attestation::Legacy);
        assert_eq!(
            manifest.subject.map(|s| s.digest),
            (form == Attestation::Artifact).then(|| index.images[0].digest())
        );
        assert!(index.image("linux/arm64").is_some());
    }
}

#[test]
fn nested_indexes_are_complete() {
    let inner = IndexSpec::new().image(app(History::None)).build();
    let outer = IndexSpec::new().nested(&inner).image_without_platform(base()).build();
    check(&outer.graph());
    assert_eq!(outer.graph().documents.len(), 4);
}
