//! What documents claim about their parts, their platform and their base.

use palan_core::{Digest, Document, Kind, Platform, Reference, Role, annotation, view};
use serde::{Deserialize, de::IgnoredAny};

use super::{Run, Severity};

/// What the specification demands and views do without.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Demanded {
    schema_version: Option<serde_json::Value>,
    manifests: Option<IgnoredAny>,
}

impl Run<'_> {
    /// What a manifest or index must state (image-spec `manifest.md`, `image-index.md`). Programs work without most of it.
    pub(super) fn demanded(&mut self, document: &Document) {
        let Ok(found) = document.view::<Demanded>() else { return };
        let about = Some(document.digest());
        match found.schema_version {
            None => self.fault(Severity::Warning, about, "states no schemaVersion, it must be 2"),
            Some(version) if version.as_u64() != Some(2) => {
                self.error(document.digest(), "states a schemaVersion that is not 2");
            }
            Some(_) => {}
        }
        if document.kind() == Kind::Index && found.manifests.is_none() {
            self.fault(Severity::Warning, about, "is an index without a list of manifests");
        }
    }

    /// What a config must state (image-spec `config.md`).
    pub(super) fn demanded_of_config(&mut self, digest: Digest, platform: &Platform) {
        for (what, value) in [("os", &platform.os), ("architecture", &platform.architecture)] {
            if value.is_empty() {
                self.fault(Severity::Warning, Some(digest), format!("the config: it states no {what}"));
            }
        }
    }

    /// One manifest must not mix the two families of media types.
    pub(super) fn families(&mut self, document: &Document, manifest: &view::Manifest) {
        let family = document.family();
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let what = match part.media_type.role() {
                Role::Layer { .. } => "layer",
                Role::Config => "config",
                _ => continue,
            };
            if part.media_type.family() != Some(family) {
                let text =
                    format!("is a {what} of type {} in a manifest of the {family} family", part.media_type);
                self.error(part.digest, text);
            }
        }
    }

    /// What the annotations say about the base must at least be a name and a digest.
    pub(super) fn hints(&mut self, digest: Digest, manifest: &view::Manifest) {
        let annotation = |key: &str| manifest.annotations.get(key).cloned();
        if let Some(name) = annotation(annotation::BASE_NAME).filter(|n| n.parse::<Reference>().is_err()) {
            let text = format!("states \"{name}\" as the name of its base, which is no reference");
            self.fault(Severity::Warning, Some(digest), text);
        }
        if let Some(base) = annotation(annotation::BASE_DIGEST).filter(|d| d.parse::<Digest>().is_err()) {
            let text = format!("states \"{base}\" as the digest of its base, which is none");
            self.fault(Severity::Warning, Some(digest), text);
        }
    }

    /// What an index says about an image against what its config says.
    pub(super) fn platform(&mut self, digest: Digest, stated: &Platform, own: &Platform) {
        if !stated.same_machine(own) {
            return self.error(digest, format!("is for {own}, the index states {stated}"));
        }
        let version = |p: &Platform| p.os_version.clone().filter(|version| !version.is_empty());
        if let (Some(a), Some(b)) = (version(stated), version(own))
            && a != b
        {
            self.error(digest, format!("is for version {b} of its system, the index states {a}"));
        }
    }
}
