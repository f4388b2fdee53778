//! The label by which the buildpacks lifecycle says where an image's base ends; buildpacks platform spec, "Labels" of
//! the app image.

use palan_core::{Digest, Reference};
use serde::Deserialize;

use super::{Evidence, subject::Candidate};
use crate::image::Image;

const LABEL: &str = "io.buildpacks.lifecycle.metadata";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    run_image: RunImage,
    #[serde(default)]
    stack: Stack,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RunImage {
    top_layer: String,
    reference: String,
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stack {
    run_image: RunImage,
}

/// What the label says.
pub(super) struct Lifecycle {
    pub(super) candidate: Candidate,
    /// How many layers are the base's; or that the image does not have the base's last layer.
    pub(super) boundary: Result<usize, String>,
}

/// Reads the label; `None`: there is none, or it does not say where the base ends.
pub(super) fn read(image: &Image) -> Option<Lifecycle> {
    let label = image.config_view.config.as_ref()?.labels.as_ref()?.get(LABEL)?;
    let Metadata { run_image, stack } = serde_json::from_str(label).ok()?;
    let top: Digest = run_image.top_layer.parse().ok()?;
    let diff_ids = &image.config_view.rootfs.diff_ids;
    let found = diff_ids.iter().position(|diff_id| *diff_id == top).map(|n| n + 1);
    let boundary = found.ok_or_else(|| format!("the image does not have its last layer, diff ID {top}"));
    // The reference is by digest; a daemon's image ID is none.
    let pinned: Option<Reference> =
        run_image.reference.parse().ok().filter(|r: &Reference| r.digest().is_some());
    let names = [&run_image.image, &stack.run_image.image];
    let named = names.into_iter().find_map(|name| name.parse::<Reference>().ok());
    let digest = pinned.as_ref().and_then(Reference::digest);
    let name = match (named, pinned) {
        // Mirrors: the digest is where the reference says.
        (Some(name), Some(pinned)) if name.repository() != pinned.repository() => Some(pinned),
        (name, pinned) => name.or(pinned),
    };
    Some(Lifecycle { candidate: Candidate { evidence: Evidence::LifecycleLabel, name, digest }, boundary })
}
