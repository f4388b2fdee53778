//! What moves: documents after everything they name, each digest once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::{
    TryFutureExt as _,
    future::{BoxFuture, try_join_all},
};
use palan_core::{Descriptor, Digest, Document, Kind, MediaType, Role, view};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    Foreign, Summary,
    writing::{MOMENT, Writing, is_late},
};
use crate::{
    Error, Event, Observer, Transfer,
    image::{self, MAX_DEPTH},
    place::{Origin, PutAs, Source, Target},
};

/// What is done once: content by its digest, and whether it was left out. What is not distributable as one layer may be
/// so as another.
type Once = (Digest, bool);

pub(super) struct Engine {
    pub(super) source: Arc<dyn Source>,
    pub(super) target: Arc<dyn Target>,
    pub(super) permits: Semaphore,
    pub(super) foreign: Foreign,
    pub(super) observer: Observer,
    pub(super) once: Mutex<HashMap<Once, Arc<OnceCell<()>>>>,
    pub(super) writing: Writing,
    pub(super) counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) moved: AtomicU64,
    pub(super) adopted: AtomicU64,
    pub(super) present: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) documents: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) companions: AtomicU64,
}

impl Counters {
    pub(super) fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            blobs_moved: get(&self.moved),
            blobs_adopted: get(&self.adopted),
            blobs_present: get(&self.present),
            blobs_skipped: get(&self.skipped),
            documents: get(&self.documents),
            bytes_moved: get(&self.bytes),
            companions: get(&self.companions),
        }
    }
}

impl Engine {
    fn cell(&self, digest: Digest, skipped: bool) -> Arc<OnceCell<()>> {
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(once.entry((digest, skipped)).or_default())
    }

    pub(super) async fn root(self: &Arc<Self>, root: Document, role: PutAs) -> Result<(), Error> {
        self.target.accepts(&root)?;
        let (cell, first) = (self.cell(root.digest(), false), AtomicBool::new(false));
        cell.get_or_try_init(|| async {
            first.store(true, Ordering::Relaxed);
            self.first(&root, &role).await
        })
        .await?;
        // Below another root it was written without its role.
        match first.into_inner() || role == PutAs::Child {
            true => Ok(()),
            false => self.put(&root, &role).await,
        }
    }

    async fn first(self: &Arc<Self>, root: &Document, role: &PutAs) -> Result<(), Error> {
        let descriptor = root.descriptor();
        let origin = self.source.origin(root.digest());
        if !self.is_there(&descriptor, &origin).await? {
            self.successors(root, 0).await?;
        } else if matches!(role, PutAs::Root | PutAs::Child) {
            self.done(&descriptor, Transfer::Present);
            return Ok(());
        }
        self.put(root, role).await
    }

    /// Whether the target holds the document and everything below it.
    async fn is_there(&self, document: &Descriptor, origin: &Origin) -> Result<bool, Error> {
        if self.target.is_home_of(origin) {
            return Ok(true);
        }
        // A registry's guarantee does not cover non-distributable layers.
        if *origin == Origin::New || self.foreign != Foreign::Skip {
            return Ok(false);
        }
        let _permit = self.permit().await?;
        self.target.has_graph(document).await
    }

    fn child(self: Arc<Self>, entry: Descriptor, depth: usize) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let cell = self.cell(entry.digest, false);
            cell.get_or_try_init(|| async {
                if self.is_there(&entry, &self.source.origin(entry.digest)).await? {
                    self.done(&entry, Transfer::Present);
                    return Ok(());
                }
                let document = {
                    let _permit = self.permit().await?;
                    self.source.document(&entry.digest.into()).await.map_err(|e| self.missing(&entry, e))?
                };
                self.successors(&document, depth).await?;
                self.put(&document, &PutAs::Child).await
            })
            .await
            .copied()
        })
    }

    /// Copies everything that `document` names, except its subject.
    async fn successors(self: &Arc<Self>, document: &Document, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(image::too_deep(self.source.as_ref(), document.digest()));
        }
        let unusable = |source| Error::Document {
            name: document.digest().to_string(),
            place: self.source.name(),
            source,
        };
        match document.kind() {
            Kind::Manifest => {
                let manifest: view::Manifest = document.view().map_err(unusable)?;
                let blobs = std::iter::once(manifest.config).chain(manifest.layers);
                try_join_all(blobs.map(|blob| self.spawn_blob(blob))).await?;
            }
            Kind::Index => {
                let index: view::Index = document.view().map_err(unusable)?;
                let (later, first): (Vec<_>, Vec<_>) =
                    index.manifests.into_iter().partition(Descriptor::is_attestation);
                for wave in [first, later] {
                    try_join_all(wave.into_iter().map(|entry| self.successor(entry, depth + 1))).await?;
                }
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// An index may list blobs of any type; what is not a manifest or index is copied as a blob.
    fn successor(self: &Arc<Self>, entry: Descriptor, depth: usize) -> BoxFuture<'static, Result<(), Error>> {
        if entry.media_type.is_document() {
            Arc::clone(self).child(entry, depth)
        } else {
            Box::pin(self.spawn_blob(entry))
        }
    }

    async fn put(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        let _alone = self.writing.begin(document).await;
        let _permit = self.permit().await?;
        let mut put = self.target.put_document(document, role).await;
        if put.as_ref().is_err_and(is_late) {
            tokio::time::sleep(MOMENT).await;
            put = self.target.put_document(document, role).await;
        }
        put.map_err(|error| self.refused(document, error))?;
        self.counters.documents.fetch_add(1, Ordering::Relaxed);
        self.done(&document.descriptor(), Transfer::Moved);
        Ok(())
    }

    fn missing(&self, entry: &Descriptor, error: Error) -> Error {
        if !(entry.is_attestation() && error.is_not_found()) {
            return error;
        }
        Error::NoAttestation { digest: entry.digest, place: self.source.name() }
    }

    /// There are registries that take no artifacts, and do not say so well.
    fn refused(&self, document: &Document, error: Error) -> Error {
        match (error, document.view::<view::Manifest>()) {
            (Error::Client(source), Ok(manifest))
                if matches!(source.status().map(|s| s.as_u16()), Some(400 | 406 | 415 | 422))
                    && manifest.config.media_type == MediaType::OCI_EMPTY =>
            {
                Error::MediaTypeRefused {
                    document: document.digest(),
                    media_type: manifest.config.media_type,
                    place: self.target.name(),
                    source: Box::new(source),
                }
            }
            (error, _) => error,
        }
    }

    fn done(&self, document: &Descriptor, how: Transfer) {
        self.observer.emit(&Event::DocumentDone { document, how });
    }

    /// On a task of its own, so that hashing one blob does not hold up another.
    fn spawn_blob(self: &Arc<Self>, blob: Descriptor) -> impl Future<Output = Result<(), Error>> + use<> {
        let engine = Arc::clone(self);
        let task = AbortOnDrop(tokio::spawn(async move { engine.blob(blob).await }));
        task.unwrap_or_else(|_| Err(Error::Cancelled))
    }

    async fn blob(&self, blob: Descriptor) -> Result<(), Error> {
        let is_foreign = matches!(blob.media_type.role(), Role::Layer { foreign: true, .. });
        let skip = is_foreign && !self.takes_foreign(&blob).await?;
        let cell = self.cell(blob.digest, skip);
        cell.get_or_try_init(|| async {
            let how = if skip { Transfer::Skipped } else { self.transfer(&blob).await? };
            let counter = match how {
                Transfer::Moved => &self.counters.moved,
                Transfer::Adopted => &self.counters.adopted,
                Transfer::Present => &self.counters.present,
                Transfer::Skipped => &self.counters.skipped,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if how == Transfer::Moved {
                self.counters.bytes.fetch_add(blob.size, Ordering::Relaxed);
            }
            self.observer.emit(&Event::BlobDone { blob: &blob, how });
            Ok(())
        })
        .await
        .copied()
    }

    async fn takes_foreign(&self, blob: &Descriptor) -> Result<bool, Error> {
        match self.foreign {
            Foreign::Skip => return Ok(false),
            Foreign::Copy => return Ok(true),
            Foreign::WherePresent => {}
        }
        let is_there = {
            let _permit = self.permit().await?;
            self.source.has(blob).await?
        };
        if !is_there {
            let (digest, place) = (blob.digest, self.source.name());
            let note = format!("the layer {digest} is not distributable and not in {place}: it is left out");
            self.observer.note(note);
        }
        Ok(is_there)
    }

    async fn transfer(&self, blob: &Descriptor) -> Result<Transfer, Error> {
        let origin = self.source.origin(blob.digest);
        if self.target.is_home_of(&origin) || self.target.knows(blob.digest) {
            return Ok(Transfer::Present);
        }
        let _permit = self.permit().await?;
        if self.target.adopt(blob, self.source.as_ref()).await? {
            return Ok(Transfer::Adopted);
        }
        if origin != Origin::New && self.target.has(blob).await? {
            return Ok(Transfer::Present);
        }
        self.observer.emit(&Event::BlobStarted { blob });
        self.target.put_blob(blob, self.source.as_ref()).await?;
        Ok(Transfer::Moved)
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.permits.acquire().await.map_err(|_| Error::Cancelled)
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}
