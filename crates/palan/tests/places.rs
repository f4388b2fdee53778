//! Every place passes the conformance suite; the layout also with several writers on one directory.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use palan::place::{Archive, ArchiveWriter, Format, Layout, Memory, PutAs, Registry, Source, Target};
use palan_core::Repository;
use palan_server::Server;
use palan_testkit::{
    conformance::place::{Place, run},
    image::{ImageSpec, layer},
};

#[derive(Default)]
struct InMemory(Mutex<HashMap<String, Arc<Memory>>>);

impl Place for InMemory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn create(&self, id: &str) -> Arc<dyn Target> {
        self.0.lock().unwrap().entry(id.into()).or_default().clone()
    }

    fn reopen(&self, id: &str) -> Arc<dyn Source> {
        self.0.lock().unwrap()[id].clone()
    }
}

struct InLayouts(PathBuf);

impl Place for InLayouts {
    fn name(&self) -> String {
        "layout".into()
    }

    fn create(&self, id: &str) -> Arc<dyn Target> {
        Arc::new(Layout::create(self.0.join(id)).unwrap())
    }

    fn reopen(&self, id: &str) -> Arc<dyn Source> {
        // Some checks store blobs without an entry, and what has no entry is no layout yet.
        let path = self.0.join(id);
        Arc::new(Layout::open(&path).or_else(|_| Layout::create(path)).unwrap())
    }
}

struct InArchives(PathBuf, Format);

impl Place for InArchives {
    fn name(&self) -> String {
        self.1.scheme().into()
    }

    fn create(&self, id: &str) -> Arc<dyn Target> {
        Arc::new(ArchiveWriter::create(self.0.join(id), self.1).unwrap())
    }

    fn reopen(&self, id: &str) -> Arc<dyn Source> {
        Arc::new(Archive::open(self.0.join(id), self.1).unwrap())
    }

    fn tag(&self, text: &str) -> String {
        match self.1 {
            Format::Oci => text.into(),
            Format::Docker => format!("localhost:5000/team/app:{text}"),
        }
    }

    fn only_images(&self) -> bool {
        self.1 == Format::Docker
    }
}

struct InRegistry(Server);

impl InRegistry {
    fn at(&self, id: &str) -> Arc<Registry> {
        let repository: Repository = format!("{}/places/{id}", self.0.host()).parse().unwrap();
        // A client for each, as two commands would have.
        Arc::new(Registry::new(common::client().repository(&repository)))
    }
}

impl Place for InRegistry {
    fn name(&self) -> String {
        "registry".into()
    }

    fn create(&self, id: &str) -> Arc<dyn Target> {
        self.at(id)
    }

    fn reopen(&self, id: &str) -> Arc<dyn Source> {
        self.at(id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    run(&InMemory::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_conform() {
    let folder = tempfile::tempdir().unwrap();
    run(&InLayouts(folder.path().into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_archives_conform() {
    let folder = tempfile::tempdir().unwrap();
    run(&InArchives(folder.path().into(), Format::Oci)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_archives_conform() {
    let folder = tempfile::tempdir().unwrap();
    run(&InArchives(folder.path().into(), Format::Docker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_in_memory_conform() {
    let server = palan_server::Registry::memory().serve("127.0.0.1:0").await.unwrap();
    let place = InRegistry(server);
    run(&place).await;
    place.0.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_in_directories_conform() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        palan_server::Registry::directory(folder.path()).unwrap().serve("127.0.0.1:0").await.unwrap();
    let place = InRegistry(server);
    run(&place).await;
    place.0.stop().await;
}

/// As several commands at once would: each creates the layout, or finds it, by itself.
#[test]
fn writers_of_one_directory_lose_nothing() {
    const WRITERS: usize = 8;
    const IMAGES: usize = 12;
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout");
        let barrier = std::sync::Barrier::new(WRITERS);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    barrier.wait();
                    let layout = Layout::create(path).unwrap();
                    for n in 0..IMAGES {
                        let content = format!("{writer} {n}");
                        let image =
                            ImageSpec::new("linux/amd64").layer(layer(&[("f", content.as_bytes())])).build();
                        let role = PutAs::Tag(format!("w{writer}-{n}"));
                        runtime.block_on(common::store(&layout, &image.graph(), role)).unwrap();
                    }
                });
            }
        });
        let entries = Layout::open(&path).unwrap().entries().unwrap();
        assert_eq!(entries.len(), WRITERS * IMAGES, "round {round}");
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "no temporary files stay behind: {left:?}");
    }
}
