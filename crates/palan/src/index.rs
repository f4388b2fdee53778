//! Editing an index: children that were replaced get their new digests; nothing else changes, but entries about
//! children that are gone.

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, annotation, view};
use serde_json::{Value, json};

use crate::{Error, place::Source};

/// The new document of each replaced child, by the old digest.
pub(crate) type Replaced = HashMap<Digest, Document>;

/// What entries are about that are not images, by their own digest.
pub(crate) type Subjects = HashMap<Digest, Digest>;

/// An index with its entries replaced, and what was left out of it, one sentence each.
///
/// Entries keep their order, platform, annotations and unknown fields; `touch` may change those that were replaced,
/// given by their old digest. An entry about a manifest that the new index does not list (an attestation, mostly) would
/// vouch for something that is not there: it is left out. An attestation that does not say what it is about is treated
/// alike.
pub(crate) fn rewrite(
    index: &Document,
    replaced: &Replaced,
    subjects: &Subjects,
    touch: impl Fn(Digest, &mut Value),
) -> Result<(Document, Vec<String>), Error> {
    let listed: view::Index = index.view()?;
    let gone: HashSet<Digest> =
        replaced.iter().filter(|(old, new)| **old != new.digest()).map(|(old, _)| *old).collect();
    let reasons: Vec<Option<String>> =
        listed.manifests.iter().map(|entry| why_dropped(entry, &gone, subjects)).collect();
    let edited = index.edit(|json| {
        if let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) {
            let mut dropped = reasons.iter().map(Option::is_some);
            entries.retain(|_| !dropped.next().unwrap_or_default());
            entries.iter_mut().for_each(|entry| replace(entry, replaced, &touch));
        }
    })?;
    Ok((edited, reasons.into_iter().flatten().collect()))
}

fn why_dropped(entry: &Descriptor, gone: &HashSet<Digest>, subjects: &Subjects) -> Option<String> {
    if gone.contains(&entry.digest) {
        return None;
    }
    let what = if entry.is_attestation() { "attestation" } else { "entry" };
    let reason = match entry.attested_digest().or_else(|| subjects.get(&entry.digest).copied()) {
        Some(about) if gone.contains(&about) => format!("is about {about}, which is replaced"),
        None if !gone.is_empty() && is_marked(entry) => "does not say what it is about".to_owned(),
        _ => return None,
    };
    let digest = entry.digest;
    Some(format!("the {what} {digest} {reason}: left out of the new index (the old index still lists it)"))
}

fn replace(entry: &mut Value, replaced: &Replaced, touch: impl Fn(Digest, &mut Value)) {
    let Some((old, document)) = digest_of(entry).and_then(|d| replaced.get_key_value(&d)) else { return };
    if *old != document.digest() {
        entry["digest"] = json!(document.digest());
        entry["size"] = json!(document.size());
        // Embedded content was that of the old child.
        if let Some(entry) = entry.as_object_mut() {
            entry.shift_remove("data");
        }
    }
    touch(*old, entry);
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
