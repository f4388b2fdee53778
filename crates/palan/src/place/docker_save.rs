//! What `docker save` wrote before Docker 25, and what crane writes: `manifest.json`, configs and layers, without
//! manifests. A manifest is made for each image from the members as they are: Docker schema 2 or, where a layer is
//! zstd, OCI.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};

use palan_core::{Algorithm, Compression, Descriptor, Digest, Document, Family, MediaType, annotation};
use palan_layer::{codec, tar::Archive};
use serde::Deserialize;
use serde_json::json;

use super::{
    archive::Contents,
    tar_index::{Span, TarIndex},
};
use crate::Error;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn contents(tar: &TarIndex, place: &str) -> Result<Contents, Error> {
    let malformed = |reason| Error::Malformed { place: place.to_owned(), reason };
    if tar.get("manifest.json").is_none() {
        return Err(malformed("has neither manifest.json nor index.json: it is not a docker archive".into()));
    }
    let images: Option<Vec<Image>> = serde_json::from_slice(&tar.content("manifest.json", place)?)
        .map_err(|e| malformed(format!("manifest.json is not valid: {e}")))?;
    let mut contents = Contents::default();
    let mut layers = HashMap::new();
    for image in images.ok_or_else(|| malformed("manifest.json is null: it holds no image".into()))? {
        let names = image.repo_tags.clone().unwrap_or_default();
        let manifest = manifest(tar, place, image, &mut layers, &mut contents)?;
        contents.entries.extend(entries(&manifest, names));
        contents.made.insert(manifest.digest(), manifest);
    }
    Ok(contents)
}

/// One entry for each name, or one without a name.
fn entries(manifest: &Document, names: Vec<String>) -> Vec<Descriptor> {
    let named = |name| Descriptor {
        annotations: Some([(annotation::CONTAINERD_IMAGE_NAME.to_owned(), name)].into()),
        ..manifest.descriptor()
    };
    let entries: Vec<_> = names.into_iter().map(named).collect();
    if entries.is_empty() { vec![manifest.descriptor()] } else { entries }
}

/// The manifest of one image, its members entered into `contents`. `layers` remembers those described before, by
/// where they are.
fn manifest(
    tar: &TarIndex,
    place: &str,
    image: Image,
    layers: &mut HashMap<u64, Layer>,
    contents: &mut Contents,
) -> Result<Document, Error> {
    let malformed = |reason| Error::Malformed { place: place.to_owned(), reason };
    let config = tar.content(&image.config, place)?;
    let config_span = tar.get(&image.config).ok_or_else(|| malformed("config is missing".into()))?;
    let digest = Digest::sha256(&config);
    contents.blobs.insert(digest, config_span);
    let mut stack = Vec::new();
    for name in image.layers.unwrap_or_default() {
        let span = tar.get(&name).ok_or_else(|| malformed(format!("layer {name} is missing")))?;
        let layer = match layers.get(&span.start) {
            Some(known) => *known,
            None => describe(tar, place, &name, span)?,
        };
        layers.insert(span.start, layer);
        contents.blobs.insert(layer.digest, span);
        stack.push(layer);
    }
    // Docker's family has no media type for zstd.
    let zstd = stack.iter().any(|l| l.compression == Compression::Zstd);
    let family = if zstd { Family::Oci } else { Family::Docker };
    let in_family = |oci: MediaType| oci.in_family(family).unwrap_or(oci);
    let described = stack
        .iter()
        .filter_map(|l| Some(Descriptor::new(MediaType::layer(family, l.compression)?, l.digest, l.size)));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": in_family(MediaType::OCI_MANIFEST),
        "config": Descriptor::new(in_family(MediaType::OCI_CONFIG), digest, config.len() as u64),
        "layers": described.collect::<Vec<_>>(),
    });
    Ok(Document::from_value(&manifest, in_family(MediaType::OCI_MANIFEST))?)
}

#[derive(Clone, Copy)]
struct Layer {
    digest: Digest,
    size: u64,
    compression: Compression,
}

/// Digest, size and compression of a layer member, by reading it once. Fails for what is no layer.
fn describe(tar: &TarIndex, place: &str, name: &str, span: Span) -> Result<Layer, Error> {
    let io = || Error::io("read", tar.path());
    let malformed = |reason| Error::Malformed { place: place.to_owned(), reason };
    let mut file = File::open(tar.path()).map_err(io())?;
    file.seek(SeekFrom::Start(span.start)).map_err(io())?;
    let (compression, mut content) = codec::sniff(file.take(span.length)).map_err(|error| match error {
        palan_layer::Error::UnsupportedCompression(found) => {
            malformed(format!("the layer {name} is compressed with {found}, and no image can say so"))
        }
        error => io()(error.into()),
    })?;
    let mut head = Vec::new();
    content.by_ref().take(512).read_to_end(&mut head).map_err(io())?;
    let is_tar = || !matches!(Archive::new(head.as_slice()).next_entry(), Err(palan_layer::Error::NotTar));
    if compression == Compression::None && !is_tar() {
        let reason = format!("the layer {name} is neither a tar archive nor compressed with gzip or zstd");
        return Err(malformed(reason));
    }
    let mut hasher = Algorithm::Sha256.hasher();
    hasher.update(&head);
    let mut piece = vec![0; 256 * 1024];
    loop {
        match content.read(&mut piece).map_err(io())? {
            0 => break,
            n => hasher.update(&piece[..n]),
        }
    }
    Ok(Layer { digest: hasher.finish(), size: span.length, compression })
}
