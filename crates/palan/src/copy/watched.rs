//! A source that tells how many bytes are read from it.

use std::sync::Arc;

use async_trait::async_trait;
use palan_core::{Descriptor, Digest, Document, Selector};

use crate::{
    Error, Observer,
    place::{BlobStream, Origin, Source, watched},
};

/// A source that tells how many bytes are read from it.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn Source>,
    pub(super) observer: Observer,
}

#[async_trait]
impl Source for Watched {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.inner.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.inner.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        Ok(watched(self.inner.open(blob, offset).await?, blob.digest, &self.observer))
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.inner.has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.inner.tags().await
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        self.inner.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.inner.origin(digest)
    }
}
