use std::collections::HashMap;

use palan_core::Algorithm;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{Builder, elf::ElfKind, tar::Meta};

fn path() -> impl Strategy<Value = Box<[u8]>> {
    vec(any::<u8>(), 0..12).prop_map(Into::into)
}

fn digest() -> impl Strategy<Value = Digest> {
    (any::<bool>(), any::<u64>()).prop_map(|(long, n)| {
        let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        algorithm.digest(&n.to_le_bytes())
    })
}

fn inode() -> impl Strategy<Value = Arc<Inode>> {
    let kind = prop_oneof![
        (any::<u64>(), option::of(digest())).prop_map(|(size, digest)| NodeKind::File { size, digest }),
        any::<bool>().prop_map(|implied| NodeKind::Dir { implied }),
        path().prop_map(NodeKind::Symlink),
        any::<(u32, u32)>().prop_map(|(a, b)| NodeKind::CharDevice(a, b)),
        any::<(u32, u32)>().prop_map(|(a, b)| NodeKind::BlockDevice(a, b)),
        Just(NodeKind::Fifo),
    ];
    let xattrs = vec((vec(any::<u8>(), 0..5), vec(any::<u8>(), 0..5)), 0..3);
    (kind, any::<u32>(), any::<u64>(), any::<u64>(), any::<i64>(), xattrs).prop_map(
        |(kind, mode, uid, gid, mtime, xattrs)| Arc::new(Inode { kind, mode, uid, gid, mtime, xattrs }),
    )
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,8}".prop_map(Into::into)
}

fn elf() -> impl Strategy<Value = Elf> {
    let kind = prop_oneof![
        Just(ElfKind::Static),
        Just(ElfKind::Program),
        Just(ElfKind::Library),
        Just(ElfKind::Other)
    ];
    let texts = || vec(text(), 0..3);
    let options = (option::of(text()), option::of(text()), option::of(text()));
    let lists = (texts(), texts(), texts(), texts(), vec((text(), text(), any::<bool>()), 0..3));
    (kind, any::<(u8, bool, u16)>(), options, lists).prop_map(
        |(kind, (bits, little_endian, machine), a, b)| {
            let (
                (interpreter, soname, language),
                (needed, rpath, runpath, versions_provided, versions_needed),
            ) = (a, b);
            Elf {
                bits,
                little_endian,
                machine,
                kind,
                interpreter,
                soname,
                needed,
                rpath,
                runpath,
                versions_needed,
                versions_provided,
                language,
            }
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    prop_oneof![
        elf().prop_map(|elf| Facts::Elf(Box::new(elf))),
        (path(), option::of(path()))
            .prop_map(|(interpreter, argument)| Facts::Script { interpreter, argument }),
        vec(any::<u8>(), 0..20).prop_map(|content| Facts::Content(content.into())),
    ]
}

fn listing() -> impl Strategy<Value = Listing> {
    let change = prop_oneof![
        inode().prop_map(Change::Put),
        (path(), any::<u64>()).prop_map(|(target, offset)| Change::Link { target, offset }),
    ];
    let paths = || vec(path(), 0..4);
    let bookkeeping = proptest::collection::hash_map(path(), inode(), 0..3);
    let facts = proptest::collection::btree_map(digest(), facts(), 0..5);
    (paths(), paths(), vec((path(), change), 0..10), facts, bookkeeping, any::<u64>()).prop_map(
        |(hidden, opaque, changes, facts, bookkeeping, entries)| Listing {
            hidden,
            opaque,
            changes,
            facts,
            bookkeeping,
            entries,
            learned: 0,
        },
    )
}

/// The bytes with a checksum that is right again.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() > 24 {
        let check = Digest::sha256(&bytes[24..]);
        bytes[8..24].copy_from_slice(&check.as_bytes()[..16]);
    }
    bytes
}

/// As [`Listing::encode`] would do it for this content.
fn sealed(content: &[u8], length: u8) -> Vec<u8> {
    let frame = zstd::bulk::compress(content, 1).unwrap();
    resealed([b"palanls", &[Listing::VERSION][..], &[0; 16], &[length], &frame].concat())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(listing in listing()) {
        let bytes = listing.encode();
        prop_assert_eq!(&bytes, &listing.clone().encode());
        prop_assert_eq!(Listing::decode(&bytes).unwrap(), listing);
    }

    #[test]
    fn damage_is_an_error(listing in listing(), at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let mut bytes = listing.encode();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(Listing::decode(&bytes).is_err());
        // Whoever makes the checksum right may make us read anything, but no more than that.
        let _ = Listing::decode(&resealed(bytes));
    }

    #[test]
    fn content_made_up_is_no_danger(content in vec(any::<u8>(), 0..120)) {
        let length = u8::try_from(content.len()).unwrap();
        let _ = Listing::decode(&sealed(&content, length));
    }
}

#[test]
fn what_is_no_listing_says_why() {
    let good = Listing::default().encode();
    let mut newer = good.clone();
    newer[7] += 1;
    // A number without end.
    let endless = sealed(&[0xff; 10], 10);
    let cases: [(&[u8], &str); 7] = [
        (b"", "is none"),
        (b"something else", "is none"),
        (b"palanls", "is damaged"),
        (&newer, "is of another version"),
        (&good[..good.len() - 1], "is damaged"),
        (&endless, "is damaged"),
        (&sealed(&[0; 6], 7), "is damaged"),
    ];
    for (bytes, reason) in cases {
        let error = Listing::decode(bytes).unwrap_err().to_string();
        assert_eq!(error, format!("the kept listing {reason}"), "{}", bytes.escape_ascii());
    }
    assert_eq!(Listing::decode(&sealed(&[0; 6], 6)).unwrap(), Listing::default());
    assert_eq!(Listing::decode(&good).unwrap(), Listing::default());
}

#[test]
fn a_kept_listing_makes_the_same_tree() {
    let tar = Builder::new()
        .dir("usr")
        .file("usr/a", "1")
        .hard_link("usr/b", "usr/a")
        .symlink("lib", "usr/lib")
        .whiteout("etc/old")
        .opaque("opt")
        .file_with(".wh..wh.plnk/12.34", "linked", Meta::FILE)
        .hard_link("usr/c", ".wh..wh.plnk/12.34")
        .tar()
        .unwrap();
    let listing = Listing::read(&*tar, &Interest::everything(|_| true), &Limits::default()).unwrap();
    let kept = Listing::decode(&listing.encode()).unwrap();
    assert_eq!(kept, listing);
    let mut tree = crate::tree::Tree::new();
    tree.apply_listing(0, &kept).unwrap();
    assert!(tree.get("usr/b").unwrap().is_same_file(tree.get("usr/a").unwrap()));
    assert_eq!(tree.get("usr/c").unwrap().digest(), Some(Digest::sha256(b"linked")));
}

#[test]
fn facts_beyond_their_bound_are_an_error() {
    let mut listing = Listing { learned: MAX_LEARNED, ..Listing::default() };
    let facts = Facts::Content(b"x".as_slice().into());
    let error = listing.learn(Digest::sha256(b"x"), facts).unwrap_err();
    assert_eq!(error.to_string(), "the layer has more than 268435456 bytes of facts about files");
    assert_eq!(listing.bookkeeping, HashMap::new());
}
