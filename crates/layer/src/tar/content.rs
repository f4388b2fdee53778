//! The content of an entry, with the holes of sparse files.

use std::io::Read;

use super::{BLOCK, Header, input::Input};
use crate::Result;

/// Holes are read from here.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What is left of the current entry's content.
#[derive(Default)]
pub(super) struct Content {
    /// Bytes left until the next region of data: a hole.
    hole: u64,
    /// Bytes left of the current region of data.
    data: u64,
    /// Number of the next region of a sparse file.
    next: usize,
    /// Position in the file, holes included.
    position: u64,
    /// Bytes left in the archive, padding included.
    stored: u64,
}

impl Content {
    /// `None` if the size is impossible.
    pub(super) fn new(header: &Header) -> Option<Self> {
        let stored = header.stored.checked_next_multiple_of(BLOCK as u64)?;
        let data = if header.is_sparse() { 0 } else { header.size };
        Some(Self { data, stored, ..Self::default() })
    }

    /// Bytes left in the archive, padding included.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether nothing of the content itself is missing, which is followed by so much padding.
    fn only_padding_is_left(&mut self, padding: u64) -> bool {
        let complete = self.stored <= padding;
        if complete {
            *self = Self::default();
        }
        complete
    }

    /// Skips the rest, of which `padding` bytes are padding; false if the archive ends too early. An archive that ends
    /// within the padding is whole to Go's reader.
    pub(super) fn skip<R: Read>(&mut self, input: &mut Input<R>, padding: u64) -> Result<bool> {
        while self.stored > 0 {
            if !input.fill_any()? {
                return Ok(self.only_padding_is_left(padding));
            }
            let n = at_most(self.stored, input.len());
            self.stored -= n as u64;
            input.consume(n);
        }
        *self = Self::default();
        Ok(true)
    }

    /// Makes the next piece available; false if the archive ends too early.
    pub(super) fn fill<R: Read>(&mut self, input: &mut Input<R>, header: &Header) -> Result<bool> {
        while self.hole == 0 && self.data == 0 && self.next_region(header) {}
        if self.data == 0 || self.hole > 0 { Ok(true) } else { input.fill_any() }
    }

    /// The piece made available: a part of the buffer, or zeros; empty at the end.
    pub(super) fn piece<'a, R: Read>(&self, input: &'a Input<R>) -> &'a [u8] {
        if self.hole > 0 {
            return &ZEROS[..at_most(self.hole, ZEROS.len())];
        }
        &input.bytes()[..at_most(self.data, input.len())]
    }

    pub(super) fn consume<R: Read>(&mut self, n: usize, input: &mut Input<R>) {
        self.position += n as u64;
        if self.hole > 0 {
            self.hole -= n as u64;
        } else {
            self.data -= n as u64;
            self.stored -= n as u64;
            input.consume(n);
        }
    }

    /// Passes over a hole that was made available; how long it is.
    pub(super) fn take_hole(&mut self) -> u64 {
        let hole = std::mem::take(&mut self.hole);
        self.position += hole;
        hole
    }

    /// Moves on to the next region of a sparse file; false at the end of the file.
    fn next_region(&mut self, header: &Header) -> bool {
        if self.position >= header.size {
            return false;
        }
        let end = (header.size, 0);
        let (offset, length) = header.sparse.get(self.next).copied().unwrap_or(end);
        self.next += 1;
        self.hole = offset - self.position;
        self.data = length;
        true
    }
}

fn at_most(n: u64, limit: usize) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX).min(limit)
}
