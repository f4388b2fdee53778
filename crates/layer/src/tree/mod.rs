//! Layers stacked into the file system that a container sees.
//!
//! Source: image-spec `layer.md`, "Applying Changesets". Whiteouts hide what lower layers have, wherever they stand in
//! their own layer. A hard link names a file, not a path: it keeps the old content when its target is replaced.
//! Symbolic links of an entry's own layer are followed, as wherever layers are unpacked. Where an entry is to be inside a
//! symbolic link of a lower layer, a directory takes the link's place, as it does in overlay file systems.

mod apply;
mod path;

pub use apply::{Applied, Content};
pub use path::normalize;

use std::{
    collections::{BTreeMap, btree_map},
    ops::{Bound, Deref},
    sync::Arc,
};

use palan_core::Digest;

/// What a path in a [`Tree`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Size of the content in bytes, holes included.
        size: u64,
        /// SHA-256 of the content, where it was asked for.
        digest: Option<Digest>,
    },
    /// A directory.
    Dir {
        /// Whether no layer has an entry for it: it exists because something is inside.
        implied: bool,
    },
    /// A symbolic link, with its target as it stands.
    Symlink(Box<[u8]>),
    /// A character device, major and minor number.
    CharDevice(u32, u32),
    /// A block device, major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// What is at a path, apart from the path: what Unix calls an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time, whole seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A path's [`Inode`], and which layer put it there.
#[derive(Clone, Debug)]
pub struct Node {
    inode: Arc<Inode>,
    /// Number of the layer that the path is from, as given to [`Tree::apply`].
    pub layer: usize,
}

impl Node {
    /// Whether both are names of one file (hard links).
    pub fn is_same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inode, &other.inode)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir { .. })
    }

    /// Digest of a file's content, where it was asked for.
    pub fn digest(&self) -> Option<Digest> {
        match self.kind {
            NodeKind::File { digest, .. } => digest,
            _ => None,
        }
    }
}

impl Deref for Node {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.inode
    }
}

/// A file system made of layers. Paths are relative to the root, without slashes at either end; the root is `""` and
/// only there if a layer has an entry for it. Every other path's parents are there, and are directories.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<Box<[u8]>, Node>,
}

impl Tree {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is at `path`; leading and double slashes and `.` do not matter.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Node> {
        let path = path.as_ref();
        self.nodes.get(path).or_else(|| self.nodes.get(&*normalize(path)?))
    }

    /// All paths in byte order: parents before what is inside.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Everything below the directory `path` at any depth, which is not included.
    fn below(&self, path: &[u8]) -> btree_map::Range<'_, Box<[u8]>, Node> {
        if path.is_empty() {
            return self.nodes.range::<[u8], _>((Bound::Excluded(path), Bound::Unbounded));
        }
        // What starts with "path/" sorts before "path0": '0' follows '/'.
        let (mut first, mut last) = (path.to_vec(), path.to_vec());
        first.push(b'/');
        last.push(b'/' + 1);
        self.nodes.range::<[u8], _>((Bound::Included(&*first), Bound::Excluded(&*last)))
    }

    fn remove_below(&mut self, path: &[u8]) {
        let doomed: Vec<Box<[u8]>> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in doomed {
            self.nodes.remove(&path);
        }
    }

    fn remove(&mut self, path: &[u8]) {
        if self.nodes.remove(path).is_none_or(|node| node.is_dir()) {
            self.remove_below(path);
        }
    }

    /// Puts `node` at `path`, with whatever parents it needs. A directory keeps what is in a directory before it.
    fn insert(&mut self, path: &[u8], node: Node) {
        self.make_parents(path, node.layer);
        let is_dir = node.is_dir();
        let before = self.nodes.insert(path.into(), node);
        if !is_dir && before.is_some_and(|node| node.is_dir()) {
            self.remove_below(path);
        }
    }

    fn make_parents(&mut self, path: &[u8], layer: usize) {
        let parents =
            path.iter().enumerate().rev().filter(|(_, b)| **b == b'/').map(|(slash, _)| &path[..slash]);
        for parent in parents {
            if self.nodes.get(parent).is_some_and(Node::is_dir) {
                return;
            }
            let kind = NodeKind::Dir { implied: true };
            let inode = Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Vec::new() };
            self.nodes.insert(parent.into(), Node { inode: Arc::new(inode), layer });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
