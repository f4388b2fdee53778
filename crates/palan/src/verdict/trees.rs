//! The four file systems: both bases, the application on either, and where the bases differ.

use std::{collections::BTreeMap, sync::Arc};

use palan_core::Digest;
use palan_layer::{
    Listing, Result,
    listing::{Change, Facts},
    tree::{Inode, Node, NodeKind, Tree},
};
use serde::Serialize;

use super::{Input, footprint::Footprint};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct State {
    /// `file`, `directory`, `symlink`, `device` or `fifo`.
    pub kind: &'static str,
    /// Permission bits, octal.
    pub mode: String,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// A file's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of a file's content, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// A symbolic link's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl State {
    pub(super) fn of(node: Option<&Node>) -> Option<Self> {
        node.map(|node| {
            let (size, target) = match &node.kind {
                NodeKind::File { size, .. } => (Some(*size), None),
                NodeKind::Symlink(target) => (None, Some(String::from_utf8_lossy(target).into_owned())),
                _ => (None, None),
            };
            let mode = format!("{:04o}", node.mode);
            Self {
                kind: kind_name(node),
                mode,
                uid: node.uid,
                gid: node.gid,
                size,
                digest: node.digest(),
                target,
            }
        })
    }
}

pub(super) fn kind_name(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::File { .. } => "file",
        NodeKind::Dir { .. } => "directory",
        NodeKind::Symlink(_) => "symlink",
        NodeKind::Fifo => "fifo",
        _ => "device",
    }
}

/// Layers with this number or a higher one are the application's.
const OWN: usize = usize::MAX / 2;

/// Whether a node of [`Trees::app`] or [`Trees::result`] is from an own layer.
pub(super) fn is_own(node: &Node) -> bool {
    node.layer >= OWN
}

/// A path that the bases do not have alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'t> {
    pub(super) path: &'t [u8],
    pub(super) old: Option<&'t Node>,
    pub(super) new: Option<&'t Node>,
}

/// Everything that is compared.
pub(super) struct Trees<'a> {
    /// The old base.
    pub(super) old: Tree,
    /// The new base.
    pub(super) new: Tree,
    /// The application on the old base: the image as it is.
    pub(super) app: Tree,
    /// The application on the new base.
    pub(super) result: Tree,
    /// What own layers touch.
    pub(super) footprint: Footprint<'a>,
    /// Own hard links that have no target in the result: link, target.
    pub(super) lost_links: Lost,
    own: &'a [Arc<Listing>],
    layers: Vec<&'a Listing>,
}

impl<'a> Trees<'a> {
    pub(super) fn build(input: &Input<'a>) -> Result<Self> {
        let old = stack(input.old)?;
        let new = stack(input.new)?;
        let (app, lost) = put_on(&old, input.own);
        let (result, mut lost_links) = put_on(&new, input.own);
        lost_links.retain(|link| !lost.contains(link));
        let footprint = Footprint::of(input.own);
        let layers = [input.own, input.new, input.old].into_iter().flatten().map(|layer| &**layer).collect();
        Ok(Self { old, new, app, result, footprint, lost_links, own: input.own, layers })
    }

    /// Calls with what the build found before each own layer, and with what it left.
    pub(super) fn at_each_stage(&self, mut call: impl FnMut(&Tree)) {
        self.before_each_layer(|tree, _| call(tree));
        call(&self.app);
    }

    /// Calls with what the build found before each own layer, and with that layer.
    pub(super) fn before_each_layer(&self, mut call: impl FnMut(&Tree, &'a Listing)) {
        let Some((last, earlier)) = self.own.split_last() else { return };
        let mut tree = self.old.clone();
        for (number, layer) in earlier.iter().enumerate() {
            call(&tree, layer);
            apply_what_fits(&mut tree, OWN + number, layer, &mut Lost::new());
        }
        call(&tree, last);
    }

    /// What was learned of a file's content.
    pub(super) fn facts(&self, node: &Node) -> Option<&'a Facts> {
        let digest = node.digest()?;
        self.layers.iter().find_map(|layer| layer.facts.get(&digest))
    }

    /// Where the bases differ, in byte order of paths.
    pub(super) fn delta(&self) -> Differences<'_> {
        let mut all = Vec::new();
        let (mut old, mut new) = (self.old.iter().peekable(), self.new.iter().peekable());
        loop {
            let next = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some((o, _)), Some((n, _))) if o == n => (old.next(), new.next()),
                (Some((o, _)), Some((n, _))) if o < n => (old.next(), None),
                (Some(_), None) => (old.next(), None),
                _ => (None, new.next()),
            };
            let path = next.0.or(next.1).map(|(path, _)| path).unwrap_or_default();
            let (old, new) = (next.0.map(|(_, node)| node), next.1.map(|(_, node)| node));
            if !old.zip(new).is_some_and(|(old, new)| same(old, new)) {
                all.push(Delta { path, old, new });
            }
        }
        Differences(all)
    }

    /// The names of each file of a base that has several, by path: hard links.
    pub(super) fn names(tree: &Tree) -> BTreeMap<&[u8], Vec<&[u8]>> {
        let mut by_file: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for (path, node) in tree.iter().filter(|(_, node)| matches!(node.kind, NodeKind::File { .. })) {
            let inode: &Inode = node;
            by_file.entry(std::ptr::from_ref(inode).addr()).or_default().push(path);
        }
        let groups = by_file.into_values().filter(|names| names.len() > 1);
        groups.flat_map(|names| names.clone().into_iter().map(move |name| (name, names.clone()))).collect()
    }
}

/// Where the bases differ.
pub(super) struct Differences<'t>(Vec<Delta<'t>>);

impl<'t> Differences<'t> {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Delta<'t>> {
        self.0.binary_search_by(|delta| delta.path.cmp(path)).ok().map(|at| &self.0[at])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delta<'t>> {
        self.0.iter()
    }

    /// What differs below a directory, at any depth.
    pub(super) fn below(&self, dir: &[u8]) -> &[Delta<'t>] {
        let range = range_below(dir, |probe| self.0.partition_point(|delta| delta.path < probe));
        &self.0[range]
    }
}

/// The range of the paths below `dir` in a sorted list, given how many of them sort before a path.
pub(super) fn range_below(dir: &[u8], before: impl Fn(&[u8]) -> usize) -> std::ops::Range<usize> {
    if dir.is_empty() {
        return before(b"\0")..before(b"\xff\xff\xff\xff");
    }
    // What starts with "dir/" sorts before "dir0": '0' follows '/'.
    before(&[dir, b"/"].concat())..before(&[dir, b"0"].concat())
}

/// Whether two nodes are alike in everything but time. Files whose content nobody compared are not.
pub(super) fn same(a: &Node, b: &Node) -> bool {
    if a.is_same_file(b) {
        return true;
    }
    let kind = match (&a.kind, &b.kind) {
        (NodeKind::File { size, digest }, NodeKind::File { size: other_size, digest: other }) => {
            size == other_size && (*size == 0 || (digest.is_some() && digest == other))
        }
        (NodeKind::Dir { .. }, NodeKind::Dir { .. }) => true,
        (a, b) => a == b,
    };
    kind && same_metadata(a, b)
}

/// Whether mode, owner and attributes are alike. The mode of a symbolic link means nothing.
pub(super) fn same_metadata(a: &Inode, b: &Inode) -> bool {
    let mode = a.mode == b.mode || matches!(a.kind, NodeKind::Symlink(_));
    let attributes = |node: &Inode| {
        let mut attributes = node.xattrs.clone();
        // What overlay file systems note for themselves leaks into layers of builders that run without root.
        attributes.retain(|(name, _)| {
            !name.starts_with(b"user.overlay.") && !name.starts_with(b"trusted.overlay.")
        });
        attributes.sort();
        attributes
    };
    mode && (a.uid, a.gid) == (b.uid, b.gid) && (a.xattrs == b.xattrs || attributes(a) == attributes(b))
}

fn stack(layers: &[Arc<Listing>]) -> Result<Tree> {
    let mut tree = Tree::new();
    for (number, layer) in layers.iter().enumerate() {
        tree.apply_listing(number, layer)?;
    }
    Ok(tree)
}

/// Hard links that found nothing to link to: path, target.
type Lost = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Puts own layers on a base; hard links that do not fit are left out and returned.
fn put_on(base: &Tree, own: &[Arc<Listing>]) -> (Tree, Lost) {
    let mut tree = base.clone();
    let mut layers = own.iter().enumerate();
    if layers.all(|(number, layer)| tree.apply_listing(OWN + number, layer).is_ok()) {
        return (tree, Lost::new());
    }
    let (mut tree, mut lost) = (base.clone(), Lost::new());
    for (number, layer) in own.iter().enumerate() {
        apply_what_fits(&mut tree, OWN + number, layer, &mut lost);
    }
    (tree, lost)
}

fn apply_what_fits(tree: &mut Tree, number: usize, layer: &Listing, lost: &mut Lost) {
    let links = layer.changes.iter().any(|(_, change)| matches!(change, Change::Link { .. }));
    if !links && tree.apply_listing(number, layer).is_ok() {
        return;
    }
    let mut step = layer.clone();
    step.facts.clear();
    let changes = std::mem::take(&mut step.changes);
    let mut apply = |step: &Listing| tree.apply_listing(number, step).is_ok();
    // Whiteouts come first and cannot fail.
    apply(&step);
    step.hidden.clear();
    step.opaque.clear();
    for change in changes {
        step.changes = vec![change];
        if !apply(&step)
            && let Some((path, Change::Link { target, .. })) = step.changes.pop()
        {
            lost.push((path, target));
        }
    }
}
