//! Layers on top of images: what appending and picking share. Reads, writes nothing.

use async_trait::async_trait;
use palan_core::{Descriptor, Digest, Family, MediaType, Platform, Role};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    image::Image,
    json::point_to_config,
    rewrite::{Change, New},
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

    /// Changes the new config further.
    fn touch_config(&self, _config: &mut Map<String, Value>) {}

    /// Changes the new manifest further.
    fn touch(&self, _image: &Image, _manifest: &mut Map<String, Value>) {}
}

/// Layers, as a change to every image that gets them.
pub(crate) struct Grow<'a>(pub(crate) &'a dyn Layers);

#[async_trait]
impl Change for Grow<'_> {
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error> {
        let tops = self.0.on(image, platform).await?;
        let whole = history_is_whole(image);
        let config = image.config.edit(|json| {
            edit_config(json, &tops, whole);
            self.0.touch_config(json);
        })?;
        let config = config.with_media_type(image.config.media_type().clone());
        let manifest = image.manifest.edit(|json| {
            point_to_config(json, &config);
            let layers = tops.into_iter().map(|top| top.descriptor);
            match json.get_mut("layers").and_then(Value::as_array_mut) {
                Some(all) => all.extend(layers),
                None => drop(json.insert("layers".into(), layers.collect())),
            }
            self.0.touch(image, json);
        })?;
        Ok(New { manifest, configs: vec![config] })
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
