//! Which bases belong to an image: those that were given, else what the image's hints say.

use std::sync::Arc;

use palan_core::{Digest, Reference};

use super::{
    base::{Base, Images},
    hints::Hints,
    old::Old,
    tree::Node,
};
use crate::{
    Error,
    once::Once,
    place::{Location, Places},
};

/// The bases of a rebase. Every reference is resolved once, however many images need it.
pub(super) struct Bases<'a> {
    places: &'a Places,
    old: Option<Arc<Base>>,
    new: Option<Arc<Base>>,
    images: Images,
    read: Once<Reference, Base>,
}

impl<'a> Bases<'a> {
    /// Reads the bases that were given.
    pub(super) async fn given(
        places: &'a Places,
        old: Option<&Location>,
        new: Option<&Location>,
    ) -> Result<Self, Error> {
        let images = Images::default();
        let (old, new) = tokio::try_join!(given(places, old, &images), given(places, new, &images))?;
        Ok(Self::of_read(places, old, new, images))
    }

    /// Bases that have been read.
    pub(super) fn of_read(
        places: &'a Places,
        old: Option<Arc<Base>>,
        new: Option<Arc<Base>>,
        images: Images,
    ) -> Self {
        Self { places, old, new, images, read: Once::default() }
    }

    /// The new base of an image.
    pub(super) async fn new_base(&self, image: &str, hints: &Hints) -> Result<Arc<Base>, Error> {
        match &self.new {
            Some(new) => Ok(Arc::clone(new)),
            None => {
                let reference = hints.reference().ok_or_else(|| unknown(image, "new", unnamed(hints)))?;
                self.read(&reference).await
            }
        }
    }

    /// The old base of an image.
    pub(super) async fn old_base(&self, node: &Node, new: &Arc<Base>) -> Result<Old, Error> {
        let (base, evidence) = match &self.old {
            Some(old) => (Arc::clone(old), "given"),
            None => (self.hinted(&node.image.name, &node.hints, new).await?, "base hints"),
        };
        let (image, platform) = base.image(&node.platform).await?;
        Ok(Old::of_image(&image, base.name(), platform, evidence))
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
        for repository in &repositories {
            match self.read(&repository.with_digest(digest)).await {
                Err(e) if e.is_not_found() => {}
                found => return found,
            }
        }
        Err(unknown(image, "old", gone(digest, &repositories)))
    }

    async fn read(&self, reference: &Reference) -> Result<Arc<Base>, Error> {
        let read = || async {
            let opened = self.places.source(&Location::Registry(reference.clone()))?;
            Base::read(&opened, Some(reference.clone()), self.images.clone()).await
        };
        self.read.get(reference.clone(), read).await
    }
}

async fn given(
    places: &Places,
    location: Option<&Location>,
    images: &Images,
) -> Result<Option<Arc<Base>>, Error> {
    let Some(location) = location else { return Ok(None) };
    let opened = places.source(location)?;
    let base = Base::read(&opened, location.reference().cloned(), images.clone()).await?;
    Ok(Some(Arc::new(base)))
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
