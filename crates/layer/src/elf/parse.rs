//! The part of the ELF format that says how a file is linked: headers, the dynamic section, symbol versions.
//!
//! Everything is found through program headers. Each number read is checked before it is used; names are read one by
//! one, and all of a file's names together are bounded.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use super::{Elf, ElfKind};

/// The content of an ELF file, or as much of it as is needed.
pub(super) enum Image<'a> {
    Memory(&'a [u8]),
    Spilled { file: &'a File, size: u64 },
}

/// Why there are no facts.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file contradicts itself, or is no ELF file.
    Malformed,
    /// The temporary file could not be read.
    Io(io::Error),
}

type Parsed<T> = Result<T, Fault>;

impl Image<'_> {
    fn get(&self, offset: u64, len: usize) -> Parsed<Cow<'_, [u8]>> {
        let end = offset.checked_add(len as u64).ok_or(Fault::Malformed)?;
        if end > self.size() {
            return Err(Fault::Malformed);
        }
        match self {
            Self::Memory(bytes) => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                let (from, to) = range.ok_or(Fault::Malformed)?;
                Ok(Cow::Borrowed(&bytes[from..to]))
            }
            Self::Spilled { file, .. } => {
                let mut buffer = vec![0; len];
                let mut file = *file;
                file.seek(SeekFrom::Start(offset)).map_err(Fault::Io)?;
                file.read_exact(&mut buffer).map_err(Fault::Io)?;
                Ok(Cow::Owned(buffer))
            }
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spilled { size, .. } => *size,
        }
    }

    /// As many bytes as there are, at most `len`.
    fn up_to(&self, offset: u64, len: usize) -> Parsed<Cow<'_, [u8]>> {
        let there = self.size().saturating_sub(offset);
        self.get(offset, usize::try_from(there).unwrap_or(len).min(len))
    }
}

const ET_REL: u16 = 1;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const ET_CORE: u16 = 4;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERNEED: u64 = 0x6fff_fffe;

const DF_1_PIE: u64 = 0x0800_0000;
/// The version that is the library itself.
const VER_FLG_BASE: u16 = 1;
const VER_FLG_WEAK: u16 = 2;

/// The longest name, and the longest interpreter path.
const MAX_NAME: usize = 4096;
/// All names of a file, each counted with some bytes more. Real files stay below 64 KiB.
const MAX_NAMES: usize = 512 * 1024;
/// Size of a dynamic section; real ones have a few KiB.
const MAX_DYNAMIC: u64 = 1 << 20;

/// How numbers are stored.
#[derive(Clone, Copy)]
struct Format {
    wide: bool,
    little: bool,
}

impl Format {
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let (first, second) = (u64::from(self.u32(bytes, at)), u64::from(self.u32(bytes, at + 4)));
        if self.little { first | second << 32 } else { first << 32 | second }
    }

    /// An address or offset.
    fn word(self, bytes: &[u8], at: usize) -> u64 {
        if self.wide { self.u64(bytes, at) } else { self.u32(bytes, at).into() }
    }

    /// One of two values, by the width of the format.
    fn either<T>(self, narrow: T, wide: T) -> T {
        if self.wide { wide } else { narrow }
    }
}

/// The file header.
struct Head {
    format: Format,
    kind: u16,
    machine: u16,
    /// Where the program headers are, the size of each, and how many.
    segments: (u64, u16, u16),
}

fn head(image: &Image<'_>) -> Parsed<Head> {
    let ident = image.get(0, 16)?;
    if !ident.starts_with(b"\x7fELF") || !matches!(ident[4], 1 | 2) || !matches!(ident[5], 1 | 2) {
        return Err(Fault::Malformed);
    }
    let f = Format { wide: ident[4] == 2, little: ident[5] == 1 };
    let header = image.get(0, f.either(52, 64))?;
    let (size, count) = f.either((42, 44), (54, 56));
    Ok(Head {
        format: f,
        kind: f.u16(&header, 16),
        machine: f.u16(&header, 18),
        segments: (f.word(&header, f.either(28, 32)), f.u16(&header, size), f.u16(&header, count)),
    })
}

/// A program header.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

fn segments(image: &Image<'_>, head: &Head) -> Parsed<Vec<Segment>> {
    let (offset, size, count) = head.segments;
    let f = head.format;
    if count > 0 && size < f.either(32, 56) {
        return Err(Fault::Malformed);
    }
    let size = usize::from(size);
    let table = image.get(offset, size * usize::from(count))?;
    let segment = |at: &[u8]| Segment {
        kind: f.u32(at, 0),
        offset: f.word(at, f.either(4, 8)),
        address: f.word(at, f.either(8, 16)),
        size: f.word(at, f.either(16, 32)),
    };
    Ok(table.chunks_exact(size.max(1)).map(segment).collect())
}

/// Whether the file has a dynamic section; `None` where its beginning does not tell.
pub(super) fn is_dynamic(beginning: &[u8]) -> Option<bool> {
    let image = Image::Memory(beginning);
    let segments = segments(&image, &head(&image).ok()?).ok()?;
    Some(segments.iter().any(|s| s.kind == PT_DYNAMIC))
}

/// All facts but the language.
pub(super) fn parse(image: &Image<'_>) -> Parsed<Elf> {
    let head = head(image)?;
    let mut elf = Elf {
        bits: head.format.either(32, 64),
        little_endian: head.format.little,
        machine: head.machine,
        kind: ElfKind::Other,
        ..Elf::default()
    };
    match head.kind {
        ET_REL | ET_CORE => return Ok(elf),
        ET_EXEC | ET_DYN => {}
        _ => return Err(Fault::Malformed),
    }
    let segments = segments(image, &head)?;
    let find = |kind| segments.iter().find(|s| s.kind == kind);
    // Debug information that was split off keeps the headers of a program without its content.
    if segments.iter().filter(|s| s.kind == PT_LOAD).all(|s| s.size == 0) {
        return Ok(elf);
    }
    if let Some(segment) = find(PT_INTERP) {
        elf.interpreter = Some(interpreter(image, segment)?);
    }
    let mut is_pie = false;
    if let Some(segment) = find(PT_DYNAMIC) {
        let entries = dynamic(image, segment, head.format)?;
        is_pie = entries.iter().any(|(tag, flags)| *tag == DT_FLAGS_1 && flags & DF_1_PIE != 0);
        Reader { image, format: head.format, segments: &segments, strings: (0, 0), names: MAX_NAMES }
            .read(&entries, &mut elf)?;
    }
    elf.kind = kind(&elf, head.kind == ET_EXEC || is_pie);
    Ok(elf)
}

/// Some libraries (the C library) have an interpreter, old position-independent programs have no mark.
fn kind(elf: &Elf, is_program: bool) -> ElfKind {
    let is_linked = elf.interpreter.is_some() || !elf.needed.is_empty();
    match (is_program, elf.soname.is_some()) {
        (true, _) if is_linked => ElfKind::Program,
        (true, _) => ElfKind::Static,
        (false, false) if elf.interpreter.is_some() => ElfKind::Program,
        (false, _) => ElfKind::Library,
    }
}

fn interpreter(image: &Image<'_>, segment: &Segment) -> Parsed<Box<str>> {
    let size = usize::try_from(segment.size).ok().filter(|n| *n <= MAX_NAME).ok_or(Fault::Malformed)?;
    let path = image.get(segment.offset, size)?;
    let path = path.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(path).into())
}

/// Tags and values of the dynamic section.
fn dynamic(image: &Image<'_>, segment: &Segment, f: Format) -> Parsed<Vec<(u64, u64)>> {
    if segment.size > MAX_DYNAMIC {
        return Err(Fault::Malformed);
    }
    let table = image.get(segment.offset, usize::try_from(segment.size).map_err(|_| Fault::Malformed)?)?;
    let entry = |at: &[u8]| (f.word(at, 0), f.word(at, f.either(4, 8)));
    Ok(table.chunks_exact(f.either(8, 16)).map(entry).take_while(|(tag, _)| *tag != DT_NULL).collect())
}

/// Reads what the dynamic section leads to.
struct Reader<'a> {
    image: &'a Image<'a>,
    format: Format,
    segments: &'a [Segment],
    /// Where the string table is, and its size.
    strings: (u64, u64),
    /// How much more may be read of names.
    names: usize,
}

impl Reader<'_> {
    fn read(&mut self, entries: &[(u64, u64)], elf: &mut Elf) -> Parsed<()> {
        let value = |wanted| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
        if let Some((address, size)) = value(DT_STRTAB).zip(value(DT_STRSZ)) {
            self.strings = (self.offset(address)?, size);
        }
        for (tag, value) in entries {
            match *tag {
                DT_NEEDED => elf.needed.push(self.name(*value)?),
                DT_SONAME => elf.soname = Some(self.name(*value)?),
                DT_RPATH => elf.rpath = self.paths(*value)?,
                DT_RUNPATH => elf.runpath = self.paths(*value)?,
                _ => {}
            }
        }
        if let Some(address) = value(DT_VERNEED) {
            self.versions_needed(self.offset(address)?, elf)?;
        }
        if let Some(address) = value(DT_VERDEF) {
            self.versions_provided(self.offset(address)?, elf)?;
        }
        Ok(())
    }

    /// `Elf32_Verneed` and `Elf32_Vernaux`, which the 64-bit format has as well: chains of records, each with the
    /// distance to the next, which ends the chain where it is 0.
    fn versions_needed(&mut self, mut at: u64, elf: &mut Elf) -> Parsed<()> {
        loop {
            let need = self.image.get(at, 16)?;
            let library = self.name(self.format.u32(&need, 4).into())?;
            let mut aux_at = ahead(at, self.format.u32(&need, 8))?;
            for _ in 0..self.format.u16(&need, 2) {
                let aux = self.image.get(aux_at, 16)?;
                let is_weak = self.format.u16(&aux, 4) & VER_FLG_WEAK != 0;
                let version = self.name(self.format.u32(&aux, 8).into())?;
                self.spend(library.len())?;
                elf.versions_needed.push((library.clone(), version, is_weak));
                aux_at = match self.format.u32(&aux, 12) {
                    0 => break,
                    next => ahead(aux_at, next)?,
                };
            }
            at = match self.format.u32(&need, 12) {
                0 => return Ok(()),
                next => ahead(at, next)?,
            };
        }
    }

    /// `Elf32_Verdef`; the first `Elf32_Verdaux` has the version's name, others the names of its predecessors.
    fn versions_provided(&mut self, mut at: u64, elf: &mut Elf) -> Parsed<()> {
        loop {
            let def = self.image.get(at, 20)?;
            let aux = self.image.get(ahead(at, self.format.u32(&def, 12))?, 8)?;
            let name = self.name(self.format.u32(&aux, 0).into())?;
            if self.format.u16(&def, 2) & VER_FLG_BASE == 0 {
                elf.versions_provided.push(name);
            }
            at = match self.format.u32(&def, 16) {
                0 => return Ok(()),
                next => ahead(at, next)?,
            };
        }
    }

    /// Where in the file an address of the running program is.
    fn offset(&self, address: u64) -> Parsed<u64> {
        let inside = |s: &&Segment| {
            s.kind == PT_LOAD && address.checked_sub(s.address).is_some_and(|distance| distance < s.size)
        };
        let segment = self.segments.iter().find(inside).ok_or(Fault::Malformed)?;
        segment.offset.checked_add(address - segment.address).ok_or(Fault::Malformed)
    }

    /// A name in the string table.
    fn name(&mut self, index: u64) -> Parsed<Box<str>> {
        let (table, size) = self.strings;
        let left = size.checked_sub(index).ok_or(Fault::Malformed)?;
        let most = usize::try_from(left).unwrap_or(MAX_NAME).min(MAX_NAME);
        let bytes = self.image.up_to(table.checked_add(index).ok_or(Fault::Malformed)?, most)?;
        let end = bytes.iter().position(|b| *b == 0).ok_or(Fault::Malformed)?;
        self.spend(end)?;
        Ok(String::from_utf8_lossy(&bytes[..end]).into())
    }

    fn paths(&mut self, index: u64) -> Parsed<Vec<Box<str>>> {
        Ok(self.name(index)?.split(':').filter(|path| !path.is_empty()).map(Box::from).collect())
    }

    fn spend(&mut self, length: usize) -> Parsed<()> {
        self.names = self.names.checked_sub(length + 16).ok_or(Fault::Malformed)?;
        Ok(())
    }
}

fn ahead(at: u64, distance: u32) -> Parsed<u64> {
    at.checked_add(distance.into()).ok_or(Fault::Malformed)
}
