//! Append: add layers on top of an image, or start one.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use palan_core::{
    Compression, Digest, Document, Family, Kind, MediaType, Platform, PlatformPattern, annotation, view,
};
use palan_layer::{Packing, pack_layer};
use serde_json::{Map, Value, json};

use crate::{
    Error, Observer,
    copy::{self, Options, Summary},
    image::{self, Image},
    index::{self, Replaced},
    place::{Layout, Location, Memory, Overlay, Places, PutAs, Source},
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

/// What was done.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Outcome {
    /// Digest of the result.
    pub digest: Digest,
    /// What moved.
    pub summary: Summary,
}

/// A layer, packed.
#[derive(Clone)]
struct Packed {
    name: String,
    packed: palan_layer::Packed,
}

/// Appends. Layers are read once: packed, hashed both ways and spooled to a temporary file, so that an upload can be
/// repeated. Every platform of an index (or the chosen ones, inside it) gets the same layers.
pub async fn append(places: &Places, request: Request, options: &Options) -> Result<Outcome, Error> {
    let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let spool = Arc::new(Layout::create(folder.path())?);
    let base = match &request.base {
        None => None,
        Some(location) => {
            let opened = places.source(location)?;
            let root = opened.place.document(opened.chosen()?).await?;
            Some((opened.place, root, location))
        }
    };
    let family = base.as_ref().map_or(Family::Oci, |(_, root, _)| root.family());
    let mut layers = Vec::new();
    for layer in request.layers {
        layers.push(pack(Arc::clone(&spool), layer, family, request.compression).await?);
    }
    let new = Memory::new();
    let mut work = Work {
        layers: &layers,
        new: &new,
        hints: None,
        platforms: &request.platforms,
        observer: &options.observer,
    };
    let (root, rest): (Document, Arc<dyn Source>) = match base {
        None => (work.empty(&request.empty_platform)?, spool.clone()),
        Some((source, root, location)) => {
            work.hints = request
                .base_annotations
                .then(|| location.reference().and_then(palan_core::Reference::base_name));
            (work.append(source.as_ref(), root).await?, source)
        }
    };
    let mut overlay = Overlay::new(new, rest);
    overlay.route(layers.iter().map(|l| l.packed.digest), spool);
    let overlay: Arc<dyn Source> = Arc::new(overlay);
    let digest = root.digest();
    let role = PutAs::at(&request.target, digest)?;
    let target = places.target(&request.target)?.place;
    let summary = copy::copy(&overlay, &target, vec![(root, role)], options).await?;
    target.finish().await?;
    Ok(Outcome { digest, summary })
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

struct Work<'a> {
    layers: &'a [Packed],
    new: &'a Memory,
    /// Write base hints; the base's name, where it has one.
    hints: Option<Option<String>>,
    platforms: &'a [PlatformPattern],
    observer: &'a Observer,
}

impl Work<'_> {
    /// An image of nothing but the layers.
    fn empty(&self, platform: &Platform) -> Result<Document, Error> {
        let mut config = json!({"architecture": platform.architecture, "os": platform.os});
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        config["config"] = json!({});
        config["rootfs"] = json!({"type": "layers", "diff_ids": []});
        config["history"] = json!([]);
        let config = Document::from_value(&config, MediaType::OCI_CONFIG)?;
        let config = config.edit(|json| self.edit_config(json, true))?.with_media_type(MediaType::OCI_CONFIG);
        self.new.add_document_blob(&config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": self.descriptors("an empty image", Family::Oci)?,
        });
        let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST)?;
        self.new.add_document(&manifest);
        Ok(manifest)
    }

    async fn append(&self, source: &dyn Source, root: Document) -> Result<Document, Error> {
        if root.kind() != Kind::Index {
            return self.single(source, root).await;
        }
        let index: view::Index = image::parsed(source, &root)?;
        let mut replaced = Replaced::new();
        for (entry, platform) in image::platforms(source, &root).await? {
            if self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(&platform)) {
                let child = source.document(&entry.digest.into()).await?;
                replaced.insert(entry.digest, self.image(source, child).await?);
            }
        }
        let subjects = index::subjects(source, &index).await?;
        if replaced.is_empty() {
            let found = index.manifests.into_iter().filter_map(|e| e.platform).collect();
            let image = format!("{}@{}", source.name(), root.digest());
            return Err(Error::NoPlatform { image, wanted: self.wanted(), found });
        }
        let (edited, notes) =
            index::rewrite(&root, &replaced, &subjects, |_, _| {}, |_| index::Orphan::Drop)?;
        notes.into_iter().for_each(|note| self.observer.note(note));
        self.new.add_document(&edited);
        Ok(edited)
    }

    async fn single(&self, source: &dyn Source, manifest: Document) -> Result<Document, Error> {
        let image = Image::load(source, manifest.clone()).await?;
        let found = image.platform();
        if self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(&found)) {
            return self.image(source, manifest).await;
        }
        Err(Error::WrongPlatform { image: image.name, wanted: self.wanted(), found })
    }

    fn wanted(&self) -> String {
        self.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    async fn image(&self, source: &dyn Source, manifest: Document) -> Result<Document, Error> {
        let image = Image::load(source, manifest).await?;
        let layers = self.descriptors(&image.name, image.manifest.family())?;
        let steps = image.config_view.history.iter().filter(|h| !h.empty_layer).count();
        let whole = steps == image.manifest_view.layers.len();
        let config = image.config.edit(|json| self.edit_config(json, whole))?;
        let config = config.with_media_type(image.config.media_type().clone());
        let edited = image.manifest.edit(|json| {
            json["config"]["digest"] = json!(config.digest());
            json["config"]["size"] = json!(config.size());
            if let Some(config) = json.get_mut("config").and_then(Value::as_object_mut) {
                config.shift_remove("data");
            }
            match json.get_mut("layers").and_then(Value::as_array_mut) {
                Some(all) => all.extend(layers),
                None => drop(json.insert("layers".into(), layers.into())),
            }
            if let Some(name) = &self.hints {
                if !json.get("annotations").is_some_and(Value::is_object) {
                    json.insert("annotations".into(), json!({}));
                }
                if let Some(name) = name {
                    json["annotations"][annotation::BASE_NAME] = json!(name);
                }
                json["annotations"][annotation::BASE_DIGEST] = json!(image.manifest.digest());
            }
        })?;
        self.new.add_document_blob(&config);
        self.new.add_document(&edited);
        Ok(edited)
    }

    /// Fails where the family has no media type for a layer: an OCI index may list Docker images, and layers are packed
    /// for the index's family.
    fn descriptors(&self, image: &str, family: Family) -> Result<Vec<Value>, Error> {
        let describe = |layer: &Packed| {
            let Packed { packed, .. } = layer;
            let described = packed.descriptor(family).ok_or_else(|| Error::Family {
                image: image.to_owned(),
                family,
                layer: packed.digest,
                media_type: packed
                    .descriptor(Family::Oci)
                    .map_or_else(|| packed.compression.to_string(), |d| d.media_type.to_string()),
            })?;
            Ok(json!(described))
        };
        self.layers.iter().map(describe).collect()
    }

    /// Adds diff IDs and, where the history is complete so far, an entry for each layer.
    fn edit_config(&self, json: &mut Map<String, Value>, history_is_whole: bool) {
        let ids = self.layers.iter().map(|l| json!(l.packed.diff_id));
        // Images of no layers come without diff IDs at all.
        let rootfs = json.get_mut("rootfs").and_then(Value::as_object_mut);
        match rootfs.map(|rootfs| rootfs.entry("diff_ids").or_insert(Value::Null)) {
            Some(Value::Array(all)) => all.extend(ids),
            Some(none) => *none = ids.collect(),
            None => {}
        }
        let entries = self.layers.iter().map(|l| json!({"created_by": format!("palan append {}", l.name)}));
        if !history_is_whole {
            return;
        }
        match json.get_mut("history") {
            Some(Value::Array(history)) => history.extend(entries),
            _ => drop(json.insert("history".into(), entries.collect())),
        }
    }
}
