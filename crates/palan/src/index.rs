//! Indexes: lists of images. [`append`] adds entries, [`filter`] takes some out, [`list`] reads them.
//!
//! What changes the images *inside* an index is [`rewrite`](crate::rewrite); what both share is here: children that were
//! replaced get their new digests, and nothing else changes but entries about children that are gone.

pub mod append;
pub mod filter;
mod list;

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, annotation, view};
use serde_json::{Value, json};

use crate::{Error, place::Source};

pub use list::list;

/// The new document of each replaced child, by the old digest.
pub(crate) type Replaced = HashMap<Digest, Document>;

/// What entries are about that are not images, by their own digest.
pub(crate) type Subjects = HashMap<Digest, Digest>;

/// What becomes of an entry about a manifest that the new index does not list.
pub(crate) enum Orphan {
    /// It is left out.
    Drop,
    /// It stays, and is marked as being about something that is not there.
    Keep,
    /// Another document takes its place, which is about the new manifest.
    Become(Document),
}

/// An index with its entries replaced, and what was left out of it, one sentence each.
///
/// Entries keep their order, platform, annotations and unknown fields; `touch` may change those that were replaced,
/// given by their old digest. An entry about a manifest that the new index does not list (an attestation, mostly) would
/// vouch for something that is not there: it is left out. An attestation that does not say what it is about is treated
/// alike. `orphan` may decide otherwise, given such an entry's digest.
pub(crate) fn rewrite(
    index: &Document,
    replaced: &Replaced,
    subjects: &Subjects,
    touch: impl Fn(Digest, &mut Value),
    orphan: impl Fn(Digest) -> Orphan,
) -> Result<(Document, Vec<String>), Error> {
    let listed: view::Index = index.view()?;
    let gone: HashSet<Digest> =
        replaced.iter().filter(|(old, new)| **old != new.digest()).map(|(old, _)| *old).collect();
    let mut notes = Vec::new();
    let fates: Vec<Option<(Orphan, Option<Digest>)>> = listed
        .manifests
        .iter()
        .map(|entry| {
            let (about, reason) = why_orphaned(entry, &gone, subjects)?;
            let fate = orphan(entry.digest);
            notes.extend(note(entry, &fate, about, &reason));
            Some((fate, about))
        })
        .collect();
    let edited = index.edit(|json| {
        let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
        let mut fate = fates.iter();
        entries.retain_mut(|entry| match fate.next() {
            Some(Some((fate, about))) => settle(entry, fate, *about, replaced),
            _ => {
                replace(entry, replaced, &touch);
                true
            }
        });
    })?;
    Ok((edited, notes))
}

/// What an entry is about that the new index does not list, and why it is thought so.
fn why_orphaned(
    entry: &Descriptor,
    gone: &HashSet<Digest>,
    subjects: &Subjects,
) -> Option<(Option<Digest>, String)> {
    if gone.contains(&entry.digest) {
        return None;
    }
    match entry.attested_digest().or_else(|| subjects.get(&entry.digest).copied()) {
        Some(about) if gone.contains(&about) => {
            Some((Some(about), format!("is about {about}, which is replaced")))
        }
        None if !gone.is_empty() && is_marked(entry) => {
            Some((None, "does not say what it is about".to_owned()))
        }
        _ => None,
    }
}

fn note(entry: &Descriptor, fate: &Orphan, about: Option<Digest>, reason: &str) -> Option<String> {
    let what = if entry.is_attestation() { "attestation" } else { "entry" };
    let digest = entry.digest;
    match fate {
        Orphan::Keep if about.is_none() => Some(format!("the {what} {digest} {reason}: kept as it is")),
        Orphan::Drop => Some(format!(
            "the {what} {digest} {reason}: left out of the new index (the old index still lists it)"
        )),
        Orphan::Keep => Some(format!("the {what} {digest} {reason}: kept, and marked as such")),
        // Whoever made the new document has said so.
        Orphan::Become(_) => None,
    }
}

/// Decides over an orphaned entry; whether it stays.
fn settle(entry: &mut Value, fate: &Orphan, about: Option<Digest>, replaced: &Replaced) -> bool {
    let now = about.and_then(|about| replaced.get(&about)).map(Document::digest);
    match (fate, about) {
        (Orphan::Drop, _) => return false,
        (Orphan::Keep, Some(about)) => mark(entry, about, None),
        (Orphan::Keep, None) => {}
        (Orphan::Become(document), about) => {
            point_to(entry, document);
            if let Some(about) = about {
                mark(entry, about, now);
            }
        }
    }
    true
}

/// Marks an entry that was made about a manifest which is not in the index any more, and what it is about now.
fn mark(entry: &mut Value, about: Digest, now: Option<Digest>) {
    let Some(entry) = entry.as_object_mut() else { return };
    let annotations = entry.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return };
    annotations.insert(annotation::MADE_ABOUT.into(), json!(about));
    if let Some(now) = now.filter(|_| annotations.contains_key(annotation::DOCKER_REFERENCE_DIGEST)) {
        annotations.insert(annotation::DOCKER_REFERENCE_DIGEST.into(), json!(now));
    }
}

fn replace(entry: &mut Value, replaced: &Replaced, touch: impl Fn(Digest, &mut Value)) {
    let Some((old, document)) = digest_of(entry).and_then(|d| replaced.get_key_value(&d)) else { return };
    if *old != document.digest() {
        point_to(entry, document);
    }
    touch(*old, entry);
}

pub(crate) fn point_to(entry: &mut Value, document: &Document) {
    let Some(entry) = entry.as_object_mut() else { return };
    entry.insert("mediaType".into(), json!(document.media_type()));
    entry.insert("digest".into(), json!(document.digest()));
    entry.insert("size".into(), json!(document.size()));
    // Embedded content was that of the old document.
    entry.shift_remove("data");
}

/// The digest of an entry as it stands in the JSON.
fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// Whether the entry calls itself an attestation; others may merely be for no platform.
pub(crate) fn is_marked(entry: &Descriptor) -> bool {
    entry.annotation(annotation::DOCKER_REFERENCE_TYPE) == Some(annotation::ATTESTATION_MANIFEST)
}

/// What the attestations that an index lists are about.
pub(crate) async fn subjects(source: &dyn Source, index: &view::Index) -> Result<Subjects, Error> {
    let mut subjects = Subjects::new();
    for entry in index.manifests.iter().filter(|e| e.is_attestation()) {
        if let Some(about) = about(source, entry).await? {
            subjects.insert(entry.digest, about);
        }
    }
    Ok(subjects)
}

/// Which manifest an attestation entry is about: its annotation or, for the artifact form, its subject.
pub(crate) async fn about(source: &dyn Source, entry: &Descriptor) -> Result<Option<Digest>, Error> {
    if let Some(digest) = entry.attested_digest() {
        return Ok(Some(digest));
    }
    if !entry.media_type.is_document() {
        return Ok(None);
    }
    match source.document(&entry.digest.into()).await {
        Ok(document) => Ok(document.view::<view::Manifest>().ok().and_then(|m| m.subject).map(|s| s.digest)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The error for a single image where an index is needed.
fn not_an_index(source: &dyn Source, document: &Document) -> Error {
    let image = format!("{}@{}", source.name(), document.digest());
    Error::WrongKind { image, found: "a single image".to_owned(), wanted: "an index" }
}
