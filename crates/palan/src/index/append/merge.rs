//! An index with entries added.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, Family, Platform, view};
use serde_json::{Map, Value, json};

use super::{
    Existing, Request,
    read::{Addition, Entry, is_known, is_same},
};
use crate::{
    Error, image,
    index::{
        may_be_about,
        tree::{AT_ONCE, Leaves, Tree},
    },
    place::Source,
};

/// What becomes of an entry of the base.
enum Fate {
    Stays,
    Goes,
    /// It is what is added, by that one's number, and takes over what that one says.
    Joins(usize),
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
    let new = each_once(additions.iter().flat_map(|addition| &addition.entries));
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

/// A list with entries added that it has not. `platforms`: of the images that are in the list, as far as they matter.
pub(super) fn joined(
    old: Vec<Value>,
    views: &[Descriptor],
    platforms: &HashMap<Digest, Platform>,
    new: &[Entry],
) -> Vec<Value> {
    let mut taken = HashSet::new();
    let fates: Vec<Fate> = views
        .iter()
        .map(|entry| {
            let platform = entry.platform.as_ref().or_else(|| platforms.get(&entry.digest));
            let found = new.iter().position(|new| new.is(entry, platform));
            found.filter(|number| taken.insert(*number)).map_or(Fate::Stays, Fate::Joins)
        })
        .collect();
    listed(old, &fates, new)
}

/// What several additions list alike is added once, with what all of them say.
pub(super) fn each_once<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for entry in entries {
        match out.iter_mut().find(|found| entry.is(&found.view, found.platform.as_ref())) {
            Some(found) => join(&mut found.json, entry),
            None => out.push(entry.clone()),
        }
    }
    out
}

fn listed(old: Vec<Value>, fates: &[Fate], new: &[Entry]) -> Vec<Value> {
    let (mut out, mut placed) = (Vec::new(), HashSet::new());
    for (mut entry, fate) in old.into_iter().zip(fates) {
        match fate {
            Fate::Stays => out.push(entry),
            Fate::Goes => {}
            Fate::Joins(number) => {
                join(&mut entry, &new[*number]);
                placed.insert(*number);
                out.push(entry);
            }
            // Where it is listed already, it need not take another's place.
            Fate::Becomes(number) => {
                let is_listed = fates.iter().any(|fate| matches!(fate, Fate::Joins(n) if n == number));
                if !is_listed && placed.insert(*number) {
                    out.push(new[*number].json.clone());
                }
            }
        }
    }
    let rest = new.iter().enumerate().filter(|(number, _)| !placed.contains(number));
    out.extend(rest.map(|(_, entry)| entry.json.clone()));
    out
}

/// Lets an entry say what another one of the same image says: its annotations, and what it lacks.
fn join(entry: &mut Value, new: &Entry) {
    let (Some(entry), Some(added)) = (entry.as_object_mut(), new.json.as_object()) else { return };
    for (key, value) in added {
        match (key.as_str(), entry.get_mut(key).filter(|old| !old.is_null())) {
            ("annotations", Some(Value::Object(old))) => take_over(old, value),
            ("platform", Some(old)) if new.is_for_asked => *old = value.clone(),
            (_, Some(_)) => {}
            (_, None) => drop(entry.insert(key.clone(), value.clone())),
        }
    }
}

fn take_over(annotations: &mut Map<String, Value>, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        annotations.insert(key.clone(), value.clone());
    }
}

async fn fates(
    source: &dyn Source,
    base: &Document,
    new: &[Entry],
    request: &Request,
) -> Result<(Vec<Fate>, Vec<String>), Error> {
    let old: view::Index = image::parsed(source, base)?;
    let is_asked = |entry: &&Descriptor| {
        request.existing == Existing::Replace || new.iter().any(|new| new.view.digest == entry.digest)
    };
    let platforms = stream::iter(&old.manifests).map(|entry| async move {
        match Some(entry).filter(is_asked) {
            Some(entry) => image::entry_platform(source, entry).await,
            None => Ok(None),
        }
    });
    let platforms: Vec<Option<Platform>> = platforms.buffered(AT_ONCE).try_collect().await?;
    let (mut notes, mut taken) = (Vec::new(), HashSet::new());
    let mut fates: Vec<Fate> = Vec::new();
    for (entry, platform) in old.manifests.iter().zip(&platforms) {
        let found = new.iter().position(|new| new.is(entry, platform.as_ref()));
        fates.push(match (found, platform) {
            (Some(number), _) => {
                if taken.insert(number) {
                    Fate::Joins(number)
                } else {
                    Fate::Stays
                }
            }
            (None, Some(platform)) if request.existing == Existing::Replace => match same(new, platform) {
                None => Fate::Stays,
                Some(number) => {
                    let by = new[number].view.digest;
                    notes.push(format!("the entry {} for {platform} is replaced by {by}", entry.digest));
                    Fate::Becomes(number)
                }
            },
            _ => Fate::Stays,
        });
    }
    notes.extend(follow(source, base, &mut fates, new).await?);
    Ok((fates, notes))
}

/// The first of the new entries that is an image for this very platform.
fn same(new: &[Entry], platform: &Platform) -> Option<usize> {
    new.iter().position(|entry| entry.platform.as_ref().is_some_and(|p| is_known(p) && is_same(p, platform)))
}

/// Lets go what is about images that go, and that nothing lists any more.
async fn follow(
    source: &dyn Source,
    base: &Document,
    fates: &mut [Fate],
    new: &[Entry],
) -> Result<Vec<String>, Error> {
    if !fates.iter().any(|fate| matches!(fate, Fate::Becomes(_))) {
        return Ok(Vec::new());
    }
    // Indexes inside stay as they are; that they list something still counts.
    let tree = Tree::read(source, base, |_| true).await?;
    let abouts = tree.abouts(source, may_be_about).await?;
    let mut leaves = tree.each(|(level, number)| {
        (level == 0 && matches!(fates.get(number), Some(Fate::Becomes(_)))).then_some(Leaves::Chosen)
    });
    tree.follow(&mut leaves, &abouts, &new.iter().map(|entry| entry.view.digest).collect());
    let mut notes = Vec::new();
    for (number, fate) in fates.iter_mut().enumerate() {
        if let Some(Leaves::About(_)) = leaves[0][number] {
            let entry = tree.entry((0, number)).digest;
            notes.push(format!("the entry {entry} is about one that is replaced: left out"));
            *fate = Fate::Goes;
        }
    }
    Ok(notes)
}

/// What is allowed, and may not be what was meant.
fn doubts(base: &Document, new: &[Entry]) -> Vec<String> {
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
