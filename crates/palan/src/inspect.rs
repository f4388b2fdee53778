//! Inspect: what an image is, for people and for scripts.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use palan_core::{Digest, Document, Kind, MediaType, PlatformPattern, Selector, annotation, view};
use serde::Serialize;

use crate::{
    Error,
    image::{self, Image},
    place::Source,
};

/// An image or index, as data. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The place and what was chosen in it.
    pub name: String,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The images: one, or one per platform.
    pub images: Vec<ImageReport>,
    /// Entries of an index that are not images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherReport>,
}

/// One platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageReport {
    /// The platform.
    pub platform: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// When it was made, as the config says.
    pub created: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// All layers together, as stored (compressed), in bytes.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// How it is run.
    pub config: view::Runtime,
    /// The manifest's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the image says it was built on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Digest as stored.
    pub digest: Digest,
    /// Media type.
    pub media_type: MediaType,
    /// Size as stored, in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The command that made it; unknown where the history is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// An entry of an index that is not an image.
#[derive(Clone, Debug, Serialize)]
pub struct OtherReport {
    /// Digest.
    pub digest: Digest,
    /// Media type.
    pub media_type: MediaType,
    /// Size in bytes.
    pub size: u64,
    /// What it is.
    pub what: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Digest>,
}

/// Reads manifests and configs, no layers. With `wanted`, only the images of that platform.
pub async fn inspect(
    source: &dyn Source,
    selector: &Selector,
    wanted: Option<&PlatformPattern>,
) -> Result<Report, Error> {
    let root = source.document(selector).await?;
    let mut report = Report {
        name: match selector {
            Selector::Tag(tag) => format!("{}:{tag}", source.name()),
            Selector::Digest(digest) => format!("{}@{digest}", source.name()),
        },
        digest: root.digest(),
        media_type: root.media_type().clone(),
        size: root.size(),
        annotations: BTreeMap::new(),
        images: Vec::new(),
        others: Vec::new(),
    };
    let manifests = match root.kind() {
        Kind::Index => entries(source, &root, &mut report).await?,
        _ => vec![root],
    };
    let images = try_join_all(manifests.into_iter().map(|m| async { load(source, m).await })).await?;
    let mut found = Vec::new();
    for image in images {
        match image {
            Ok(image) if wanted.is_none_or(|w| w.matches(&image.platform())) => {
                report.images.push(describe(&image));
            }
            Ok(image) => found.push(image.platform()),
            Err(other) => report.others.push(other),
        }
    }
    if let (Some(wanted), true) = (wanted, report.images.is_empty()) {
        let image = report.name;
        return Err(Error::NoPlatform { image, wanted: wanted.to_string(), found });
    }
    Ok(report)
}

/// The manifests that an index lists; attestations and unknown entries go to the report at once.
async fn entries(source: &dyn Source, root: &Document, report: &mut Report) -> Result<Vec<Document>, Error> {
    let index: view::Index = image::parsed(source, root)?;
    report.annotations = index.annotations;
    let mut images = Vec::new();
    for entry in index.manifests {
        if !entry.is_attestation() && entry.media_type.is_document() {
            images.push(entry);
            continue;
        }
        let what = if entry.is_attestation() { "attestation" } else { "other content" };
        report.others.push(OtherReport {
            digest: entry.digest,
            about: entry.attested_digest(),
            what: what.to_owned(),
            size: entry.size,
            media_type: entry.media_type,
        });
    }
    try_join_all(images.iter().map(|e| async { source.document(&e.digest.into()).await })).await
}

async fn load(source: &dyn Source, manifest: Document) -> Result<Result<Image, OtherReport>, Error> {
    let other = |what: String, about| OtherReport {
        digest: manifest.digest(),
        media_type: manifest.media_type().clone(),
        size: manifest.size(),
        what,
        about,
    };
    if manifest.kind() == Kind::Index {
        return Ok(Err(other("index".into(), None)));
    }
    let parsed: view::Manifest = image::parsed(source, &manifest)?;
    if !parsed.is_image() {
        let what = parsed.artifact_type.unwrap_or_else(|| parsed.config.media_type.to_string());
        return Ok(Err(other(format!("artifact {what}"), parsed.subject.map(|s| s.digest))));
    }
    Image::load(source, manifest).await.map(Ok)
}

fn describe(image: &Image) -> ImageReport {
    let manifest = &image.manifest_view;
    let config = &image.config_view;
    let steps: Vec<_> = config.history.iter().filter(|h| !h.empty_layer).collect();
    let complete = steps.len() == manifest.layers.len();
    let layers =
        manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate().map(|(i, (layer, diff_id))| {
            LayerReport {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
                size: layer.size,
                diff_id: *diff_id,
                created_by: steps.get(i).filter(|_| complete).and_then(|s| s.created_by.clone()),
            }
        });
    let runtime = config.config.clone().unwrap_or_default();
    let labels = runtime.labels.as_ref();
    let base = manifest
        .annotations
        .get(annotation::BASE_NAME)
        .or_else(|| labels.and_then(|l| l.get(annotation::BASE_NAME)))
        .cloned();
    ImageReport {
        platform: image.platform().to_string(),
        digest: image.manifest.digest(),
        created: config.created.clone(),
        author: config.author.clone(),
        size: manifest.layers.iter().map(|l| l.size).sum(),
        layers: layers.collect(),
        config: runtime,
        annotations: manifest.annotations.clone(),
        base,
    }
}
