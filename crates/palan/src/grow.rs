//! Layers on top of an image, or of the images of an index: what appending and picking share. Reads, writes nothing.

use async_trait::async_trait;
use palan_core::{
    Descriptor, Digest, Document, Family, Kind, MediaType, Platform, PlatformPattern, Role, view,
};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    image::{self, Image},
    index::{self, Replaced},
    place::{Memory, Source},
};

/// A layer to put on top.
pub(crate) struct Top {
    /// Its descriptor, in the family of the image.
    pub(crate) descriptor: Value,
    pub(crate) diff_id: Digest,
    /// The entry that it has in the history.
    pub(crate) history: Value,
}

/// What goes on top of images.
#[async_trait]
pub(crate) trait Layers: Sync {
    /// The layers for an image, the lowest first.
    async fn on(&self, image: &Image, platform: &Platform) -> Result<Vec<Top>, Error>;

    /// Changes the new manifest further.
    fn touch(&self, _image: &Image, _manifest: &mut Map<String, Value>) {}
}

/// What was made.
pub(crate) struct Grown {
    pub(crate) root: Document,
    pub(crate) documents: Vec<Document>,
    pub(crate) configs: Vec<Document>,
    /// The images, by the digests of their old and new manifests.
    pub(crate) images: Vec<(Digest, Digest)>,
    /// What was left out of an index.
    pub(crate) notes: Vec<String>,
}

impl Grown {
    /// The new documents as a place.
    pub(crate) fn memory(&self) -> Memory {
        let memory = Memory::new();
        self.documents.iter().for_each(|document| memory.add_document(document));
        self.configs.iter().for_each(|config| memory.add_document_blob(config));
        memory
    }
}

/// Puts layers on a single image or, inside an index, on the images for `platforms`, or on all.
pub(crate) async fn grow(
    source: &dyn Source,
    root: Document,
    platforms: &[PlatformPattern],
    layers: &dyn Layers,
) -> Result<Grown, Error> {
    let grower = Grower { source, platforms, layers };
    match root.kind() {
        Kind::Index => grower.index(root).await,
        _ => grower.single(root).await,
    }
}

struct Grower<'a> {
    source: &'a dyn Source,
    platforms: &'a [PlatformPattern],
    layers: &'a dyn Layers,
}

impl Grower<'_> {
    async fn single(&self, manifest: Document) -> Result<Grown, Error> {
        let image = Image::load(self.source, manifest).await?;
        let found = image.platform();
        if !self.is_asked(&found) {
            return Err(Error::WrongPlatform { image: image.name, wanted: self.wanted(), found });
        }
        let (manifest, config) = self.image(&image, &found).await?;
        let images = vec![(image.manifest.digest(), manifest.digest())];
        let (documents, configs) = (vec![manifest.clone()], vec![config]);
        Ok(Grown { root: manifest, documents, configs, images, notes: Vec::new() })
    }

    async fn index(&self, root: Document) -> Result<Grown, Error> {
        let index: view::Index = image::parsed(self.source, &root)?;
        let (mut replaced, mut configs, mut images) = (Replaced::new(), Vec::new(), Vec::new());
        for (entry, platform) in image::platforms(self.source, &root).await? {
            if self.is_asked(&platform) && !replaced.contains_key(&entry.digest) {
                let child = self.source.document(&entry.digest.into()).await?;
                let (manifest, config) =
                    self.image(&Image::load(self.source, child).await?, &platform).await?;
                configs.push(config);
                images.push((entry.digest, manifest.digest()));
                replaced.insert(entry.digest, manifest);
            }
        }
        let subjects = index::subjects(self.source, &index).await?;
        if replaced.is_empty() {
            let found = index.manifests.into_iter().filter_map(|e| e.platform).collect();
            let image = format!("{}@{}", self.source.name(), root.digest());
            return Err(Error::NoPlatform { image, wanted: self.wanted(), found });
        }
        let (root, notes) = index::rewrite(&root, &replaced, &subjects, |_, _| {}, |_| index::Orphan::Drop)?;
        let documents = images.iter().filter_map(|(old, _)| replaced.get(old).cloned());
        let documents = documents.chain([root.clone()]).collect();
        Ok(Grown { root, documents, configs, images, notes })
    }

    fn is_asked(&self, platform: &Platform) -> bool {
        self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(platform))
    }

    fn wanted(&self) -> String {
        self.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The new manifest and config.
    async fn image(&self, image: &Image, platform: &Platform) -> Result<(Document, Document), Error> {
        let tops = self.layers.on(image, platform).await?;
        let whole = history_is_whole(image);
        let config = image.config.edit(|json| edit_config(json, &tops, whole))?;
        let config = config.with_media_type(image.config.media_type().clone());
        let manifest = image.manifest.edit(|json| {
            json["config"]["digest"] = json!(config.digest());
            json["config"]["size"] = json!(config.size());
            if let Some(config) = json.get_mut("config").and_then(Value::as_object_mut) {
                config.shift_remove("data");
            }
            let layers = tops.into_iter().map(|top| top.descriptor);
            match json.get_mut("layers").and_then(Value::as_array_mut) {
                Some(all) => all.extend(layers),
                None => drop(json.insert("layers".into(), layers.collect())),
            }
            self.layers.touch(image, json);
        })?;
        Ok((manifest, config))
    }
}

/// Whether an image's history has one entry for each layer, so that it can be continued.
pub(crate) fn history_is_whole(image: &Image) -> bool {
    let steps = image.config_view.history.iter().filter(|h| !h.empty_layer).count();
    steps == image.manifest_view.layers.len()
}

/// Adds diff IDs and, where the history is complete so far, an entry for each layer.
pub(crate) fn edit_config(json: &mut Map<String, Value>, tops: &[Top], history_is_whole: bool) {
    let ids = tops.iter().map(|top| json!(top.diff_id));
    // Images of no layers come without diff IDs at all.
    let rootfs = json.get_mut("rootfs").and_then(Value::as_object_mut);
    match rootfs.map(|rootfs| rootfs.entry("diff_ids").or_insert(Value::Null)) {
        Some(Value::Array(all)) => all.extend(ids),
        Some(none) => *none = ids.collect(),
        None => {}
    }
    if !history_is_whole {
        return;
    }
    let entries = tops.iter().map(|top| top.history.clone());
    match json.get_mut("history") {
        Some(Value::Array(history)) => history.extend(entries),
        _ => drop(json.insert("history".into(), entries.collect())),
    }
}

/// A layer's media type in a family; types that are not known to be layers belong to both.
pub(crate) fn in_family(layer: &Descriptor, family: Family) -> Option<MediaType> {
    match layer.media_type.role() {
        Role::Layer { .. } => layer.media_type.in_family(family),
        _ => Some(layer.media_type.clone()),
    }
}
