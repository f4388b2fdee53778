//! Indexes: lists of images. [`append`] adds entries, [`filter`] takes some out, [`list`] reads them.
//!
//! What changes the images *inside* an index is [`rewrite`](crate::rewrite); what both share is here: children that were
//! replaced get their new digests, and nothing else changes but entries about children that are gone.

mod about;
pub mod append;
pub(crate) mod chosen;
pub mod filter;
mod list;
pub(crate) mod tree;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use palan_core::{Descriptor, Digest, Document, annotation};
use serde_json::{Value, json};

use self::{
    chosen::{Chosen, What},
    tree::At,
};
use crate::{Error, place::Source};

pub(crate) use about::{about, may_be_about, subject_of};
pub use list::list;

/// The new document of each replaced child, by the old digest.
pub(crate) type Replaced = HashMap<Digest, Document>;

/// What is known of the tree that an index is part of, when its entries are replaced.
pub(crate) struct Known<'a> {
    pub(crate) chosen: &'a Chosen,
    /// All images that change, and the indexes that this one lists or has entries about.
    pub(crate) replaced: &'a Replaced,
    /// Whether entries about what is not listed go even where nothing is replaced.
    pub(crate) drop_asked: bool,
}

/// What becomes of an entry about a manifest that the new index does not list.
pub(crate) enum Orphan {
    /// It is left out.
    Drop,
    /// It stays, and is marked as being about something that is not there.
    Keep,
    /// Another document takes its place, which is about the new manifest.
    Become(Document),
}

/// What becomes of an entry that is not merely replaced.
struct Fate {
    orphan: Orphan,
    about: Option<Digest>,
    /// It stays beside what it becomes.
    stays: bool,
}

/// One index of a tree with its entries replaced, and what was left out of it, one sentence each.
///
/// Entries keep their order, platform, annotations and unknown fields; `touch` may change those that were replaced,
/// given what they are and their old digest; what was not asked for stays, though its document was replaced elsewhere. An
/// entry about a manifest that the new tree does not list (an attestation, mostly) would vouch for something that is not
/// there: it is left out. An attestation that does not say what it is about is treated alike; so is what an earlier change
/// has left behind, about a manifest that is not listed any more. `orphan` may decide otherwise, given such an entry's
/// digest and what it is about.
pub(crate) fn rewrite(
    level: usize,
    known: &Known<'_>,
    touch: impl Fn(What, Digest, &mut Value),
    orphan: impl Fn(Digest, Option<Digest>) -> Orphan,
) -> Result<(Document, Vec<String>), Error> {
    let index = &known.chosen.tree.levels[level];
    let mut notes = Vec::new();
    let mut fates: Vec<Option<Fate>> = Vec::new();
    for (number, entry) in index.view.manifests.iter().enumerate() {
        let fate = why_orphaned((level, number), known).and_then(|why| {
            let orphan = orphan(entry.digest, why.about());
            let stays = matches!(why, Why::Elsewhere(_));
            match (&why, &orphan) {
                // What an earlier change kept was marked then, if at all.
                (Why::Stale(_), Orphan::Keep) => return None,
                (Why::Elsewhere(_), Orphan::Keep | Orphan::Drop) => return None,
                _ => notes.extend(note(entry, &orphan, &why)),
            }
            Some(Fate { orphan, about: why.about(), stays })
        });
        fates.push(fate);
    }
    drop_followers(&index.view.manifests, &known.chosen.abouts[level], &mut fates, &mut notes);
    let what = &known.chosen.what[level];
    let edited = index.document.edit(|json| {
        let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
        let all = std::mem::take(entries).into_iter().zip(what.iter().zip(&fates));
        for (mut entry, (what, fate)) in all {
            match fate {
                Some(fate) => entries.extend(settle(entry, fate, known.replaced)),
                None => {
                    if *what != What::Passed {
                        replace(&mut entry, known.replaced, |old, entry| touch(*what, old, entry));
                    }
                    entries.push(entry);
                }
            }
        }
    })?;
    Ok((edited, notes))
}

/// Leaves out what is about entries that are left out: signatures of attestations.
fn drop_followers(
    entries: &[Descriptor],
    abouts: &[Option<Digest>],
    fates: &mut [Option<Fate>],
    notes: &mut Vec<String>,
) {
    let is_dropped = |fate: &Option<Fate>| matches!(fate, Some(Fate { orphan: Orphan::Drop, .. }));
    loop {
        let (dropped, staying): (Vec<_>, Vec<_>) =
            entries.iter().zip(fates.iter()).partition(|(_, fate)| is_dropped(fate));
        let staying: HashSet<Digest> = staying.into_iter().map(|(entry, _)| entry.digest).collect();
        let gone: HashSet<Digest> = dropped.into_iter().map(|(entry, _)| entry.digest).collect();
        let is_gone = |about: &Digest| gone.contains(about) && !staying.contains(about);
        let mut more = false;
        for ((entry, about), fate) in entries.iter().zip(abouts).zip(fates.iter_mut()) {
            let Some(about) = about.filter(|about| fate.is_none() && is_gone(about)) else { continue };
            notes.extend(note(entry, &Orphan::Drop, &Why::LeftOut(about)));
            *fate = Some(Fate { orphan: Orphan::Drop, about: Some(about), stays: false });
            more = true;
        }
        if !more {
            return;
        }
    }
}

/// Why an entry is thought to be about something that the new index does not list.
enum Why {
    Replaced(Digest),
    /// It is replaced where it was asked for, and stays where it was not.
    Elsewhere(Digest),
    /// Neither the old nor the new index lists it.
    Stale(Digest),
    /// An entry that is left out itself.
    LeftOut(Digest),
    Unsaid,
}

impl Why {
    fn about(&self) -> Option<Digest> {
        match self {
            Self::Replaced(about) | Self::Elsewhere(about) | Self::Stale(about) | Self::LeftOut(about) => {
                Some(*about)
            }
            Self::Unsaid => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced(about) | Self::Elsewhere(about) => {
                write!(f, "is about {about}, which is replaced")
            }
            Self::Stale(about) => write!(f, "is about {about}, which the index does not list"),
            Self::LeftOut(about) => write!(f, "is about {about}, which is left out"),
            Self::Unsaid => f.write_str("does not say what it is about"),
        }
    }
}

fn why_orphaned(at: At, known: &Known<'_>) -> Option<Why> {
    let Known { chosen, replaced, drop_asked } = known;
    let entry = chosen.tree.entry(at);
    let is_replaced = |digest: &Digest| replaced.get(digest).is_some_and(|new| new.digest() != *digest);
    if is_replaced(&entry.digest) || chosen.what[at.0][at.1] != What::Other {
        return None;
    }
    let is_there =
        |about: &Digest| chosen.listed.contains(about) || replaced.values().any(|new| new.digest() == *about);
    match chosen.abouts[at.0][at.1] {
        Some(about) if is_replaced(&about) && chosen.standing.contains(&about) => Some(Why::Elsewhere(about)),
        Some(about) if is_replaced(&about) => Some(Why::Replaced(about)),
        Some(about) if *drop_asked && may_be_about(entry) && !is_there(&about) => Some(Why::Stale(about)),
        None if is_marked(entry) && replaced.keys().any(is_replaced) => Some(Why::Unsaid),
        _ => None,
    }
}

fn note(entry: &Descriptor, fate: &Orphan, why: &Why) -> Option<String> {
    let what = if entry.is_attestation() { "attestation" } else { "entry" };
    let digest = entry.digest;
    match fate {
        Orphan::Keep if why.about().is_none() => Some(format!("the {what} {digest} {why}: kept as it is")),
        Orphan::Drop => Some(format!(
            "the {what} {digest} {why}: left out of the new index (the old index still lists it)"
        )),
        Orphan::Keep => Some(format!("the {what} {digest} {why}: kept, and marked as such")),
        // Whoever made the new document has said so.
        Orphan::Become(_) => None,
    }
}

/// What an orphaned entry becomes: at most one entry, or itself and another one.
fn settle(mut entry: Value, fate: &Fate, replaced: &Replaced) -> Vec<Value> {
    let now = fate.about.and_then(|about| replaced.get(&about)).map(Document::digest);
    let mut out = Vec::new();
    match &fate.orphan {
        Orphan::Drop => return out,
        Orphan::Keep => {
            if let Some(about) = fate.about {
                mark(&mut entry, about, None);
            }
        }
        Orphan::Become(document) => {
            out.extend(fate.stays.then(|| entry.clone()));
            point_to(&mut entry, document);
            if let Some(about) = fate.about {
                mark(&mut entry, about, now);
            }
        }
    }
    out.push(entry);
    out
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

/// The error for a single image where an index is needed.
fn not_an_index(source: &dyn Source, document: &Document) -> Error {
    let image = format!("{}@{}", source.name(), document.digest());
    Error::WrongKind { image, found: "a single image".to_owned(), wanted: "an index" }
}
