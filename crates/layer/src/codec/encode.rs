//! Compressing. The bytes made depend on the input, the compression and the level, never on the number of threads or
//! on how the input is cut into writes.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    sync::Arc,
};

use palan_core::Compression;
use zstd::zstd_safe::CParameter;

use super::{
    gzip::{Effort, Members},
    keep::{Keeper, Original},
};
use crate::{Error, Result, merge::Sink};

/// Input per zstd job, at levels up to [`MAX_SMALL_JOBS`]. Part of the format: another size gives other bytes. zstd's
/// own choice (8 MiB) needs three times the memory for 0.9 % fewer bytes.
const JOB: u32 = 2 * 1024 * 1024;
/// The highest level with windows (2 MiB) that fit such a job.
const MAX_SMALL_JOBS: i32 = 6;

/// The usual level of gzip.
pub(super) const GZIP: i32 = 5;

/// How hard to compress: a number on the codec's own scale, or its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level(Choice);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    Usual,
    Quick,
    Number(i32),
}

impl Level {
    /// gzip 5 (as small as zlib's 9, in a fraction of the time), less where samples show that this gains little: members
    /// that shrink to no less than 55 % are compressed at level 1, those that do not shrink at all are stored. zstd 3.
    pub const DEFAULT: Self = Self(Choice::Usual);

    /// gzip 1 (half the time of 5 for 5 to 7 % more bytes, and smaller than Go's level 1); zstd 2 (two thirds of the time of 3
    /// for 5 % more bytes, still fewer than gzip's).
    pub const QUICK: Self = Self(Choice::Quick);

    /// A level of the codec: gzip 0 (stored) to 12, zstd 1 to 22. Checked when the encoder is made.
    pub const fn new(level: i32) -> Self {
        Self(Choice::Number(level))
    }

    /// The codec's number.
    fn resolve(self, compression: Compression) -> Result<i32> {
        let (usual, quick, min, max) = match compression {
            Compression::None => return Ok(0),
            Compression::Gzip => (GZIP, 1, 0, 12),
            Compression::Zstd => (3, 2, 1, 22),
        };
        let level = match self.0 {
            Choice::Usual => usual,
            Choice::Quick => quick,
            Choice::Number(level) => level,
        };
        if !(min..=max).contains(&level) {
            return Err(Error::Level { compression, level, min, max });
        }
        Ok(level)
    }
}

/// Compresses an archive on its way into `W`. Nothing is complete before [`Encoder::finish`].
pub struct Encoder<W: Write>(Stream<W>);

enum Stream<W: Write> {
    Plain(W),
    Gzip(Keeper<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// An encoder with as many threads as [`default_threads`] gives.
    pub fn new(writer: W, compression: Compression, level: Level) -> Result<Self> {
        Self::with_threads(writer, compression, level, default_threads())
    }

    /// An encoder with up to `threads` threads of its own. At the default levels it holds about 4 MiB (gzip) or 10 MiB
    /// (zstd) per thread, less for small layers.
    pub fn with_threads(
        writer: W,
        compression: Compression,
        level: Level,
        threads: NonZeroUsize,
    ) -> Result<Self> {
        let saves_time = level.0 == Choice::Usual;
        let level = level.resolve(compression)?;
        Ok(Self(match compression {
            Compression::None => Stream::Plain(writer),
            Compression::Gzip => {
                Stream::Gzip(Keeper::new(Members::new(writer, Effort { level, saves_time }, threads)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(writer, level)?;
                encoder.include_checksum(true)?;
                // One worker gives other bytes than none, but the same as many.
                encoder.multithread(u32::try_from(threads.get()).unwrap_or(1))?;
                if level <= MAX_SMALL_JOBS {
                    encoder.set_parameter(CParameter::JobSize(JOB))?;
                }
                Stream::Zstd(encoder)
            }
        }))
    }

    /// Lets what is [copied](Sink::copy) keep the blocks that these layers have, by their numbers. For gzip only.
    pub fn keep_of(&mut self, originals: Arc<[Option<Original>]>) {
        if let Stream::Gzip(keeper) = &mut self.0 {
            keeper.keep_of(originals);
        }
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(self) -> Result<W> {
        Ok(match self.0 {
            Stream::Plain(writer) => writer,
            Stream::Gzip(keeper) => keeper.finish()?,
            Stream::Zstd(encoder) => encoder.finish()?,
        })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Plain(writer) => writer.write(buf),
            Stream::Gzip(keeper) => keeper.write(buf),
            Stream::Zstd(encoder) => encoder.write(buf),
        }
    }

    /// Flushes the writer only: forcing the codec to emit what it holds would make the bytes depend on who flushes.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Stream::Plain(writer) => writer.flush(),
            Stream::Gzip(_) | Stream::Zstd(_) => Ok(()),
        }
    }
}

impl<W: Write> Sink for Encoder<W> {
    fn copy(&mut self, layer: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Stream::Gzip(keeper) => keeper.copy(layer, offset, bytes),
            _ => self.write_all(bytes),
        }
    }
}

/// The machine's threads, at most four: beyond that the hash of the input, which is one thread's work, is slower.
pub fn default_threads() -> NonZeroUsize {
    const MOST: NonZeroUsize = NonZeroUsize::new(4).unwrap();
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(MOST)
}
