//! What the entries of an index are about that are not images: attestations, signatures, SBOMs.
//!
//! It is what BuildKit's annotation says or, for artifacts, the manifest's subject (image-spec, `manifest.md`).

use std::collections::{HashMap, HashSet};

use futures_util::future::BoxFuture;
use palan_core::{Descriptor, Digest, Document, Role, view};

use super::Subjects;
use crate::{
    Error,
    image::{self, MAX_DEPTH, too_deep},
    place::Source,
};

/// Whether an entry may be about another one: it is neither an index nor says for which platform it is an image.
pub(crate) fn may_be_about(entry: &Descriptor) -> bool {
    entry.is_attestation() || (entry.platform.is_none() && entry.media_type.role() != Role::Index)
}

/// What entries are about. Reads, one after the other, those of which it must.
pub(crate) async fn subjects(source: &dyn Source, entries: &[&Descriptor]) -> Result<Subjects, Error> {
    let mut subjects = Subjects::new();
    for entry in entries {
        if let Some(about) = about(source, entry).await? {
            subjects.insert(entry.digest, about);
        }
    }
    Ok(subjects)
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

/// Those of `entries` that are about something that is gone, or about another such entry, in that order, and what that
/// is. What is gone itself is not among them.
pub(crate) fn followers(
    entries: &[&Descriptor],
    subjects: &Subjects,
    gone: &HashSet<Digest>,
) -> Vec<(Digest, Digest)> {
    let mut gone = gone.clone();
    let mut out = Vec::new();
    // A signature of an attestation goes with it: as long as something goes, look again.
    loop {
        let going = |entry: &&Descriptor| {
            let about = subjects.get(&entry.digest).filter(|about| gone.contains(about))?;
            (!gone.contains(&entry.digest)).then_some((entry.digest, *about))
        };
        let found: HashMap<Digest, Digest> = entries.iter().filter_map(going).collect();
        if found.is_empty() {
            return out;
        }
        let mut seen = HashSet::new();
        let in_order = entries.iter().filter(|entry| seen.insert(entry.digest));
        out.extend(in_order.filter_map(|entry| Some((entry.digest, *found.get(&entry.digest)?))));
        gone.extend(found.into_keys());
    }
}

/// Everything that an index and the indexes in it list. Inner indexes that are not there are passed over.
pub(crate) fn listed<'a>(
    source: &'a dyn Source,
    index: &'a Document,
    depth: usize,
) -> BoxFuture<'a, Result<HashSet<Digest>, Error>> {
    Box::pin(async move {
        if depth >= MAX_DEPTH {
            return Err(too_deep(source, index.digest()));
        }
        let view: view::Index = image::parsed(source, index)?;
        let mut out: HashSet<Digest> = view.manifests.iter().map(|entry| entry.digest).collect();
        for entry in view.manifests.iter().filter(|entry| entry.media_type.role() == Role::Index) {
            match source.document(&entry.digest.into()).await {
                Ok(inner) => out.extend(listed(source, &inner, depth + 1).await?),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(out)
    })
}
