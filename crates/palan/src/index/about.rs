//! What the entries of an index are about that are not images: attestations, signatures, SBOMs.
//!
//! It is what BuildKit's annotation says or, for artifacts, the manifest's subject (image-spec, `manifest.md`).

use palan_core::{Descriptor, Digest, Document, Role, view};

use crate::{Error, place::Source};

/// Whether an entry may be about another one: it is neither an index nor says for which platform it is an image.
pub(crate) fn may_be_about(entry: &Descriptor) -> bool {
    entry.is_attestation() || (entry.platform.is_none() && entry.media_type.role() != Role::Index)
}

/// Which manifest an entry is about: its annotation or, for artifacts, their subject.
pub(crate) async fn about(source: &dyn Source, entry: &Descriptor) -> Result<Option<Digest>, Error> {
    if let Some(digest) = entry.attested_digest() {
        return Ok(Some(digest));
    }
    if !entry.media_type.is_document() {
        return Ok(None);
    }
    match source.document(&entry.digest.into()).await {
        Ok(document) => Ok(subject_of(entry, &document)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The same, of an entry that has been read.
pub(crate) fn subject_of(entry: &Descriptor, document: &Document) -> Option<Digest> {
    if let Some(digest) = entry.attested_digest() {
        return Some(digest);
    }
    let manifest: view::Manifest = document.view().ok()?;
    // Attestations of the older form have an image's config.
    let is_image = manifest.is_image() && !entry.is_attestation();
    manifest.subject.filter(|_| !is_image).map(|subject| subject.digest)
}
