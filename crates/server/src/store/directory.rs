//! A store in a directory.
//!
//! ```text
//! palan-registry                            the layout's version
//! lock                                      held while a registry uses the directory
//! blobs/<algorithm>/<hex>                   content: never changed once it is there
//! repositories/<name>/_blobs/<digest>       a blob of the repository: its size
//! repositories/<name>/_manifests/<digest>   a manifest of the repository: its media type
//! repositories/<name>/_tags/<tag>           the digest that the tag points to
//! uploads/<id>, uploads/<id>.json           an upload session: what it received, whose it is
//! tmp/                                      files that are not yet anything; swept when the registry is opened
//! damaged/                                  content that was not what its digest says
//! ```
//!
//! No component of a repository's name starts with `_`, so the two kinds of folder cannot be confused.
//!
//! Every file appears whole: it is written under `tmp` or `uploads`, synchronised, renamed, and the folder is
//! synchronised before anyone is told. Content comes before the fact that it is in a repository, manifests before
//! their tags, and the other way round when they go, so that a power cut leaves facts about content that is there.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use palan_core::Digest;

use super::{Content, Fact, Session, Staging, Store};
use crate::{Error, sync::lock};

mod layout;
mod load;

use layout::Layout;
pub(crate) use load::Opened;

/// When an answer may be given to a client who has pushed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When a power cut cannot take it back.
    #[default]
    Commit,
    /// When the operating system has it: fast, and safe against everything but a crash of the machine.
    None,
}

/// Where a registry directory keeps content.
pub(crate) fn content_path(root: &Path, digest: &Digest) -> PathBuf {
    Layout::new(root).content(digest)
}

pub(crate) struct Directory {
    layout: Layout,
    sync: bool,
    /// For names of temporary files, which no other process makes.
    next: AtomicU64,
    /// Folders of repositories that no power cut takes away any more. Held while one is made, so that nobody is told of
    /// what is in a folder before the folder is safe.
    durable: Mutex<HashSet<PathBuf>>,
    /// Released when this is dropped.
    _lock: File,
}

impl Directory {
    /// Opens, or makes, a registry directory and reads what is in it.
    pub(crate) fn open(root: &Path, durability: Durability) -> Result<(Self, Opened), Error> {
        let layout = Layout::new(root);
        let held = layout.prepare()?;
        let sync = durability == Durability::Commit;
        let directory =
            Self { layout, sync, next: AtomicU64::new(0), durable: Mutex::default(), _lock: held };
        directory.sync_layout()?;
        let opened = directory.load()?;
        Ok((directory, opened))
    }

    /// Makes the folders of a new directory durable.
    fn sync_layout(&self) -> Result<(), Error> {
        for folder in self.layout.folders_of_folders() {
            self.sync_folder(&folder).map_err(|e| layout::open_error(&folder, e))?;
        }
        for above in self.layout.above() {
            // It may be a folder that we may enter but not read.
            let _ = self.sync_folder(above);
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.layout.tmp().join(self.next.fetch_add(1, Relaxed).to_string())
    }

    /// Makes `path` hold `text`, whole or not at all.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut staged = Staging::file(self.temporary(), true)?;
        staged.append(text.as_bytes())?;
        self.persist(staged, path)
    }

    fn persist(&self, staged: Staging, to: &Path) -> io::Result<()> {
        let Staging::File(staged) = staged else {
            return Err(io::Error::other("content staged in memory, not in a file"));
        };
        let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.make_folder(folder, &mut lock(&self.durable))?;
        staged.persist(to, self.sync)?;
        self.sync_folder(folder)
    }

    /// Makes a folder and those above it, each durable in the one above. A folder that is there may not be durable yet:
    /// only those known to be need no more.
    fn make_folder(&self, folder: &Path, durable: &mut HashSet<PathBuf>) -> io::Result<()> {
        if self.layout.is_own(folder) || durable.contains(folder) && folder.is_dir() {
            return Ok(());
        }
        let parent = folder.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.make_folder(parent, durable)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => self.sync_folder(parent)?,
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Makes the entries of a folder durable, where the system can.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.sync && cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => path.parent().map_or(Ok(()), |folder| self.sync_folder(folder)),
        }
    }
}

impl Store for Directory {
    fn blocks(&self) -> bool {
        true
    }

    fn stage(&self) -> io::Result<Staging> {
        Staging::file(self.temporary(), true)
    }

    fn stage_session(&self, id: &str, session: &Session) -> io::Result<Staging> {
        let (data, record) = self.layout.session(id);
        fs::write(record, layout::write_session(session))?;
        Staging::file(data, false)
    }

    fn drop_session(&self, id: &str) -> io::Result<()> {
        let (data, record) = self.layout.session(id);
        for path in [data, record] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn publish(&self, staged: Staging, digest: &Digest) -> io::Result<()> {
        self.persist(staged, &self.layout.content(digest))
    }

    fn open(&self, digest: &Digest, size: u64, from: u64) -> io::Result<Content> {
        let mut file = File::open(self.layout.content(digest))?;
        if file.metadata()?.len() != size {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if from > 0 {
            file.seek(SeekFrom::Start(from))?;
        }
        Ok(Content::File(file))
    }

    fn remove(&self, digest: &Digest) -> io::Result<()> {
        // If a power cut undoes this, the content is there and nobody's, which harms nobody.
        match fs::remove_file(self.layout.content(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn set_aside(&self, digest: &Digest) -> io::Result<()> {
        match fs::rename(self.layout.content(digest), self.layout.damaged(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn record(&self, fact: &Fact<'_>) -> io::Result<()> {
        let text = match fact {
            Fact::Blob(_, _, size) => size.to_string(),
            Fact::Manifest(_, _, media_type) => media_type.to_string(),
            Fact::Tag(_, _, digest) => digest.to_string(),
        };
        self.write(&self.layout.fact(fact), &text)
    }

    fn forget(&self, fact: &Fact<'_>) -> io::Result<()> {
        self.remove_file(&self.layout.fact(fact))
    }
}
