//! Layers that stay below those that are merged: what they may have, and what of it is hidden.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    key::Key,
    stack::{Inode, Merge, Misfit, Node, NodeKind},
};
use crate::{EntryPath, Error};

/// What becomes of lower layers that are not merged and stay below the result.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// What of them is hidden, by whiteouts or because something else was in its place; whole, or only what is inside.
    hidden: BTreeMap<Key, Hidden>,
    /// Files of theirs that hard links name.
    linked: BTreeMap<Key, u32>,
    /// All names of files that they have, where that is known.
    names: Option<BTreeSet<Key>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    Inside,
    Whole,
}

impl Below {
    /// Layers of which all files are known.
    pub(super) fn known(lower: &Merge) -> Self {
        let files = lower.nodes.iter().filter(|(_, node)| matches!(node.kind, NodeKind::Name { .. }));
        Self { names: Some(files.map(|(name, _)| name.clone()).collect()), ..Self::default() }
    }
}

impl Merge {
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

    pub(super) fn hide(&mut self, key: &Key, hidden: Hidden) {
        if let Some(below) = &mut self.below {
            let entry = below.hidden.entry(key.clone()).or_insert(hidden);
            if hidden == Hidden::Whole {
                *entry = hidden;
            }
        }
    }

    pub(super) fn check_links(&self, below: &Below) -> Result<(), Misfit> {
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

    /// Turns what is hidden of the layers below into whiteouts. Not needed: those inside what is hidden anyway, and those
    /// of paths where there is something that replaces whatever is below.
    pub(super) fn add_whiteouts(&mut self, below: &Below) {
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
