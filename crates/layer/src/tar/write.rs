//! Writing archives: ustar, with PAX records only where a value does not fit. The same calls give the same bytes.

use std::io::{self, Read, Write};

use super::{BLOCK, Kind, OPAQUE, WHITEOUT, header::record_length};
use crate::{BUFFER, EntryPath, Error, Result};

/// The two zero blocks that end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Largest value of an 11-digit octal field.
const MAX_OCTAL_11: u64 = (1 << 33) - 1;
/// Largest value of a 7-digit octal field.
const MAX_OCTAL_7: u64 = (1 << 21) - 1;

/// Metadata of an entry to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Other PAX records, by their whole names: `MSWINDOWS.rawsd`.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Mode 0644, owned by root, 1970.
    pub const FILE: Self = Self::root(0o644);
    /// Mode 0755, owned by root, 1970.
    pub const DIR: Self = Self::root(0o755);
    /// Mode 0777, owned by root, 1970.
    pub const LINK: Self = Self::root(0o777);

    const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 0, xattrs: Vec::new(), records: Vec::new() }
    }

    /// With another mode.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With another owner.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// With another time, in seconds since 1970.
    #[must_use]
    pub fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }
}

/// Zero bytes that fill `size` bytes of content up to a whole block.
pub fn padding(size: u64) -> &'static [u8] {
    let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if rest == 0 { &[] } else { &END[..BLOCK - rest] }
}

/// The header blocks of an entry; `size` bytes of content and [`padding`] must follow. For callers that write content
/// in their own way; [`Writer`] is simpler.
///
/// `link` is the target of hard and symbolic links, empty for others. Directories get a slash at the end.
pub fn header_bytes(path: &[u8], kind: Kind, link: &[u8], meta: &Meta, size: u64) -> Result<Vec<u8>> {
    let unwritable = |reason: &str| Error::Unwritable { path: EntryPath::from(path), reason: reason.into() };
    if path.is_empty() || path.contains(&0) || link.contains(&0) {
        return Err(unwritable("the path or link target is empty or has a NUL byte"));
    }
    if meta.xattrs.iter().chain(&meta.records).any(|(key, _)| key.contains(&b'=')) {
        return Err(unwritable("an extended attribute has '=' in its name"));
    }
    let Some((flag, major, minor)) = type_flag(kind) else {
        return Err(unwritable("no such kind of entry"));
    };
    if u64::from(major.max(minor)) > MAX_OCTAL_7 {
        return Err(unwritable("the device number is too large"));
    }
    let mut name = path.to_vec();
    if kind == Kind::Dir && !name.ends_with(b"/") {
        name.push(b'/');
    }
    let mut records = Vec::new();
    let mut block = Block::new(flag);
    block.name(&name, &mut records);
    block.link(link, &mut records);
    block.octal(329, 7, major.into());
    block.octal(337, 7, minor.into());
    block.meta(meta, size, &mut records);
    let mut out = Vec::new();
    if !records.is_empty() {
        write_records(&mut out, path, &records);
    }
    out.extend_from_slice(&block.finish());
    Ok(out)
}

/// Type flag and device numbers.
fn type_flag(kind: Kind) -> Option<(u8, u32, u32)> {
    Some(match kind {
        Kind::File => (b'0', 0, 0),
        Kind::HardLink => (b'1', 0, 0),
        Kind::Symlink => (b'2', 0, 0),
        Kind::CharDevice(major, minor) => (b'3', major, minor),
        Kind::BlockDevice(major, minor) => (b'4', major, minor),
        Kind::Dir => (b'5', 0, 0),
        Kind::Fifo => (b'6', 0, 0),
        Kind::Other(_) => return None,
    })
}

pub(super) fn write_records(out: &mut Vec<u8>, path: &[u8], records: &[u8]) {
    let base = path.rsplit(|b| *b == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    let name = [b"PaxHeaders.0/", &base[..base.len().min(80)]].concat();
    let mut block = Block::new(b'x');
    block.bytes(0, &name);
    block.octal(100, 7, 0o644);
    block.octal(124, 11, records.len() as u64);
    out.extend_from_slice(&block.finish());
    out.extend_from_slice(records);
    out.extend_from_slice(padding(records.len() as u64));
}

pub(super) fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    records.extend_from_slice(record_length(key, value).to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// A ustar header block in the making.
struct Block([u8; BLOCK]);

impl Block {
    fn new(flag: u8) -> Self {
        let mut block = Self([0; BLOCK]);
        block.0[156] = flag;
        block.bytes(257, b"ustar\x0000");
        for (at, width) in [(100, 7), (108, 7), (116, 7), (124, 11), (136, 11), (329, 7), (337, 7)] {
            block.octal(at, width, 0);
        }
        block
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn octal(&mut self, at: usize, width: usize, value: u64) {
        self.bytes(at, format!("{value:0width$o}").as_bytes());
    }

    /// A number in its field, or in a PAX record where it does not fit.
    fn number(&mut self, at: usize, width: usize, value: u64, key: &[u8], records: &mut Vec<u8>) {
        let max = if width == 7 { MAX_OCTAL_7 } else { MAX_OCTAL_11 };
        if value <= max {
            self.octal(at, width, value);
        } else {
            push_record(records, key, value.to_string().as_bytes());
        }
    }

    /// The target of a link, or a PAX record where it does not fit.
    fn link(&mut self, link: &[u8], records: &mut Vec<u8>) {
        if link.len() > 100 {
            push_record(records, b"linkpath", link);
        }
        self.bytes(157, &link[..link.len().min(100)]);
    }

    /// All that is neither name nor kind.
    fn meta(&mut self, meta: &Meta, size: u64, records: &mut Vec<u8>) {
        self.octal(100, 7, u64::from(meta.mode & 0o7777));
        self.number(108, 7, meta.uid, b"uid", records);
        self.number(116, 7, meta.gid, b"gid", records);
        self.number(124, 11, size, b"size", records);
        match u64::try_from(meta.mtime) {
            Ok(mtime) => self.number(136, 11, mtime, b"mtime", records),
            Err(_) => push_record(records, b"mtime", meta.mtime.to_string().as_bytes()),
        }
        for (key, value) in &meta.xattrs {
            push_record(records, &[b"SCHILY.xattr.", key.as_slice()].concat(), value);
        }
        for (key, value) in &meta.records {
            push_record(records, key, value);
        }
    }

    /// A path in name and prefix, or in a PAX record where it does not fit.
    fn name(&mut self, name: &[u8], records: &mut Vec<u8>) {
        if name.len() <= 100 {
            return self.bytes(0, name);
        }
        // The prefix ends at a slash, which is not stored; the name must not be empty.
        let split = name.iter().enumerate().find_map(|(i, b)| {
            let rest = name.len() - i - 1;
            (*b == b'/' && i > 0 && i <= 155 && rest <= 100 && rest > 0).then_some(i)
        });
        match split {
            Some(i) => {
                self.bytes(345, &name[..i]);
                self.bytes(0, &name[i + 1..]);
            }
            None => {
                push_record(records, b"path", name);
                self.bytes(0, &name[..100]);
            }
        }
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.bytes(148, b"        ");
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.bytes(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Writes an archive. Complete only after [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// An archive written to `writer`, unbuffered: every header is one write, content comes in pieces of 128 KiB.
    pub fn new(writer: W) -> Self {
        Self { writer, buffer: Vec::new() }
    }

    /// A file of exactly `size` bytes, read from `content`; more is left unread, less is an error.
    pub fn file(&mut self, path: impl AsRef<[u8]>, meta: &Meta, size: u64, content: impl Read) -> Result<()> {
        let path = path.as_ref();
        self.entry(path, Kind::File, b"", meta, size)?;
        self.buffer.resize(BUFFER, 0);
        let mut content = content.take(size);
        let mut left = size;
        while left > 0 {
            let n = match content.read(&mut self.buffer) {
                Ok(0) => {
                    let reason = format!("its content ends {left} bytes before the size of {size}");
                    return Err(Error::Unwritable { path: EntryPath::from(path), reason });
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            self.writer.write_all(&self.buffer[..n])?;
            left -= n as u64;
        }
        Ok(self.writer.write_all(padding(size))?)
    }

    /// A file whose content is at hand.
    pub fn bytes(&mut self, path: impl AsRef<[u8]>, meta: &Meta, content: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), Kind::File, b"", meta, content.len() as u64)?;
        self.writer.write_all(content)?;
        Ok(self.writer.write_all(padding(content.len() as u64))?)
    }

    /// A directory.
    pub fn dir(&mut self, path: impl AsRef<[u8]>, meta: &Meta) -> Result<()> {
        self.entry(path.as_ref(), Kind::Dir, b"", meta, 0)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>, meta: &Meta) -> Result<()> {
        self.entry(path.as_ref(), Kind::Symlink, target.as_ref(), meta, 0)
    }

    /// Another name for a file that is written already, or is in a lower layer. `target` is a path from the root.
    pub fn hard_link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>, meta: &Meta) -> Result<()> {
        self.entry(path.as_ref(), Kind::HardLink, target.as_ref(), meta, 0)
    }

    /// A device or named pipe.
    pub fn special(&mut self, path: impl AsRef<[u8]>, kind: Kind, meta: &Meta) -> Result<()> {
        self.entry(path.as_ref(), kind, b"", meta, 0)
    }

    /// A whiteout: hides `path` of the layers below.
    pub fn whiteout(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let name = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let whiteout = [&path[..name], WHITEOUT, &path[name..]].concat();
        self.bytes(whiteout, &Meta::FILE, b"")
    }

    /// An opaque whiteout: hides what the layers below have in the directory `dir`.
    pub fn opaque(&mut self, dir: impl AsRef<[u8]>) -> Result<()> {
        let dir = dir.as_ref();
        let slash: &[u8] = if dir.is_empty() || dir.ends_with(b"/") { b"" } else { b"/" };
        self.bytes([dir, slash, OPAQUE].concat(), &Meta::FILE, b"")
    }

    /// Header blocks and content of an entry of another archive, as they are.
    pub fn raw(&mut self, header: &[u8], size: u64, content: impl Read) -> Result<()> {
        self.writer.write_all(header)?;
        let copied = io::copy(&mut content.take(size), &mut self.writer)?;
        if copied != size {
            let reason = format!("its content has {copied} bytes instead of {size}");
            return Err(Error::Unwritable { path: EntryPath::default(), reason });
        }
        Ok(self.writer.write_all(padding(size))?)
    }

    /// Writes the end marker and gives the writer back.
    pub fn finish(mut self) -> Result<W> {
        self.writer.write_all(&END)?;
        Ok(self.writer)
    }

    fn entry(&mut self, path: &[u8], kind: Kind, link: &[u8], meta: &Meta, size: u64) -> Result<()> {
        let header = header_bytes(path, kind, link, meta, size)?;
        Ok(self.writer.write_all(&header)?)
    }
}
