//! A target that is only asked, never written to: what `copy --dry-run` copies into.

use std::sync::Arc;

use async_trait::async_trait;
use palan::{
    Error,
    place::{BlobStream, Format, Location, Memory, Origin, Places, PutAs, Source, Target},
};
use palan_core::{Descriptor, Digest, Document, Selector};

use crate::exit::Result;

pub(super) struct Dry(Arc<dyn Target>, Option<Format>);

impl Dry {
    /// Opens a target without making it: what does not exist yet is empty.
    pub(super) fn open(places: &Places, location: &Location) -> Result<Arc<dyn Target>> {
        let inner: Arc<dyn Target> = match location {
            Location::Registry(_) => places.target(location)?.place,
            Location::Layout { path, .. } if path.join("oci-layout").exists() => {
                places.target(location)?.place
            }
            _ => Arc::new(Memory::new()),
        };
        let format = match location {
            Location::Archive { format, .. } => Some(*format),
            _ => None,
        };
        Ok(Arc::new(Self(inner, format)))
    }
}

#[async_trait]
impl Source for Dry {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn resolve(&self, selector: &Selector) -> std::result::Result<Descriptor, Error> {
        self.0.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> std::result::Result<Document, Error> {
        self.0.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> std::result::Result<BlobStream, Error> {
        self.0.open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> std::result::Result<bool, Error> {
        self.0.has(blob).await
    }

    async fn tags(&self) -> std::result::Result<Vec<String>, Error> {
        self.0.tags().await
    }

    async fn referrers(
        &self,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> std::result::Result<Vec<Descriptor>, Error> {
        self.0.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.0.origin(digest)
    }
}

#[async_trait]
impl Target for Dry {
    async fn has_graph(&self, document: &Descriptor) -> std::result::Result<bool, Error> {
        self.0.has_graph(document).await
    }

    fn accepts(&self, root: &Document) -> std::result::Result<(), Error> {
        self.1.map_or(Ok(()), |format| format.accepts(root))
    }

    fn is_home_of(&self, origin: &Origin) -> bool {
        self.0.is_home_of(origin)
    }

    /// A mount can only be tried for real; inside one registry it is expected to work.
    async fn adopt(&self, blob: &Descriptor, from: &dyn Source) -> std::result::Result<bool, Error> {
        let registry = |origin| match origin {
            Origin::Repository(repository) | Origin::Mirrored(repository) => {
                Some(repository.registry().to_owned())
            }
            _ => None,
        };
        let own = registry(self.0.origin(blob.digest));
        let same = own.is_some() && own == registry(from.origin(blob.digest));
        Ok(same && !self.0.has(blob).await?)
    }

    async fn put_blob(&self, _: &Descriptor, _: &dyn Source) -> std::result::Result<(), Error> {
        Ok(())
    }

    async fn put_document(&self, _: &Document, role: &PutAs) -> std::result::Result<(), Error> {
        let PutAs::Absent(tag) = role else { return Ok(()) };
        match self.0.resolve(&Selector::Tag(tag.clone())).await {
            Ok(found) => {
                let reference = format!("{}:{tag}", self.0.name());
                Err(Error::Exists { reference, found: found.digest.to_string() })
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
