//! Changes of manifests, configs, indexes and their descriptors as JSON, of the kind that more than one operation makes.

use palan_core::{Document, MediaType};
use serde_json::{Map, Value, json};

/// The map under `key`, made if it is missing.
pub(crate) fn map_at<'a>(json: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = json.entry(key).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// Makes a manifest, as JSON, name another config.
pub(crate) fn point_to_config(manifest: &mut Map<String, Value>, config: &Document) {
    let Some(descriptor) = manifest.get_mut("config").and_then(Value::as_object_mut) else { return };
    if descriptor.get("digest") != Some(&json!(config.digest())) {
        descriptor.insert("digest".into(), json!(config.digest()));
        descriptor.insert("size".into(), json!(config.size()));
        // Embedded content was that of the old config.
        descriptor.shift_remove("data");
    }
}

/// Sets a media type, where it is another one: documents need not state their own.
pub(crate) fn set_media_type(json: &mut Map<String, Value>, old: &MediaType, new: &MediaType) {
    if old != new {
        json.insert("mediaType".into(), json!(new));
    }
}

/// Adds annotations that are not there yet.
pub(crate) fn add_annotations<'a>(
    json: &mut Map<String, Value>,
    new: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    let mut new = new.into_iter().peekable();
    if new.peek().is_none() {
        return;
    }
    if let Some(annotations) = map_at(json, "annotations") {
        for (key, value) in new {
            annotations.entry(key.clone()).or_insert_with(|| json!(value));
        }
    }
}
