use std::{fs, path::PathBuf, process::Command};

use palan_core::Digest;
use proptest::prelude::*;

use super::{Elf, ElfKind, Probe};
use crate::{
    Builder, Limits, Listing,
    listing::{Facts, Interest},
};

/// The facts of content that comes in pieces of `size` bytes.
fn probed(content: &[u8], size: usize) -> Option<Facts> {
    let mut probe = Probe::new(&crate::Scratch::DEFAULT);
    content.chunks(size).for_each(|piece| probe.update(piece).unwrap());
    probe.finish().unwrap()
}

/// Programs and libraries of this machine: whatever is there of these, and this test itself.
fn real_files() -> Vec<PathBuf> {
    let known = [
        "/bin/true",
        "/bin/tar",
        "/usr/bin/perl",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/aarch64-linux-gnu/libc.so.6",
        "/lib/ld-musl-x86_64.so.1",
    ];
    let mut files: Vec<_> = known.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    files.push(std::env::current_exe().unwrap());
    files
}

/// A command's output, or `None` with a line that says so where it is not installed or cannot do it.
fn output(command: &mut Command) -> Option<String> {
    match command.env("LC_ALL", "C").output() {
        Ok(out) if out.status.success() => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        _ => {
            eprintln!("skipped: {command:?} does not work here");
            None
        }
    }
}

/// What is between the brackets of lines that contain `label`.
fn bracketed(text: &str, label: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains(label));
    lines.map(|line| line[line.find('[').unwrap() + 1..line.rfind(']').unwrap()].to_owned()).collect()
}

/// The words that follow `Name: ` in lines of the section `title` of `readelf --version-info`.
fn names(text: &str, title: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("Version ") {
            inside = line.starts_with(title);
        } else if inside && !line.contains("Flags: BASE") {
            let name = line.split_once("Name: ").map(|(_, rest)| rest.split_whitespace().next().unwrap());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

fn strings(all: &[Box<str>]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn real_files_are_read_as_readelf_reads_them() {
    let mut compared = 0;
    for path in real_files() {
        let elf = Elf::parse(&fs::read(&path).unwrap()).unwrap_or_else(|| panic!("{}", path.display()));
        let Some(dynamic) = output(Command::new("readelf").arg("-dlW").arg(&path)) else { continue };
        let Some(versions) = output(Command::new("readelf").arg("-VW").arg(&path)) else { continue };
        let name = path.display();
        assert_eq!(strings(&elf.needed), bracketed(&dynamic, "(NEEDED)"), "{name}");
        assert_eq!(strings(elf.soname.as_slice()), bracketed(&dynamic, "(SONAME)"), "{name}");
        let interpreter = dynamic.lines().find_map(|l| l.split_once("program interpreter: "));
        let interpreter = interpreter.map(|(_, path)| path.trim_end_matches(']'));
        assert_eq!(elf.interpreter.as_deref(), interpreter, "{name}");
        let needed: Vec<_> = elf.versions_needed.iter().map(|(_, version, _)| version.to_string()).collect();
        assert_eq!(needed, names(&versions, "Version needs"), "{name}");
        assert_eq!(strings(&elf.versions_provided), names(&versions, "Version definition"), "{name}");
        compared += 1;
    }
    eprintln!("{compared} of {} files compared with readelf", real_files().len());
}

#[test]
fn this_test_is_a_rust_program_of_this_machine() {
    let path = std::env::current_exe().unwrap();
    let content = fs::read(path).unwrap();
    let elf = Elf::parse(&content).unwrap();
    assert_eq!(u32::from(elf.bits), usize::BITS);
    assert_eq!(elf.little_endian, cfg!(target_endian = "little"));
    assert!(elf.language.as_deref().is_some_and(|l| l.starts_with("Rust")), "{:?}", elf.language);
    // Far larger than what is kept in memory: the temporary file says the same, in pieces of any size.
    assert!(content.len() > 8 << 20, "{}", content.len());
    for size in [4096, 100_003, 128 << 10] {
        assert_eq!(probed(&content, size), Some(Facts::Elf(Box::new(elf.clone()))), "{size}");
    }
}

#[test]
fn compiled_files_are_what_the_compiler_was_told_to_make() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.c"), "int getpid(void);\nint main(void) { return getpid() == 0; }\n")
        .unwrap();
    let cases: [(&[&str], ElfKind); 7] = [
        (&["-fPIE", "-pie"], ElfKind::Program),
        (&["-no-pie"], ElfKind::Program),
        (&["-static"], ElfKind::Static),
        (&["-static-pie", "-fPIE"], ElfKind::Static),
        (&["-shared", "-fPIC", "-Wl,-soname,libx.so.1"], ElfKind::Library),
        (&["-shared", "-fPIC"], ElfKind::Library),
        (&["-c"], ElfKind::Other),
    ];
    let mut made = 0;
    for (flags, kind) in cases {
        for stripped in [false, true] {
            let file = folder.path().join("out");
            let mut cc = Command::new("cc");
            cc.current_dir(folder.path()).args(flags).args([
                "-Wl,-rpath,/opt/a:$ORIGIN/b",
                "x.c",
                "-o",
                "out",
            ]);
            let extra: &[&str] = if stripped && kind != ElfKind::Other { &["-s"] } else { &[] };
            let Some(_) = output(cc.args(extra)) else { continue };
            let mut content = fs::read(&file).unwrap();
            if stripped && kind != ElfKind::Other {
                // e_shoff, e_shnum and e_shstrndx: nobody may need section headers.
                content[40..48].fill(0);
                content[60..64].fill(0);
            }
            let elf = Elf::parse(&content).unwrap_or_else(|| panic!("{flags:?}"));
            assert_eq!(elf.kind, kind, "{flags:?}");
            if matches!(kind, ElfKind::Program | ElfKind::Library) {
                let paths = [elf.rpath, elf.runpath].concat();
                assert_eq!(strings(&paths), ["/opt/a", "$ORIGIN/b"], "{flags:?}");
                assert!(elf.needed.iter().any(|n| n.starts_with("libc.")), "{flags:?}");
            }
            assert_eq!(elf.soname.is_some(), flags.len() == 3, "{flags:?}");
            made += 1;
        }
    }
    eprintln!("{made} of {} files made", 2 * cases.len());
}

/// Writes numbers in one format.
#[derive(Clone, Copy)]
struct Made {
    wide: bool,
    little: bool,
}

impl Made {
    fn number(self, value: u64, size: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..size].to_vec();
        if !self.little {
            bytes.reverse();
        }
        bytes
    }

    /// Fields of 2 or 4 bytes; 0 stands for the width of an address.
    fn fields(self, all: &[(u64, usize)]) -> Vec<u8> {
        let word = if self.wide { 8 } else { 4 };
        all.iter()
            .flat_map(|(value, size)| self.number(*value, if *size == 0 { word } else { *size }))
            .collect()
    }

    fn segment(self, kind: u64, offset: u64, size: u64) -> Vec<u8> {
        let address = offset + 0x10000;
        if self.wide {
            self.fields(&[
                (kind, 4),
                (4, 4),
                (offset, 0),
                (address, 0),
                (address, 0),
                (size, 0),
                (size, 0),
                (1, 0),
            ])
        } else {
            self.fields(&[
                (kind, 4),
                (offset, 0),
                (address, 0),
                (address, 0),
                (size, 0),
                (size, 0),
                (4, 4),
                (1, 0),
            ])
        }
    }

    /// A position-independent program that needs `libz.so.1` with the versions `Z_1` and (weakly) `Z_2`, and
    /// provides `ME_1`.
    fn program(self) -> Vec<u8> {
        let (header, segment) = if self.wide { (64, 56) } else { (52, 32) };
        let strings = b"\0libz.so.1\0Z_1\0Z_2\0ME_1\0me.so\0/a:/b\0";
        let at = |name: &str| strings.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() as u64;
        let interpreter = header + 3 * segment;
        let table = interpreter + 16;
        let need = table + strings.len() as u64;
        let need_bytes = [
            self.fields(&[(1, 2), (2, 2), (at("libz"), 4), (16, 4), (0, 4)]),
            self.fields(&[(0, 4), (0, 2), (2, 2), (at("Z_1"), 4), (16, 4)]),
            self.fields(&[(0, 4), (2, 2), (3, 2), (at("Z_2"), 4), (0, 4)]),
        ]
        .concat();
        let def = need + need_bytes.len() as u64;
        let def_bytes = [
            self.fields(&[(1, 2), (1, 2), (1, 2), (1, 2), (0, 4), (20, 4), (28, 4)]),
            self.fields(&[(at("me.so"), 4), (0, 4)]),
            self.fields(&[(1, 2), (0, 2), (2, 2), (1, 2), (0, 4), (20, 4), (0, 4)]),
            self.fields(&[(at("ME_1"), 4), (0, 4)]),
        ]
        .concat();
        let dynamic = def + def_bytes.len() as u64;
        let tags = [
            (1, at("libz")),
            (14, at("me.so")),
            (29, at("/a:/b")),
            (5, table + 0x10000),
            (10, strings.len() as u64),
            (0x6fff_fffe, need + 0x10000),
            (0x6fff_fffc, def + 0x10000),
            (0x6fff_fffb, 0x0800_0000),
            (0, 0),
            (1, 0xffff),
        ];
        let dynamic_bytes: Vec<u8> =
            tags.iter().flat_map(|(tag, v)| self.fields(&[(*tag, 0), (*v, 0)])).collect();
        let size = dynamic + dynamic_bytes.len() as u64;
        let mut file = b"\x7fELF".to_vec();
        file.extend([if self.wide { 2 } else { 1 }, if self.little { 1 } else { 2 }, 1]);
        file.resize(16, 0);
        file.extend(self.fields(&[(3, 2), (8, 2), (1, 4), (0, 0), (header, 0), (0, 0), (0, 4)]));
        file.extend(self.fields(&[(header, 2), (segment, 2), (3, 2), (0, 2), (0, 2), (0, 2)]));
        file.extend(self.segment(1, 0, size));
        file.extend(self.segment(2, dynamic, dynamic_bytes.len() as u64));
        file.extend(self.segment(3, interpreter, 16));
        file.extend(b"/lib/ld.so.1\0\0\0\0");
        file.extend(strings);
        file.extend([need_bytes, def_bytes, dynamic_bytes].concat());
        file
    }
}

const FORMATS: [Made; 4] = [
    Made { wide: false, little: false },
    Made { wide: false, little: true },
    Made { wide: true, little: false },
    Made { wide: true, little: true },
];

#[test]
fn all_widths_and_byte_orders_are_read() {
    for made in FORMATS {
        let expected = Elf {
            bits: if made.wide { 64 } else { 32 },
            little_endian: made.little,
            machine: 8,
            kind: ElfKind::Program,
            interpreter: Some("/lib/ld.so.1".into()),
            soname: Some("me.so".into()),
            needed: vec!["libz.so.1".into()],
            rpath: vec![],
            runpath: vec!["/a".into(), "/b".into()],
            versions_needed: vec![
                ("libz.so.1".into(), "Z_1".into(), false),
                ("libz.so.1".into(), "Z_2".into(), true),
            ],
            versions_provided: vec!["ME_1".into()],
            language: None,
        };
        assert_eq!(Elf::parse(&made.program()), Some(expected));
    }
}

#[test]
fn endless_lists_of_versions_are_malformed() {
    let made = Made { wide: true, little: true };
    for (count, is_read) in [(1000u16, true), (u16::MAX, false)] {
        let mut file = made.program();
        let need = made.fields(&[(1, 2), (2, 2)]);
        let need = file.windows(4).position(|w| w == need).unwrap();
        let distance = u32::try_from(file.len() - need).unwrap();
        file[need + 2..need + 4].copy_from_slice(&count.to_le_bytes());
        file[need + 8..need + 12].copy_from_slice(&distance.to_le_bytes());
        let record = made.fields(&[(0, 4), (0, 2), (2, 2), (0, 4), (16, 4)]);
        (0..=count).for_each(|_| file.extend_from_slice(&record));
        let read = Elf::parse(&file).map(|elf| elf.versions_needed.len());
        assert_eq!(read, is_read.then_some(count.into()));
    }
}

#[test]
fn languages_are_recognised_in_pieces_of_any_size() {
    // In pieces, lest this program itself be taken for one of Go's.
    let header = |rest: [u8; 18]| [b"\xff Go ".as_slice(), b"buildinf:", &rest].concat();
    let go = |flags: u8, text: &[u8]| {
        let mut rest = [0; 18];
        rest[..2].copy_from_slice(&[8, flags]);
        let mut mark = header(rest);
        mark.push(u8::try_from(text.len()).unwrap());
        [&mark, text].concat()
    };
    let commit = b"/rustc/0123456789abcdef0123456789abcdef01234567/library";
    let cases: [(&[u8], usize, Option<&str>); 11] = [
        (&go(2, b"go1.22.1"), 0, Some("Go 1.22.1")),
        (&go(2, b"go1.26-devel_0123"), 0, Some("Go 1.26-devel_0123")),
        (&go(0, b"go1.22.1"), 0, Some("Go")),
        (&go(2, b"go1.22.1"), 1, None),
        (
            &header(*b"\x08\x00\x20\x30\x4a\x00\x00\x00\x00\x00\x30\x30\x4a\x00\x00\x00\x00\x00"),
            0,
            Some("Go"),
        ),
        (
            &header(*b"\x08\x01\x00\x00\x00\x00\x00\x4a\x30\x20\x00\x00\x00\x00\x00\x4a\x30\x30"),
            0,
            Some("Go"),
        ),
        (&header(*b"\x08\x00libz.so.1\x00Z_1\x00Z_"), 0, None),
        (commit, 3, Some("Rust")),
        (b"/rustc/nothing", 3, None),
        (b"\0rustc version 1.75.0 (82e1608df 2023-12-21)\0", 5, Some("Rust 1.75.0")),
        (b"rustc version ", 5, None),
    ];
    let program = Made { wide: true, little: true }.program();
    for (mark, shift, language) in cases {
        let aligned = program.len().next_multiple_of(16) + 4096 + shift;
        let mut file = program.clone();
        file.resize(aligned, 0);
        file.extend_from_slice(mark);
        file.extend([0; 70]);
        for size in [1, 3, 16, 100, 128, 129, 1000, 1 << 20] {
            let Some(Facts::Elf(elf)) = probed(&file, size) else { panic!("{language:?}") };
            assert_eq!(elf.language.as_deref(), language, "{size}");
        }
    }
}

#[test]
fn scripts_name_their_interpreter() {
    let long = [b"#!/".as_slice(), &[b'x'; 1000]].concat();
    type Line<'a> = Option<(&'a [u8], Option<&'a [u8]>)>;
    let cases: [(&[u8], Line<'_>); 8] = [
        (b"#!/bin/sh\nexit 0\n", Some((b"/bin/sh", None))),
        (b"#!/bin/sh", Some((b"/bin/sh", None))),
        (b"#! /usr/bin/env  python3 -u \r\nimport x", Some((b"/usr/bin/env", Some(b"python3 -u")))),
        (b"#!/usr/bin/perl -w\n", Some((b"/usr/bin/perl", Some(b"-w")))),
        (b"#!\n", None),
        (b"#", None),
        (b"# !/bin/sh\n", None),
        (&long, Some((&long[2..256], None))),
    ];
    for (content, expected) in cases {
        let expected = expected.map(|(interpreter, argument)| Facts::Script {
            interpreter: interpreter.into(),
            argument: argument.map(Into::into),
        });
        for size in [1, 2, 5, 4096] {
            assert_eq!(probed(content, size), expected, "{}", content.escape_ascii());
        }
    }
}

#[test]
fn a_large_static_program_is_not_kept() {
    let mut file = Made { wide: true, little: true }.program();
    // The dynamic segment and the interpreter become notes.
    file[64 + 56] = 4;
    file[64 + 2 * 56] = 4;
    file.resize(20 << 20, 0);
    let Some(Facts::Elf(elf)) = probed(&file, 64 << 10) else { panic!("no facts") };
    assert_eq!((elf.kind, elf.needed.len()), (ElfKind::Library, 0));
    file[16] = 2;
    let Some(Facts::Elf(elf)) = probed(&file, 64 << 10) else { panic!("no facts") };
    assert_eq!(elf.kind, ElfKind::Static);
}

#[test]
fn a_listing_learns_of_programs_and_keeps_what_it_is_told_to() {
    let program = Made { wide: false, little: false }.program();
    let tar = Builder::new()
        .program("bin/x", &program)
        .program("bin/y", &program)
        .program("bin/s", "#!/bin/sh\n")
        .file("etc/os-release", "ID=x\n")
        .file("bin/damaged", &program[..100])
        .tar()
        .unwrap();
    let listing =
        Listing::read(&*tar, &Interest::everything(|path| path == b"etc/os-release"), &Limits::default())
            .unwrap();
    let facts = |content: &[u8]| listing.facts.get(&Digest::sha256(content));
    assert!(matches!(facts(&program), Some(Facts::Elf(elf)) if elf.bits == 32));
    assert!(matches!(facts(b"#!/bin/sh\n"), Some(Facts::Script { .. })));
    assert_eq!(facts(b"ID=x\n"), Some(&Facts::Content(b"ID=x\n".as_slice().into())));
    assert_eq!(listing.facts.len(), 3);
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        format in 0..4usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let mut file = FORMATS[format].program();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if truncate {
            file.truncate(cut.index(file.len()));
        }
        let whole = Elf::parse(&file).map(|elf| Facts::Elf(Box::new(elf)));
        prop_assert_eq!(probed(&file, 64), whole);
    }

    #[test]
    fn damaged_real_files_never_panic(
        flips in proptest::collection::vec((0..8192usize, any::<u8>()), 1..16),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let Some(path) = real_files().into_iter().find(|path| path.ends_with("true")) else {
            eprintln!("skipped: there is no /bin/true");
            return Ok(());
        };
        let mut file = fs::read(path).unwrap();
        for (at, byte) in flips {
            let at = at % file.len();
            file[at] = byte;
        }
        if truncate {
            file.truncate(cut.index(file.len()));
        }
        if let Some(elf) = Elf::parse(&file) {
            prop_assert!(elf.versions_needed.len() < 1 << 16);
        }
    }
}
