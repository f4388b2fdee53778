//! Reading archives, on `tar-core`'s parser.

use std::{
    io::{self, BufRead, Read},
    ops::Deref,
};

use tar_core::{
    PaxExtensions, SparseEntry,
    parse::{ParseError, ParseEvent, Parser},
};

use super::{BLOCK, Header, Kind, content::Content, input::Input};
use crate::{EntryPath, Error, Limits, Result, error::Spot};

/// How an archive ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With two zero blocks, as it should.
    Marker,
    /// With one zero block.
    HalfMarker,
    /// Right after the last entry; it may have been cut off there.
    Missing,
}

/// How an archive ends, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The end marker.
    pub end: End,
    /// Bytes after the end marker.
    pub trailing: u64,
    /// Whether some of those are not zero: data that readers of tar never see, but that the diff ID covers.
    pub hidden_data: bool,
}

/// Reads an uncompressed archive, entry by entry, in one pass and constant memory.
///
/// Understands ustar, GNU and PAX: long names, large numbers, sparse files (GNU and PAX 0.0, 0.1, 1.0; read with
/// their holes). Global PAX headers are skipped, as Go's reader does. Two zero blocks end the archive.
pub struct Archive<R> {
    input: Input<R>,
    parser: Parser,
    limits: Limits,
    header: Header,
    content: Content,
    entries: u64,
    ended: Option<End>,
}

impl<R: Read> Archive<R> {
    /// An archive with default limits. Buffers: `reader` need not.
    pub fn new(reader: R) -> Self {
        Self::with_limits(reader, &Limits::default())
    }

    /// An archive with other limits.
    pub fn with_limits(reader: R, limits: &Limits) -> Self {
        let mut parser = Parser::new(tar_core::parse::Limits {
            max_metadata_size: u32::try_from(limits.metadata).unwrap_or(u32::MAX),
            max_path_len: Some(u32::try_from(limits.path).unwrap_or(u32::MAX)),
            max_sparse_entries: limits.metadata / size_of::<SparseEntry>(),
            ..Default::default()
        });
        // `Header::fill` checks them, and knows negative times.
        parser.set_ignore_pax_errors(true);
        Self {
            input: Input::new(reader),
            parser,
            limits: *limits,
            header: Header::default(),
            content: Content::default(),
            entries: 0,
            ended: None,
        }
    }

    /// Entries read so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry, or `None` at the end of the archive. What was not read of the entry before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>> {
        match self.advance() {
            Ok(true) => Ok(Some(Entry { archive: self })),
            Ok(false) => Ok(None),
            Err(error) => Err(error.at(|| self.spot())),
        }
    }

    /// Reads what is left, to the end of `reader`, and says how the archive ends.
    pub fn finish(mut self) -> Result<Ending> {
        self.read_to_end().map_err(|error| error.at(|| self.spot()))
    }

    fn read_to_end(&mut self) -> Result<Ending> {
        while self.advance()? {}
        let mut ending = Ending { end: self.ended.unwrap_or(End::Missing), trailing: 0, hidden_data: false };
        while self.input.fill_any()? {
            let bytes = self.input.bytes();
            ending.trailing += bytes.len() as u64;
            ending.hidden_data |= bytes.iter().any(|b| *b != 0);
            self.input.consume(self.input.len());
        }
        Ok(ending)
    }

    /// Goes to the next entry; false at the end of the archive.
    fn advance(&mut self) -> Result<bool> {
        self.skip_content()?;
        if self.ended.is_some() || !self.parse()? {
            return Ok(false);
        }
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.limit("entries", self.limits.entries));
        }
        Ok(true)
    }

    fn spot(&self) -> Spot {
        Spot { offset: self.input.offset(), after: self.after() }
    }

    /// Parses headers up to the next entry's into `self.header`; false at the end of the archive.
    fn parse(&mut self) -> Result<bool> {
        loop {
            if self.at_end()? {
                return Ok(false);
            }
            let mut wanted = BLOCK;
            loop {
                match self.parse_buffered(wanted)? {
                    Parsed::More(more) => wanted = more,
                    Parsed::Skip => break,
                    Parsed::Entry => return Ok(true),
                }
            }
        }
    }

    /// Whether the archive ends where a header is expected.
    ///
    /// The parser skips a single zero block between entries; GNU tar ends there, Go's reader fails. An archive that
    /// they understand differently is refused.
    fn at_end(&mut self) -> Result<bool> {
        if !self.input.fill(BLOCK)? {
            if self.input.len() > 0 {
                return Err(self.cut_off());
            }
            return self.no_marker(End::Missing);
        }
        if self.input.bytes()[..BLOCK].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        if !self.input.fill(2 * BLOCK)? {
            if self.input.len() > BLOCK {
                return Err(self.cut_off());
            }
            self.input.consume(BLOCK);
            return self.no_marker(End::HalfMarker);
        }
        if self.input.bytes()[BLOCK..2 * BLOCK].iter().any(|b| *b != 0) {
            return Err(self.bad_header(&"a single zero block between entries"));
        }
        self.input.consume(2 * BLOCK);
        self.ended = Some(End::Marker);
        Ok(true)
    }

    fn no_marker(&mut self, end: End) -> Result<bool> {
        if self.limits.end_marker_required {
            return Err(self.cut_off());
        }
        self.ended = Some(end);
        Ok(true)
    }

    /// One attempt of the parser, with at least `wanted` bytes in the buffer.
    fn parse_buffered(&mut self, wanted: usize) -> Result<Parsed> {
        if wanted > self.limits.metadata.saturating_add(64 * BLOCK) {
            return Err(self.limit("bytes of metadata in one entry", self.limits.metadata as u64));
        }
        if !self.input.fill(wanted)? {
            return Err(self.cut_off());
        }
        let (input, offset) = (self.input.bytes(), self.input.offset());
        let event = match self.parser.parse(input) {
            Ok(event) => event,
            Err(error) => return Err(self.explain(&error)),
        };
        let outcome = match event {
            // The parser may ask for less than it was given, when a line of a sparse map is longer than it thinks.
            ParseEvent::NeedData { min_bytes } => {
                // No more than that, as the archive may end there.
                let more = if min_bytes > input.len() { min_bytes } else { input.len() + BLOCK };
                return Ok(Parsed::More(more));
            }
            ParseEvent::GlobalExtensions { consumed, pax_data } => {
                // The parser forgets the extension headers that it has read before.
                if consumed != BLOCK + pax_data.len().next_multiple_of(BLOCK) {
                    return Err(self.bad_header(&"extension headers without an entry"));
                }
                (consumed, Parsed::Skip)
            }
            // Seen before the parser was asked, so it stands behind headers that belong to no entry.
            ParseEvent::End { .. } => return Err(self.bad_header(&"extension headers without an entry")),
            ParseEvent::Entry { consumed, entry } => {
                let filled = self.header.fill(&entry, &input[..consumed], offset);
                filled.map_err(|reason| Self::entry_error(&self.header, reason))?;
                (consumed, Parsed::Entry)
            }
            ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                let filled = self.header.fill(&entry, &input[..consumed], offset);
                let counts_map =
                    entry.pax.is_some_and(|pax| PaxExtensions::new(pax).get("GNU.sparse.major") == Some("1"));
                let filled =
                    filled.and_then(|()| set_sparse(&mut self.header, &sparse_map, real_size, counts_map));
                filled.map_err(|reason| Self::entry_error(&self.header, reason))?;
                (consumed, Parsed::Entry)
            }
        };
        if matches!(outcome.1, Parsed::Entry) {
            self.header.check_blocks().map_err(|reason| Self::entry_error(&self.header, reason))?;
        }
        self.input.consume(outcome.0);
        if matches!(outcome.1, Parsed::Entry) {
            self.start_content()?;
        }
        Ok(outcome.1)
    }

    fn start_content(&mut self) -> Result<()> {
        let header = &self.header;
        if header.size > self.limits.raw_size {
            return Err(self.limit("bytes in one file", self.limits.raw_size));
        }
        let Some(content) = Content::new(header) else {
            return Err(Self::entry_error(header, format!("impossible size {}", header.stored)));
        };
        self.content = content;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<()> {
        let stored = self.header.stored;
        let tolerated = match self.limits.end_marker_required {
            true => 0,
            false => stored.checked_next_multiple_of(BLOCK as u64).map_or(0, |padded| padded - stored),
        };
        if self.content.skip(&mut self.input, tolerated)? { Ok(()) } else { Err(self.entry_cut_off()) }
    }

    fn after(&self) -> Option<EntryPath> {
        (self.entries > 0).then(|| EntryPath::from(&self.header.path))
    }

    fn limit(&self, what: &'static str, limit: u64) -> Error {
        Error::Limit { what, limit, spot: Some(self.spot()) }
    }

    fn bad_header(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::TarHeader { offset: self.input.offset(), after: self.after(), reason: reason.to_string() }
    }

    fn cut_off(&self) -> Error {
        if self.input.offset() == 0 && !self.looks_like_tar() {
            return Error::NotTar;
        }
        let offset = self.input.offset() + self.input.len() as u64;
        Error::TarCutOff { offset, after: self.after() }
    }

    fn entry_cut_off(&self) -> Error {
        let path = EntryPath::from(&self.header.path);
        Error::EntryCutOff { path, offset: self.input.offset(), missing: self.content.stored() }
    }

    fn entry_error(header: &Header, reason: String) -> Error {
        Error::Entry { path: EntryPath::from(&header.path), offset: header.offset, reason }
    }

    fn explain(&self, error: &ParseError) -> Error {
        match error {
            ParseError::PathTooLong { .. } => self.limit("bytes in one path", self.limits.path as u64),
            ParseError::MetadataTooLarge { .. } | ParseError::TooManySparseEntries { .. } => {
                self.limit("bytes of metadata in one entry", self.limits.metadata as u64)
            }
            _ if self.input.offset() == 0 && !self.looks_like_tar() => Error::NotTar,
            other => self.bad_header(&other),
        }
    }

    /// Whether the first block could be a header, at least by its checksum's form and the mark that all but the oldest
    /// archives have; what is cut before that cannot be told.
    fn looks_like_tar(&self) -> bool {
        let head = self.input.bytes();
        head.get(257..262).is_some_and(|mark| mark == b"ustar") || head.iter().all(|b| *b == 0)
    }
}

enum Parsed {
    /// A header that only says something about the archive.
    Skip,
    Entry,
    /// More input is needed: so many bytes in all.
    More(usize),
}

/// Checks and takes over the map of a sparse file.
fn set_sparse(
    header: &mut Header,
    map: &[SparseEntry],
    real_size: u64,
    counts_map: bool,
) -> Result<(), String> {
    if header.kind != Kind::File {
        return Err("the map of a sparse file stands before something else".into());
    }
    let mut end = 0u64;
    let mut sum = 0u64;
    for region in map {
        let after = region.offset.checked_add(region.length).filter(|after| *after <= real_size);
        let Some(after) = after.filter(|_| region.offset >= end) else {
            return Err("the map of the sparse file is not in order".into());
        };
        end = after;
        sum += region.length;
        header.sparse.push((region.offset, region.length));
    }
    // In format 1.0, a PAX `size` record counts the blocks of the map, which the parser has consumed.
    let map = header.stored.checked_sub(sum);
    if header.stored != sum && !(counts_map && map.is_some_and(|n| n % BLOCK as u64 == 0)) {
        return Err(format!("the map of the sparse file has {sum} bytes, the file {}", header.stored));
    }
    header.stored = sum;
    header.size = real_size;
    Ok(())
}

/// An entry that was just read: its [`Header`], and its content to read.
pub struct Entry<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: Read> Entry<'_, R> {
    /// The metadata.
    pub fn header(&self) -> &Header {
        &self.archive.header
    }

    /// Passes over the hole of a sparse file that is next; how long it is, in bytes.
    pub fn skip_hole(&mut self) -> io::Result<u64> {
        self.fill_buf()?;
        Ok(self.archive.content.take_hole())
    }

    /// An error about this entry.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Archive::<R>::entry_error(&self.archive.header, reason.into())
    }
}

impl<R: Read> Deref for Entry<'_, R> {
    type Target = Header;

    fn deref(&self) -> &Header {
        self.header()
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let content = self.fill_buf()?;
        let n = content.len().min(buf.len());
        buf[..n].copy_from_slice(&content[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Entry<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let Archive { input, content, header, .. } = &mut *self.archive;
        match content.fill(input, header) {
            Ok(true) => {}
            Ok(false) => return Err(self.archive.entry_cut_off().into()),
            Err(error) => return Err(error.at(|| self.archive.spot()).into()),
        }
        Ok(self.archive.content.piece(&self.archive.input))
    }

    fn consume(&mut self, n: usize) {
        let Archive { input, content, .. } = &mut *self.archive;
        content.consume(n, input);
    }
}
