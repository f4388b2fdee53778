//! Graph copy: the one algorithm that moves images. Pull, push, copy, rebase and append are this, with other places.
//!
//! A document is copied after everything it names, its blobs and children at the same time, each digest exactly once.
//! Attestations that an index lists come after the images they are about: registries may demand the subject first.
//!
//! [`shape()`] makes a copy of some platforms, or with attestations in another form, out of the whole;
//! [`companions`](crate::companions) are what travels with it.

mod attestation;
mod shape;
mod tags;
mod watched;
mod writing;

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

pub use shape::{Attestations, Shape, Shaped, shape};
pub use tags::{TagFilter, TagPattern};

use crate::{
    Error, Event, Observer, Transfer,
    companions::Companion,
    image::{self, MAX_DEPTH},
    place::{Memory, Origin, Overlay, PutAs, Source, Target},
};
use watched::Watched;
use writing::{MOMENT, Writing, is_late};

/// How a copy is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many blobs and documents are under way at once.
    pub jobs: usize,
    /// What becomes of non-distributable layers.
    pub foreign: Foreign,
    /// Who is told.
    pub observer: Observer,
}

/// What becomes of non-distributable layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// They are left out.
    #[default]
    Skip,
    /// They are copied where the source has them; what is left out is noted.
    WherePresent,
    /// They are copied; one that the source has not got is an error.
    Copy,
}

impl Default for Options {
    fn default() -> Self {
        Self { jobs: 8, foreign: Foreign::default(), observer: Observer::default() }
    }
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Blobs whose bytes passed through this process.
    pub blobs_moved: u64,
    /// Blobs that the target took over by itself (mounted, linked).
    pub blobs_adopted: u64,
    /// Blobs that were at the target already.
    pub blobs_present: u64,
    /// Non-distributable blobs left out.
    pub blobs_skipped: u64,
    /// Documents written.
    pub documents: u64,
    /// Bytes of the blobs moved, as stored (compressed).
    pub bytes_moved: u64,
    /// Referrers and digest tags that went along; they are counted among the documents, too.
    pub companions: u64,
}

impl std::ops::Add for Summary {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            blobs_moved: self.blobs_moved + other.blobs_moved,
            blobs_adopted: self.blobs_adopted + other.blobs_adopted,
            blobs_present: self.blobs_present + other.blobs_present,
            blobs_skipped: self.blobs_skipped + other.blobs_skipped,
            documents: self.documents + other.documents,
            bytes_moved: self.bytes_moved + other.bytes_moved,
            companions: self.companions + other.companions,
        }
    }
}

/// Copies `roots` and everything below them. Calls [`Target::finish`] never: several copies may go into one archive.
pub async fn copy(
    source: &Arc<dyn Source>,
    target: &Arc<dyn Target>,
    roots: Vec<(Document, PutAs)>,
    options: &Options,
) -> Result<Summary, Error> {
    let copier = Copier::new(source, target, options);
    try_join_all(roots.into_iter().map(|(root, role)| copier.copy(root, role))).await?;
    Ok(copier.summary())
}

/// Copies roots one by one or at the same time, each with an outcome of its own; what they share moves once, and
/// [`Options::jobs`] holds for all of them together.
pub struct Copier {
    engine: Arc<Engine>,
    overlay: Arc<Overlay>,
}

impl Copier {
    /// A copier between two places.
    pub fn new(source: &Arc<dyn Source>, target: &Arc<dyn Target>, options: &Options) -> Self {
        let overlay = Arc::new(Overlay::new(Memory::new(), Arc::clone(source)));
        let engine = Arc::new(Engine {
            source: Arc::new(Watched {
                inner: Arc::clone(&overlay) as _,
                observer: options.observer.clone(),
            }),
            target: Arc::clone(target),
            permits: Semaphore::new(options.jobs.max(1)),
            foreign: options.foreign,
            observer: options.observer.clone(),
            once: Mutex::default(),
            writing: Writing::default(),
            counters: Counters::default(),
        });
        Self { engine, overlay }
    }

    /// Copies a root and everything below it.
    pub async fn copy(&self, root: Document, role: PutAs) -> Result<(), Error> {
        self.engine.root(root, role).await
    }

    /// Copies what [`shape()`] made of an image, and then what travels with it: subjects come before what refers to
    /// them, and the tag last, when all of it is there.
    ///
    /// Where the tag must be absent, so must digest tags: those that exist are left alone, which is noted.
    pub async fn shaped(&self, shaped: &Shaped, companions: &[Companion], role: PutAs) -> Result<(), Error> {
        shaped.documents.iter().for_each(|document| self.overlay.add_document(document));
        shaped.configs.iter().for_each(|config| self.overlay.add_document_blob(config));
        let root = &shaped.root;
        if !(shaped.referrers.is_empty() && companions.is_empty()) {
            self.engine.target.accepts(root)?;
            self.copy(root.clone(), PutAs::Child).await?;
            for referrer in &shaped.referrers {
                self.companion(referrer, PutAs::Root).await?;
            }
            for companion in companions {
                let own = match (&companion.role, &role) {
                    (PutAs::Tag(tag), PutAs::Absent(_)) => PutAs::Absent(tag.clone()),
                    (own, _) => own.clone(),
                };
                self.companion(&companion.document, own).await?;
            }
        }
        self.copy(root.clone(), role).await
    }

    async fn companion(&self, document: &Document, role: PutAs) -> Result<(), Error> {
        match self.copy(document.clone(), role).await {
            Err(Error::Exists { reference, .. }) => {
                self.engine.observer.note(format!("{reference} exists and was left alone"));
            }
            done => {
                done?;
                self.engine.counters.companions.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// What has been done so far.
    pub fn summary(&self) -> Summary {
        self.engine.counters.summary()
    }
}

/// What is done once: content by its digest, and whether it was left out. What is not distributable as one layer may be
/// so as another.
type Once = (Digest, bool);

struct Engine {
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    permits: Semaphore,
    foreign: Foreign,
    observer: Observer,
    once: Mutex<HashMap<Once, Arc<OnceCell<()>>>>,
    writing: Writing,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    moved: AtomicU64,
    adopted: AtomicU64,
    present: AtomicU64,
    skipped: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
    companions: AtomicU64,
}

impl Counters {
    fn summary(&self) -> Summary {
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

    async fn root(self: &Arc<Self>, root: Document, role: PutAs) -> Result<(), Error> {
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
        if self.target.is_home_of(&origin) {
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
