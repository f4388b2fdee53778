//! Paths as keys.

use std::{collections::BTreeMap, ops::Bound};

/// A path without empty and `.` components, with NUL for slashes: in byte order, everything inside a directory follows
/// it, before its next sibling. `..` is a name like any other. The root is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(Box<[u8]>);

const SLASH: u8 = 0;

/// How an archive spells the names of its entries, and the targets of hard links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// `etc/hosts`, as tar is told `etc` in the root, and as most tools that make layers.
    #[default]
    Plain,
    /// `./etc/hosts`, as tar is told `.`.
    Dotted,
}

impl Key {
    pub(crate) fn of(path: &[u8]) -> Self {
        let mut out = Vec::with_capacity(path.len());
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if !out.is_empty() {
                out.push(SLASH);
            }
            out.extend_from_slice(part);
        }
        Self(out.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path from the root, without slashes at either end.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.0.iter().map(|b| if *b == SLASH { b'/' } else { *b }).collect()
    }

    /// The path as an archive with such names has it, but for the slash at the end.
    pub(super) fn named(&self, names: Names) -> Vec<u8> {
        match names {
            Names::Dotted if !self.is_root() => [b"./", &*self.path()].concat(),
            _ => self.path(),
        }
    }

    /// The path as an archive with such names has it: directories end in a slash, and the root is `./`.
    pub(super) fn spelled(&self, names: Names, is_dir: bool) -> Vec<u8> {
        let mut path = self.named(names);
        if is_dir {
            path.extend_from_slice(if self.is_root() { b"./" } else { b"/" });
        }
        path
    }

    /// Whether a component is `..`.
    pub(crate) fn leads_upwards(&self) -> bool {
        self.parts().any(|part| part == b"..")
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == SLASH).filter(|part| !part.is_empty())
    }

    /// Its last component.
    pub(super) fn name(&self) -> &[u8] {
        &self.0[self.0.iter().rposition(|b| *b == SLASH).map_or(0, |at| at + 1)..]
    }

    /// Another name in the same directory.
    pub(super) fn sibling(&self, name: &[u8]) -> Self {
        Self([&self.0[..self.0.len() - self.name().len()], name].concat().into())
    }

    /// The directory that it is in; the root is in none.
    pub(super) fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.len() - self.name().len();
        Some(Self(self.0[..end.saturating_sub(1)].into()))
    }

    /// The directories that it is in, the innermost first; without the root.
    pub(crate) fn parents(&self) -> impl Iterator<Item = Self> {
        let slashes = self.0.iter().enumerate().rev().filter(|(_, b)| **b == SLASH);
        slashes.map(|(at, _)| Self(self.0[..at].into()))
    }

    /// Sorts before everything that is inside, and is no path itself.
    pub(super) fn before_inside(&self) -> Self {
        Self([&self.0, &[SLASH][..]].concat().into())
    }

    /// Whether another path is inside this directory.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| self.is_root() || rest.first() == Some(&SLASH))
    }

    /// The range of everything inside: from the first key to before the second; without it there is no end.
    fn inside(&self) -> (Self, Option<Self>) {
        match self.is_root() {
            true => (Self([SLASH].into()), None),
            false => (self.before_inside(), Some(Self([&self.0, &[SLASH + 1][..]].concat().into()))),
        }
    }
}

/// Removes everything inside a directory.
pub(super) fn remove_inside<T>(paths: &mut BTreeMap<Key, T>, dir: &Key) {
    let (first, end) = dir.inside();
    let end = end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let inside = paths.range((Bound::Included(&first), end));
    let doomed: Vec<Key> = inside.map(|(key, _)| key.clone()).collect();
    doomed.iter().for_each(|key| drop(paths.remove(key)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_a_directory_follows_it() {
        let mut paths =
            ["a/x/y", "a-b", "a", "./b", "a/x", "/a0", "", "a/x.y"].map(|p| Key::of(p.as_bytes()));
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(|key| String::from_utf8(key.path()).unwrap()).collect();
        assert_eq!(sorted, ["", "a", "a/x", "a/x/y", "a/x.y", "a-b", "a0", "b"]);
    }

    #[test]
    fn parts_of_a_path() {
        let key = Key::of(b"//a/./b/../c/");
        assert_eq!(key.path(), b"a/b/../c");
        assert!(key.leads_upwards() && !Key::of(b"a/..b").leads_upwards());
        assert_eq!(key.name(), b"c");
        assert_eq!(key.sibling(b"d").path(), b"a/b/../d");
        let parents: Vec<_> = key.parents().map(|key| key.path()).collect();
        assert_eq!(parents, [b"a/b/..".to_vec(), b"a/b".to_vec(), b"a".to_vec()]);
        assert_eq!(Key::of(b"a").parent(), Some(Key::default()));
        assert_eq!(Key::default().parent(), None);
    }
}
