//! The inflater, block by block.
//!
//! flate2 does not tell where a deflate block ends, and that is what [`Blocks`](super::Blocks) are made of. zlib's own
//! interface does; all that is unsafe about it is in this file.

use std::{ffi::CStr, io};

use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_, inflateReset,
    z_stream, zlibVersion,
};

/// A window of 32 KiB.
const WINDOW_BITS: i32 = 15;
/// Added to expect a gzip header and trailer.
const GZIP: i32 = 16;

/// Decompresses one deflate stream.
pub(super) struct Inflate {
    /// Boxed: the state that it points to may point back.
    stream: Box<z_stream>,
}

// SAFETY: what the stream points to is its own state, which nothing else knows, and buffers that are set anew before each
// use; nothing of it belongs to a thread.
unsafe impl Send for Inflate {}

/// What one call did.
pub(super) struct Step {
    /// Bytes taken from the input.
    pub(super) read: usize,
    /// Bytes put into the output.
    pub(super) written: usize,
    pub(super) at: At,
}

/// Where in the stream a call ended.
pub(super) enum At {
    /// Somewhere: the output is full, or the input used up. Where nothing was read nor written, more input is needed.
    Somewhere,
    /// Before the first block, or behind one.
    Boundary {
        /// Bits of the last byte taken that belong to what follows.
        unused: u8,
        /// Whether the block before was the stream's last.
        last: bool,
    },
    /// Behind the stream and, with gzip, its trailer, which was right.
    End,
    /// Where it is damaged.
    Damage(io::Error),
}

impl Step {
    fn is_idle(&self) -> bool {
        self.read + self.written == 0 && matches!(self.at, At::Somewhere | At::Boundary { .. })
    }
}

impl Inflate {
    /// For one member of gzip.
    pub(super) fn gzip() -> io::Result<Self> {
        Self::new(WINDOW_BITS + GZIP)
    }

    /// For a stream without header and trailer.
    pub(super) fn raw() -> io::Result<Self> {
        Self::new(-WINDOW_BITS)
    }

    fn new(window_bits: i32) -> io::Result<Self> {
        let mut stream = Box::new(z_stream::default());
        let size = i32::try_from(size_of::<z_stream>()).unwrap_or(0);
        // SAFETY: the stream is a valid one, and version and size are those it was compiled with.
        let code = unsafe { inflateInit2_(&raw mut *stream, window_bits, zlibVersion(), size) };
        let inflate = Self { stream };
        match code {
            Z_OK => Ok(inflate),
            code => Err(inflate.error(code)),
        }
    }

    /// Starts over with the next stream.
    pub(super) fn reset(&mut self) -> io::Result<()> {
        // SAFETY: the stream was initialised.
        match unsafe { inflateReset(&raw mut *self.stream) } {
            Z_OK => Ok(()),
            code => Err(self.error(code)),
        }
    }

    /// Goes on with `input`, until that or the room in `output`, which must not be empty, is used up; `by_blocks`: or a
    /// boundary is reached.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8], by_blocks: bool) -> io::Result<Step> {
        let flush = if by_blocks { Z_BLOCK } else { Z_NO_FLUSH };
        let (given, room) = (counted(input.len()), counted(output.len()));
        let stream = &mut *self.stream;
        stream.next_in = input.as_ptr();
        stream.avail_in = given;
        stream.next_out = output.as_mut_ptr();
        stream.avail_out = room;
        // SAFETY: the stream was initialised; it may read `given` bytes of `input` and write `room` bytes of `output`,
        // which both have, and which are not touched between calls.
        let code = unsafe { inflate(stream, flush) };
        let (read, written) = ((given - stream.avail_in) as usize, (room - stream.avail_out) as usize);
        let at = match code {
            Z_STREAM_END => At::End,
            Z_OK | Z_BUF_ERROR if stream.data_type & 128 != 0 => {
                At::Boundary { unused: (stream.data_type & 63) as u8, last: stream.data_type & 64 != 0 }
            }
            Z_OK | Z_BUF_ERROR => At::Somewhere,
            code => At::Damage(self.error(code)),
        };
        let step = Step { read, written, at };
        // Content may be waiting for room when all input was read.
        if input.is_empty() && step.is_idle() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(step)
    }

    fn error(&self, code: i32) -> io::Error {
        if self.stream.msg.is_null() {
            return io::Error::new(io::ErrorKind::InvalidData, format!("deflate stream: code {code}"));
        }
        // SAFETY: a message that is there is a string constant of the library.
        let message = unsafe { CStr::from_ptr(self.stream.msg.cast()) };
        io::Error::new(io::ErrorKind::InvalidData, message.to_string_lossy())
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised, or holds no state, which is told apart.
        let _ = unsafe { inflateEnd(&raw mut *self.stream) };
    }
}

/// A length, or as much of it as one call takes.
fn counted(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
