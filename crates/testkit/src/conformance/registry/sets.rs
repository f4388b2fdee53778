//! The images, indexes and artifacts that the manifest checks push.

use palan_core::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use super::http::noise;

/// A graph of content: its blobs, and its manifests with the root last.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) blobs: Vec<Vec<u8>>,
    pub(super) manifests: Vec<Node>,
    /// What the root refers to.
    pub(super) subject: Option<Digest>,
    /// What a referrers list must say of the root besides media type, digest and size.
    pub(super) artifact_type: Option<&'static str>,
    pub(super) annotations: Value,
}

/// A manifest or index.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

const KIND: &str = "application/vnd.example.sbom";

impl Node {
    pub(super) fn new(media_type: &MediaType, bytes: Vec<u8>, algorithm: Algorithm) -> Self {
        let digest = algorithm.digest(&bytes);
        Self { media_type: media_type.to_string(), bytes, digest }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

impl Set {
    pub(super) fn root(&self) -> &Node {
        &self.manifests[self.manifests.len() - 1]
    }
}

/// Makes sets whose content no other maker makes.
pub(super) struct Maker {
    pub(super) seed: String,
    pub(super) algorithm: Algorithm,
}

impl Maker {
    fn blob(&self, what: &str, size: usize) -> Vec<u8> {
        noise(&format!("{} {what} {}", self.seed, self.algorithm), size)
    }

    pub(super) fn descriptor(&self, media_type: &MediaType, content: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": self.algorithm.digest(content), "size": content.len()})
    }

    fn node(&self, media_type: &MediaType, json: &Value) -> Node {
        Node::new(media_type, json.to_string().into_bytes(), self.algorithm)
    }

    fn config(&self, what: &str) -> Vec<u8> {
        let diff_id = Digest::sha256(what.as_bytes());
        json!({"architecture": "amd64", "os": "linux", "author": format!("{} {what}", self.seed),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
        .to_string()
        .into_bytes()
    }

    /// Blobs and manifest of an image.
    pub(super) fn image(&self, what: &str, layer: &MediaType, layers: usize) -> (Vec<Vec<u8>>, Value) {
        let config = self.config(what);
        let layers: Vec<Vec<u8>> =
            (0..layers).map(|i| self.blob(&format!("{what} layer {i}"), 700 + 100 * i)).collect();
        let descriptors: Vec<Value> = layers.iter().map(|bytes| self.descriptor(layer, bytes)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": self.descriptor(&MediaType::OCI_CONFIG, &config),
            "layers": descriptors,
        });
        let mut blobs = layers;
        blobs.push(config);
        (blobs, manifest)
    }

    pub(super) fn artifact(&self, what: &str) -> (Vec<Vec<u8>>, Value) {
        let payload = self.blob(what, 300);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": KIND,
            "config": self.descriptor(&MediaType::OCI_EMPTY, b"{}"),
            "layers": [self.descriptor(&MediaType::new("application/json"), &payload)],
        });
        (vec![payload, b"{}".to_vec()], manifest)
    }

    fn index(&self, children: &[Node]) -> Value {
        let manifests: Vec<Value> = children.iter().map(Node::descriptor).collect();
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests})
    }

    fn set(&self, name: &'static str, blobs: Vec<Vec<u8>>, manifest: &Value) -> Set {
        let root = self.node(&MediaType::OCI_MANIFEST, manifest);
        Set {
            name,
            blobs,
            manifests: vec![root],
            subject: None,
            artifact_type: None,
            annotations: Value::Null,
        }
    }

    fn with_subject(&self, mut set: Set, what: &str, pushed: bool) -> Set {
        let (blobs, manifest) = self.image(what, &MediaType::OCI_LAYER_GZIP, 1);
        let subject = self.node(&MediaType::OCI_MANIFEST, &manifest);
        let root = set.root();
        let mut json: Value = serde_json::from_slice(&root.bytes).unwrap_or_default();
        json["subject"] = subject.descriptor();
        let annotations = json!({"org.example.name": what, "org.example.umlaut": "ä \" \\ \u{1f980}"});
        json["annotations"] = annotations.clone();
        let media_type = MediaType::new(root.media_type.clone());
        set.manifests.pop();
        set.manifests.push(self.node(&media_type, &json));
        set.subject = Some(subject.digest);
        set.annotations = annotations;
        if pushed {
            set.blobs.extend(blobs);
            set.manifests.insert(0, subject);
        }
        set
    }

    /// All sets.
    pub(super) fn all(&self) -> Vec<Set> {
        let mut sets = self.images();
        sets.extend(self.indexes());
        sets.extend(self.referrers());
        sets
    }

    fn images(&self) -> Vec<Set> {
        let gzip = MediaType::OCI_LAYER_GZIP;
        let plain = |name, layer: &MediaType, layers| {
            let (blobs, manifest) = self.image(name, layer, layers);
            self.set(name, blobs, &manifest)
        };
        vec![
            plain("image", &gzip, 2),
            plain("uncompressed", &MediaType::OCI_LAYER, 2),
            plain("zstd", &MediaType::OCI_LAYER_ZSTD, 1),
            plain("no-layers", &gzip, 0),
            self.docker(),
            self.data_field(),
            self.custom_fields(),
            self.bare(),
            self.pretty(),
            self.foreign(),
            self.artifact_set(),
        ]
    }

    fn artifact_set(&self) -> Set {
        let (blobs, manifest) = self.artifact("artifact");
        Set { artifact_type: Some(KIND), ..self.set("artifact", blobs, &manifest) }
    }

    fn docker(&self) -> Set {
        let (blobs, mut manifest) = self.image("docker", &MediaType::DOCKER_LAYER_GZIP, 2);
        manifest["mediaType"] = json!(MediaType::DOCKER_MANIFEST);
        manifest["config"]["mediaType"] = json!(MediaType::DOCKER_CONFIG);
        let root = self.node(&MediaType::DOCKER_MANIFEST, &manifest);
        Set { manifests: vec![root], ..self.set("docker", blobs, &manifest) }
    }

    fn data_field(&self) -> Set {
        let (blobs, mut manifest) = self.artifact("data field");
        manifest["config"]["data"] = json!("e30=");
        Set { artifact_type: Some(KIND), ..self.set("data-field", blobs, &manifest) }
    }

    fn custom_fields(&self) -> Set {
        let (blobs, mut manifest) = self.image("custom fields", &MediaType::OCI_LAYER_GZIP, 1);
        manifest["org.example.custom"] = json!({"b": [1, 2.50, null], "a": "\u{0}", "exact": 1e3});
        manifest["config"]["custom"] = json!("kept");
        self.set("custom-fields", blobs, &manifest)
    }

    /// Without a `mediaType` of its own.
    fn bare(&self) -> Set {
        let (blobs, mut manifest) = self.image("bare", &MediaType::OCI_LAYER_GZIP, 1);
        manifest.as_object_mut().map(|json| json.shift_remove("mediaType"));
        self.set("no-media-type", blobs, &manifest)
    }

    /// Laid out in a way that no encoder would choose.
    fn pretty(&self) -> Set {
        let (blobs, manifest) = self.image("pretty", &MediaType::OCI_LAYER_GZIP, 1);
        let text = format!("\n{manifest:#}\r\n\t \n").replace("\"layers\"", "\"\\u006cayers\"");
        let root = Node::new(&MediaType::OCI_MANIFEST, text.into_bytes(), self.algorithm);
        Set { manifests: vec![root], ..self.set("odd-layout", blobs, &manifest) }
    }

    /// With layers that are not pushed.
    fn foreign(&self) -> Set {
        let (blobs, mut manifest) = self.image("foreign", &MediaType::OCI_LAYER_GZIP, 1);
        let elsewhere = self.blob("elsewhere", 100);
        let mut with_urls = self.descriptor(&MediaType::OCI_FOREIGN_LAYER_GZIP, &elsewhere);
        with_urls["urls"] = json!(["https://example.com/layer"]);
        let without = self.descriptor(&MediaType::DOCKER_FOREIGN_LAYER_GZIP, &elsewhere);
        if let Some(layers) = manifest["layers"].as_array_mut() {
            layers.extend([with_urls, without]);
        }
        self.set("non-distributable", blobs, &manifest)
    }

    fn children(&self, what: &str) -> (Vec<Vec<u8>>, Vec<Node>) {
        let made = ["amd64", "arm64"].map(|platform| {
            let (blobs, manifest) = self.image(&format!("{what} {platform}"), &MediaType::OCI_LAYER_GZIP, 1);
            (blobs, self.node(&MediaType::OCI_MANIFEST, &manifest))
        });
        let (blobs, nodes): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        (blobs.concat(), nodes)
    }

    fn index_set(&self, name: &'static str, media_type: &MediaType, change: impl FnOnce(&mut Value)) -> Set {
        let (blobs, mut manifests) = self.children(name);
        let mut index = self.index(&manifests);
        index["mediaType"] = json!(media_type);
        change(&mut index);
        manifests.push(self.node(media_type, &index));
        let (subject, artifact_type, annotations) = (None, None, Value::Null);
        Set { name, blobs, manifests, subject, artifact_type, annotations }
    }

    fn indexes(&self) -> Vec<Set> {
        let oci = MediaType::OCI_INDEX;
        let mut sets = vec![
            self.index_set("index", &oci, |_| ()),
            self.index_set("docker-list", &MediaType::DOCKER_INDEX, |_| ()),
            self.index_set("empty-index", &oci, |index| index["manifests"] = json!([])),
            self.index_set("index-without-media-type", &oci, |index| {
                index.as_object_mut().map(|json| json.shift_remove("mediaType"));
            }),
        ];
        let mut nested = self.index_set("nested-index", &oci, |_| ());
        let outer = self.index(&[nested.root().clone()]);
        nested.manifests.push(self.node(&oci, &outer));
        sets.push(nested);
        let (blobs, artifact) = self.artifact("artifact index");
        let artifact = self.node(&MediaType::OCI_MANIFEST, &artifact);
        let mut index = self.index(std::slice::from_ref(&artifact));
        index["artifactType"] = json!(KIND);
        let mut set = self.set("artifact-index", blobs, &index);
        set.manifests = vec![artifact, self.node(&oci, &index)];
        set.artifact_type = Some(KIND);
        sets.push(set);
        sets
    }

    fn referrers(&self) -> Vec<Set> {
        let artifact = |name: &'static str| {
            let (blobs, manifest) = self.artifact(name);
            Set { artifact_type: Some(KIND), ..self.set(name, blobs, &manifest) }
        };
        let (blobs, image) = self.image("referring image", &MediaType::OCI_LAYER_GZIP, 1);
        let image = Set { artifact_type: Some(CONFIG), ..self.set("image-with-subject", blobs, &image) };
        let index = self.index_set("index-with-subject", &MediaType::OCI_INDEX, |_| ());
        let typed = self.index_set("typed-index-with-subject", &MediaType::OCI_INDEX, |index| {
            index["artifactType"] = json!(KIND);
        });
        vec![
            self.with_subject(artifact("artifact-with-subject"), "subject one", true),
            self.with_subject(artifact("missing-subject"), "subject two", false),
            self.with_subject(image, "subject three", true),
            self.with_subject(index, "subject four", true),
            self.with_subject(Set { artifact_type: Some(KIND), ..typed }, "subject five", false),
        ]
    }
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
