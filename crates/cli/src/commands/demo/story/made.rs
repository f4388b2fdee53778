//! The fleet of the story: what images are made of, as data, and how they are published.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan::{
    place::{Memory, Places},
    verdict::Grade,
};
use palan_core::{Compression, Digest, Document, Family, Reference, annotation};
use palan_layer::Builder;
use serde_json::{Value, json};

use super::{
    super::{
        build::{Blob, Made, Parts, assemble, attestation, index, publish, step},
        fixture::PLATFORMS,
    },
    shapes::{Hints, Shape},
};
use crate::exit::Result;

/// How many images are published, and checked, at the same time.
pub(super) const AT_ONCE: usize = 16;

/// Paths and contents of a layer; `{arch}` in a content is the architecture.
pub(super) type Files = Vec<(String, String)>;

/// What an image has, for whatever platform.
#[derive(Clone, Default)]
pub(super) struct Stack {
    pub(super) layers: Vec<Files>,
    pub(super) env: Vec<String>,
}

impl Stack {
    /// With layers and environment of its own on top.
    pub(super) fn with(&self, own: &Self) -> Self {
        let layers = self.layers.iter().chain(&own.layers).cloned().collect();
        Self { layers, env: self.env.iter().chain(&own.env).cloned().collect() }
    }

    /// The files that a container sees, and the digests of their content.
    pub(super) fn merged(&self, arch: &str) -> BTreeMap<&str, Digest> {
        let digest = |content: &str| Digest::sha256(content.replace("{arch}", arch).as_bytes());
        let files = self.layers.iter().flatten();
        files.map(|(path, content)| (path.as_str(), digest(content))).collect()
    }

    fn pack(&self, arch: &str, family: Family, compression: Compression) -> Result<Vec<Blob>> {
        let pack = |files: &Files| {
            let file = |builder: Builder, (path, content): &(String, String)| {
                builder.file(path.as_str(), Bytes::from(content.replace("{arch}", arch)))
            };
            let built = files.iter().fold(Builder::new(), file).build(compression);
            let failed = |source| palan::Error::Append { name: "of the fixture".to_owned(), source };
            Ok(Blob::of(built.map_err(failed)?, family))
        };
        self.layers.iter().map(pack).collect()
    }
}

/// An image of the fleet.
pub(super) struct Member {
    /// Repository and tag, without the registry.
    pub(super) name: String,
    pub(super) shape: &'static Shape,
    pub(super) labels: Value,
    /// What it was built on.
    pub(super) below: Stack,
    /// What it is going to stand on.
    pub(super) patched: Stack,
    /// Name of the base, and of each platform the digest of its manifest.
    pub(super) base: (Reference, Vec<(&'static str, Digest)>),
    pub(super) own: Stack,
    /// The grade that the rebase must be given.
    pub(super) grade: Grade,
}

/// A published image: what stands at its tag, and of each platform the manifest.
pub(super) struct Published {
    pub(super) root: Digest,
    pub(super) manifests: Vec<(&'static str, Digest)>,
}

impl Member {
    pub(super) fn platforms(&self) -> &'static [&'static str] {
        match self.shape.only {
            Some(arch) => {
                let found = PLATFORMS.iter().position(|platform| *platform == arch).unwrap_or_default();
                &PLATFORMS[found..=found]
            }
            None => &PLATFORMS,
        }
    }

    pub(super) async fn publish(&self, places: &Places, host: &str) -> Result<Published> {
        let (memory, mut entries) = (Memory::new(), Vec::new());
        for arch in self.platforms() {
            entries.push((*arch, self.image(&memory, arch)?));
        }
        let manifests = entries.iter().map(|(arch, image)| (*arch, image.digest())).collect();
        let root = match self.shape.only {
            Some(_) => entries.remove(0).1,
            None => {
                let about = |(_, image): &(_, Document)| match self.shape.attested {
                    Some(artifacts) => attestation(&memory, image, artifacts).map(Some),
                    None => Ok(None),
                };
                let attestations = entries.iter().map(about).collect::<std::result::Result<Vec<_>, _>>()?;
                let attestations: Vec<Value> = attestations.into_iter().flatten().collect();
                index(&memory, self.shape.family, &entries, &attestations)?
            }
        };
        let digest = root.digest();
        publish(places, &format!("{host}/{}", self.name).parse()?, Made { memory, root }).await?;
        Ok(Published { root: digest, manifests })
    }

    fn image(&self, memory: &Memory, arch: &str) -> Result<Document> {
        let shape = self.shape;
        let below = if shape.recompressed { Compression::Zstd } else { Compression::Gzip };
        let mut layers = self.below.pack(arch, shape.family, below)?;
        layers.extend(self.own.pack(arch, shape.family, shape.compression)?);
        let history: Vec<Value> = (0..layers.len()).map(|n| step(&format!("COPY {n} /"), false)).collect();
        let (base, digests) = &self.base;
        let digest = digests.iter().find(|(found, _)| *found == arch).map(|(_, digest)| digest);
        let hints = json!({annotation::BASE_NAME: base.base_name(), annotation::BASE_DIGEST: digest});
        let (none, mut labels) = (json!({}), self.labels.clone());
        let annotations = match shape.hints {
            Hints::Annotations => &hints,
            Hints::Labels => {
                if let (Some(labels), Some(hints)) = (labels.as_object_mut(), hints.as_object()) {
                    labels.extend(hints.clone());
                }
                &none
            }
        };
        let env = self.below.with(&self.own).env;
        let parts = Parts {
            arch,
            family: shape.family,
            layers,
            history: shape.history.then_some(&history),
            annotations,
            labels: &labels,
            env: Some(&env),
            name: &self.name,
        };
        Ok(assemble(memory, parts)?)
    }
}

/// Publishes a base that somebody else makes.
pub(super) async fn base(places: &Places, name: &Reference, stack: &Stack) -> Result<Published> {
    let (memory, mut entries, none) = (Memory::new(), Vec::new(), json!({}));
    for arch in PLATFORMS {
        let layers = stack.pack(arch, Family::Oci, Compression::Gzip)?;
        let history: Vec<Value> = (0..layers.len()).map(|n| step(&format!("ADD {n} /"), false)).collect();
        let parts = Parts {
            arch,
            family: Family::Oci,
            layers,
            history: Some(&history),
            annotations: &none,
            labels: &none,
            env: Some(&stack.env),
            name: "base",
        };
        entries.push((arch, assemble(&memory, parts)?));
    }
    let manifests = entries.iter().map(|(arch, image)| (*arch, image.digest())).collect();
    let root = index(&memory, Family::Oci, &entries, &[])?;
    let digest = root.digest();
    publish(places, name, Made { memory, root }).await?;
    Ok(Published { root: digest, manifests })
}

/// Publishes many, and gives what stands at their tags.
pub(super) async fn all(places: &Places, host: &str, members: &[Member]) -> Result<Vec<Digest>> {
    let work = stream::iter(members).map(|member| async { Ok(member.publish(places, host).await?.root) });
    work.buffered(AT_ONCE).try_collect().await
}
