//! The lines of the file.

use palan_core::{Digest, Document, MediaType, Platform, PlatformPattern, Reference};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VERSION;
use crate::{Error, base::Pattern, image::Image};

/// A known base: one image, for one platform, under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Chain ID of all its layers.
    pub chain: Digest,
    /// Repository and tag under which it was seen.
    pub name: Reference,
    /// For which platform it is.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of the index that listed it; `None`: the tag stood for the image itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// How many layers it has.
    pub layers: usize,
    /// When it was first seen, RFC 3339.
    pub seen: String,
    /// What a three-way merge of configs needs of its config: `created`, `config`, `history`, `rootfs`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
}

/// The parts of a config that are kept.
const KEPT: [&str; 4] = ["created", "config", "history", "rootfs"];

impl Entry {
    /// What is to be remembered of an image. `None`: it has no layers, and nothing could be recognised by it.
    pub fn of(
        image: &Image,
        platform: Platform,
        name: Reference,
        index: Option<Digest>,
        seen: String,
    ) -> Result<Option<Self>, Error> {
        let diff_ids = &image.config_view.rootfs.diff_ids;
        let Some(chain) = palan_core::chain_ids(diff_ids).pop() else { return Ok(None) };
        let mut config = image.config.object()?;
        config.retain(|key, _| KEPT.contains(&key.as_str()));
        let (layers, manifest) = (diff_ids.len(), image.manifest.digest());
        Ok(Some(Self { chain, layers, platform, name, index, manifest, seen, config }))
    }

    /// The base's config as far as it was kept, with its platform.
    pub fn document(&self) -> Result<Document, Error> {
        let mut config = match json!(self.platform) {
            Value::Object(platform) => platform,
            _ => Map::new(),
        };
        config.extend(self.config.clone());
        Ok(Document::from_value(&Value::Object(config), MediaType::OCI_CONFIG)?)
    }

    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|e| e.to_string())
    }

    pub(super) fn line(&self) -> Result<Vec<u8>, Error> {
        to_line(self)
    }
}

/// The parts of a line that decide where it stands and whether it stays.
#[derive(Deserialize)]
pub(super) struct Head {
    chain: Digest,
    pub(super) name: Reference,
    platform: Platform,
    manifest: Digest,
}

/// By what lines are sorted: no two lines have the same. It is the order of their bytes, because these fields are the
/// first ones.
pub(super) type Key = (String, String, String, String);

impl Head {
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|e| e.to_string())
    }

    pub(super) fn key(&self) -> Key {
        key(&self.chain, &self.name, &self.platform, &self.manifest)
    }
}

impl Entry {
    pub(super) fn key(&self) -> Key {
        key(&self.chain, &self.name, &self.platform, &self.manifest)
    }
}

fn key(chain: &Digest, name: &Reference, platform: &Platform, manifest: &Digest) -> Key {
    (chain.to_string(), name.to_string(), json!(platform).to_string(), manifest.to_string())
}

/// Which tags of a repository are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Repository and pattern.
    pub tags: Pattern,
    /// How many of the tags.
    pub newest: usize,
    /// Which of them count as the newest.
    #[serde(default)]
    pub order: Order,
    /// For which platforms; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "platforms")]
    pub platforms: Vec<PlatformPattern>,
}

mod platforms {
    use palan_core::PlatformPattern;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(all: &[PlatformPattern], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(all.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PlatformPattern>, D::Error> {
        let all = Vec::<String>::deserialize(d)?;
        all.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// Which tags are the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Those whose images were made last, by their config's `created`: a manifest and a config of every tag that
    /// matches are read. Images that do not say when they were made count as the oldest.
    #[default]
    Created,
    /// Those with the highest numbers in their names: nothing is read for the others.
    Version,
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(rename = "bases")]
    version: u32,
    #[serde(default)]
    pub(super) watch: Vec<Watch>,
}

impl Header {
    pub(super) fn new(watch: Vec<Watch>) -> Self {
        Self { version: VERSION, watch }
    }

    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let header: Self = serde_json::from_slice(line).map_err(|e| format!("the first line: {e}"))?;
        match header.version {
            VERSION => Ok(header),
            version => Err(format!("its format has version {version}, {VERSION} is known")),
        }
    }

    pub(super) fn line(&self) -> Result<Vec<u8>, Error> {
        to_line(self)
    }
}

fn to_line(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let json = |e: serde_json::Error| Error::Edit(palan_core::DocumentError::Json(e.to_string()));
    let mut line = serde_json::to_vec(value).map_err(json)?;
    line.push(b'\n');
    Ok(line)
}
