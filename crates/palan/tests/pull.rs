//! Pulling: docker's first archive format, and the cache of blobs.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use common::{
    assert_holds, chain, copy, memory,
    recorder::{Call, Recorder},
};
use palan::{
    Error, Event, Observer,
    cache::Cache,
    copy::Options,
    image::Image,
    place::{Archive, Format, Layout, LegacyWriter, PutAs, Source, Target},
    validate,
};
use palan_core::{Compression, Digest, Family, Selector};
use palan_testkit::{
    conformance::place::{Fault, Feed},
    image::{Image as Fixture, ImageSpec, IndexSpec, LayerSpec, layer},
};
use serde_json::Value;

/// Four layers of every compression, the first and the last of them the same.
fn fixture(label: &str) -> Fixture {
    let of = |name: &str, compression| {
        LayerSpec::new().file(name, name.repeat(300)).compression(compression).build()
    };
    let layers = [
        of("one", Compression::Gzip),
        of("two", Compression::Zstd),
        of("three", Compression::None),
        of("one", Compression::Gzip),
    ];
    ImageSpec::new("linux/arm64/v8").layers(layers).label("k", label).build()
}

async fn legacy(path: &Path, images: &[(&Fixture, &str)]) -> Result<(), Error> {
    let target: Arc<dyn Target> = Arc::new(LegacyWriter::create(path)?);
    for (image, name) in images {
        let source = memory(&image.graph()).await;
        let role = if name.is_empty() { PutAs::Root } else { PutAs::Tag((*name).into()) };
        copy(&source, &target, &image.manifest, role).await?;
    }
    target.finish().await
}

fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = palan_layer::tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut members = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        members.push((String::from_utf8(entry.path().to_vec()).unwrap(), content));
    }
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_archives_hold_what_was_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legacy.tar");
    let (one, two) = (fixture("one"), fixture("two"));
    let images = [(&one, "app"), (&one, "localhost:5000/team/app:v1"), (&two, "two:v2"), (&two, "")];
    legacy(&path, &images).await.unwrap();
    let archive = Archive::open(&path, Format::Docker).unwrap();
    let names = ["docker.io/library/app:latest", "localhost:5000/team/app:v1", "docker.io/library/two:v2"];
    assert_eq!(archive.tags().await.unwrap(), names);
    for (name, image) in [("app", &one), ("localhost:5000/team/app:v1", &one), ("two:v2", &two)] {
        let selector = Selector::Tag(name.into());
        let report = validate::validate(&archive, &selector, &validate::Options::default()).await.unwrap();
        assert!(report.is_valid(), "{:?}", report.faults);
        let read = Image::load(&archive, archive.document(&selector).await.unwrap()).await.unwrap();
        assert_eq!(read.config.bytes(), image.config.bytes());
        assert_eq!(read.config_view.rootfs.diff_ids, image.diff_ids());
    }
    // The same input gives the same bytes, and nothing else is left.
    let again = folder.path().join("again.tar");
    legacy(&again, &images).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// Docker's specification of images, versions 1 and 1.2.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_archives_have_what_old_programs_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legacy.tar");
    let image = fixture("x");
    legacy(&path, &[(&image, "localhost:5000/app:v1")]).await.unwrap();
    let members = members(&path);
    let content = |name: &str| &members.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1;
    let json = |name: &str| serde_json::from_slice::<Value>(content(name)).unwrap();
    let mut id = json("repositories")["localhost:5000/app"]["v1"].as_str().unwrap().to_owned();
    assert_eq!(members.last().unwrap().0, "manifest.json", "last: an archive that was cut has none");
    let mut chain = Vec::new();
    loop {
        assert_eq!(content(&format!("{id}/VERSION")), b"1.0");
        let layer = json(&format!("{id}/json"));
        assert_eq!(layer["id"], id.as_str());
        chain.push((Digest::sha256(content(&format!("{id}/layer.tar"))), layer.clone()));
        let Some(parent) = layer.get("parent") else { break };
        id = parent.as_str().unwrap().to_owned();
    }
    assert_eq!(chain.len(), 4);
    assert_eq!(chain[0].1["architecture"], "arm64", "the last layer has the image's config");
    assert_eq!(chain[0].1["config"]["Labels"]["k"], "x");
    assert!(chain[0].1.get("rootfs").is_none());
    let stored: Vec<Digest> = chain[1..].iter().rev().map(|(digest, _)| *digest).collect();
    assert_eq!(stored, image.diff_ids()[..3]);
    assert_eq!(chain[0].0, Digest::sha256(b""), "a link to the first layer, which is the same");
}

/// Nothing is left of an archive that could not be completed.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_archives_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legacy.tar");
    let image = fixture("x");
    for fault in Fault::ALL {
        for layer in &image.layers {
            let mut feed = Feed::of(&image.graph());
            feed.fault(layer.digest, Some(fault));
            let source: Arc<dyn Source> = Arc::new(feed);
            let target: Arc<dyn Target> = Arc::new(LegacyWriter::create(&path).unwrap());
            let failed = copy(&source, &target, &image.manifest, PutAs::Root).await;
            assert!(failed.is_err(), "{fault:?}");
            drop(target);
            emptied(folder.path()).await;
        }
    }
    let wrong = ImageSpec::new("linux/amd64").layer(layer(&[("a", b"1")]));
    let wrong = wrong.config_field("/rootfs/diff_ids", vec![Digest::sha256(b"other").to_string()]).build();
    let text = chain(&legacy(&path, &[(&wrong, "")]).await.unwrap_err());
    assert!(text.contains("the config's diff ID is sha256:"), "{text}");
    let index = IndexSpec::new().image(image).build();
    let source = memory(&index.graph()).await;
    let target: Arc<dyn Target> = Arc::new(LegacyWriter::create(&path).unwrap());
    let error = copy(&source, &target, &index.document, PutAs::Root).await.unwrap_err();
    assert!(error.to_string().contains("is an image index"), "{error}");
    drop(target);
    emptied(folder.path()).await;
}

/// Waits until nothing is left: layers that were under way when another one failed end when their threads notice.
async fn emptied(folder: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::fs::read_dir(folder).unwrap().count() > 0 {
        assert!(std::time::Instant::now() < deadline, "files are left in {}", folder.display());
        tokio::task::yield_now().await;
    }
}

fn opened(recorder: &Recorder<dyn Source>) -> usize {
    recorder.calls().iter().filter(|call| matches!(call, Call::Open(_))).count()
}

/// crane-cli.md bug 12: a warm cache must not be slower than none, and must not be poisoned.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_cache_is_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture("x");
    let blobs = image.graph().blobs.len();
    let recorder = Recorder::new(memory(&image.graph()).await);
    let cache = Cache::create(folder.path().join("cache")).unwrap();
    let source = cache.before(recorder.clone(), Observer::default());
    for (n, format) in [Format::Oci, Format::Docker].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.tar"));
        let target: Arc<dyn Target> = Arc::new(palan::place::ArchiveWriter::create(&path, format).unwrap());
        copy(&source, &target, &image.manifest, PutAs::Root).await.unwrap();
        target.finish().await.unwrap();
        assert_holds(&Archive::open(&path, format).unwrap(), &image.graph()).await;
        assert_eq!(opened(&recorder), blobs, "only the first time");
    }
    let layout: Arc<dyn Target> = Arc::new(Layout::create(folder.path().join("layout")).unwrap());
    let summary = copy(&source, &layout, &image.manifest, PutAs::Root).await.unwrap();
    assert_eq!((summary.blobs_moved, summary.blobs_adopted as usize), (0, blobs), "linked");
    assert_holds(layout.as_ref(), &image.graph()).await;
    assert_eq!(opened(&recorder), blobs);
    let again = copy(&source, &layout, &image.manifest, PutAs::Root).await.unwrap();
    assert_eq!(again.blobs_present as usize, blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_right_comes_into_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::create(folder.path().join("cache")).unwrap();
    let image = fixture("x");
    let victim = image.layers[1].digest;
    let layout =
        |name: &str| -> Arc<dyn Target> { Arc::new(Layout::create(folder.path().join(name)).unwrap()) };
    for fault in Fault::ALL {
        let mut feed = Feed::of(&image.graph());
        feed.fault(victim, Some(fault));
        let source = cache.before(Arc::new(feed), Observer::default());
        copy(&source, &layout(&format!("{fault:?}")), &image.manifest, PutAs::Root).await.unwrap_err();
        assert!(!cache.path(victim).exists(), "{fault:?}");
    }
    let good: Arc<dyn Source> = Arc::new(Feed::of(&image.graph()));
    let source = cache.before(good, Observer::default());
    copy(&source, &layout("good"), &image.manifest, PutAs::Root).await.unwrap();
    let folder_of = cache.path(victim).parent().unwrap().to_owned();
    let left = std::fs::read_dir(&folder_of).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.starts_with(".palan-")), "no temporary file");
    // One that was cut counts as absent; one that was changed is an error once, and then absent.
    let whole = std::fs::read(cache.path(victim)).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let archive = |n: &str| -> Arc<dyn Target> {
        let path = folder.path().join(n);
        Arc::new(palan::place::ArchiveWriter::create(path, Format::Oci).unwrap())
    };
    std::fs::remove_file(cache.path(victim)).unwrap();
    std::fs::write(cache.path(victim), &whole[..10]).unwrap();
    copy(&source, &archive("a.tar"), &image.manifest, PutAs::Root).await.unwrap();
    assert!(std::fs::read(cache.path(victim)).unwrap() == whole);
    std::fs::remove_file(cache.path(victim)).unwrap();
    std::fs::write(cache.path(victim), changed).unwrap();
    let error = chain(&copy(&source, &archive("b.tar"), &image.manifest, PutAs::Root).await.unwrap_err());
    assert!(error.contains("the cache (") && error.contains("is damaged"), "{error}");
    copy(&source, &archive("c.tar"), &image.manifest, PutAs::Root).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    let cache = Cache::create(&root).unwrap();
    // Where a directory is needed there is a file: also for root, who may write anywhere.
    std::fs::write(root.join("blobs/sha256"), "").unwrap();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&notes);
    let observer = Observer::new(move |event| {
        if let Event::Note { text } = event {
            hear.lock().unwrap().push(text.clone());
        }
    });
    let image = fixture("x");
    let source = cache.before(memory(&image.graph()).await, observer);
    let layout: Arc<dyn Target> = Arc::new(Layout::create(folder.path().join("layout")).unwrap());
    palan::copy::copy(&source, &layout, vec![(image.manifest.clone(), PutAs::Root)], &Options::default())
        .await
        .unwrap();
    assert_holds(layout.as_ref(), &image.graph()).await;
    let notes = notes.lock().unwrap();
    assert!(
        matches!(notes.as_slice(), [one] if one.starts_with("the cache keeps nothing more: cannot ")),
        "{notes:?}"
    );
    assert!(Cache::create(root.join("blobs/sha256")).is_err());
}

/// Docker images are pulled in all of the formats, too.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_archives_of_docker_images() {
    let folder = tempfile::tempdir().unwrap();
    let image = ImageSpec::new("linux/amd64").family(Family::Docker).layer(layer(&[("a", b"1")])).build();
    let path = folder.path().join("x.tar");
    legacy(&path, &[(&image, "a:b")]).await.unwrap();
    let archive = Archive::open(&path, Format::Docker).unwrap();
    let read = archive.document(&Selector::Tag("a:b".into())).await.unwrap();
    assert_eq!(read.family(), Family::Docker);
}
