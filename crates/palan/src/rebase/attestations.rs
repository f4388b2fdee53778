//! What becomes of what was said about the old image: attestations in its index, referrers, digest tags.
//!
//! An attestation is about bytes: when the bytes go, so does what was said about them. Nothing is ever made to speak of
//! the new image silently; what is carried on request says where it is from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use futures_util::future::try_join_all;
use palan_core::{Descriptor, Digest, Document, annotation, view};
use serde_json::{Map, Value, json};

use super::{
    index::Replaced,
    report::{Finding, FindingKind},
};
use crate::{
    Error,
    companions::{self, kind_of},
    image,
    index::{Orphan, chosen::Chosen, tree::At},
    json::{map_at, point_to_config},
    place::Source,
};

/// Annotation of a layer of BuildKit's attestation manifests: what kind of statement it is.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// What becomes of attestations and signatures of an image that is replaced. The old image always keeps its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OldAttestations {
    /// They are left out of the new index.
    #[default]
    Drop,
    /// Entries of the index stay, still about the old manifests, and are marked as such.
    KeepOld,
    /// Those of these types (in-toto predicate type, or a referrer's artifact type) are attached to the new image, marked with what they
    /// were made about; others are left out. Whether they are still true is for whoever asks for this to know.
    Carry(BTreeSet<String>),
}

impl FromStr for OldAttestations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "drop" => Ok(Self::Drop),
            None if text == "keep-old" => Ok(Self::KeepOld),
            Some(("carry", types)) if types.split(',').all(|kind| !kind.is_empty()) => {
                Ok(Self::Carry(types.split(',').map(str::to_owned).collect()))
            }
            _ => Err(format!("\"{text}\" is not one of drop, keep-old, carry=TYPE[,TYPE…]")),
        }
    }
}

impl fmt::Display for OldAttestations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::KeepOld => f.write_str("keep-old"),
            Self::Carry(types) => {
                write!(f, "carry={}", types.iter().map(String::as_str).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// What is carried over to the new image, and what is said about the rest.
#[derive(Default)]
pub(super) struct Carried {
    /// New manifests of index entries, by the old entry's digest and what it was about.
    pub(super) entries: BTreeMap<(Digest, Digest), Document>,
    /// Configs of those.
    pub(super) configs: Vec<Document>,
    /// Manifests that refer to new ones, to be written after them.
    pub(super) referrers: Vec<Document>,
    pub(super) findings: Vec<Finding>,
}

impl OldAttestations {
    fn carries(&self, kind: &str) -> bool {
        matches!(self, Self::Carry(types) if types.contains(kind))
    }

    /// What becomes of an entry of an index whose subject was replaced.
    pub(super) fn orphan(&self, entry: Digest, about: Option<Digest>, carried: &Carried) -> Orphan {
        match (self, about.and_then(|about| carried.entries.get(&(entry, about)))) {
            (_, Some(document)) => Orphan::Become(document.clone()),
            (Self::KeepOld, None) => Orphan::Keep,
            _ => Orphan::Drop,
        }
    }
}

/// Prepares the index entries that are to be carried, once it is known what their subjects became.
pub(super) async fn carry_entries(
    source: &dyn Source,
    chosen: &Chosen,
    replaced: &Replaced,
    policy: &OldAttestations,
    carried: &mut Carried,
) -> Result<(), Error> {
    if !matches!(policy, OldAttestations::Carry(_)) {
        return Ok(());
    }
    let said = |at: At| Some((chosen.tree.entry(at).digest, chosen.abouts[at.0][at.1]?));
    // In an order of its own: one may be listed several times.
    for (entry, about) in &chosen.tree.all().filter_map(said).collect::<BTreeSet<_>>() {
        let Some(new) = replaced.get(about).filter(|new| new.document.digest() != *about) else { continue };
        let document = source.document(&(*entry).into()).await?;
        let manifest: view::Manifest = image::parsed(source, &document)?;
        let kind_of = |layer: &Descriptor| layer.annotation(PREDICATE_TYPE).unwrap_or_default().to_owned();
        let keep: Vec<bool> = manifest.layers.iter().map(|l| policy.carries(&kind_of(l))).collect();
        if !keep.contains(&true) {
            continue;
        }
        let config = image::config(source, &manifest.config).await?;
        let config = config.edit(|json| {
            let diff_ids =
                json.get_mut("rootfs").and_then(|r| r.get_mut("diff_ids")).and_then(Value::as_array_mut);
            if let Some(ids) = diff_ids.filter(|ids| ids.len() == keep.len()) {
                let mut keep = keep.iter();
                ids.retain(|_| keep.next().copied().unwrap_or_default());
            }
        })?;
        let config = config.with_media_type(manifest.config.media_type.clone());
        let document = document.edit(|json| {
            if let Some(layers) = json.get_mut("layers").and_then(Value::as_array_mut) {
                let mut keep = keep.iter();
                layers.retain(|_| keep.next().copied().unwrap_or_default());
            }
            point_to_config(json, &config);
            speak_of(json, *about, &new.document);
        })?;
        if config.digest() != manifest.config.digest {
            carried.configs.push(config);
        }
        let kinds: BTreeSet<String> =
            manifest.layers.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(l, _)| kind_of(l)).collect();
        carried.findings.push(carried_finding(*entry, &kinds, *about));
        carried.entries.insert((*entry, *about), document);
    }
    Ok(())
}

/// Looks for referrers and digest tags of what was replaced: says what stays with the old image, and prepares what is
/// to be carried.
pub(super) async fn look_for_referrers(
    source: &dyn Source,
    replaced: &BTreeMap<Digest, Document>,
    policy: &OldAttestations,
    carried: &mut Carried,
) -> Result<(), Error> {
    let found = try_join_all(replaced.keys().map(|old| companions::said_about(source, *old))).await?;
    for ((old, new), (referrers, tags)) in replaced.iter().zip(found) {
        let is_carried = |d: &&Descriptor| {
            policy.carries(&kind_of(d))
                || d.annotation(PREDICATE_TYPE).is_some_and(|kind| policy.carries(kind))
        };
        for referrer in referrers.iter().filter(is_carried) {
            let document = source.document(&referrer.digest.into()).await?;
            let kinds = BTreeSet::from([kind_of(referrer)]);
            carried.findings.push(carried_finding(referrer.digest, &kinds, *old));
            carried.referrers.push(document.edit(|json| speak_of(json, *old, new))?);
        }
        let mut left: Vec<String> = referrers.iter().filter(|d| !is_carried(d)).map(kind_of).collect();
        left.extend(tags);
        if !left.is_empty() {
            left.sort();
            let text = format!(
                "what was said about {old} stays with it, and is not said about the result: {}",
                left.join(", ")
            );
            carried.findings.push(Finding::of_index(FindingKind::ReferrersStay, text));
        }
    }
    Ok(())
}

/// Makes a manifest speak of the new image, and say that it was made about the old one.
fn speak_of(json: &mut Map<String, Value>, old: Digest, new: &Document) {
    if let Some(subject) = json.get_mut("subject").and_then(Value::as_object_mut) {
        subject.shift_remove("data");
        subject.insert("mediaType".into(), json!(new.media_type()));
        subject.insert("digest".into(), json!(new.digest()));
        subject.insert("size".into(), json!(new.size()));
    }
    if let Some(annotations) = map_at(json, "annotations") {
        annotations.insert(annotation::MADE_ABOUT.into(), json!(old));
    }
}

fn carried_finding(what: Digest, kinds: &BTreeSet<String>, about: Digest) -> Finding {
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let text = format!(
        "{what} ({}) was made about {about} and is carried to the result, as asked; nobody checked that it still holds",
        kinds.join(", ")
    );
    Finding::of_index(FindingKind::AttestationCarried, text)
}
