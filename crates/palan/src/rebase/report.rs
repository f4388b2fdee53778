//! What a planned rebase says about itself, for people and machines.

use std::fmt;

use palan_core::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

use super::config::Merged;
use crate::verdict::{Assessment, Grade};

/// Something worth knowing about a planned rebase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// For which platform; `None`: the index or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// One sentence.
    pub text: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The layers are those of the new base already.
    AlreadyOnNewBase,
    /// History was repaired or left out.
    History,
    /// An attestation was left out of the new index.
    AttestationDropped,
    /// An attestation or referrer was carried to the new image, as asked.
    AttestationCarried,
    /// Signatures, attestations and the like stay with the old image.
    ReferrersStay,
    /// An entry of the index was carried unchanged.
    EntryKept,
    /// Non-distributable layers.
    Foreign,
    /// The manifest has a subject.
    Subject,
    /// Layers were named in a way that leaves nothing on one side.
    Cut,
    /// The old base was found by its layers or by attestations, and has another name than the new one.
    BaseFound,
    /// The new base has no name that could be written as a hint.
    BaseUnnamed,
    /// A layer was made for another platform.
    OtherPlatform,
    /// The image has the layer already.
    LayerRepeated,
}

impl Finding {
    pub(super) fn on(platform: &Platform, kind: FindingKind, text: impl Into<String>) -> Self {
        Self { kind, platform: Some(platform.to_string()), text: text.into() }
    }

    pub(super) fn of_index(kind: FindingKind, text: impl Into<String>) -> Self {
        Self { kind, platform: None, text: text.into() }
    }
}

/// How much of a rebuild a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nobody looked: the content of the layers was not compared.
    NotAssessed,
    /// The worst of what was found.
    Assessed(Grade),
}

impl Verdict {
    /// Of several images: the worst, but what was not assessed is not called good because others are.
    pub(crate) fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let (mut worst, mut whole) = (None, true);
        for verdict in verdicts {
            match verdict {
                Self::NotAssessed => whole = false,
                Self::Assessed(grade) => worst = worst.max(Some(grade)),
            }
        }
        match worst {
            Some(grade) if whole || grade > Grade::Clean => Self::Assessed(grade),
            _ => Self::NotAssessed,
        }
    }

    /// Adds what else is known.
    #[must_use]
    pub(super) fn at_least(self, grade: Grade) -> Self {
        match self {
            Self::Assessed(found) => Self::Assessed(found.max(grade)),
            Self::NotAssessed => self,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAssessed => f.pad("not assessed"),
            Self::Assessed(grade) => f.pad(grade.as_str()),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // As the gates have it.
            Self::NotAssessed => serializer.serialize_str("not-assessed"),
            Self::Assessed(grade) => grade.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let grade = Grade::ALL.into_iter().find(|grade| grade.as_str() == word);
        match grade {
            Some(grade) => Ok(Self::Assessed(grade)),
            None if word == "not-assessed" => Ok(Self::NotAssessed),
            None => Err(serde::de::Error::custom(format!("\"{word}\" is not a verdict"))),
        }
    }
}

/// A plan as data, for people and machines. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image as it was named.
    pub image: String,
    /// Digest of the image or index.
    pub digest: Digest,
    /// Where the result goes.
    pub target: String,
    /// Digest of the result.
    pub new_digest: Digest,
    /// Whether nothing would change: the result stands at the target already.
    pub noop: bool,
    /// Whether the result can be expected to work.
    pub verdict: Verdict,
    /// One entry per image that is rebased, in the order of the index; an image that is listed twice is one.
    pub platforms: Vec<PlatformReport>,
    /// What is worth knowing.
    pub findings: Vec<Finding>,
}

/// A base, for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseReport {
    /// The reference as it was given or found, or what else is known.
    pub name: String,
    /// Digest of its manifest; `None`: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Chain ID of its layers (image-spec `config.md`); `None`: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<Digest>,
    /// Why it is believed to be the image's base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Name and digest of an old base that was found, and is known with its config: for [`OldBase::Found`](super::OldBase),
    /// where less is known than here.
    #[serde(skip)]
    pub found: Option<Reference>,
}

/// A planned rebase of one platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformReport {
    /// The platform.
    pub platform: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Digest of the new manifest.
    pub new_digest: Digest,
    /// How many of the image's layers are its base's; of the new base's, where the image stands on that already.
    pub boundary: usize,
    /// How many of those stay, where only some layers in the middle were replaced.
    pub below: usize,
    /// How many layers are the image's own: all of them are kept.
    pub own_layers: usize,
    /// Bytes of the image's layers, as stored (compressed).
    pub size: u64,
    /// The same of the result's layers.
    pub new_size: u64,
    /// What was replaced.
    pub old_base: BaseReport,
    /// What it was replaced by.
    pub new_base: BaseReport,
    /// Layers of the new base that are taken, lowest first, as stored.
    pub new_base_layers: Vec<Digest>,
    /// How much of a rebuild the result is.
    pub verdict: Verdict,
    /// What became of the config.
    pub config: Merged,
    /// What a look at the files found; `None`: nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
}
