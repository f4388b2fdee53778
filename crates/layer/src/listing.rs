//! What one layer does to the file system below it, and what its files are.
//!
//! A [`Listing`] is read in one pass and holds no content but facts about it, so it can be kept: a layer's diff ID
//! names its listing for ever. [`Tree::apply_listing`](crate::tree::Tree::apply_listing) stacks listings as
//! [`Tree::apply`](crate::tree::Tree::apply) stacks layers.

mod stored;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, Read},
    sync::Arc,
};

use palan_core::{Algorithm, Digest};

use crate::{
    Error, Limits, Result, Scratch,
    elf::{Elf, Probe},
    merge::{Key, Put, Through, followed},
    tar::{Archive, Ending, Entry, Kind, OPAQUE, WHITEOUT},
    tree::{Inode, NodeKind},
};

/// What to learn about the content of files.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// Compute the SHA-256 of every file.
    pub digests: bool,
    /// Read [`Facts`] of programs, libraries and scripts. Needs digests.
    pub programs: bool,
    /// Whose content to keep, by normalised path. Needs digests.
    pub keep: fn(&[u8]) -> bool,
    /// Where programs that are too large for memory wait.
    pub scratch: &'a Scratch,
}

static DEFAULT_SCRATCH: Scratch = Scratch::DEFAULT;

impl Interest<'_> {
    /// Nothing but names and metadata.
    pub const NAMES: Self =
        Self { digests: false, programs: false, keep: |_| false, scratch: &DEFAULT_SCRATCH };
    /// Digests of files as well.
    pub const DIGESTS: Self = Self { digests: true, ..Self::NAMES };

    /// Everything there is to learn, with the content of the files that `keep` names.
    pub const fn everything(keep: fn(&[u8]) -> bool) -> Self {
        Self { digests: true, programs: true, keep, scratch: &DEFAULT_SCRATCH }
    }
}

/// The changes that a layer makes, in the order of its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Paths of lower layers that whiteouts hide.
    pub hidden: Vec<Box<[u8]>>,
    /// Directories whose content in lower layers is hidden.
    pub opaque: Vec<Box<[u8]>>,
    /// What is put where; of several changes of one path the last counts.
    pub changes: Vec<(Box<[u8]>, Change)>,
    /// What was learned of files, by the digest of their content.
    pub facts: BTreeMap<Digest, Facts>,
    /// aufs's own files: not in the image, but hard links may lead to them.
    pub(crate) bookkeeping: HashMap<Box<[u8]>, Arc<Inode>>,
    /// Entries in the archive.
    pub entries: u64,
    /// About how much memory the facts take, while they are read.
    learned: u64,
}

/// What one entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file, directory, link or device of the layer's own.
    Put(Arc<Inode>),
    /// A further name of a file.
    Link {
        /// The other name, normalised.
        target: Box<[u8]>,
        /// Where the entry stands in the uncompressed archive.
        offset: u64,
    },
}

/// What was learned of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Facts {
    /// A program or library.
    Elf(Box<Elf>),
    /// A text that names its interpreter in the first line.
    Script {
        /// The path.
        interpreter: Box<[u8]>,
        /// What follows the path, where something does: `python3` after `/usr/bin/env`.
        argument: Option<Box<[u8]>>,
    },
    /// The content itself, of files that were to be kept.
    Content(Arc<[u8]>),
}

impl Listing {
    /// Reads an *uncompressed* archive to its end.
    pub fn read(raw: impl Read, interest: &Interest<'_>, limits: &Limits) -> Result<Self> {
        Ok(Self::read_to_end(raw, interest, limits)?.0)
    }

    pub(crate) fn read_to_end(
        raw: impl Read,
        interest: &Interest<'_>,
        limits: &Limits,
    ) -> Result<(Self, Ending)> {
        let (mut listing, mut through) = (Self::default(), Through::default());
        let mut archive = Archive::with_limits(raw, limits);
        while let Some(entry) = archive.next_entry()? {
            listing.add(entry, interest, &mut through)?;
        }
        listing.entries = archive.entries();
        listing.learned = 0;
        Ok((listing, archive.finish()?))
    }

    fn add<R: Read>(
        &mut self,
        mut entry: Entry<'_, R>,
        interest: &Interest<'_>,
        through: &mut Through,
    ) -> Result<()> {
        let key = followed(&entry, entry.path(), through)?;
        if key.leads_upwards() {
            return Err(entry.error("the path leads upwards"));
        }
        let path: Box<[u8]> = key.path().into();
        if is_bookkeeping(&path) {
            if entry.kind == Kind::File
                && let Change::Put(inode) = self.change(&path, &mut entry, interest, through)?
            {
                self.bookkeeping.insert(path, inode);
            }
            return Ok(());
        }
        let name = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        if let Some(hidden) = path[name..].strip_prefix(WHITEOUT) {
            let dir = &path[..name.saturating_sub(1)];
            if path[name..] == *OPAQUE {
                self.opaque.push(dir.into());
            } else if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(entry.error("a whiteout that hides no name"));
            } else {
                self.hidden.push([&path[..name], hidden].concat().into());
            }
            return Ok(());
        }
        let change = self.change(&path, &mut entry, interest, through)?;
        if path.is_empty() && !matches!(&change, Change::Put(inode) if inode.is_dir()) {
            return Err(entry.error("the root must be a directory"));
        }
        match &change {
            Change::Put(inode) => through.put(&key, inode.put()),
            Change::Link { target, .. } => through.put(&key, Put::Name(&Key::of(target))),
        }
        self.changes.push((path, change));
        Ok(())
    }

    fn change<R: Read>(
        &mut self,
        path: &[u8],
        entry: &mut Entry<'_, R>,
        interest: &Interest<'_>,
        through: &Through,
    ) -> Result<Change> {
        let kind = match entry.kind {
            Kind::File => NodeKind::File { size: entry.size, digest: self.content(path, entry, interest)? },
            Kind::Dir => NodeKind::Dir { implied: false },
            Kind::Symlink => NodeKind::Symlink(entry.link().into()),
            Kind::CharDevice(major, minor) => NodeKind::CharDevice(major, minor),
            Kind::BlockDevice(major, minor) => NodeKind::BlockDevice(major, minor),
            Kind::Fifo => NodeKind::Fifo,
            Kind::HardLink => {
                let target = followed(entry, entry.link(), through)?;
                if target.leads_upwards() {
                    return Err(entry.error("its hard link target leads upwards"));
                }
                return Ok(Change::Link { target: target.path().into(), offset: entry.offset });
            }
            Kind::Other(flag) => {
                let flag = char::from(flag);
                return Err(entry.error(format!("no layer may have entries of type {flag:?}")));
            }
        };
        Ok(Change::Put(Arc::new(Inode::new(kind, entry))))
    }

    /// Reads a file's content: its digest, and its facts into the listing.
    fn content<R: Read>(
        &mut self,
        path: &[u8],
        entry: &mut Entry<'_, R>,
        interest: &Interest<'_>,
    ) -> Result<Option<Digest>> {
        if !interest.digests {
            return Ok(None);
        }
        let mut kept = ((interest.keep)(path) && entry.size <= MAX_KEPT).then(Vec::new);
        let mut probe = interest.programs.then(|| Probe::new(interest.scratch));
        let mut hasher = Algorithm::Sha256.hasher();
        loop {
            let bytes = entry.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(bytes);
            }
            if let Some(probe) = &mut probe {
                probe.update(bytes).map_err(|e| spilling(&e))?;
            }
            let n = bytes.len();
            entry.consume(n);
        }
        let digest = hasher.finish();
        let program = probe.map_or(Ok(None), Probe::finish).map_err(|e| spilling(&e))?;
        let facts = kept.map(|kept| Facts::Content(kept.into())).or(program);
        if let Some(facts) = facts {
            self.learn(digest, facts)?;
        }
        Ok(Some(digest))
    }

    /// What was kept of one name of a file is not lost to what was learned of another.
    fn learn(&mut self, digest: Digest, facts: Facts) -> Result<()> {
        let known = self.facts.get(&digest);
        if known.is_none_or(|known| matches!(facts, Facts::Content(_)) && *known != facts) {
            self.learned += facts.weight();
            if self.learned > MAX_LEARNED {
                return Err(Error::Limit {
                    what: "bytes of facts about files",
                    limit: MAX_LEARNED,
                    spot: None,
                });
            }
            self.facts.insert(digest, facts);
        }
        Ok(())
    }
}

impl Facts {
    /// About how much memory it takes.
    fn weight(&self) -> u64 {
        let strings = |all: &[Box<str>]| all.iter().map(|s| s.len() + 16).sum::<usize>();
        let bytes = match self {
            Self::Content(bytes) => bytes.len(),
            Self::Script { interpreter, argument } => {
                interpreter.len() + argument.as_ref().map_or(0, |a| a.len())
            }
            Self::Elf(elf) => {
                let needed = elf
                    .versions_needed
                    .iter()
                    .map(|(library, version, _)| library.len() + version.len() + 40);
                let lists = [&elf.needed, &elf.rpath, &elf.runpath, &elf.versions_provided];
                needed.sum::<usize>()
                    + lists.iter().map(|list| strings(list)).sum::<usize>()
                    + size_of::<Elf>()
            }
        };
        bytes as u64 + 64
    }
}

fn spilling(error: &std::io::Error) -> Error {
    let text = format!("a program cannot be kept in a temporary file: {error}");
    Error::Io(std::io::Error::new(error.kind(), text))
}

/// Files that are larger are not kept, whoever asks: package databases of real images stay far below.
const MAX_KEPT: u64 = 32 << 20;
/// All facts of a layer together. Those of a Debian with a Java runtime take less than 2 MiB.
const MAX_LEARNED: u64 = 256 << 20;

/// Whether this is aufs's own: a doubly prefixed name that is no opaque whiteout, or anything below such a name.
fn is_bookkeeping(path: &[u8]) -> bool {
    let mut components = path.split(|b| *b == b'/');
    let own = |c: &[u8]| c.strip_prefix(WHITEOUT).is_some_and(|rest| rest.starts_with(WHITEOUT));
    components.next_back().is_some_and(|name| own(name) && name != OPAQUE) || components.any(own)
}

#[cfg(test)]
mod tests;
