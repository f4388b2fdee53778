//! Image fixtures by builder: pure, deterministic, in memory. The same calls give the same bytes and digests.
//!
//! ```
//! use palan_core::{Compression, Family};
//! use palan_testkit::image::{Attestation, History, ImageSpec, IndexSpec, LayerSpec, layer};
//!
//! let os = LayerSpec::new().file("etc/os-release", "ID=old\n").compression(Compression::Zstd).build();
//! let base = ImageSpec::new("linux/amd64").layer(os).build();
//! let app = ImageSpec::new("linux/amd64")
//!     .on(&base)
//!     .recompress_base(Compression::Gzip)
//!     .layer(layer(&[("app/run", b"#!/bin/sh\n")]))
//!     .history(History::OwnOnly)
//!     .label("team", "blue")
//!     .config_field("/config/Healthcheck/StartInterval", 5_000_000_000u64)
//!     .build();
//! let index = IndexSpec::new().image(app).attest(Attestation::Artifact).build();
//! let graph = index.graph();
//! assert_eq!(graph.root().digest(), index.document.digest());
//! ```
//!
//! Builders panic on what cannot be built (a zstd layer in Docker's family): such a fixture is a mistake in a test.

mod index;
mod layers;
mod spec;

pub use index::{Attestation, AttestationEntry, Index, IndexSpec};
pub use layers::{Layer, LayerSpec, layer};
pub use spec::{History, Image, ImageSpec};

use std::collections::HashSet;

use bytes::Bytes;
use palan_core::{Descriptor, Digest, Document, Platform};
use serde_json::{Map, Value};

/// When everything in a fixture was made, unless said otherwise.
pub const CREATED: &str = "2025-01-01T00:00:00Z";

/// Everything that must be in a place for a fixture to be there: to be put in this order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Layers and configs, each digest once.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// Manifests and indexes, each digest once, what is listed before what lists it; the root is the last.
    pub documents: Vec<Document>,
}

impl Graph {
    /// The manifest or index that the fixture is known by.
    pub fn root(&self) -> &Document {
        self.documents.last().expect("a graph has at least one document")
    }

    /// The content of a blob.
    pub fn blob(&self, digest: Digest) -> Option<&Bytes> {
        self.blobs.iter().find(|(d, _)| d.digest == digest).map(|(_, bytes)| bytes)
    }

    /// The document with a digest.
    pub fn document(&self, digest: Digest) -> Option<&Document> {
        self.documents.iter().find(|d| d.digest() == digest)
    }

    /// Adds what `other` has and this one has not; the other's root comes last.
    pub fn extend(&mut self, other: &Self) {
        self.blobs.extend_from_slice(&other.blobs);
        self.documents.extend_from_slice(&other.documents);
        let mut seen = HashSet::new();
        self.blobs.retain(|(descriptor, _)| seen.insert(descriptor.digest));
        // Of equal documents the last stays, so that the root keeps its place.
        let mut seen = HashSet::new();
        self.documents.reverse();
        self.documents.retain(|document| seen.insert(document.digest()));
        self.documents.reverse();
    }
}

/// A platform from `os/architecture[/variant]`.
pub fn platform(text: &str) -> Platform {
    let mut parts = text.split('/');
    let mut part = || parts.next().map(str::to_owned);
    let (os, architecture) = (part().unwrap_or_default(), part().unwrap_or_default());
    Platform { variant: part(), ..Platform::new(os, architecture) }
}

/// Sets a value deep inside an object, by JSON pointer (`/config/Labels/a~1b`); makes the objects on the way.
fn set(object: &mut Map<String, Value>, pointer: &str, value: Value) {
    let mut keys =
        pointer.trim_start_matches('/').split('/').map(|k| k.replace("~1", "/").replace("~0", "~"));
    let last = keys.next_back().expect("a JSON pointer names a field");
    let mut at = object;
    for key in keys {
        let child = at.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if !child.is_object() {
            *child = Value::Object(Map::new());
        }
        at = child.as_object_mut().expect("made an object above");
    }
    at.insert(last, value);
}

fn document(value: Map<String, Value>, media_type: palan_core::MediaType) -> Document {
    Document::from_value(&Value::Object(value), media_type).expect("fixtures are valid documents")
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("fixtures are valid JSON")
}

#[cfg(test)]
mod tests;
