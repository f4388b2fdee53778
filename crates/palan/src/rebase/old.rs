//! What an image stands on, as far as that is known.

use palan_core::{Digest, Platform, Reference, Selector, chain_ids};
use serde_json::{Map, Value};

use super::{history, report::BaseReport};
use crate::{base::Found, image::Image};

/// The old base of one image: an image that was read, or less.
pub(super) struct Old {
    /// How it is known, for messages.
    pub(super) name: String,
    /// Digest of its manifest, where that is known.
    pub(super) digest: Option<Digest>,
    /// For which platform it is, where it says so itself.
    pub(super) platform: Option<Platform>,
    /// Whether layers were named, and not a base: then these are replaced, whatever the image says it stands on.
    pub(super) is_cut: bool,
    /// How many of its layers stay, where only a part is to be replaced.
    pub(super) below: usize,
    /// The layers that the image must begin with.
    pub(super) diff_ids: Vec<Digest>,
    pub(super) history: Vec<Value>,
    /// Its config; `None`: not known, and then nothing in the image's config can be told to be inherited.
    pub(super) config: Option<Map<String, Value>>,
    /// Its name, where it was found and not given or hinted.
    pub(super) found: Option<Reference>,
    /// Why it is believed to be the base.
    pub(super) evidence: String,
}

impl Old {
    pub(super) fn of_image(image: &Image, name: String, platform: Platform, evidence: &str) -> Self {
        Self {
            name,
            digest: Some(image.manifest.digest()),
            platform: Some(platform),
            is_cut: false,
            below: 0,
            diff_ids: image.config_view.rootfs.diff_ids.clone(),
            history: history_of(image),
            config: image.config.object().ok(),
            found: None,
            evidence: evidence.to_owned(),
        }
    }

    /// The lower part of an image, whose config nobody knows any more.
    pub(super) fn cut(image: &Image, below: usize, layers: usize, evidence: String) -> Self {
        let diff_ids = &image.config_view.rootfs.diff_ids;
        Self {
            name: format!("layers {} to {layers} of {}", below + 1, diff_ids.len()),
            digest: None,
            platform: None,
            is_cut: true,
            below,
            diff_ids: diff_ids.iter().take(layers).copied().collect(),
            history: history::lower_part(&history_of(image), diff_ids.len(), layers),
            config: None,
            found: None,
            evidence,
        }
    }

    /// A base that was found before, and is read now.
    pub(super) fn found_before(image: &Image, name: &Reference) -> Self {
        let named = name.tag().map(|tag| name.repository().at(&Selector::Tag(tag.to_owned())));
        let (shown, evidence) = (named.as_ref().unwrap_or(name).to_string(), "an earlier look");
        Self { found: named, ..Self::of_image(image, shown, image.platform(), evidence) }
    }

    /// A base that was found; `None` where it is not known how many layers are its.
    pub(super) fn found(image: &Image, found: &Found) -> Option<Self> {
        let layers = found.boundary?;
        let evidence = format!("{} ({})", found.evidence.as_str(), found.confidence.as_str());
        let config = found.config.as_ref().and_then(|config| config.object().ok());
        let history = config.as_ref().and_then(|c| c.get("history")).and_then(Value::as_array).cloned();
        let cut = Self::cut(image, 0, layers, evidence);
        let history = history.unwrap_or_else(|| cut.history.clone());
        Some(Self {
            name: found.shown(),
            digest: found.digest,
            is_cut: false,
            history,
            config,
            found: found.name.clone(),
            ..cut
        })
    }

    pub(super) fn report(&self) -> BaseReport {
        BaseReport {
            name: self.name.clone(),
            digest: self.digest,
            chain_id: chain_ids(&self.diff_ids).pop(),
            evidence: Some(self.evidence.clone()),
            found: self.found.as_ref().filter(|_| self.config.is_some()).zip(self.digest).map(at),
        }
    }
}

fn at((name, digest): (&Reference, Digest)) -> Reference {
    name.pinned(digest)
}

pub(super) fn history_of(image: &Image) -> Vec<Value> {
    let object = image.config.object().unwrap_or_default();
    object.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
}
