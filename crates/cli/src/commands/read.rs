//! What the reading verbs share.

use palan::{
    image,
    place::{Location, Opened, Places, Source},
};
use palan_core::{Digest, Document, Kind, Platform, PlatformPattern, Repository, Selector};

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Manifest or index as it is stored; with `--platform`, the manifest of the one image that fits.
pub(super) async fn document(source: &Opened<dyn Source>, session: &Session) -> Result<Document> {
    let platform = session.global.one_platform()?;
    let document = source.place.document(source.chosen()?).await?;
    match platform {
        None => Ok(document),
        Some(platform) => Ok(image::choose_from(source.place.as_ref(), document, Some(&platform)).await?),
    }
}

/// The manifest of one image: the one that `--platform` asks for, else linux/amd64 where there is a choice, which is
/// then said.
pub(super) async fn image(source: &Opened<dyn Source>, session: &Session) -> Result<Document> {
    let platform = session.global.one_platform()?;
    let document = source.place.document(source.chosen()?).await?;
    let place = source.place.as_ref();
    let choices = match (document.kind(), &platform) {
        (Kind::Index, None) => image::platforms_below(place, &document).await?,
        _ => Vec::new(),
    };
    let chosen = image::choose_from(place, document, platform.as_ref()).await?;
    let default = PlatformPattern::from(&Platform::default_choice());
    match choices.iter().find(|(d, _)| d.digest == chosen.digest()) {
        Some((_, platform)) if choices.len() > 1 => {
            session.ui.note(format!("chose {platform} of {} platforms", choices.len()));
        }
        Some((_, platform)) if !default.matches(platform) => {
            session.ui.note(format!("the only image is for {platform}"));
        }
        _ => {}
    }
    Ok(chosen)
}

/// `registry/repository@digest`; only registries have such names.
pub(super) fn full_name(location: &Location, digest: Digest) -> Result<String> {
    match location.reference() {
        Some(reference) => Ok(reference.repository().with_digest(digest).to_string()),
        None => Err(Failure::usage(format!("--full-ref needs an image in a registry, {location} is not"))),
    }
}

/// Many images: a repository, or a layout or archive without a tag.
pub(super) struct Collection {
    pub(super) location: Location,
    /// What tags are appended to in full references.
    pub(super) name: String,
}

impl Collection {
    pub(super) fn parse(text: &str) -> Result<Self> {
        // Opening a layout or archive without a tag asks for its only image; a collection has many. The tag is not used.
        let any = || Selector::Tag("latest".to_owned());
        let location = match text.parse() {
            Ok(Location::Layout { path, selector: None }) => Location::Layout { path, selector: Some(any()) },
            Ok(Location::Archive { path, format, selector: None }) => {
                Location::Archive { path, format, selector: Some(any()) }
            }
            Ok(Location::Registry(_)) => {
                let name = text.strip_prefix("docker://").unwrap_or(text);
                Location::Registry(name.parse::<Repository>()?.at(&any()))
            }
            Ok(_) => {
                return Err(Failure::usage(format!(
                    "{text} names one image, all images of a place are wanted"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let name = match &location {
            Location::Registry(reference) => reference.repository().to_string(),
            _ => text.trim_end_matches(':').to_owned(),
        };
        Ok(Self { location, name })
    }

    pub(super) fn source(&self, places: &Places) -> Result<std::sync::Arc<dyn Source>> {
        Ok(places.source(&self.location)?.place)
    }
}
