//! Digests of what streams past.

use std::io::{self, Read, Write};

use palan_core::{Algorithm, Descriptor, Digest, Hasher, Verifier};

use crate::{BUFFER, Error, Result, merge::Sink};

/// Hashes and counts everything read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

/// Counts what is read through it, and hashes it unless somebody else does already.
pub(crate) struct RawReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    count: u64,
}

impl<R> RawReader<R> {
    pub(crate) fn new(inner: R, hashed_elsewhere: bool) -> Self {
        let hasher = (!hashed_elsewhere).then(|| Algorithm::Sha256.hasher());
        Self { inner, hasher, count: 0 }
    }

    pub(crate) fn finish(self) -> (Option<Digest>, u64, R) {
        (self.hasher.map(Hasher::finish), self.count, self.inner)
    }
}

impl<R: Read> Read for RawReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.count += n as u64;
        Ok(n)
    }
}

impl<R> HashingReader<R> {
    /// Hashes with `algorithm`.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, hasher: algorithm.hasher(), count: 0 }
    }

    /// The reader inside.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Digest and number of the bytes read, and the reader.
    pub fn finish(self) -> (Digest, u64, R) {
        (self.hasher.finish(), self.count, self.inner)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

/// Hashes and counts everything written through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W> HashingWriter<W> {
    /// Hashes with `algorithm`.
    pub fn new(inner: W, algorithm: Algorithm) -> Self {
        Self { inner, hasher: algorithm.hasher(), count: 0 }
    }

    /// Digest and number of the bytes written, and the writer.
    pub fn finish(self) -> (Digest, u64, W) {
        (self.hasher.finish(), self.count, self.inner)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: Sink> Sink for HashingWriter<S> {
    fn copy(&mut self, layer: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.copy(layer, offset, bytes)?;
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
        Ok(())
    }
}

/// Writes everything read through it to a writer as well.
#[derive(Debug)]
pub(crate) struct TeeReader<R, W> {
    pub(crate) reader: R,
    pub(crate) writer: W,
}

impl<R: Read, W: Write> Read for TeeReader<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.writer.write_all(&buf[..n])?;
        Ok(n)
    }
}

/// Fails as soon as there is more to read than a descriptor promises; the rest is checked by
/// [`VerifyingReader::finish`].
#[derive(Debug)]
pub(crate) struct VerifyingReader<R> {
    inner: R,
    /// None where the reader itself does it.
    verifier: Option<Verifier>,
}

/// A layer's blob, as it is expected.
#[derive(Clone, Debug)]
pub struct Expected {
    pub(crate) descriptor: Descriptor,
    verified: bool,
}

impl Expected {
    /// The reader fails by itself, before its end, where its content is not this blob's: it is not hashed again.
    pub fn verified(descriptor: Descriptor) -> Self {
        Self { descriptor, verified: true }
    }
}

impl From<Descriptor> for Expected {
    /// Of a reader that nobody has checked.
    fn from(descriptor: Descriptor) -> Self {
        Self { descriptor, verified: false }
    }
}

impl<R: Read> VerifyingReader<R> {
    pub(crate) fn new(inner: R, expected: &Expected) -> Self {
        Self { inner, verifier: (!expected.verified).then(|| Verifier::of(&expected.descriptor)) }
    }

    pub(crate) fn finish(self) -> Result<()> {
        Ok(self.verifier.map_or(Ok(()), Verifier::finish)?)
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&buf[..n]).map_err(Error::from)?;
        }
        Ok(n)
    }
}

/// Reads all of `reader` and checks it against the digest and size of `expected`.
pub fn verify(reader: impl Read, expected: &Descriptor) -> Result<()> {
    let mut reader = VerifyingReader::new(reader, &expected.clone().into());
    drain(&mut reader)?;
    reader.finish()
}

/// Reads to the end, in large pieces.
pub(crate) fn drain(reader: &mut impl Read) -> Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => total += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}
