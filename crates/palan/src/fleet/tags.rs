//! Tags: what they stand for, and moving them.

use std::sync::Arc;

use palan_core::{Descriptor, Digest, Reference, Role, Selector, view};

use super::{
    journal::{Effect, Event, Journal, Step},
    run::{Become, Fault, failed},
};
use crate::{
    Error,
    place::{Location, Places, PutAs, Target},
};

/// What a tag stands for now, asked where it is written; `None`: nothing.
pub(super) async fn standing(places: &Places, tag: &Reference) -> Result<Option<Digest>, Error> {
    let opened = places.standing(&Location::Registry(tag.clone()))?;
    match opened.place.resolve(&tag.selector()).await {
        Ok(found) => Ok(Some(found.digest)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Why an image's tag cannot be moved.
pub(super) fn moved(image: &Reference, expected: Digest, found: Option<Digest>) -> Fault {
    let reason = match found {
        Some(found) => format!("somebody moved it: {image} stands for {found}, not for {expected}"),
        None => format!("somebody deleted it: {image} stood for {expected}"),
    };
    Fault::Image(Become::Moved, reason)
}

/// Moves a tag inside its repository from one digest to another, and writes that down before and after. `is_checked`: the
/// registry's word is not taken for it.
pub(super) async fn put_tag(
    places: &Places,
    journal: &Journal,
    effect: Effect,
    role: PutAs,
    is_checked: bool,
) -> Result<(), Fault> {
    let target: Arc<dyn Target> = places.target(&Location::Registry(effect.tag.clone()))?.place;
    let document = target.document(&Selector::Digest(effect.new)).await?;
    journal.write(Event::Begin(effect.clone())).await?;
    match target.put_document(&document, &role).await {
        Ok(()) => {}
        // Another run did the same meanwhile; or this one did, and the answer was lost.
        Err(e @ (Error::Moved { .. } | Error::Exists { .. })) => {
            if standing(places, &effect.tag).await? != Some(effect.new) {
                return Err(e.into());
            }
        }
        Err(e) => return Err(e.into()),
    }
    if is_checked {
        check_stands(places, &effect.tag, effect.new).await?;
    }
    journal.write(Event::Done(effect)).await?;
    Ok(())
}

/// Why a tag that was written does not count as written: registries have answered that they took what they then lost.
pub(super) async fn check_stands(places: &Places, tag: &Reference, digest: Digest) -> Result<(), Fault> {
    let found = standing(places, tag).await?;
    if found == Some(digest) {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |digest| digest.to_string());
    let text =
        format!("the registry said that it has written {tag}, which stands for {found}, not for {digest}");
    Err(failed(text))
}

/// Why a result cannot take its image's place: the registry does not have its manifests, whatever it once answered.
pub(super) async fn check_there(places: &Places, candidate: &Reference, digest: Digest) -> Result<(), Fault> {
    let target = places.target(&Location::Registry(candidate.clone()))?.place;
    let lost = |lost: Digest| {
        failed(format!(
            "{} does not have {lost} of its candidate {candidate} any more",
            candidate.repository()
        ))
    };
    let root = match target.resolve(&Selector::Digest(digest)).await {
        Ok(_) => target.document(&Selector::Digest(digest)).await?,
        Err(e) if e.is_not_found() => return Err(lost(digest)),
        Err(e) => return Err(e.into()),
    };
    if root.media_type().role() != Role::Index {
        return Ok(());
    }
    let index: view::Index = root.view().map_err(|e| failed(e.to_string()))?;
    let is_image = |child: &&Descriptor| {
        matches!(child.media_type.role(), Role::Index | Role::Manifest) && !child.is_attestation()
    };
    for child in index.manifests.iter().filter(is_image) {
        if !target.has_graph(child).await? {
            return Err(lost(child.digest));
        }
    }
    Ok(())
}

pub(super) fn effect(
    image: &Reference,
    step: Step,
    tag: &Reference,
    old: Option<Digest>,
    new: Digest,
) -> Effect {
    Effect { image: image.clone(), step, tag: tag.clone(), old, new }
}
