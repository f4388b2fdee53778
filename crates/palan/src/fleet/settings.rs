//! What a team decides about its fleet: `fleet.toml`, as data.

mod keys;
mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use palan_core::{Digest, Reference, Repository};
use serde::{Deserialize, Serialize};

pub(super) use self::parse::nearest;
pub use self::{
    keys::{KEYS, Key},
    parse::{SettingsError, SettingsProblem},
};

use super::{inventory::Link, template::Template};
use crate::{
    base::Pattern,
    rebase::{Check, ConfigPolicy, OldAttestations, OnConflict},
    verdict::Grade,
};

/// The settings of a fleet. Every key has a default; [`Settings::default`] is an empty file's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Where the images are.
    pub images: Images,
    /// Which base gives way to which.
    #[serde(rename = "base")]
    pub bases: Vec<BaseRule>,
    /// How tags are named.
    pub tags: Tags,
    /// What a result must pass, in waves that do not say otherwise.
    pub gates: Gates,
    /// Who goes first. Images in none of them make up a last wave of their own, `rest`.
    #[serde(rename = "wave")]
    pub waves: Vec<WaveRule>,
    /// How each image is rebased.
    pub rebase: Rules,
    /// How many requests at once registries bear that are not named in `registries`.
    pub requests: Option<usize>,
    /// What registries bear.
    #[serde(rename = "registry")]
    pub registries: BTreeMap<String, RegistryRules>,
    /// How many images are worked on at the same time.
    pub jobs: Option<usize>,
}

impl Settings {
    /// How many requests registries bear at once.
    pub fn bounds(&self) -> Bounds {
        Bounds { requests: self.requests, registries: self.registries.clone() }
    }

    /// With the files that are named below a folder: the one of the file that the settings were read from.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        for path in self.images.files.iter_mut().chain(&mut self.images.manifests) {
            let joined = folder.join(path.strip_prefix("./").unwrap_or(path));
            *path = joined.to_string_lossy().into_owned();
        }
        self
    }
}

/// Where the images of a fleet are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Images {
    /// References.
    pub references: Vec<Reference>,
    /// Files with a reference a line.
    pub files: Vec<String>,
    /// Kubernetes manifests, Compose files, Helm values: files, or folders to look through.
    pub manifests: Vec<String>,
    /// Repositories and patterns of their tags, `registry/team/*:1.*`; a `*` in the name asks for the registry's catalog.
    pub repositories: Vec<String>,
    /// Repositories and patterns of tags that are none of the fleet's.
    pub exclude: Vec<String>,
}

/// A base, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BaseRule {
    /// Images whose base has such a name.
    pub from: Pattern,
    /// Of these only images that stand on this manifest or index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What takes its place: exactly this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Reference>,
    /// What takes its place: the newest tag that fits. Without this and without `to`: what the old base's tag stands for
    /// now.
    #[serde(flatten)]
    pub newest: Newest,
}

impl BaseRule {
    /// Whether what takes the base's place has the same name: images go to what it stands for now, sources stay.
    pub fn keeps_name(&self) -> bool {
        self.to.is_none() && self.newest == Newest::default()
    }

    /// Whether it is about a base.
    pub(super) fn is_about(&self, base: &Link) -> bool {
        self.from.matches(&base.base) && self.digest.is_none_or(|digest| base.has(digest))
    }

    /// Whether a base can be one that takes another's place by this rule: by its name alone.
    pub(super) fn may_lead_to(&self, base: &Reference) -> bool {
        match &self.to {
            Some(to) => (to.repository(), to.tag()) == (base.repository(), base.tag()),
            None => !self.keeps_name() && self.from.repository == *base.repository(),
        }
    }
}

/// A choice among the tags of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Newest {
    /// The highest version among the tags that match this pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// The highest version in this range, `>=17, <18`; leniently, as tags are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
}

/// Templates of tags.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Tags {
    /// Where results are pushed to be tested.
    pub candidate: Template,
    /// What keeps the old image when the tag is moved.
    pub backup: Template,
}

impl Default for Tags {
    fn default() -> Self {
        Self { candidate: Template::candidate(), backup: Template::backup() }
    }
}

/// What a result must pass.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Gates {
    /// The worst verdict that is accepted.
    pub accept: Grade,
    /// Whether results that nobody assessed are accepted.
    pub accept_unassessed: bool,
    /// By how many percent the layers (compressed, all platforms) may grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_growth_percent: Option<u32>,
    /// A program and its arguments, run for each candidate: it fails where the exit code is not 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hook: Vec<String>,
    /// After how many seconds a hook is ended, and has failed.
    pub hook_timeout: u64,
    /// Whether the new base must be signed.
    pub signed_base: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            accept: Grade::Clean,
            accept_unassessed: false,
            max_growth_percent: None,
            hook: Vec::new(),
            hook_timeout: 600,
            signed_base: false,
        }
    }
}

/// Who is in a wave. An image is in the first wave that it fits; of those that fit, `count` or `percent` say how many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaveRule {
    /// Its name.
    pub name: String,
    /// Images with this label, `key` or `key=value`, in their config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Images with such a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// At most so many percent of the images to rebase, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// What results of this wave must pass, instead of what all must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
}

/// How each image is rebased; as the options of a single rebase.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Rules {
    /// How closely results are looked at.
    pub check: Check,
    /// What becomes of configs.
    pub config: ConfigPolicy,
    /// Whose value is taken where image and new base both changed one.
    pub on_conflict: OnConflict,
    /// What becomes of attestations.
    pub attestations: OldAttestations,
    /// Whether to look for what refers to the images (signatures, SBOMs) and stays behind: one or two requests more for
    /// each manifest.
    pub referrers: bool,
    /// Whether a statement about the rebase is attached to each result.
    pub attest: bool,
    /// When results are said to be created, RFC 3339; without it, when the images were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            check: Check::default(),
            config: ConfigPolicy::default(),
            on_conflict: OnConflict::default(),
            attestations: OldAttestations::default(),
            referrers: true,
            attest: false,
            created: None,
        }
    }
}

/// What one registry bears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RegistryRules {
    /// How many requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
}

/// How many requests registries bear at once, for whoever makes the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Those that are not named; `None`: as many as the client sends.
    pub requests: Option<usize>,
    /// Those that are, by host and port.
    pub registries: BTreeMap<String, RegistryRules>,
}

impl Bounds {
    /// A client that keeps to them. Requests that carry content are counted apart from the others.
    #[must_use]
    pub fn bound(&self, client: palan_client::Builder) -> palan_client::Builder {
        let client = match self.requests {
            Some(requests) => client.max_connections_per_host(requests),
            None => client,
        };
        self.registries.iter().fold(client, |client, (name, rules)| {
            let name = Repository::parse_registry(name).unwrap_or_else(|_| name.clone());
            match rules.requests {
                Some(requests) => client.max_connections_to(name, requests),
                None => client,
            }
        })
    }
}
