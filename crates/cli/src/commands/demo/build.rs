//! Makes images of the fixture: layers packed, configs and manifests written, in memory.

use std::sync::Arc;

use bytes::Bytes;
use palan::{
    copy,
    place::{Memory, Places, PutAs, Source},
};
use palan_core::{Compression, Descriptor, Digest, Document, Family, MediaType, Reference, annotation};
use palan_layer::{Builder, Built};
use serde_json::{Value, json};

use super::fixture::{Hints, History, Layer, PLATFORMS, Service, Shape};

type Result<T = (), E = palan::Error> = std::result::Result<T, E>;

/// A base in one version, published.
pub(super) struct Base {
    pub(super) reference: Reference,
    pub(super) index: Digest,
    /// Of each platform: manifest digest.
    pub(super) manifests: Vec<(&'static str, Digest)>,
    layers: &'static [Layer],
}

/// What an operation publishes: documents and blobs in memory, and the root.
pub(super) struct Made {
    pub(super) memory: Memory,
    pub(super) root: Document,
}

/// A layer, packed.
#[derive(Clone)]
pub(super) struct Blob {
    media_type: MediaType,
    diff_id: Digest,
    bytes: Bytes,
}

impl Blob {
    pub(super) fn of(built: Built, family: Family) -> Self {
        let media_type = built.descriptor(family).map_or(MediaType::OCI_LAYER, |d| d.media_type);
        Self { media_type, diff_id: built.packed.diff_id, bytes: built.bytes.into() }
    }
}

/// What an image is put together from.
pub(super) struct Parts<'a> {
    pub(super) arch: &'a str,
    pub(super) family: Family,
    pub(super) layers: Vec<Blob>,
    pub(super) history: Option<&'a [Value]>,
    pub(super) annotations: &'a Value,
    pub(super) labels: &'a Value,
    /// `None`: what all images of the fixture have.
    pub(super) env: Option<&'a [String]>,
    pub(super) name: &'a str,
}

/// One image in the making.
struct Plan<'a> {
    arch: &'static str,
    family: Family,
    layers: Vec<(Layer, Compression)>,
    history: Option<Vec<Value>>,
    annotations: Value,
    labels: Value,
    name: &'a str,
}

pub(super) fn pack(layer: Layer, arch: &str, compression: Compression) -> Result<Built> {
    let mut builder = Builder::new();
    for (path, content) in layer {
        builder = match content {
            Some(content) => builder.file(path, content.replace("{arch}", arch)),
            None => builder.whiteout(path),
        };
    }
    builder
        .build(compression)
        .map_err(|source| palan::Error::Append { name: "of the fixture".to_owned(), source })
}

/// Publishes a base for all platforms.
pub(super) async fn base(places: &Places, reference: Reference, layers: &'static [Layer]) -> Result<Base> {
    let memory = Memory::new();
    let mut entries = Vec::new();
    for arch in PLATFORMS {
        let history = layers.iter().enumerate().map(|(i, _)| step(&format!("base layer {}", i + 1), false));
        let plan = Plan {
            arch,
            family: Family::Oci,
            layers: layers.iter().map(|l| (*l, Compression::Gzip)).collect(),
            history: Some(history.chain([step("CMD [\"sh\"]", true)]).collect()),
            annotations: json!({}),
            labels: json!({}),
            name: "base",
        };
        entries.push((arch, image(&memory, &plan)?));
    }
    let manifests = entries.iter().map(|(arch, m)| (*arch, m.digest())).collect();
    let root = index(&memory, Family::Oci, &entries, &[])?;
    let index = root.digest();
    publish(places, &reference, Made { memory, root }).await?;
    Ok(Base { reference, index, manifests, layers })
}

/// Publishes a service built on `base`.
pub(super) async fn service(
    places: &Places,
    reference: &Reference,
    service: &Service,
    base: &Base,
) -> Result {
    let memory = Memory::new();
    let mut entries = Vec::new();
    let architectures: &[&'static str] = match &service.shape {
        Shape::Single(arch) => &[arch],
        _ => &PLATFORMS,
    };
    for arch in architectures {
        entries.push((*arch, image(&memory, &plan(service, base, arch))?));
    }
    let root = match service.shape {
        Shape::Single(_) => entries.remove(0).1,
        Shape::Index => index(&memory, service.family, &entries, &[])?,
        Shape::Attested | Shape::AttestedArtifacts => {
            let artifacts = service.shape == Shape::AttestedArtifacts;
            let attestations: Result<Vec<_>> =
                entries.iter().map(|(_, image)| attestation(&memory, image, artifacts)).collect();
            index(&memory, service.family, &entries, &attestations?)?
        }
    };
    publish(places, reference, Made { memory, root }).await
}

/// Publishes an image that stands on nothing that the base has.
pub(super) async fn stranger(places: &Places, reference: &Reference) -> Result {
    let memory = Memory::new();
    let plan = Plan {
        arch: PLATFORMS[0],
        family: Family::Oci,
        layers: vec![(&[("srv/alone", Some("built on scratch\n"))], Compression::Gzip)],
        history: None,
        annotations: json!({}),
        labels: json!({}),
        name: "stranger",
    };
    let root = image(&memory, &plan)?;
    publish(places, reference, Made { memory, root }).await
}

fn plan<'a>(service: &'a Service, base: &Base, arch: &'static str) -> Plan<'a> {
    let base_compression = if service.recompressed { Compression::Zstd } else { Compression::Gzip };
    let base_layers = base.layers.iter().map(|l| (*l, base_compression));
    let own_layers = service.layers.iter().map(|l| (*l, service.compression));
    let own_steps = || {
        let layers =
            service.layers.iter().enumerate().map(|(i, _)| step(&format!("COPY {} /srv", i + 1), false));
        std::iter::once(step("ENV DEMO=1", true)).chain(layers)
    };
    let base_steps =
        base.layers.iter().enumerate().map(|(i, _)| step(&format!("base layer {}", i + 1), false));
    let history = match service.history {
        History::Full => Some(base_steps.chain([step("CMD [\"sh\"]", true)]).chain(own_steps()).collect()),
        History::Partial => Some(own_steps().collect()),
        History::None => None,
    };
    let digest = base.manifests.iter().find(|(a, _)| *a == arch).map_or(base.index, |(_, d)| *d);
    let hints = json!({
        annotation::BASE_NAME: base.reference.base_name(),
        annotation::BASE_DIGEST: digest,
    });
    let mut annotations = json!({"org.example.team": service.name});
    let mut labels = json!({"org.example.keep": "me"});
    match service.hints {
        Hints::None => {}
        Hints::Annotations => merge(&mut annotations, &hints),
        Hints::Labels => merge(&mut labels, &hints),
    }
    Plan {
        arch,
        family: service.family,
        layers: base_layers.chain(own_layers).collect(),
        history,
        annotations,
        labels,
        name: service.name,
    }
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}

pub(super) fn step(created_by: &str, empty: bool) -> Value {
    let mut step = json!({"created": "2026-01-01T00:00:00Z", "created_by": created_by});
    if empty {
        step["empty_layer"] = json!(true);
    }
    step
}

fn image(memory: &Memory, plan: &Plan<'_>) -> Result<Document> {
    let layers = plan.layers.iter();
    let layers = layers
        .map(|(layer, compression)| Ok(Blob::of(pack(layer, plan.arch, *compression)?, plan.family)))
        .collect::<Result<Vec<_>>>()?;
    let parts = Parts {
        arch: plan.arch,
        family: plan.family,
        layers,
        history: plan.history.as_deref(),
        annotations: &plan.annotations,
        labels: &plan.labels,
        env: None,
        name: plan.name,
    };
    assemble(memory, parts)
}

/// Puts an image together.
pub(super) fn assemble(memory: &Memory, plan: Parts<'_>) -> Result<Document> {
    let (config_type, manifest_type) = match plan.family {
        Family::Oci => (MediaType::OCI_CONFIG, MediaType::OCI_MANIFEST),
        Family::Docker => (MediaType::DOCKER_CONFIG, MediaType::DOCKER_MANIFEST),
    };
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for blob in plan.layers {
        diff_ids.push(blob.diff_id);
        layers.push(memory.add_blob(blob.media_type, blob.bytes));
    }
    let env = plan.env.map_or_else(|| json!(["PATH=/usr/bin", "DEMO=1"]), |env| json!(env));
    let mut config = json!({
        "created": "2026-01-01T00:00:00Z", "architecture": plan.arch, "os": "linux",
        "x-demo": {"unknown": "fields stay"},
        "config": {"Env": env, "Cmd": ["/srv/app/server"], "Labels": plan.labels},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    if let Some(history) = plan.history {
        config["history"] = json!(history);
    }
    let config = memory.add_blob(config_type, config.to_string());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers,
        "annotations": plan.annotations, "x-demo": plan.name,
    });
    let manifest = Document::from_value(&manifest, manifest_type)?;
    memory.add_document(&manifest);
    Ok(manifest)
}

pub(super) fn index(
    memory: &Memory,
    family: Family,
    images: &[(&'static str, Document)],
    attestations: &[Value],
) -> Result<Document> {
    let media_type = match family {
        Family::Oci => MediaType::OCI_INDEX,
        Family::Docker => MediaType::DOCKER_INDEX,
    };
    let mut entries = Vec::new();
    for (arch, image) in images {
        let mut entry = json!(image.descriptor());
        entry["platform"] = json!({"architecture": arch, "os": "linux"});
        entries.push(entry);
    }
    entries.extend(attestations.iter().cloned());
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
    let index = Document::from_value(&index, media_type)?;
    memory.add_document(&index);
    Ok(index)
}

/// An attestation about an image, in one of BuildKit's two forms, as an index entry.
pub(super) fn attestation(memory: &Memory, image: &Document, artifact: bool) -> Result<Value> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"digest": {"sha256": image.digest().hex()}}], "predicate": {},
    });
    let layer = memory.add_blob(MediaType::from("application/vnd.in-toto+json"), statement.to_string());
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST});
    if artifact {
        manifest["artifactType"] = json!("application/vnd.docker.attestation.manifest.v1+json");
        manifest["config"] = json!(memory.add_blob(MediaType::OCI_EMPTY, "{}"));
        manifest["layers"] = json!([layer]);
        manifest["subject"] = json!(image.descriptor());
    } else {
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        manifest["config"] = json!(memory.add_blob(MediaType::OCI_CONFIG, config.to_string()));
        manifest["layers"] = json!([layer]);
    }
    let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST)?;
    memory.add_document(&manifest);
    let mut entry: Value =
        json!(Descriptor::new(MediaType::OCI_MANIFEST, manifest.digest(), manifest.size()));
    entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    entry["annotations"] = json!({
        annotation::DOCKER_REFERENCE_TYPE: annotation::ATTESTATION_MANIFEST,
        annotation::DOCKER_REFERENCE_DIGEST: image.digest(),
    });
    Ok(entry)
}

pub(super) async fn publish(places: &Places, reference: &Reference, made: Made) -> Result {
    let source: Arc<dyn Source> = Arc::new(made.memory);
    let target = places.target(&palan::Location::Registry(reference.clone()))?;
    let tag = reference.tag().unwrap_or("latest").to_owned();
    copy::copy(&source, &target.place, vec![(made.root, PutAs::Tag(tag))], &copy::Options::default()).await?;
    Ok(())
}
