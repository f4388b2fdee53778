//! An index with entries added.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join_all;
use palan_core::{Descriptor, Digest, Document, Family, Platform, view};
use serde_json::{Value, json};

use super::{
    Existing, Request,
    read::{Addition, Entry},
};
use crate::{Error, image, index, place::Source};

/// What becomes of an entry of the base.
enum Fate {
    Stays,
    Goes,
    /// The entry that was added takes its place, by its number.
    Becomes(usize),
}

/// The new index, and what was replaced, one sentence each. `source`: where the base is.
pub(super) async fn merge(
    source: Option<&dyn Source>,
    base: &Document,
    additions: &[Addition],
    request: &Request,
) -> Result<(Document, Vec<String>), Error> {
    let mut seen = HashSet::new();
    let new: Vec<&Entry> =
        additions.iter().flat_map(|a| &a.entries).filter(|e| seen.insert(e.view.digest)).collect();
    let mut notes = doubts(base, &new);
    let (fates, said) = match source {
        Some(source) => fates(source, base, &new, request).await?,
        None => (Vec::new(), Vec::new()),
    };
    notes.extend(said);
    let document = base.edit(|json| {
        let old = json.get_mut("manifests").and_then(Value::as_array_mut).map(std::mem::take);
        json.insert("manifests".into(), listed(old.unwrap_or_default(), &fates, &new).into());
        if let Some(artifact_type) = &request.artifact_type {
            json.insert("artifactType".into(), json!(artifact_type));
        }
    })?;
    Ok((document, notes))
}

fn listed(old: Vec<Value>, fates: &[Fate], new: &[&Entry]) -> Vec<Value> {
    let (mut out, mut placed) = (Vec::new(), HashSet::new());
    for (entry, fate) in old.into_iter().zip(fates) {
        match fate {
            Fate::Stays => out.push(entry),
            Fate::Goes => {}
            Fate::Becomes(number) => {
                if placed.insert(*number) {
                    out.push(new[*number].json.clone());
                }
            }
        }
    }
    out.extend(new.iter().enumerate().filter(|(i, _)| !placed.contains(i)).map(|(_, e)| e.json.clone()));
    out
}

async fn fates(
    source: &dyn Source,
    base: &Document,
    new: &[&Entry],
    request: &Request,
) -> Result<(Vec<Fate>, Vec<String>), Error> {
    let old: view::Index = image::parsed(source, base)?;
    let by_digest: HashMap<Digest, usize> = new.iter().enumerate().map(|(i, e)| (e.view.digest, i)).collect();
    let platforms = try_join_all(old.manifests.iter().map(|entry| async {
        match request.existing {
            Existing::Replace => image::entry_platform(source, entry).await,
            Existing::Keep => Ok(None),
        }
    }))
    .await?;
    let mut notes = Vec::new();
    let mut gone = HashSet::new();
    let mut fates: Vec<Fate> = old
        .manifests
        .iter()
        .zip(&platforms)
        .map(|(entry, platform)| {
            if let Some(number) = by_digest.get(&entry.digest) {
                return Fate::Becomes(*number);
            }
            let Some((number, platform)) = platform.as_ref().and_then(|p| Some((same(new, p)?, p))) else {
                return Fate::Stays;
            };
            gone.insert(entry.digest);
            let by = new[number].view.digest;
            notes.push(format!("the entry {} for {platform} is replaced by {by}", entry.digest));
            Fate::Becomes(number)
        })
        .collect();
    let following = following(source, &old, &gone).await?;
    for (entry, fate) in old.manifests.iter().zip(&mut fates) {
        if matches!(fate, Fate::Stays) && following.contains(&entry.digest) {
            notes.push(format!("the entry {} is about one that is replaced: left out", entry.digest));
            *fate = Fate::Goes;
        }
    }
    Ok((fates, notes))
}

/// The first of the new entries that is an image for this very platform.
fn same(new: &[&Entry], platform: &Platform) -> Option<usize> {
    let alike = |p: &Platform| {
        p.same_machine(platform)
            && p.os_version == platform.os_version
            && p.os_features == platform.os_features
    };
    new.iter().position(|entry| entry.platform.as_ref().is_some_and(|p| is_known(p) && alike(p)))
}

fn is_known(platform: &Platform) -> bool {
    !platform.is_unknown() && !platform.os.is_empty()
}

/// Entries about what is gone.
async fn following(
    source: &dyn Source,
    old: &view::Index,
    gone: &HashSet<Digest>,
) -> Result<HashSet<Digest>, Error> {
    if gone.is_empty() {
        return Ok(HashSet::new());
    }
    let others: Vec<&Descriptor> = old.manifests.iter().filter(|e| index::may_be_about(e)).collect();
    let subjects = index::subjects(source, &others).await?;
    Ok(index::followers(&others, &subjects, gone).into_iter().map(|(digest, _)| digest).collect())
}

/// What is allowed, and may not be what was meant.
fn doubts(base: &Document, new: &[&Entry]) -> Vec<String> {
    let mut notes = Vec::new();
    let (family, other) = match base.family() {
        Family::Oci => ("an OCI index", Family::Docker),
        Family::Docker => ("a Docker list", Family::Oci),
    };
    let others = new.iter().filter(|e| e.view.media_type.family() == Some(other)).count();
    if base.family() == Family::Docker && others > 0 {
        notes.push(format!("{family} that lists {other} manifests: some clients take one kind only"));
    }
    for (i, entry) in new.iter().enumerate() {
        let Some(platform) = entry.platform.as_ref().filter(|p| is_known(p)) else { continue };
        if same(&new[..i], platform).is_some() {
            notes.push(format!("two of the new entries are for {platform}: clients take the first"));
        }
    }
    notes
}
