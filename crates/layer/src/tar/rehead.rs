//! Entries of other archives under another name, or as another name of a file: their header blocks with as little
//! changed as possible. Owner, times, attributes and the maps of sparse files stay what they are.

use tar_core::PaxExtensions;

use super::{BLOCK, padding, write::push_record, write::write_records};
use crate::{EntryPath, Error, Result};

/// The header blocks of an entry (see [`Header::raw`](super::Header::raw)) for another path. The content stays.
pub fn renamed(raw: &[u8], path: &[u8]) -> Result<Vec<u8>> {
    Blocks::parse(raw).ok_or_else(|| unreadable(path))?.write(path, None)
}

/// The header blocks of an entry made a hard link to `target`, with the metadata that it has. No content follows.
pub fn hard_linked(raw: &[u8], path: &[u8], target: &[u8]) -> Result<Vec<u8>> {
    Blocks::parse(raw).ok_or_else(|| unreadable(path))?.write(path, Some(target))
}

fn unreadable(path: &[u8]) -> Error {
    let reason = "its headers are not understood".into();
    Error::Unwritable { path: EntryPath::from(path), reason }
}

/// The header blocks of one entry.
struct Blocks<'a> {
    /// PAX records, in order.
    records: Vec<(&'a [u8], &'a [u8])>,
    /// GNU's header for a long link target, with its content.
    long_link: &'a [u8],
    main: [u8; BLOCK],
    /// The map of a sparse file, where it has blocks of its own.
    map: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn parse(raw: &'a [u8]) -> Option<Self> {
        let (mut records, mut long_link, mut rest): (Vec<_>, &[u8], _) = (Vec::new(), &[], raw);
        loop {
            let (main, after) = rest.split_first_chunk::<BLOCK>()?;
            let flag = main[156];
            if !matches!(flag, b'x' | b'X' | b'g' | b'L' | b'K') {
                return Some(Self { records, long_link, main: *main, map: after });
            }
            let size = octal(&main[124..136])?;
            let length = size.checked_next_multiple_of(BLOCK)?;
            if length > after.len() {
                return None;
            }
            match flag {
                b'x' | b'X' => {
                    for record in PaxExtensions::new(&after[..size]) {
                        let record = record.ok()?;
                        records.push((record.key_bytes(), record.value_bytes()));
                    }
                }
                b'K' => long_link = &rest[..BLOCK + length],
                _ => {}
            }
            rest = &after[length..];
        }
    }

    fn write(mut self, path: &[u8], target: Option<&[u8]>) -> Result<Vec<u8>> {
        if path.is_empty() || path.contains(&0) || target.is_some_and(|target| target.contains(&0)) {
            return Err(unreadable(path));
        }
        let is_gnu = &self.main[257..265] == b"ustar  \0";
        let mut out = Vec::new();
        let mut records = Vec::new();
        for (key, value) in &self.records {
            let is_sparse = key.starts_with(b"GNU.sparse.");
            match *key {
                b"path" => {}
                b"linkpath" | b"size" if target.is_some() => {}
                _ if is_sparse && target.is_some() => {}
                b"GNU.sparse.name" => push_record(&mut records, key, path),
                _ => push_record(&mut records, key, value),
            }
        }
        if !field(&mut self.main[..100], path) && !is_gnu {
            push_record(&mut records, b"path", path);
        }
        self.clear_prefix();
        if let Some(target) = target {
            self.make_link(target, is_gnu, &mut records);
        }
        if !records.is_empty() {
            write_records(&mut out, path, &records);
        }
        match target {
            Some(target) if is_gnu && target.len() > 100 => long(&mut out, b'K', target),
            Some(_) => {}
            None => out.extend_from_slice(self.long_link),
        }
        if is_gnu && path.len() > 100 {
            long(&mut out, b'L', path);
        }
        checksum(&mut self.main);
        out.extend_from_slice(&self.main);
        out.extend_from_slice(self.map);
        Ok(out)
    }

    fn make_link(&mut self, target: &[u8], is_gnu: bool, records: &mut Vec<u8>) {
        if !field(&mut self.main[157..257], target) && !is_gnu {
            push_record(records, b"linkpath", target);
        }
        self.main[124..136].copy_from_slice(b"00000000000\0");
        if self.main[156] == b'S' {
            // GNU's map of a sparse file, and its true size.
            self.main[386..495].fill(0);
        }
        self.main[156] = b'1';
        self.map = &[];
    }

    /// A path is in one field or in a record, so that the prefix of ustar is not needed. Other dialects have other things
    /// in its place.
    fn clear_prefix(&mut self) {
        if &self.main[257..263] == b"ustar\0" {
            let is_star = &self.main[508..512] == b"tar\0";
            self.main[345..if is_star { 476 } else { 500 }].fill(0);
        }
    }
}

/// Fills a field, as far as it goes; whether all of `value` fits.
fn field(field: &mut [u8], value: &[u8]) -> bool {
    field.fill(0);
    let n = value.len().min(field.len());
    field[..n].copy_from_slice(&value[..n]);
    n == value.len()
}

/// GNU's header for a name that is too long, with the name.
fn long(out: &mut Vec<u8>, flag: u8, name: &[u8]) {
    let mut block = [0; BLOCK];
    block[..13].copy_from_slice(b"././@LongLink");
    for (at, text) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000000\0")] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let size = name.len() as u64 + 1;
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar  \0");
    checksum(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(name);
    out.push(0);
    out.extend_from_slice(padding(size));
}

fn checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(super) fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).ok()
}
