//! The compressed side of a decoder.

use std::io::{self, BufRead, Read};

/// Counts what is consumed, and remembers whether the reader itself failed, so that a failing network is not reported
/// as a damaged stream.
#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    pub(super) consumed: u64,
    pub(super) failed: bool,
}

impl<R> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, consumed: 0, failed: false }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buf);
        match &result {
            Ok(n) => self.consumed += *n as u64,
            Err(e) => self.failed |= e.kind() != io::ErrorKind::Interrupted,
        }
        result
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        filled(&mut self.inner).inspect_err(|_| self.failed = true)
    }

    fn consume(&mut self, n: usize) {
        self.consumed += n as u64;
        self.inner.consume(n);
    }
}

/// What is in a reader's buffer, or else comes next; nothing at its end, which is not asked for twice.
pub(crate) fn filled<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(&[]),
            // Asking twice is free when there is something in the buffer, and satisfies the borrow checker.
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    reader.fill_buf()
}
