//! Decompressing.

use std::io::{self, BufReader, Read};

use palan_core::Compression;

use super::{Blocks, Sniffed, gunzip::Gunzip, input::Input, sniff};
use crate::{BUFFER, Error, Limits, Result};

type Source<R> = Input<BufReader<Sniffed<R>>>;

/// Reads the uncompressed archive out of a layer's blob, whatever its compression.
///
/// * gzip: any number of members. Zero bytes after the last one are taken as padding (as GNU gzip does; Go's reader
///   refuses them) and counted in [`Decoder::padding`]; any other data there is an error.
/// * zstd: any number of frames; skippable frames are skipped. Windows up to 128 MiB.
/// * none: the bytes as they are.
///
/// A stream that is cut off is always an error. Reading fails with an [`io::Error`] that holds an [`Error`]; turn it
/// back with `Error::from`.
pub struct Decoder<R: Read> {
    stream: Stream<R>,
    compression: Compression,
    limits: Limits,
    produced: u64,
    /// What comes after the bytes that were handed out.
    failure: Option<io::Error>,
}

enum Stream<R: Read> {
    Plain(Source<R>),
    Gzip(Gunzip<BufReader<Sniffed<R>>>),
    // Boxed: the decoder is large beside the other variants.
    Zstd(Box<zstd::stream::read::Decoder<'static, Source<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader` to find the compression. Buffers what is compressed: `reader` need not; what is plain
    /// is best read in large pieces.
    pub fn new(reader: R) -> Result<Self> {
        Self::with_limits(reader, &Limits::default())
    }

    /// As [`Decoder::new`], with other bounds on size and ratio of expansion.
    pub fn with_limits(reader: R, limits: &Limits) -> Result<Self> {
        let (compression, reader) = sniff(reader)?;
        // Who reads a plain archive has a buffer; another would only be one copy more.
        let buffer = if compression == Compression::None { 0 } else { BUFFER };
        let source = Input::new(BufReader::with_capacity(buffer, reader));
        let stream = match compression {
            Compression::None => Stream::Plain(source),
            Compression::Gzip => Stream::Gzip(Gunzip::new(source)?),
            Compression::Zstd => Stream::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(source)?)),
        };
        Ok(Self { stream, compression, limits: *limits, produced: 0, failure: None })
    }

    /// The compression found.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Compressed bytes consumed so far.
    pub fn consumed(&self) -> u64 {
        self.source().map_or(0, |source| source.consumed)
    }

    /// Zero bytes found after the last gzip member.
    pub fn padding(&self) -> u64 {
        match &self.stream {
            Stream::Gzip(gunzip) => gunzip.padding,
            _ => 0,
        }
    }

    /// From now on, notes where gzip's blocks stand.
    pub fn note_blocks(&mut self) {
        if let Stream::Gzip(gunzip) = &mut self.stream {
            gunzip.blocks = Some(Blocks::default());
        }
    }

    /// The blocks noted so far; `None` where it is not gzip or nobody asked to note them.
    pub fn blocks(&mut self) -> Option<Blocks> {
        match &mut self.stream {
            Stream::Gzip(gunzip) => gunzip.blocks.take(),
            _ => None,
        }
    }

    fn source(&self) -> Option<&Source<R>> {
        match &self.stream {
            Stream::Plain(source) => Some(source),
            Stream::Gzip(gunzip) => Some(gunzip.source()),
            Stream::Zstd(decoder) => Some(decoder.get_ref()),
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let (offset, failed) = self.source().map_or((0, false), |s| (s.consumed, s.failed));
        let compression = self.compression;
        if failed || Error::is_inside(&error) {
            return error;
        }
        match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => Error::Truncated { compression, offset, spot: None }.into(),
            _ => Error::Corrupt { compression, offset, spot: None, reason: error.to_string() }.into(),
        }
    }

    fn check_limits(&self) -> Result<()> {
        let limit = |what, limit| Err(Error::Limit { what, limit, spot: None });
        if self.produced > self.limits.raw_size {
            return limit("uncompressed bytes", self.limits.raw_size);
        }
        let many = self.produced > self.limits.ratio_from;
        if many && self.produced / self.limits.ratio.max(1) > self.consumed() {
            return limit("uncompressed bytes per compressed byte", self.limits.ratio);
        }
        Ok(())
    }

    fn read_some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.stream {
            Stream::Plain(source) => source.read(buf),
            Stream::Gzip(gunzip) => gunzip.read(buf),
            Stream::Zstd(decoder) => decoder.read(buf),
        };
        let n = result.map_err(|e| self.explain(e))?;
        self.produced += n as u64;
        self.check_limits()?;
        Ok(n)
    }
}

/// Fills the buffer, unless the archive is plain, or ends: what is passed on in pieces of one size is written in half the time.
impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let result = match self.failure.take() {
                Some(failure) => Err(failure),
                None => self.read_some(&mut buf[filled..]),
            };
            match result {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(failure) if filled > 0 => {
                    self.failure = Some(failure);
                    break;
                }
                Err(failure) => return Err(failure),
            }
            if self.compression == Compression::None {
                break;
            }
        }
        Ok(filled)
    }
}
