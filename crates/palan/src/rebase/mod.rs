//! Rebase: replace the layers of an image's base by those of another base, in the registry, without rebuilding.
//!
//! An application image with layers `A[0..L)` was built on an old base, which is its first `n` layers. The result is
//! the new base's layers followed by `A[n..L)`, with a config and a manifest edited to match, for every platform of an
//! index. Only documents are read; layer bytes are mounted or are already there.
//!
//! * *Layers* are told apart by diff IDs, the digests of the uncompressed layers, and by nothing else: they survive
//!   recompression, and unlike history they are always there. History is carried as metadata: none, or one entry for
//!   each layer. An image that stands on the new base already keeps its layers and its history byte for byte.
//! * *Bases* are resolved once, and for each image's platform: the one that its index states or, where that does not,
//!   its config. Bases that are not given come from the hints of each image: annotations of its manifest, of its
//!   descriptor, of its index, and then labels, which may be inherited from a base.
//! * *Hints* are written on every rebased manifest, and kept true wherever they were. An index says what all its images
//!   stand on; where only some of them were rebased, what it says is left alone.
//! * *Entries* of an index that are about an image which was replaced leave the index, and that is said.
//! * Everything else stays: media types of the image's family, unknown fields, the order of keys.
//!
//! [`plan`] reads and computes everything; [`apply`] writes. A plan that cannot be made leaves every registry as it was.
//! The same inputs give the same bytes, so that a rebase onto the same base again writes nothing.

mod apply;
mod attestations;
pub(crate) mod base;
mod bases;
mod config;
mod content;
pub(crate) mod hints;
mod history;
mod index;
mod old;
mod one;
mod plan;
mod policy;
mod rebased;
mod report;
mod statement;
mod tree;

use palan_core::{Digest, Platform};

pub use apply::{Outcome, apply};
pub use attestations::OldAttestations;
pub use config::{Change, Choice, Merged, Note, Reason};
pub use plan::{Knowledge, OldBase, Plan, Request, plan};
pub use policy::{Check, ConfigPolicy, OnConflict, Policy, Refuse};
pub use report::{BaseReport, Finding, FindingKind, PlatformReport, Report, Verdict};
pub use statement::PREDICATE_TYPE;

/// An image does not start with the layers of the base it is said to be built on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{image} ({platform}) is not based on {base}: {difference}")]
pub struct NotBasedOn {
    /// The image.
    pub image: String,
    /// For which platform.
    pub platform: Platform,
    /// The base given or found.
    pub base: String,
    /// Where they part.
    pub difference: Difference,
}

/// Where the layers of an image and a base part. Layers are counted from 1, as people do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A layer differs.
    #[error("layer {layer} of the image has diff ID {image}, layer {layer} of the base has {base}")]
    Layer {
        /// The first layer that differs.
        layer: usize,
        /// The image's diff ID.
        image: Digest,
        /// The base's diff ID.
        base: Digest,
    },
    /// The base has more layers than the image.
    #[error("the image ends after {image} layer{s}, the base goes on with layer {next} ({base})", s = if *image == 1 { "" } else { "s" }, next = image + 1)]
    TooShort {
        /// How many layers the image has.
        image: usize,
        /// Diff ID of the base's next layer.
        base: Digest,
    },
}

/// How many of the image's layers are the base's: all of the base's, or where they part.
pub fn boundary(image: &[Digest], base: &[Digest]) -> Result<usize, Difference> {
    for (i, base) in base.iter().enumerate() {
        match image.get(i) {
            None => return Err(Difference::TooShort { image: image.len(), base: *base }),
            Some(found) if found != base => {
                return Err(Difference::Layer { layer: i + 1, image: *found, base: *base });
            }
            Some(_) => {}
        }
    }
    Ok(base.len())
}

#[cfg(test)]
mod tests;
