//! Index editing: entries of rebased images get their new digests, attestations of replaced images leave.

use std::collections::{BTreeSet, HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, view};
use serde_json::{Value, json};

use super::{
    hints::{NewHints, map_at},
    plan::{Finding, FindingKind},
};
use crate::{Error, place::Source};

/// The new document of each replaced manifest or index, and the hints for its descriptor.
pub(super) type Replaced = HashMap<Digest, (Document, NewHints)>;

/// An index with its entries replaced. Every other entry stays as it is, except attestations about manifests that are
/// no longer listed: those would vouch for something that the index does not hold.
pub(super) async fn rewrite(
    source: &dyn Source,
    index: &Document,
    replaced: &Replaced,
    hints: Option<&NewHints>,
) -> Result<(Document, Vec<Finding>), Error> {
    let listed: view::Index = crate::image::parsed(source, index)?;
    // An image that is listed and unchanged keeps its attestations.
    let gone: BTreeSet<Digest> =
        replaced.iter().filter(|(old, (new, _))| **old != new.digest()).map(|(old, _)| *old).collect();
    let mut dropped: HashSet<Digest> = HashSet::new();
    let mut findings = Vec::new();
    for entry in listed.manifests.iter().filter(|e| e.is_attestation()) {
        let about = about(source, entry).await?;
        let text = match about {
            Some(about) if gone.contains(&about) => {
                dropped.insert(entry.digest);
                format!(
                    "the attestation {} was about {about}, which is replaced: left out of the new index \
                     (the old index still lists it)",
                    entry.digest
                )
            }
            None if !gone.is_empty() => {
                dropped.insert(entry.digest);
                format!(
                    "the attestation {} does not say what it is about: left out of the new index",
                    entry.digest
                )
            }
            _ => continue,
        };
        findings.push(Finding::of_index(FindingKind::AttestationDropped, text));
    }
    let edited = index.edit(|json| {
        if let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) {
            entries.retain(|entry| digest_of(entry).is_none_or(|d| !dropped.contains(&d)));
            for entry in entries {
                replace(entry, replaced);
            }
        }
        if let Some(hints) = hints {
            if index.family() == palan_core::Family::Oci {
                if let Some(annotations) = map_at(json, "annotations") {
                    hints.write(annotations);
                }
            } else {
                hints.refresh(json.get_mut("annotations"));
            }
        }
    })?;
    Ok((edited, findings))
}

fn replace(entry: &mut Value, replaced: &Replaced) {
    let Some((document, hints)) = digest_of(entry).and_then(|d| replaced.get(&d)) else { return };
    let changed = digest_of(entry) != Some(document.digest());
    entry["digest"] = json!(document.digest());
    entry["size"] = json!(document.size());
    if changed {
        // Embedded content was that of the old manifest.
        if let Some(entry) = entry.as_object_mut() {
            entry.shift_remove("data");
        }
    }
    hints.refresh(entry.get_mut("annotations"));
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// Which manifest an attestation entry is about: its annotation or, for the artifact form, its subject.
async fn about(source: &dyn Source, entry: &Descriptor) -> Result<Option<Digest>, Error> {
    if let Some(digest) = entry.attested_digest() {
        return Ok(Some(digest));
    }
    match source.document(&entry.digest.into()).await {
        Ok(document) => {
            Ok(document.view::<view::Manifest>().ok().and_then(|m| m.subject).map(|subject| subject.digest))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
