//! What documents claim about their parts, their platform and their base.

use palan_core::{Digest, Document, Platform, Reference, Role, annotation, view};

use super::{Run, Severity};

impl Run<'_> {
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
