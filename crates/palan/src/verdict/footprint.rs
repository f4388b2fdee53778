//! What the application's layers touch.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use palan_layer::{Listing, listing::Change};

use super::trees::range_below;

/// Paths that own layers touch, whatever comes of it.
#[derive(Debug, Default)]
pub(super) struct Footprint<'a> {
    /// What is put: the last change of each path.
    pub(super) puts: BTreeMap<&'a [u8], &'a Change>,
    /// What is hidden.
    pub(super) hidden: BTreeSet<&'a [u8]>,
    /// Directories that are emptied.
    pub(super) opaque: BTreeSet<&'a [u8]>,
    /// Hard links: path, target.
    pub(super) links: BTreeMap<&'a [u8], &'a [u8]>,
    /// Directories above all of these without an entry of their own.
    pub(super) passed: BTreeSet<&'a [u8]>,
    /// Everything but `passed`, in byte order.
    all: Vec<&'a [u8]>,
}

impl<'a> Footprint<'a> {
    pub(super) fn of(own: &'a [Arc<Listing>]) -> Self {
        let mut found = Self::default();
        for layer in own {
            found.hidden.extend(layer.hidden.iter().map(|path| &**path));
            found.opaque.extend(layer.opaque.iter().map(|path| &**path));
            for (path, change) in &layer.changes {
                found.puts.insert(path, change);
                if let Change::Link { target, .. } = change {
                    found.links.insert(path, target);
                }
            }
        }
        let all: BTreeSet<&[u8]> =
            found.puts.keys().chain(&found.hidden).chain(&found.opaque).copied().collect();
        for mut path in all.iter().copied() {
            while let Some(dir) = parent(path) {
                path = dir;
                if all.contains(dir) || !found.passed.insert(dir) {
                    break;
                }
            }
        }
        found.all = all.into_iter().collect();
        found
    }

    /// Whether `path` is touched.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.all.binary_search(&path).is_ok()
    }

    /// Whether `path` or something below it is touched.
    pub(super) fn touches(&self, path: &[u8]) -> bool {
        let below = range_below(path, |probe| self.all.partition_point(|path| *path < probe));
        self.has(path) || !below.is_empty()
    }
}

/// The directory that a path is in; `None` for the root and what is directly in it: the root is always there.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash])
}
