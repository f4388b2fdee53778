//! Which bases belong to an image: those that were given, else what the image's hints say.

use std::sync::Arc;

use palan_core::{Digest, Reference, Selector};

use super::{OldBase, Request, base::Base, boundary, hints::Hints, old::Old, tree::Node};
use crate::{
    Error,
    base::{Detector, Evidence, Found, PlatformBase},
    once::Once,
    place::{Location, Places, Source},
};

/// The bases of a rebase. Every reference is resolved once, however many images need it.
pub(super) struct Bases<'a> {
    /// What is to be replaced; read, where it is an image.
    wanted: &'a OldBase,
    old: Option<Arc<Base>>,
    new: Option<Arc<Base>>,
    detector: Detector<'a>,
    detected: Once<Digest, PlatformBase>,
}

impl<'a> Bases<'a> {
    /// Reads the bases that were given.
    pub(super) async fn given(places: &'a Places, request: &'a Request) -> Result<Self, Error> {
        let detector = Detector::new(places, request.knowledge.bases.as_deref());
        let old = match &request.old_base {
            OldBase::Image(location) => Some(location),
            _ => None,
        };
        let new = request.new_base.as_ref();
        let (old, new) = tokio::try_join!(given(places, old, &detector), given(places, new, &detector))?;
        Ok(Self { wanted: &request.old_base, old, new, detector, detected: Once::default() })
    }

    /// Bases that have been read.
    #[cfg(test)]
    pub(super) fn of_read(places: &'a Places, old: Arc<Base>, new: Arc<Base>) -> Self {
        let (old, new) = (Some(old), Some(new));
        let detector = Detector::new(places, None);
        Self { wanted: &OldBase::Find, old, new, detector, detected: Once::default() }
    }

    /// The new base of an image.
    ///
    /// Where the image does not name its base, what it was built on is found, and what that name stands for now.
    pub(super) async fn new_base(&self, source: &dyn Source, node: &Node) -> Result<Arc<Base>, Error> {
        if let Some(new) = &self.new {
            return Ok(Arc::clone(new));
        }
        if let Some(reference) = node.hints.reference().filter(|_| !node.only_labels) {
            return self.detector.base(&movable(&node.image.name, &reference)?).await;
        }
        let detected = self.detect(source, node).await?;
        let name =
            detected.base.as_ref().and_then(|base| base.name.as_ref()).filter(|name| name.tag().is_some());
        match name.cloned().or_else(|| node.hints.reference()) {
            Some(name) => self.detector.base(&movable(&node.image.name, &name)?).await,
            None => Err(unknown(&node.image.name, "new", unnamed(&node.hints))),
        }
    }

    /// The old base of an image.
    pub(super) async fn old_base(
        &self,
        source: &dyn Source,
        node: &Node,
        new: &Arc<Base>,
    ) -> Result<Old, Error> {
        match self.wanted {
            OldBase::Boundary(selector) => {
                let layers = selector.resolve(&node.image)?;
                return Ok(Old::cut(&node.image, 0, layers.end, format!("the boundary given: {selector}")));
            }
            OldBase::Layers(selector) => {
                let layers = selector.resolve(&node.image)?;
                let evidence = format!("the layers given: {selector}");
                return Ok(Old::cut(&node.image, layers.start, layers.end, evidence));
            }
            OldBase::Find | OldBase::Found(_) | OldBase::Image(_) => {}
        }
        if let Some(old) = &self.old {
            return of_base(old, node, "given").await;
        }
        match self.found_before(node).await {
            None => self.look(source, node, new).await,
            Some(Ok(old)) => Ok(old),
            // It may be known from elsewhere; if not, that it is gone is what there is to say.
            Some(Err(error)) => self.look(source, node, new).await.map_err(|_| error),
        }
    }

    /// What was found before, where that is there and fits.
    async fn found_before(&self, node: &Node) -> Option<Result<Old, Error>> {
        let OldBase::Found(known) = self.wanted else { return None };
        let name = known.get(&node.image.manifest.digest())?;
        let read = async {
            let digest = name.digest().ok_or_else(|| {
                unknown(&node.image.name, "old", format!("{name}, which was found before, has no digest"))
            })?;
            let base = self.detector.base(&name.repository().with_digest(digest)).await?;
            let (image, _) = base.image(&node.platform).await?;
            Ok(Old::found_before(&image, name))
        };
        let old = read.await;
        old.map(|old| fits(&old, node).then_some(old)).transpose()
    }

    /// Finds it.
    async fn look(&self, source: &dyn Source, node: &Node, new: &Arc<Base>) -> Result<Old, Error> {
        let hinted = match self.hinted(&node.image.name, &node.hints, new).await {
            Ok(base) => of_base(&base, node, "base hints").await,
            Err(e) => Err(e),
        };
        match hinted {
            Ok(old) if fits(&old, node) && !node.only_labels => Ok(old),
            // Labels may be inherited from a base, and then speak of what that was built on: layers do not.
            // Also where the registry that the hints name cannot be reached any more.
            hinted => match &self.detect(source, node).await?.base {
                Some(found) if self.is_replaced(found, new) => {
                    Old::found(&node.image, found).map_or(hinted, Ok)
                }
                _ if node.only_labels && hinted.is_ok() => {
                    let reason = "only its labels name a base, of another repository than the new one's: \
                                  they may be inherited from a base of its base";
                    Err(unknown(&node.image.name, "old", reason.to_owned()))
                }
                _ => hinted,
            },
        }
    }

    /// Whether a base that was found is the one that the new base takes the place of. An image stands on its base's
    /// base as well, and labels are inherited: another name than the new base's counts only where somebody named the
    /// new base, and where it is not a label that says so.
    fn is_replaced(&self, found: &Found, new: &Base) -> bool {
        let names = found.name.iter().chain(&found.also);
        let repository = new.reference.as_ref().map(Reference::repository);
        let same = names.map(Reference::repository).any(|name| Some(name) == repository);
        same || (self.new.is_some() && found.evidence != Evidence::Label)
    }

    /// Looks for the base by everything that is known.
    async fn detect(&self, source: &dyn Source, node: &Node) -> Result<Arc<PlatformBase>, Error> {
        let detect = || self.detector.image(source, &node.subject);
        self.detected.get(node.image.manifest.digest(), detect).await
    }

    /// The old base is looked for where the image says it came from, then where the new one is.
    async fn hinted(&self, image: &str, hints: &Hints, new: &Arc<Base>) -> Result<Arc<Base>, Error> {
        let Some(digest) = hints.digest else {
            let reason = "it has no org.opencontainers.image.base.digest annotation or label";
            return Err(unknown(image, "old", reason.to_owned()));
        };
        if digest == new.root.digest() {
            return Ok(Arc::clone(new));
        }
        let named = hints.reference();
        let mut repositories: Vec<_> =
            named.iter().chain(&new.reference).map(|r| r.repository().clone()).collect();
        repositories.dedup();
        let mut first = None;
        for repository in &repositories {
            match self.detector.base(&repository.with_digest(digest)).await {
                Err(e) if e.is_not_found() => {}
                // It may be in another one.
                Err(e) => first = first.or(Some(e)),
                found => return found,
            }
        }
        if let Some(first) = first {
            return Err(first);
        }
        Err(unknown(image, "old", gone(digest, &repositories)))
    }
}

async fn of_base(base: &Base, node: &Node, evidence: &str) -> Result<Old, Error> {
    let (image, platform) = base.image(&node.platform).await?;
    Ok(Old::of_image(&image, base.name(), platform, evidence))
}

fn fits(old: &Old, node: &Node) -> bool {
    boundary(&node.image.config_view.rootfs.diff_ids, &old.diff_ids).is_ok()
}

async fn given(
    places: &Places,
    location: Option<&Location>,
    detector: &Detector<'_>,
) -> Result<Option<Arc<Base>>, Error> {
    let Some(location) = location else { return Ok(None) };
    let opened = places.base(location)?;
    let base = Base::read(&opened, location.reference().cloned(), detector.images()).await?;
    Ok(Some(Arc::new(base)))
}

/// The name whose meaning moves on: with a digest it would stand for the old base for ever.
fn movable(image: &str, name: &Reference) -> Result<Reference, Error> {
    match (name.digest(), name.tag()) {
        (None, _) => Ok(name.clone()),
        (Some(_), Some(tag)) => Ok(name.repository().at(&Selector::Tag(tag.to_owned()))),
        (Some(_), None) => Err(unknown(
            image,
            "new",
            format!("its base is named by digest only, {name}: that never changes"),
        )),
    }
}

fn unknown(image: &str, which: &'static str, reason: String) -> Error {
    Error::BaseUnknown { image: image.to_owned(), which, reason }
}

fn unnamed(hints: &Hints) -> String {
    match &hints.name {
        None => "it has no org.opencontainers.image.base.name annotation or label".to_owned(),
        Some(name) => {
            format!("its org.opencontainers.image.base.name, \"{name}\", is not the name of an image")
        }
    }
}

fn gone(digest: Digest, repositories: &[palan_core::Repository]) -> String {
    let names: Vec<String> = repositories.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => format!("it says that its base is {digest}, and not from which repository"),
        names => format!("it says that its base is {digest}, which is not in {}", names.join(" or ")),
    }
}
