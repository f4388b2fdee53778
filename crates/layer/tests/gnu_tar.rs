//! The same archives, read and written by GNU tar.

#![allow(clippy::unwrap_used, reason = "helpers of tests are outside test functions")]

mod skip;

use std::{
    fs,
    io::{Cursor, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use palan_core::Digest;
use palan_layer::{
    Limits,
    merge::{Index, Merge},
    scan,
    tar::{
        Archive, DirOptions, End, Kind, Meta, Mode, Mtime, Owner, Writer, hard_linked, pack_dir, pack_path,
        padding, renamed,
    },
    tree::{Content, NodeKind, Tree},
};

/// A directory that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("palan-layer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn gnu_tar_is_missing(test: &str) -> bool {
    let version = Command::new("tar").arg("--version").output();
    let found = version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains("GNU tar"));
    if !found {
        skip::skip(&format!("{test}: GNU tar is not installed"));
    }
    !found
}

fn tar(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "tar {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A file with holes: data at the start, in the middle and far out.
fn sparse_content() -> Vec<u8> {
    let mut content = vec![0; 900_000];
    content[..5000].fill(1);
    content[300_000..350_000].fill(2);
    content[800_000..800_010].fill(3);
    content
}

fn write_sparse(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    file.set_len(900_000).unwrap();
    let content = sparse_content();
    for (at, length) in [(0, 5000), (300_000, 50_000), (800_000, 10)] {
        file.write_all_at(&content[at..at + length], at as u64).unwrap();
    }
}

fn make_files(root: &Path) -> PathBuf {
    let deep = root.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f".repeat(200)), "deep").unwrap();
    fs::write(root.join("plain"), vec![7; 100_000]).unwrap();
    fs::set_permissions(root.join("plain"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::hard_link(root.join("plain"), root.join("zlink")).unwrap();
    symlink("t".repeat(150), root.join("symlink")).unwrap();
    write_sparse(&root.join("sparse"));
    deep
}

#[test]
fn archives_of_gnu_tar_are_read_in_every_format() {
    if gnu_tar_is_missing("archives_of_gnu_tar_are_read_in_every_format") {
        return;
    }
    let scratch = Scratch::new("read");
    let deep = make_files(&scratch.0);
    let formats = [
        vec!["--format=gnu"],
        vec!["--format=oldgnu"],
        vec!["--format=posix"],
        vec!["--format=gnu", "--sparse"],
        vec!["--format=posix", "--sparse", "--sparse-version=0.0"],
        vec!["--format=posix", "--sparse", "--sparse-version=0.1"],
        vec!["--format=posix", "--sparse", "--sparse-version=1.0"],
    ];
    for format in formats {
        let mut args = format.clone();
        args.extend(["-cf", "-", "."]);
        let archive = tar(&scratch.0, &args);
        let mut tree = Tree::new();
        let applied = tree.apply(0, &*archive, Content::Digest, &Limits::default());
        let applied = applied.unwrap_or_else(|e| panic!("{format:?}: {e}"));
        assert_eq!(applied.entries, 9, "{format:?}");
        let digest = |path: &[u8]| tree.get(path).unwrap_or_else(|| panic!("{format:?}")).digest().unwrap();
        use std::os::unix::ffi::OsStrExt as _;
        let long = deep.join("f".repeat(200));
        let long = long.strip_prefix(&scratch.0).unwrap().as_os_str().as_bytes();
        assert_eq!(digest(long), Digest::sha256(b"deep"), "{format:?}");
        assert_eq!(digest(b"sparse"), Digest::sha256(&sparse_content()), "{format:?}");
        assert_eq!(digest(b"plain"), Digest::sha256(&vec![7; 100_000]), "{format:?}");
        assert!(tree.get("zlink").unwrap().is_same_file(tree.get("plain").unwrap()), "{format:?}");
        assert_eq!(tree.get("plain").unwrap().mode, 0o4750);
        assert_eq!(tree.get("plain").unwrap().mtime, fs::metadata(scratch.join("plain")).unwrap().mtime());
        assert_eq!(tree.get("symlink").unwrap().kind, NodeKind::Symlink("t".repeat(150).into_bytes().into()));
        let mut sparse = Archive::new(&*archive);
        let mut stored = None;
        while let Some(entry) = sparse.next_entry().unwrap() {
            stored = stored.or_else(|| entry.path().ends_with(b"/sparse").then_some(entry.stored));
        }
        let expect_holes = format.contains(&"--sparse");
        assert_eq!(stored.unwrap() < 900_000, expect_holes, "{format:?}");
        assert_eq!(scan(&*archive, &Limits::default()).unwrap().diff_id, Digest::sha256(&archive));
    }
}

#[test]
fn gnu_tar_extracts_what_the_writer_writes() {
    if gnu_tar_is_missing("gnu_tar_extracts_what_the_writer_writes") {
        return;
    }
    let scratch = Scratch::new("write");
    let (long, longer) = (format!("{}/{}", "p".repeat(120), "n".repeat(90)), "q".repeat(180));
    let mut writer = Writer::new(fs::File::create(scratch.join("a.tar")).unwrap());
    writer.dir("p".repeat(120), &Meta::DIR.mode(0o700).mtime(1_000_000_000)).unwrap();
    writer.bytes(&long, &Meta::FILE.mode(0o640).mtime(1_234_567_890), b"long").unwrap();
    writer.file(&longer, &Meta::FILE.mtime(-86_400), 300_000, std::io::repeat(9)).unwrap();
    writer.symlink("link", "t".repeat(150), &Meta::LINK).unwrap();
    writer.hard_link("hard", &longer, &Meta::FILE.mtime(-86_400)).unwrap();
    writer.bytes(b"latin-\xe9", &Meta::FILE, b"1").unwrap();
    writer.finish().unwrap().sync_all().unwrap();
    tar(&scratch.0, &["-xf", "a.tar"]);
    let metadata = |path: &str| fs::metadata(scratch.join(path)).unwrap();
    assert_eq!(fs::read(scratch.join(&long)).unwrap(), b"long");
    assert_eq!((metadata(&long).mode() & 0o777, metadata(&long).mtime()), (0o640, 1_234_567_890));
    assert_eq!((metadata(&longer).len(), metadata(&longer).mtime()), (300_000, -86_400));
    assert_eq!(metadata("hard").ino(), metadata(&longer).ino());
    assert_eq!(fs::read_link(scratch.join("link")).unwrap().as_os_str().len(), 150);
    let quoted = String::from_utf8(tar(&scratch.0, &["--quoting-style=c", "-tf", "a.tar"])).unwrap();
    assert!(quoted.contains("\"latin-\\351\""), "{quoted}");
}

#[test]
fn packed_directories_come_back_and_are_reproducible() {
    let scratch = Scratch::new("dir");
    make_files(&scratch.0);
    let pack = |options: &DirOptions| {
        let mut writer = Writer::new(Vec::new());
        pack_dir(&scratch.0, options, &mut writer).unwrap();
        writer.finish().unwrap()
    };
    let first = pack(&DirOptions::default());
    // Whatever happens to times must not be seen.
    fs::write(scratch.join("empty"), "").unwrap();
    assert_eq!(Digest::sha256(&first), Digest::sha256(&pack(&DirOptions::default())));
    let (mtime, owner) = (Mtime::Clamp(5), Owner::Keep);
    let prefix = DirOptions { prefix: b"app".to_vec(), mtime, owner, ..DirOptions::default() };
    let mut tree = Tree::new();
    tree.apply(0, &*pack(&prefix), Content::Digest, &Limits::default()).unwrap();
    assert_eq!(tree.get("app/sparse").unwrap().digest(), Some(Digest::sha256(&sparse_content())));
    assert!(tree.get("app/zlink").unwrap().is_same_file(tree.get("app/plain").unwrap()));
    let plain = tree.get("app/plain").unwrap();
    let uid = u64::from(fs::metadata(scratch.join("plain")).unwrap().uid());
    assert_eq!((plain.mode, plain.mtime, plain.uid), (0o4750, 5, uid));
    let mut seen = Vec::new();
    let mut archive = Archive::new(&*first);
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!((entry.uid, entry.mtime), (0, 0));
        seen.push((entry.path().to_vec(), entry.kind));
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0), "{seen:?}");
    assert_eq!(seen.last().unwrap(), &(b"zlink".to_vec(), Kind::HardLink));
}

#[test]
fn one_file_is_packed_under_the_name_asked_for_and_modes_are_normalised_on_request() {
    let scratch = Scratch::new("file");
    make_files(&scratch.0);
    fs::set_permissions(scratch.join("plain"), fs::Permissions::from_mode(0o4710)).unwrap();
    for (mode, expected) in [(Mode::Keep, 0o4710), (Mode::Normal, 0o755)] {
        let mut writer = Writer::new(Vec::new());
        let options = DirOptions { prefix: b"usr/bin/tool".to_vec(), mode, ..DirOptions::default() };
        pack_path(&scratch.join("plain"), &options, &mut writer).unwrap();
        let tar = writer.finish().unwrap();
        let mut archive = Archive::new(&*tar);
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!((entry.path(), entry.mode), (&b"usr/bin/tool"[..], expected));
        assert!(archive.next_entry().unwrap().is_none());
    }
}

/// What umoci 0.4 writes: the last member's content without padding, and no end marker. GNU tar wants the padding, Go's
/// reader, which decides, does not.
#[test]
fn a_last_member_without_padding_is_read_where_no_end_is_demanded() {
    let scratch = Scratch::new("unpadded");
    let mut writer = Writer::new(Vec::new());
    writer.bytes("first", &Meta::FILE, b"1").unwrap();
    writer.bytes("last", &Meta::FILE, &[b'x'; 700]).unwrap();
    let whole = writer.finish().unwrap();
    let end = whole.len() - 1024;
    let padding = 1024 - 700;
    for cut in [end - padding, end - padding + 1, end - 1, end] {
        let mut archive = Archive::new(&whole[..cut]);
        let mut content = Vec::new();
        while let Some(mut entry) = archive.next_entry().unwrap() {
            content.clear();
            entry.read_to_end(&mut content).unwrap();
        }
        assert_eq!(content, [b'x'; 700], "cut at {cut}");
        let ending = Archive::new(&whole[..cut]).finish().unwrap();
        assert_eq!((ending.end, ending.trailing), (End::Missing, 0), "cut at {cut}");
        let strict = Limits::default().with_end_marker_required(true);
        Archive::with_limits(&whole[..cut], &strict).finish().unwrap_err();
    }
    fs::write(scratch.join("x.tar"), &whole[..end]).unwrap();
    assert_eq!(tar(&scratch.0, &["-tf", "x.tar"]), b"first\nlast\n");
    // Content that is missing is missing.
    Archive::new(&whole[..end - padding - 1]).finish().unwrap_err();
}

const FORMATS: [&[&str]; 7] = [
    &["--format=v7"],
    &["--format=ustar"],
    &["--format=gnu", "--sparse"],
    &["--format=oldgnu", "--sparse"],
    &["--format=posix", "--sparse", "--sparse-version=0.0"],
    &["--format=posix", "--sparse", "--sparse-version=0.1"],
    &["--format=posix", "--sparse", "--sparse-version=1.0"],
];

/// What an entry says, apart from its names and kind.
fn facts(tar: &[u8]) -> (Vec<u8>, Vec<u8>, Kind, Vec<u8>, String) {
    let mut archive = Archive::new(tar);
    let mut entry = archive.next_entry().unwrap().unwrap();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let header = entry.header();
    let meta =
        format!("{:o} {} {} {} {:?}", header.mode, header.uid, header.gid, header.mtime, header.xattrs);
    (header.path().to_vec(), header.link().to_vec(), header.kind, content, meta)
}

#[test]
fn entries_of_every_format_take_other_names() {
    if gnu_tar_is_missing("entries_of_every_format_take_other_names") {
        return;
    }
    let scratch = Scratch::new("rename");
    fs::write(scratch.join("plain"), vec![7; 1000]).unwrap();
    fs::write(scratch.join(&"n".repeat(97)), "2").unwrap();
    write_sparse(&scratch.join("sparse"));
    symlink("target", scratch.join("symlink")).unwrap();
    let deep = scratch.join(&"d".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let names = [
        "x".to_owned(),
        "a/b".to_owned(),
        "p".repeat(101),
        format!("{}/{}", "q".repeat(150), "r".repeat(150)),
    ];
    for format in FORMATS {
        if !format[0].ends_with("v7") {
            fs::write(deep.join("f".repeat(80)), "3").unwrap();
            symlink(
                "t".repeat(if format[0].ends_with("ustar") { 90 } else { 150 }),
                scratch.join("long-link"),
            )
            .unwrap();
        }
        let archive = tar(&scratch.0, &[format, &["--sort=name", "-cf", "-", "."]].concat());
        let mut entries = Archive::new(&*archive);
        let mut seen = 0;
        while let Some(entry) = entries.next_entry().unwrap() {
            if entry.kind == Kind::Dir {
                continue;
            }
            seen += 1;
            let start = usize::try_from(entry.content_offset()).unwrap();
            let content =
                &archive[start..start + usize::try_from(entry.stored.next_multiple_of(512)).unwrap()];
            let old = facts(&[entry.raw(), content].concat());
            for name in &names {
                let new = renamed(entry.raw(), name.as_bytes()).unwrap();
                let new = facts(&[&new, content].concat());
                assert_eq!(
                    new,
                    (name.clone().into_bytes(), old.1.clone(), old.2, old.3.clone(), old.4.clone()),
                    "{format:?}"
                );
                for target in &names {
                    let new = facts(&hard_linked(entry.raw(), name.as_bytes(), target.as_bytes()).unwrap());
                    let link = (name.clone().into_bytes(), target.clone().into_bytes());
                    assert_eq!(
                        new,
                        (link.0, link.1, Kind::HardLink, Vec::new(), old.4.clone()),
                        "{format:?}"
                    );
                }
            }
        }
        assert!(seen >= 4, "{format:?}");
        let _ = fs::remove_file(scratch.join("long-link"));
    }
}

/// The first name of every file is hidden by a layer above, so that all content moves to the second.
#[test]
fn gnu_tar_extracts_files_that_moved_to_another_name() {
    if gnu_tar_is_missing("gnu_tar_extracts_files_that_moved_to_another_name") {
        return;
    }
    for format in FORMATS {
        let scratch = Scratch::new("moved");
        let long = format!("{}/{}", "p".repeat(90), "q".repeat(90));
        let (names, long) = match format[0] {
            "--format=v7" | "--format=ustar" => (["a-plain", "a-sparse"], "z-long".to_owned()),
            _ => (["a-plain", "a-sparse"], long),
        };
        fs::create_dir_all(scratch.join("in").join(&long).parent().unwrap()).unwrap();
        fs::write(scratch.join("in/a-plain"), vec![7; 100_000]).unwrap();
        fs::set_permissions(scratch.join("in/a-plain"), fs::Permissions::from_mode(0o4750)).unwrap();
        write_sparse(&scratch.join("in/a-sparse"));
        fs::hard_link(scratch.join("in/a-plain"), scratch.join("in").join(&long)).unwrap();
        fs::hard_link(scratch.join("in/a-sparse"), scratch.join("in/b-sparse")).unwrap();
        fs::hard_link(scratch.join("in/a-sparse"), scratch.join("in/c-sparse")).unwrap();
        let lower = tar(&scratch.join("in"), &[format, &["--sort=name", "-cf", "-", "."]].concat());
        let mut upper = Writer::new(Vec::new());
        names.iter().for_each(|name| upper.whiteout(name).unwrap());
        let upper = upper.finish().unwrap();
        let mut merge = Merge::whole();
        for (number, layer) in [(0, &lower), (1, &upper)] {
            merge.push(number, &Index::read(layer.as_slice(), &Limits::default()).unwrap()).unwrap();
        }
        let mut out = Vec::new();
        merge.finish().unwrap().write(&mut [Cursor::new(&lower), Cursor::new(&upper)], &mut out).unwrap();
        fs::write(scratch.join("out.tar"), &out).unwrap();
        fs::create_dir(scratch.join("out")).unwrap();
        tar(&scratch.join("out"), &["-xpf", "../out.tar"]);
        let found = |name: &str| fs::metadata(scratch.join("out").join(name)).unwrap();
        let content = |name: &str| fs::read(scratch.join("out").join(name)).unwrap();
        assert!(!scratch.join("out/a-plain").exists(), "{format:?}");
        assert_eq!((content(&long), found(&long).mode() & 0o7777), (vec![7; 100_000], 0o4750), "{format:?}");
        assert_eq!(found(&long).mtime(), fs::metadata(scratch.join("in/a-plain")).unwrap().mtime());
        assert!(content("b-sparse") == sparse_content(), "{format:?}");
        assert_eq!(found("b-sparse").ino(), found("c-sparse").ino(), "{format:?}");
        if format.contains(&"--sparse") {
            assert!(out.len() < 400_000, "{format:?}: holes are not stored");
        }
    }
}

#[test]
fn headers_take_other_names_whatever_they_hold() {
    let mut writer = Writer::new(Vec::new());
    let xattrs = vec![(b"user.bin".to_vec(), vec![0, 255, 10, 61])];
    let meta = Meta { xattrs, ..Meta::FILE.mtime(-5).owner(1 << 40, 7) };
    writer.bytes("n".repeat(300), &meta, b"content").unwrap();
    let archive = writer.finish().unwrap();
    let mut entries = Archive::new(&*archive);
    let raw = entries.next_entry().unwrap().unwrap().raw().to_vec();
    let old = facts(&archive);
    let new = [&renamed(&raw, b"latin-\xe9").unwrap()[..], b"content", padding(7)].concat();
    assert_eq!(facts(&new), (b"latin-\xe9".to_vec(), Vec::new(), Kind::File, old.3, old.4.clone()));
    let linked = facts(&hard_linked(&raw, b"x", b"y").unwrap());
    assert_eq!(linked, (b"x".to_vec(), b"y".to_vec(), Kind::HardLink, Vec::new(), old.4));
    for damaged in [&raw[..700], &[], &raw[..512]] {
        assert!(renamed(damaged, b"x").is_err());
    }
    assert!(renamed(&raw, b"").is_err() && renamed(&raw, b"a\0").is_err());
}
