//! Listings as bytes.
//!
//! A head (name, version, checksum, length) and a zstd frame. In the frame numbers are LEB128, texts and paths have
//! their length in front, lists their count. Whoever changes what is read into listings, or how it is written, raises
//! the version: what was kept before is then read anew.

use std::{io::Read as _, sync::Arc};

use palan_core::{Algorithm, Digest};

use super::{Change, Facts, Listing};
use crate::{
    Error, Result,
    elf::{Elf, ElfKind},
    tree::{Inode, NodeKind},
};

const NAME: &[u8; 7] = b"palanls";
/// Bytes of the SHA-256 of all that follows them.
const CHECK: usize = 16;
/// How long a listing may be. Debian with a Java runtime takes 2 MiB.
const MAX_LENGTH: u64 = 512 << 20;
const ZSTD_LEVEL: i32 = 3;

impl Listing {
    /// Version of the form that [`Listing::encode`] writes, the only one that [`Listing::decode`] reads.
    pub const VERSION: u8 = 3;

    /// The listing as bytes to keep: compressed, with a checksum. Equal listings give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.listing(self);
        let mut tail = Writer::default();
        tail.number(out.0.len() as u64);
        // Compressing in memory cannot fail; if it did, the result would be refused when it is read.
        tail.0.extend(zstd::bulk::compress(&out.0, ZSTD_LEVEL).unwrap_or_default());
        let check = Digest::sha256(&tail.0);
        [NAME, &[Self::VERSION][..], &check.as_bytes()[..CHECK], &tail.0].concat()
    }

    /// Reads what [`Listing::encode`] wrote. Fails where it is damaged or of another version. Memory is bounded by
    /// what is there.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(NAME).ok_or(Error::KeptListing("is none"))?;
        let (version, rest) = rest.split_first().ok_or(DAMAGED)?;
        if *version != Self::VERSION {
            return Err(Error::KeptListing("is of another version"));
        }
        let (check, rest) = rest.split_at_checked(CHECK).ok_or(DAMAGED)?;
        if Digest::sha256(rest).as_bytes()[..CHECK] != *check {
            return Err(DAMAGED);
        }
        let mut reader = Reader(rest);
        let length = reader.number()?;
        if length > MAX_LENGTH {
            return Err(Error::KeptListing("is too long"));
        }
        let mut content = Vec::new();
        let decoder = zstd::stream::read::Decoder::with_buffer(reader.0)?;
        decoder.take(length + 1).read_to_end(&mut content).map_err(|_| DAMAGED)?;
        let mut reader = Reader(&content);
        let listing = reader.listing()?;
        if content.len() as u64 == length && reader.0.is_empty() { Ok(listing) } else { Err(DAMAGED) }
    }
}

const DAMAGED: Error = Error::KeptListing("is damaged");

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, all: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.number(all.len() as u64);
        all.for_each(|item| write(self, item));
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.push((digest.algorithm() == Algorithm::Sha512).into());
        self.0.extend_from_slice(digest.as_bytes());
    }

    fn texts(&mut self, all: &[Box<str>]) {
        self.list(all.iter(), |out, text| out.bytes(text.as_bytes()));
    }

    fn listing(&mut self, listing: &Listing) {
        self.number(listing.entries);
        self.list(listing.hidden.iter(), |out, path| out.bytes(path));
        self.list(listing.opaque.iter(), |out, path| out.bytes(path));
        self.list(listing.changes.iter(), |out, (path, change)| {
            out.bytes(path);
            out.change(change);
        });
        let mut bookkeeping: Vec<_> = listing.bookkeeping.iter().collect();
        bookkeeping.sort_by_key(|(path, _)| *path);
        self.list(bookkeeping.into_iter(), |out, (path, inode)| {
            out.bytes(path);
            out.inode(inode);
        });
        self.list(listing.facts.iter(), |out, (digest, facts)| {
            out.digest(digest);
            out.facts(facts);
        });
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Put(inode) => {
                self.0.push(0);
                self.inode(inode);
            }
            Change::Link { target, offset } => {
                self.0.push(1);
                self.bytes(target);
                self.number(*offset);
            }
        }
    }

    fn inode(&mut self, inode: &Inode) {
        match &inode.kind {
            NodeKind::File { size, digest } => {
                self.0.push(0);
                self.number(*size);
                self.option(digest.as_ref(), Self::digest);
            }
            NodeKind::Dir { implied } => self.0.push(if *implied { 2 } else { 1 }),
            NodeKind::Symlink(target) => {
                self.0.push(3);
                self.bytes(target);
            }
            NodeKind::CharDevice(major, minor) => self.device(4, *major, *minor),
            NodeKind::BlockDevice(major, minor) => self.device(5, *major, *minor),
            NodeKind::Fifo => self.0.push(6),
        }
        self.number(inode.mode.into());
        self.number(inode.uid);
        self.number(inode.gid);
        self.number(inode.mtime.cast_unsigned().rotate_left(1));
        self.list(inode.xattrs.iter(), |out, (name, value)| {
            out.bytes(name);
            out.bytes(value);
        });
    }

    fn device(&mut self, kind: u8, major: u32, minor: u32) {
        self.0.push(kind);
        self.number(major.into());
        self.number(minor.into());
    }

    fn facts(&mut self, facts: &Facts) {
        match facts {
            Facts::Content(content) => {
                self.0.push(0);
                self.bytes(content);
            }
            Facts::Script { interpreter, argument } => {
                self.0.push(1);
                self.bytes(interpreter);
                self.option(argument.as_deref(), Self::bytes);
            }
            Facts::Elf(elf) => {
                self.0.push(2);
                self.elf(elf);
            }
        }
    }

    fn elf(&mut self, elf: &Elf) {
        let kind = match elf.kind {
            ElfKind::Static => 0,
            ElfKind::Program => 1,
            ElfKind::Library => 2,
            ElfKind::Other => 3,
        };
        self.0.extend([elf.bits, elf.little_endian.into(), kind]);
        self.number(elf.machine.into());
        for text in [&elf.interpreter, &elf.soname, &elf.language] {
            self.option(text.as_deref(), |out, text| out.bytes(text.as_bytes()));
        }
        for list in [&elf.needed, &elf.rpath, &elf.runpath, &elf.versions_provided] {
            self.texts(list);
        }
        self.list(elf.versions_needed.iter(), |out, (library, version, is_weak)| {
            out.bytes(library.as_bytes());
            out.bytes(version.as_bytes());
            out.0.push((*is_weak).into());
        });
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DAMAGED),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(DAMAGED)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T> {
        T::try_from(self.number()?).map_err(|_| DAMAGED)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.small()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<Box<str>> {
        std::str::from_utf8(self.bytes()?).map(Box::from).map_err(|_| DAMAGED)
    }

    /// Nothing is allocated for items that are only promised: each takes at least a byte.
    fn list<T, C: FromIterator<T>>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<C> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err(DAMAGED);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn digest(&mut self) -> Result<Digest> {
        let (algorithm, length) =
            if self.flag()? { (Algorithm::Sha512, 64) } else { (Algorithm::Sha256, 32) };
        Digest::from_bytes(algorithm, self.take(length)?).ok_or(DAMAGED)
    }

    fn listing(&mut self) -> Result<Listing> {
        Ok(Listing {
            entries: self.number()?,
            hidden: self.list(|r| Ok(r.bytes()?.into()))?,
            opaque: self.list(|r| Ok(r.bytes()?.into()))?,
            changes: self.list(|r| Ok((r.bytes()?.into(), r.change()?)))?,
            bookkeeping: self.list(|r| Ok((r.bytes()?.into(), Arc::new(r.inode()?))))?,
            facts: self.list(|r| Ok((r.digest()?, r.facts()?)))?,
            learned: 0,
        })
    }

    fn change(&mut self) -> Result<Change> {
        Ok(match self.flag()? {
            false => Change::Put(Arc::new(self.inode()?)),
            true => Change::Link { target: self.bytes()?.into(), offset: self.number()? },
        })
    }

    fn inode(&mut self) -> Result<Inode> {
        let kind = match self.byte()? {
            0 => NodeKind::File { size: self.number()?, digest: self.option(Self::digest)? },
            1 => NodeKind::Dir { implied: false },
            2 => NodeKind::Dir { implied: true },
            3 => NodeKind::Symlink(self.bytes()?.into()),
            4 => NodeKind::CharDevice(self.small()?, self.small()?),
            5 => NodeKind::BlockDevice(self.small()?, self.small()?),
            6 => NodeKind::Fifo,
            _ => return Err(DAMAGED),
        };
        Ok(Inode {
            kind,
            mode: self.small()?,
            uid: self.number()?,
            gid: self.number()?,
            mtime: self.number()?.rotate_right(1).cast_signed(),
            xattrs: self.list(|r| Ok((r.bytes()?.to_vec(), r.bytes()?.to_vec())))?,
        })
    }

    fn facts(&mut self) -> Result<Facts> {
        Ok(match self.byte()? {
            0 => Facts::Content(self.bytes()?.into()),
            1 => Facts::Script {
                interpreter: self.bytes()?.into(),
                argument: self.option(|r| Ok(r.bytes()?.into()))?,
            },
            2 => Facts::Elf(Box::new(self.elf()?)),
            _ => return Err(DAMAGED),
        })
    }

    fn elf(&mut self) -> Result<Elf> {
        let (bits, little_endian) = (self.byte()?, self.flag()?);
        let kind = match self.byte()? {
            0 => ElfKind::Static,
            1 => ElfKind::Program,
            2 => ElfKind::Library,
            3 => ElfKind::Other,
            _ => return Err(DAMAGED),
        };
        Ok(Elf {
            bits,
            little_endian,
            kind,
            machine: self.small()?,
            interpreter: self.option(Self::text)?,
            soname: self.option(Self::text)?,
            language: self.option(Self::text)?,
            needed: self.list(Self::text)?,
            rpath: self.list(Self::text)?,
            runpath: self.list(Self::text)?,
            versions_provided: self.list(Self::text)?,
            versions_needed: self.list(|r| Ok((r.text()?, r.text()?, r.flag()?)))?,
        })
    }
}
