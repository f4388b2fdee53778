//! What `docker save` wrote before Docker 25, and what crane writes: `manifest.json`, configs and layers, without
//! manifests. A Docker schema 2 manifest is made for each image from the members as they are.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};

use palan_core::{Algorithm, Descriptor, Digest, Document, MediaType};
use serde::Deserialize;
use serde_json::json;

use super::{
    archive::{Contents, Root},
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
    for image in images.ok_or_else(|| malformed("manifest.json is null".into()))? {
        let config = tar.content(&image.config, place)?;
        let config_span = tar.get(&image.config).ok_or_else(|| malformed("config is missing".into()))?;
        let digest = Digest::sha256(&config);
        contents.blobs.insert(digest, config_span);
        let mut entries = Vec::new();
        for name in image.layers.unwrap_or_default() {
            let span = tar.get(&name).ok_or_else(|| malformed(format!("layer {name} is missing")))?;
            let layer = match layers.get(&span.start) {
                Some(known) => Clone::clone(known),
                None => describe(tar, span, &name, place)?,
            };
            layers.insert(span.start, layer.clone());
            contents.blobs.insert(layer.digest, span);
            entries.push(layer);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::DOCKER_MANIFEST,
            "config": Descriptor::new(MediaType::DOCKER_CONFIG, digest, config.len() as u64),
            "layers": entries,
        });
        let manifest = Document::from_value(&manifest, MediaType::DOCKER_MANIFEST)?;
        contents
            .roots
            .push(Root { descriptor: manifest.descriptor(), names: image.repo_tags.unwrap_or_default() });
        contents.made.insert(manifest.digest(), manifest);
    }
    Ok(contents)
}

/// Digest, size and media type of a layer member, by reading it once.
fn describe(tar: &TarIndex, span: Span, name: &str, place: &str) -> Result<Descriptor, Error> {
    let io = || Error::io("read", tar.path());
    let mut file = File::open(tar.path()).map_err(io())?;
    file.seek(SeekFrom::Start(span.start)).map_err(io())?;
    let mut content = file.take(span.length);
    let (mut hasher, mut piece, mut head) = (Algorithm::Sha256.hasher(), vec![0; 256 * 1024], Vec::new());
    loop {
        let n = content.read(&mut piece).map_err(io())?;
        if n == 0 {
            break;
        }
        if head.len() < 4 {
            head.extend_from_slice(&piece[..n.min(4)]);
        }
        hasher.update(&piece[..n]);
    }
    let media_type = if head.starts_with(&[0x1f, 0x8b]) {
        MediaType::DOCKER_LAYER_GZIP
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(Error::Unsupported(format!(
            "layer {name} of {place} is zstd, which a Docker manifest cannot hold"
        )));
    } else {
        MediaType::DOCKER_LAYER
    };
    Ok(Descriptor::new(media_type, hasher.finish(), span.length))
}
