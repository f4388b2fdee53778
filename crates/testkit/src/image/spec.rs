//! Images.

use std::collections::BTreeMap;

use bytes::Bytes;
use palan_core::{Compression, Descriptor, Digest, Document, Family, MediaType, Platform};
use serde_json::{Map, Value, json};

use super::{CREATED, Graph, Layer, document, platform, set, to_value};

/// What an image's config tells about how its layers were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// The base's entries, one per own layer, and one for an `ENV` that made no layer.
    #[default]
    Full,
    /// No history at all.
    None,
    /// One per own layer; nothing about the base.
    OwnOnly,
    /// One per own layer, then minimal entries until there is one per layer, so that the first entries do not
    /// describe the first layers: what BuildKit makes of a base without history.
    Padded,
    /// As [`History::Full`], with `null` for every time.
    NullCreated,
}

/// An image, with all it consists of.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Document,
    /// The config; with the media type that the manifest gives it.
    pub config: Document,
    /// Layers, lowest first, and then the config; a layer that is there twice is here twice.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// All layers, the base's first.
    pub layers: Vec<Layer>,
    /// For which platform it is.
    pub platform: Platform,
}

impl Image {
    /// Digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.manifest.digest()
    }

    /// The manifest's descriptor, as it stands in an index: with platform.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { platform: Some(self.platform.clone()), ..self.manifest.descriptor() }
    }

    /// The layers' diff IDs, lowest first.
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id).collect()
    }

    /// All that must be in a place for the image to be there.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        graph.extend(&Graph { blobs: self.blobs.clone(), documents: vec![self.manifest.clone()] });
        graph
    }

    fn history(&self) -> Vec<Value> {
        let object = self.config.object().expect("fixtures are valid documents");
        object.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
    }
}

/// Says what an image is made of.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    platform: Platform,
    family: Family,
    base: Option<Image>,
    recompress: Option<Compression>,
    layers: Vec<Layer>,
    history: History,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    created: String,
    config_fields: Vec<(String, Value)>,
    manifest_fields: Vec<(String, Value)>,
}

impl ImageSpec {
    /// An OCI image without layers for `os/architecture[/variant]`.
    pub fn new(text: &str) -> Self {
        Self::for_platform(platform(text))
    }

    /// An OCI image without layers.
    pub fn for_platform(platform: Platform) -> Self {
        Self {
            platform,
            family: Family::Oci,
            base: None,
            recompress: None,
            layers: Vec::new(),
            history: History::Full,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            created: CREATED.to_owned(),
            config_fields: Vec::new(),
            manifest_fields: Vec::new(),
        }
    }

    /// Media types of manifest, config and all layers, the base's included.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Puts the layers, diff IDs and history of `base` in front.
    #[must_use]
    pub fn on(mut self, base: &Image) -> Self {
        self.base = Some(base.clone());
        self
    }

    /// Stores the base's layers otherwise: other digests, the same diff IDs.
    #[must_use]
    pub fn recompress_base(mut self, compression: Compression) -> Self {
        self.recompress = Some(compression);
        self
    }

    /// A layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Layers on top, lowest first.
    #[must_use]
    pub fn layers(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.layers.extend(layers);
        self
    }

    /// What the history is like.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// An annotation of the manifest.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Annotations of the manifest.
    #[must_use]
    pub fn annotations<K: Into<String>, V: Into<String>>(
        self,
        all: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        all.into_iter().fold(self, |spec, (key, value)| spec.annotation(key, value))
    }

    /// A label of the config.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Labels of the config.
    #[must_use]
    pub fn labels<K: Into<String>, V: Into<String>>(self, all: impl IntoIterator<Item = (K, V)>) -> Self {
        all.into_iter().fold(self, |spec, (key, value)| spec.label(key, value))
    }

    /// When the image was made, RFC 3339.
    #[must_use]
    pub fn created(mut self, created: impl Into<String>) -> Self {
        self.created = created.into();
        self
    }

    /// Any field of the config, known or not, by JSON pointer: `/x-custom`, `/config/Healthcheck/StartInterval`.
    #[must_use]
    pub fn config_field(mut self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.config_fields.push((pointer.into(), value.into()));
        self
    }

    /// Any field of the manifest, by JSON pointer.
    #[must_use]
    pub fn manifest_field(mut self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.manifest_fields.push((pointer.into(), value.into()));
        self
    }

    /// The image.
    pub fn build(self) -> Image {
        let layers = self.all_layers();
        let config = self.config(&layers);
        let manifest = self.manifest(&config, &layers);
        let mut blobs: Vec<_> =
            layers.iter().map(|layer| (layer.descriptor(self.family), layer.bytes.clone())).collect();
        blobs.push((config.descriptor(), config.bytes().clone()));
        Image { manifest, config, blobs, layers, platform: self.platform }
    }

    fn all_layers(&self) -> Vec<Layer> {
        let base = self.base.iter().flat_map(|base| &base.layers);
        let base = base.map(|layer| match self.recompress {
            Some(compression) => layer.recompressed(compression),
            None => layer.clone(),
        });
        base.chain(self.layers.iter().cloned()).collect()
    }

    fn config(&self, layers: &[Layer]) -> Document {
        let mut config = match to_value(&self.platform) {
            Value::Object(platform) => platform,
            _ => Map::new(),
        };
        config.insert("created".into(), self.created.clone().into());
        let runtime = json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"});
        config.insert("config".into(), runtime);
        if !self.labels.is_empty() {
            set(&mut config, "/config/Labels", to_value(&self.labels));
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        config.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
        if let Some(history) = self.history_entries(layers.len()) {
            config.insert("history".into(), history.into());
        }
        for (pointer, value) in &self.config_fields {
            set(&mut config, pointer, value.clone());
        }
        document(config, self.media_type(&MediaType::OCI_CONFIG))
    }

    fn history_entries(&self, layers: usize) -> Option<Vec<Value>> {
        let own =
            self.layers.iter().map(|layer| json!({"created": self.created, "created_by": layer.created_by}));
        let env =
            json!({"created": self.created, "created_by": "ENV PATH=/usr/bin:/bin", "empty_layer": true});
        let base = self.base.as_ref().map(Image::history).unwrap_or_default();
        let mut entries: Vec<Value> = match self.history {
            History::None => return None,
            History::OwnOnly | History::Padded => own.collect(),
            History::Full | History::NullCreated => base.into_iter().chain(own).chain([env]).collect(),
        };
        match self.history {
            History::Padded => entries.resize(layers.max(entries.len()), json!({"created": self.created})),
            History::NullCreated => entries.iter_mut().for_each(|entry| entry["created"] = Value::Null),
            _ => {}
        }
        Some(entries)
    }

    fn manifest(&self, config: &Document, layers: &[Layer]) -> Document {
        let media_type = self.media_type(&MediaType::OCI_MANIFEST);
        let layers: Vec<_> = layers.iter().map(|layer| layer.descriptor(self.family)).collect();
        let mut manifest = Map::new();
        manifest.insert("schemaVersion".into(), 2.into());
        manifest.insert("mediaType".into(), media_type.as_str().into());
        manifest.insert("config".into(), to_value(config.descriptor()));
        manifest.insert("layers".into(), to_value(layers));
        if !self.annotations.is_empty() {
            manifest.insert("annotations".into(), to_value(&self.annotations));
        }
        for (pointer, value) in &self.manifest_fields {
            set(&mut manifest, pointer, value.clone());
        }
        document(manifest, media_type)
    }

    fn media_type(&self, oci: &MediaType) -> MediaType {
        oci.in_family(self.family).expect("both families have manifests and configs")
    }
}
