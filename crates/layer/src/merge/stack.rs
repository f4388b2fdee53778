//! Which entries are left when layers are stacked.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{
    Index,
    ahead::Ahead,
    index::{Entry, Place, Spelling, What},
    key::{Key, Names},
};
use crate::{EntryPath, Error, Result};

/// Layers being stacked, the lowest first.
#[derive(Debug, Default)]
pub struct Merge {
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) inodes: Vec<Inode>,
    below: Option<Below>,
}

/// What becomes of lower layers that are not merged and stay below the result.
#[derive(Debug, Default)]
struct Below {
    /// What of them is hidden, by whiteouts or because something else was in its place; whole, or only what is inside.
    hidden: BTreeMap<Key, Hidden>,
    /// Files of theirs that hard links name.
    linked: BTreeMap<Key, u32>,
    /// All names of files that they have, where that is known.
    names: Option<BTreeSet<Key>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Inside,
    Whole,
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
    fn made(kind: NodeKind, layer: u32) -> Self {
        Self { kind, layer, spelling: Spelling::default(), escapes: false }
    }
}

impl NodeKind {
    fn is_dir(&self) -> bool {
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
        let files = lower.nodes.iter().filter(|(_, node)| matches!(node.kind, NodeKind::Name { .. }));
        let names = Some(files.map(|(name, _)| name.clone()).collect());
        Self { below: Some(Below { names, ..Below::default() }), ..Self::default() }
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

    /// Whether hard links name files of the layers below that a merged layer replaces: their content would be in no layer.
    /// Or whether a directory without an entry lost all that was inside: it would not be there if none is below. What is below
    /// must tell then ([`Merge::provide`]).
    pub fn needs_below(&self) -> bool {
        let needs = |below| !self.unprovided(below).is_empty() || !self.emptied().is_empty();
        self.below.as_ref().is_some_and(needs)
    }

    /// Lets hard links that name replaced files of the layers below have them still: by another name that they have
    /// there or, where there is none, by taking them over. Makes directories that would not be there. `lower`: all layers
    /// below, stacked [as a whole](Merge::whole); their archives have numbers of their own. Gives the files that are taken over.
    pub fn provide(&mut self, lower: &Self) -> Vec<EntryPath> {
        let Some(below) = self.below.take() else { return Vec::new() };
        let mut out = Vec::new();
        for (number, file) in self.unprovided(&below) {
            let Some(NodeKind::Name { inode, .. }) = lower.nodes.get(&file).map(|node| &node.kind) else {
                continue;
            };
            let is_it =
                |node: &Node| matches!(&node.kind, NodeKind::Name { inode: other, .. } if other == inode);
            let mut names = lower.nodes.iter().filter(|(_, node)| is_it(node)).map(|(name, _)| name);
            self.inodes[number] = match names.find(|name| self.is_provided(&below, name)) {
                Some(name) => Inode::Below(name.clone()),
                None => {
                    out.push(EntryPath::from(&file.path()));
                    lower.inodes[*inode as usize].clone()
                }
            };
        }
        let is_there = |key: &Key| lower.nodes.get(key).is_some_and(|node| node.kind.is_dir());
        let mut emptied = self.emptied();
        emptied.retain(|key| !(is_there(key) && self.is_below(&below, key)));
        self.make(&emptied);
        self.below = Some(below);
        out
    }

    /// The files of the layers below that hard links name, and that are hidden; by inode.
    fn unprovided(&self, below: &Below) -> BTreeMap<usize, Key> {
        let of = |node: &Node| match &node.kind {
            NodeKind::Name { inode, .. } => Some(*inode as usize),
            _ => None,
        };
        let named: BTreeSet<usize> = self.nodes.values().filter_map(of).collect();
        let file = |number: usize| match &self.inodes[number] {
            Inode::Below(file) if !self.is_provided(below, file) => Some((number, file.clone())),
            _ => None,
        };
        named.into_iter().filter_map(file).collect()
    }

    /// Whether what the layers below have at a path is seen.
    fn is_provided(&self, below: &Below, key: &Key) -> bool {
        !self.nodes.contains_key(key) && self.is_below(below, key)
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

    /// The file that the layers below have, or may have, at a path where the merged ones have nothing.
    pub(super) fn named_below(&mut self, target: &Key) -> Option<u32> {
        let below = self.below.as_ref().filter(|below| self.may_be_below(below, target))?;
        if let Some(inode) = below.linked.get(target) {
            return Some(*inode);
        }
        let inode = self.inode(Inode::Below(target.clone()));
        if let Some(below) = &mut self.below {
            below.linked.insert(target.clone(), inode);
        }
        Some(inode)
    }

    /// Whether the layers below may have a file at a path where the merged ones have nothing.
    fn may_be_below(&self, below: &Below, key: &Key) -> bool {
        below.names.as_ref().is_none_or(|names| names.contains(key)) && self.is_below(below, key)
    }

    /// Whether what the layers below may have at a path is seen where the merged ones have nothing.
    fn is_below(&self, below: &Below, key: &Key) -> bool {
        below.hidden.get(key) != Some(&Hidden::Whole) && !self.is_hidden_by_parents(below, key)
    }

    /// Whether a directory that a path is in is hidden, or is no directory.
    fn is_hidden_by_parents(&self, below: &Below, key: &Key) -> bool {
        let not_dir = |key: &Key| self.nodes.get(key).is_some_and(|node| !node.kind.is_dir());
        let root = (!key.is_root()).then(Key::default);
        key.parents().chain(root).any(|parent| below.hidden.contains_key(&parent) || not_dir(&parent))
    }

    fn hide(&mut self, key: &Key, hidden: Hidden) {
        if let Some(below) = &mut self.below {
            let entry = below.hidden.entry(key.clone()).or_insert(hidden);
            if hidden == Hidden::Whole {
                *entry = hidden;
            }
        }
    }

    fn remove_inside(&mut self, key: &Key) {
        let (first, end) = key.inside();
        let end = end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let inside = self.nodes.range((Bound::Included(&first), end));
        let doomed: Vec<Key> = inside.map(|(key, _)| key.clone()).collect();
        doomed.iter().for_each(|key| drop(self.nodes.remove(key)));
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

    fn check_links(&self, below: &Below) -> Result<(), Misfit> {
        for (key, node) in &self.nodes {
            let NodeKind::Name { inode, place, .. } = &node.kind else { continue };
            let Some(Inode::Below(target)) = self.inodes.get(*inode as usize) else { continue };
            if !self.is_provided(below, target) {
                let reason = format!(
                    "its hard link target {} is in the layers below, and a layer above it replaces it",
                    EntryPath::from(&target.path())
                );
                let (path, offset) = (EntryPath::from(&key.path()), place.offset);
                return Err(Misfit { layer: node.layer, source: Error::Entry { path, offset, reason } });
            }
        }
        Ok(())
    }

    /// Directories without an entry that would vanish, as nothing is inside.
    fn emptied(&self) -> Vec<Key> {
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
    fn make(&mut self, dirs: &[Key]) {
        for key in dirs {
            if let Some(node) = self.nodes.get_mut(key) {
                node.kind = NodeKind::Made;
            }
        }
    }

    /// Turns what is hidden of the layers below into whiteouts. Not needed: those inside what is hidden anyway, and those
    /// of paths where there is something that replaces whatever is below.
    fn add_whiteouts(&mut self, below: &Below) {
        let needed = below.hidden.iter().filter(|(key, _)| !self.is_hidden_by_parents(below, key));
        let needed: Vec<(Key, Hidden)> = needed.map(|(key, hidden)| (key.clone(), *hidden)).collect();
        for (key, hidden) in needed {
            let there = self.nodes.get_mut(&key).map(|node| &mut node.kind);
            let new = match (there, hidden) {
                (Some(kind), _) if !kind.is_dir() => continue,
                (None, Hidden::Whole) => (key, NodeKind::Whiteout),
                // Beside a directory of the same name, readers disagree about what a whiteout hides.
                (Some(kind), Hidden::Whole) => {
                    if matches!(kind, NodeKind::Implied) {
                        *kind = NodeKind::Made;
                    }
                    (key.before_inside(), NodeKind::Opaque(key))
                }
                (_, Hidden::Inside) => (key.before_inside(), NodeKind::Opaque(key)),
            };
            self.nodes.insert(new.0, Node::made(new.1, 0));
        }
    }
}
