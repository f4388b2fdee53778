//! Indexes of several images, with BuildKit's attestation entries.
//!
//! Source: BuildKit, `docs/attestations/attestation-storage.md`.

use std::collections::BTreeMap;

use bytes::Bytes;
use palan_core::{Descriptor, Digest, Document, Family, MediaType, Platform, annotation};
use serde_json::{Map, Value, json};

use super::{Graph, Image, document, set, to_value};

/// Media type of an in-toto statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// In which form an attestation is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// An image manifest with an image config for `unknown/unknown`.
    Legacy,
    /// An OCI artifact: empty config, `artifactType`, and a `subject` that is the image's manifest.
    Artifact,
}

/// An attestation's manifest as it stands in an index.
#[derive(Clone, Debug)]
pub struct AttestationEntry {
    /// The manifest.
    pub manifest: Document,
    /// Statement and config.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// Its entry in the index.
    pub descriptor: Descriptor,
    /// Digest of the image's manifest that it is about.
    pub about: Digest,
}

impl Attestation {
    /// An attestation about `image`: a provenance statement.
    pub fn about(self, image: &Image) -> AttestationEntry {
        let (statement, statement_bytes) = statement(image);
        let (config_type, config_bytes) = match self {
            Self::Legacy => (MediaType::OCI_CONFIG, legacy_config(&statement)),
            Self::Artifact => (MediaType::OCI_EMPTY, Bytes::from_static(b"{}")),
        };
        let size = config_bytes.len() as u64;
        let config = Descriptor::new(config_type, Digest::sha256(&config_bytes), size);
        let mut manifest = Map::new();
        manifest.insert("schemaVersion".into(), 2.into());
        manifest.insert("mediaType".into(), MediaType::OCI_MANIFEST.as_str().into());
        if self == Self::Artifact {
            let artifact_type = "application/vnd.docker.attestation.manifest.v1+json";
            manifest.insert("artifactType".into(), artifact_type.into());
        }
        manifest.insert("config".into(), to_value(&config));
        manifest.insert("layers".into(), json!([statement]));
        if self == Self::Artifact {
            manifest.insert("subject".into(), to_value(image.manifest.descriptor()));
        }
        let manifest = document(manifest, MediaType::OCI_MANIFEST);
        let descriptor = entry(&manifest, image);
        let blobs = vec![(statement, statement_bytes), (config, config_bytes)];
        AttestationEntry { manifest, blobs, descriptor, about: image.digest() }
    }
}

fn statement(image: &Image) -> (Descriptor, Bytes) {
    let predicate = "https://slsa.dev/provenance/v0.2";
    let subject = json!([{"name": "_", "digest": {"sha256": image.digest().hex()}}]);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate,
        "subject": subject,
        "predicate": {"builder": {"id": ""}, "materials": []},
    });
    let bytes = Bytes::from(statement.to_string());
    let mut descriptor = Descriptor::new(IN_TOTO.into(), Digest::sha256(&bytes), bytes.len() as u64);
    descriptor.annotations = Some([("in-toto.io/predicate-type".into(), predicate.into())].into());
    (descriptor, bytes)
}

fn legacy_config(statement: &Descriptor) -> Bytes {
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
    });
    Bytes::from(config.to_string())
}

fn entry(manifest: &Document, image: &Image) -> Descriptor {
    let annotations: BTreeMap<String, String> = [
        (annotation::DOCKER_REFERENCE_DIGEST.into(), image.digest().to_string()),
        (annotation::DOCKER_REFERENCE_TYPE.into(), annotation::ATTESTATION_MANIFEST.into()),
    ]
    .into();
    Descriptor {
        annotations: Some(annotations),
        platform: Some(Platform::new("unknown", "unknown")),
        ..manifest.descriptor()
    }
}

/// An index, with all it lists.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index.
    pub document: Document,
    /// The images listed, in order.
    pub images: Vec<Image>,
    /// The attestations listed, in order.
    pub attestations: Vec<AttestationEntry>,
    /// Everything listed, to any depth, without the index itself.
    children: Graph,
}

impl Index {
    /// Digest of the index.
    pub fn digest(&self) -> Digest {
        self.document.digest()
    }

    /// All that must be in a place for the index to be there.
    pub fn graph(&self) -> Graph {
        let mut graph = self.children.clone();
        graph.extend(&Graph { blobs: Vec::new(), documents: vec![self.document.clone()] });
        graph
    }

    /// The image for `os/architecture[/variant]`.
    pub fn image(&self, platform: &str) -> Option<&Image> {
        let platform = super::platform(platform);
        self.images.iter().find(|image| image.platform.same_machine(&platform))
    }
}

/// Says what an index lists.
#[derive(Clone, Debug)]
pub struct IndexSpec {
    family: Family,
    images: Vec<Image>,
    attestations: Vec<AttestationEntry>,
    entries: Vec<Value>,
    children: Graph,
    attest: Option<Attestation>,
    fields: Vec<(String, Value)>,
}

impl Default for IndexSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl IndexSpec {
    /// An OCI index that lists nothing.
    pub fn new() -> Self {
        Self {
            family: Family::Oci,
            images: Vec::new(),
            attestations: Vec::new(),
            entries: Vec::new(),
            children: Graph::default(),
            attest: None,
            fields: Vec::new(),
        }
    }

    /// Media type of the index.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// An image.
    #[must_use]
    pub fn image(self, image: Image) -> Self {
        let descriptor = image.descriptor();
        self.image_as(image, descriptor)
    }

    /// Images.
    #[must_use]
    pub fn images(self, images: impl IntoIterator<Item = Image>) -> Self {
        images.into_iter().fold(self, Self::image)
    }

    /// An image whose entry has annotations.
    #[must_use]
    pub fn annotated_image(self, image: Image, annotations: &[(&str, &str)]) -> Self {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let annotations = Some(annotations.iter().map(text).collect());
        let descriptor = Descriptor { annotations, ..image.descriptor() };
        self.image_as(image, descriptor)
    }

    /// An image whose entry says nothing about its platform.
    #[must_use]
    pub fn image_without_platform(self, image: Image) -> Self {
        let descriptor = image.manifest.descriptor();
        self.image_as(image, descriptor)
    }

    /// An image under a descriptor of the caller's.
    #[must_use]
    pub fn image_as(mut self, image: Image, descriptor: Descriptor) -> Self {
        self.entries.push(to_value(descriptor));
        self.children.extend(&image.graph());
        self.images.push(image);
        self
    }

    /// Another index, as an entry.
    #[must_use]
    pub fn nested(mut self, index: &Index) -> Self {
        self.entries.push(to_value(index.document.descriptor()));
        self.children.extend(&index.graph());
        self
    }

    /// Any other entry: a JSON object, and what it needs.
    #[must_use]
    pub fn entry(mut self, entry: Value, graph: &Graph) -> Self {
        self.entries.push(entry);
        self.children.extend(graph);
        self
    }

    /// Adds an attestation for every image, after all other entries.
    #[must_use]
    pub fn attest(mut self, form: Attestation) -> Self {
        self.attest = Some(form);
        self
    }

    /// An annotation of the index.
    #[must_use]
    pub fn annotation(self, key: &str, value: impl Into<String>) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        self.field(format!("/annotations/{key}"), value.into())
    }

    /// Any field of the index, by JSON pointer.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.push((pointer.into(), value.into()));
        self
    }

    /// The index.
    pub fn build(mut self) -> Index {
        if let Some(form) = self.attest {
            let attestations: Vec<_> = self.images.iter().map(|image| form.about(image)).collect();
            for attestation in attestations {
                self.entries.push(to_value(&attestation.descriptor));
                self.children.extend(&Graph {
                    blobs: attestation.blobs.clone(),
                    documents: vec![attestation.manifest.clone()],
                });
                self.attestations.push(attestation);
            }
        }
        let media_type = MediaType::OCI_INDEX.in_family(self.family).expect("both families have indexes");
        let mut index = Map::new();
        index.insert("schemaVersion".into(), 2.into());
        index.insert("mediaType".into(), media_type.as_str().into());
        index.insert("manifests".into(), self.entries.into());
        for (pointer, value) in &self.fields {
            set(&mut index, pointer, value.clone());
        }
        let document = document(index, media_type);
        Index { document, images: self.images, attestations: self.attestations, children: self.children }
    }
}
