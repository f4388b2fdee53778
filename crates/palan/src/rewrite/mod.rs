//! Images changed where they stand: one image, or the images of an index at any depth, and the indexes above them.
//!
//! Every verb that changes images without moving them to another base ([`append`](crate::append) and its like) is a `Change` applied to a tree. The result is a [`Plan`], a value; [`apply`] writes it. An index stays an
//! index: what was not asked for, entries that are no images, platforms, annotations and unknown fields survive.

mod plan;
mod tree;

use async_trait::async_trait;
use palan_core::{Document, Platform, PlatformPattern};
use serde_json::{Map, Value};

pub(crate) use plan::{Content, opened, opened_to_change};
pub use plan::{Outcome, Plan, apply};
pub(crate) use tree::{Rewritten, rewrite};

use crate::{Error, image::Image, place::Location};

/// Which images to change, and where the result goes.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The image or index.
    pub image: Location,
    /// Which images of an index; empty: all. Each pattern must match one. A single image must match them.
    pub platforms: Vec<PlatformPattern>,
    /// Where the result goes. `None`: to the image's own tag, unless that was moved in the meantime; for an image
    /// that was named by digest, to the same place without a tag.
    pub target: Option<Location>,
    /// What becomes of an index's entries about manifests that are replaced.
    pub attestations: Attestations,
}

impl Subject {
    /// All of an image or index, changed in its place.
    pub fn new(image: Location) -> Self {
        Self { image, platforms: Vec::new(), target: None, attestations: Attestations::default() }
    }
}

/// What becomes of an index's entries about manifests that are replaced: attestations, mostly.
///
/// They are never made to speak of the new manifest: nobody has looked whether what they say is true of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attestations {
    /// They stay, still about the old manifest, and are marked as such.
    #[default]
    Keep,
    /// They are left out, which is noted.
    Drop,
}

/// What an image becomes.
pub(crate) struct New {
    pub(crate) manifest: Document,
    /// Documents that the manifest names and that are not in the source: its config, where it is another one.
    pub(crate) configs: Vec<Document>,
}

/// A change to images. What is returned unchanged stays as it is, to the byte.
#[async_trait]
pub(crate) trait Change: Sync {
    /// What an image that was asked for becomes.
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error>;

    /// What a manifest becomes that stands for itself and is not a container image. `None`: it cannot be changed.
    async fn other(&self, _manifest: &Document) -> Result<Option<New>, Error> {
        Ok(None)
    }

    /// What an index becomes whose entries have been updated.
    fn index(&self, index: Document, _is_root: bool) -> Result<Document, Error> {
        Ok(index)
    }

    /// Changes the entry of an index for an image that was asked for, after its digest and size were updated.
    fn entry(&self, _new: &Document, _entry: &mut Map<String, Value>) {}
}
