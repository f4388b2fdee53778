//! The rebase of one image: new config, new manifest. Pure.

use palan_core::{Descriptor, Digest, Document, Family, MediaType, Role};
use serde_json::{Map, Value, json};

use super::{
    Difference, NotBasedOn, boundary,
    hints::{Hints, NewHints, map_at},
    history::{self, Layers},
    old::{Old, history_of},
    report::{Finding, FindingKind},
    tree::Node,
};
use crate::{Error, image::Image};

/// What one image becomes.
pub(super) struct Rebased {
    pub(super) manifest: Document,
    pub(super) config: Document,
    /// How many layers of the image were its base.
    pub(super) boundary: usize,
    /// The version of the operating system, where the new base's was taken over.
    pub(super) os_version: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// Where an image's base ends.
#[derive(Clone, Copy)]
struct Boundary {
    layers: usize,
    /// Whether those are the new base's already: nothing about layers changes, so nothing about history does.
    already: bool,
}

/// The longer of the two bases that fits, so that an image which stands on the new base already is recognised, also
/// where the new base is the old one with layers added. An image that says by its own manifest that it stands on the
/// new base is believed, where its layers agree.
fn find_boundary(app: &Image, old: &Old, new: &Image) -> Result<Boundary, Difference> {
    let own = &app.config_view.rootfs.diff_ids;
    let on_old = boundary(own, &old.diff_ids);
    let on_new = boundary(own, &new.config_view.rootfs.diff_ids).ok();
    let says_so = Hints::of_manifest(app).digest == Some(new.manifest.digest());
    match (on_old, on_new) {
        (_, Some(n)) if says_so => Ok(Boundary { layers: n, already: true }),
        (Ok(o), Some(n)) if n >= o => Ok(Boundary { layers: n, already: true }),
        (Ok(o), _) => Ok(Boundary { layers: o, already: false }),
        // A base without layers fits everything and proves nothing.
        (Err(_), Some(n)) if n > 0 => Ok(Boundary { layers: n, already: true }),
        (Err(difference), _) => Err(difference),
    }
}

pub(super) fn not_based_on(node: &Node, base: String, difference: Difference) -> Box<NotBasedOn> {
    Box::new(NotBasedOn { image: node.image.name.clone(), platform: node.platform.clone(), base, difference })
}

/// Computes the result; the inner error is that the image was not built on the old base.
pub(super) fn rebase(
    node: &Node,
    old: &Old,
    new: &Image,
    hints: &NewHints,
) -> Result<Result<Rebased, Difference>, Error> {
    let app = node.image.as_ref();
    let boundary = match find_boundary(app, old, new) {
        Ok(boundary) => boundary,
        Err(difference) => return Ok(Err(difference)),
    };
    let mut findings = found(node, new, boundary);
    let history = (!boundary.already).then(|| merge_history(app, old, new, boundary.layers));
    if let Some(note) = history.as_ref().and_then(|h| h.note) {
        findings.push(Finding::on(&node.platform, FindingKind::History, note));
    }
    let os_version = os_version(app, new);
    let config = app.config.edit(|json| {
        if let Some(history) = history {
            edit_layers(json, app, new, boundary.layers, history.entries);
        }
        if let Some(version) = &os_version {
            json.insert("os.version".into(), json!(version));
        }
        hints.refresh(json.get_mut("config").and_then(|c| c.get_mut("Labels")));
    })?;
    let config = config.with_media_type(app.config.media_type().clone());
    let layers = match boundary.already {
        true => None,
        false => Some(stack(app, new, boundary.layers)?),
    };
    let manifest = app.manifest.edit(|json| edit_manifest(json, layers, &config, hints))?;
    Ok(Ok(Rebased { manifest, config, boundary: boundary.layers, os_version, findings }))
}

fn found(node: &Node, new: &Image, boundary: Boundary) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, text| findings.push(Finding::on(&node.platform, kind, text));
    let is_foreign = |l: &Descriptor| matches!(l.media_type.role(), Role::Layer { foreign: true, .. });
    if boundary.already {
        find(FindingKind::AlreadyOnNewBase, "the image already stands on the new base");
    } else if new.manifest_view.layers.iter().any(is_foreign) {
        let text = "the new base has non-distributable layers: their descriptors are carried";
        find(FindingKind::Foreign, text);
    }
    if node.image.manifest_view.subject.is_some() {
        find(FindingKind::Subject, "the manifest refers to a subject, which is kept as it is");
    }
    findings
}

fn merge_history(app: &Image, old: &Old, new: &Image, boundary: usize) -> history::Merged {
    let layers = Layers {
        old: boundary,
        image: app.config_view.rootfs.diff_ids.len(),
        new: new.config_view.rootfs.diff_ids.len(),
    };
    history::merge(&old.history, &history_of(app), &history_of(new), layers)
}

/// Windows refuses an image whose version differs from that of its base's kernel interface.
fn os_version(app: &Image, new: &Image) -> Option<String> {
    let is_windows = app.config_view.os.eq_ignore_ascii_case("windows");
    new.config_view.os_version.clone().filter(|_| is_windows)
}

fn edit_layers(
    json: &mut Map<String, Value>,
    app: &Image,
    new: &Image,
    boundary: usize,
    history: Option<Vec<Value>>,
) {
    let own = &app.config_view.rootfs.diff_ids[boundary..];
    let diff_ids: Vec<&Digest> = new.config_view.rootfs.diff_ids.iter().chain(own).collect();
    if let Some(rootfs) = map_at(json, "rootfs") {
        rootfs.insert("diff_ids".into(), json!(diff_ids));
    }
    match history {
        Some(history) => drop(json.insert("history".into(), Value::Array(history))),
        None if app.config_view.history.is_empty() => {}
        None => drop(json.shift_remove("history")),
    }
}

/// The new base's layer descriptors as they stand in its manifest, then the image's own, all in the image's family.
fn stack(app: &Image, new: &Image, boundary: usize) -> Result<Vec<Value>, Error> {
    let family = app.manifest.family();
    let mut out = layers_of(new)?;
    for (value, layer) in out.iter_mut().zip(&new.manifest_view.layers) {
        let media_type = in_family(layer, family).ok_or_else(|| Error::Family {
            image: app.name.clone(),
            family,
            layer: layer.digest,
            media_type: layer.media_type.to_string(),
        })?;
        value["mediaType"] = json!(media_type);
    }
    let own = layers_of(app)?.into_iter().zip(&app.manifest_view.layers).skip(boundary);
    out.extend(own.map(|(mut value, layer)| {
        // What the image itself mixes is mended where it can be; what cannot was there before.
        if let Some(media_type) = in_family(layer, family) {
            value["mediaType"] = json!(media_type);
        }
        value
    }));
    Ok(out)
}

fn layers_of(image: &Image) -> Result<Vec<Value>, Error> {
    let object = image.manifest.object()?;
    Ok(object.get("layers").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// A layer's media type in a family; types that are not known to be layers belong to both.
fn in_family(layer: &Descriptor, family: Family) -> Option<MediaType> {
    match layer.media_type.role() {
        Role::Layer { .. } => layer.media_type.in_family(family),
        _ => Some(layer.media_type.clone()),
    }
}

fn edit_manifest(
    json: &mut Map<String, Value>,
    layers: Option<Vec<Value>>,
    config: &Document,
    hints: &NewHints,
) {
    if let Some(layers) = layers {
        json.insert("layers".into(), Value::Array(layers));
    }
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
