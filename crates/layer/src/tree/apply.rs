//! Applying one layer.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::Arc,
};

use super::{Inode, Node, NodeKind, Tree};
use crate::{
    Decoder, EntryPath, Error, Limits, Result,
    listing::{Change, Interest, Listing},
    merge::Put,
    tar::Header,
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
        let interest = match content {
            Content::Digest => Interest::DIGESTS,
            Content::Ignore => Interest::NAMES,
        };
        self.apply_listing(layer, &Listing::read(raw, &interest, limits)?)
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

    /// As [`Tree::apply`], for a layer that was read before.
    pub fn apply_listing(&mut self, layer: usize, listing: &Listing) -> Result<Applied> {
        let whiteouts = (listing.hidden.len() + listing.opaque.len()) as u64;
        let mut applied = Applied { entries: listing.entries, whiteouts, duplicates: 0 };
        // First, when there is nothing yet but the lower layers, which are all that whiteouts hide.
        for path in &listing.opaque {
            if self.nodes.get(path).is_some_and(Node::is_dir) || path.is_empty() {
                self.remove_below(path);
            }
        }
        for path in &listing.hidden {
            self.remove(path);
        }
        let mut seen = HashSet::new();
        let mut ahead = Ahead { listing, last: None, decided: HashMap::new() };
        for (at, (path, change)) in listing.changes.iter().enumerate() {
            let inode = match (change, ahead.decided.remove(&at)) {
                (Change::Put(inode), _) => Arc::clone(inode),
                (_, Some(inode)) => inode,
                (Change::Link { target, offset }, None) => {
                    self.link_target(at, path, target, *offset, &mut ahead)?
                }
            };
            self.insert(path, Node { inode, layer });
            applied.duplicates += u64::from(!seen.insert(path));
        }
        Ok(applied)
    }

    fn link_target(
        &self,
        at: usize,
        path: &[u8],
        target: &[u8],
        offset: u64,
        ahead: &mut Ahead<'_>,
    ) -> Result<Arc<Inode>> {
        if let Some(inode) = ahead.listing.bookkeeping.get(target) {
            return Ok(Arc::clone(inode));
        }
        let what = match self.nodes.get(target) {
            Some(node) if !node.is_dir() => return Ok(Arc::clone(&node.inode)),
            Some(_) => "is a directory",
            None => match ahead.find(self, at, target) {
                Some(inode) => return Ok(inode),
                None => "does not exist",
            },
        };
        let reason = format!("its hard link target {} {what}", EntryPath::from(target));
        Err(Error::Entry { path: EntryPath::from(path), offset, reason })
    }
}

/// What a layer being applied will still put somewhere, for hard links that come before what they name.
struct Ahead<'a> {
    listing: &'a Listing,
    /// The last change of each path. Most layers have no use for it.
    last: Option<HashMap<&'a [u8], usize>>,
    /// Files of links that are still to come, as others named them already.
    decided: HashMap<usize, Arc<Inode>>,
}

impl Ahead<'_> {
    /// The file that will be at `target`, where nothing is when the change with the number `at` comes.
    fn find(&mut self, tree: &Tree, at: usize, target: &[u8]) -> Option<Arc<Inode>> {
        let listing = self.listing;
        let all = listing.changes.iter().enumerate();
        let last =
            self.last.get_or_insert_with(|| all.map(|(number, (path, _))| (&**path, number)).collect());
        let (mut chain, mut next) = (Vec::new(), *last.get(target).filter(|number| **number > at)?);
        let inode = loop {
            if let Some(inode) = self.decided.get(&next) {
                break Arc::clone(inode);
            }
            chain.push(next);
            // Longer than all changes are together is a circle.
            if chain.len() > listing.changes.len() {
                return None;
            }
            let target = match &listing.changes[next].1 {
                Change::Put(inode) if inode.is_dir() => return None,
                Change::Put(inode) => break Arc::clone(inode),
                Change::Link { target, .. } => target,
            };
            if let Some(inode) = listing.bookkeeping.get(target) {
                break Arc::clone(inode);
            }
            next = match tree.nodes.get(target) {
                Some(node) if !node.is_dir() => break Arc::clone(&node.inode),
                Some(_) => return None,
                None => *last.get(&**target).filter(|number| **number > at)?,
            };
        };
        self.decided.extend(chain.into_iter().map(|number| (number, Arc::clone(&inode))));
        Some(inode)
    }
}

impl Inode {
    pub(crate) fn new(kind: NodeKind, header: &Header) -> Self {
        let Header { mode, uid, gid, mtime, .. } = *header;
        Self { kind, mode, uid, gid, mtime, xattrs: header.xattrs.clone() }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir { .. })
    }

    /// What it is to paths that lead through it.
    pub(crate) fn put(&self) -> Put<'_> {
        match &self.kind {
            NodeKind::Dir { .. } => Put::Dir,
            NodeKind::Symlink(target) => Put::Symlink(target),
            _ => Put::Other,
        }
    }
}
