//! Flattening: the same files in fewer layers, and nothing else changed.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{chain, places, store};
use palan::{
    Error, Location,
    copy::Options,
    files,
    flatten::{Keep, Request, plan},
    image::{self, Image},
    place::{Layout, PutAs, Source},
    rewrite::{self, Outcome, Subject},
    validate,
};
use palan_core::{Compression, Document, Family, MediaType, Selector};
use palan_layer::{Level, tree::Content};
use palan_testkit::image::{Attestation, Graph, History, ImageSpec, IndexSpec, LayerSpec};
use serde_json::{Value, json};

fn location(folder: &Path, tag: &str) -> Location {
    format!("oci:{}:{tag}", folder.join("layout").display()).parse().unwrap()
}

async fn publish(folder: &Path, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join("layout")).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, "v1")
}

fn request(folder: &Path, image: Location, keep: Keep) -> Request {
    Request {
        subject: Subject { target: Some(location(folder, "flat")), ..Subject::new(image) },
        keep,
        compression: Compression::Gzip,
        level: Level::DEFAULT,
        created: None,
        ahead: false,
    }
}

async fn run(request: &Request) -> Result<(Outcome, Vec<String>), Error> {
    let plan = plan(&places(), request, None, &Options::default()).await?;
    let notes = plan.notes().to_vec();
    Ok((rewrite::apply(&places(), &plan, &Options::default()).await?, notes))
}

/// The layout's images, of one image or of an index.
async fn images(folder: &Path, tag: &str) -> Vec<Image> {
    let layout = Layout::open(folder.join("layout")).unwrap();
    let root = layout.document(&Selector::Tag(tag.into())).await.unwrap();
    let manifests: Vec<Document> = match root.kind() {
        palan_core::Kind::Index => {
            let mut all = Vec::new();
            for (entry, _) in image::platforms(&layout, &root).await.unwrap() {
                all.push(layout.document(&entry.digest.into()).await.unwrap());
            }
            all
        }
        _ => vec![root],
    };
    let mut images = Vec::new();
    for manifest in manifests {
        images.push(Image::load(&layout, manifest).await.unwrap());
    }
    images
}

/// What a container sees.
async fn seen(folder: &Path, image: &Image) -> Vec<String> {
    let layout = Layout::open(folder.join("layout")).unwrap();
    let tree = files(&layout, image, Content::Digest).await.unwrap();
    tree.iter().map(|(path, node)| format!("{} {:?}", String::from_utf8_lossy(path), node.kind)).collect()
}

fn app(platform: &str) -> ImageSpec {
    let base = LayerSpec::new().dir("etc").file("etc/os-release", "ID=x\n").dir("tmp").file("tmp/old", "1");
    let step = LayerSpec::new().dir("app").file("app/run", platform).file("app/cache", "1").file("gone", "1");
    let last = LayerSpec::new().whiteout("app/cache").whiteout("gone").opaque("tmp").file("tmp/new", "1");
    ImageSpec::new(platform)
        .layers([base, step, last].map(LayerSpec::build))
        .annotation("keep", "me")
        .config_field("/x-unknown", json!({"n": 1.50}))
        .manifest_field("/x-unknown", json!([null]))
}

async fn validated(folder: &Path) {
    let layout = Layout::open(folder.join("layout")).unwrap();
    let options = validate::Options::default();
    let report = validate::validate(&layout, &Selector::Tag("flat".into()), &options).await.unwrap();
    assert!(report.is_valid(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_follow_the_manifests_family() {
    use Compression::{Gzip, None, Zstd};
    let cases = [
        (Family::Oci, Gzip, MediaType::OCI_LAYER_GZIP),
        (Family::Oci, Zstd, MediaType::OCI_LAYER_ZSTD),
        (Family::Oci, None, MediaType::OCI_LAYER),
        (Family::Docker, Gzip, MediaType::DOCKER_LAYER_GZIP),
        (Family::Docker, None, MediaType::DOCKER_LAYER),
    ];
    for (family, compression, media_type) in cases {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old = app("linux/amd64").family(family).build();
        let image = publish(folder, &old.graph()).await;
        let request = Request { compression, ..request(folder, image, Keep::Nothing) };
        run(&request).await.unwrap();
        validated(folder).await;
        let new = images(folder, "flat").await.remove(0);
        let [layer] = new.manifest_view.layers.as_slice() else { panic!("{:?}", new.manifest_view.layers) };
        assert_eq!((new.manifest.media_type(), &layer.media_type), (old.manifest.media_type(), &media_type));
        assert_eq!(new.config.media_type(), old.config.media_type());
        assert_eq!(seen(folder, &new).await, seen(folder, &images(folder, "v1").await[0]).await);
        let (mut before, mut after) = (old.manifest.object().unwrap(), new.manifest.object().unwrap());
        for member in ["config", "layers"] {
            before.shift_remove(member);
            after.shift_remove(member);
        }
        assert_eq!(before, after, "annotations and unknown fields stay");
        let (mut before, mut after) = (old.config.object().unwrap(), new.config.object().unwrap());
        let history = before.shift_remove("history").unwrap();
        let entry = after.shift_remove("history").unwrap()[0].take();
        assert_eq!(entry["created_by"], "palan flatten");
        assert_eq!(entry["created"], before["created"]);
        assert_eq!(serde_json::from_str::<Value>(entry["comment"].as_str().unwrap()).unwrap(), history);
        before.shift_remove("rootfs");
        assert_eq!(after.shift_remove("rootfs").unwrap()["diff_ids"].as_array().unwrap().len(), 1);
        assert_eq!(before, after, "the rest of the config stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_images_have_no_zstd() {
    let folder = tempfile::tempdir().unwrap();
    let image = publish(folder.path(), &app("linux/amd64").family(Family::Docker).build().graph()).await;
    let request = Request { compression: Compression::Zstd, ..request(folder.path(), image, Keep::Nothing) };
    let error = run(&request).await.unwrap_err();
    assert!(chain(&error).contains("zstd layers in Docker images"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_gives_the_same_result() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let image = publish(folder.path(), &app("linux/amd64").build().graph()).await;
        digests.push(run(&request(folder.path(), image, Keep::Nothing)).await.unwrap().0.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_image_or_as_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let history = json!([
        {"created": "2025-01-01T00:00:00Z"},
        {"created": "2025-06-01T00:00:00+05:00"},
        {"created": "2025-05-31T20:00:00Z"},
    ]);
    let old = app("linux/amd64").created("2024-01-01T00:00:00Z").config_field("/history", history).build();
    let image = publish(folder, &old.graph()).await;
    let request = request(folder, image, Keep::Nothing);
    run(&request).await.unwrap();
    let config = images(folder, "flat").await[0].config_view.clone();
    assert_eq!(
        config.history[0].created.as_deref(),
        Some("2025-05-31T20:00:00Z"),
        "the latest, whatever its zone"
    );
    assert_eq!(config.created.as_deref(), Some("2024-01-01T00:00:00Z"));
    let given = "1970-01-01T00:00:01Z".to_owned();
    run(&Request { created: Some(given.clone()), ..request.clone() }).await.unwrap();
    let config = images(folder, "flat").await[0].config_view.clone();
    assert_eq!((&config.history[0].created, &config.created), (&Some(given.clone()), &Some(given)));
    for time in ["yesterday", "2025-01-01 00:00:00Z"] {
        let error = run(&Request { created: Some(time.into()), ..request.clone() }).await.unwrap_err();
        assert!(matches!(error, Error::Inapplicable { .. }), "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_of_the_time_of_the_layers_that_it_is_made_from() {
    let time = |day: u8| format!("2025-01-{day:02}T00:00:00Z");
    let step = |day: u8| json!({"created": time(day)});
    let empty = json!({"created": time(9), "empty_layer": true});
    let all = [step(4), step(2), step(1), empty];
    for (keep, day) in [(Keep::Nothing, 4), (Keep::Lowest(1), 2)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old =
            app("linux/amd64").created("2025-01-08T00:00:00Z").config_field("/history", json!(all)).build();
        let image = publish(folder, &old.graph()).await;
        run(&request(folder, image, keep.clone())).await.unwrap();
        let history = images(folder, "flat").await[0].config_view.history.clone();
        assert_eq!(history.last().unwrap().created, Some(time(day)), "{keep:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_stays_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let both = ["linux/amd64", "linux/arm64"].map(|platform| app(platform).build());
    let index = IndexSpec::new().images(both).attest(Attestation::Artifact).build();
    let image = publish(folder, &index.graph()).await;
    let mut request = request(folder, image, Keep::Nothing);
    let (_, notes) = run(&request).await.unwrap();
    assert!(notes.iter().any(|note| note.contains("attestation")), "{notes:?}");
    validated(folder).await;
    let (old, new) = (images(folder, "v1").await, images(folder, "flat").await);
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((new.platform(), new.manifest_view.layers.len()), (old.platform(), 1));
        assert_eq!(seen(folder, new).await, seen(folder, old).await);
    }
    assert_eq!(new.len(), 2);
    request.subject.platforms = vec!["linux/arm64".parse().unwrap()];
    run(&request).await.unwrap();
    let new = images(folder, "flat").await;
    assert_eq!(new[0].manifest.digest(), old[0].manifest.digest(), "the other platform is not touched");
    assert_eq!(new[1].manifest_view.layers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upper_layers_hide_of_the_lower_ones_stays_hidden() {
    for (keep, kept) in
        [(Keep::Lowest(1), 1), (Keep::AllBut(2), 1), (Keep::AllBut(9), 0), (Keep::Lowest(0), 0)]
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old = app("linux/amd64").build();
        let image = publish(folder, &old.graph()).await;
        run(&request(folder, image, keep.clone())).await.unwrap();
        validated(folder).await;
        let (before, after) = (images(folder, "v1").await.remove(0), images(folder, "flat").await.remove(0));
        assert_eq!(after.manifest_view.layers.len(), kept + 1, "{keep:?}");
        assert_eq!(after.manifest_view.layers[..kept], before.manifest_view.layers[..kept]);
        assert_eq!(seen(folder, &after).await, seen(folder, &before).await, "{keep:?}");
        let steps = after.config_view.history.iter().filter(|entry| !entry.empty_layer).count();
        assert_eq!(steps, kept + 1, "{keep:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_cut_stays() {
    for history in [History::None, History::OwnOnly] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let base = ImageSpec::new("linux/amd64").layer(LayerSpec::new().file("base", "1").build()).build();
        let layers = ["a", "b"].map(|name| LayerSpec::new().file(name, "1").build());
        let old = ImageSpec::new("linux/amd64").on(&base).layers(layers).history(history).build();
        let image = publish(folder, &old.graph()).await;
        let (_, notes) = run(&request(folder, image, Keep::Lowest(1))).await.unwrap();
        assert!(notes[0].contains("does not tell of every layer"), "{notes:?}");
        let new = images(folder, "flat").await.remove(0);
        let (old, new) = (old.config.object().unwrap(), new.config.object().unwrap());
        assert_eq!(old.get("history"), new.get("history"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_annotations_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let layer = |name: &str| LayerSpec::new().file(name, "1").build();
    let spec =
        ["a", "b", "c"].into_iter().fold(ImageSpec::new("linux/amd64"), |spec, name| spec.layer(layer(name)));
    let plain: Value = serde_json::from_slice(spec.clone().build().manifest.bytes()).unwrap();
    let mut layers = plain["layers"].clone();
    (layers[0]["annotations"], layers[2]["annotations"]) = (json!({"of": "a"}), json!({"of": "c"}));
    let image = publish(folder.path(), &spec.manifest_field("/layers", layers).build().graph()).await;
    for (keep, lost) in [(Keep::Nothing, 2), (Keep::Lowest(1), 1)] {
        let (_, notes) = run(&request(folder.path(), image.clone(), keep)).await.unwrap();
        let told = format!("linux/amd64: annotations of {lost} layers that are one now are not kept");
        assert!(notes.contains(&told), "{notes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_layer_is_flat() {
    let folder = tempfile::tempdir().unwrap();
    let old = ImageSpec::new("linux/amd64").layer(LayerSpec::new().file("a", "1").build()).build();
    let image = publish(folder.path(), &old.graph()).await;
    let subject = Subject::new(image.clone());
    let request = Request { subject, ..request(folder.path(), image, Keep::Nothing) };
    let (outcome, notes) = run(&request).await.unwrap();
    assert_eq!((outcome.digest, outcome.pushed), (old.digest(), false));
    assert_eq!(notes, ["linux/amd64: there is nothing to flatten, the image has one layer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_into_layers_that_stay_must_keep_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let layers = [
        LayerSpec::new().file("file", "old"),
        LayerSpec::new().hard_link("link", "file"),
        LayerSpec::new().file("file", "new"),
    ];
    let old = ImageSpec::new("linux/amd64").layers(layers.map(LayerSpec::build)).build();
    let image = publish(folder, &old.graph()).await;
    let before = seen(folder, &images(folder, "v1").await[0]).await;
    for (keep, layers) in [(Keep::Lowest(1), 2), (Keep::AllBut(2), 2), (Keep::Nothing, 1)] {
        let (_, notes) = run(&request(folder, image.clone(), keep)).await.unwrap();
        let flat = &images(folder, "flat").await[0];
        assert_eq!((flat.manifest_view.layers.len(), seen(folder, flat).await), (layers, before.clone()));
        let told = "linux/amd64: replaced files that hard links still name are written again: \"file\"";
        assert_eq!(notes, [told].into_iter().filter(|_| layers > 1).collect::<Vec<_>>());
    }
    validated(folder).await;
}

/// A link to what is in no layer is no file.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let layers = [
        LayerSpec::new().file("other", "old"),
        LayerSpec::new().hard_link("link", "file"),
        LayerSpec::new().file("file", "new"),
    ];
    let old = ImageSpec::new("linux/amd64").layers(layers.map(LayerSpec::build)).build();
    let image = publish(folder, &old.graph()).await;
    let error = run(&request(folder, image, Keep::Lowest(1))).await.unwrap_err();
    let error = chain(&error);
    assert!(error.contains("its hard link target \"file\" does not exist"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_base_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let image = publish(folder.path(), &app("linux/amd64").build().graph()).await;
    let error = run(&request(folder.path(), image, Keep::Base)).await.unwrap_err();
    assert!(matches!(error, Error::BaseUnknown { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn layers_are_inflated_into_the_folder_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let layer = |name| LayerSpec::new().file(name, "x").build();
    let image = ImageSpec::new("linux/amd64").layer(layer("a")).layer(layer("b")).build();
    let image = publish(folder.path(), &image.graph()).await;
    let missing = folder.path().join("missing");
    let options = Options { scratch: palan::Scratch::new(&missing), ..Options::default() };
    let error = plan(&places(), &request(folder.path(), image, Keep::Nothing), None, &options).await;
    let text = chain(&error.err().unwrap());
    assert!(text.contains(missing.to_str().unwrap()), "{text}");
}

/// What is compressed already stays so, unless a level is asked for; the files are the same.
#[tokio::test]
async fn what_is_copied_keeps_its_compression() {
    let folder = tempfile::tempdir().unwrap();
    let words = |seed: usize, size: usize| -> String {
        (0..size / 8).map(|n| format!("{:7} ", (n * 7919 + seed) * n % 100_003)).collect()
    };
    let base = LayerSpec::new().file("a", words(1, 3_000_000)).file("b", words(2, 40_000)).file("c", "1");
    let upper = LayerSpec::new().whiteout("c").file("b", words(3, 1_000_000)).hard_link("l", "b");
    let image = ImageSpec::new("linux/amd64").layer(base.build()).layer(upper.build()).build();
    let from = publish(folder.path(), &image.graph()).await;
    let mut sizes = Vec::new();
    for level in [Level::DEFAULT, Level::new(5), Level::new(1)] {
        let request = Request { level, ..request(folder.path(), from.clone(), Keep::Nothing) };
        run(&request).await.unwrap();
        validated(folder.path()).await;
        let [flat] = &images(folder.path(), "flat").await[..] else { panic!("one image") };
        let [whole] = &images(folder.path(), "v1").await[..] else { panic!("one image") };
        assert_eq!(seen(folder.path(), flat).await, seen(folder.path(), whole).await);
        sizes.push((flat.manifest_view.layers[0].size, flat.config_view.rootfs.diff_ids[0]));
    }
    let [kept, anew, quick] = sizes[..] else { panic!("three") };
    assert!(kept.1 == anew.1 && kept.1 == quick.1);
    assert!(kept.0 != anew.0 && kept.0.abs_diff(anew.0) < anew.0 / 50 && kept.0 < quick.0, "{sizes:?}");
}
