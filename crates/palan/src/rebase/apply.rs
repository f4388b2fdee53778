//! Applying a plan: an ordinary graph copy from the plan's documents over the images they were made from.

use std::sync::Arc;

use palan_core::Digest;

use super::Plan;
use crate::{
    Error,
    copy::{self, Options, Summary},
    place::{Memory, Overlay, Places, Source},
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
/// Fails with [`Error::Moved`], the tag untouched, when the image's own tag was to be replaced and is not what the plan
/// was made for any more.
pub async fn apply(places: &Places, plan: &Plan, options: &Options) -> Result<Outcome, Error> {
    let digest = plan.digest();
    if plan.is_noop() {
        return Ok(Outcome { digest, pushed: false, summary: Summary::default() });
    }
    let new = Memory::new();
    for document in &plan.documents {
        new.add_document(document);
    }
    for config in &plan.configs {
        new.add_document_blob(config);
    }
    let mut overlay = Overlay::new(new, Arc::clone(&plan.source));
    overlay.route(plan.new_base_blobs.iter().copied(), Arc::clone(&plan.new_base));
    let overlay: Arc<dyn Source> = Arc::new(overlay);
    let target = places.target(&plan.target)?.place;
    let roots = vec![(plan.root.clone(), plan.role.clone())];
    let summary = copy::copy(&overlay, &target, roots, options).await?;
    target.finish().await?;
    Ok(Outcome { digest, pushed: true, summary })
}
