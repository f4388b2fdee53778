//! What a fleet stands on.

use std::collections::{BTreeMap, HashSet};

use palan_core::{Digest, Reference};
use serde::{Deserialize, Serialize};

/// The images of a fleet and their bases, ordered by name. Field names are part of palan's interface.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Inventory {
    /// The images.
    pub images: Vec<Member>,
    /// Images that could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
    /// Where one base was asked for: images of the fleet that may stand on it too, because not all of their bases are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<Reference>,
    /// What names images and names none: patterns, files; sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<String>,
}

/// An image of the fleet.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Member {
    /// Its name: repository and tag.
    pub image: Reference,
    /// What that stood for: digest of the image or index.
    pub digest: Digest,
    /// Where it was named: a file and line, `catalog`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_in: Vec<String>,
    /// When it was created, RFC 3339, as its config says; the newest of its platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Those labels of its config that the waves ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Other images of the fleet that stand on this one.
    #[serde(default)]
    pub below: usize,
    /// One for each image of an index, in its order.
    pub platforms: Vec<MemberPlatform>,
}

/// One platform of an image, and its base.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct MemberPlatform {
    /// The platform.
    pub platform: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Name of its base; `None`: not known, or built from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Reference>,
    /// Digest of the base, as far as it is known; stated ones may be an index's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
    /// Digest of the index that lists the base, where one was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_index: Option<Digest>,
    /// How the base was found: [`Evidence`](crate::base::Evidence), or `fleet`: it is an image of the fleet itself, whose
    /// layers are this one's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// How many of its layers are the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<usize>,
    /// What became of the base: `current`, `moved`, `newer-tag`, `gone`, `unknown`.
    pub status: String,
    /// Digest of the manifest that the base's tag stands for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_now: Option<Digest>,
    /// How many tags of the same form have higher numbers.
    #[serde(default)]
    pub versions_behind: usize,
    /// The newest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// Why the base's status or newer tags are not known, or why the base was not compared with the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its base stands on, and so on down: the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
    /// Whether these are all: the last one was built from scratch, or has a single layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// A base below a base.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Link {
    /// Its name.
    pub base: Reference,
    /// Digest of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
    /// Digest of the index that lists it, where one was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_index: Option<Digest>,
}

impl Link {
    /// Whether its manifest, or the index that lists it, has this digest.
    pub(super) fn has(&self, digest: Digest) -> bool {
        [self.base_digest, self.base_index].contains(&Some(digest))
    }

    /// Whether this is that base: the same repository and, as far as they are given, tag and digest (of the manifest or of
    /// the index that lists it).
    pub(super) fn is(&self, base: &Reference) -> bool {
        let is_digest = |digest| self.has(digest) || self.base.digest() == Some(digest);
        self.base.repository() == base.repository()
            && base.tag().is_none_or(|tag| self.base.tag() == Some(tag))
            && base.digest().is_none_or(is_digest)
    }
}

impl MemberPlatform {
    /// Whether something below it is not known, so that it could be that base. Where another image of the same repository
    /// is below, that was the base.
    fn may_stand_on(&self, base: &Reference) -> bool {
        let mut known = self.base.iter().chain(self.chain.iter().map(|link| &link.base));
        !self.whole && !known.any(|known| known.repository() == base.repository())
    }

    /// Its base.
    pub(super) fn link(&self) -> Option<Link> {
        let (base_digest, base_index) = (self.base_digest, self.base_index);
        Some(Link { base: self.base.clone()?, base_digest, base_index })
    }

    /// Whether this is its base, or one below: the same repository and, as far as they are given, tag and digest (of the
    /// manifest or of the index that lists it).
    pub fn stands_on(&self, base: &Reference) -> bool {
        self.link().iter().chain(&self.chain).any(|link| link.is(base))
    }
}

impl Member {
    /// Whether the base of any platform is this one.
    pub fn stands_on(&self, base: &Reference) -> bool {
        self.platforms.iter().any(|platform| platform.stands_on(base))
    }
}

/// An image that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Missed {
    /// As it was named.
    pub image: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_in: Vec<String>,
    /// Why.
    pub reason: String,
}

impl Missed {
    /// It, and where it was named: `host/team/* (repositories)`.
    pub fn place(&self) -> String {
        format!("{} ({})", self.image, self.named_in.join(", "))
    }

    /// The image, if it is the name of one by its tag: a repository's name would read as that of its `latest`.
    pub(super) fn by_tag(&self) -> Option<Reference> {
        let image: Reference = self.image.parse().ok()?;
        let is_written = image.tag().is_some_and(|tag| self.image.ends_with(&format!(":{tag}")));
        (is_written && image.digest().is_none()).then_some(image)
    }
}

/// What the field `schema` of an inventory's file says.
pub const INVENTORY_SCHEMA: &str = "palan.fleet.inventory/v1";

#[derive(Serialize)]
struct File<'a> {
    schema: &'static str,
    #[serde(flatten)]
    inventory: &'a Inventory,
}

/// Why a text is not an inventory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// Not JSON, or not of this shape.
    #[error("it is not an inventory")]
    Json(#[from] serde_json::Error),
    /// Another version, or something else.
    #[error("its schema is {0}, not \"{INVENTORY_SCHEMA}\"")]
    Schema(serde_json::Value),
}

impl Inventory {
    /// The file: JSON, two spaces, a newline at the end.
    pub fn to_text(&self) -> String {
        let file = File { schema: INVENTORY_SCHEMA, inventory: self };
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Reads such a file. One without a schema is of the time before there was one.
    pub fn parse(text: &str) -> Result<Self, InventoryError> {
        #[derive(Deserialize)]
        struct Head {
            schema: Option<serde_json::Value>,
        }
        let head: Head = serde_json::from_str(text)?;
        match head.schema {
            Some(other) if other != INVENTORY_SCHEMA => Err(InventoryError::Schema(other)),
            _ => Ok(serde_json::from_str(text)?),
        }
    }

    /// With nothing but the images that stand on a base, and what is not known of the others.
    #[must_use]
    pub fn on(mut self, base: &Reference) -> Self {
        let standing: HashSet<Reference> =
            self.standing_on(base).iter().map(|member| member.image.clone()).collect();
        let (on, others): (Vec<_>, Vec<_>) =
            self.images.into_iter().partition(|member| standing.contains(&member.image));
        let is_unsure =
            |member: &&Member| member.platforms.iter().any(|platform| platform.may_stand_on(base));
        self.unsure = others.iter().filter(is_unsure).map(|member| member.image.clone()).collect();
        self.images = on;
        self
    }

    /// The images that stand on a base, and those that stand on these.
    pub fn standing_on(&self, base: &Reference) -> Vec<&Member> {
        let mut chosen = vec![false; self.images.len()];
        let mut bases = vec![base.clone()];
        while let Some(base) = bases.pop() {
            for (member, chosen) in self.images.iter().zip(&mut chosen) {
                if !*chosen && member.stands_on(&base) {
                    *chosen = true;
                    if member.below > 0 {
                        bases.push(member.image.clone());
                    }
                }
            }
        }
        self.images.iter().zip(chosen).filter_map(|(member, chosen)| chosen.then_some(member)).collect()
    }

    /// Groups of images by the base of their first platform that has one, the largest first; `None`: unknown.
    pub fn by_base(&self) -> Vec<(Option<&Reference>, Vec<&Member>)> {
        let mut groups: Vec<(Option<&Reference>, Vec<&Member>)> = Vec::new();
        for member in &self.images {
            let base = member.platforms.iter().find_map(|platform| platform.base.as_ref());
            match groups.iter_mut().find(|(found, _)| *found == base) {
                Some((_, members)) => members.push(member),
                None => groups.push((base, vec![member])),
            }
        }
        groups.sort_by_key(|(base, members)| (base.is_none(), std::cmp::Reverse(members.len()), *base));
        groups
    }
}
