//! Several sources seen as one: what an operation made new, over the images it was made from.

use std::sync::Arc;

use async_trait::async_trait;
use palan_core::{Descriptor, Digest, Document, Selector};

use super::{BlobStream, Memory, Origin, Source};
use crate::Error;

/// New documents and configs in memory; everything else comes from the source it is registered for, so that a rebase
/// or an append is an ordinary graph copy from here to the target.
pub struct Overlay {
    new: Memory,
    routes: Vec<(std::collections::HashSet<Digest>, Arc<dyn Source>)>,
    rest: Arc<dyn Source>,
}

impl Overlay {
    /// An overlay over `rest`.
    pub fn new(new: Memory, rest: Arc<dyn Source>) -> Self {
        Self { new, routes: Vec::new(), rest }
    }

    /// Reads these digests from `source`.
    pub fn route(&mut self, digests: impl IntoIterator<Item = Digest>, source: Arc<dyn Source>) {
        self.routes.push((digests.into_iter().collect(), source));
    }

    /// Adds a new manifest or index.
    pub(crate) fn add_document(&self, document: &Document) {
        self.new.add_document(document);
    }

    /// Adds a new config.
    pub(crate) fn add_document_blob(&self, config: &Document) {
        self.new.add_document_blob(config);
    }

    fn source(&self, digest: Digest) -> &dyn Source {
        if self.new.holds(digest) {
            return &self.new;
        }
        let routed = self.routes.iter().find(|(digests, _)| digests.contains(&digest));
        routed.map_or(self.rest.as_ref(), |(_, source)| source.as_ref())
    }
}

#[async_trait]
impl Source for Overlay {
    fn name(&self) -> String {
        self.rest.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        match selector {
            Selector::Digest(digest) => self.source(*digest).resolve(selector).await,
            Selector::Tag(_) => self.rest.resolve(selector).await,
        }
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        match selector {
            Selector::Digest(digest) => self.source(*digest).document(selector).await,
            Selector::Tag(_) => self.rest.document(selector).await,
        }
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.source(blob.digest).open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.source(blob.digest).has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.rest.tags().await
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        self.rest.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        if self.new.holds(digest) {
            return Origin::New;
        }
        self.source(digest).origin(digest)
    }
}
