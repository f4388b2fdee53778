//! What a change would write, and writing it.

use std::{collections::HashSet, sync::Arc};

use palan_core::{Digest, Document, Kind, Role, Selector};

use super::{Rewritten, Subject};
use crate::{
    Error, companions,
    copy::{self, Options, Summary},
    place::{Location, Opened, Overlay, Places, PutAs, Source, Target},
};

/// A changed image, not written yet.
///
/// It may hold temporary files (packed layers), which go with it.
pub struct Plan {
    pub(crate) rewritten: Rewritten,
    /// Where everything is that did not change.
    pub(crate) source: Arc<dyn Source>,
    /// Where new blobs are.
    pub(crate) content: Vec<Content>,
    old: Option<Digest>,
    target: Location,
    role: PutAs,
    is_elsewhere: bool,
    /// Whether what refers to an image can be where it came from.
    has_referrers: bool,
}

/// Blobs that a change made, and where they are.
pub(crate) struct Content {
    pub(crate) digests: HashSet<Digest>,
    pub(crate) source: Arc<dyn Source>,
}

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

/// Opens an image, and reads its root.
pub(crate) async fn opened(
    places: &Places,
    image: &Location,
) -> Result<(Opened<dyn Source>, Document), Error> {
    with_root(places.source(image)?).await
}

/// The same for what is to be changed; `target`: where the result goes, if not to the image's own place.
pub(crate) async fn opened_to_change(
    places: &Places,
    image: &Location,
    target: Option<&Location>,
) -> Result<(Opened<dyn Source>, Document), Error> {
    with_root(places.to_change(image, target)?).await
}

async fn with_root(opened: Opened<dyn Source>) -> Result<(Opened<dyn Source>, Document), Error> {
    let root = opened.place.document(opened.chosen()?).await?;
    Ok((opened, root))
}

impl Plan {
    /// A plan to put what became of `subject` where it is to go. `old`: what the subject was.
    pub(crate) fn new(
        subject: &Subject,
        old: Digest,
        rewritten: Rewritten,
        source: Arc<dyn Source>,
    ) -> Result<Self, Error> {
        let target = subject.target.clone().unwrap_or_else(|| subject.image.clone());
        let is_elsewhere = target != subject.image;
        let role = match PutAs::at(&target, rewritten.root.digest()) {
            Ok(PutAs::Tag(tag)) if !is_elsewhere => PutAs::Replace { tag, expected: old },
            // What was named by digest gets another one by being changed.
            Err(Error::OtherDigest { .. }) if !is_elsewhere => PutAs::Root,
            role => role?,
        };
        let has_referrers = !matches!(subject.image, Location::Archive { .. });
        let (content, old) = (Vec::new(), Some(old));
        Ok(Self { rewritten, source, content, old, target, role, is_elsewhere, has_referrers })
    }

    /// A plan to put a new image somewhere.
    pub(crate) fn fresh(
        target: Location,
        rewritten: Rewritten,
        source: Arc<dyn Source>,
    ) -> Result<Self, Error> {
        let role = PutAs::at(&target, rewritten.root.digest())?;
        let (content, old, is_elsewhere, has_referrers) = (Vec::new(), None, true, false);
        Ok(Self { rewritten, source, content, old, target, role, is_elsewhere, has_referrers })
    }

    /// Adds blobs that the change made.
    pub(crate) fn with(mut self, content: Content) -> Self {
        self.content.push(content);
        self
    }

    /// Puts the result without a tag, whatever tag its target has.
    #[must_use]
    pub fn untagged(mut self) -> Self {
        self.role = PutAs::Root;
        if let Location::Registry(reference) = &self.target {
            self.target = Location::Registry(reference.repository().with_digest(self.digest()));
        }
        self
    }

    /// The result as a place, before it is anywhere.
    pub fn result(&self) -> Arc<dyn Source> {
        let mut overlay = Overlay::new(self.rewritten.memory(), Arc::clone(&self.source));
        for content in &self.content {
            overlay.route(content.digests.iter().copied(), Arc::clone(&content.source));
        }
        Arc::new(overlay)
    }

    /// Digest of the result.
    pub fn digest(&self) -> Digest {
        self.rewritten.root.digest()
    }

    /// Digest of what is changed; `None` for a new image.
    pub fn old_digest(&self) -> Option<Digest> {
        self.old
    }

    /// Where the result goes.
    pub fn target(&self) -> &Location {
        &self.target
    }

    /// The result: a manifest or an index.
    pub fn root(&self) -> &Document {
        &self.rewritten.root
    }

    /// The images that were asked for: the digests of their old and new manifests, in the order of the index.
    pub fn images(&self) -> &[(Digest, Digest)] {
        &self.rewritten.images
    }

    /// What people should know, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.rewritten.notes
    }

    /// A note about signatures, SBOMs and the like of what is replaced, which stay with it. Asks the image's place, about
    /// the image and the images that change; what it cannot tell is not an error.
    pub async fn left_behind(&self) -> Option<String> {
        let old = self.old.filter(|old| self.has_referrers && *old != self.digest())?;
        let images = self.images().iter().filter(|(old, new)| old != new).map(|(old, _)| *old);
        let replaced: Vec<Digest> = [old].into_iter().chain(images).collect();
        companions::left_behind(self.source.as_ref(), &replaced, &self.rewritten.listed).await
    }

    /// Whether nothing would be written: nothing changed, and the result is to be where the image is.
    pub fn is_noop(&self) -> bool {
        Some(self.digest()) == self.old && !self.is_elsewhere
    }
}

/// Writes a plan's result: blobs, manifests, indexes, and last the tag.
///
/// Fails with [`Error::Moved`], the tag untouched, when the image's own tag was to be replaced and is not what the plan
/// was made for any more.
pub async fn apply(places: &Places, plan: &Plan, options: &Options) -> Result<Outcome, Error> {
    let digest = plan.digest();
    plan.notes().iter().for_each(|note| options.observer.note(note.clone()));
    if plan.is_noop() {
        return Ok(Outcome { digest, pushed: false, summary: Summary::default() });
    }
    let target = places.target(&plan.target)?.place;
    if let Some(note) = loses_platforms(plan, target.as_ref()).await? {
        options.observer.note(note);
    }
    let overlay = plan.result();
    let root = (plan.rewritten.root.clone(), plan.role.clone());
    let copied = copy::copy(&overlay, &target, vec![root], options);
    let (summary, left) = tokio::try_join!(copied, async { Ok(plan.left_behind().await) })?;
    target.finish().await?;
    left.into_iter().for_each(|note| options.observer.note(note));
    Ok(Outcome { digest, pushed: true, summary })
}

/// One image that takes the place of an index, elsewhere than where it comes from: what is said about it.
async fn loses_platforms(plan: &Plan, target: &dyn Target) -> Result<Option<String>, Error> {
    let PutAs::Tag(tag) = &plan.role else { return Ok(None) };
    if plan.root().kind() == Kind::Index {
        return Ok(None);
    }
    match target.resolve(&Selector::Tag(tag.clone())).await {
        Ok(found) if found.media_type.role() == Role::Index => {
            Ok(Some(format!("{} was an index, {}, and is one image now", plan.target, found.digest)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
