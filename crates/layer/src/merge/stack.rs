//! Which entries are left when layers are stacked.

use std::collections::BTreeMap;

use super::{
    Index,
    ahead::Ahead,
    below::{Below, Hidden},
    index::{Entry, Place, Spelling, What},
    key::{Key, Names, remove_inside},
};
use crate::{EntryPath, Error, Result};

/// Layers being stacked, the lowest first.
#[derive(Debug, Default)]
pub struct Merge {
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) inodes: Vec<Inode>,
    pub(super) below: Option<Below>,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// The layer that the path is from.
    pub(super) layer: u32,
    /// How the entry spells its names.
    pub(super) spelling: Spelling,
    pub(super) escapes: bool,
}

#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    /// A directory, with its entry.
    Dir(Place),
    /// A directory without an entry, as something is inside.
    Implied,
    /// A directory without an entry that needs one: to be there at all, or not to look like one of the layers below.
    Made,
    /// A name of a file.
    Name {
        inode: u32,
        /// The name's own entry.
        place: Place,
        /// Where that is a hard link: its target.
        target: Option<Key>,
    },
    /// Hides this path of the layers below.
    Whiteout,
    /// Hides what layers below have inside the directory before it.
    Opaque(Key),
}

/// Something that can have several names.
#[derive(Clone, Debug)]
pub(super) enum Inode {
    /// It is in a layer that is merged.
    Here { layer: u32, place: Place },
    /// It is the file with this name in the layers below.
    Below(Key),
}

impl Node {
    /// What no entry stands for.
    pub(super) fn made(kind: NodeKind, layer: u32) -> Self {
        Self { kind, layer, spelling: Spelling::default(), escapes: false }
    }
}

impl NodeKind {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir(_) | Self::Implied | Self::Made)
    }
}

/// Layers that do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Misfit {
    /// The number of the layer that has the entry in question.
    pub layer: u32,
    /// What is wrong with it.
    pub source: Error,
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        misfit.source
    }
}

/// Layers merged: what the archive will hold.
#[derive(Debug)]
pub struct Merged {
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) inodes: Vec<Inode>,
}

impl Merged {
    /// The way in which most of the layers' bytes that are left are named: what is named so need not be named anew.
    pub fn usual_names(&self) -> Names {
        let (mut plain, mut dotted) = (0, 0);
        for node in self.nodes.values() {
            if let NodeKind::Dir(place) | NodeKind::Name { place, .. } = &node.kind {
                let size = place.header + place.content;
                plain += if node.spelling.fits(Names::Plain) { size } else { 0 };
                dotted += if node.spelling.fits(Names::Dotted) { size } else { 0 };
            }
        }
        if dotted > plain { Names::Dotted } else { Names::Plain }
    }
}

impl Merge {
    /// All layers of a file system: no whiteouts are left.
    pub fn whole() -> Self {
        Self::default()
    }

    /// The upper layers of a file system: what they hide of the layers below stays hidden.
    pub fn above() -> Self {
        Self { below: Some(Below::default()), ..Self::default() }
    }

    /// As [`Merge::above`], where all layers below are known: `lower`, stacked [as a whole](Merge::whole). Then a hard link
    /// that comes before what it names is never taken for one to a file of theirs.
    pub fn above_known(lower: &Self) -> Self {
        Self { below: Some(Below::known(lower)), ..Self::default() }
    }

    /// Puts a layer on top. `layer`: the number of its archive among those that [`Merged::write`] reads.
    ///
    /// A hard link names what is at its target when it comes; where nothing is, what its layer puts there later. Fails
    /// for a hard link without target.
    pub fn push(&mut self, layer: u32, index: &Index) -> Result<()> {
        // First, when there is nothing yet but the lower layers, which are all that whiteouts hide.
        for key in &index.opaque {
            if key.is_root() || self.nodes.get(key).is_some_and(|node| node.kind.is_dir()) {
                self.remove_inside(key);
            }
            self.hide(key, Hidden::Inside);
        }
        for key in &index.hidden {
            self.nodes.remove(key);
            self.remove_inside(key);
            self.hide(key, Hidden::Whole);
        }
        let mut ahead = Ahead::new(layer, index);
        for (at, entry) in index.entries.iter().enumerate() {
            let kind = match &entry.what {
                What::Dir => NodeKind::Dir(entry.place),
                What::Content => {
                    let known = ahead.decided.remove(&at);
                    let inode =
                        known.unwrap_or_else(|| self.inode(Inode::Here { layer, place: entry.place }));
                    NodeKind::Name { inode, place: entry.place, target: None }
                }
                What::Link(target) => {
                    let known = ahead.decided.remove(&at);
                    let inode = match known {
                        Some(inode) => inode,
                        None => self.target(entry, at, target, &mut ahead)?,
                    };
                    NodeKind::Name { inode, place: entry.place, target: Some(target.clone()) }
                }
            };
            self.insert(&entry.key, Node { kind, layer, spelling: entry.spelling, escapes: entry.escapes });
        }
        Ok(())
    }

    /// Decides. Fails where a hard link names a file of the layers below that a merged layer replaces, and that was not
    /// [provided](Merge::provide).
    pub fn finish(mut self) -> Result<Merged, Misfit> {
        match self.below.take() {
            Some(below) => {
                self.check_links(&below)?;
                self.add_whiteouts(&below);
            }
            None => self.make(&self.emptied()),
        }
        Ok(Merged { nodes: self.nodes, inodes: self.inodes })
    }

    pub(super) fn inode(&mut self, inode: Inode) -> u32 {
        self.inodes.push(inode);
        u32::try_from(self.inodes.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file that a hard link names, which is the entry with the number `at`.
    fn target(&mut self, entry: &Entry, at: usize, target: &Key, ahead: &mut Ahead<'_>) -> Result<u32> {
        if let Some(place) = ahead.index.bookkeeping.get(target.bytes()) {
            return Ok(self.inode(Inode::Here { layer: ahead.layer, place: *place }));
        }
        let what = match self.nodes.get(target).map(|node| &node.kind) {
            Some(NodeKind::Name { inode, .. }) => return Ok(*inode),
            Some(_) => "is a directory",
            None => match self.named_below(target).or_else(|| ahead.find(self, at, target)) {
                Some(inode) => return Ok(inode),
                None => "does not exist",
            },
        };
        let (path, reason) = (entry.key.path(), EntryPath::from(&target.path()));
        let reason = format!("its hard link target {reason} {what}");
        Err(Error::Entry { path: EntryPath::from(&path), offset: entry.place.offset, reason })
    }

    fn remove_inside(&mut self, key: &Key) {
        remove_inside(&mut self.nodes, key);
    }

    /// Puts something at a path, with whatever parents it needs. A directory keeps what is in a directory before it.
    fn insert(&mut self, key: &Key, node: Node) {
        for parent in key.parents() {
            if self.nodes.get(&parent).is_some_and(|node| node.kind.is_dir()) {
                break;
            }
            self.put(&parent, Node::made(NodeKind::Implied, node.layer));
        }
        self.put(key, node);
    }

    fn put(&mut self, key: &Key, node: Node) {
        let is_dir = node.kind.is_dir();
        match self.nodes.insert(key.clone(), node).map(|before| before.kind.is_dir()) {
            Some(true) if !is_dir => self.remove_inside(key),
            // What is below was hidden so far by what stood here, which is seen no more.
            Some(false) if is_dir => self.hide(key, Hidden::Whole),
            _ => {}
        }
    }

    /// Directories without an entry that would vanish, as nothing is inside.
    pub(super) fn emptied(&self) -> Vec<Key> {
        let mut after: Option<&Key> = None;
        let mut out = Vec::new();
        for (key, node) in self.nodes.iter().rev() {
            let is_empty = after.is_none_or(|after| !key.holds(after));
            if is_empty && matches!(node.kind, NodeKind::Implied) {
                out.push(key.clone());
            }
            after = Some(key);
        }
        out
    }

    /// Gives directories entries. (Where a layer below has the directory, that would change it.)
    pub(super) fn make(&mut self, dirs: &[Key]) {
        for key in dirs {
            if let Some(node) = self.nodes.get_mut(key) {
                node.kind = NodeKind::Made;
            }
        }
    }
}
