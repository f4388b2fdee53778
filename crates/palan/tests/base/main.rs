//! Bases: detection against the embedded registry, the index of known bases, and what became of a base.

#![allow(clippy::unwrap_used)]

mod detect;
mod known;
mod provenance;
mod stale;

use palan::{
    Places,
    base::{
        self, Detection, KnownBases, PlatformBase,
        known::{Change, Watch},
    },
    client::Client,
    copy,
    place::{Location, Memory, PutAs, Source},
};
use palan_core::Digest;
use palan_server::{Registry, Server};
use palan_testkit::image::{Graph, Image, ImageSpec, layer};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) const NAME: &str = "org.opencontainers.image.base.name";
pub(crate) const DIGEST: &str = "org.opencontainers.image.base.digest";

/// A registry in memory, a client, and a folder for the index of known bases.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) places: Places,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            server: Registry::memory().with_request_log().serve("127.0.0.1:0").await.unwrap(),
            places: Places::new(Client::builder().build().unwrap()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        format!("{}/{name}", self.server.host())
    }

    pub(crate) fn at(&self, name: &str) -> Location {
        self.text(name).parse().unwrap()
    }

    /// Puts something under `name:tag`.
    pub(crate) async fn put(&self, name: &str, graph: &Graph) {
        let (memory, root) = (Memory::new(), graph.root().clone());
        for (blob, content) in &graph.blobs {
            memory.add_blob(blob.media_type.clone(), content.clone());
        }
        for document in &graph.documents {
            memory.add_document(document);
        }
        let target = self.places.target(&self.at(name)).unwrap();
        let role = PutAs::from_selector(target.selector.as_ref().unwrap());
        let source: Arc<dyn Source> = Arc::new(memory);
        copy::copy(&source, &target.place, vec![(root, role)], &copy::Options::default()).await.unwrap();
    }

    pub(crate) async fn detect(&self, name: &str, known: Option<&KnownBases>) -> Detection {
        base::detect(&self.places, &self.at(name), known, &[]).await.unwrap()
    }

    /// Of a single image.
    pub(crate) async fn base_of(&self, name: &str, known: Option<&KnownBases>) -> PlatformBase {
        let mut detection = self.detect(name, known).await;
        assert_eq!(detection.platforms.len(), 1);
        detection.platforms.remove(0)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("deep").join("bases.jsonl")
    }

    /// Adds what a pattern stands for to the index of known bases.
    pub(crate) async fn know(&self, pattern: &str) -> KnownBases {
        let watch = watch(&self.text(pattern), 100);
        let gathered = base::known::gather(&self.places, &watch, 4, now()).await.unwrap();
        let change = Change { add: gathered.entries, watch: vec![watch], ..Change::default() };
        base::known::change(&self.file(), change).unwrap();
        KnownBases::open(self.file()).unwrap()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.server.registry().logged().iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900)
}

pub(crate) fn watch(pattern: &str, newest: usize) -> Watch {
    Watch {
        tags: pattern.parse().unwrap(),
        newest,
        order: base::known::Order::Created,
        platforms: Vec::new(),
    }
}

/// A base of two layers.
pub(crate) fn base_image(id: &str) -> Image {
    let file = |name: &str| layer(&[(name, id.as_bytes())]);
    ImageSpec::new("linux/amd64").layer(file("etc/os-release")).layer(file("usr/lib/runtime")).build()
}

/// An application with one layer.
pub(crate) fn app_on(base: &Image) -> ImageSpec {
    ImageSpec::for_platform(base.platform.clone()).on(base).layer(layer(&[("app/run", b"#!/bin/sh\n")]))
}

pub(crate) fn chain(image: &Image, layers: usize) -> Digest {
    palan_core::chain_ids(&image.diff_ids()[..layers])[layers - 1]
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}
