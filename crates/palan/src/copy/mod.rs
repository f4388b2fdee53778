//! Graph copy: the one algorithm that moves images. Pull, push, copy, rebase and append are this, with other places.
//!
//! A document is copied after everything it names, its blobs and children at the same time, each digest exactly once.
//! Attestations that an index lists come after the images they are about: registries may demand the subject first.
//!
//! [`shape()`] makes a copy of some platforms, or with attestations in another form, out of the whole;
//! [`companions`](crate::companions) are what travels with it.

mod attestation;
mod engine;
mod shape;
mod tags;
mod watched;
mod writing;

use std::sync::{Arc, Mutex, atomic::Ordering};

use futures_util::future::try_join_all;
use palan_core::Document;
use palan_layer::{Limits, Scratch};
use tokio::sync::Semaphore;

pub use shape::{AttestationForm, Shape, Shaped, shape};
pub use tags::{TagFilter, TagPattern};

use self::{
    engine::{Counters, Engine},
    watched::Watched,
    writing::Writing,
};
use crate::{
    Error, Observer,
    companions::Companion,
    place::{Memory, Overlay, PutAs, Source, Target},
};

/// How a copy is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many blobs and documents are under way at once.
    pub jobs: usize,
    /// What becomes of non-distributable layers.
    pub foreign: Foreign,
    /// Bounds on what layers that are opened (merged, converted) may make us do. What is only copied is not opened.
    pub limits: Limits,
    /// Who is told.
    pub observer: Observer,
    /// Where layers wait that are read before they are written in another form.
    pub scratch: Scratch,
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
        Self {
            jobs: 8,
            foreign: Foreign::default(),
            limits: Limits::default(),
            observer: Observer::default(),
            scratch: Scratch::default(),
        }
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
