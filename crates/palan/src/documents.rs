//! Manifests, indexes and configs that were read before, by digest: each is read once, however many images and runs
//! need it.
//!
//! A digest names bytes, not a place: a document that is known from one repository is known for all, also where it was
//! deleted meanwhile. So it stands before what is *read*. Whether something is *there*, and what a tag stands for, is
//! always asked.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use palan_core::{Descriptor, Digest, Document, DocumentError, MAX_DOCUMENT_SIZE, MediaType, Role};

use crate::{Error, Observer, kept};

/// How many bytes of documents are kept in memory, when nothing else is said.
const IN_MEMORY: usize = 16 << 20;
/// What a document takes beside its bytes, about.
const OVERHEAD: usize = 256;
/// No media type is as long.
const LONGEST_TYPE: usize = 256;

/// Documents that are known. Cheap to clone; clones share what they know.
///
/// What is found is what was verified when it was read, or is verified now when it comes from a file. Memory is bounded:
/// what has not been asked for lately goes first.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    memory: Mutex<Memory>,
    folder: Option<Folder>,
    /// Who reads which document now: others wait.
    turns: Mutex<HashMap<Digest, Turn>>,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Default for Documents {
    fn default() -> Self {
        Self::in_memory(IN_MEMORY)
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.0.folder.as_ref().map(|folder| &folder.root);
        f.debug_struct("Documents").field("folder", &folder).finish_non_exhaustive()
    }
}

impl Documents {
    /// In memory only, about so many bytes.
    pub fn in_memory(bytes: usize) -> Self {
        Self::with(bytes, None)
    }

    /// In memory, and in a directory, which is made with the first file: one file for each document, which only its
    /// owner can read. Any of them may be deleted at any time; several processes may use one directory. It is not
    /// bounded. `observer` is told, once, when nothing can be kept there.
    pub fn in_directory(path: impl Into<PathBuf>, observer: Observer) -> Self {
        Self::with(IN_MEMORY, Some(Folder { root: path.into(), observer, full: AtomicBool::new(false) }))
    }

    fn with(bytes: usize, folder: Option<Folder>) -> Self {
        let memory = Memory { half: bytes / 2, ..Memory::default() };
        Self(Arc::new(Inner { memory: Mutex::new(memory), folder, turns: Mutex::default() }))
    }

    /// Makes a document known that may not be anywhere yet: one that was computed and will be pushed, so that what is
    /// to stand on it can be computed too. It stays as long as `self`, and goes into no directory.
    pub fn insert(&self, document: &Document) {
        self.memory().inserted.insert(document.digest(), Known::of(document));
    }

    /// Keeps a document that was read.
    pub(crate) fn keep(&self, document: &Document) {
        self.put(document.digest(), Known::of(document));
    }

    /// The manifest or index with this digest. `None`: it is not known.
    pub fn document(&self, digest: Digest) -> Option<Document> {
        self.find(digest, Known::is_document)?.parse(digest).ok()
    }

    /// The manifest or index with this digest; read when it is not known, by one at a time.
    pub(crate) async fn document_or<F>(
        &self,
        digest: Digest,
        read: impl FnOnce() -> F,
    ) -> Result<Document, Error>
    where
        F: Future<Output = Result<Document, Error>>,
    {
        let read = || async { read().await.map(|document| Known::of(&document)) };
        let known = self.known_or(digest, Known::is_document, read).await?;
        known.parse(digest).map_err(|source| Error::Document {
            name: digest.to_string(),
            place: "the documents known".to_owned(),
            source,
        })
    }

    /// The bytes of a config; read, which must include verifying them, when they are not known, by one at a time.
    pub(crate) async fn config_or<F>(
        &self,
        config: &Descriptor,
        read: impl FnOnce() -> F,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Bytes, Error>>,
    {
        let fits = |known: &Known| known.is_config() && known.bytes.len() as u64 == config.size;
        let read =
            || async { read().await.map(|bytes| Known { media_type: config.media_type.clone(), bytes }) };
        Ok(self.known_or(config.digest, fits, read).await?.bytes)
    }

    async fn known_or<F>(
        &self,
        digest: Digest,
        fits: impl Fn(&Known) -> bool,
        read: impl FnOnce() -> F,
    ) -> Result<Known, Error>
    where
        F: Future<Output = Result<Known, Error>>,
    {
        if let Some(known) = self.find(digest, &fits) {
            return Ok(known);
        }
        let turn = Waiting { inner: &self.0, digest, turn: self.turn(digest) };
        let _mine = turn.turn.lock().await;
        if let Some(known) = self.find(digest, &fits) {
            return Ok(known);
        }
        let known = read().await?;
        self.put(digest, known.clone());
        Ok(known)
    }

    fn find(&self, digest: Digest, fits: impl Fn(&Known) -> bool) -> Option<Known> {
        if let Some(known) = self.memory().get(digest) {
            return Some(known).filter(fits);
        }
        let known = self.0.folder.as_ref()?.read(digest)?;
        self.memory().put(digest, known.clone());
        Some(known).filter(fits)
    }

    fn put(&self, digest: Digest, known: Known) {
        if let Some(folder) = &self.0.folder {
            folder.write(digest, &known);
        }
        self.memory().put(digest, known);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, digest: Digest) -> Turn {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(digest).or_default())
    }
}

/// Somebody who reads a document, or waits for who does.
struct Waiting<'a> {
    inner: &'a Inner,
    digest: Digest,
    turn: Turn,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and ours: nobody else waits.
        if Arc::strong_count(&self.turn) <= 2 {
            turns.remove(&self.digest);
        }
    }
}

/// The bytes behind a digest, and as what they were read.
#[derive(Clone)]
struct Known {
    media_type: MediaType,
    bytes: Bytes,
}

impl Known {
    fn of(document: &Document) -> Self {
        Self { media_type: document.media_type().clone(), bytes: document.bytes().clone() }
    }

    fn is_config(&self) -> bool {
        self.media_type.role() == Role::Config
    }

    fn is_document(&self) -> bool {
        !self.is_config()
    }

    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    fn parse(self, digest: Digest) -> Result<Document, DocumentError> {
        Document::parse_with(self.bytes, Some(self.media_type), digest.algorithm())
    }
}

/// Two generations: what is asked for moves to the young one; when that is full, the old one goes.
#[derive(Default)]
struct Memory {
    half: usize,
    size: usize,
    young: HashMap<Digest, Known>,
    old: HashMap<Digest, Known>,
    inserted: HashMap<Digest, Known>,
}

impl Memory {
    fn get(&mut self, digest: Digest) -> Option<Known> {
        if let Some(known) = self.inserted.get(&digest).or_else(|| self.young.get(&digest)) {
            return Some(known.clone());
        }
        let known = self.old.remove(&digest)?;
        self.put(digest, known.clone());
        Some(known)
    }

    fn put(&mut self, digest: Digest, known: Known) {
        if known.size() > self.half {
            return;
        }
        if self.size + known.size() > self.half {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        self.size += known.size();
        if let Some(before) = self.young.insert(digest, known) {
            self.size -= before.size();
        }
    }
}

/// One file for each document: its media type, a line break, its bytes.
struct Folder {
    root: PathBuf,
    observer: Observer,
    /// It cannot be written: said once, and not tried again.
    full: AtomicBool,
}

impl Folder {
    fn path(&self, digest: Digest) -> PathBuf {
        self.root.join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }

    /// What the file holds, if that has the digest.
    fn read(&self, digest: Digest) -> Option<Known> {
        let mut all = Vec::new();
        let most = MAX_DOCUMENT_SIZE + LONGEST_TYPE as u64 + 1;
        File::open(self.path(digest)).ok()?.take(most).read_to_end(&mut all).ok()?;
        let end = all.iter().take(LONGEST_TYPE).position(|byte| *byte == b'\n')?;
        let media_type = MediaType::new(std::str::from_utf8(&all[..end]).ok()?);
        let bytes = Bytes::from(all).split_off(end + 1);
        (digest.algorithm().digest(&bytes) == digest).then_some(Known { media_type, bytes })
    }

    fn write(&self, digest: Digest, known: &Known) {
        let media_type = known.media_type.as_str();
        if self.full.load(Relaxed) || media_type.len() >= LONGEST_TYPE || media_type.contains('\n') {
            return;
        }
        let written = kept::write(&self.path(digest), &[media_type.as_bytes(), b"\n", &known.bytes]);
        if let Err(error) = written {
            self.give_up(&error);
        }
    }

    fn give_up(&self, error: &io::Error) {
        if !self.full.swap(true, Relaxed) {
            let folder = self.root.display();
            self.observer.note(format!("no more manifests and configs are kept in {folder}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests;
