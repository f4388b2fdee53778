//! Applying a plan: an ordinary graph copy from the plan's documents over the images they were made from.

use std::sync::Arc;

use palan_core::Digest;

use super::Plan;
use crate::{
    Error,
    copy::{self, Options, Summary},
    place::{Memory, Overlay, Places, PutAs, Source, Target},
};

/// What applying a plan did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Digest of the result.
    pub digest: Digest,
    /// Whether anything was written; a plan that changes nothing writes nothing.
    pub pushed: bool,
    /// What moved.
    pub summary: Summary,
}

/// Writes a plan's result: new base layers are adopted, then configs, manifests, indexes, and last the tag.
///
/// Fails with [`Error::Refused`], nothing written, when the verdict is one that the request refuses, and
/// with [`Error::Moved`], the tag untouched, when the image's own tag was to be replaced and is not what the plan
/// was made for any more.
pub async fn apply(places: &Places, plan: &Plan, options: &Options) -> Result<Outcome, Error> {
    let digest = plan.digest();
    if plan.is_noop() {
        return Ok(Outcome { digest, pushed: false, summary: Summary::default() });
    }
    if plan.is_refused() {
        let (image, verdict) = (plan.report().image.clone(), plan.report().verdict.to_string());
        return Err(Error::Refused { image, verdict });
    }
    let target = places.target(&plan.target)?.place;
    let overlay: Arc<dyn Source> = Arc::new(overlay(plan, target.as_ref()));
    let copier = copy::Copier::new(&overlay, &target, options);
    // Referrers come after what they refer to (registries may demand the subject first) and before the tag: who finds
    // the result finds what is said about it.
    if !plan.referrers.is_empty() {
        copier.copy(plan.root.clone(), PutAs::Child).await?;
    }
    for referrer in &plan.referrers {
        copier.copy(referrer.clone(), PutAs::Root).await?;
    }
    copier.copy(plan.root.clone(), plan.role.clone()).await?;
    let summary = copier.summary();
    target.finish().await?;
    Ok(Outcome { digest, pushed: true, summary })
}

/// Layers that the image has too are at home where the image is; the others of the new bases come from there.
fn overlay(plan: &Plan, target: &dyn Target) -> Overlay {
    let new = Memory::new();
    for document in plan.documents.iter().chain(&plan.referrers) {
        new.add_document(document);
    }
    for (media_type, blob) in &plan.blobs {
        new.add_blob(media_type.clone(), blob.clone());
    }
    for config in &plan.configs {
        new.add_document_blob(config);
    }
    let mut overlay = Overlay::new(new, Arc::clone(&plan.source));
    for (source, layers) in &plan.new_layers {
        let at_home = |d: &Digest| plan.own_layers.contains(d) && target.is_home_of(&plan.source.origin(*d));
        overlay.route(layers.iter().copied().filter(|d| !at_home(d)), Arc::clone(source));
    }
    overlay
}
