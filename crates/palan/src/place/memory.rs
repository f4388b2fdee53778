//! A place in memory: for new documents and configs before they are written, and for tests.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use palan_core::{Descriptor, Digest, Document, Selector, view};

use super::{BlobStream, Origin, PutAs, Source, Target, checked, read_all, verified};
use crate::Error;

/// Documents and blobs in memory.
#[derive(Debug, Default)]
pub struct Memory {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    documents: HashMap<Digest, Document>,
    blobs: HashMap<Digest, Bytes>,
    tags: BTreeMap<String, Digest>,
}

impl Memory {
    /// An empty place.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document, of any role but a tag.
    pub fn add_document(&self, document: &Document) {
        self.lock().documents.insert(document.digest(), document.clone());
    }

    /// Adds a blob. The content is hashed: the descriptor is what it really is.
    pub fn add_blob(&self, media_type: palan_core::MediaType, content: impl Into<Bytes>) -> Descriptor {
        let content = content.into();
        let blob = Descriptor::new(media_type, Digest::sha256(&content), content.len() as u64);
        self.lock().blobs.insert(blob.digest, content);
        blob
    }

    /// Adds a config or other document as a blob.
    pub fn add_document_blob(&self, document: &Document) {
        self.lock().blobs.insert(document.digest(), document.bytes().clone());
    }

    pub(crate) fn holds(&self, digest: Digest) -> bool {
        let content = self.lock();
        content.documents.contains_key(&digest) || content.blobs.contains_key(&digest)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, selector: &Selector) -> Result<Document, Error> {
        let content = self.lock();
        let digest = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(tag) => content.tags.get(tag).copied(),
        };
        digest
            .and_then(|d| content.documents.get(&d).cloned())
            .ok_or_else(|| Error::NotFound { name: selector.to_string(), place: self.name() })
    }
}

#[async_trait]
impl Source for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.find(selector)?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.find(selector)
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let content = self.lock().blobs.get(&blob.digest).cloned();
        let content =
            content.ok_or_else(|| Error::NotFound { name: blob.digest.to_string(), place: self.name() })?;
        let rest = content.slice(usize::try_from(offset).unwrap_or(usize::MAX).min(content.len())..);
        let whole = BlobStream::new(stream::iter([Ok(rest)]));
        checked(self.name(), blob, offset, whole)
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.lock().blobs.contains_key(&blob.digest))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.lock().tags.keys().cloned().collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let documents: Vec<Document> = self.lock().documents.values().cloned().collect();
        Ok(referrers_among(documents, digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

#[async_trait]
impl Target for Memory {
    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        let content = read_all(verified(from.name(), blob, from.open(blob, 0).await?)).await?;
        self.lock().blobs.insert(blob.digest, content);
        Ok(())
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        let mut content = self.lock();
        let found = role.tag().and_then(|tag| content.tags.get(tag).copied());
        check_role(&self.name(), role, found)?;
        content.documents.insert(document.digest(), document.clone());
        if let Some(tag) = role.tag() {
            content.tags.insert(tag.to_owned(), document.digest());
        }
        Ok(())
    }
}

/// For places with their own tags: what is `found` under the role's tag must be what the role expects there.
pub(crate) fn check_role(place: &str, role: &PutAs, found: Option<Digest>) -> Result<(), Error> {
    let reference = |tag: &str| format!("{place}:{tag}");
    match (role, found) {
        (PutAs::Absent(tag), Some(found)) => {
            Err(Error::Exists { reference: reference(tag), found: found.to_string() })
        }
        (PutAs::Replace { tag, expected }, found) if found != Some(*expected) => {
            let found = found.map_or_else(|| "nothing".to_owned(), |d| d.to_string());
            Err(Error::Moved { reference: reference(tag), expected: *expected, found })
        }
        _ => Ok(()),
    }
}

/// The descriptors of those documents whose `subject` is `digest`, as a registry would list them: with artifact type
/// (an image's config type where it has none of its own) and annotations; distribution-spec "Listing Referrers".
pub(crate) fn referrers_among(
    documents: impl IntoIterator<Item = Document>,
    digest: Digest,
    artifact_type: Option<&str>,
) -> Vec<Descriptor> {
    #[derive(serde::Deserialize)]
    struct Probe {
        subject: Option<Descriptor>,
    }
    let mut found = Vec::new();
    for document in documents {
        let Ok(Probe { subject: Some(subject) }) = document.view::<Probe>() else { continue };
        if subject.digest != digest {
            continue;
        }
        let mut descriptor = document.descriptor();
        if let Ok(manifest) = document.view::<view::Manifest>() {
            descriptor.artifact_type =
                manifest.artifact_type.or_else(|| Some(manifest.config.media_type.to_string()));
            descriptor.annotations = Some(manifest.annotations).filter(|a| !a.is_empty());
        } else if let Ok(index) = document.view::<view::Index>() {
            descriptor.artifact_type = index.artifact_type;
            descriptor.annotations = Some(index.annotations).filter(|a| !a.is_empty());
        }
        if artifact_type.is_none() || descriptor.artifact_type.as_deref() == artifact_type {
            found.push(descriptor);
        }
    }
    found.sort_by_key(|d| d.digest);
    found
}
