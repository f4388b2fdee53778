//! A cache of blobs in a directory, by digest: in front of a source, asked before it and filled while it is read.
//!
//! What is in it was verified before it got its name (temporary file, rename), and is found by that name. Files rot, so
//! it is verified again when it is used; layouts link it instead of copying.
//! Several processes may use one directory. It is not bounded; any of its files may be deleted at any time.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, Selector};
use tempfile::NamedTempFile;

use crate::{
    Error, Observer,
    place::{BlobStream, Origin, Source, publish, read_file, temporary_in, verified},
};

/// A directory of blobs.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in `root`, which is made where there is none. Fails where it cannot be.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        fs::create_dir_all(root.join("blobs")).map_err(Error::io("create", &root))?;
        Ok(Self { root })
    }

    /// The file that holds, or would hold, the blob with this digest.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The blob's file, where it is there. A file of another size (an edited one: ours are complete) is none.
    fn find(&self, blob: &Descriptor) -> Option<PathBuf> {
        let path = self.path(blob.digest);
        fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == blob.size).then_some(path)
    }

    fn begin(&self, digest: Digest) -> Result<Filling, Error> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let file = temporary_in(folder).map_err(Error::io("write in", folder))?;
        Ok(Filling { file, path })
    }

    /// The source with this cache before it. `observer` is told when nothing can be kept.
    pub fn before(&self, source: Arc<dyn Source>, observer: Observer) -> Arc<dyn Source> {
        let full = Arc::new(AtomicBool::new(false));
        Arc::new(Cached { cache: self.clone(), source, observer, full })
    }
}

/// A blob on its way into the cache.
struct Filling {
    file: NamedTempFile,
    path: PathBuf,
}

impl Filling {
    fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.file.write_all(piece).map_err(Error::io("write", &self.path))
    }

    fn publish(self) -> Result<(), Error> {
        publish(self.file, &self.path)
    }
}

struct Cached {
    cache: Cache,
    source: Arc<dyn Source>,
    observer: Observer,
    /// The directory cannot be written: said once, and not tried again.
    full: Arc<AtomicBool>,
}

/// A blob that passes on to its target and into the cache.
struct Passing {
    content: BlobStream,
    left: u64,
    filling: Option<Filling>,
    full: Arc<AtomicBool>,
    observer: Observer,
}

impl Passing {
    /// Keeps a piece. A cache that cannot be written must not fail what it is to speed up.
    fn keep(&mut self, piece: &[u8]) {
        let Some(mut filling) = self.filling.take() else { return };
        self.left = self.left.saturating_sub(piece.len() as u64);
        let kept = filling.write(piece).and_then(|()| match self.left {
            // The last piece comes only after the content has proved right.
            0 => filling.publish(),
            _ => {
                self.filling = Some(filling);
                Ok(())
            }
        });
        if let Err(error) = kept {
            give_up(&self.full, &self.observer, &error);
        }
    }
}

fn give_up(full: &AtomicBool, observer: &Observer, error: &Error) {
    if !full.swap(true, Ordering::Relaxed) {
        let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
        observer.note(format!("the cache keeps nothing more: {error}{cause}"));
    }
}

impl Cached {
    fn filling(&self, blob: &Descriptor) -> Option<Filling> {
        if self.full.load(Ordering::Relaxed) {
            return None;
        }
        self.cache.begin(blob.digest).map_err(|error| give_up(&self.full, &self.observer, &error)).ok()
    }

    fn name_of(&self, path: &Path) -> String {
        format!("the cache ({}) of {}", path.display(), self.source.name())
    }
}

#[async_trait]
impl Source for Cached {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.source.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.source.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        if let Some(path) = self.cache.find(blob) {
            let left = blob.size.saturating_sub(offset);
            if offset > 0 {
                return read_file(path, offset, left);
            }
            // A file that rotted, or was edited, is an error that names it, and is not found again.
            let content = verified(self.name_of(&path), blob, read_file(path.clone(), 0, left)?);
            return Ok(content.inspected(move |piece| {
                if matches!(piece, Err(Error::Damaged { .. })) {
                    let _ = fs::remove_file(&path);
                }
            }));
        }
        let content = self.source.open(blob, offset).await?;
        if offset > 0 || blob.size == 0 {
            return Ok(content);
        }
        let Some(filling) = self.filling(blob) else { return Ok(content) };
        let passing = Passing {
            content: verified(self.name(), blob, content),
            left: blob.size,
            filling: Some(filling),
            full: Arc::clone(&self.full),
            observer: self.observer.clone(),
        };
        Ok(BlobStream::verified(
            blob,
            stream::unfold(passing, |mut passing| async move {
                let piece = passing.content.next().await?;
                if let Ok(piece) = &piece {
                    passing.keep(piece);
                }
                Some((piece, passing))
            }),
        ))
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.cache.find(blob).is_some() || self.source.has(blob).await?)
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.source.tags().await
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        self.source.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        let path = self.cache.path(digest);
        if path.is_file() { Origin::Cached(path) } else { self.source.origin(digest) }
    }
}
