//! The indexes of a rebase: their entries are replaced, and hints are kept true.

use std::collections::HashMap;

use palan_core::{Digest, Document, Family};
use serde_json::{Value, json};

use super::{
    hints::{self, NewHints},
    report::{Finding, FindingKind},
};
use crate::{
    Error,
    index::{self, Known, Orphan, chosen::Chosen},
    json::map_at,
};

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

/// An index of the tree with its entries replaced, and what was left out of it.
pub(super) fn rewrite(
    chosen: &Chosen,
    level: usize,
    replaced: &Replaced,
    on_index: &OnIndex,
    orphan: impl Fn(Digest, Option<Digest>) -> Orphan,
) -> Result<(Document, Vec<Finding>), Error> {
    let index = &chosen.tree.levels[level].document;
    let documents = replaced.iter().map(|(old, new)| (*old, new.document.clone())).collect();
    // To leave attestations out is the default here: alone it is no reason to write another index.
    let known = Known { chosen, replaced: &documents, drop_asked: false };
    let touch = |_, old: Digest, entry: &mut Value| {
        if let Some(new) = replaced.get(&old) {
            touch(entry, new);
        }
    };
    let (edited, dropped) = index::rewrite(level, &known, touch, orphan)?;
    let edited = edited.edit(|json| match on_index {
        OnIndex::Write(hints) if index.family() == Family::Oci => {
            if let Some(annotations) = map_at(json, "annotations") {
                hints.write(annotations);
            }
        }
        // Docker's manifest lists know no annotations.
        other => other.refresh(json.get_mut("annotations")),
    })?;
    let finding = |text| Finding::of_index(FindingKind::AttestationDropped, text);
    Ok((edited, dropped.into_iter().map(finding).collect()))
}

fn touch(entry: &mut Value, new: &Replacement) {
    if let Some(version) = &new.os_version
        && let Some(stated) = entry.pointer_mut("/platform/os.version")
    {
        *stated = json!(version);
    }
    new.hints.refresh(entry.get_mut("annotations"));
}
