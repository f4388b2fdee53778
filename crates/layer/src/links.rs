//! Hard links that lead out of their layer: what there must be in layers below, without keeping paths.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher as _},
    io::Read,
};

use crate::{
    EntryPath,
    tar::{Entry, Kind},
};

/// Among how many entries of a layer paths are noted.
const NOTED: usize = 1_000_000;
/// How many hard links are noted that lead to what was not met so far.
const OPEN: usize = 10_000;
/// In how many directories the target of a hard link may be that is noted.
const DEEP: usize = 64;

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
    /// The entry; of a long path, its beginning.
    pub path: EntryPath,
    /// What it names; of a long path, its beginning.
    pub target: EntryPath,
    hashes: Hashes,
}

impl OuterLink {
    /// How many of these layers, the link's own and all below, need to be asked whether it leads nowhere, at most, times the
    /// paths that each is asked for.
    pub fn questions(&self, layers: usize) -> usize {
        layers * (1 + self.hashes.parents.len())
    }

    /// Whether none of these layers, the link's own and all below, has the target. `false`, too, where that cannot be
    /// told: paths of a layer are not known, or one of the target's directories is a symbolic link. Whiteouts are not looked
    /// at.
    pub fn leads_nowhere(&self, layers: &[&Paths]) -> bool {
        let has = |hash: &u64| layers.iter().any(|layer| layer.has(*hash));
        layers.iter().all(|layer| layer.is_whole)
            && !has(&self.hashes.path)
            && !self.hashes.parents.iter().any(has)
    }

    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.path.0.len() + self.target.0.len() + 8 * self.hashes.parents.len()
    }
}

/// What is met in one layer.
#[derive(Default)]
pub(crate) struct Noted {
    paths: HashSet<u64>,
    open: Vec<OuterLink>,
    left_out: u64,
    is_full: bool,
}

impl Noted {
    /// Notes an entry; whether one of the same path was noted before.
    pub(crate) fn note<R: Read>(&mut self, entry: &Entry<'_, R>) -> bool {
        if entry.kind == Kind::HardLink {
            self.link(entry.path(), entry.header().link());
        }
        self.is_full |= self.paths.len() >= NOTED;
        entry.kind != Kind::Dir && !self.is_full && !self.paths.insert(hash(entry.path()))
    }

    fn link(&mut self, path: &[u8], target: &[u8]) {
        if self.paths.contains(&hash(target)) {
            return;
        }
        match Hashes::of(target).filter(|_| self.open.len() < OPEN) {
            Some(hashes) => {
                self.open.push(OuterLink { path: beginning(path), target: beginning(target), hashes });
            }
            None => self.left_out += 1,
        }
    }

    /// All that was met, and how many hard links were not noted. `is_whole`: the layer was read to its end.
    pub(crate) fn finish(self, is_whole: bool) -> (Paths, Vec<OuterLink>, u64) {
        let Self { paths, mut open, left_out, is_full } = self;
        open.retain(|link| !paths.contains(&link.hashes.path));
        let mut sorted: Vec<u64> = paths.into_iter().collect();
        sorted.sort_unstable();
        (Paths { sorted, is_whole: is_whole && !is_full }, open, left_out)
    }
}

/// Hashes of a path and of the directories that it is in.
#[derive(Clone, Debug)]
struct Hashes {
    path: u64,
    parents: Box<[u64]>,
}

impl Hashes {
    /// `None` for a path that is too deep. One pass over it, however deep it is.
    fn of(path: &[u8]) -> Option<Self> {
        let mut parents = Vec::new();
        let mut hasher = DefaultHasher::new();
        for (depth, part) in parts(path).enumerate() {
            if depth > DEEP {
                return None;
            }
            if depth > 0 {
                parents.push(hasher.finish());
            }
            add(&mut hasher, part);
        }
        Some(Self { path: hasher.finish(), parents: parents.into() })
    }
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts(path).for_each(|part| add(&mut hasher, part));
    hasher.finish()
}

fn add(hasher: &mut DefaultHasher, part: &[u8]) {
    hasher.write(part);
    hasher.write_u8(b'/');
}

/// What makes paths the same or not.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// What a message shows of a path, and a byte more, which tells that it is longer.
pub(crate) fn beginning(path: &[u8]) -> EntryPath {
    EntryPath::from(&path[..path.len().min(EntryPath::SHOWN + 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(paths: &[&str]) -> Paths {
        let mut noted = Noted::default();
        noted.paths.extend(paths.iter().map(|path| hash(path.as_bytes())));
        noted.finish(true).0
    }

    fn link_to(target: &[u8]) -> (Vec<OuterLink>, u64) {
        let mut noted = Noted::default();
        noted.link(b"l", target);
        let (_, open, left_out) = noted.finish(true);
        (open, left_out)
    }

    #[test]
    fn targets_are_found_however_they_are_spelled_and_behind_symbolic_links() {
        let below = met(&["usr/lib/x", "lib"]);
        for (target, leads_nowhere) in [
            ("usr/lib/x", false),
            ("/usr/./lib//x", false),
            ("lib/deep/x", false),
            ("usr/lib", true),
            ("usr/li/bx", true),
            ("usr/lib/x2", true),
            ("usrlib/x", true),
        ] {
            let (open, _) = link_to(target.as_bytes());
            assert_eq!(open[0].leads_nowhere(&[&met(&["l"]), &below]), leads_nowhere, "{target}");
        }
    }

    #[test]
    fn what_is_noted_of_a_link_is_bounded() {
        let deepest = ["a"; DEEP + 1].join("/");
        assert_eq!(link_to(deepest.as_bytes()).0[0].hashes.parents.len(), DEEP);
        let (open, left_out) = link_to(format!("{deepest}/a").as_bytes());
        assert_eq!((open.len(), left_out), (0, 1));

        let (open, _) = link_to(&[b'q'; 16 * 1024]);
        assert!(open[0].memory() < 1024, "{}", open[0].memory());
        assert_eq!(open[0].target.to_string(), format!("\"{}\"…", "q".repeat(256)));

        let mut noted = Noted::default();
        (0..OPEN + 5).for_each(|i| noted.link(b"l", i.to_string().as_bytes()));
        let (_, open, left_out) = noted.finish(true);
        assert_eq!((open.len(), left_out), (OPEN, 5));
    }
}
