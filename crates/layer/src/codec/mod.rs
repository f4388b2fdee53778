//! Compression of layers: recognised by content, checked against the media type.
//!
//! Sources: RFC 1952 (gzip), RFC 8878 (zstd), image-spec "Layer media types".

mod bits;
mod blocks;
mod decode;
mod encode;
mod gunzip;
mod gzip;
mod inflate;
mod input;
mod keep;

pub use blocks::Blocks;
pub use decode::Decoder;
pub use encode::{Encoder, Level, default_threads};
pub use keep::Original;

pub(crate) use input::filled;

use std::io::{self, Cursor, Read};

use palan_core::{Compression, MediaType, Role};

use crate::{Error, Result};

/// How many first bytes [`detect`] looks at.
pub const HEAD: usize = 6;

/// A reader whose first bytes were looked at.
pub type Sniffed<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Recognises how a layer is stored by its first [`HEAD`] bytes (fewer only at the end of the blob). What is neither
/// gzip nor zstd counts as plain tar, except known compressions that layers must not have.
pub fn detect(head: &[u8]) -> Result<Compression> {
    // A zstd stream may start with skippable frames, 0x184D2A50 to 0x184D2A5F, little endian.
    let skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
    if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Compression::Gzip)
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        Ok(Compression::Zstd)
    } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Err(Error::UnsupportedCompression("xz"))
    } else if head.starts_with(b"BZh") && head.get(3).is_some_and(|c| (b'1'..=b'9').contains(c)) {
        Err(Error::UnsupportedCompression("bzip2"))
    } else {
        Ok(Compression::None)
    }
}

/// Reads the first bytes of `reader` and says how the layer is stored; the reader returned starts over at the first
/// byte.
pub fn sniff<R: Read>(mut reader: R) -> Result<(Compression, Sniffed<R>)> {
    let mut head = Vec::with_capacity(HEAD);
    (&mut reader).take(HEAD as u64).read_to_end(&mut head)?;
    let compression = detect(&head)?;
    Ok((compression, Cursor::new(head).chain(reader)))
}

/// Compares the compression found with the one that `media_type` states. Media types that are not a layer's state
/// none.
pub fn check(media_type: &MediaType, found: Compression) -> Result<()> {
    match media_type.role() {
        Role::Layer { compression: declared, .. } if declared != found => {
            Err(Error::WrongCompression { media_type: media_type.clone(), declared, found })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
