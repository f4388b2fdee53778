//! What must hold whatever a layer's bytes are. Called by the fuzz targets of the folder `fuzz`, and by an ordinary test
//! with a bounded number of cases.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read, Write},
};

use palan_core::{Compression, Digest};
use palan_layer::{
    Builder, Decoder, Encoder, Error, Level, Limits,
    codec::Original,
    merge::{Index, Merge, Sink as _},
    tar::{Archive, Header, Kind, Meta, Writer, renamed},
    tree::{Content, NodeKind, Tree},
};

/// Small enough for a fuzzer to reach.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.entries, limits.path, limits.metadata) = (1000, 2000, 20_000);
    (limits.raw_size, limits.ratio_from) = (1 << 22, 1 << 20);
    limits
}

/// What an archive says of its entries, with the digest of their content.
type Entries = Vec<(Vec<u8>, Vec<u8>, Kind, u64, i64, u64, Digest)>;

fn entries(tar: impl Read, mut each: impl FnMut(&Header)) -> Result<Entries, Error> {
    let mut archive = Archive::with_limits(tar, &limits());
    let mut seen = Vec::new();
    while let Some(mut entry) = archive.next_entry()? {
        let mut hasher = palan_core::Algorithm::Sha256.hasher();
        let (mut buffer, mut length) = ([0; 4096], 0);
        loop {
            let n = entry.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            length += n as u64;
        }
        let header = entry.header();
        assert!(length == header.size);
        assert!(!header.path().contains(&0) && !header.path().is_empty());
        each(header);
        let (path, link) = (header.path().to_vec(), header.link().to_vec());
        seen.push((path, link, header.kind, header.uid, header.mtime, header.size, hasher.finish()));
    }
    archive.finish()?;
    Ok(seen)
}

/// Gives few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.1.min(buf.len());
        self.0.read(&mut buf[..n])
    }
}

/// Reading an archive: it is read or refused, the same way however it arrives; merging one layer changes nothing that
/// a reader sees but order, duplicates and the spelling of names; the result is well-formed and merging it again changes
/// nothing; headers that can be given another name keep everything else.
pub fn tar(bytes: &[u8]) {
    let mut heads = Vec::new();
    let read = entries(bytes, |header| heads.push((header.raw().to_vec(), header.stored)));
    let trickled = entries(Trickle(bytes, 37), |_| ());
    match (&read, &trickled) {
        (Ok(a), Ok(b)) => assert!(a == b),
        (Err(a), Err(b)) => assert!(a.to_string() == b.to_string(), "{a} / {b}"),
        _ => panic!("{read:?} / {trickled:?}"),
    }
    let Ok(read) = read else { return };
    for ((raw, stored), entry) in heads.iter().zip(&read).take(20) {
        check_renamed(raw, *stored, entry);
    }
    merged(bytes, &read);
}

fn check_renamed(raw: &[u8], stored: u64, entry: &(Vec<u8>, Vec<u8>, Kind, u64, i64, u64, Digest)) {
    let Ok(new) = renamed(raw, b"another/name") else { return };
    let content = vec![0; usize::try_from(stored).unwrap_or_default().next_multiple_of(512)];
    let found = entries(&[new, content].concat()[..], |header| assert!(header.stored == stored));
    let found = found.expect("what is renamed can be read");
    let same = (&found[0].1, found[0].3, found[0].4, found[0].5) == (&entry.1, entry.3, entry.4, entry.5);
    assert!(found[0].0.starts_with(b"another/name") && same, "{found:?} / {entry:?}");
}

fn merge(layers: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut stack = Merge::whole();
    for (number, layer) in layers.iter().enumerate() {
        stack.push(u32::try_from(number).unwrap_or_default(), &Index::read(*layer, &limits())?)?;
    }
    let mut archives: Vec<_> = layers.iter().map(Cursor::new).collect();
    let mut out = Vec::new();
    stack.finish()?.write(&mut archives, &mut out)?;
    Ok(out)
}

fn tree(layers: &[&[u8]]) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    for (number, layer) in layers.iter().enumerate() {
        tree.apply(number, *layer, Content::Digest, &limits())?;
    }
    Ok(tree)
}

fn merged(bytes: &[u8], read: &Entries) {
    let Ok(out) = merge(&[bytes]) else { return };
    let mut roomy = limits();
    (roomy.entries, roomy.path, roomy.raw_size) = (u64::MAX, 1 << 20, 1 << 40);
    let mut archive = Archive::with_limits(&out[..], &roomy);
    while archive.next_entry().expect("what is merged can be read").is_some() {}
    archive.finish().expect("what is merged can be read");
    let has_unknown = read.iter().any(|entry| matches!(entry.2, Kind::Other(_)));
    if let (false, Ok(before)) = (has_unknown, tree(&[bytes])) {
        assert!(facts(&before) == facts(&tree(&[&out]).expect("a tree is left")), "{:?}", facts(&before));
        assert!(merge(&[&out]).expect("it can be merged again") == out);
    }
}

/// All that a tree says, whose names belong to one file included.
fn facts(tree: &Tree) -> Vec<String> {
    let mut names: BTreeMap<*const palan_layer::tree::Inode, Vec<u8>> = BTreeMap::new();
    let mut out = Vec::new();
    for (path, node) in tree.iter() {
        let first = names.entry(&raw const **node).or_insert_with(|| path.to_vec());
        let kind = match &node.kind {
            NodeKind::Dir { .. } => "directory".to_owned(),
            other => format!("{other:?} {first:?}"),
        };
        let (owner, time) = ((node.uid, node.gid), node.mtime);
        out.push(format!("{path:?} {kind} {:o} {owner:?} {time} {:?}", node.mode, node.xattrs));
    }
    out
}

/// Decompressing: it is read or refused, the same way however it arrives, and never more than the bounds allow. What keeps its
/// blocks is the same still.
pub fn codec(bytes: &[u8]) {
    let read = |reader: &mut dyn Read| -> Result<(Vec<u8>, u64), Error> {
        let mut out = Vec::new();
        let mut decoder = Decoder::with_limits(reader, &limits())?;
        decoder.read_to_end(&mut out)?;
        Ok((out, decoder.consumed()))
    };
    let whole = read(&mut &bytes[..]);
    let trickled = read(&mut Trickle(bytes, 13));
    match (whole, trickled) {
        (Ok((a, consumed)), Ok((b, _))) => {
            assert!(a == b && a.len() as u64 <= limits().raw_size);
            assert!(consumed == bytes.len() as u64, "{consumed} of {}", bytes.len());
            kept(bytes, &a).expect("what can be read can be kept");
        }
        (Err(a), Err(b)) => assert!(std::mem::discriminant(&a) == std::mem::discriminant(&b), "{a} / {b}"),
        (a, b) => panic!("{:?} / {:?}", a.map(|a| a.0.len()), b.map(|b| b.0.len())),
    }
}

/// Copies an archive out of the blob that holds it.
fn kept(blob: &[u8], archive: &[u8]) -> Result<(), Error> {
    let mut decoder = Decoder::with_limits(blob, &limits())?;
    decoder.note_blocks();
    let mut noted = Vec::new();
    decoder.read_to_end(&mut noted)?;
    assert!(noted == archive);
    let Some(blocks) = decoder.blocks().filter(|_| !archive.is_empty()) else { return Ok(()) };
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes).map(|()| file)
    };
    let original = Original::new(file(blob)?, blocks, &file(archive)?)?;
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip, Level::DEFAULT)?;
    encoder.keep_of([original].into());
    let (first, rest) = archive.split_at(archive.len() / 3);
    encoder.copy(0, 0, first)?;
    encoder.copy(0, first.len() as u64, rest)?;
    encoder.copy(0, first.len() as u64, rest)?;
    let mut out = Vec::new();
    Decoder::new(&*encoder.finish()?)?.read_to_end(&mut out)?;
    assert!(out == [first, rest, rest].concat());
    Ok(())
}

/// Whiteouts and stacks: layers made of these bytes, merged into one archive, hold what a model of a file system that
/// applies them one by one holds.
pub fn whiteouts(bytes: &[u8]) {
    let mut model = Model::default();
    let mut layers = Vec::new();
    for layer in bytes.split(|b| *b == 0xff).take(6) {
        let ops: Vec<Op> = layer.chunks_exact(3).take(12).map(Op::of).collect();
        let legal = model.apply(&ops);
        let made = legal.iter().fold(Builder::new(), |layer, op| op.add(layer));
        layers.push(made.tar().expect("such names can be written"));
    }
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let out = merge(&layers).expect("legal layers can be merged");
    let found = tree(&[&out]).expect("the result is a layer");
    let expected: Vec<(Vec<u8>, String)> = model.paths.into_iter().collect();
    let line = |(path, node): (&[u8], &palan_layer::tree::Node)| {
        let what = match &node.kind {
            NodeKind::Dir { .. } => "directory".to_owned(),
            NodeKind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
            _ => node.digest().map_or_else(String::new, |digest| digest.to_string()),
        };
        (path.to_vec(), what)
    };
    let found: Vec<_> = found.iter().map(line).collect();
    assert!(found == expected, "{found:?} / {expected:?}");
    assert!(facts(&tree(&layers).expect("legal layers make a tree")).len() == found.len());
}

/// One entry, of three bytes: what, where, and of what.
#[derive(Clone, Debug)]
enum Op {
    File(Vec<u8>, u8),
    Dir(Vec<u8>),
    Symlink(Vec<u8>, Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

impl Op {
    fn of(bytes: &[u8]) -> Self {
        let (path, other) = (path(bytes[1]), path(bytes[2]));
        match bytes[0] % 8 {
            0..=2 => Self::File(path, bytes[2]),
            3 => Self::Dir(path),
            4 => Self::Symlink(path, other),
            5 => Self::Link(path, other),
            6 => Self::Whiteout(path),
            _ => Self::Opaque(path),
        }
    }

    /// Where it puts what may be a symbolic link.
    fn link(&self) -> Option<&[u8]> {
        match self {
            Self::Symlink(path, _) | Self::Link(path, _) => Some(path),
            _ => None,
        }
    }

    fn add(&self, layer: Builder) -> Builder {
        match self {
            Self::File(path, content) => layer.file(path, [*content]),
            Self::Dir(path) => layer.dir(path),
            Self::Symlink(path, target) => layer.symlink(path, target),
            Self::Link(path, target) => layer.hard_link(path, target),
            Self::Whiteout(path) => layer.whiteout(path),
            Self::Opaque(path) => layer.opaque(path),
        }
    }
}

/// One to three names, each of four that sort around a slash.
fn path(byte: u8) -> Vec<u8> {
    let names: [&[u8]; 4] = [b"a", b"b", b"a-", b"a0"];
    let depth = usize::from(byte >> 6).clamp(1, 3);
    let parts = (0..depth).map(|level| names[usize::from(byte >> (2 * level)) & 3]);
    parts.collect::<Vec<_>>().join(&b'/')
}

/// A file system as a list of paths.
#[derive(Default)]
struct Model {
    paths: BTreeMap<Vec<u8>, String>,
}

impl Model {
    /// Applies a layer; gives back what of it a layer may have, and this model understands: not what leads through links of the
    /// same layer.
    fn apply(&mut self, ops: &[Op]) -> Vec<Op> {
        let links: Vec<Vec<u8>> = ops.iter().filter_map(Op::link).map(|path| [path, b"/"].concat()).collect();
        let leads_through = |path: &[u8]| links.iter().any(|link| path.starts_with(link));
        let mut legal = ops.to_vec();
        legal.retain(|op| match op {
            Op::Link(path, target) => !leads_through(path) && !leads_through(target),
            Op::Opaque(path) => !leads_through(&[path, &b"/"[..]].concat()),
            Op::File(path, _) | Op::Dir(path) | Op::Symlink(path, _) | Op::Whiteout(path) => {
                !leads_through(path)
            }
        });
        for op in &legal {
            match op {
                Op::Whiteout(path) => {
                    self.paths.remove(path);
                    self.clear(path);
                }
                Op::Opaque(path) if self.is_dir(path) => self.clear(path),
                _ => {}
            }
        }
        legal.retain(|op| match op {
            Op::File(path, content) => self.put(path, Digest::sha256(&[*content]).to_string()),
            Op::Dir(path) => self.put(path, "directory".into()),
            Op::Symlink(path, target) => self.put(path, format!("-> {}", String::from_utf8_lossy(target))),
            Op::Link(path, target) => match self.paths.get(target).filter(|_| !self.is_dir(target)) {
                Some(file) => self.put(path, file.clone()),
                None => false,
            },
            Op::Whiteout(_) | Op::Opaque(_) => true,
        });
        legal
    }

    fn is_dir(&self, path: &[u8]) -> bool {
        self.paths.get(path).is_some_and(|what| what == "directory")
    }

    fn clear(&mut self, path: &[u8]) {
        let inside = [path, b"/"].concat();
        self.paths.retain(|other, _| !other.starts_with(&inside));
    }

    fn put(&mut self, path: &[u8], what: String) -> bool {
        let parents = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at]);
        for parent in parents {
            self.paths.insert(parent.to_vec(), "directory".into());
        }
        if what != "directory" {
            self.clear(path);
        }
        self.paths.insert(path.to_vec(), what);
        true
    }
}

/// Inputs to start from, by target: each small, together a few kilobytes. Written to `fuzz/seeds` by a test.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |name: &str| name.replace(' ', "-");
    match target {
        "tar" => {
            let broken = crate::malformed::malformed().into_iter().filter(|case| case.layer.tar.len() < 4000);
            let broken = broken.map(|case| (named(case.name), case.layer.tar.to_vec()));
            broken.chain([("every-kind".to_owned(), every_kind())]).collect()
        }
        "codec" => {
            let all = crate::malformed::malformed().into_iter().filter(|case| case.layer.bytes.len() < 1000);
            all.map(|case| (named(case.name), case.layer.bytes.to_vec())).collect()
        }
        _ => vec![
            ("files".into(), b"\0\x41\x01\x03\x82\0\xff\x06\x41\0\0\x42\x02".to_vec()),
            ("links".into(), b"\0\x40\x01\x05\x41\x40\x05\x42\x41\xff\0\x40\x02\xff\x06\x41\0".to_vec()),
            (
                "opaque".into(),
                b"\0\x90\x01\0\xd1\x02\xff\x07\x40\0\0\x94\x03\xff\x07\x40\0\x04\x40\x41".to_vec(),
            ),
        ],
    }
}

fn every_kind() -> Vec<u8> {
    let xattrs = vec![(b"user.k".to_vec(), vec![0, 10, 61])];
    let write = || {
        let mut tar = Writer::new(Vec::new());
        tar.dir("d", &Meta::DIR)?;
        tar.bytes("d/f", &Meta { xattrs, ..Meta::FILE.mtime(-1).owner(1 << 40, 0) }, b"content")?;
        tar.hard_link("d/h", "d/f", &Meta::FILE)?;
        tar.symlink("s", "t".repeat(120), &Meta::LINK)?;
        tar.special("c", Kind::CharDevice(1, 3), &Meta::FILE)?;
        tar.special("p", Kind::Fifo, &Meta::FILE)?;
        tar.whiteout("gone")?;
        tar.finish()
    };
    write().unwrap_or_default()
}
