use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::Path,
    process::Command,
};

use proptest::prelude::*;

use super::*;
use crate::{
    Builder, Error,
    tar::{END, Kind, Meta, header_bytes},
};

/// Both ways to open directories.
const WAYS: [bool; 2] = [false, true];

fn options(walk: bool) -> Options {
    Options { walk, ..Options::new(Owners::Own) }
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// An entry with a name that no writer writes.
fn odd(path: &[u8], kind: Kind, link: &[u8]) -> Vec<u8> {
    let name = vec![b'x'; path.len().clamp(1, 90)];
    let mut block = header_bytes(&name, kind, link, &Meta::FILE.mode(0o700), 0).unwrap();
    block[..100].fill(0);
    block[..path.len()].copy_from_slice(path);
    let flag = block[156];
    retype(&mut block[..512], flag);
    block
}

fn chain(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let texts = std::iter::successors(Some(first), |e| e.source()).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}

/// What is below a directory, of what has a meaning on every machine. Links are not followed.
fn tree(dir: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut out = BTreeMap::new();
    let mut pending = vec![(dir.to_owned(), Vec::new())];
    let mut opened = Vec::new();
    while let Some((path, name)) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let (mode, time) = (metadata.mode() & 0o7777, (metadata.mtime(), metadata.mtime_nsec()));
        if metadata.is_dir() || metadata.is_file() && mode & 0o400 == 0 {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            opened.push((path.clone(), metadata.permissions()));
        }
        let what = if metadata.is_symlink() {
            format!("-> {:?} {time:?}", fs::read_link(&path).unwrap())
        } else if metadata.is_dir() {
            let slash: &[u8] = if name.is_empty() { b"" } else { b"/" };
            for entry in fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                pending.push((entry.path(), [&name, slash, entry.file_name().as_bytes()].concat()));
            }
            format!("dir {mode:o} {time:?}")
        } else if metadata.is_file() {
            format!("file {mode:o} {time:?} {} {:?}", metadata.nlink(), fs::read_to_string(&path).unwrap())
        } else {
            format!("special {mode:o} {time:?}")
        };
        out.insert(name, what);
    }
    opened.into_iter().rev().for_each(|(path, permissions)| fs::set_permissions(path, permissions).unwrap());
    out
}

/// Extracts to `inner` of a directory with things around it that nothing may touch. Gives the tree, or the error.
fn try_extract(tar: &[u8], options: &Options) -> Result<BTreeMap<Vec<u8>, String>, String> {
    let folder = temporary();
    let around = |path: &str| folder.path().join(path);
    fs::create_dir_all(around("outside/dir")).unwrap();
    fs::write(around("outside/file"), "precious").unwrap();
    fs::write(around("victim"), "precious").unwrap();
    let before = tree(folder.path());
    let inner = around("inner");
    let result = extract(tar, &inner, options);
    let extracted = result.map(|_| {
        let extracted = tree(&inner);
        remove(&inner);
        extracted
    });
    let mut after = tree(folder.path());
    // The time of the folder itself tells that something was made inside.
    after.insert(Vec::new(), before[&Vec::new()].clone());
    assert_eq!(before, after);
    extracted.map_err(|e| chain(&e))
}

/// Removes a tree, whatever its modes.
fn remove(dir: &Path) {
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
        pending.extend(entries.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path()));
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn everything_that_an_archive_says_is_restored() {
    for walk in WAYS {
        let tar = Builder::new()
            .mtime(1_000_000_000)
            .with(|tar| tar.dir("./", &Meta::DIR.mode(0o711).mtime(77)))
            .with(|tar| tar.dir("closed/", &Meta::DIR.mode(0o555).mtime(5)))
            .file("closed/inside", "1")
            .hard_link("closed/more", "closed/inside")
            .with(|tar| tar.dir("closed/tight", &Meta::DIR.mode(0).mtime(-7)))
            .symlink("abs", "/etc/passwd")
            .symlink("climbs", "../../..")
            .hard_link("also-abs", "abs")
            .special("pipe", Kind::Fifo)
            .file_with("secret", "x", Meta::FILE.mode(0o1400))
            .file("implied/deep/file", "")
            .tar()
            .unwrap();
        let folder = temporary();
        let dir = folder.path().join("out");
        let report = extract(tar.as_slice(), &dir, &options(walk)).unwrap();
        assert_eq!((report.entries, report.size), (11, 2));
        let found: Vec<_> = tree(&dir)
            .into_iter()
            .map(|(path, what)| format!("{}: {what}", String::from_utf8(path).unwrap()))
            .collect();
        let time = "(1000000000, 0)";
        assert_eq!(
            found,
            [
                ": dir 711 (77, 0)".to_owned(),
                format!("abs: -> \"/etc/passwd\" {time}"),
                format!("also-abs: -> \"/etc/passwd\" {time}"),
                format!("climbs: -> \"../../..\" {time}"),
                "closed: dir 555 (5, 0)".to_owned(),
                format!("closed/inside: file 644 {time} 2 \"1\""),
                format!("closed/more: file 644 {time} 2 \"1\""),
                "closed/tight: dir 0 (-7, 0)".to_owned(),
                "implied: dir 755 (0, 0)".to_owned(),
                "implied/deep: dir 755 (0, 0)".to_owned(),
                format!("implied/deep/file: file 644 {time} 1 \"\""),
                format!("pipe: special 644 {time}"),
                format!("secret: file 1400 {time} 1 \"x\""),
            ]
        );
        remove(&dir);
    }
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let long = "n".repeat(300);
    let through = "a symbolic link, and nothing is extracted through those";
    let file = |name: &str| odd(name.as_bytes(), Kind::File, b"");
    let cases: Vec<(&str, Vec<Vec<u8>>, String)> = vec![
        (
            "a chain of links",
            vec![
                odd(b"a", Kind::Symlink, b"/etc"),
                odd(b"b", Kind::Symlink, b"a/.."),
                file("b/victim"),
            ],
            format!(r#"tar entry "b/victim" at byte 1024: "b" is there already, as {through}"#),
        ),
        (
            "a link to what is outside",
            vec![odd(b"a", Kind::Symlink, b"../outside"), file("a/file")],
            format!(r#"tar entry "a/file" at byte 512: "a" is there already, as {through}"#),
        ),
        (
            "a directory over a link",
            vec![odd(b"a", Kind::Symlink, b"../outside"), odd(b"a/", Kind::Dir, b""), file("a/file")],
            format!(r#"tar entry "a/" at byte 512: "a" is there already, as {through}"#),
        ),
        (
            "a link over a directory",
            vec![odd(b"a/", Kind::Dir, b""), odd(b"a", Kind::Symlink, b"../outside"), file("a/file")],
            r#"tar entry "a" at byte 512: "a" is there already, as a directory"#.into(),
        ),
        (
            "a file over a link",
            vec![odd(b"a", Kind::Symlink, b"../victim"), file("a")],
            format!(r#"tar entry "a" at byte 512: "a" is there already, as {through}"#),
        ),
        (
            "a name that climbs",
            vec![file("../victim")],
            r#"tar entry "../victim" at byte 0: it has '..' on its way, and nothing is extracted to where that leads"#.into(),
        ),
        (
            "a directory that climbs",
            vec![odd(b"a/../../outside/new/", Kind::Dir, b"")],
            r#"tar entry "a/../../outside/new/" at byte 0: it has '..' on its way, and nothing is extracted to where that leads"#.into(),
        ),
        (
            "a hard link to what is outside",
            vec![odd(b"a", Kind::HardLink, b"../victim")],
            r#"tar entry "a" at byte 0: its target: it has '..' on its way, and nothing is extracted to where that leads"#.into(),
        ),
        (
            "a hard link to an absolute path",
            vec![odd(b"a", Kind::HardLink, b"/etc/passwd")],
            r#"tar entry "a" at byte 0: its hard link target "/etc/passwd" does not exist"#.into(),
        ),
        (
            "a hard link through a link",
            vec![odd(b"a", Kind::Symlink, b".."), odd(b"b", Kind::HardLink, b"a/victim")],
            r#"tar entry "b" at byte 512: its hard link target "a/victim" does not exist"#.into(),
        ),
        (
            "a hard link to what is not there",
            vec![odd(b"a", Kind::HardLink, b"b")],
            r#"tar entry "a" at byte 0: its hard link target "b" does not exist"#.into(),
        ),
        (
            "a hard link to itself",
            vec![odd(b"a", Kind::HardLink, b"a")],
            r#"tar entry "a" at byte 0: its hard link target "a" does not exist"#.into(),
        ),
        (
            "a hard link to a directory",
            vec![odd(b"a/", Kind::Dir, b""), odd(b"b", Kind::HardLink, b"a")],
            r#"tar entry "b" at byte 512: its hard link target "a" is a directory"#.into(),
        ),
        (
            "a hard link to the directory itself",
            vec![odd(b"b", Kind::HardLink, b"/")],
            r#"tar entry "b" at byte 0: its hard link target "/" is a directory"#.into(),
        ),
        (
            "a file below a file",
            vec![file("a"), file("a/b")],
            r#"tar entry "a/b" at byte 512: "a" is there already, as a file"#.into(),
        ),
        ("two files of a name", vec![file("a"), file("./a")], r#"tar entry "./a" at byte 512: "a" is there already, as a file"#.into()),
        (
            "a file without a name",
            vec![file("")],
            "bad tar header at byte 0: entry has empty path".into(),
        ),
        (
            "a link in place of the directory",
            vec![odd(b".", Kind::Symlink, b"/etc")],
            r#"tar entry "." at byte 0: the directory itself can be nothing but a directory"#.into(),
        ),
        (
            "a name that is too long",
            vec![Builder::new().file(&long, "").tar().unwrap()[..2048].to_vec()],
            format!("cannot create \"{}\"…: File name too long (os error 36)", &long[..256]),
        ),
        ("a cut", vec![file("a"), vec![b'x'; 100]], "the tar archive is cut off".into()),
    ];
    for (what, entries, message) in cases {
        for walk in WAYS {
            let mut tar = entries.concat();
            if what != "a cut" {
                tar.extend_from_slice(&END);
            }
            let error = try_extract(&tar, &options(walk)).unwrap_err();
            assert!(error.starts_with(&message), "{what}: {error}");
        }
    }
}

#[test]
fn an_archive_without_its_end_is_not_a_whole_one() {
    let tar = odd(b"a", Kind::File, b"");
    assert_eq!(
        try_extract(&tar, &options(false)).unwrap_err(),
        r#"the tar archive is cut off at byte 512, after entry "a""#
    );
}

#[test]
fn absolute_names_and_names_of_the_directory_itself_stay_inside() {
    let tar = [
        odd(b"/", Kind::Dir, b""),
        odd(b"//abs//file", Kind::File, b""),
        odd(b"./", Kind::Dir, b""),
        END.to_vec(),
    ]
    .concat();
    for walk in WAYS {
        let found = try_extract(&tar, &options(walk)).unwrap();
        let names: Vec<_> = found.keys().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["", "abs", "abs/file"]);
    }
}

/// Deeper than the kernel takes paths, and than a process may have directories open.
#[test]
fn trees_may_be_deeper_than_paths_may_be_long() {
    for (walk, part, depth) in [(false, "ddd/", 1100), (true, "ddddddddd/", 420)] {
        let path = part.repeat(depth);
        for end in [&END[..], &[]] {
            let tar = Builder::new()
                .with(|tar| tar.dir(&path, &Meta::DIR.mode(if end.is_empty() { 0 } else { 0o755 })))
                .file(format!("{path}file"), "x")
                .hard_link("near", format!("{path}file"))
                .tar()
                .unwrap();
            let tar = [&tar[..tar.len() - END.len()], end].concat();
            let folder = temporary();
            let dir = folder.path().join("out");
            let extracted = extract(tar.as_slice(), &dir, &options(walk));
            if end.is_empty() {
                extracted.unwrap_err();
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
                continue;
            }
            assert_eq!(extracted.unwrap().entries, 3);
            assert_eq!(fs::metadata(dir.join("near")).unwrap().nlink(), 2);
            assert!(Command::new("rm").arg("-rf").arg(&dir).status().unwrap().success());
        }
    }
}

#[test]
fn names_that_the_file_system_takes_for_the_same_are_told() {
    let folder = temporary();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/README"), "").unwrap();
    let dir = fs::File::open(folder.path().join("d")).unwrap();
    let inode = fs::metadata(folder.path().join("d/README")).unwrap().ino();
    // What `stat` says of d/readme where case is folded.
    let dir = std::os::fd::AsFd::as_fd(&dir);
    assert_eq!(names::other_spelling(dir, b"readme", inode), Some(b"README".to_vec()));
    assert_eq!(names::other_spelling(dir, b"README", inode), None);
}

type Meddle = fn(&Path);

/// An archive during which somebody meddles with the directory.
struct Meddled<'a> {
    before: &'a [u8],
    after: &'a [u8],
    folder: &'a Path,
    meddle: Meddle,
}

impl Read for Meddled<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = if self.before.is_empty() { &mut self.after } else { &mut self.before };
        let n = left.read(&mut out[..512])?;
        if self.before.is_empty() {
            let stage = fs::read_dir(self.folder)?.map(|entry| entry.unwrap().path());
            stage.into_iter().filter(|path| path.is_dir()).for_each(|path| (self.meddle)(&path));
            self.meddle = |_| ();
        }
        Ok(n)
    }
}

#[test]
fn what_others_put_there_is_not_used() {
    let make: Meddle = |stage| fs::create_dir(stage.join("new")).unwrap();
    let replace: Meddle = |stage| {
        fs::rename(stage.join("d"), stage.join("moved")).unwrap();
        std::os::unix::fs::symlink("/", stage.join("d")).unwrap();
    };
    let cases = [
        (make, "new/file", r#"tar entry "new/file" at byte 1536: "new" is there already, as a directory"#),
        (replace, "d/sub/file", r#"cannot enter the directory of "d/sub/file""#),
    ];
    for (meddle, name, message) in cases {
        for walk in WAYS {
            let folder = temporary();
            let before = [odd(b"d/sub/", Kind::Dir, b""), odd(b"e/f", Kind::File, b"")].concat();
            let after =
                [odd(b"e/g", Kind::File, b""), odd(name.as_bytes(), Kind::File, b""), END.to_vec()].concat();
            let (before, after) = (before.as_slice(), after.as_slice());
            let tar = Meddled { before, after, folder: folder.path(), meddle };
            let error = extract(tar, &folder.path().join("out"), &options(walk)).unwrap_err();
            assert!(chain(&error).starts_with(message), "{error}");
        }
    }
}

/// Everything that a name may lead to, a moment after the directory was made.
#[test]
fn only_the_directory_that_was_made_is_entered() {
    let is_root = Owners::usual() == Owners::Archive;
    let replace: [(&str, bool, Meddle); 7] = [
        ("nothing", true, |path| fs::create_dir(path).and_then(|()| mode(path, 0o700)).unwrap()),
        ("a link", false, |path| std::os::unix::fs::symlink("outside", path).unwrap()),
        ("a file", false, |path| fs::write(path, "").unwrap()),
        ("an open directory", false, |path| fs::create_dir(path).and_then(|()| mode(path, 0o755)).unwrap()),
        ("a full directory", false, |path| {
            fs::create_dir_all(path.join("sub")).and_then(|()| mode(path, 0o700)).unwrap();
        }),
        ("somebody's directory", false, |path| {
            fs::create_dir(path).and_then(|()| mode(path, 0o700)).unwrap();
            std::os::unix::fs::chown(path, Some(12_345), None).unwrap();
        }),
        ("no directory", false, |_| ()),
    ];
    for (what, is_fine, replace) in replace {
        if what == "somebody's directory" && !is_root {
            continue;
        }
        for owners in [Owners::Archive, Owners::Own] {
            let folder = temporary();
            fs::create_dir(folder.path().join("outside")).unwrap();
            mode(&folder.path().join("outside"), 0o700).unwrap();
            let within = fs::File::open(folder.path()).unwrap();
            let within = std::os::fd::AsFd::as_fd(&within);
            let name = temporary::make(within).unwrap();
            let made = folder.path().join(&name);
            assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o700);
            fs::rename(&made, folder.path().join("moved")).unwrap();
            replace(&made);
            let before = tree(folder.path());
            let entered = temporary::enter(within, &name, owners);
            assert_eq!(entered.is_ok(), is_fine, "{what}: {entered:?}");
            if what != "an open directory" {
                assert_eq!(tree(folder.path()), before, "{what}");
            }
        }
    }
}

fn mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whoever owns the directory above can rename what is made in it, and put something else there.
#[test]
fn nothing_is_written_or_removed_where_the_temporary_directory_is_replaced() {
    let swap: Meddle = |stage| {
        let folder = stage.parent().unwrap();
        fs::create_dir_all(folder.join("outside/sub")).unwrap();
        fs::write(folder.join("outside/precious"), "precious").unwrap();
        fs::rename(stage, folder.join("moved")).unwrap();
        std::os::unix::fs::symlink("outside", stage).unwrap();
    };
    for (end, message) in [(&END[..], "something else has taken its place"), (&[], "cut off")] {
        let folder = temporary();
        let before = [odd(b"d/", Kind::Dir, b""), odd(b"precious", Kind::File, b"")].concat();
        let after = [&odd(b"e", Kind::File, b"")[..], end].concat();
        let tar = Meddled { before: &before, after: &after, folder: folder.path(), meddle: swap };
        let error = extract(tar, &folder.path().join("out"), &options(false)).unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
        let left: Vec<_> =
            tree(folder.path()).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
        assert!(left[1].starts_with(".palan-") && !left[1].contains('/'), "{left:?}");
        assert_eq!(left[2..], ["moved", "outside", "outside/precious", "outside/sub"]);
        assert_eq!(fs::read(folder.path().join("outside/precious")).unwrap(), b"precious");
    }
}

/// What cannot be removed does not keep the rest.
#[test]
fn as_much_as_possible_is_removed() {
    let empty: Meddle = |stage| fs::create_dir(stage.join("d/empty")).unwrap();
    let full: Meddle = |stage| fs::create_dir_all(stage.join("d/full/sub")).unwrap();
    let gone: Meddle = |stage| fs::rename(stage.join("d"), stage.join("gone")).unwrap();
    let cases =
        [(empty, vec![]), (full, vec!["/d", "/d/full", "/d/full/sub"]), (gone, vec!["/gone", "/gone/f"])];
    for (meddle, expected) in cases {
        let folder = temporary();
        let names = [&b"a/f"[..], b"d/f", b"e/f", b"f"].map(|name| odd(name, Kind::File, b""));
        let (before, after) = (names.concat(), odd(b"cut/", Kind::Dir, b""));
        let tar = Meddled { before: &before, after: &after, folder: folder.path(), meddle };
        extract(tar, &folder.path().join("out"), &options(false)).unwrap_err();
        let left: Vec<_> =
            tree(folder.path()).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
        let temporary = left.get(1).cloned().unwrap_or_default();
        let expected: Vec<_> = expected.iter().map(|name| format!("{temporary}{name}")).collect();
        assert_eq!(left[2.min(left.len())..], expected, "{left:?}");
        if expected.is_empty() {
            assert_eq!(left, [""]);
        }
    }
}

/// A directory that is given stays the one that it was when it was found empty.
#[test]
fn nothing_is_moved_to_what_replaced_the_directory() {
    for is_link in [false, true] {
        let folder = temporary();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::create_dir(path("other")).unwrap();
        let out = path(if is_link { "link" } else { "real" });
        if is_link {
            std::os::unix::fs::symlink("real", &out).unwrap();
        }
        let swap: Meddle = |stage| {
            let real = stage.parent().unwrap();
            let folder = real.parent().unwrap();
            if fs::remove_file(folder.join("link")).is_ok() {
                std::os::unix::fs::symlink("other", folder.join("link")).unwrap();
            } else {
                fs::rename(real, folder.join("moved")).unwrap();
                std::os::unix::fs::symlink("other", real).unwrap();
            }
        };
        let (before, after) = (odd(b"a", Kind::File, b""), [&odd(b"b", Kind::File, b"")[..], &END].concat());
        let tar = Meddled { before: &before, after: &after, folder: &path("real"), meddle: swap };
        let error = extract(tar, &out, &options(false)).unwrap_err();
        let place = "something else has taken its place meanwhile";
        assert_eq!(chain(&error), format!("cannot finish the directory {}: {place}", out.display()));
        let left: Vec<_> =
            tree(folder.path()).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(
            left,
            if is_link { ["", "link", "other", "real"] } else { ["", "moved", "other", "real"] }
        );
    }
}

#[test]
fn directories_to_extract_to() {
    let tar = Builder::new()
        .with(|tar| tar.dir("./", &Meta::DIR.mode(0o750).mtime(9)))
        .with(|tar| tar.dir("closed", &Meta::DIR.mode(0o555).mtime(5)))
        .file("closed/file", "x")
        .file("top", "x")
        .tar()
        .unwrap();
    let extract_to = |dir: &Path| extract(tar.as_slice(), dir, &options(false)).map_err(|e| chain(&e));
    let folder = temporary();
    let path = |name: &str| folder.path().join(name);
    extract_to(&path("new/")).unwrap();
    // An empty directory stays the same.
    fs::create_dir(path("empty")).unwrap();
    let inode = fs::metadata(path("empty")).unwrap().ino();
    extract_to(&path("empty")).unwrap();
    assert_eq!(fs::metadata(path("empty")).unwrap().ino(), inode);
    assert_eq!(tree(&path("empty")), tree(&path("new")));
    assert_eq!(tree(&path("new"))[&b"closed"[..]], "dir 555 (5, 0)");
    // Through the user's own links.
    fs::create_dir(path("real")).unwrap();
    std::os::unix::fs::symlink("real", path("link")).unwrap();
    extract_to(&path("link")).unwrap();
    assert_eq!(tree(&path("real")), tree(&path("new")));
    let before = tree(folder.path());
    let shown = folder.path().display();
    fs::write(path("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
    let cases = [
        ("new", format!("the directory {shown}/new is not empty")),
        ("file", format!("cannot use the directory {shown}/file: Not a directory (os error 20)")),
        (
            "dangling",
            format!("cannot use the directory {shown}/dangling: No such file or directory (os error 2)"),
        ),
        (
            "no/such",
            format!("cannot create the directory {shown}/no/such: No such file or directory (os error 2)"),
        ),
    ];
    for (name, message) in cases {
        assert_eq!(extract_to(&path(name)).unwrap_err(), message);
    }
    fs::remove_file(path("file")).unwrap();
    fs::remove_file(path("dangling")).unwrap();
    // An empty directory is empty again after a failure.
    fs::create_dir(path("again")).unwrap();
    extract(&tar[..2048], &path("again"), &options(false)).unwrap_err();
    fs::remove_dir(path("again")).unwrap();
    let mut after = tree(folder.path());
    after.insert(Vec::new(), before[&Vec::new()].clone());
    assert_eq!(before, after);
    for name in ["new", "empty", "real"] {
        remove(&path(name));
    }
}

#[test]
fn a_directory_that_cannot_be_finished_is_given_back() {
    let me = (rustix::process::geteuid().as_raw().into(), rustix::process::getegid().as_raw().into());
    let owned = |meta: Meta| meta.owner(me.0, me.1);
    let mut root = Meta::DIR.mode(0o711).owner(u64::from(u32::MAX), 0);
    root.xattrs = vec![(b"user.a".to_vec(), b"2".to_vec())];
    let tar = Builder::new()
        .with(|tar| tar.dir("./", &root))
        .with(|tar| tar.dir("closed", &owned(Meta::DIR.mode(0o555))))
        .file_with("closed/f", "x", owned(Meta::FILE))
        .file_with("f", "x", owned(Meta::FILE))
        .tar()
        .unwrap();
    for exists in [false, true] {
        let folder = temporary();
        let dir = folder.path().join("out");
        if exists {
            fs::create_dir(&dir).unwrap();
            mode(&dir, 0o750).unwrap();
        }
        let error = extract(tar.as_slice(), &dir, &Options::new(Owners::Archive)).unwrap_err();
        assert!(chain(&error).starts_with(r#"cannot set the owner of "./""#), "{}", chain(&error));
        let left: Vec<_> = tree(folder.path()).into_keys().collect();
        assert_eq!(left, if exists { vec![&b""[..], b"out"] } else { vec![&b""[..]] });
        if exists {
            assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o750);
        }
    }
}

#[test]
fn what_was_set_on_a_directory_is_restored() {
    let folder = temporary();
    mode(folder.path(), 0o750).unwrap();
    let dir = fs::File::open(folder.path()).unwrap();
    let set = |name, value: &[u8]| rustix::fs::fsetxattr(&dir, name, value, rustix::fs::XattrFlags::empty());
    set("user.old", b"1").unwrap();
    let names = [&b"user.old"[..], b"user.new"].into_iter();
    let there = vec!["mine".into(), "sub".into()];
    let given = given::Given::new(std::os::fd::AsFd::as_fd(&dir), names, there).unwrap();
    set("user.old", b"2").unwrap();
    set("user.new", b"2").unwrap();
    fs::write(folder.path().join("mine"), "")
        .and_then(|()| fs::write(folder.path().join("theirs"), ""))
        .unwrap();
    mode(folder.path(), 0o500).unwrap();
    given.restore();
    given.clear();
    let mut value = [0; 8];
    assert_eq!(rustix::fs::fgetxattr(&dir, "user.old", &mut value[..]), Ok(1));
    assert_eq!(value[0], b'1');
    let absent = rustix::fs::fgetxattr(&dir, "user.new", &mut value[..]);
    assert_eq!(absent, Err(rustix::io::Errno::NODATA));
    let found = tree(folder.path());
    assert_eq!(found.keys().collect::<Vec<_>>(), [&b""[..], b"theirs"]);
    assert!(found[&b""[..]].starts_with("dir 750 "));
}

#[test]
fn somebody_else_may_be_faster() {
    struct Late<'a>(&'a [u8], &'a Path);
    impl Read for Late<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            fs::create_dir_all(self.1)?;
            fs::write(self.1.join("b"), "theirs")?;
            self.0.read(out)
        }
    }
    let tar = Builder::new().file("a", "ours").file("b", "ours").dir("c").tar().unwrap();
    for is_there in [false, true] {
        let folder = temporary();
        let dir = folder.path().join("out");
        if is_there {
            fs::create_dir(&dir).unwrap();
        }
        let error = extract(Late(&tar, &dir), &dir, &options(false)).unwrap_err();
        assert_eq!(chain(&error), format!("the directory {} is not empty", dir.display()));
        let left: Vec<_> = tree(folder.path()).into_keys().collect();
        assert_eq!(left, [&b""[..], b"out", b"out/b"]);
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"theirs");
    }
}

#[test]
fn holes_stay_holes() {
    let map = [("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1"), ("GNU.sparse.size", "50000000000")];
    let mut meta = Meta::FILE;
    meta.records =
        map.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    meta.records.push((b"GNU.sparse.map".to_vec(), b"4096,2,40000000000,1".to_vec()));
    let tar = Builder::new().file_with("f", "abc", meta).tar().unwrap();
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &options(false)).unwrap();
    assert_eq!(report.size, 50_000_000_000);
    let metadata = fs::metadata(dir.join("f")).unwrap();
    assert_eq!(metadata.len(), 50_000_000_000);
    assert!(metadata.blocks() < 1000, "{}", metadata.blocks());
    let mut head = Vec::new();
    fs::File::open(dir.join("f")).unwrap().take(4100).read_to_end(&mut head).unwrap();
    assert_eq!(head[4094..], *b"\0\0ab\0\0");
}

#[test]
fn what_is_not_restored_is_told() {
    let attributes =
        [("user.a", "1"), ("security.capability", "x"), ("trusted.b", "2"), ("security.selinux", "l")];
    let mut meta = Meta::FILE.mode(0o6755).owner(12_345, 12_345);
    meta.xattrs =
        attributes.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let tar = Builder::new().file_with("program", "x", meta).tar().unwrap();
    let tar = [&tar[..tar.len() - END.len()], &odd(b"odd", Kind::File, b""), &END].concat();
    let mut tar = tar;
    let at = tar.len() - END.len() - 512;
    retype(&mut tar[at..at + 512], b'V');
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &options(false)).unwrap();
    let losses: Vec<_> = report.losses().into_iter().map(|loss| (loss.what, loss.count)).collect();
    let expected = vec![
        (Lost::Owner, 1),
        (Lost::SetId, 1),
        (Lost::Capabilities, 1),
        (Lost::Attributes, 1),
        (Lost::Kind, 1),
    ];
    assert_eq!(losses, expected);
    assert_eq!(report.losses()[0].names[0].to_string(), r#""program""#);
    let mut value = [0; 8];
    let n = rustix::fs::lgetxattr(dir.join("program"), "user.a", &mut value[..]).unwrap();
    assert_eq!(&value[..n], b"1");
    assert_eq!(fs::metadata(dir.join("program")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn attributes_in_other_forms_are_told() {
    let records = [
        ("SCHILY.acl.access", "user::rw-,user:7:rw-", true),
        ("SCHILY.acl.default", "user::rw-", true),
        ("LIBARCHIVE.xattr.user.a", "dmFsdWU=", true),
        ("RHT.security.selinux", "system_u:object_r:bin_t:s0", true),
        ("SCHILY.fflags", "immutable", true),
        ("SCHILY.acl.access", "", false),
        ("LIBARCHIVE.creationtime", "1", false),
        ("SCHILY.dev", "1", false),
    ];
    let tar = |records: &[(&str, &str, bool)]| {
        let meta = Meta {
            records: records
                .iter()
                .map(|(key, value, _)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            ..Meta::FILE
        };
        Builder::new().file_with("f", "", meta).file("g", "").tar().unwrap()
    };
    let told = |tar: Vec<u8>| {
        let folder = temporary();
        let report = extract(tar.as_slice(), &folder.path().join("out"), &options(false)).unwrap();
        losses(&report).into_iter().find(|(what, _)| *what == Lost::Attributes).map(|(_, names)| names)
    };
    for record in &records {
        assert_eq!(told(tar(std::slice::from_ref(record))).is_some(), record.2, "{record:?}");
    }
    assert_eq!(told(tar(&records[..5])), Some(vec![r#""f""#.to_owned()]));
}

#[test]
fn times_that_the_file_system_does_not_have_are_told() {
    let far = 1 << 40;
    let tar = Builder::new()
        .with(|tar| tar.dir("d", &Meta::DIR.mtime(far)))
        .file_with("f", "", Meta::FILE.mtime(far))
        .with(|tar| tar.symlink("l", "x", &Meta::LINK.mtime(far)))
        .file("near", "")
        .tar()
        .unwrap();
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &options(false)).unwrap();
    let is_lost = |name: &&str| fs::symlink_metadata(dir.join(name)).unwrap().mtime() != far;
    let mut lost: Vec<_> =
        ["d", "f", "l"].into_iter().filter(is_lost).map(|name| format!("{name:?}")).collect();
    let mut told =
        losses(&report).into_iter().find(|(what, _)| *what == Lost::Time).unwrap_or((Lost::Time, vec![])).1;
    lost.sort();
    told.sort();
    assert_eq!(told, lost);
}

/// Files of /proc can no more be changed than those of file systems without modes.
#[test]
fn modes_that_the_file_system_does_not_have_are_told() {
    let me = (rustix::process::geteuid().as_raw().into(), rustix::process::getegid().as_raw().into());
    let tar = Builder::new().file_with("f", "", Meta::FILE.owner(me.0, me.1)).tar().unwrap();
    let mut archive = crate::tar::Archive::new(tar.as_slice());
    let entry = archive.next_entry().unwrap().unwrap();
    let meta = meta::Meta::of(entry.header());
    let file = fs::File::open("/proc/self/status").unwrap();
    let apply = |owners| {
        let object = meta::Object::Open(std::os::fd::AsFd::as_fd(&file));
        let mut report = Report::default();
        let applied = meta.apply(&object, b"f", &meta::Rights::new(owners), &mut report);
        applied.map(|()| losses(&report)).map_err(|e| chain(&e))
    };
    let told = apply(Owners::Own).unwrap();
    assert_eq!(told.first(), Some(&(Lost::Mode, vec![r#""f""#.to_owned()])));
    assert_eq!(
        apply(Owners::Archive).unwrap_err(),
        r#"cannot set the mode of "f": Operation not permitted (os error 1)"#
    );
}

/// As `setfacl -m d:u:12345:rwx` would write it.
fn default_acl() -> Vec<u8> {
    let entries =
        [(1u16, 7u16, u32::MAX), (2, 7, 12_345), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)];
    let entries = entries.iter().flat_map(|(tag, perm, id)| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    2u32.to_le_bytes().into_iter().chain(entries).collect()
}

#[test]
fn access_is_not_inherited_from_the_directory_above() {
    let folder = temporary();
    let flags = rustix::fs::XattrFlags::empty();
    let acl = "system.posix_acl_default";
    if let Err(e) = rustix::fs::lsetxattr(folder.path(), acl, &default_acl(), flags) {
        eprintln!("SKIPPED: this file system has no access lists: {e}");
        return;
    }
    let tar = Builder::new().file("d/f", "").dir("e").file("f", "").tar().unwrap();
    let has = |path: &Path, acl: &str| rustix::fs::lgetxattr(path, acl, &mut [0; 256][..]).is_ok();
    fs::create_dir(folder.path().join("there")).unwrap();
    assert!(has(&folder.path().join("there"), acl));
    for name in ["new", "there"] {
        let dir = folder.path().join(name);
        extract(tar.as_slice(), &dir, &options(false)).unwrap();
        assert_eq!(has(&dir, acl), name == "there", "a directory that is given keeps its own");
        for inside in ["d", "d/f", "e", "f"] {
            for acl in [acl, "system.posix_acl_access"] {
                assert!(!has(&dir.join(inside), acl), "{name}/{inside}: {acl}");
            }
        }
        assert_eq!(fs::metadata(dir.join("d/f")).unwrap().mode() & 0o7777, 0o644);
    }
}

fn losses(report: &Report) -> Vec<(Lost, Vec<String>)> {
    let names = |loss: Loss| {
        assert_eq!(loss.count, loss.names.len() as u64);
        (loss.what, loss.names.iter().map(ToString::to_string).collect())
    };
    report.losses().into_iter().map(names).collect()
}

#[test]
fn devices_keep_their_number_or_are_lost() {
    let tar = Builder::new()
        .special("block", Kind::BlockDevice(4097, 3))
        .special("char", Kind::CharDevice(1, (1 << 20) + 3))
        .hard_link("link", "char")
        .special("largest", Kind::CharDevice(4095, (1 << 20) - 1))
        .tar()
        .unwrap();
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &Options::new(Owners::usual())).unwrap();
    let told = losses(&report);
    let expected = (Lost::DeviceNumber, vec![r#""block""#.into(), r#""char""#.into(), r#""link""#.into()]);
    assert_eq!(told.last(), Some(&expected));
    let made: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), usize::from(told.len() == 1));
    assert_eq!(report.entries, made.len() as u64);
    for path in made {
        assert_eq!(path, dir.join("largest"));
        assert_eq!(fs::metadata(path).unwrap().rdev(), rustix::fs::makedev(4095, (1 << 20) - 1));
    }
}

#[test]
fn hard_links_to_what_is_lost_are_lost_with_it() {
    let tar = [
        odd(b"d/odd", Kind::File, b""),
        odd(b"link", Kind::HardLink, b"./d/odd"),
        odd(b"more", Kind::HardLink, b"link"),
        odd(b"there", Kind::File, b""),
        odd(b"again", Kind::HardLink, b"there"),
        END.to_vec(),
    ];
    let mut tar = tar.concat();
    retype(&mut tar[..512], b'V');
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &options(false)).unwrap();
    let lost = losses(&report).pop().unwrap();
    assert_eq!(lost, (Lost::Kind, vec![r#""d/odd""#.into(), r#""link""#.into(), r#""more""#.into()]));
    assert_eq!(tree(&dir).into_keys().collect::<Vec<_>>(), [&b""[..], b"again", b"there"]);
}

/// Gives a header block another type flag, and the sum that belongs to it.
fn retype(block: &mut [u8], flag: u8) {
    block[156] = flag;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Ownership needs rights that not everybody who runs tests has.
#[test]
fn as_root_everything_is_restored() {
    if Owners::usual() != Owners::Archive {
        eprintln!("SKIPPED: owners, devices and attributes: this is not root");
        return;
    }
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut meta = Meta::FILE.mode(0o6755).owner(12_345, 54_321);
    meta.xattrs = vec![
        (b"security.capability".to_vec(), capability.clone()),
        (b"trusted.b".to_vec(), b"2".to_vec()),
        (b"user.a".to_vec(), b"1".to_vec()),
    ];
    let tar = Builder::new()
        .file_with("program", "x", meta)
        .special("null", Kind::CharDevice(1, 3))
        .special("disk", Kind::BlockDevice(300, 70_000))
        .with(|tar| {
            tar.symlink(
                "link",
                "x",
                &Meta { xattrs: vec![(b"trusted.c".to_vec(), b"3".to_vec())], ..Meta::LINK.owner(1, 2) },
            )
        })
        .with(|tar| tar.dir("d", &Meta::DIR.mode(0o3770).owner(3, 4)))
        .file("d/f", "x")
        .tar()
        .unwrap();
    let folder = temporary();
    let dir = folder.path().join("out");
    let report = extract(tar.as_slice(), &dir, &Options::new(Owners::Archive)).unwrap();
    let devices = report.losses().iter().any(|loss| loss.what == Lost::Device);
    let get = |name: &str| fs::symlink_metadata(dir.join(name)).unwrap();
    let (program, link, d) = (get("program"), get("link"), get("d"));
    assert_eq!((program.mode() & 0o7777, program.uid(), program.gid()), (0o6755, 12_345, 54_321));
    assert_eq!((link.uid(), link.gid(), d.uid(), d.gid(), d.mode() & 0o7777), (1, 2, 3, 4, 0o3770));
    assert_eq!((get("d/f").uid(), get("d/f").gid()), (0, 0));
    if !devices {
        assert_eq!(get("null").rdev(), 0x103);
        assert_eq!(get("disk").rdev(), rustix::fs::makedev(300, 70_000));
    }
    let attribute = |name: &str, key: &str| {
        let mut value = [0; 64];
        let n = rustix::fs::lgetxattr(dir.join(name), key, &mut value[..]).unwrap();
        value[..n].to_vec()
    };
    assert_eq!(attribute("program", "security.capability"), capability);
    assert_eq!(attribute("program", "trusted.b"), b"2");
    assert_eq!(attribute("link", "trusted.c"), b"3");
}

#[test]
fn owners_that_no_system_has_are_refused() {
    let tar = Builder::new().file_with("f", "", Meta::FILE.owner(u64::from(u32::MAX), 0)).tar().unwrap();
    let error = try_extract(&tar, &Options::new(Owners::Archive)).unwrap_err();
    assert!(error.starts_with(r#"cannot set the owner of "f""#), "{error}");
    try_extract(&tar, &options(false)).unwrap();
}

const PARTS: [&str; 8] = ["a", "b", "c", "..", ".", "", "outside", "victim"];

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&PARTS[..]), 1..5).prop_map(|parts| parts.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    let fixed = ["/", "..", "../outside", "../victim", "/etc", "/proc/self/cwd", "/proc/self/root", "a", "."];
    prop_oneof![any_path(), proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned)]
}

fn any_hostile() -> impl Strategy<Value = Vec<u8>> {
    let kind = proptest::sample::select(vec![
        Kind::File,
        Kind::Dir,
        Kind::Symlink,
        Kind::Symlink,
        Kind::HardLink,
        Kind::Fifo,
    ]);
    (any_path(), kind, any_target()).prop_map(|(path, kind, target)| {
        let target = if matches!(kind, Kind::Symlink | Kind::HardLink) { target } else { String::new() };
        odd(path.as_bytes(), kind, target.as_bytes())
    })
}

/// A name and what is there, in an order in which parents come first.
fn any_model() -> impl Strategy<Value = BTreeMap<String, (u8, u32, i64, u32)>> {
    let name = proptest::collection::vec(proptest::sample::select(vec!["a", "b", "é", "x y"]), 1..4);
    let what = (0u8..4, 0u32..0o1000, any::<i32>(), 0u32..1_000_000_000);
    let node = (name, what)
        .prop_map(|(name, (kind, mode, time, nanos))| (name.join("/"), (kind, mode, i64::from(time), nanos)));
    proptest::collection::vec(node, 0..12).prop_map(|nodes| {
        let mut model: BTreeMap<String, _> = BTreeMap::new();
        for (name, what) in nodes {
            let is_free =
                |path: &str| model.get(path).is_none_or(|(kind, ..): &(u8, u32, i64, u32)| *kind == 0);
            let parents = name.match_indices('/').map(|(at, _)| &name[..at]);
            if parents.into_iter().all(is_free)
                && !model.keys().any(|other: &String| other.starts_with(&format!("{name}/")))
            {
                model.insert(name, what);
            }
        }
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_archive_says_nothing_outside_changes(
        entries in proptest::collection::vec(any_hostile(), 1..8),
        walk in any::<bool>(),
    ) {
        let tar = [entries.concat(), END.to_vec()].concat();
        // It looks around itself.
        let _ = try_extract(&tar, &options(walk));
    }

    #[test]
    fn trees_come_back_as_they_were_written(model in any_model(), walk in any::<bool>()) {
        let mut builder = Builder::new();
        for (name, (kind, mode, time, nanos)) in &model {
            let mut meta = Meta::FILE.mode(*mode).mtime(*time);
            let sign = if *time < 0 { "-" } else { "" };
            let (whole, fraction) = match (*time < 0, *nanos) {
                (true, nanos) if nanos > 0 => ((time + 1).unsigned_abs(), 1_000_000_000 - nanos),
                (_, nanos) => (time.unsigned_abs(), nanos),
            };
            meta.records = vec![(b"mtime".to_vec(), format!("{sign}{whole}.{fraction:09}").into_bytes())];
            meta.mtime = 0;
            builder = builder.with(|tar| match kind {
                0 => tar.dir(name, &meta),
                1 => tar.bytes(name, &meta, name.as_bytes()),
                2 => tar.symlink(name, format!("/{name}"), &meta),
                _ => tar.special(name, Kind::Fifo, &meta),
            });
        }
        let found = try_extract(&builder.tar().unwrap(), &options(walk)).unwrap();
        for (name, (kind, mode, time, nanos)) in &model {
            let time = format!("({time}, {nanos})");
            let expected = match kind {
                0 => format!("dir {mode:o} {time}"),
                1 => format!("file {mode:o} {time} 1 {name:?}"),
                2 => format!("-> \"/{name}\" {time}"),
                _ => format!("special {mode:o} {time}"),
            };
            prop_assert_eq!(&found[name.as_bytes()], &expected);
        }
        let implied = found.keys().filter(|name| !model.contains_key(&String::from_utf8_lossy(name).into_owned()));
        for name in implied {
            prop_assert_eq!(&found[name], "dir 755 (0, 0)", "{}", OsStr::from_bytes(name).display());
        }
    }
}
