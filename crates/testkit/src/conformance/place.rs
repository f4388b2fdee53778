//! The conformance suite for places: what every `Source` and `Target` of palan promises, checked from outside.
//!
//! Behind the feature `places`, because it is the one part of this crate that needs the library itself. Implement
//! [`Place`] and call [`run`]; every check works in a fresh place and panics, naming place and check, on what does not
//! hold.

mod blobs;
mod concurrency;
mod documents;
mod feed;

use std::sync::Arc;

use palan::{
    Error,
    place::{PutAs, Source, Target},
};
use palan_core::{Bytes, Descriptor};

pub use feed::{Fault, Feed};

use crate::image::Graph;

/// A kind of place: makes fresh ones and opens them again.
pub trait Place: Sync {
    /// What to call it in a failure.
    fn name(&self) -> String;

    /// A fresh place, to be written. `id` is different for every check: letters, digits and dashes.
    fn create(&self, id: &str) -> Arc<dyn Target>;

    /// What was written into the place made for `id`, after [`Target::finish`].
    fn reopen(&self, id: &str) -> Arc<dyn Source>;

    /// A tag, as this place writes it.
    fn tag(&self, text: &str) -> String {
        text.to_owned()
    }

    /// Whether it refuses documents with digests other than SHA-256.
    fn only_sha256_documents(&self) -> bool {
        false
    }

    /// Whether several writers may put the same content at the same time.
    fn many_writers(&self) -> bool {
        true
    }

    /// Whether it refuses indexes and artifacts.
    fn only_images(&self) -> bool {
        false
    }
}

/// Runs every check.
pub async fn run(place: &dyn Place) {
    blobs::run(place).await;
    documents::run(place).await;
    if place.many_writers() {
        concurrency::run(place).await;
    }
}

/// One check: a fresh place, and what to call it.
pub(crate) struct Check<'a> {
    place: &'a dyn Place,
    id: &'static str,
    target: Arc<dyn Target>,
}

impl<'a> Check<'a> {
    fn new(place: &'a dyn Place, id: &'static str) -> Self {
        Self { place, id, target: place.create(id) }
    }

    fn what(&self, text: &str) -> String {
        format!("{}, {}: {text}", self.place.name(), self.id)
    }

    #[track_caller]
    fn ok<T>(&self, text: &str, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|e| panic!("{}: {}", self.what(text), chain(&e)))
    }

    #[track_caller]
    fn fails<T>(&self, text: &str, result: Result<T, Error>) -> Error {
        result.err().unwrap_or_else(|| panic!("{}: it succeeded", self.what(text)))
    }

    #[track_caller]
    fn missing<T>(&self, text: &str, result: Result<T, Error>) {
        let error = self.fails(text, result);
        assert!(error.is_not_found(), "{}: \"not found\" expected: {}", self.what(text), chain(&error));
    }

    #[track_caller]
    fn that(&self, text: &str, holds: bool) {
        assert!(holds, "{}", self.what(text));
    }

    fn tag(&self, text: &str) -> String {
        self.place.tag(text)
    }

    /// Stores everything, the root in its role.
    async fn store(&self, graph: &Graph, role: PutAs) {
        store(self.target.as_ref(), graph, role).await.unwrap_or_else(|e| {
            panic!("{}: {}", self.what("storing an image"), chain(&e));
        });
    }

    /// Ends the writing; both ways to read what was written.
    async fn finish(&self) -> [Arc<dyn Source>; 2] {
        self.ok("finishing", self.target.finish().await);
        self.finish_again()
    }

    /// As [`Check::finish`], when that was done before.
    fn finish_again(&self) -> [Arc<dyn Source>; 2] {
        [self.target.clone(), self.place.reopen(self.id)]
    }

    /// The whole content from `offset` on.
    async fn read(&self, source: &dyn Source, blob: &Descriptor, offset: u64) -> Result<Bytes, Error> {
        read(source, blob, offset).await
    }
}

async fn store(target: &dyn Target, graph: &Graph, role: PutAs) -> Result<(), Error> {
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

/// A blob's content from `offset` on.
pub async fn read(source: &dyn Source, blob: &Descriptor, offset: u64) -> Result<Bytes, Error> {
    use futures_util::TryStreamExt as _;
    let pieces: Vec<Bytes> = source.open(blob, offset).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
