//! Where the content of the checks comes from.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::stream;
use palan::{
    Error,
    place::{BlobStream, Origin, Source},
};
use palan_core::{Algorithm, Bytes, Descriptor, Digest, Document, MediaType, Selector};

use crate::image::Graph;

/// A source whose blobs come in small pieces and, where asked for, wrong. It checks nothing: that is its target's duty.
#[derive(Default)]
pub struct Feed {
    blobs: HashMap<Digest, Bytes>,
    documents: HashMap<Digest, Document>,
    faults: HashMap<Digest, Fault>,
    piece: usize,
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The last byte is another one.
    Flipped,
    /// The last byte is missing.
    Short,
    /// There is one byte more.
    Long,
    /// The source fails before the last byte.
    Broken,
    /// There is no such blob.
    Missing,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Flipped, Self::Short, Self::Long, Self::Broken, Self::Missing];
}

impl Feed {
    /// Nothing yet; blobs come in pieces of so many bytes.
    pub fn new(piece: usize) -> Self {
        Self { piece: piece.max(1), ..Self::default() }
    }

    /// A graph's content.
    pub fn of(graph: &Graph) -> Self {
        let blobs = graph.blobs.iter().map(|(d, b)| (d.digest, b.clone())).collect();
        let documents = graph.documents.iter().map(|d| (d.digest(), d.clone())).collect();
        Self { blobs, documents, ..Self::new(1000) }
    }

    /// Adds a blob under a digest of this algorithm.
    pub fn add(&mut self, algorithm: Algorithm, content: impl Into<Bytes>) -> Descriptor {
        let content = content.into();
        let media_type = MediaType::new("application/octet-stream");
        let blob = Descriptor::new(media_type, algorithm.digest(&content), content.len() as u64);
        self.blobs.insert(blob.digest, content);
        blob
    }

    /// The blob is wrong from now on; with `None`, right again.
    pub fn fault(&mut self, digest: Digest, fault: Option<Fault>) {
        match fault {
            Some(fault) => drop(self.faults.insert(digest, fault)),
            None => drop(self.faults.remove(&digest)),
        }
    }

    fn missing(&self, name: &dyn ToString) -> Error {
        Error::NotFound { name: name.to_string(), place: self.name() }
    }

    fn spoilt(&self, digest: Digest) -> Option<(Bytes, bool)> {
        let content = self.blobs.get(&digest)?.clone();
        let last = content.len().saturating_sub(1);
        Some(match self.faults.get(&digest) {
            None => (content, false),
            Some(Fault::Missing) => return None,
            Some(Fault::Broken) => (content.slice(..last), true),
            Some(Fault::Short) => (content.slice(..last), false),
            Some(Fault::Long) => ([&content[..], b"!"].concat().into(), false),
            Some(Fault::Flipped) => {
                let mut bytes = content.to_vec();
                bytes[last] ^= 1;
                (bytes.into(), false)
            }
        })
    }
}

#[async_trait]
impl Source for Feed {
    fn name(&self) -> String {
        "feed".to_owned()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.document(selector).await?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        let found = match selector {
            Selector::Digest(digest) => self.documents.get(digest),
            Selector::Tag(_) => None,
        };
        found.cloned().ok_or_else(|| self.missing(selector))
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let (content, breaks) = self.spoilt(blob.digest).ok_or_else(|| self.missing(&blob.digest))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let (rest, size) = (content.slice(start..), self.piece);
        let count = rest.len().div_ceil(size);
        let pieces = (0..count).map(move |i| Ok(rest.slice(i * size..rest.len().min((i + 1) * size))));
        let end = breaks.then(|| {
            Err(Error::Malformed { place: "feed".into(), reason: "breaks off, as the check wants it".into() })
        });
        Ok(BlobStream::new(stream::iter(pieces.chain(end))))
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.blobs.contains_key(&blob.digest))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn referrers(&self, _: Digest, _: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }

    fn origin(&self, _: Digest) -> Origin {
        Origin::Opaque
    }
}
