//! Indexes: lists of images. [`append`] adds entries, [`filter`] takes some out, [`list`] reads them.
//!
//! What changes the images *inside* an index is [`rewrite`](crate::rewrite); what both share is here: children that were
//! replaced get their new digests, and nothing else changes but entries about children that are gone.

mod about;
pub mod append;
pub mod filter;
mod list;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use palan_core::{Descriptor, Digest, Document, annotation, view};
use serde_json::{Value, json};

use crate::{Error, place::Source};

pub(crate) use about::{about, followers, listed, may_be_about, subject_of, subjects};
pub use list::list;

/// The new document of each replaced child, by the old digest.
pub(crate) type Replaced = HashMap<Digest, Document>;

/// What entries are about that are not images, by their own digest.
pub(crate) type Subjects = HashMap<Digest, Digest>;

/// What is known of the tree that an index is part of, when its entries are replaced.
pub(crate) struct Known<'a> {
    pub(crate) replaced: &'a Replaced,
    pub(crate) subjects: &'a Subjects,
    /// Everything that the old tree lists, at any depth.
    pub(crate) listed: &'a HashSet<Digest>,
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

/// What becomes of an entry that is orphaned, and what it was about.
type Fate = Option<(Orphan, Option<Digest>)>;

/// An index with its entries replaced, and what was left out of it, one sentence each.
///
/// Entries keep their order, platform, annotations and unknown fields; `touch` may change those that were replaced,
/// given by their old digest; entries that the change does not apply to stay, though their document was replaced elsewhere. An entry about a manifest that the new index does not list (an attestation, mostly) would
/// vouch for something that is not there: it is left out. An attestation that does not say what it is about is treated
/// alike; so is what an earlier change has left behind, about a manifest that is not listed any more. `orphan` may
/// decide otherwise, given such an entry's digest.
pub(crate) fn rewrite(
    index: &Document,
    known: &Known<'_>,
    applies: impl Fn(&Descriptor) -> bool,
    touch: impl Fn(Digest, &mut Value),
    orphan: impl Fn(Digest) -> Orphan,
) -> Result<(Document, Vec<String>), Error> {
    let listed: view::Index = index.view()?;
    let replaced = known.replaced;
    let gone: HashSet<Digest> =
        replaced.iter().filter(|(old, new)| **old != new.digest()).map(|(old, _)| *old).collect();
    let mut notes = Vec::new();
    let mut fates: Vec<Fate> = Vec::new();
    for entry in &listed.manifests {
        let Some(why) = why_orphaned(entry, &gone, known) else {
            fates.push(None);
            continue;
        };
        let fate = orphan(entry.digest);
        // What an earlier change kept was marked then, if at all.
        if matches!((&why, &fate), (Why::Stale(_), Orphan::Keep)) {
            fates.push(None);
            continue;
        }
        notes.extend(note(entry, &fate, &why));
        fates.push(Some((fate, why.about())));
    }
    drop_followers(&listed, known.subjects, &mut fates, &mut notes);
    let edited = index.edit(|json| {
        let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
        let mut all = listed.manifests.iter().zip(&fates);
        entries.retain_mut(|entry| match all.next() {
            Some((_, Some((fate, about)))) => settle(entry, fate, *about, replaced),
            Some((before, None)) if !applies(before) => true,
            _ => {
                replace(entry, replaced, &touch);
                true
            }
        });
    })?;
    Ok((edited, notes))
}

/// Leaves out what is about entries that are left out: signatures of attestations.
fn drop_followers(index: &view::Index, subjects: &Subjects, fates: &mut [Fate], notes: &mut Vec<String>) {
    let entries = index.manifests.iter().zip(fates.iter());
    let dropped = entries.filter(|(_, fate)| matches!(fate, Some((Orphan::Drop, _))));
    let gone: HashSet<Digest> = dropped.map(|(entry, _)| entry.digest).collect();
    let others: Vec<&Descriptor> = index.manifests.iter().filter(|e| may_be_about(e)).collect();
    let following: Subjects = followers(&others, subjects, &gone).into_iter().collect();
    for (entry, fate) in index.manifests.iter().zip(fates).filter(|(_, fate)| fate.is_none()) {
        if let Some(about) = following.get(&entry.digest) {
            notes.extend(note(entry, &Orphan::Drop, &Why::LeftOut(*about)));
            *fate = Some((Orphan::Drop, Some(*about)));
        }
    }
}

/// Why an entry is thought to be about something that the new index does not list.
enum Why {
    Replaced(Digest),
    /// Neither the old nor the new index lists it.
    Stale(Digest),
    /// An entry that is left out itself.
    LeftOut(Digest),
    Unsaid,
}

impl Why {
    fn about(&self) -> Option<Digest> {
        match self {
            Self::Replaced(about) | Self::Stale(about) | Self::LeftOut(about) => Some(*about),
            Self::Unsaid => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced(about) => write!(f, "is about {about}, which is replaced"),
            Self::Stale(about) => write!(f, "is about {about}, which the index does not list"),
            Self::LeftOut(about) => write!(f, "is about {about}, which is left out"),
            Self::Unsaid => f.write_str("does not say what it is about"),
        }
    }
}

fn why_orphaned(entry: &Descriptor, gone: &HashSet<Digest>, known: &Known<'_>) -> Option<Why> {
    if gone.contains(&entry.digest) {
        return None;
    }
    let is_there = |about: &Digest| {
        known.listed.contains(about) || known.replaced.values().any(|new| new.digest() == *about)
    };
    match entry.attested_digest().or_else(|| known.subjects.get(&entry.digest).copied()) {
        Some(about) if gone.contains(&about) => Some(Why::Replaced(about)),
        Some(about) if known.drop_asked && may_be_about(entry) && !is_there(&about) => {
            Some(Why::Stale(about))
        }
        None if !gone.is_empty() && is_marked(entry) => Some(Why::Unsaid),
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

/// The error for a single image where an index is needed.
fn not_an_index(source: &dyn Source, document: &Document) -> Error {
    let image = format!("{}@{}", source.name(), document.digest());
    Error::WrongKind { image, found: "a single image".to_owned(), wanted: "an index" }
}
