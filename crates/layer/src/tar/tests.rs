use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::{Error, Limits};

mod odd;

type Seen = (Vec<u8>, Kind, Vec<u8>, Vec<u8>, Meta);

fn read(tar: &[u8]) -> crate::Result<Vec<Seen>> {
    read_with(tar, &Limits::default())
}

fn read_with(tar: &[u8], limits: &Limits) -> crate::Result<Vec<Seen>> {
    let mut archive = Archive::with_limits(tar, limits);
    let mut seen = Vec::new();
    while let Some(mut entry) = archive.next_entry()? {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, entry.size);
        let Header { mode, uid, gid, mtime, .. } = *entry.header();
        let meta = Meta { mode, uid, gid, mtime, xattrs: entry.xattrs.clone(), records: Vec::new() };
        seen.push((entry.path().to_vec(), entry.kind, entry.link().to_vec(), content, meta));
    }
    archive.finish()?;
    Ok(seen)
}

/// A header block as some old or odd program writes it: `set` may break every rule; the checksum is right.
fn block(name: &[u8], flag: u8, size: u64, set: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = header_bytes(b"x", Kind::File, b"", &Meta::FILE, size).unwrap();
    block[..100].fill(0);
    block[..name.len()].copy_from_slice(name);
    block[156] = flag;
    set(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut records = Vec::new();
    for (key, value) in pairs {
        let length = header::record_length(key.as_bytes(), value.as_bytes());
        records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    pax(&records)
}

fn pax(records: &[u8]) -> Vec<u8> {
    let size = records.len() as u64;
    [&block(b"PaxHeaders/x", b'x', size, |_| ()), records, padding(size)].concat()
}

fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64;
    [&block(name, b'0', size, |_| ()), content, padding(size)].concat()
}

fn paths(tar: &[u8]) -> Vec<Vec<u8>> {
    read(tar).unwrap().into_iter().map(|seen| seen.0).collect()
}

fn message(tar: &[u8]) -> String {
    read(tar).unwrap_err().to_string()
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(1u8..=255, 1..12),
        proptest::collection::vec(b'a'..=b'z', 90..120),
    ];
    let part = part.prop_map(|mut part| {
        part.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'_');
        part
    });
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b'/'))
}

fn any_meta() -> impl Strategy<Value = Meta> {
    let number = prop_oneof![0u64..3000, Just((1 << 21) - 1), Just(1 << 21), Just(u64::from(u32::MAX))];
    let time =
        prop_oneof![0i64..2_000_000_000, Just(-1), Just(-6_795_364_579), Just(1 << 33), Just((1 << 33) - 1)];
    let xattr = ("[a-z]{1,8}\\.[a-z]{1,20}", proptest::collection::vec(any::<u8>(), 0..300));
    let xattr = xattr.prop_map(|(key, value)| (key.into_bytes(), value));
    let xattrs = proptest::collection::vec(xattr, 0..3);
    (0u32..0o10000, number.clone(), number, time, xattrs).prop_map(|(mode, uid, gid, mtime, xattrs)| Meta {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
        records: Vec::new(),
    })
}

fn any_entry() -> impl Strategy<Value = Seen> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::HardLink),
        Just(Kind::Symlink),
        Just(Kind::Dir),
        Just(Kind::Fifo),
        (0u32..4096, 0u32..1_000_000).prop_map(|(a, b)| Kind::CharDevice(a, b)),
        (0u32..4096, 0u32..1_000_000).prop_map(|(a, b)| Kind::BlockDevice(a, b)),
    ];
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    (any_path(), kind, any_path(), content, any_meta()).prop_map(|(mut path, kind, link, content, meta)| {
        let link = if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() };
        let content = if kind == Kind::File { content } else { Vec::new() };
        if kind == Kind::Dir {
            path.push(b'/');
        }
        (path, kind, link, content, meta)
    })
}

fn write(entries: &[Seen]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (path, kind, link, content, meta) in entries {
        match kind {
            Kind::File => tar.file(path, meta, content.len() as u64, &content[..]).unwrap(),
            Kind::Dir => tar.dir(path, meta).unwrap(),
            Kind::Symlink => tar.symlink(path, link, meta).unwrap(),
            Kind::HardLink => tar.hard_link(path, link, meta).unwrap(),
            kind => tar.special(path, *kind, meta).unwrap(),
        }
    }
    tar.finish().unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 0..8)) {
        prop_assert_eq!(read(&write(&entries)).unwrap(), entries);
    }

    #[test]
    fn untouched_entries_copy_byte_for_byte(entries in proptest::collection::vec(any_entry(), 0..8)) {
        let original = write(&entries);
        let mut archive = Archive::new(original.as_slice());
        let mut copy = Writer::new(Vec::new());
        while let Some(entry) = archive.next_entry().unwrap() {
            prop_assert_eq!(entry.content_offset() % 512, 0);
            let (raw, size) = (entry.raw().to_vec(), entry.stored);
            copy.raw(&raw, size, entry).unwrap();
        }
        prop_assert!(copy.finish().unwrap() == original);
    }

    #[test]
    fn any_change_of_a_header_is_read_or_refused_without_panic(
        entries in proptest::collection::vec(any_entry(), 1..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        fix in any::<bool>(),
    ) {
        let mut tar = write(&entries);
        for (at, value) in changes {
            let at = at.index(tar.len());
            tar[at] = value;
        }
        if fix {
            let first = tar[..512].to_vec();
            tar[..512].copy_from_slice(&block(b"", b'0', 0, |b| b.copy_from_slice(&first)));
        }
        let limits = Limits { raw_size: 1 << 20, ..Limits::default() };
        let _ = read_with(&tar, &limits);
    }

    #[test]
    fn every_cut_is_an_error_where_the_end_marker_is_required(
        entries in proptest::collection::vec(any_entry(), 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let tar = write(&entries);
        let cut = at.index(tar.len());
        let error = read_with(&tar[..cut], &Limits::default().with_end_marker_required(true)).unwrap_err();
        // Before its mark, a header cannot be told from anything else.
        let unknown = cut < 262 && matches!(error, Error::NotTar);
        let cut_off = matches!(error, Error::TarCutOff { .. } | Error::EntryCutOff { .. });
        prop_assert!(unknown || cut_off, "{:?}", error);
    }
}

#[test]
fn headers_are_ustar_and_nothing_else_where_that_is_enough() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(100));
    for path in ["a", "ä", &"x".repeat(100), &long] {
        let meta = Meta::FILE.owner((1 << 21) - 1, 0).mtime((1 << 33) - 1);
        assert_eq!(header_bytes(path.as_bytes(), Kind::File, b"", &meta, (1 << 33) - 1).unwrap().len(), 512);
    }
    for path in ["x".repeat(101), format!("{}/{}", "d".repeat(156), "f"), format!("{}/", "d".repeat(100))] {
        assert_eq!(header_bytes(path.as_bytes(), Kind::Dir, b"", &Meta::DIR, 0).unwrap().len(), 3 * 512);
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let fails = |path: &[u8], kind, link: &[u8]| header_bytes(path, kind, link, &Meta::FILE, 0).is_err();
    assert!(fails(b"", Kind::File, b""));
    assert!(fails(b"a\0b", Kind::File, b""));
    assert!(fails(b"a", Kind::Symlink, b"b\0"));
    assert!(fails(b"a", Kind::Other(b'V'), b""));
    assert!(fails(b"a", Kind::CharDevice(1 << 21, 0), b""));
    let error = Writer::new(io::sink()).file("short", &Meta::FILE, 10, &b"12345"[..]).unwrap_err();
    assert!(error.to_string().contains("\"short\""), "{error}");
}

#[test]
fn large_sizes_and_offsets() {
    let header = header_bytes(b"big", Kind::File, b"", &Meta::FILE, 1 << 33).unwrap();
    let mut archive = Archive::new(io::Cursor::new(header).chain(io::repeat(7)));
    let entry = archive.next_entry().unwrap().unwrap();
    assert_eq!((entry.size, entry.content_offset()), (1 << 33, 3 * 512));
}

#[test]
fn old_directories_are_files_with_a_slash() {
    let old = |flag, size| read(&block(b"d/", flag, size, |_| ())).unwrap()[0].1;
    assert_eq!([old(0, 0), old(b'0', 0), old(b'5', 0)], [Kind::Dir; 3]);
    assert_eq!(read(&block(b"f", b'7', 0, |_| ())).unwrap()[0].1, Kind::File);
}

#[test]
fn only_files_have_content_whatever_the_header_says() {
    for flag in b'1'..=b'6' {
        let tar = [block(b"odd", flag, 1024, |_| ()), file(b"next", b"x")].concat();
        assert_eq!(paths(&tar), [b"odd".to_vec(), b"next".to_vec()], "{}", char::from(flag));
    }
}

#[test]
fn gnu_long_names_override_the_header() {
    let long = |flag, name: &[u8]| {
        let size = name.len() as u64 + 1;
        [&block(b"././@LongLink", flag, size, |_| ()), name, b"\0", padding(size)].concat()
    };
    let (name, target) = (vec![b'n'; 300], vec![b't'; 200]);
    let tar = [long(b'K', &target), long(b'L', &name), block(b"cut", b'2', 0, |_| ())].concat();
    let seen = &read(&tar).unwrap()[0];
    assert_eq!((&seen.0, &seen.2), (&name, &target));
}

#[test]
fn times_before_1970() {
    let gnu = |seconds: i64| {
        read(&block(b"f", b'0', 0, |b| {
            b[257..265].copy_from_slice(b"ustar  \0");
            b[136..140].fill(if seconds < 0 { 0xff } else { 0 });
            b[140..148].copy_from_slice(&seconds.to_be_bytes());
            b[136] |= 0x80;
        }))
        .unwrap()[0]
            .4
            .mtime
    };
    assert_eq!((gnu(-6_795_364_579), gnu(1 << 40)), (-6_795_364_579, 1 << 40));
    let cases =
        [("-6795364579.25", -6_795_364_580), ("-1", -1), ("-0.5", -1), ("1.999", 1), (".5", 0), ("-2.0", -2)];
    for (text, seconds) in cases {
        let tar = [records(&[("mtime", text)]), file(b"f", b"")].concat();
        assert_eq!(read(&tar).unwrap()[0].4.mtime, seconds, "{text}");
    }
}

#[test]
fn nanoseconds_are_what_a_time_is_above_its_whole_seconds() {
    let cases = [
        ("1.5", (1, 500_000_000)),
        ("1.0000000019", (1, 1)),
        ("1.123456789", (1, 123_456_789)),
        ("-1.25", (-2, 750_000_000)),
        ("-0.0000000001", (-1, 999_999_999)),
        ("-3.000", (-3, 0)),
        ("7", (7, 0)),
    ];
    for (text, time) in cases {
        let tar = [records(&[("mtime", text)]), file(b"f", b"")].concat();
        let mut archive = Archive::new(tar.as_slice());
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!((entry.mtime, entry.mtime_nanos), time, "{text}");
    }
}

#[test]
fn holes_are_passed_over_without_being_read() {
    let map = records(&[
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.map", "1000000,2,3000000,1"),
        ("GNU.sparse.size", "500000000000"),
    ]);
    let tar = [map, file(b"f", b"abc")].concat();
    let mut archive = Archive::new(tar.as_slice());
    let mut entry = archive.next_entry().unwrap().unwrap();
    let mut two = [0; 2];
    assert_eq!(entry.skip_hole().unwrap(), 1_000_000);
    assert_eq!(entry.skip_hole().unwrap(), 0);
    entry.read_exact(&mut two).unwrap();
    assert_eq!((&two, entry.skip_hole().unwrap()), (b"ab", 1_999_998));
    entry.read_exact(&mut two[..1]).unwrap();
    assert_eq!((two[0], entry.skip_hole().unwrap()), (b'c', 500_000_000_000 - 3_000_001));
    assert_eq!((entry.read(&mut two).unwrap(), entry.skip_hole().unwrap()), (0, 0));
}

#[test]
fn pax_records_that_cannot_be_understood_are_refused() {
    let cases: [&[(&str, &str)]; 8] = [
        &[("size", "12x")],
        &[("size", "-1")],
        &[("size", "99999999999999999999")],
        &[("uid", "")],
        &[("mtime", "yesterday")],
        &[("path", "a\0b")],
        &[("GNU.sparse.map", "1,2;3")],
        &[("GNU.sparse.offset", "x")],
    ];
    for case in cases {
        let text = message(&[records(case), file(b"f", b"")].concat());
        assert!(text.contains("PAX"), "{case:?}: {text}");
    }
    for malformed in [&b"5 a=b\n"[..], b"x a=b\n", b"6 a=b\n6 a", b"6 abc\n", b"\0\0\0\0"] {
        let result = read(&[pax(malformed), file(b"f", b"")].concat());
        assert!(result.is_err(), "{:?}", String::from_utf8_lossy(malformed));
    }
}

#[test]
fn global_headers_are_skipped() {
    let comment = b"19 comment=abcdefg\n";
    let global = [&block(b"g", b'g', 19, |_| ()), &comment[..], padding(19)].concat();
    assert_eq!(paths(&[global.clone(), file(b"f", b"x"), global].concat()), [b"f".to_vec()]);
}

#[test]
fn damaged_headers_say_where() {
    let mut tar = [file(b"first", b"content"), file(b"second", b"")].concat();
    tar[1024 + 3] ^= 1;
    assert!(
        message(&tar).starts_with("bad tar header at byte 1024, after entry \"first\": "),
        "{}",
        message(&tar)
    );
    let lone = [file(b"first", b""), vec![0; 512], file(b"hidden", b"")].concat();
    assert!(message(&lone).contains("a single zero block"), "{}", message(&lone));
    let orphan = [records(&[("path", "x")]), END.to_vec()].concat();
    assert!(read(&orphan).is_err());
    let cut = &file(b"first", &[1; 2000])[..1000];
    assert_eq!(
        message(cut),
        "the tar archive is cut off at byte 1000, 1560 bytes before the end of \"first\""
    );
}

#[test]
fn endings_are_told_apart() {
    let end = |tail: &[u8]| {
        let tar = [&file(b"f", b"x"), tail].concat();
        Archive::new(tar.as_slice()).finish().map(|e| (e.end, e.trailing, e.hidden_data))
    };
    assert_eq!(end(&END).unwrap(), (End::Marker, 0, false));
    assert_eq!(end(&[0; 10240]).unwrap(), (End::Marker, 9216, false));
    assert_eq!(end(&[0; 512]).unwrap(), (End::HalfMarker, 0, false));
    assert_eq!(end(&[]).unwrap(), (End::Missing, 0, false));
    assert_eq!(end(&[&END[..], b"x"].concat()).unwrap(), (End::Marker, 1, true));
    assert!(end(&[0; 511]).is_err() && end(&[0; 1023]).is_err());
}

#[test]
fn limits_hold() {
    let limit = |tar: &[u8], limits: Limits| match read_with(tar, &limits) {
        Err(Error::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let three = [file(b"a", b""), file(b"b", b""), file(b"c", b"")].concat();
    assert_eq!(limit(&three, Limits { entries: 2, ..Limits::default() }), "entries");
    let long = [records(&[("path", &"x".repeat(3000))]), file(b"f", b"")].concat();
    assert_eq!(limit(&long, Limits { path: 2999, ..Limits::default() }), "bytes in one path");
    assert!(read_with(&long, &Limits { path: 3000, ..Limits::default() }).is_ok());
    let metadata = Limits { metadata: 2000, ..Limits::default() };
    assert_eq!(limit(&long, metadata), "bytes of metadata in one entry");
    let map = records(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "1000000000000000"),
    ]);
    let sparse = [map, file(b"f", &[b"0\n".to_vec(), vec![0; 510]].concat())].concat();
    assert_eq!(limit(&sparse, Limits::default()), "bytes in one file");
    let endless = block(b"f", b'x', 1 << 32, |_| ());
    assert_eq!(limit(&endless, Limits::default()), "bytes of metadata in one entry");
}

#[test]
fn sparse_maps_must_make_sense() {
    let sparse = |map: &str, size: &str, content: &[u8]| {
        let pairs = [
            ("GNU.sparse.major", "0"),
            ("GNU.sparse.minor", "1"),
            ("GNU.sparse.map", map),
            ("GNU.sparse.size", size),
        ];
        read(&[records(&pairs), file(b"f", content)].concat())
    };
    assert_eq!(sparse("1,2,5,1", "8", b"abc").unwrap()[0].3, b"\0ab\0\0c\0\0");
    assert_eq!(sparse("0,3,8,0", "8", b"abc").unwrap()[0].3, b"abc\0\0\0\0\0");
    for (map, size) in
        [("5,1,1,2", "8"), ("1,2,5,1", "5"), ("1,2", "8"), ("0,18446744073709551615", "8"), ("1", "8")]
    {
        assert!(sparse(map, size, b"abc").is_err(), "{map} {size}");
    }
}
