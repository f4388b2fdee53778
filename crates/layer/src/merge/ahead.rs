//! Hard links that come before what they name.

use std::collections::HashMap;

use super::{
    Index, Merge,
    index::What,
    key::Key,
    stack::{Inode, NodeKind},
};

/// What a layer being put on top will still put somewhere.
pub(super) struct Ahead<'a> {
    pub(super) layer: u32,
    pub(super) index: &'a Index,
    /// The last entry of each path. Most layers have no use for it.
    last: Option<HashMap<&'a Key, usize>>,
    /// Files of entries that are still to come, as hard links named them already.
    pub(super) decided: HashMap<usize, u32>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(layer: u32, index: &'a Index) -> Self {
        Self { layer, index, last: None, decided: HashMap::new() }
    }

    /// The file that will be at `target`, where nothing is when the entry with the number `at` comes.
    pub(super) fn find(&mut self, merge: &mut Merge, at: usize, target: &Key) -> Option<u32> {
        let Self { layer, index, .. } = *self;
        let all = index.entries.iter().enumerate();
        let last = self.last.get_or_insert_with(|| all.map(|(number, entry)| (&entry.key, number)).collect());
        let (mut chain, mut next) = (Vec::new(), *last.get(target).filter(|number| **number > at)?);
        let inode = loop {
            if let Some(inode) = self.decided.get(&next) {
                break *inode;
            }
            chain.push(next);
            // Longer than all entries are together is a circle.
            if chain.len() > index.entries.len() {
                return None;
            }
            let entry = &index.entries[next];
            let target = match &entry.what {
                What::Dir => return None,
                What::Content => break merge.inode(Inode::Here { layer, place: entry.place }),
                What::Link(target) => target,
            };
            if let Some(place) = index.bookkeeping.get(target.bytes()) {
                break merge.inode(Inode::Here { layer, place: *place });
            }
            next = match merge.nodes.get(target).map(|node| &node.kind) {
                Some(NodeKind::Name { inode, .. }) => break *inode,
                Some(_) => return None,
                None => match merge.named_below(target) {
                    Some(inode) => break inode,
                    None => *last.get(target).filter(|number| **number > at)?,
                },
            };
        };
        self.decided.extend(chain.into_iter().map(|number| (number, inode)));
        Some(inode)
    }
}
