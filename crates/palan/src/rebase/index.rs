//! Index editing: entries of rebased images get their new digests, what was about a replaced image leaves.

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, Family, view};
use serde_json::{Value, json};

use super::{
    hints::{self, NewHints, map_at},
    report::{Finding, FindingKind},
    tree::is_marked,
};
use crate::Error;

/// What became of a manifest or index.
pub(super) struct Replacement {
    pub(super) document: Document,
    /// For its descriptor, if that had hints.
    pub(super) hints: OnIndex,
    /// The new version of the operating system, where that changed.
    pub(super) os_version: Option<String>,
}

/// By the digest of what was there before.
pub(super) type Replaced = HashMap<Digest, Replacement>;

/// What becomes of an index's own hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnIndex {
    /// All its images stand on this base.
    Write(NewHints),
    /// Images that stay as they are may stand on what it says.
    Leave,
    /// Its images stand on different bases.
    Clear,
}

impl OnIndex {
    fn refresh(&self, annotations: Option<&mut Value>) {
        match self {
            Self::Write(new) => new.refresh(annotations),
            Self::Leave => {}
            Self::Clear => hints::clear(annotations),
        }
    }
}

/// An index with its entries replaced. Every other entry stays as it is, except those about manifests that are no
/// longer listed: they would vouch for something that the index does not hold.
pub(super) fn rewrite(
    index: &Document,
    replaced: &Replaced,
    subjects: &HashMap<Digest, Digest>,
    on_index: &OnIndex,
) -> Result<(Document, Vec<Finding>), Error> {
    let listed: view::Index = index.view()?;
    let gone: HashSet<Digest> =
        replaced.iter().filter(|(old, new)| **old != new.document.digest()).map(|(old, _)| *old).collect();
    let reasons: Vec<Option<String>> =
        listed.manifests.iter().map(|entry| why_dropped(entry, &gone, subjects)).collect();
    let edited = index.edit(|json| {
        if let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) {
            let mut dropped = reasons.iter().map(Option::is_some);
            entries.retain(|_| !dropped.next().unwrap_or_default());
            entries.iter_mut().for_each(|entry| replace(entry, replaced));
        }
        match on_index {
            OnIndex::Write(hints) if index.family() == Family::Oci => {
                if let Some(annotations) = map_at(json, "annotations") {
                    hints.write(annotations);
                }
            }
            // Docker's manifest lists know no annotations.
            other => other.refresh(json.get_mut("annotations")),
        }
    })?;
    let finding = |text| Finding::of_index(FindingKind::AttestationDropped, text);
    Ok((edited, reasons.into_iter().flatten().map(finding).collect()))
}

fn why_dropped(
    entry: &Descriptor,
    gone: &HashSet<Digest>,
    subjects: &HashMap<Digest, Digest>,
) -> Option<String> {
    if gone.contains(&entry.digest) {
        return None;
    }
    let what = if entry.is_attestation() { "attestation" } else { "entry" };
    match entry.attested_digest().or_else(|| subjects.get(&entry.digest).copied()) {
        Some(about) if gone.contains(&about) => Some(format!(
            "the {what} {} is about {about}, which is replaced: left out of the new index (the old index still lists it)",
            entry.digest
        )),
        None if !gone.is_empty() && is_marked(entry) => Some(format!(
            "the {what} {} does not say what it is about: left out of the new index (the old index still lists it)",
            entry.digest
        )),
        _ => None,
    }
}

fn replace(entry: &mut Value, replaced: &Replaced) {
    let old = entry.get("digest").and_then(Value::as_str).and_then(|d| d.parse::<Digest>().ok());
    let Some((old, new)) = old.and_then(|old| Some((old, replaced.get(&old)?))) else { return };
    entry["digest"] = json!(new.document.digest());
    entry["size"] = json!(new.document.size());
    if let Some(entry) = entry.as_object_mut()
        && old != new.document.digest()
    {
        // Embedded content was that of the old manifest.
        entry.shift_remove("data");
    }
    if let Some(version) = &new.os_version
        && let Some(stated) = entry.pointer_mut("/platform/os.version")
    {
        *stated = json!(version);
    }
    new.hints.refresh(entry.get_mut("annotations"));
}
