//! The rebase of one image: new config, new manifest.

use palan_core::{Document, Family, Role, annotation};
use serde_json::{Map, Value, json};

use super::{
    Difference, NotBasedOn, boundary,
    hints::{NewHints, map_at},
    history::{self, Layers},
    plan::{Finding, FindingKind},
};
use crate::{Error, image::Image};

/// What one image becomes.
pub(super) struct Rebased {
    pub(super) manifest: Document,
    pub(super) config: Document,
    /// How many layers of the image were its base.
    pub(super) boundary: usize,
    pub(super) findings: Vec<Finding>,
}

/// Where the image's base ends: the longer of the two bases that fits, so that an image which stands on the new base
/// already is recognised, also where the new base is the old one with layers added.
fn find_boundary(app: &Image, old: &Image, new: &Image, base: &str) -> Result<(usize, bool), Error> {
    let ids = |image: &Image| image.config_view.rootfs.diff_ids.clone();
    let on_old = boundary(&ids(app), &ids(old));
    let on_new = boundary(&ids(app), &ids(new)).ok();
    match (on_old, on_new) {
        (Ok(n), Some(m)) if m > n => Ok((m, true)),
        (Ok(n), _) => Ok((n, false)),
        (Err(_), Some(m)) => Ok((m, true)),
        (Err(difference), None) => Err(not_based_on(app, base, difference).into()),
    }
}

fn not_based_on(app: &Image, base: &str, difference: Difference) -> Box<NotBasedOn> {
    Box::new(NotBasedOn {
        image: app.name.clone(),
        platform: app.platform(),
        base: base.to_owned(),
        difference,
    })
}

/// Computes the result; pure.
pub(super) fn rebase(
    app: &Image,
    old: &Image,
    new: &Image,
    base: &str,
    hints: &NewHints,
) -> Result<Rebased, Error> {
    let (n, already) = find_boundary(app, old, new, base)?;
    let mut findings = Vec::new();
    let platform = app.platform();
    let mut find = |kind, text: String| findings.push(Finding::on(&platform, kind, text));
    if already {
        find(FindingKind::AlreadyOnNewBase, "the image already stands on the new base".into());
    }
    let layers = Layers {
        old: n,
        image: app.config_view.rootfs.diff_ids.len(),
        new: new.config_view.rootfs.diff_ids.len(),
    };
    let old_history = if already { history_of(new) } else { history_of(old) };
    let merged = if already && is_whole(app) {
        // Nothing about the layers changes, so nothing about a sound history does.
        history::Merged { entries: Some(history_of(app)).filter(|h| !h.is_empty()), note: None }
    } else {
        history::merge(&old_history, &history_of(app), &history_of(new), layers)
    };
    if let Some(note) = merged.note {
        find(FindingKind::History, note.to_owned());
    }
    let config = app.config.edit(|json| edit_config(json, app, new, n, merged.entries, hints))?;
    let config = config.with_media_type(app.config.media_type().clone());
    let new_layers = base_layers(app, new, already, n)?;
    if new
        .manifest_view
        .layers
        .iter()
        .any(|l| matches!(l.media_type.role(), Role::Layer { foreign: true, .. }))
    {
        find(
            FindingKind::Foreign,
            "the new base has non-distributable layers: their descriptors are carried".into(),
        );
    }
    if app.manifest_view.subject.is_some() {
        find(FindingKind::Subject, "the manifest refers to a subject, which is kept as it is".into());
    }
    let manifest = app.manifest.edit(|json| edit_manifest(json, new_layers, n, &config, hints))?;
    Ok(Rebased { manifest, config, boundary: n, findings })
}

fn history_of(image: &Image) -> Vec<Value> {
    let object = image.config.object().unwrap_or_default();
    object.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Whether the history has as many non-empty entries as there are layers, or there is none.
fn is_whole(image: &Image) -> bool {
    let history = &image.config_view.history;
    history.is_empty()
        || history.iter().filter(|h| !h.empty_layer).count() == image.config_view.rootfs.diff_ids.len()
}

fn edit_config(
    json: &mut Map<String, Value>,
    app: &Image,
    new: &Image,
    n: usize,
    history: Option<Vec<Value>>,
    hints: &NewHints,
) {
    let tail = &app.config_view.rootfs.diff_ids[n..];
    let diff_ids: Vec<_> = new.config_view.rootfs.diff_ids.iter().chain(tail).collect();
    if let Some(rootfs) = map_at(json, "rootfs") {
        rootfs.insert("diff_ids".into(), json!(diff_ids));
    }
    match history {
        Some(history) => drop(json.insert("history".into(), Value::Array(history))),
        None if app.config_view.history.is_empty() => {}
        None => drop(json.shift_remove("history")),
    }
    // Windows refuses an image whose kernel version differs from its base's.
    if app.config_view.os == "windows"
        && let Some(version) = &new.config_view.os_version
    {
        json.insert("os.version".into(), json!(version));
    }
    hints.refresh(json.get_mut("config").and_then(|c| c.get_mut("Labels")));
}

/// The new base's layer descriptors as they stand in its manifest, their media types in the image's family.
fn base_layers(app: &Image, new: &Image, already: bool, n: usize) -> Result<Vec<Value>, Error> {
    let layers = |image: &Image| -> Result<Vec<Value>, Error> {
        let object = image.manifest.object()?;
        Ok(object.get("layers").and_then(Value::as_array).cloned().unwrap_or_default())
    };
    if already {
        return Ok(layers(app)?.into_iter().take(n).collect());
    }
    let family = app.manifest.family();
    let mut out = layers(new)?;
    for (value, layer) in out.iter_mut().zip(&new.manifest_view.layers) {
        value["mediaType"] = json!(in_family(app, family, layer)?);
    }
    Ok(out)
}

fn in_family(
    app: &Image,
    family: Family,
    layer: &palan_core::Descriptor,
) -> Result<palan_core::MediaType, Error> {
    if !matches!(layer.media_type.role(), Role::Layer { .. }) {
        return Ok(layer.media_type.clone());
    }
    layer.media_type.in_family(family).ok_or_else(|| Error::Family {
        image: app.name.clone(),
        family,
        layer: layer.digest,
        media_type: layer.media_type.to_string(),
    })
}

fn edit_manifest(
    json: &mut Map<String, Value>,
    base_layers: Vec<Value>,
    n: usize,
    config: &Document,
    hints: &NewHints,
) {
    let own = json.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    let layers: Vec<Value> = base_layers.into_iter().chain(own.into_iter().skip(n)).collect();
    json.insert("layers".into(), Value::Array(layers));
    if let Some(descriptor) = json.get_mut("config").and_then(Value::as_object_mut) {
        if descriptor.get("digest").and_then(Value::as_str) != Some(&config.digest().to_string()) {
            descriptor.shift_remove("data");
        }
        descriptor.insert("digest".into(), json!(config.digest()));
        descriptor.insert("size".into(), json!(config.size()));
    }
    if let Some(annotations) = map_at(json, "annotations") {
        hints.write(annotations);
    }
}

/// Where an image's labels hold hints.
pub(super) fn label<'a>(image: &'a Image, key: &str) -> Option<&'a str> {
    debug_assert!(key == annotation::BASE_NAME || key == annotation::BASE_DIGEST);
    image.config_view.config.as_ref()?.labels.as_ref()?.get(key).map(String::as_str)
}
