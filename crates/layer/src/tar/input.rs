//! The buffer that archives are parsed in.

use std::io::{self, Read};

use crate::{BUFFER, Result};

/// Reads ahead in large pieces, and hands out what is read without copying it again.
pub(super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The part of `buffer` that is read but not consumed.
    start: usize,
    end: usize,
    /// Bytes consumed.
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    /// What is read but not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        self.offset += n as u64;
    }

    /// Makes at least `wanted` bytes available; false if the reader ends before.
    pub(super) fn fill(&mut self, wanted: usize) -> Result<bool> {
        while self.len() < wanted {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.buffer.len() < wanted + BUFFER {
                self.buffer.resize(wanted + BUFFER, 0);
            }
            if !self.refill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes sure that there is something; false at the end of the reader.
    pub(super) fn fill_any(&mut self) -> Result<bool> {
        if self.len() > 0 {
            return Ok(true);
        }
        (self.start, self.end) = (0, 0);
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER, 0);
        }
        self.refill()
    }

    /// Reads more behind what is there, always as much: who writes what was read does so at multiples of that. False at the
    /// end of the reader.
    fn refill(&mut self) -> Result<bool> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..self.end + BUFFER]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
