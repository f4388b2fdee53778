//! Applying one layer.

use std::{io::Read, sync::Arc};

use super::{Inode, Node, NodeKind, Tree};
use crate::{
    Decoder, EntryPath, Error, Limits, Result,
    listing::{Change, Interest, Listing},
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
        let mut seen = std::collections::HashSet::new();
        for (path, change) in &listing.changes {
            let inode = match change {
                Change::Put(inode) => Arc::clone(inode),
                Change::Link { target, offset } => match listing.bookkeeping.get(target) {
                    Some(inode) => Arc::clone(inode),
                    None => self.link_target(path, target, *offset)?,
                },
            };
            self.insert(path, Node { inode, layer });
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

impl Inode {
    pub(crate) fn new(kind: NodeKind, header: &Header) -> Self {
        let Header { mode, uid, gid, mtime, .. } = *header;
        Self { kind, mode, uid, gid, mtime, xattrs: header.xattrs.clone() }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir { .. })
    }
}
