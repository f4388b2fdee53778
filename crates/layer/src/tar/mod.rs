//! Tar archives: reading whatever layers hold, writing little but deterministic.
//!
//! Sources: POSIX.1-2017 `pax` (ustar and PAX), the GNU tar manual's "Basic Tar Format", image-spec `layer.md`. Where
//! readers disagree, Go's `archive/tar` decides, because the programs that run containers use it.

mod content;
#[cfg(unix)]
mod dir;
mod header;
mod input;
mod read;
mod rehead;
mod write;

#[cfg(unix)]
pub use dir::{DirOptions, Mode, Mtime, Owner, pack_dir, pack_path};
pub use header::{Header, Kind};
pub use read::{Archive, End, Ending, Entry};
pub use rehead::{hard_linked, renamed};
pub use write::{END, Meta, Writer, header_bytes, padding};

/// Unit of a tar archive, in bytes.
pub const BLOCK: usize = 512;

/// Prefix of a whiteout's file name, image-spec "Whiteouts".
pub const WHITEOUT: &[u8] = b".wh.";
/// File name of an opaque whiteout, image-spec "Opaque Whiteout".
pub const OPAQUE: &[u8] = b".wh..wh..opq";

#[cfg(test)]
mod tests;
