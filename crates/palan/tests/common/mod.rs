//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod recorder;

use std::{path::Path, sync::Arc};

use palan::{
    Error, Places,
    client::Client,
    place::{Archive, ArchiveWriter, Format, Layout, Memory, PutAs, Registry, Source, Target},
};
use palan_core::{Document, Repository};
use palan_server::Server;
use palan_testkit::{conformance::place::Feed, image::Graph};

pub(crate) use palan_testkit::conformance::place::{chain, read};

pub(crate) fn client() -> Client {
    Client::builder().backoff(std::time::Duration::from_millis(5)).build().expect("a client")
}

pub(crate) fn places() -> Places {
    Places::new(client())
}

pub(crate) async fn server() -> Server {
    palan_server::Registry::memory().serve("127.0.0.1:0").await.unwrap()
}

/// A repository of a server, as a new client sees it.
pub(crate) fn repository(server: &Server, name: &str) -> Arc<Registry> {
    let repository: Repository = format!("{}/{name}", server.host()).parse().unwrap();
    Arc::new(Registry::new(client().repository(&repository)))
}

/// A place in memory that holds a graph.
pub(crate) async fn memory(graph: &Graph) -> Arc<dyn Source> {
    let memory = Arc::new(Memory::new());
    store(memory.as_ref(), graph, PutAs::Root).await.unwrap();
    memory
}

/// Stores everything of a graph, the root in its role.
pub(crate) async fn store(target: &dyn Target, graph: &Graph, role: PutAs) -> Result<(), Error> {
    let feed = Feed::of(graph);
    for (blob, _) in &graph.blobs {
        target.put_blob(blob, &feed).await?;
    }
    for document in &graph.documents {
        let is_root = document.digest() == graph.root().digest();
        target.put_document(document, if is_root { &role } else { &PutAs::Child }).await?;
    }
    Ok(())
}

/// One copy with default options.
pub(crate) async fn copy(
    source: &Arc<dyn Source>,
    target: &Arc<dyn Target>,
    root: &Document,
    role: PutAs,
) -> Result<palan::copy::Summary, Error> {
    palan::copy::copy(source, target, vec![(root.clone(), role)], &palan::copy::Options::default()).await
}

/// Panics unless a place holds all of a graph.
pub(crate) async fn assert_holds(place: &dyn Source, graph: &Graph) {
    for document in &graph.documents {
        let found = place.document(&document.digest().into()).await;
        let found = found.unwrap_or_else(|e| panic!("{}: {}", place.name(), chain(&e)));
        assert_eq!(found.bytes(), document.bytes(), "{}", place.name());
    }
    for (blob, content) in &graph.blobs {
        let found = read(place, blob, 0).await;
        let found = found.unwrap_or_else(|e| panic!("{}: {}", place.name(), chain(&e)));
        assert!(found == *content, "{}: {}", place.name(), blob.digest);
    }
}

/// A kind of place, made fresh under a folder or in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Layout,
    OciArchive,
    DockerArchive,
    Registry,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::Layout, Self::OciArchive, Self::DockerArchive, Self::Registry];

    pub(crate) fn create(self, folder: &Path, server: &Server, name: &str) -> Arc<dyn Target> {
        let path = folder.join(name);
        match self {
            Self::Memory => Arc::new(Memory::new()),
            Self::Layout => Arc::new(Layout::create(path).unwrap()),
            Self::OciArchive => Arc::new(ArchiveWriter::create(path, Format::Oci).unwrap()),
            Self::DockerArchive => Arc::new(ArchiveWriter::create(path, Format::Docker).unwrap()),
            Self::Registry => repository(server, name),
        }
    }

    /// What was written, opened anew where there is something to open.
    pub(crate) fn reopen(
        self,
        folder: &Path,
        server: &Server,
        name: &str,
        written: &Arc<dyn Target>,
    ) -> Arc<dyn Source> {
        let path = folder.join(name);
        match self {
            Self::Memory => written.clone(),
            Self::Layout => Arc::new(Layout::open(path).unwrap()),
            Self::OciArchive => Arc::new(Archive::open(path, Format::Oci).unwrap()),
            Self::DockerArchive => Arc::new(Archive::open(path, Format::Docker).unwrap()),
            Self::Registry => repository(server, name),
        }
    }
}
