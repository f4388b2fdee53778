//! Blobs that are sent to a registry while they are made.
//!
//! Who makes a blob writes it to a file; who sends it reads that file behind it. What fails here is of no consequence: the
//! blob is pushed as any other when it is whole.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt as _},
};
use palan_client::{BlobOpener, ByteStream, GrowingBlob};
use palan_core::{Descriptor, Digest, MediaType};
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use super::Target;
use crate::cancel::on_thread;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Smaller blobs are not worth the requests.
const WORTH: u64 = 1024 * 1024;
/// How much is read at once, in bytes, and waited for: for less, so many threads are woken that it takes time from who makes
/// the blob.
const PIECE: u64 = 512 * 1024;
/// With more than this to be sent still when a blob is whole, it is worth to ask whether it is there already.
const MUCH: u64 = 4 * 1024 * 1024;

/// Where blobs are sent while they are made.
pub(crate) struct Ahead {
    target: Arc<dyn Target>,
    runtime: Handle,
    sending: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}", self.target.name())
    }
}

impl Ahead {
    /// Sends to `target`. To be called within a runtime.
    pub(crate) fn new(target: Arc<dyn Target>) -> Self {
        Self { target, runtime: Handle::current(), sending: Mutex::default() }
    }

    /// Waits until everything is sent that could be.
    pub(crate) async fn sent(&self) {
        let mut sending = std::mem::take(&mut *self.lock());
        while sending.join_next().await.is_some() {}
    }

    fn begin(&self, blob: Growing) {
        let target = Arc::clone(&self.target);
        let send = async move {
            if let Err(error) = target.put_growing(&blob).await {
                tracing::debug!(%error, "a blob could not be sent while it was made");
            }
        };
        self.lock().spawn_on(send, &self.runtime);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Default)]
struct Progress {
    written: u64,
    made: Option<Digest>,
}

/// A new file, of which a blob is made: it is watched while it is written.
pub(super) struct Watched<'a, W> {
    file: W,
    path: &'a Path,
    /// Where the blob is to be sent; nowhere once that has begun.
    ahead: Option<&'a Ahead>,
    progress: watch::Sender<Progress>,
}

impl<'a, W> Watched<'a, W> {
    pub(super) fn new(file: W, path: &'a Path, ahead: Option<&'a Ahead>) -> Self {
        Self { file, path, ahead, progress: watch::Sender::new(Progress::default()) }
    }

    /// The file is whole, and this blob.
    pub(super) fn finish(self, digest: Digest) {
        self.progress.send_modify(|progress| progress.made = Some(digest));
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.progress.send_if_modified(|progress| {
            let before = progress.written;
            progress.written += n as u64;
            progress.written / PIECE > before / PIECE
        });
        let is_worth_it = self.progress.borrow().written >= WORTH;
        // Opened now: the file is moved when it is whole.
        if let Some(ahead) = self.ahead.take_if(|_| is_worth_it)
            && let Ok(file) = File::open(self.path)
        {
            let (first, progress) = (Mutex::new(Some(file)), self.progress.subscribe());
            ahead.begin(Growing { first, path: self.path.to_owned(), progress, read: Arc::default() });
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A blob that is being written to a file.
pub struct Growing {
    first: Mutex<Option<File>>,
    path: PathBuf,
    progress: watch::Receiver<Progress>,
    read: Arc<AtomicU64>,
}

impl Growing {
    /// Whether much of a blob of this size was not read yet.
    pub(super) fn is_far_behind(&self, size: u64) -> bool {
        size.saturating_sub(self.read.load(Relaxed)) > MUCH
    }

    async fn piece(file: File, at: u64, mut progress: watch::Receiver<Progress>) -> Piece {
        let Progress { written, .. } = *progress
            .wait_for(|progress| progress.written >= at + PIECE || progress.made.is_some())
            .await
            .map_err(|_| "it is not made to its end")?;
        if written <= at {
            return Ok(None);
        }
        let read = move || {
            let size = PIECE.min(written - at);
            // What is read is as much as there is, and never grows.
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            let mut part = (&file).take(size);
            part.read_to_end(&mut bytes)?;
            Ok::<_, io::Error>((bytes, file))
        };
        Ok(Some(on_thread(read).await??))
    }
}

/// The next bytes, and the file again; `None` at the end.
type Piece = Result<Option<(Vec<u8>, File)>, BoxError>;

impl BlobOpener for Growing {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        let opened = || {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut file = first.map_or_else(|| File::open(&self.path), Ok)?;
            file.seek(SeekFrom::Start(offset))?;
            let (state, read) = ((file, offset, self.progress.clone()), Arc::clone(&self.read));
            let pieces = stream::try_unfold(state, move |(file, at, progress)| {
                read.store(at, Relaxed);
                async move {
                    let Some((bytes, file)) = Self::piece(file, at, progress.clone()).await? else {
                        return Ok(None);
                    };
                    let next = at + bytes.len() as u64;
                    Ok(Some((Bytes::from(bytes), (file, next, progress))))
                }
            });
            Ok(pieces.boxed() as ByteStream)
        };
        let opened = opened();
        Box::pin(async move { opened })
    }
}

impl GrowingBlob for Growing {
    fn made(&self) -> BoxFuture<'_, Option<Descriptor>> {
        let mut progress = self.progress.clone();
        Box::pin(async move {
            let Progress { written, made } =
                *progress.wait_for(|progress| progress.made.is_some()).await.ok()?;
            Some(Descriptor::new(MediaType::new("application/octet-stream"), made?, written))
        })
    }
}
