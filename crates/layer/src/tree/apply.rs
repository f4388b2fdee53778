//! Applying one layer.

use std::{
    collections::HashMap,
    io::{BufRead, Read},
    sync::Arc,
};

use palan_core::{Algorithm, Digest};

use super::{Inode, Node, NodeKind, Tree, normalize};
use crate::{
    Decoder, EntryPath, Error, Limits, Result,
    tar::{Archive, Entry, Header, Kind, OPAQUE, WHITEOUT},
};

/// What to do with the content of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Compute its SHA-256.
    Digest,
    /// Skip it.
    Ignore,
}

/// What applying a layer did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Entries in the archive.
    pub entries: u64,
    /// Whiteouts among them, opaque ones included.
    pub whiteouts: u64,
    /// Paths that the archive has more than once; the last entry counts.
    pub duplicates: u64,
}

/// What one entry asks for.
enum Change {
    Put(Inode),
    Link { target: Box<[u8]>, offset: u64 },
}

/// The changes of a layer, read completely before any is made.
#[derive(Default)]
struct Changes {
    hidden: Vec<Box<[u8]>>,
    opaque: Vec<Box<[u8]>>,
    puts: Vec<(Box<[u8]>, Change)>,
    /// aufs's own files: not in the image, but hard links may lead to them.
    bookkeeping: HashMap<Box<[u8]>, Arc<Inode>>,
    entries: u64,
}

impl Tree {
    /// Applies a layer: `raw` is the *uncompressed* archive, `layer` the number that its nodes will carry. `raw` is
    /// read to its end.
    ///
    /// After an error of reading the tree is as before; after the error of a hard link without target, it is not.
    pub fn apply(
        &mut self,
        layer: usize,
        raw: impl Read,
        content: Content,
        limits: &Limits,
    ) -> Result<Applied> {
        let changes = Changes::read(raw, content, limits)?;
        self.make(layer, changes)
    }

    /// As [`Tree::apply`], for a layer as stored: compressed or not.
    pub fn apply_blob(
        &mut self,
        layer: usize,
        blob: impl Read,
        content: Content,
        limits: &Limits,
    ) -> Result<Applied> {
        self.apply(layer, Decoder::with_limits(blob, limits)?, content, limits)
    }

    fn make(&mut self, layer: usize, changes: Changes) -> Result<Applied> {
        let whiteouts = (changes.hidden.len() + changes.opaque.len()) as u64;
        let mut applied = Applied { entries: changes.entries, whiteouts, duplicates: 0 };
        // First, when there is nothing yet but the lower layers, which are all that whiteouts hide.
        for path in &changes.opaque {
            if self.nodes.get(path).is_some_and(Node::is_dir) || path.is_empty() {
                self.remove_below(path);
            }
        }
        for path in &changes.hidden {
            self.remove(path);
        }
        let mut seen = std::collections::HashSet::new();
        for (path, change) in changes.puts {
            let inode = match change {
                Change::Put(inode) => Arc::new(inode),
                Change::Link { target, offset } => match changes.bookkeeping.get(&target) {
                    Some(inode) => Arc::clone(inode),
                    None => self.link_target(&path, &target, offset)?,
                },
            };
            self.insert(&path, Node { inode, layer });
            applied.duplicates += u64::from(!seen.insert(path));
        }
        Ok(applied)
    }

    fn link_target(&self, path: &[u8], target: &[u8], offset: u64) -> Result<Arc<Inode>> {
        match self.nodes.get(target) {
            Some(node) if !node.is_dir() => Ok(Arc::clone(&node.inode)),
            found => {
                let what = if found.is_some() { "is a directory" } else { "does not exist" };
                let reason = format!("its hard link target {} {what}", EntryPath::from(target));
                Err(Error::Entry { path: EntryPath::from(path), offset, reason })
            }
        }
    }
}

impl Changes {
    fn read(raw: impl Read, content: Content, limits: &Limits) -> Result<Self> {
        let mut changes = Self::default();
        let mut archive = Archive::with_limits(raw, limits);
        while let Some(entry) = archive.next_entry()? {
            changes.add(entry, content)?;
        }
        changes.entries = archive.entries();
        archive.finish()?;
        Ok(changes)
    }

    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>, content: Content) -> Result<()> {
        let path: Box<[u8]> = match normalize(entry.path()) {
            Some(path) => path.as_ref().into(),
            None => return Err(entry.error("the path leads upwards")),
        };
        if is_bookkeeping(&path) {
            if entry.kind == Kind::File
                && let Change::Put(inode) = change(&mut entry, content)?
            {
                self.bookkeeping.insert(path, Arc::new(inode));
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
        let change = change(&mut entry, content)?;
        if path.is_empty() && !matches!(&change, Change::Put(inode) if inode.is_dir()) {
            return Err(entry.error("the root must be a directory"));
        }
        self.puts.push((path, change));
        Ok(())
    }
}

/// Whether this is aufs's own: a doubly prefixed name that is no opaque whiteout, or anything below such a name.
fn is_bookkeeping(path: &[u8]) -> bool {
    let mut components = path.split(|b| *b == b'/');
    let own = |c: &[u8]| c.strip_prefix(WHITEOUT).is_some_and(|rest| rest.starts_with(WHITEOUT));
    components.next_back().is_some_and(|name| own(name) && name != OPAQUE) || components.any(own)
}

fn change<R: Read>(entry: &mut Entry<'_, R>, content: Content) -> Result<Change> {
    let kind = match entry.kind {
        Kind::File => NodeKind::File { size: entry.size, digest: digest(entry, content)? },
        Kind::Dir => NodeKind::Dir { implied: false },
        Kind::Symlink => NodeKind::Symlink(entry.link().into()),
        Kind::CharDevice(major, minor) => NodeKind::CharDevice(major, minor),
        Kind::BlockDevice(major, minor) => NodeKind::BlockDevice(major, minor),
        Kind::Fifo => NodeKind::Fifo,
        Kind::HardLink => {
            let Some(target) = normalize(entry.link()) else {
                return Err(entry.error("its hard link target leads upwards"));
            };
            return Ok(Change::Link { target: target.as_ref().into(), offset: entry.offset });
        }
        Kind::Other(flag) => {
            return Err(entry.error(format!("no layer may have entries of type {:?}", char::from(flag))));
        }
    };
    Ok(Change::Put(Inode::new(kind, entry)))
}

fn digest<R: Read>(entry: &mut Entry<'_, R>, content: Content) -> Result<Option<Digest>> {
    if content == Content::Ignore {
        return Ok(None);
    }
    let mut hasher = Algorithm::Sha256.hasher();
    loop {
        let bytes = entry.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Some(hasher.finish()));
        }
        hasher.update(bytes);
        let n = bytes.len();
        entry.consume(n);
    }
}

impl Inode {
    fn new(kind: NodeKind, header: &Header) -> Self {
        let Header { mode, uid, gid, mtime, .. } = *header;
        Self { kind, mode, uid, gid, mtime, xattrs: header.xattrs.clone() }
    }

    fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir { .. })
    }
}
