//! What layers of the world hold, and what only archives made to deceive hold.

use super::*;
use crate::merge::{Index, Merge};

/// Merges one layer: what is not touched is copied.
fn copied(tar: &[u8]) -> Vec<u8> {
    let mut merge = Merge::whole();
    merge.push(0, &Index::read(tar, &Limits::default()).unwrap()).unwrap();
    let mut out = Vec::new();
    merge.finish().unwrap().write(&mut [io::Cursor::new(tar)], &mut out).unwrap();
    out
}

fn one(tar: &[u8]) -> Seen {
    let mut seen = read(tar).unwrap();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

fn gnu(block: &mut [u8]) {
    block[257..265].copy_from_slice(b"ustar  \0");
    block[329..345].fill(0);
}

/// A number in GNU's binary form.
fn binary(field: &mut [u8], number: i64) {
    let (head, tail) = field.split_at_mut(field.len() - 8);
    head.fill(if number < 0 { 0xff } else { 0 });
    tail.copy_from_slice(&number.to_be_bytes());
    field[0] |= 0x80;
}

fn octal(field: &mut [u8], number: u64) {
    let width = field.len() - 1;
    field.copy_from_slice(format!("{number:0width$o}\0").as_bytes());
}

fn raw_records(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        let length = header::record_length(key, value).to_string();
        out.extend_from_slice(&[length.as_bytes(), b" ", key, b"=", value, b"\n"].concat());
    }
    pax(&out)
}

fn long(flag: u8, name: &[u8]) -> Vec<u8> {
    let size = name.len() as u64;
    [&block(b"././@LongLink", flag, size, gnu), name, padding(size)].concat()
}

/// GNU's old format: `map` of the file `name` of `size` bytes, four regions in the header and 21 in each block after it.
fn old_sparse(name: &[u8], map: &[(u64, u64)], size: u64, content: &[u8]) -> Vec<u8> {
    let regions = |fields: &mut [u8], map: &[(u64, u64)]| {
        for (field, (offset, length)) in fields.chunks_mut(24).zip(map) {
            octal(&mut field[..12], *offset);
            octal(&mut field[12..], *length);
        }
    };
    let stored = content.len() as u64;
    let mut out = block(name, b'S', stored, |b| {
        gnu(b);
        regions(&mut b[386..482], map);
        b[482] = u8::from(map.len() > 4);
        octal(&mut b[483..495], size);
    });
    let rest: Vec<_> = map.iter().skip(4).copied().collect();
    for (number, piece) in rest.chunks(21).enumerate() {
        let mut more = vec![0; 512];
        regions(&mut more[..504], piece);
        more[504] = u8::from(rest.len() > (number + 1) * 21);
        out.extend_from_slice(&more);
    }
    [&out, content, padding(stored)].concat()
}

#[test]
fn sparse_files_of_the_old_format_have_as_many_regions_as_they_like() {
    for regions in [0, 1, 4, 5, 25, 26, 100] {
        let map: Vec<(u64, u64)> = (0..regions).map(|n| (n * 1000 + 10, 3)).collect();
        let content: Vec<u8> = (0..regions).flat_map(|n| [b'a' + (n % 26) as u8; 3]).collect();
        let size = regions * 1000 + 50;
        let tar = [old_sparse(b"s", &map, size, &content), file(b"next", b"x"), END.to_vec()].concat();
        let mut expected = vec![0; size as usize];
        for (n, (offset, _)) in map.iter().enumerate() {
            expected[*offset as usize..][..3].fill(b'a' + (n % 26) as u8);
        }
        let seen = read(&tar).unwrap();
        assert!(seen[0].3 == expected, "{regions}");
        assert_eq!((seen.len(), &*seen[1].0), (2, &b"next"[..]));
        assert!(
            copied(&[old_sparse(b"s", &map, size, &content), END.to_vec()].concat()).starts_with(&tar[..512])
        );
    }
    let endless = {
        let mut more = vec![0; 512];
        more[504] = 1;
        [block(b"s", b'S', 0, |b| (gnu(b), b[482] = 1).0), more.repeat(20_000)].concat()
    };
    assert!(message(&endless).contains("bytes of metadata in one entry"), "{}", message(&endless));
    for (map, size) in
        [(&[(5, 1), (0, 2)][..], 9), (&[(0, 3)], 2), (&[(0, 2)], 9), (&[(u64::from(u32::MAX), 3)], 9)]
    {
        let text = message(&old_sparse(b"s", map, size, b"abc"));
        assert!(text.starts_with("tar entry \"s\" at byte 0: the map"), "{text}");
    }
}

#[test]
fn sparse_files_of_all_pax_formats() {
    let of = |pairs: &[(&str, &str)], content: &[u8]| {
        one(&[records(pairs), file(b"GNUSparseFile.0/f", content)].concat())
    };
    let (name, size) = (("GNU.sparse.name", "d/f"), ("GNU.sparse.size", "8"));
    let pair = |offset, length| [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", length)];
    let zero = [&[size, ("GNU.sparse.numblocks", "2")][..], &pair("1", "2"), &pair("5", "1")].concat();
    let map = ("GNU.sparse.map", "1,2,5,1");
    let versions = |major, minor| [("GNU.sparse.major", major), ("GNU.sparse.minor", minor)];
    let one_zero = [&versions("1", "0")[..], &[name, ("GNU.sparse.realsize", "8")]].concat();
    let in_content = [&b"2\n1\n2\n5\n1\n"[..], &[0; 502], b"abc"].concat();
    let cases = [
        (zero, b"abc".to_vec(), "GNUSparseFile.0/f"),
        (vec![size, map, name], b"abc".to_vec(), "d/f"),
        ([&versions("0", "1")[..], &[size, map, name]].concat(), b"abc".to_vec(), "d/f"),
        (one_zero.clone(), in_content, "d/f"),
    ];
    for (pairs, content, path) in cases {
        let seen = of(&pairs, &content);
        assert_eq!((&*seen.0, &*seen.3), (path.as_bytes(), &b"\0ab\0\0c\0\0"[..]), "{pairs:?}");
    }
    for content in [&b"x"[..], b"1\n2", b"9\n0\n1\n", b"99999999999\n", b"-1\n", b"1\n\n1\n"] {
        let content = [content, &vec![0; 512 - content.len()]].concat();
        let tar = [records(&one_zero), file(b"f", &content), END.to_vec()].concat();
        assert!(read(&tar).is_err(), "{content:?}");
    }
    // What is no file has no content that could have holes.
    for flag in b"12345" {
        let tar = [records(&[size, map]), block(b"x", *flag, 0, |_| ())].concat();
        assert!(message(&tar).contains("the map of"), "{}", char::from(*flag));
    }
}

#[test]
fn numbers_in_binary() {
    let tar = block(b"f", b'0', 0, |b| {
        gnu(b);
        binary(&mut b[108..116], 1 << 40);
        binary(&mut b[116..124], u32::MAX.into());
        binary(&mut b[136..148], -1);
    });
    let meta = one(&tar).4;
    assert_eq!((meta.uid, meta.gid, meta.mtime), (1 << 40, u32::MAX.into(), -1));
    let content =
        [block(b"f", b'0', 0, |b| binary(&mut b[124..136], 3)), b"abc".to_vec(), padding(3).to_vec()];
    assert_eq!(one(&content.concat()).3, b"abc");
    // What stands behind a number counts for nobody.
    for size in [&b"3\0junk\x37\x37\x37\x37\x37\x37"[..], b"         3 \0", b"00000000003\0", b"3           "]
    {
        let tar = [
            block(b"f", b'0', 0, |b| b[124..136].copy_from_slice(size)),
            b"abc".to_vec(),
            padding(3).to_vec(),
        ];
        assert_eq!(one(&tar.concat()).3, b"abc", "{size:?}");
    }
    let too_large = block(b"f", b'0', 0, |b| (binary(&mut b[124..136], 512), b[125] = 1).0);
    let negative = block(b"f", b'0', 0, |b| binary(&mut b[124..136], -512));
    // A number that one reader takes for 0 and another for 512.
    let two = block(b"f", b'0', 0, |b| b[124..136].copy_from_slice(b"\0\x300000001000"));
    for tar in [too_large, negative, two] {
        assert!(read(&[tar, vec![0; 512]].concat()).is_err());
    }
}

#[test]
fn pax_says_more_than_the_header() {
    let tar = [
        raw_records(&[
            (b"path", b"p/\xe9\xff"),
            (b"uid", b"4294967296"),
            (b"gid", b"5000000000"),
            (b"size", b"3"),
            (b"mtime", b"1700000000.123456789"),
            (b"atime", b"1.5"),
            (b"comment", b"a=b\nc"),
            (b"SCHILY.xattr.security.capability", b"\x01\0\0\x02\xff\0\n="),
            (b"SCHILY.xattr.user.empty", b""),
            (b"SCHILY.acl.access", b"user::rw-\nuser:7:r--\ngroup::r--"),
            (b"LIBARCHIVE.xattr.user.k", b"dmFsdWU="),
            (b"SCHILY.fflags", b"nodump"),
        ]),
        block(b"f", b'0', 0, |_| ()),
        b"abc".to_vec(),
        padding(3).to_vec(),
    ]
    .concat();
    let seen = one(&tar);
    assert_eq!((&*seen.0, &*seen.3), (&b"p/\xe9\xff"[..], &b"abc"[..]));
    assert_eq!((seen.4.uid, seen.4.gid, seen.4.mtime), (1 << 32, 5_000_000_000, 1_700_000_000));
    let capability = (b"security.capability".to_vec(), b"\x01\0\0\x02\xff\0\n=".to_vec());
    assert_eq!(seen.4.xattrs, [capability, (b"user.empty".to_vec(), Vec::new())]);
    assert!(copied(&tar) == [tar, END.to_vec()].concat(), "nothing is lost");
    let link = [raw_records(&[(b"linkpath", &[b't'; 300])]), block(b"l", b'2', 0, |_| ())].concat();
    assert_eq!(one(&link).2, [b't'; 300]);
}

#[test]
fn every_kind_of_entry_is_copied_as_it_is() {
    let device = |flag| {
        block(b"dev", flag, 0, |b| {
            octal(&mut b[329..337], 10);
            octal(&mut b[337..345], 229);
        })
    };
    let cases = [
        (device(b'3'), Kind::CharDevice(10, 229)),
        (device(b'4'), Kind::BlockDevice(10, 229)),
        (block(b"pipe", b'6', 0, |_| ()), Kind::Fifo),
        (block(b"d/", b'5', 0, |_| ()), Kind::Dir),
        (block(b"l", b'2', 0, |b| b[157..160].copy_from_slice(b"a:b")), Kind::Symlink),
        ([block(b"seven", b'7', 3, |_| ()), b"abc".to_vec(), padding(3).to_vec()].concat(), Kind::File),
        (file(b"a:b", b"1"), Kind::File),
        (file(b"back\\slash", b"1"), Kind::File),
        (file(b"latin-\xe9\xff", b"1"), Kind::File),
        (file(b"..hidden", b"1"), Kind::File),
        (file(&[b'n'; 100], b"1"), Kind::File),
        ([long(b'L', &[[b'n'; 299].as_slice(), b"\0"].concat()), file(b"cut", b"1")].concat(), Kind::File),
        // As long names are found, too: without NUL, and with several.
        ([long(b'L', b"name"), file(b"cut", b"1")].concat(), Kind::File),
        ([long(b'L', b"name\0\0\0"), file(b"cut", b"1")].concat(), Kind::File),
        ([block(b"odd", b'Z', 3, |_| ()), b"abc".to_vec(), padding(3).to_vec()].concat(), Kind::Other(b'Z')),
        ([block(b"label", b'V', 0, gnu)].concat(), Kind::Other(b'V')),
        // Older than ustar: nothing behind the target.
        (block(b"old", 0, 0, |b| b[257..].fill(0)), Kind::File),
    ];
    for (entry, kind) in cases {
        let tar = [entry, END.to_vec()].concat();
        assert_eq!(one(&tar).1, kind);
        assert!(copied(&tar) == tar, "{kind:?}");
    }
}

#[test]
fn long_names_end_at_a_nul() {
    let tar = [long(b'L', b"a\0b\0"), file(b"cut", b"1")].concat();
    assert_eq!(one(&tar).0, b"a");
    assert!(message(&[long(b'L', b"\0b"), file(b"cut", b"1")].concat()).contains("no name"));
}

#[test]
fn names_and_headers_that_readers_disagree_about_are_refused() {
    let other = records(&[("path", "other")]);
    let comment = b"19 comment=abcdefg\n";
    let global = [&block(b"g", b'g', 19, |_| ()), &comment[..], padding(19)].concat();
    let unmarked = |mut header: Vec<u8>| {
        header[257..265].fill(0);
        let head = header[..512].to_vec();
        header[..512].copy_from_slice(&block(b"", head[156], 0, |b| b.copy_from_slice(&head)));
        header
    };
    let two = [long(b'L', b"one\0"), other.clone(), file(b"cut", b"1")].concat();
    let cases = [
        ("GNU's name and another of PAX", two, "different names"),
        (
            "GNU's target and another of PAX",
            [long(b'K', b"one\0"), records(&[("linkpath", "other")]), block(b"l", b'2', 0, |_| ())].concat(),
            "different names",
        ),
        (
            "a zero block behind an extension header",
            [other.clone(), vec![0; 512], file(b"x", b"")].concat(),
            "a single zero block",
        ),
        (
            "a global header behind an extension header",
            [other.clone(), global, file(b"x", b"")].concat(),
            "extension headers without an entry",
        ),
        (
            "an extension header without mark",
            [unmarked(other.clone()), file(b"x", b"")].concat(),
            "without the mark",
        ),
        (
            "a long name without mark",
            [unmarked(long(b'L', b"n\0")), file(b"x", b"")].concat(),
            "without the mark",
        ),
        ("a sparse file without mark", unmarked(block(b"s", b'S', 0, |_| ())), "without the mark"),
        (
            "two extension headers",
            [other.clone(), other, file(b"x", b"")].concat(),
            "bad tar header at byte 0",
        ),
        (
            "two long names",
            [long(b'L', b"a\0"), long(b'L', b"b\0"), file(b"x", b"")].concat(),
            "bad tar header at byte 0",
        ),
        ("no name", block(b"", b'0', 0, |_| ()), "bad tar header at byte 0"),
    ];
    for (what, tar, expected) in cases {
        let found = read(&tar).map(|seen| seen.len()).map_err(|e| e.to_string());
        assert!(matches!(&found, Err(text) if text.contains(expected)), "{what}: {found:?}");
    }
    // Names in one format and numbers in another: some programs write that.
    let mixed = [long(b'L', b"name\0"), records(&[("uid", "5000000")]), file(b"cut", b"1")].concat();
    assert_eq!((one(&mixed).0, one(&mixed).4.uid), (b"name".to_vec(), 5_000_000));
}

/// Found by fuzzing: more was asked for than the parser needs, and the archive taken for cut off.
#[test]
fn what_is_read_does_not_depend_on_the_pieces_that_it_comes_in() {
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(buf.len());
            self.0.read(&mut buf[..n])
        }
    }
    let tar = [records(&[("path", "long")]), block(b"d", b'5', 0, |_| ())].concat();
    for piece in [1, 37, 511, 513, 1000, 5000] {
        let mut archive = Archive::new(Pieces(&tar, piece));
        assert_eq!(archive.next_entry().unwrap().unwrap().path(), b"long", "{piece}");
        assert_eq!(archive.finish().unwrap().end, End::Missing, "{piece}");
    }
}
