//! What is inside a layer's blob: codecs, one-pass hashing, tar, merged trees and whiteouts. Synchronous.
//!
//! A layer is a tar archive, stored plain or compressed. Two digests name it: the *digest* of the blob as stored, by
//! which registries know it, and the *diff ID*, the SHA-256 of the uncompressed tar, by which the image's config
//! knows it. [`scan`] reads a blob once and gives both; [`pack_layer`] makes a blob from a tar in one pass;
//! [`tree::Tree`] stacks layers into the file system that a container sees, [`merge`] into one archive of its files, which
//! [`extract`] puts into a directory.
//!
//! Nothing here holds a layer in memory: buffers are 128 KiB, compression holds a few MiB per thread.
//!
//! ```
//! use palan_core::{Compression, Family};
//! use palan_layer::{Builder, Limits, scan, tree::{Content, Tree}};
//!
//! let layer = Builder::new().file("etc/os-release", b"ID=example\n").build(Compression::Gzip)?;
//! let scanned = scan(layer.bytes.as_slice(), &Limits::default())?;
//! assert_eq!(scanned.diff_id, layer.packed.diff_id);
//!
//! let mut tree = Tree::new();
//! tree.apply_blob(0, layer.bytes.as_slice(), Content::Digest, &Limits::default())?;
//! assert!(tree.get("etc/os-release").is_some());
//! # Ok::<_, palan_layer::Error>(())
//! ```

mod behind;
mod builder;
pub mod codec;
pub mod elf;
mod error;
mod examine;
pub mod extract;
pub mod hash;
mod limits;
mod links;
pub mod listing;
pub mod merge;
mod pass;
mod scratch;
pub mod tar;
pub mod tree;

pub use behind::behind;
pub use builder::{Builder, Built};
pub use codec::{Decoder, Encoder, Level};
pub use error::{EntryPath, Error, Result, Spot};
pub use examine::{Examined, examine_expecting};
pub use hash::{Expected, HashingReader, HashingWriter, verify};
pub use limits::Limits;
pub use links::{OuterLink, Paths};
pub use listing::Listing;
pub use pass::{
    Packed, Packing, Scan, Spooled, list_expecting, pack_layer, pack_merged, scan, scan_expecting,
    spool_expecting,
};
pub use scratch::Scratch;

/// Size of the buffers between the stages of a pass, in bytes.
pub(crate) const BUFFER: usize = 128 * 1024;
