//! A repository of a registry as a place.

use std::{future::pending, pin::pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, Either, select},
    stream,
};
use palan_client::{BlobOpener, ByteStream, GrowingBlob as _, Precondition, Repo};
use palan_core::{Algorithm, Descriptor, Digest, Document, MAX_DOCUMENT_SIZE, Repository, Role, Selector};

use super::{
    BlobStream, Growing, Memo, Origin, PutAs, Source, Target, ask_each, once_failed::Asked, read_all,
    stream::hold_back,
};
use crate::{Error, documents::Documents};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A repository of a registry.
#[derive(Clone)]
pub struct Registry {
    repo: Repo,
    documents: Option<Documents>,
    memo: Memo,
    asked: Option<Asked>,
}

impl Registry {
    /// The place behind a client's repository.
    pub fn new(repo: Repo) -> Self {
        Self { repo, documents: None, memo: Memo::default(), asked: None }
    }

    /// The same place, in which documents that are known are not read again.
    #[must_use]
    pub fn with_documents(self, documents: Option<Documents>) -> Self {
        Self { documents, ..self }
    }

    /// The same place, which knows what the others know that share this.
    #[must_use]
    pub(crate) fn with_memo(self, memo: &Memo) -> Self {
        Self { memo: memo.clone(), ..self }
    }

    /// The same place, which is not asked again once it has failed.
    #[must_use]
    pub(crate) fn with_asked(self, asked: Asked) -> Self {
        Self { asked: Some(asked), ..self }
    }

    /// Asks for content, unless that has failed.
    async fn ask<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match &self.asked {
            Some(asked) => asked.content(read).await,
            None => read.await,
        }
    }

    fn repository(&self) -> &Repository {
        self.repo.name()
    }

    /// Most registries ignore `If-Match`: the tag is read again right before it is moved. Best effort there, exact
    /// where the registry knows conditional requests.
    async fn check_unmoved(&self, selector: &Selector, expected: Digest) -> Result<(), Error> {
        let found = match self.repo.head(selector).await {
            Ok(found) if found.digest == expected => return Ok(()),
            Ok(found) => found.digest.to_string(),
            Err(e) if e.is_not_found() => "nothing".to_owned(),
            Err(e) => return Err(e.into()),
        };
        Err(Error::Moved { reference: format!("{}:{selector}", self.name()), expected, found })
    }

    /// As [`Self::check_unmoved`], for a tag that must not be there.
    async fn check_absent(&self, selector: &Selector) -> Result<(), Error> {
        match self.repo.head(selector).await {
            Ok(found) => Err(Error::Exists {
                reference: format!("{}:{selector}", self.name()),
                found: found.digest.to_string(),
            }),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    async fn stream(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let open = async {
            let opened = self.repo.open_blob(blob, offset).await;
            opened.map_err(|e| self.not_found(&blob.digest.into(), e))
        };
        let content = self.ask(open).await?;
        let content = hold_back(content.map_err(Error::from));
        // Of a part, only the size can be checked.
        Ok(if offset == 0 { BlobStream::verified(blob, content) } else { BlobStream::new(content) })
    }

    /// Waits until a blob is made that was there before, as far as it is worth to ask.
    async fn has_made(&self, blob: &Growing) -> Descriptor {
        match blob.made().await {
            Some(made) if blob.is_far_behind(made.size) => {
                if let Ok(true) = self.repo.has_blob(&made).await {
                    return made;
                }
            }
            _ => {}
        }
        pending().await
    }

    fn not_found(&self, selector: &Selector, error: palan_client::Error) -> Error {
        // A web page says more about who answered than about what is missing.
        let page = matches!(&error, palan_client::Error::Status(status) if status.html);
        if error.is_not_found() && !page {
            return Error::NotFound { name: selector.to_string(), place: self.name() };
        }
        error.into()
    }
}

fn is_config(blob: &Descriptor) -> bool {
    blob.media_type.role() == Role::Config && blob.size <= MAX_DOCUMENT_SIZE
}

#[async_trait]
impl Source for Registry {
    fn name(&self) -> String {
        self.repository().to_string()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.ask(async { self.repo.head(selector).await.map_err(|e| self.not_found(selector, e)) }).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        let get = || async { self.repo.manifest(selector).await.map_err(|e| self.not_found(selector, e)) };
        let read = || self.ask(get());
        let Some(documents) = &self.documents else { return read().await };
        if let Selector::Digest(digest) = selector {
            return documents.document_or(*digest, read).await;
        }
        read().await.inspect(|document| documents.keep(document))
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        match &self.documents {
            Some(documents) if offset == 0 && is_config(blob) => {
                let read = || async { read_all(self.stream(blob, 0).await?).await };
                let content = documents.config_or(blob, read).await?;
                Ok(BlobStream::verified(blob, stream::iter([Ok(content)])))
            }
            _ => self.stream(blob, offset).await,
        }
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.repo.has_blob(blob).await?)
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        let list = async { Ok(self.repo.tags().await?) };
        match &self.asked {
            Some(asked) => asked.tags(list).await,
            None => list.await,
        }
    }

    async fn tags_among(&self, tags: &[String]) -> Result<Vec<String>, Error> {
        let listed = match tags.len() > 1 && tags.iter().all(|tag| Digest::tag_stem(tag).is_some()) {
            true => self.memo.digest_tags(&self.repo, tags).await,
            false => None,
        };
        match listed {
            Some(listed) => Ok(listed),
            None => ask_each(self, tags).await,
        }
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(self.repo.referrers(digest, artifact_type).await?)
    }

    fn origin(&self, _digest: Digest) -> Origin {
        let repository = self.repository().clone();
        match self.repo.uses_mirrors() {
            true => Origin::Mirrored(repository),
            false => Origin::Repository(repository),
        }
    }
}

#[async_trait]
impl Target for Registry {
    async fn has_graph(&self, document: &Descriptor) -> Result<bool, Error> {
        match self.repo.head(&document.digest.into()).await {
            Ok(found) => Ok(found.digest == document.digest),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn is_home_of(&self, origin: &Origin) -> bool {
        matches!(origin, Origin::Repository(repository) if repository == self.repository())
    }

    fn knows(&self, blob: Digest) -> bool {
        self.memo.was_written(self.repository(), blob)
    }

    async fn adopt(&self, blob: &Descriptor, from: &dyn Source) -> Result<bool, Error> {
        match from.origin(blob.digest) {
            Origin::Repository(origin) | Origin::Mirrored(origin)
                if origin != *self.repository() && origin.registry() == self.repository().registry() =>
            {
                let mounted = self.repo.mount_blob(blob, &origin).await?;
                if mounted {
                    self.memo.note_written(self.repository(), blob.digest);
                }
                Ok(mounted)
            }
            _ => Ok(false),
        }
    }

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        match self.repo.push_blob(blob, &Reopen { blob, from }).await {
            Ok(()) => {
                self.memo.note_written(self.repository(), blob.digest);
                Ok(())
            }
            // The other place's own error says it better than that an upload could not be read.
            Err(palan_client::Error::Source { digest, source }) => match source.downcast::<Error>() {
                Ok(error) => Err(*error),
                Err(source) => Err(palan_client::Error::Source { digest, source }.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    async fn put_growing(&self, blob: &Growing) -> Result<(), Error> {
        let push = pin!(self.repo.push_growing(blob));
        let there = pin!(self.has_made(blob));
        let stored = match select(push, there).await {
            Either::Left((pushed, _)) => pushed?,
            Either::Right((there, _)) => Some(there),
        };
        if let Some(blob) = stored {
            self.memo.note_written(self.repository(), blob.digest);
        }
        Ok(())
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        let digest = document.digest();
        if role.tag().is_some() && digest.algorithm() != Algorithm::Sha256 {
            // Behind a tag, registries know a document by its SHA-256 only.
            self.repo.put_manifest(document, &digest.into(), Precondition::None).await?;
        }
        let (selector, precondition) = match role {
            PutAs::Tag(tag) => (Selector::Tag(tag.clone()), Precondition::None),
            PutAs::Replace { tag, expected } => {
                let selector = Selector::Tag(tag.clone());
                self.check_unmoved(&selector, *expected).await?;
                (selector, Precondition::IfMatch(*expected))
            }
            PutAs::Absent(tag) => {
                let selector = Selector::Tag(tag.clone());
                self.check_absent(&selector).await?;
                (selector, Precondition::IfAbsent)
            }
            PutAs::Child | PutAs::Root => (digest.into(), Precondition::None),
        };
        let put = self.repo.put_manifest(document, &selector, precondition).await;
        let (reference, found) = (|| format!("{}:{selector}", self.name()), "something else".to_owned());
        if put.is_err() {
            // It may be that a blob is gone that it names.
            self.memo.forget(self.repository());
        }
        put.map_err(|e| match (&precondition, e.is_precondition_failed()) {
            (Precondition::IfMatch(expected), true) => {
                Error::Moved { reference: reference(), expected: *expected, found }
            }
            (Precondition::IfAbsent, true) => Error::Exists { reference: reference(), found },
            _ => e.into(),
        })
    }
}

/// Opens a blob of another place again, at any offset, each time an upload has to be repeated.
struct Reopen<'a> {
    blob: &'a Descriptor,
    from: &'a dyn Source,
}

impl BlobOpener for Reopen<'_> {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        Box::pin(async move {
            let content = self.from.open(self.blob, offset).await.map_err(BoxError::from)?;
            let content = content.map(|piece: Result<Bytes, Error>| piece.map_err(BoxError::from));
            Ok(Box::pin(content) as ByteStream)
        })
    }
}
