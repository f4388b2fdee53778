//! What the tests of this crate share.
#![allow(dead_code)]

use std::sync::Arc;

use palan::{
    Places,
    client::Client,
    place::{Memory, PutAs, Source, Target},
};
use palan_testkit::image::Graph;

pub(crate) fn client() -> Client {
    Client::builder().build().expect("a client")
}

pub(crate) fn places() -> Places {
    Places::new(client())
}

/// A place in memory that holds these graphs.
pub(crate) async fn memory(graphs: &[&Graph]) -> Arc<Memory> {
    let memory = Arc::new(Memory::new());
    for graph in graphs {
        store(memory.as_ref(), graph, PutAs::Root).await;
    }
    memory
}

/// Stores everything of a graph, the root in its role.
pub(crate) async fn store(target: &dyn Target, graph: &Graph, role: PutAs) {
    use palan_testkit::conformance::place::Feed;
    let feed = Feed::of(graph);
    for (blob, _) in &graph.blobs {
        target.put_blob(blob, &feed).await.expect("a blob");
    }
    for document in &graph.documents {
        let is_root = document.digest() == graph.root().digest();
        target.put_document(document, if is_root { &role } else { &PutAs::Child }).await.expect("a document");
    }
}

pub(crate) fn source(place: &Arc<impl Source + 'static>) -> Arc<dyn Source> {
    place.clone()
}

pub(crate) fn target(place: &Arc<impl Target + 'static>) -> Arc<dyn Target> {
    place.clone()
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    palan_testkit::conformance::place::chain(error)
}
