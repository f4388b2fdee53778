use std::{
    collections::{BTreeMap, HashSet},
    io::Cursor,
};

use proptest::prelude::*;

use super::*;
use crate::{
    Builder, Limits, Result,
    tar::{Archive, Kind, Meta},
    tree::{
        Content, Node, NodeKind, Tree, normalize,
        tests::{Model, Op, add, any_op, followed},
    },
};

fn new() -> Builder {
    Builder::new()
}

fn tars(layers: Vec<Builder>) -> Vec<Vec<u8>> {
    layers.into_iter().map(|layer| layer.tar().unwrap()).collect()
}

fn merge(mut merge: Merge, tars: &[Vec<u8>]) -> Result<(Vec<u8>, Written)> {
    for (number, tar) in tars.iter().enumerate() {
        let index = Index::read(tar.as_slice(), &Limits::default())?;
        merge.push(u32::try_from(number).unwrap(), &index)?;
    }
    let mut archives: Vec<_> = tars.iter().map(Cursor::new).collect();
    let mut out = Vec::new();
    let written = merge.finish()?.write(&mut archives, &mut out)?;
    assert_eq!(written.size, out.len() as u64);
    Ok((out, written))
}

/// The layers from `cut` on, merged with the others at hand; and the files that they take over.
fn above_of(tars: &[Vec<u8>], cut: usize) -> (Vec<u8>, Vec<String>) {
    let index = |number: usize| Index::read(tars[number].as_slice(), &Limits::default()).unwrap();
    let number = |number: usize| u32::try_from(number).unwrap();
    let mut lower = Merge::whole();
    (0..cut).for_each(|layer| lower.push(number(layer), &index(layer)).unwrap());
    let (mut blind, mut upper) = (Merge::above(), Merge::above_known(&lower));
    for layer in cut..tars.len() {
        blind.push(number(layer), &index(layer)).unwrap();
        upper.push(number(layer), &index(layer)).unwrap();
    }
    assert!(blind.needs_below());
    let taken = upper.provide(&lower).iter().map(ToString::to_string).collect();
    let mut archives: Vec<_> = tars.iter().map(Cursor::new).collect();
    let mut out = Vec::new();
    upper.finish().unwrap().write(&mut archives, &mut out).unwrap();
    (out, taken)
}

fn whole(layers: Vec<Builder>) -> Vec<u8> {
    merge(Merge::whole(), &tars(layers)).unwrap().0
}

fn above(layers: Vec<Builder>) -> Vec<u8> {
    merge(Merge::above(), &tars(layers)).unwrap().0
}

/// `path`, `path -> target`, `path = target`.
fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar);
    let mut out = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let (path, link) = (String::from_utf8_lossy(entry.path()), String::from_utf8_lossy(entry.link()));
        out.push(match entry.kind {
            Kind::Symlink => format!("{path} -> {link}"),
            Kind::HardLink => format!("{path} = {link}"),
            _ => path.into_owned(),
        });
    }
    out
}

fn tree(tars: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::new();
    for (number, tar) in tars.iter().enumerate() {
        tree.apply(number, tar.as_slice(), Content::Digest, &Limits::default()).unwrap();
    }
    tree
}

/// All there is to say about a file system, hard links included; whose entry made a directory is not.
fn facts(tree: &Tree) -> Vec<String> {
    facts_of(&tree.iter().collect::<Vec<_>>())
}

fn facts_of(nodes: &[(&[u8], &Node)]) -> Vec<String> {
    let line = |(path, node): &(&[u8], &Node)| {
        let first = nodes.iter().find(|(_, other)| other.is_same_file(node)).unwrap().0;
        let kind = match &node.kind {
            NodeKind::Dir { .. } => "dir".to_owned(),
            other => format!("{other:?} = {}", String::from_utf8_lossy(first)),
        };
        let path = String::from_utf8_lossy(path);
        let (mode, owner, time) = (node.mode, (node.uid, node.gid), node.mtime);
        format!("{path} {mode:o} {owner:?} {time} {:?} {kind}", node.xattrs)
    };
    nodes.iter().map(line).collect()
}

/// Parents before what is inside, hard links after their targets, every name once, no directory entered twice.
fn check_order(tar: &[u8]) {
    let mut archive = Archive::new(tar);
    let mut seen = HashSet::new();
    let mut left: HashSet<Vec<u8>> = HashSet::new();
    let mut inside: Vec<u8> = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let path = normalize(entry.path()).unwrap().into_owned();
        let parents: Vec<Vec<u8>> =
            path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| path[..at].to_vec()).collect();
        if entry.kind == Kind::HardLink {
            let target = normalize(entry.link()).unwrap().into_owned();
            assert!(seen.contains(&target), "{path:?} comes before {target:?}");
        }
        assert!(parents.iter().all(|parent| !left.contains(parent)), "entered again for {path:?}");
        let mut before = inside.clone();
        while !before.is_empty() && !path.starts_with(&[&before[..], b"/"].concat()) {
            left.insert(before.clone());
            before.truncate(before.iter().rposition(|b| *b == b'/').unwrap_or_default());
        }
        inside =
            if entry.kind == Kind::Dir { path.clone() } else { parents.last().cloned().unwrap_or_default() };
        assert!(seen.insert(path.clone()), "{path:?} is there twice");
        assert!(entry.kind != Kind::Dir || !left.contains(&path), "{path:?} comes after what is inside");
    }
}

#[test]
fn hard_links_keep_old_content_under_their_first_name() {
    let lower = new().file("t1", "a").hard_link("t2", "t1").hard_link("d/t3", "t2");
    let out = whole(vec![lower, new().file("t1", "b")]);
    assert_eq!(names(&out), ["d/t3", "t1", "t2 = d/t3"]);
}

#[test]
fn hard_links_that_may_stay_are_copied_as_they_are() {
    let layer = new().file("a", "1").hard_link("b", "a").hard_link("c", "b");
    assert_eq!(names(&whole(vec![layer])), ["a", "b = a", "c = b"]);
}

/// Layers spell names as they like; who looks for `etc/os-release` in the result must find it.
#[test]
fn names_are_spelled_one_way() {
    let deep = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let dot = |name: &str| format!("./{name}");
    let lower = new()
        .dir("./")
        .dir("./etc")
        .file("./etc//b", "1")
        .file("/etc/c", "2")
        .hard_link("./etc/h", "./etc/b")
        .hard_link("etc/i", "/etc/b")
        .symlink("./etc/s", "./b")
        .file(dot(&deep), "3")
        .hard_link(dot("l"), dot(&deep));
    let upper = new().dir("etc/").file("etc/a", "4").hard_link("../up", "./etc/a");
    let out = whole(vec![lower, upper]);
    let link = format!("l = {deep}");
    let expected = [
        "./",
        "../up",
        &deep,
        "etc/",
        "etc/a = ../up",
        "etc/b",
        "etc/c",
        "etc/h = etc/b",
        "etc/i = etc/b",
        "etc/s -> ./b",
        &link,
    ];
    assert_eq!(names(&out), expected);
    let partial = above(vec![new().dir("./d").file("./d/x", "1").hard_link("./y", "./below")]);
    assert_eq!(names(&partial), ["d/", "d/x", "y = below"]);
}

/// What need not be named anew is copied as it is, header blocks and all.
#[test]
fn the_names_of_most_bytes_are_usual() {
    let dotted =
        || new().dir("./").dir("./etc/").file("./etc/a", vec![1; 3000]).hard_link("./etc/b", "./etc/a");
    let plain = |size| new().dir("etc/").file("etc/c", vec![2; size]).symlink("s", "etc").whiteout("etc/b");
    let write = |layers: Vec<Builder>| {
        let archives = tars(layers);
        let mut merge = Merge::whole();
        for (number, tar) in archives.iter().enumerate() {
            let index = Index::read(tar.as_slice(), &Limits::default()).unwrap();
            merge.push(u32::try_from(number).unwrap(), &index).unwrap();
        }
        let merged = merge.finish().unwrap();
        let names = merged.usual_names();
        let mut archives: Vec<_> = archives.iter().map(Cursor::new).collect();
        let mut out = Vec::new();
        merged.write_to(&mut archives, names, write::Plain(&mut out)).unwrap();
        (names, out)
    };
    assert_eq!(write(vec![dotted()]), (Names::Dotted, dotted().tar().unwrap()));
    let (names, out) = write(vec![dotted(), plain(10)]);
    assert_eq!(names, Names::Dotted);
    assert_eq!(self::names(&out), ["./", "./etc/", "./etc/a", "./etc/c", "./s -> etc"]);
    let (names, out) = write(vec![dotted(), plain(9000)]);
    assert_eq!(names, Names::Plain);
    assert_eq!(self::names(&out), ["./", "etc/", "etc/a", "etc/c", "s -> etc"]);
    let links =
        new().file("./z", "1").hard_link("a", "z").dir("d").hard_link("./e", "./z").hard_link("./f", "z");
    let (_, out) = write(vec![links, new().dir("./d/")]);
    assert_eq!(self::names(&out), ["./a", "./d/", "./e = ./a", "./f = ./a", "./z = ./a"]);
}

/// Whatever else an entry says stays.
#[test]
fn entries_that_are_spelled_otherwise_keep_the_rest() {
    let xattrs = vec![(b"user.bin".to_vec(), vec![0, 255, 10, 61])];
    let meta = Meta { xattrs, mode: 0o4755, uid: 3_000_000, mtime: 1_700_000_000, ..Meta::FILE };
    let entries = |prefix: &str| {
        new()
            .file_with(format!("{prefix}a"), vec![7; 1500], meta.clone())
            .special(format!("{prefix}dev"), Kind::CharDevice(1, 3))
            .file(format!("{prefix}{}", "n".repeat(300)), "2")
    };
    assert!(whole(vec![entries("./")]) == whole(vec![entries("")]));
    assert!(whole(vec![entries("//")]) == entries("").tar().unwrap());
}

#[test]
fn a_link_below_its_target_in_order_takes_the_content() {
    let out = whole(vec![new().file("z/target", "1"), new().hard_link("a/link", "z/target")]);
    assert_eq!(names(&out), ["a/link", "z/target = a/link"]);
    check_order(&out);
}

#[test]
fn a_link_before_its_target_in_the_layer_names_it() {
    let layer = || new().hard_link("b", "c").hard_link("a", "b").hard_link("d", "c").file("c", "1");
    let out = whole(vec![layer()]);
    assert_eq!(names(&out), ["a", "b = a", "c = a", "d = c"]);
    check_order(&out);
    assert_eq!(names(&whole(vec![layer(), new().file("a", "2").file("c", "3")])), ["a", "b", "c", "d = b"]);
    assert_eq!(
        names(&above(vec![new().opaque(""), layer().opaque("")])),
        [".wh..wh..opq", "a", "b = a", "c = a", "d = c"]
    );
    let error =
        merge(Merge::whole(), &tars(vec![new().hard_link("a", "b").hard_link("b", "a")])).unwrap_err();
    assert!(
        error.to_string().contains("\"a\" at byte 0: its hard link target \"b\" does not exist"),
        "{error}"
    );
}

#[test]
fn links_to_aufs_bookkeeping_are_files() {
    let out = whole(vec![
        new().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "1").hard_link("a", ".wh..wh.plnk/1.2"),
    ]);
    assert_eq!(names(&out), ["a"]);
}

#[test]
fn whiteouts_of_layers_below_survive() {
    let cases: Vec<(Vec<Builder>, &[&str])> = vec![
        (vec![new().file("a", "1"), new().whiteout("a")], &[".wh.a"]),
        (vec![new().whiteout("a"), new().file("a", "1")], &["a"]),
        (vec![new().file("d/x", "1"), new().opaque("d").file("d/y", "2")], &["d/.wh..wh..opq", "d/y"]),
        (vec![new().dir("d"), new().whiteout("d").file("d/y", "2")], &["d/", "d/.wh..wh..opq", "d/y"]),
        (vec![new().file("d", "1"), new().whiteout("d"), new().dir("d")], &["d/", "d/.wh..wh..opq"]),
        (vec![new().file("d", "1"), new().file("d/x", "2")], &["d/", "d/.wh..wh..opq", "d/x"]),
        (vec![new().whiteout("d/x"), new().whiteout("d")], &[".wh.d"]),
        (vec![new().whiteout("d/x"), new().opaque("d")], &["d/.wh..wh..opq"]),
        (vec![new().whiteout("d/x"), new().file("d", "1")], &["d"]),
        (vec![new().opaque(""), new().whiteout("a").file("b", "1")], &[".wh..wh..opq", "b"]),
    ];
    for (layers, expected) in cases {
        assert_eq!(names(&above(layers)), expected);
    }
}

#[test]
fn links_into_layers_below_stay_links_or_are_refused() {
    let links = || new().hard_link("b", "a").hard_link("c", "b");
    assert_eq!(names(&above(vec![links()])), ["b = a", "c = a"]);
    assert_eq!(names(&above(vec![links(), new().file("b", "1")])), ["b", "c = a"]);
    assert_eq!(names(&above(vec![links(), new().opaque("")])), [".wh..wh..opq"]);
    for upper in [new().file("a", "1"), new().whiteout("a"), new().file("a/x", "1"), new().dir("a")] {
        let error = merge(Merge::above(), &tars(vec![links(), upper])).unwrap_err().to_string();
        assert!(error.contains("\"a\" is in the layers below, and a layer above it replaces it"), "{error}");
    }
    let error = merge(Merge::above(), &tars(vec![new().whiteout("a"), links()])).unwrap_err().to_string();
    assert!(error.contains("hard link target \"a\" does not exist"), "{error}");
}

#[test]
fn links_to_replaced_files_of_layers_below_name_them_otherwise_or_take_them_over() {
    let lower = || new().file("a", "1").hard_link("z", "a").file("own", "2");
    let links = || new().hard_link("b", "a").hard_link("c", "b").hard_link("own2", "own");
    let cases: Vec<(Builder, &[&str], &[&str])> = vec![
        (new().file("a", "3"), &["a", "b = z", "c = z", "own2 = own"], &[]),
        (new().whiteout("a").whiteout("z"), &[".wh.a", ".wh.z", "b", "c = b", "own2 = own"], &["\"a\""]),
        (
            new().dir("a").file("z", "4").whiteout("own"),
            &[".wh.own", "a/", "b", "c = b", "own2", "z"],
            &["\"a\"", "\"own\""],
        ),
    ];
    for (upper, expected, taken) in cases {
        let (out, told) = above_of(&tars(vec![lower(), links(), upper]), 1);
        let names: std::collections::BTreeSet<String> = names(&out).into_iter().collect();
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(told, taken);
    }
    // Nobody has it.
    let mut merge = Merge::above();
    for (number, tar) in (1..).zip(&tars(vec![new().hard_link("b", "nothing"), new().file("nothing", "1")])) {
        merge.push(number, &Index::read(tar.as_slice(), &Limits::default()).unwrap()).unwrap();
    }
    assert!(merge.needs_below() && merge.provide(&Merge::whole()).is_empty());
    let error = merge.finish().unwrap_err().to_string();
    assert!(error.contains("\"nothing\" is in the layers below"), "{error}");
}

#[test]
fn what_leads_out_of_the_root_is_kept_and_told() {
    let layer = new()
        .file("../up", "1")
        .file("/absolute", "2")
        .file("a:b", "3")
        .symlink("d/fine", "../x")
        .symlink("d/out", "../../x")
        .symlink("etc", "/etc")
        .with(|tar| tar.hard_link("h", "../up", &Meta::FILE));
    let tars = tars(vec![layer]);
    let (out, written) = merge(Merge::whole(), &tars).unwrap();
    let expected =
        ["../up", "a:b", "absolute", "d/fine -> ../x", "d/out -> ../../x", "etc -> /etc", "h = ../up"];
    assert_eq!(names(&out), expected);
    let told: Vec<String> = written.escaping_names.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["\"../up\"", "\"d/out\"", "\"h\""]);
    assert_eq!(written.escaping, 3);
}

#[test]
fn links_without_target_are_refused() {
    for (layer, message) in [
        (new().hard_link("a", "b"), "hard link target \"b\" does not exist"),
        (new().dir("b").hard_link("a", "b"), "hard link target \"b\" is a directory"),
        (new().file(".", "1"), "the root must be a directory"),
        (new().file("d/.wh.", "1"), "hides no name"),
    ] {
        let error = merge(Merge::whole(), &tars(vec![layer])).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn untouched_entries_are_copied_byte_for_byte() {
    let meta = Meta { xattrs: vec![(b"user.bin".to_vec(), vec![0, 255, 10, 61])], ..Meta::FILE };
    let long = "n".repeat(300);
    let layer = new()
        .dir("./")
        .file_with("a", "1", meta)
        .special("dev", Kind::CharDevice(1, 3))
        .file(b"latin-\xe9", vec![7; 1500])
        .file(&long, "2")
        .symlink("s", &long);
    let tar = layer.tar().unwrap();
    assert!(merge(Merge::whole(), std::slice::from_ref(&tar)).unwrap().0 == tar);
}

#[test]
fn links_of_the_same_layer_are_followed() {
    let usr = || new().dir("usr").dir("usr/lib").symlink("lib", "usr/lib");
    for (layers, expected) in [
        (vec![usr().file("lib/libm", "1")], &["lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/libm"][..]),
        (
            vec![usr().file("usr/lib/y", "1").hard_link("z", "lib/y")],
            &["lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/y", "z = usr/lib/y"],
        ),
        (
            vec![usr().hard_link("l", "lib").file("l/f", "1")],
            &["l -> usr/lib", "lib = l", "usr/", "usr/lib/", "usr/lib/f"],
        ),
        // Whoever unpacks finds a directory, and puts the link in its place.
        (vec![new().file("lib/libm", "1").symlink("lib", "usr")], &["lib -> usr"]),
        // A link of a lower layer gives way.
        (vec![usr(), new().file("lib/libm", "1")], &["lib/libm", "usr/", "usr/lib/"]),
        (
            vec![new().file("usr/lib/a", "1"), usr().whiteout("lib/a")],
            &["lib -> usr/lib", "usr/", "usr/lib/"],
        ),
        (vec![new().file("usr/lib/a", "1"), usr().opaque("lib")], &["lib -> usr/lib", "usr/", "usr/lib/"]),
    ] {
        let tars = tars(layers);
        let (out, _) = merge(Merge::whole(), &tars).unwrap();
        assert_eq!(names(&out), expected);
        assert_eq!(facts(&tree(std::slice::from_ref(&out))), facts(&tree(&tars)));
    }
    let circle = new().symlink("a", "b").symlink("b", "a").file("a/f", "1").tar().unwrap();
    let error = merge(Merge::whole(), &[circle]).unwrap_err().to_string();
    assert!(
        error.contains("\"a/f\" at byte 1024: its path leads through symbolic links in a circle"),
        "{error}"
    );
}

/// Found by the property test below.
#[test]
fn a_link_ahead_of_a_link_to_a_file_below_names_that() {
    let lower = new().file("a-", "1").hard_link("b/a0", "a-");
    let tars = tars(vec![lower, new().hard_link("a", "a-/a0").hard_link("a-/a0", "b/a0")]);
    let (out, _) = above_of(&tars, 1);
    let merged = [&tars[..1], &[out]].concat();
    assert_eq!(facts(&tree(&merged)), facts(&tree(&tars)));
}

#[test]
fn what_only_something_inside_made_a_directory_stays_one() {
    let layers = |below: Builder| tars(vec![below, new().file("e/d", "1"), new().whiteout("e/d")]);
    for (below, expected) in [
        (new().dir("base"), &["e/", "e/.wh.d"][..]),
        (new().file("e", "1"), &["e/", "e/.wh.d"]),
        // An entry would change the directory that is there.
        (new().dir("e"), &["e/.wh.d"]),
    ] {
        let tars = layers(below);
        let (out, _) = above_of(&tars, 1);
        assert_eq!(names(&out), expected);
        let merged = [&tars[..1], &[out]].concat();
        assert_eq!(facts(&tree(&merged)), facts(&tree(&tars)));
    }
}

/// umoci 0.4 writes such layers.
#[test]
fn padding_that_is_left_out_at_the_end_is_made() {
    let lower = new().file("a", vec![1; 700]).tar().unwrap();
    let whole = merge(Merge::whole(), std::slice::from_ref(&lower)).unwrap().0;
    for missing in [1, 323, 324] {
        let cut = lower[..lower.len() - 1024 - missing].to_vec();
        assert!(merge(Merge::whole(), &[cut]).unwrap().0 == whole);
    }
}

#[test]
fn an_archive_that_is_shorter_than_its_index_is_noticed() {
    let tar = new().file("a", vec![1; 5000]).tar().unwrap();
    let mut stack = Merge::whole();
    stack.push(0, &Index::read(tar.as_slice(), &Limits::default()).unwrap()).unwrap();
    let merged = stack.finish().unwrap();
    assert!(merged.write(&mut [Cursor::new(&tar[..3000])], Vec::new()).is_err());
}

fn any_layers() -> impl Strategy<Value = Vec<Vec<Op>>> {
    proptest::collection::vec(proptest::collection::vec(any_op(), 0..9), 1..6)
}

/// Whether a hard link comes before what it names.
fn links_ahead(layers: &[Vec<Op>]) -> bool {
    let puts = |op: &Op, target: &String| match op {
        Op::File(path, _) | Op::Link(path, _) | Op::Hard(path, _) => path == target,
        _ => false,
    };
    let is_ahead = |ops: &[Op]| match &ops[0] {
        Op::Hard(_, target) => ops[1..].iter().any(|op| puts(op, target)),
        _ => false,
    };
    let ahead = |ops: &Vec<Op>| followed(ops).is_ok_and(|ops| (0..ops.len()).any(|at| is_ahead(&ops[at..])));
    legal(layers).iter().any(ahead)
}

/// The layers without what the model says no layer can do.
fn legal(layers: &[Vec<Op>]) -> Vec<Vec<Op>> {
    let mut model = Model::Dir(BTreeMap::new());
    layers.iter().map(|ops| model.apply(ops)).collect()
}

/// The layers' archives, as far as they are legal. Every entry has a time of its own.
fn archives(layers: &[Vec<Op>], early: bool) -> Vec<Vec<u8>> {
    let mut legal = legal(layers);
    for ops in &mut legal {
        ops.sort_by_key(|op| matches!(op, Op::Whiteout(_) | Op::Opaque(_)) != early);
    }
    let mut time = 0;
    let mut stamped = |ops: &[Op]| {
        ops.iter().fold(new(), |layer, op| {
            time += 1;
            add(layer.mtime(time), op)
        })
    };
    legal.iter().map(|ops| stamped(ops).tar().unwrap()).collect()
}

/// What is at the paths of a folder, by the names that the first tests use.
#[cfg(unix)]
fn facts_of_folder(root: &std::path::Path) -> Vec<String> {
    use std::os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _};
    let (mut found, mut pending) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                pending.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, (path, metadata));
        }
    }
    let line = |(name, (path, metadata)): (&Vec<u8>, &(std::path::PathBuf, std::fs::Metadata))| {
        let same = |(_, other): &(&Vec<u8>, &(_, std::fs::Metadata))| other.1.ino() == metadata.ino();
        let first = found.iter().find(same).unwrap().0;
        let what = if metadata.is_dir() {
            "dir".to_owned()
        } else if metadata.is_symlink() {
            format!("-> {:?}", std::fs::read_link(path).unwrap())
        } else {
            format!("{:?}", std::fs::read(path).unwrap())
        };
        (name.clone(), what, first.clone(), metadata.mtime())
    };
    found.iter().map(|fact| format!("{:?}", line(fact))).collect()
}

/// The same of a tree whose files have one byte each.
#[cfg(unix)]
fn facts_for_folder(tree: &Tree, times: &std::path::Path) -> Vec<String> {
    use std::os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _};
    let bytes: BTreeMap<_, u8> = (b'0'..=b'z').map(|b| (palan_core::Digest::sha256(&[b]), b)).collect();
    let line = |(path, node): (&[u8], &Node)| {
        let first = tree.iter().find(|(_, other)| other.is_same_file(node)).unwrap().0;
        let mut mtime = node.mtime;
        let what = match &node.kind {
            NodeKind::Dir { implied } => {
                // Nobody says which time such a directory has.
                if *implied {
                    mtime = times.join(std::ffi::OsStr::from_bytes(path)).metadata().unwrap().mtime();
                }
                "dir".to_owned()
            }
            NodeKind::File { digest, .. } => format!("{:?}", vec![bytes[&digest.unwrap()]]),
            NodeKind::Symlink(target) => format!("-> {:?}", std::ffi::OsStr::from_bytes(target)),
            other => format!("{other:?}"),
        };
        format!("{:?}", (path.to_vec(), what, first.to_vec(), mtime))
    };
    tree.iter().map(line).collect()
}

#[cfg(unix)]
#[test]
#[allow(clippy::print_stderr, reason = "what is skipped is said aloud")]
fn gnu_tar_extracts_the_tree_of_any_stack() {
    use std::process::Command;
    let version = Command::new("tar").arg("--version").output();
    if !version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains("GNU tar")) {
        eprintln!("SKIPPED: gnu_tar_extracts_the_tree_of_any_stack: GNU tar is not installed");
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let case = |(layers, early): (Vec<Vec<Op>>, bool)| {
        let tars = archives(&layers, early);
        let out = merge(Merge::whole(), &tars).unwrap().0;
        let folder = tempfile::tempdir().unwrap();
        let (file, root) = (folder.path().join("x.tar"), folder.path().join("root"));
        std::fs::write(&file, out).unwrap();
        std::fs::create_dir(&root).unwrap();
        let done = Command::new("tar").arg("-xpf").arg(&file).current_dir(&root).output().unwrap();
        prop_assert!(done.status.success() && done.stderr.is_empty(), "{:?}", done);
        prop_assert_eq!(facts_of_folder(&root), facts_for_folder(&tree(&tars), &root));
        Ok(())
    };
    runner.run(&(any_layers(), any::<bool>()), case).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_archive_of_a_stack_has_the_files_of_the_stack(layers in any_layers(), early in any::<bool>()) {
        let tars = archives(&layers, early);
        let (out, written) = merge(Merge::whole(), &tars).unwrap();
        check_order(&out);
        prop_assert_eq!(names(&out).len() as u64, written.entries);
        prop_assert!(names(&out).iter().all(|name| !name.contains(".wh.")));
        prop_assert_eq!(facts(&tree(std::slice::from_ref(&out))), facts(&tree(&tars)));
        prop_assert!(merge(Merge::whole(), std::slice::from_ref(&out)).unwrap().0 == out, "merging again changes nothing");
    }

    #[test]
    fn merging_the_upper_layers_changes_no_file(
        layers in any_layers(), early in any::<bool>(), cut in any::<prop::sample::Index>(),
    ) {
        let tars = archives(&layers, early);
        let cut = cut.index(tars.len());
        let mut blind = Merge::above();
        for (number, tar) in tars[cut..].iter().enumerate() {
            let index = Index::read(tar.as_slice(), &Limits::default()).unwrap();
            blind.push(u32::try_from(number).unwrap(), &index).unwrap();
        }
        let needs_below = blind.needs_below();
        let merged = merge(Merge::above(), &tars[cut..]);
        if let Err(error) = &merged {
            let error = error.to_string();
            // Whether a link names a file of the layers below or one that is still to come cannot be known.
            let may_be = needs_below && (cut > 0 || links_ahead(&layers));
            prop_assert!(may_be && error.contains("a layer above it replaces it"), "{}", error);
        }
        let out = if needs_below { above_of(&tars, cut).0 } else { merged.unwrap().0 };
        let merged = [&tars[..cut], &[out]].concat();
        prop_assert_eq!(facts(&tree(&merged)), facts(&tree(&tars)));
    }
}
