//! Append: add layers on top of an image, or start one.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use async_trait::async_trait;
use palan_core::{Compression, Document, Family, MediaType, Platform, PlatformPattern, annotation};
use palan_layer::{Packing, pack_layer};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    copy::Options,
    grow::{self, Grow, Layers, Top},
    image::Image,
    place::{Layout, Location, Places},
    rewrite::{self, Attestations, Content, Outcome, Plan, Rewritten, Subject, rewrite},
};

/// What to append, and to what.
pub struct Request {
    /// The image to append to; `None`: an empty one.
    pub base: Option<Location>,
    /// The layers, lowest first.
    pub layers: Vec<LayerSource>,
    /// Where the result goes.
    pub target: Location,
    /// Which platforms of a base index; empty: all. For an empty base: its platform, by default `linux/amd64`.
    pub platforms: Vec<PlatformPattern>,
    /// Which platform an empty base is for.
    pub empty_platform: Platform,
    /// Compression of layers that come as plain tars.
    pub compression: Compression,
    /// Whether to write the base hints.
    pub base_annotations: bool,
    /// What becomes of a base index's entries about the images that are appended to.
    pub attestations: Attestations,
}

/// A layer to append: a tar, plain or compressed.
pub struct LayerSource {
    /// What to call it in history and errors.
    pub name: String,
    /// Its content.
    pub content: LayerContent,
}

/// Where a layer's content comes from.
pub enum LayerContent {
    /// A file.
    File(PathBuf),
    /// A stream that can be read once.
    Stream(Box<dyn Read + Send>),
}

/// A layer, packed.
#[derive(Clone)]
pub(crate) struct Packed {
    name: String,
    packed: palan_layer::Packed,
}

/// Reads the layers and the base. Layers are read once: packed, hashed both ways and spooled to a temporary file, so that an
/// upload can be repeated. Every platform of an index (or the chosen ones, inside it) gets the same layers.
pub async fn plan(places: &Places, request: Request) -> Result<Plan, Error> {
    let Request { base, layers, target, platforms, compression, attestations, .. } = request;
    let base = match base {
        None => None,
        Some(image) => Some((rewrite::opened(places, &image).await?, image)),
    };
    let family = base.as_ref().map_or(Family::Oci, |((_, root), _)| root.family());
    let (packed, content) = pack_all(layers, family, compression).await?;
    let mut work = Work { layers: &packed, hints: None };
    let plan = match base {
        None => Plan::fresh(target, work.empty(&request.empty_platform)?, Arc::clone(&content.source))?,
        Some(((opened, root), image)) => {
            work.hints = request
                .base_annotations
                .then(|| image.reference().and_then(palan_core::Reference::base_name));
            let (old, source) = (root.digest(), opened.place);
            let rewritten = rewrite(source.as_ref(), root, &platforms, attestations, &Grow(&work)).await?;
            let subject = Subject { image, platforms, target: Some(target), attestations };
            Plan::new(&subject, old, rewritten, source)?
        }
    };
    Ok(plan.with(content))
}

/// Appends: [`plan`], then [`rewrite::apply`].
pub async fn append(places: &Places, request: Request, options: &Options) -> Result<Outcome, Error> {
    rewrite::apply(places, &plan(places, request).await?, options).await
}

/// Packs layers for the images of a family, into a temporary folder.
pub(crate) async fn pack_all(
    layers: Vec<LayerSource>,
    family: Family,
    compression: Compression,
) -> Result<(Vec<Packed>, Content), Error> {
    let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let spool = Arc::new(Layout::create(folder.path())?);
    let mut packed = Vec::new();
    for layer in layers {
        packed.push(pack(Arc::clone(&spool), layer, family, compression).await?);
    }
    let digests = packed.iter().map(|layer| layer.packed.digest).collect();
    Ok((packed, Content { digests, source: spool, _folder: Some(folder) }))
}

async fn pack(
    spool: Arc<Layout>,
    layer: LayerSource,
    family: Family,
    compression: Compression,
) -> Result<Packed, Error> {
    let packing = Packing::for_family(family, compression).ok_or_else(|| {
        Error::Unsupported(format!(
            "{compression} layers in {family} images: the family has no media type for them"
        ))
    })?;
    let LayerSource { name, content } = layer;
    let work = move || {
        let path = spool.path().to_owned();
        let mut file = tempfile::NamedTempFile::new_in(&path).map_err(Error::io("write in", &path))?;
        let unreadable = |source| Error::Append { name: name.clone(), source };
        let packed = match content {
            LayerContent::File(path) => {
                let input = File::open(&path).map_err(Error::io("read", &path))?;
                pack_layer(input, &packing, io::BufWriter::new(&mut file)).map_err(unreadable)?
            }
            LayerContent::Stream(input) => {
                pack_layer(input, &packing, io::BufWriter::new(&mut file)).map_err(unreadable)?
            }
        };
        spool.take(file, packed.digest)?;
        Ok(Packed { name, packed })
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Packed layers, to be put on top of images.
pub(crate) struct Work<'a> {
    pub(crate) layers: &'a [Packed],
    /// Write base hints; the base's name, where it has one.
    pub(crate) hints: Option<Option<String>>,
}

impl Work<'_> {
    /// An image of nothing but the layers.
    fn empty(&self, platform: &Platform) -> Result<Rewritten, Error> {
        let mut config = json!({"architecture": platform.architecture, "os": platform.os});
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        config["config"] = json!({});
        config["rootfs"] = json!({"type": "layers", "diff_ids": []});
        config["history"] = json!([]);
        let tops = self.tops("an empty image", Family::Oci)?;
        let config = Document::from_value(&config, MediaType::OCI_CONFIG)?;
        let config = config.edit(|json| grow::edit_config(json, &tops, true))?;
        let config = config.with_media_type(MediaType::OCI_CONFIG);
        let layers: Vec<Value> = tops.into_iter().map(|top| top.descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": layers,
        });
        let root = Document::from_value(&manifest, MediaType::OCI_MANIFEST)?;
        Ok(Rewritten {
            root,
            documents: Vec::new(),
            configs: vec![config],
            images: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Fails where the family has no media type for a layer: an OCI index may list Docker images, and layers are packed
    /// for the index's family.
    fn tops(&self, image: &str, family: Family) -> Result<Vec<Top>, Error> {
        let top = |layer: &Packed| {
            let Packed { packed, name } = layer;
            let described = packed.descriptor(family).ok_or_else(|| Error::Family {
                image: image.to_owned(),
                family,
                layer: packed.digest,
                media_type: packed
                    .descriptor(Family::Oci)
                    .map_or_else(|| packed.compression.to_string(), |d| d.media_type.to_string()),
            })?;
            let history = json!({"created_by": format!("palan append {name}")});
            Ok(Top { descriptor: json!(described), diff_id: packed.diff_id, history })
        };
        self.layers.iter().map(top).collect()
    }
}

#[async_trait]
impl Layers for Work<'_> {
    async fn on(&self, image: &Image, _platform: &Platform) -> Result<Vec<Top>, Error> {
        self.tops(&image.name, image.manifest.family())
    }

    fn touch(&self, image: &Image, manifest: &mut Map<String, Value>) {
        let Some(name) = &self.hints else { return };
        if !manifest.get("annotations").is_some_and(Value::is_object) {
            manifest.insert("annotations".into(), json!({}));
        }
        if let Some(name) = name {
            manifest["annotations"][annotation::BASE_NAME] = json!(name);
        }
        manifest["annotations"][annotation::BASE_DIGEST] = json!(image.manifest.digest());
    }
}
