//! Editing an index: children that were replaced get their new digests; nothing else changes, but attestations about
//! children that are gone.

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, view};
use serde_json::{Value, json};

use crate::{Error, image, place::Source};

/// The new document of each replaced child, by the old digest.
pub(crate) type Replaced = HashMap<Digest, Document>;

/// An index with its entries replaced, and what was left out of it, one sentence each.
///
/// Entries keep their order, platform, annotations and unknown fields. An attestation about a manifest that the new
/// index does not list would vouch for something that is not there: it is left out. One that says nothing of what it is
/// about is treated alike.
pub(crate) async fn rewrite(
    source: &dyn Source,
    index: &Document,
    replaced: &Replaced,
) -> Result<(Document, Vec<String>), Error> {
    let listed: view::Index = image::parsed(source, index)?;
    let gone: HashSet<Digest> =
        replaced.iter().filter(|(old, new)| **old != new.digest()).map(|(old, _)| *old).collect();
    let mut dropped: HashSet<Digest> = HashSet::new();
    let mut notes = Vec::new();
    for entry in listed.manifests.iter().filter(|e| e.is_attestation() && !gone.is_empty()) {
        let digest = entry.digest;
        match about(source, entry).await? {
            Some(about) if gone.contains(&about) => notes.push(format!(
                "the attestation {digest} was about {about}, which is replaced: left out of the new index \
                 (the old index still lists it)"
            )),
            Some(_) => continue,
            None => notes.push(format!(
                "the attestation {digest} does not say what it is about: left out of the new index \
                 (the old index still lists it)"
            )),
        }
        dropped.insert(digest);
    }
    let edited = index.edit(|json| {
        if let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) {
            entries.retain(|entry| digest_of(entry).is_none_or(|d| !dropped.contains(&d)));
            entries.iter_mut().for_each(|entry| replace(entry, replaced));
        }
    })?;
    Ok((edited, notes))
}

fn replace(entry: &mut Value, replaced: &Replaced) {
    let Some((old, document)) = digest_of(entry).and_then(|d| replaced.get_key_value(&d)) else { return };
    if *old == document.digest() {
        return;
    }
    entry["digest"] = json!(document.digest());
    entry["size"] = json!(document.size());
    // Embedded content was that of the old child.
    if let Some(entry) = entry.as_object_mut() {
        entry.shift_remove("data");
    }
}

/// The digest of an entry as it stands in the JSON.
pub(crate) fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// Which manifest an attestation entry is about: its annotation or, for the artifact form, its subject.
async fn about(source: &dyn Source, entry: &Descriptor) -> Result<Option<Digest>, Error> {
    if let Some(digest) = entry.attested_digest() {
        return Ok(Some(digest));
    }
    match source.document(&entry.digest.into()).await {
        Ok(document) => Ok(document.view::<view::Manifest>().ok().and_then(|m| m.subject).map(|s| s.digest)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
