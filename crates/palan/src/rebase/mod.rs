//! Rebase: replace the layers of an image's base by those of another base, in the registry, without rebuilding.
//!
//! An application image with layers `A[0..L)` was built on an old base, which is its first `n` layers. The result is
//! the new base's layers followed by `A[n..L)`, with a config and a manifest edited to match, for every platform of an
//! index. Only documents are read; layer bytes are mounted or are already there.
//!
//! What decides which layers belong to the base is the *diff IDs*, the digests of the uncompressed layers, and nothing
//! else: they survive recompression, and unlike history they are always there. History is carried as metadata
//! ([`history`]).
//!
//! [`plan`] reads and computes everything; [`apply`] writes. A plan that cannot be made leaves every registry as it was.

mod apply;
mod base;
mod bases;
mod hints;
mod history;
mod index;
mod one;
mod plan;
mod rebased;
mod report;
mod tree;

use palan_core::{Digest, Platform};

pub use apply::{Outcome, apply};
pub use plan::{Plan, Request, plan};
pub use report::{Finding, FindingKind, PlatformReport, Report, Verdict};

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
