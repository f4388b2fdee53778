//! Hard links that lead out of their layer: what there must be in layers below, without keeping paths.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    io::Read,
};

use crate::{
    EntryPath,
    merge::Key,
    tar::{Entry, Kind},
};

/// Among how many entries of a layer paths are noted.
const NOTED: usize = 1_000_000;
/// How many hard links are noted that lead to what was not met so far.
const OPEN: usize = 10_000;

/// Which paths a layer has that are no directories, as hashes: eight bytes each.
///
/// Hashes are always the same: who makes a layer can make two paths look like one, and so hide a fault, not make one.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    sorted: Vec<u64>,
    is_whole: bool,
}

impl Paths {
    /// Number of paths.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether these are all paths of the layer: it was read to its end, and has no more than a million.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn has(&self, hash: u64) -> bool {
        self.sorted.binary_search(&hash).is_ok()
    }
}

/// A hard link to what its own layer does not have.
#[derive(Clone, Debug)]
pub struct OuterLink {
    /// The entry.
    pub path: EntryPath,
    /// What it names.
    pub target: EntryPath,
    hash: u64,
    /// Hashes of the directories that the target is in.
    parents: Vec<u64>,
}

impl OuterLink {
    fn new(path: &[u8], target: &[u8], key: &Key) -> Self {
        Self {
            path: EntryPath::from(path),
            target: EntryPath::from(target),
            hash: hash(key),
            parents: key.parents().map(|parent| hash(&parent)).collect(),
        }
    }

    /// Whether none of these layers, the link's own and all below, has the target. `false`, too, where that cannot be
    /// told: paths of a layer are not known, or one of the target's directories is a symbolic link. Whiteouts are not looked
    /// at.
    pub fn leads_nowhere(&self, layers: &[&Paths]) -> bool {
        let has = |hash: &u64| layers.iter().any(|layer| layer.has(*hash));
        layers.iter().all(|layer| layer.is_whole) && !has(&self.hash) && !self.parents.iter().any(has)
    }
}

/// What is met in one layer.
#[derive(Default)]
pub(crate) struct Noted {
    paths: HashSet<u64>,
    open: Vec<OuterLink>,
    is_full: bool,
}

impl Noted {
    /// Notes an entry; whether one of the same path was noted before.
    pub(crate) fn note<R: Read>(&mut self, entry: &Entry<'_, R>) -> bool {
        if entry.kind == Kind::HardLink {
            let target = entry.header().link();
            let key = Key::of(target);
            if self.open.len() < OPEN && !self.paths.contains(&hash(&key)) {
                self.open.push(OuterLink::new(entry.path(), target, &key));
            }
        }
        self.is_full |= self.paths.len() >= NOTED;
        entry.kind != Kind::Dir && !self.is_full && !self.paths.insert(hash(&Key::of(entry.path())))
    }

    /// All that was met. `is_whole`: the layer was read to its end.
    pub(crate) fn finish(self, is_whole: bool) -> (Paths, Vec<OuterLink>) {
        let Self { paths, mut open, is_full } = self;
        open.retain(|link| !paths.contains(&link.hash));
        let mut sorted: Vec<u64> = paths.into_iter().collect();
        sorted.sort_unstable();
        (Paths { sorted, is_whole: is_whole && !is_full }, open)
    }
}

fn hash(key: &Key) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(key)
}
