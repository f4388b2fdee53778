use std::collections::BTreeMap;

use palan_core::{Compression, Digest};
use proptest::prelude::*;

use super::*;
use crate::{Builder, Error, Limits, tar::Kind};

fn stack(layers: Vec<Builder>) -> Tree {
    let mut tree = Tree::new();
    for (number, layer) in layers.into_iter().enumerate() {
        tree.apply(number, &*layer.tar().unwrap(), Content::Digest, &Limits::default()).unwrap();
    }
    tree
}

/// Everything but the metadata, as text: `d dir`, `f file content`, `l link target`.
fn listing(tree: &Tree) -> Vec<String> {
    let known: BTreeMap<Digest, String> =
        (b'0'..=b'z').map(|b| (Digest::sha256(&[b]), char::from(b).into())).collect();
    let line = |(path, node): (&[u8], &Node)| {
        let path = String::from_utf8_lossy(path);
        match &node.kind {
            NodeKind::Dir { .. } => format!("d {path}"),
            NodeKind::File { digest, .. } => format!("f {path} {}", known[&digest.unwrap()]),
            NodeKind::Symlink(target) => format!("l {path} {}", String::from_utf8_lossy(target)),
            other => format!("? {path} {other:?}"),
        }
    };
    tree.iter().map(line).collect()
}

fn error(layer: Builder) -> String {
    let tar = layer.tar().unwrap();
    Tree::new().apply(0, &*tar, Content::Ignore, &Limits::default()).unwrap_err().to_string()
}

fn new() -> Builder {
    Builder::new()
}

#[test]
fn hard_links_keep_the_content_of_an_overwritten_target() {
    let lower = new().file("t1", "a").hard_link("t2", "t1").hard_link("d/t3", "./t1");
    let tree = stack(vec![lower, new().file("t1", "b")]);
    assert_eq!(listing(&tree), ["d d", "f d/t3 a", "f t1 b", "f t2 a"]);
    assert!(tree.get("t2").unwrap().is_same_file(tree.get("d/t3").unwrap()));
    assert!(!tree.get("t2").unwrap().is_same_file(tree.get("t1").unwrap()));
}

#[test]
fn hard_links_reach_into_lower_layers() {
    let tree = stack(vec![new().file("a", "1"), new().hard_link("b", "a")]);
    assert_eq!(listing(&tree), ["f a 1", "f b 1"]);
    assert_eq!((tree.get("a").unwrap().layer, tree.get("b").unwrap().layer), (0, 1));
}

#[test]
fn hard_links_may_come_before_what_they_name() {
    let layer =
        new().hard_link("b", "a").hard_link("c", "b").hard_link("e", "d").hard_link("d", "a").file("a", "1");
    let tree = stack(vec![layer]);
    assert_eq!(listing(&tree), ["f a 1", "f b 1", "f c 1", "f d 1", "f e 1"]);
    assert!(
        ["b", "c", "d", "e"].iter().all(|name| tree.get(name).unwrap().is_same_file(tree.get("a").unwrap()))
    );
    // What is there already is meant, and the last of equal paths.
    let tree = stack(vec![new().file("a", "0"), new().hard_link("b", "a").file("a", "1")]);
    assert_eq!(listing(&tree), ["f a 1", "f b 0"]);
    let tree = stack(vec![
        new().file("a", "0"),
        new().hard_link("b", "a").whiteout("a").file("a", "1").file("a", "2"),
    ]);
    assert_eq!(listing(&tree), ["f a 2", "f b 2"]);
    for layer in [
        new().hard_link("b", "a").hard_link("a", "b"),
        new().hard_link("a", "a"),
        new().hard_link("b", "a").dir("a"),
        new().file("a", "1").whiteout("b").hard_link("c", "b"),
    ] {
        assert!(error(layer).contains("does not exist"));
    }
}

#[test]
fn whiteouts_hide_lower_layers_only_wherever_they_stand() {
    let lower = || new().dir("d").file("d/old", "1").file("d/e/f", "2");
    for upper in [new().whiteout("d").file("d/new", "3"), new().file("d/new", "3").whiteout("d")] {
        let tree = stack(vec![lower(), upper]);
        assert_eq!(listing(&tree), ["d d", "f d/new 3"]);
        assert_eq!(tree.get("d").unwrap().kind, NodeKind::Dir { implied: true });
    }
    for upper in [new().opaque("d").file("d/new", "3"), new().file("d/new", "3").opaque("d")] {
        let tree = stack(vec![lower(), upper]);
        assert_eq!(listing(&tree), ["d d", "f d/new 3"]);
        assert_eq!((tree.get("d").unwrap().layer, tree.get("d/new").unwrap().layer), (0, 1));
    }
    let tree = stack(vec![lower(), new().opaque("").file("x", "4")]);
    assert_eq!(listing(&tree), ["f x 4"]);
    assert_eq!(listing(&stack(vec![lower(), new().whiteout("d/e")])), ["d d", "f d/old 1"]);
    assert_eq!(listing(&stack(vec![new().whiteout("nothing").opaque("neither")])), [""; 0]);
}

#[test]
fn a_whiteout_of_a_name_leaves_longer_names_alone() {
    let lower = new().file("a/x", "1").file("a-b", "2").file("a.c", "3").file("a0", "4").file("ab/y", "5");
    let tree = stack(vec![lower, new().whiteout("a")]);
    assert_eq!(listing(&tree), ["f a-b 2", "f a.c 3", "f a0 4", "d ab", "f ab/y 5"]);
}

#[test]
fn the_last_of_equal_paths_wins() {
    let tar = new().file("a", "1").file("./a", "2").dir("b").file("b", "3").tar().unwrap();
    let mut tree = Tree::new();
    let applied = tree.apply(0, &*tar, Content::Digest, &Limits::default()).unwrap();
    assert_eq!(listing(&tree), ["f a 2", "f b 3"]);
    assert_eq!((applied.entries, applied.duplicates), (4, 2));
}

#[test]
fn files_become_directories_and_back() {
    let layers = || vec![new().file("x", "1"), new().file("x/y", "2"), new().symlink("x", "z")];
    assert_eq!(listing(&stack(layers()[..0].iter().map(|_| new()).collect())), [""; 0]);
    let mut all = layers();
    assert_eq!(listing(&stack(all.drain(..2).collect())), ["d x", "f x/y 2"]);
    assert_eq!(listing(&stack(layers())), ["l x z"]);
}

#[test]
fn a_directory_again_changes_its_metadata_and_keeps_its_content() {
    let again = new().with(|tar| tar.dir("d", &crate::tar::Meta::DIR.mode(0o1777)));
    let tree = stack(vec![new().dir("d").file("d/f", "1"), again]);
    assert_eq!(listing(&tree), ["d d", "f d/f 1"]);
    assert_eq!((tree.get("d").unwrap().mode, tree.get("d").unwrap().layer), (0o1777, 1));
}

#[test]
fn a_symlink_gives_way_to_what_is_put_inside() {
    let tree = stack(vec![new().dir("usr/lib").symlink("lib", "usr/lib"), new().file("lib/x", "1")]);
    assert_eq!(listing(&tree), ["d lib", "f lib/x 1", "d usr", "d usr/lib"]);
}

#[test]
fn what_is_inside_aufs_directories_is_not_in_the_image_but_can_be_linked_to() {
    let lower = new().file("x", "0").file("d/old", "0");
    let upper = new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", "1")
        .file(".wh..wh.plnk/deep/3.4", "2")
        .file("d/.wh..wh.orph/5", "3")
        .file(".wh..wh.plnk/.wh.x", "")
        .file(".wh..wh.plnk/.wh..wh..opq", "")
        .file(".wh..wh..opq/6", "4")
        .hard_link("d/linked", ".wh..wh.plnk/1.2")
        .opaque("d");
    assert_eq!(listing(&stack(vec![lower, upper])), ["d d", "f d/linked 1", "f x 0"]);
}

#[test]
fn odd_names_are_legal() {
    let names: [&[u8]; 4] = [b"a:b", b"back\\slash", b"\xff\xfe", b"new\nline"];
    let layer = names.iter().fold(new().dir("./"), |layer, name| layer.file(name, "1"));
    let tree = stack(vec![layer]);
    assert!(names.iter().all(|name| tree.get(name).is_some()));
    assert!(tree.get("").unwrap().is_dir());
    assert_eq!(tree.len(), 5);
    let tree = stack(vec![new().file("/abs//olute/./f", "1")]);
    assert_eq!(listing(&tree), ["d abs", "d abs/olute", "f abs/olute/f 1"]);
    assert!(tree.get("./abs/olute//f").is_some() && tree.get("abs/../x").is_none());
}

#[test]
fn devices_pipes_and_attributes_are_kept() {
    let meta =
        crate::tar::Meta { xattrs: vec![(b"user.k".to_vec(), b"v".to_vec())], ..crate::tar::Meta::FILE };
    let layer = new().special("null", Kind::CharDevice(1, 3)).special("pipe", Kind::Fifo);
    let tree = stack(vec![layer.file_with("f", "1", meta.clone())]);
    assert_eq!(tree.get("null").unwrap().kind, NodeKind::CharDevice(1, 3));
    assert_eq!(tree.get("pipe").unwrap().kind, NodeKind::Fifo);
    assert_eq!(tree.get("f").unwrap().xattrs, meta.xattrs);
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    let cases = [
        (new().file("a/../../etc/passwd", "1"), "\"a/../../etc/passwd\" at byte 0: the path leads upwards"),
        (new().hard_link("a", "../b"), "leads upwards"),
        (new().hard_link("a", "b"), "hard link target \"b\" does not exist"),
        (new().dir("b").hard_link("a", "b"), "hard link target \"b\" is a directory"),
        (new().file("d/.wh.", "1"), "hides no name"),
        (new().file("d/.wh..", "1"), "hides no name"),
        (new().file("d/.wh...", "1"), "hides no name"),
        (new().file(".", "1"), "the root must be a directory"),
    ];
    for (layer, message) in cases {
        let found = error(layer);
        assert!(found.contains(message), "{found} / {message}");
    }
}

#[test]
fn aufs_bookkeeping_is_ignored() {
    let layer = new().file(".wh..wh.aufs", "").dir("d").file("d/.wh..wh.plnk", "").file("f", "1");
    assert_eq!(listing(&stack(vec![layer])), ["d d", "f f 1"]);
}

#[test]
fn an_unreadable_layer_changes_nothing() {
    let mut tree = stack(vec![new().file("a", "1")]);
    let tar = new().whiteout("a").file("b", vec![1; 5000]).tar().unwrap();
    let error = tree.apply(1, &tar[..3000], Content::Digest, &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::EntryCutOff { .. }), "{error:?}");
    assert_eq!(listing(&tree), ["f a 1"]);
}

#[test]
fn blobs_are_applied_whatever_their_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let blob = new().file("a", "1").build(compression).unwrap();
        let mut tree = Tree::new();
        tree.apply_blob(7, &*blob.bytes, Content::Digest, &Limits::default()).unwrap();
        assert_eq!(listing(&tree), ["f a 1"]);
    }
}

/// A file system as one would draw it: directories hold things.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Model {
    Dir(BTreeMap<String, Model>),
    File(u8),
    Link(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    File(String, u8),
    Dir(String),
    Link(String, String),
    Hard(String, String),
    Whiteout(String),
    Opaque(String),
}

impl Model {
    fn children(&mut self) -> Option<&mut BTreeMap<String, Model>> {
        match self {
            Self::Dir(children) => Some(children),
            _ => None,
        }
    }

    /// The directory that `path` is in, if it is one, and the name in it.
    fn parent<'a>(&mut self, path: &'a str) -> Option<(&mut BTreeMap<String, Model>, &'a str)> {
        match path.split_once('/') {
            None => Some((self.children()?, path)),
            Some((first, rest)) => self.children()?.get_mut(first)?.parent(rest),
        }
    }

    fn find(&mut self, path: &str) -> Option<&mut Model> {
        let (children, name) = self.parent(path)?;
        children.get_mut(name)
    }

    fn put(&mut self, path: &str, what: Model) {
        if self.children().is_none() {
            *self = Self::Dir(BTreeMap::new());
        }
        let children = self.children().unwrap();
        match path.split_once('/') {
            Some((first, rest)) => {
                children.entry(first.to_owned()).or_insert(Self::File(0)).put(rest, what);
            }
            None => {
                let both_dirs = matches!((&what, children.get(path)), (Self::Dir(_), Some(Self::Dir(_))));
                if !both_dirs {
                    children.insert(path.to_owned(), what);
                }
            }
        }
    }

    /// Applies a layer; gives the operations back that a layer may have.
    pub(crate) fn apply(&mut self, ops: &[Op]) -> Vec<Op> {
        // Where a whiteout stands matters if a link leads to it: those cases have tests of their own.
        let mut ops = ops.to_vec();
        let links: Vec<String> = ops.iter().filter_map(Op::may_be_link).collect();
        let leads_through = |path: &str| {
            links.iter().any(|link| path.strip_prefix(link).is_some_and(|rest| rest.starts_with('/')))
        };
        ops.retain(|op| match op {
            Op::Whiteout(path) => !leads_through(path),
            Op::Opaque(path) => !leads_through(&format!("{path}/")),
            _ => true,
        });
        for op in &ops {
            match op {
                Op::Whiteout(path) => drop(self.parent(path).map(|(children, name)| children.remove(name))),
                Op::Opaque(path) => drop(self.find(path).and_then(Self::children).map(BTreeMap::clear)),
                _ => {}
            }
        }
        let (below, mut legal) = (self.clone(), ops);
        // Without a link that cannot be, another may have no target.
        while let Err(illegal) = followed(&legal).and_then(|followed| self.put_all(&followed)) {
            legal.remove(illegal);
            *self = below.clone();
        }
        legal
    }

    /// The number of the first operation that no layer may have is the error.
    fn put_all(&mut self, ops: &[Op]) -> Result<(), usize> {
        for (at, op) in ops.iter().enumerate() {
            match op {
                Op::File(path, content) => self.put(path, Self::File(*content)),
                Op::Dir(path) => self.put(path, Self::Dir(BTreeMap::new())),
                Op::Link(path, target) => self.put(path, Self::Link(target.clone())),
                Op::Hard(path, target) => {
                    let file = self.linked(target, &ops[at + 1..], ops.len()).ok_or(at)?;
                    self.put(path, file);
                }
                Op::Whiteout(_) | Op::Opaque(_) => {}
            }
        }
        Ok(())
    }

    /// What a hard link names: what is there, or what will be.
    fn linked(&mut self, target: &str, later: &[Op], steps: usize) -> Option<Self> {
        if let Some(there) = self.find(target) {
            return (!matches!(there, Self::Dir(_))).then(|| there.clone());
        }
        let puts_target = |op: &&Op| match op {
            Op::File(path, _) | Op::Dir(path) | Op::Link(path, _) | Op::Hard(path, _) => path == target,
            Op::Whiteout(_) | Op::Opaque(_) => false,
        };
        match later.iter().rev().find(puts_target)? {
            Op::File(_, content) => Some(Self::File(*content)),
            Op::Link(_, to) => Some(Self::Link(to.clone())),
            Op::Hard(_, next) => self.linked(next, later, steps.checked_sub(1)?),
            _ => None,
        }
    }

    fn list(&self, path: &str, out: &mut Vec<String>) {
        match self {
            Self::File(content) => out.push(format!("f {path} {}", char::from(*content))),
            Self::Link(target) => out.push(format!("l {path} {target}")),
            Self::Dir(children) => {
                if !path.is_empty() {
                    out.push(format!("d {path}"));
                }
                for (name, child) in children {
                    child.list(&format!("{path}{}{name}", if path.is_empty() { "" } else { "/" }), out);
                }
            }
        }
    }
}

impl Op {
    fn may_be_link(&self) -> Option<String> {
        match self {
            Self::Link(path, _) | Self::Hard(path, _) => Some(path.clone()),
            _ => None,
        }
    }
}

/// The same operations where no path leads through a link of the layer. The number of the first that has no end is the error.
pub(crate) fn followed(ops: &[Op]) -> Result<Vec<Op>, usize> {
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    let mut out = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let follow = |path: &String| follow(&links, path, 50).ok_or(at);
        let op = match op {
            Op::File(path, content) => Op::File(follow(path)?, *content),
            Op::Dir(path) => Op::Dir(follow(path)?),
            Op::Link(path, target) => Op::Link(follow(path)?, target.clone()),
            Op::Hard(path, target) => Op::Hard(follow(path)?, follow(target)?),
            other => other.clone(),
        };
        match &op {
            Op::File(path, _) | Op::Link(path, _) | Op::Hard(path, _) => {
                let link = match &op {
                    Op::Link(_, target) => Some(target.clone()),
                    Op::Hard(_, target) => links.get(target).cloned(),
                    _ => None,
                };
                let inside = format!("{path}/");
                links.retain(|link, _| link != path && !link.starts_with(&inside));
                links.extend(link.map(|target| (path.clone(), target)));
            }
            Op::Dir(path) => drop(links.remove(path)),
            Op::Whiteout(_) | Op::Opaque(_) => {}
        }
        out.push(op);
    }
    Ok(out)
}

fn follow(links: &BTreeMap<String, String>, path: &str, left: u32) -> Option<String> {
    for (slash, _) in path.match_indices('/') {
        let (parent, rest) = path.split_at(slash);
        if let Some(target) = links.get(parent) {
            let beside = parent.rfind('/').map_or("", |end| &parent[..=end]);
            return follow(links, &format!("{beside}{target}{rest}"), left.checked_sub(1)?);
        }
    }
    Some(path.to_owned())
}

fn build(ops: &[Op]) -> Builder {
    ops.iter().fold(new(), add)
}

pub(crate) fn add(layer: Builder, op: &Op) -> Builder {
    match op {
        Op::File(path, content) => layer.file(path, [*content]),
        Op::Dir(path) => layer.dir(path),
        Op::Link(path, target) => layer.symlink(path, target),
        Op::Hard(path, target) => layer.hard_link(path, target),
        Op::Whiteout(path) => layer.whiteout(path),
        Op::Opaque(path) => layer.opaque(path),
    }
}

pub(crate) fn any_op() -> impl Strategy<Value = Op> {
    let path = || proptest::collection::vec("[ab]|a-|a0", 1..4).prop_map(|parts| parts.join("/"));
    prop_oneof![
        4 => (path(), b'0'..=b'z').prop_map(|(path, content)| Op::File(path, content)),
        2 => path().prop_map(Op::Dir),
        1 => (path(), path()).prop_map(|(path, target)| Op::Link(path, target)),
        2 => (path(), path()).prop_map(|(path, target)| Op::Hard(path, target)),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn trees_are_what_the_model_says(
        layers in proptest::collection::vec(proptest::collection::vec(any_op(), 0..9), 1..5),
        early in any::<bool>(),
    ) {
        let mut model = Model::Dir(BTreeMap::new());
        let mut legal: Vec<Vec<Op>> = layers.iter().map(|ops| model.apply(ops)).collect();
        for ops in &mut legal {
            // Where whiteouts stand must not matter; the order of the rest does.
            ops.sort_by_key(|op| matches!(op, Op::Whiteout(_) | Op::Opaque(_)) != early);
        }
        let tree = stack(legal.iter().map(|ops| build(ops)).collect());
        let mut expected = Vec::new();
        model.list("", &mut expected);
        expected.sort_by(|a, b| a.split(' ').nth(1).cmp(&b.split(' ').nth(1)));
        prop_assert_eq!(listing(&tree), expected);
        for (path, node) in tree.iter() {
            let parent = path.iter().rposition(|b| *b == b'/').map(|slash| tree.get(&path[..slash]).unwrap());
            prop_assert!(parent.is_none_or(Node::is_dir));
            prop_assert!(node.layer < layers.len());
        }
    }
}
