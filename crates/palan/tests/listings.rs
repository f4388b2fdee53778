//! Listings of layers: each is read once, checked, and kept where there is a cache.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use common::{Kind, chain, memory, recorder::Recorder, server, store};
use futures_util::future::try_join_all;
use palan::{
    Error, Event, Observer, Transfer,
    listings::{DirectoryCache, Listings, ListingsRead},
    place::{PutAs, Source},
};
use palan_core::{Compression, Descriptor, Digest, Family, MediaType};
use palan_layer::listing::Facts;
use palan_server::RequestKind;
use palan_testkit::image::{Graph, Image, ImageSpec, Layer, LayerSpec, layer};

fn os() -> Layer {
    LayerSpec::new().file("etc/os-release", "ID=x\n").program("bin/run", "#!/bin/sh\n").build()
}

fn image() -> Image {
    let data = LayerSpec::new().noise("data", 1, 200_000).compression(Compression::Zstd).build();
    ImageSpec::new("linux/amd64").layer(os()).layer(data).layer(layer(&[("app", b"1")])).build()
}

fn layers(image: &Image) -> Vec<(Descriptor, Digest)> {
    image.layers.iter().map(|l| (l.descriptor(Family::Oci), l.diff_id)).collect()
}

/// Everything asked for three times, at the same time.
async fn list(
    listings: &Listings,
    source: &dyn Source,
    layers: &[(Descriptor, Digest)],
) -> Result<(), Error> {
    let thrice = layers.iter().chain(layers).chain(layers);
    try_join_all(thrice.map(|(layer, diff_id)| listings.of(source, layer, *diff_id))).await.map(|_| ())
}

fn read(layers: u64, bytes: u64, cached: u64) -> (u64, u64, u64) {
    (layers, bytes, cached)
}

fn cost(listings: &Listings) -> (u64, u64, u64) {
    let ListingsRead { layers, bytes, cached, .. } = listings.read();
    (layers, bytes, cached)
}

async fn error(listings: &Listings, source: &dyn Source, layer: &Descriptor, diff_id: Digest) -> Error {
    listings.of(source, layer, diff_id).await.expect_err("a failure")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_layer_is_read_once_from_any_place() {
    let (folder, server, image) = (tempfile::tempdir().unwrap(), server().await, image());
    let layers = layers(&image);
    let size: u64 = layers.iter().map(|(layer, _)| layer.size).sum();
    for kind in [Kind::Memory, Kind::Layout, Kind::Registry] {
        let target = kind.create(folder.path(), &server, "listed");
        store(target.as_ref(), &image.graph(), PutAs::Tag("v1".into())).await.unwrap();
        let place = Recorder::new(kind.reopen(folder.path(), &server, "listed", &target));
        let before = server.registry().stats();
        let listings = Listings::new(None, Observer::default());
        list(&listings, place.as_ref(), &layers).await.unwrap();
        assert_eq!(place.calls().len(), 3, "{kind:?}");
        assert_eq!(cost(&listings), read(3, size, 0), "{kind:?}");
        if kind == Kind::Registry {
            let sent = server.registry().stats().since(&before);
            assert_eq!((sent.blob_bytes_out, sent.of(RequestKind::BlobGet)), (size, 3));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_learned() {
    let image = image();
    let source = memory(&image.graph()).await;
    let listings = Listings::new(None, Observer::default());
    let (layer, diff_id) = &layers(&image)[0];
    let listing = listings.of(source.as_ref(), layer, *diff_id).await.unwrap();
    assert_eq!(listing.entries, 2);
    let facts = |content: &[u8]| listing.facts.get(&Digest::sha256(content));
    assert!(matches!(facts(b"ID=x\n"), Some(Facts::Content(content)) if **content == *b"ID=x\n"));
    assert!(matches!(facts(b"#!/bin/sh\n"), Some(Facts::Script { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_cache_reads_no_blob() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let place = Recorder::new(memory(&image.graph()).await);
    let layers = layers(&image);
    let run = async |layers: &[(Descriptor, Digest)]| {
        let cache = DirectoryCache::new(folder.path().join("not/yet/there"));
        let listings = Listings::new(Some(Arc::new(cache)), Observer::default());
        list(&listings, place.as_ref(), layers).await.unwrap();
        let first = listings.of(place.as_ref(), &layers[0].0, layers[0].1).await.unwrap();
        (cost(&listings), first)
    };
    let (_, cold) = run(&layers).await;
    assert_eq!(place.calls().len(), 3);
    let (cost, warm) = run(&layers).await;
    assert_eq!(cost, read(0, 0, 3));
    assert_eq!(warm, cold);
    // The same archives stored otherwise are known as well.
    let other = ImageSpec::new("linux/amd64").on(&image).recompress_base(Compression::Gzip).build();
    assert_eq!(run(&self::layers(&other)).await.0, read(0, 0, 3));
    assert_eq!(place.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_cache_entries_are_read_anew() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let place = Recorder::new(memory(&image.graph()).await);
    let layers = &layers(&image)[..1];
    let cache = DirectoryCache::new(folder.path());
    let path = cache.path(layers[0].1);
    let run = async || {
        let listings = Listings::new(Some(Arc::new(cache.clone())), Observer::default());
        list(&listings, place.as_ref(), layers).await.unwrap();
        listings.read().cached
    };
    assert_eq!(run().await, 0);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], b"", b"palanls\xff"] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(run().await, 0);
        assert!(fs::read(&path).unwrap() == good, "the entry is good again");
        assert_eq!(run().await, 1);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_fails_no_run() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let source = memory(&image.graph()).await;
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let listings = Listings::new(Some(Arc::new(DirectoryCache::new(file))), Observer::default());
    list(&listings, source.as_ref(), &layers(&image)).await.unwrap();
    assert_eq!(listings.read().layers, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_is_named_and_not_kept() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let source = memory(&image.graph()).await;
    let cache = DirectoryCache::new(folder.path());
    let listings = Listings::new(Some(Arc::new(cache)), Observer::default());
    let layers = layers(&image);
    let wrong = Digest::sha256(b"another");
    let found = chain(&error(&listings, source.as_ref(), &layers[0].0, wrong).await);
    let expected = format!(
        "layer {} of memory cannot be read: the uncompressed layer has digest {}, the config's diff ID is {wrong}",
        layers[0].0.digest, layers[0].1
    );
    assert_eq!(found, expected);
    // No archive at all.
    let blob = Digest::sha256(b"no archive");
    let graph =
        Graph { blobs: vec![(plain(blob, 10), "no archive".into())], documents: vec![image.manifest] };
    let found = chain(&error(&listings, memory(&graph).await.as_ref(), &plain(blob, 10), blob).await);
    assert!(found.starts_with(&format!("layer {blob} of memory cannot be read: ")), "{found}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(listings.read().layers, 0);
}

fn plain(digest: Digest, size: u64) -> Descriptor {
    Descriptor::new(MediaType::layer(Family::Oci, Compression::None).unwrap(), digest, size)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_elsewhere_have_an_error_of_their_own() {
    let (image, other) = (image(), layer(&[("windows", b"1")]));
    let source = memory(&image.graph()).await;
    let listings = Listings::new(None, Observer::default());
    let foreign =
        other.clone().with_media_type(MediaType::DOCKER_FOREIGN_LAYER_GZIP).descriptor(Family::Docker);
    let found = error(&listings, source.as_ref(), &foreign, other.diff_id).await;
    assert!(matches!(found, Error::NotHere { digest, .. } if digest == other.digest), "{found}");
    let missing = other.descriptor(Family::Oci);
    assert!(error(&listings, source.as_ref(), &missing, other.diff_id).await.is_not_found());
    // Where it is there, it is read.
    let here = memory(&ImageSpec::new("windows/amd64").layer(other.clone()).build().graph()).await;
    assert_eq!(listings.of(here.as_ref(), &foreign, other.diff_id).await.unwrap().entries, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_hears_of_every_layer() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let source = memory(&image.graph()).await;
    let layers = layers(&image);
    for expected in [Transfer::Moved, Transfer::Present] {
        let (bytes, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (seen, ended) = (Arc::clone(&bytes), Arc::clone(&done));
        let observer = Observer::new(move |event| match event {
            Event::BlobProgress { bytes, .. } => {
                seen.fetch_add(*bytes, SeqCst);
            }
            Event::BlobDone { how, .. } => ended.lock().unwrap().push(*how),
            _ => {}
        });
        let cache = Arc::new(DirectoryCache::new(folder.path()));
        let listings = Listings::new(Some(cache), observer);
        list(&listings, source.as_ref(), &layers).await.unwrap();
        assert_eq!(*done.lock().unwrap(), [expected; 3]);
        assert_eq!(bytes.load(SeqCst), listings.read().bytes);
    }
}
