//! The plan file: what is going to be done, locked by digest.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use palan_core::{Digest, DigestError, Reference};
use serde::{Deserialize, Serialize};

use super::{
    inventory::Missed,
    settings::{Bounds, Gates, RegistryRules, Rules},
    unknown,
};
use crate::rebase::Verdict;

/// What the field `schema` of a plan says.
pub const SCHEMA: &str = "palan.fleet.plan/v1";

/// What is to become of a fleet. Images are ordered by wave, then bases before what stands on them, then by name, so that
/// the same fleet gives the same file. Field names are part of palan's interface.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: String,
    /// How each image is rebased.
    pub rebase: Rules,
    /// In the order in which they go.
    pub waves: Vec<Wave>,
    /// How many images are worked on at the same time, where nobody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
    /// How many requests registries bear at once that are not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
    /// What registries bear.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registries: BTreeMap<String, RegistryRules>,
    /// The images.
    pub images: Vec<Entry>,
    /// What was named and could not be looked at, and is no image: repositories that could not be listed, names that are
    /// none. Images that are not in the plan for that would be missed by nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
}

/// A wave, and what its results must pass.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Wave {
    /// Its name.
    pub name: String,
    /// Its gates.
    pub gates: Gates,
}

/// An image of the plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Entry {
    /// Repository and tag.
    pub image: Reference,
    /// What the tag stood for when the plan was made; `None`: nothing that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Name of the base that it stood on, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Reference>,
    /// In which wave it goes.
    pub wave: String,
    /// Images of this plan that go before it: it is going to stand on what becomes of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Reference>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// What is done with an image.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// It is rebased.
    Rebase(Box<Locked>),
    /// It is not: it would not pass the gates.
    Hold {
        /// Why.
        reasons: Vec<String>,
        /// What would have been done.
        #[serde(flatten)]
        locked: Box<Locked>,
    },
    /// It is left alone.
    Nothing {
        /// Why, in one word; `None`: the plan is an older one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Left>,
        /// Why.
        reason: String,
    },
    /// No rebase could be computed.
    Fail {
        /// Why.
        reason: String,
    },
}

/// Why an image is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Left {
    /// There is nothing to do: it stands where it should, or on nothing.
    UpToDate,
    /// No rule is about its base.
    NoRule,
    /// Its base is not known.
    BaseUnknown,
}

/// A rebase, locked: computed again it must give the same digest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Locked {
    /// The old base, where it is given; otherwise it is found, as it was found for the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_base: Option<Reference>,
    /// The new base: tag and digest.
    pub new_base: Reference,
    /// Digest of the result.
    pub new_digest: Digest,
    /// Where the result is pushed first.
    pub candidate: Reference,
    /// What the candidate tag stood for when the plan was made. `None`: nobody asked, because the tag names the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_was: Option<Stood>,
    /// What keeps the old image when the tag moves.
    pub backup: Reference,
    /// How much of a rebuild the result is.
    pub verdict: Verdict,
    /// Bytes of the layers, compressed, of all platforms.
    pub size: u64,
    /// The same of the result.
    pub new_size: u64,
    /// What happens to each platform.
    pub platforms: Vec<LockedPlatform>,
    /// What a reviewer should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// What a tag stood for. Written as the digest, or as `nothing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum Stood {
    /// There was no such tag.
    Nothing,
    /// This manifest or index.
    For(Digest),
}

impl From<Option<Digest>> for Stood {
    fn from(digest: Option<Digest>) -> Self {
        digest.map_or(Self::Nothing, Self::For)
    }
}

impl From<Stood> for String {
    fn from(stood: Stood) -> Self {
        stood.to_string()
    }
}

impl TryFrom<String> for Stood {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        if text == "nothing" { Ok(Self::Nothing) } else { text.parse().map(Self::For) }
    }
}

impl fmt::Display for Stood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::For(digest) => digest.fmt(f),
        }
    }
}

/// One platform of a locked rebase.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LockedPlatform {
    /// The platform.
    pub platform: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Digest of the result's manifest.
    pub new_digest: Digest,
    /// How many of the image's layers are its base's.
    pub boundary: usize,
    /// The old base, as far as it is known.
    pub old_base: String,
    /// How it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Where it is, by name and digest, if the image does not say: whoever applies the plan need not know what is known
    /// where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_base_at: Option<Reference>,
    /// Digest of the new base's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_base: Option<Digest>,
    /// How much of a rebuild the result is.
    pub verdict: Verdict,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not JSON, or not of this shape.
    #[error("it is not a plan")]
    Json(#[from] serde_json::Error),
    /// A key that no plan has.
    #[error("{0}")]
    Unknown(String),
    /// Another version.
    #[error("its schema is \"{0}\", not \"{SCHEMA}\"")]
    Schema(String),
}

impl Plan {
    /// Reads a plan file.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text)?;
        if plan.schema != SCHEMA {
            return Err(PlanError::Schema(plan.schema));
        }
        if let Some(unknown) =
            unknown::first(&serde_json::from_str(text)?, &serde_json::to_value(&plan)?, text)
        {
            return Err(PlanError::Unknown(unknown));
        }
        Ok(plan)
    }

    /// The file: JSON, two spaces, a newline at the end.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// What journals know it by: the digest of its content, whatever the file's white space.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// How many requests registries bear at once.
    pub fn bounds(&self) -> Bounds {
        Bounds { requests: self.requests, registries: self.registries.clone() }
    }

    /// The gates of a wave.
    pub fn gates(&self, wave: &str) -> Option<&Gates> {
        self.waves.iter().find(|found| found.name == wave).map(|wave| &wave.gates)
    }

    /// The images that are to be rebased, with what is locked.
    pub fn rebases(&self) -> impl Iterator<Item = (&Entry, &Locked)> {
        self.images.iter().filter_map(|entry| match &entry.action {
            Action::Rebase(locked) => Some((entry, locked.as_ref())),
            _ => None,
        })
    }

    /// What is wrong with entries, whoever wrote them: by image, why it cannot be done. The others can.
    pub fn faults(&self) -> BTreeMap<&Reference, String> {
        let mut faults = BTreeMap::new();
        let mut images = HashSet::new();
        let mut taken: BTreeMap<&Reference, &Reference> = BTreeMap::new();
        let owned: BTreeSet<&Reference> = self.images.iter().map(|entry| &entry.image).collect();
        for (entry, locked) in self.rebases() {
            let fault = entry.fault(locked, self, &owned);
            let twice = (!images.insert(&entry.image)).then(|| "the plan has it twice".to_owned());
            if let Some(fault) = fault.or(twice) {
                faults.entry(&entry.image).or_insert(fault);
            }
            for tag in [&locked.candidate, &locked.backup] {
                if let Some(other) = taken.insert(tag, &entry.image).filter(|other| **other != entry.image) {
                    let text = |other: &Reference| format!("{tag} would also be that of {other}");
                    faults.entry(&entry.image).or_insert_with(|| text(other));
                    faults.entry(other).or_insert_with(|| text(&entry.image));
                }
            }
        }
        for image in self.circles() {
            faults.entry(image).or_insert_with(|| "it is to go after itself".to_owned());
        }
        faults
    }

    /// Images that go after themselves, by whatever way, or after such.
    fn circles(&self) -> Vec<&Reference> {
        let mut left: BTreeMap<&Reference, Vec<&Reference>> = BTreeMap::new();
        for (entry, _) in self.rebases() {
            left.entry(&entry.image).or_default().extend(&entry.after);
        }
        loop {
            let names: BTreeSet<&Reference> = left.keys().copied().collect();
            let before = left.len();
            left.retain(|_, after| after.iter().any(|base| names.contains(base)));
            if left.len() == before {
                return left.into_keys().collect();
            }
        }
    }
}

impl Entry {
    /// What is locked, whether it is to be done or not.
    pub fn locked(&self) -> Option<&Locked> {
        match &self.action {
            Action::Rebase(locked) | Action::Hold { locked, .. } => Some(locked),
            Action::Nothing { .. } | Action::Fail { .. } => None,
        }
    }

    fn fault(&self, locked: &Locked, plan: &Plan, owned: &BTreeSet<&Reference>) -> Option<String> {
        let Some(digest) = self.digest else { return Some("the plan has no digest of it".to_owned()) };
        if self.image.tag().is_none() || self.image.digest().is_some() {
            return Some("it is not named by a tag".to_owned());
        }
        for (what, tag) in [("candidate", &locked.candidate), ("backup", &locked.backup)] {
            if tag.repository() != self.image.repository() || tag.tag().is_none() || tag.digest().is_some() {
                return Some(format!("its {what} {tag} is not a tag of the same repository"));
            }
            if owned.contains(tag) {
                return Some(format!("its {what} {tag} is the tag of an image of the fleet"));
            }
        }
        if locked.candidate == locked.backup {
            return Some(format!("{} is both its candidate and its backup", locked.candidate));
        }
        if locked.new_base.digest().is_none() {
            return Some(format!("its new base {} has no digest", locked.new_base));
        }
        if locked.new_digest == digest {
            return Some("its result is the image itself".to_owned());
        }
        plan.gates(&self.wave).is_none().then(|| format!("there is no wave \"{}\"", self.wave))
    }
}
