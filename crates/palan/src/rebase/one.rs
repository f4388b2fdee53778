//! The rebase of one image: new config, new manifest. Pure.

use palan_core::{Descriptor, Digest, Document, Role};
use serde_json::{Map, Value, json};

use super::{
    Difference, NotBasedOn, boundary,
    config::{self, Merged},
    hints::{Hints, NewHints},
    history::{self, Layers},
    old::{Old, history_of},
    policy::Policy,
    report::{Finding, FindingKind},
    tree::Node,
};
use crate::{
    Error,
    grow::in_family,
    image::Image,
    json::{map_at, point_to_config},
};

/// What one image becomes.
pub(super) struct Rebased {
    pub(super) manifest: Document,
    pub(super) config: Document,
    pub(super) splice: Splice,
    /// What became of the config's values.
    pub(super) merged: Merged,
    /// The version of the operating system, where the new base's was taken over.
    pub(super) os_version: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// Which layers of an image give way to which layers of a new base: `image[start..end]` to `new[from..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    /// How many layers below stay; 0, but where only a part of what is below the image's own layers is replaced.
    pub(super) start: usize,
    /// How many layers of the image are below its own.
    pub(super) end: usize,
    /// How many layers of the new base are not taken, being those that stay.
    pub(super) from: usize,
    /// Whether those are the new base's already: nothing about layers changes, so nothing about history does.
    pub(super) already: bool,
}

impl Splice {
    fn base(end: usize, already: bool) -> Self {
        Self { start: 0, end, from: 0, already }
    }

    /// Of the layers of a new image that stands on the layers that stay, only what it adds to them is taken.
    fn range(app: &Image, new: &Image, start: usize, end: usize) -> Self {
        let kept = &app.config_view.rootfs.diff_ids[..start];
        let new = &new.config_view.rootfs.diff_ids;
        let from = if new.starts_with(kept) { start } else { 0 };
        let already = app.config_view.rootfs.diff_ids[start..end] == new[from..];
        Self { start, end, from, already }
    }

    /// The spliced list.
    pub(super) fn of<T: Clone>(&self, image: &[T], new: &[T]) -> Vec<T> {
        [&image[..self.start], &new[self.from..], &image[self.end..]].concat()
    }
}

/// The longer of the two bases that fits, so that an image which stands on the new base already is recognised, also
/// where the new base is the old one with layers added. An image that says by its own manifest that it stands on the
/// new base is believed, where its layers agree.
fn find_splice(app: &Image, old: &Old, new: &Image) -> Result<Splice, Difference> {
    if old.is_cut {
        return Ok(Splice::range(app, new, old.below, old.diff_ids.len()));
    }
    let own = &app.config_view.rootfs.diff_ids;
    let on_old = boundary(own, &old.diff_ids);
    let on_new = boundary(own, &new.config_view.rootfs.diff_ids).ok();
    let says_so = is_settled(app, new);
    match (on_old, on_new) {
        (_, Some(n)) if says_so => Ok(Splice::base(n, true)),
        (Ok(o), Some(n)) if n >= o => Ok(Splice::base(n, true)),
        (Ok(o), _) => Ok(Splice::base(o, false)),
        // A base without layers fits everything and proves nothing.
        (Err(_), Some(n)) if n > 0 => Ok(Splice::base(n, true)),
        (Err(difference), _) => Err(difference),
    }
}

/// Whether an image says by its own manifest that it stands on the new base: then its config was merged when it came
/// there.
fn is_settled(app: &Image, new: &Image) -> bool {
    Hints::of_manifest(app).digest == Some(new.manifest.digest())
}

pub(super) fn not_based_on(node: &Node, base: String, difference: Difference) -> Box<NotBasedOn> {
    Box::new(NotBasedOn { image: node.image.name.clone(), platform: node.platform.clone(), base, difference })
}

/// Computes the result; the inner error is that the image was not built on the old base.
pub(super) fn rebase(
    node: &Node,
    old: &Old,
    new: &Image,
    hints: Option<&NewHints>,
    policy: &Policy,
) -> Result<Result<Rebased, Difference>, Error> {
    let app = node.image.as_ref();
    let splice = match find_splice(app, old, new) {
        Ok(splice) => splice,
        Err(difference) => return Ok(Err(difference)),
    };
    let mut findings = found(node, new, splice);
    findings.extend(cut_findings(node, old, new, splice));
    let history = (!splice.already).then(|| merge_history(app, old, new, splice));
    if let Some(note) = history.as_ref().and_then(|h| h.note) {
        findings.push(Finding::on(&node.platform, FindingKind::History, note));
    }
    let os_version = os_version(app, new);
    let new_config = new.config.object()?;
    let mut merged = Merged::default();
    let before = app.config.object()?;
    let config = app.config.edit(|json| {
        // Before the history changes, by which the merge tells what the image set itself.
        if !(splice.already && is_settled(app, new)) {
            merged = config::merge(json, old.config.as_ref(), &new_config, policy.config, policy.on_conflict);
        }
        if let Some(history) = history {
            edit_layers(json, app, new, splice, history.entries);
        }
        if let Some(version) = &os_version {
            json.insert("os.version".into(), json!(version));
        }
        if let Some(hints) = hints {
            hints.refresh(json.get_mut("config").and_then(|c| c.get_mut("Labels")));
        }
        if let Some(created) = policy.created.as_deref().filter(|_| *json != before) {
            json.insert("created".into(), json!(created));
        }
    })?;
    let config = config.with_media_type(app.config.media_type().clone());
    let layers = match splice.already {
        true => None,
        false => Some(stack(app, new, splice)?),
    };
    let manifest = app.manifest.edit(|json| edit_manifest(json, layers, &config, hints))?;
    Ok(Ok(Rebased { manifest, config, splice, merged, os_version, findings }))
}

fn found(node: &Node, new: &Image, splice: Splice) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, text| findings.push(Finding::on(&node.platform, kind, text));
    let is_foreign = |l: &Descriptor| matches!(l.media_type.role(), Role::Layer { foreign: true, .. });
    if splice.already {
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

/// What somebody who named layers may not have meant.
fn cut_findings(node: &Node, old: &Old, new: &Image, splice: Splice) -> Option<Finding> {
    let text = if !old.is_cut {
        return None;
    } else if splice.end == layers_in(&node.image) {
        "no layer of the image's own is left above the layers that are replaced"
    } else if splice.from == layers_in(new) {
        "nothing takes the place of the layers that are replaced: the new image has no more than those that stay"
    } else {
        return None;
    };
    Some(Finding::on(&node.platform, FindingKind::Cut, text))
}

fn merge_history(app: &Image, old: &Old, new: &Image, splice: Splice) -> history::Merged {
    if splice.start > 0 {
        return history::splice(&history_of(app), &history_of(new), splice, layers_in(app), layers_in(new));
    }
    let layers = Layers { old: splice.end, image: layers_in(app), new: layers_in(new) };
    history::merge(&old.history, &history_of(app), &history_of(new), layers)
}

fn layers_in(image: &Image) -> usize {
    image.config_view.rootfs.diff_ids.len()
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
    splice: Splice,
    history: Option<Vec<Value>>,
) {
    let diff_ids: Vec<Digest> = splice.of(&app.config_view.rootfs.diff_ids, &new.config_view.rootfs.diff_ids);
    if let Some(rootfs) = map_at(json, "rootfs") {
        rootfs.insert("diff_ids".into(), json!(diff_ids));
    }
    match history {
        Some(history) => drop(json.insert("history".into(), Value::Array(history))),
        None if app.config_view.history.is_empty() => {}
        None => drop(json.shift_remove("history")),
    }
}

/// Layer descriptors as they stand in both manifests, all in the image's family.
fn stack(app: &Image, new: &Image, splice: Splice) -> Result<Vec<Value>, Error> {
    let family = app.manifest.family();
    let mut new_layers = layers_of(new)?;
    for (value, layer) in new_layers.iter_mut().zip(&new.manifest_view.layers).skip(splice.from) {
        let media_type = in_family(layer, family).ok_or_else(|| Error::Family {
            image: app.name.clone(),
            family,
            layer: layer.digest,
            media_type: layer.media_type.to_string(),
        })?;
        value["mediaType"] = json!(media_type);
    }
    let mut own = layers_of(app)?;
    for (value, layer) in own.iter_mut().zip(&app.manifest_view.layers) {
        // What the image itself mixes is mended where it can be; what cannot was there before.
        if let Some(media_type) = in_family(layer, family) {
            value["mediaType"] = json!(media_type);
        }
    }
    Ok(splice.of(&own, &new_layers))
}

fn layers_of(image: &Image) -> Result<Vec<Value>, Error> {
    let object = image.manifest.object()?;
    Ok(object.get("layers").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn edit_manifest(
    json: &mut Map<String, Value>,
    layers: Option<Vec<Value>>,
    config: &Document,
    hints: Option<&NewHints>,
) {
    if let Some(layers) = layers {
        json.insert("layers".into(), Value::Array(layers));
    }
    point_to_config(json, config);
    if let Some(hints) = hints
        && let Some(annotations) = map_at(json, "annotations")
    {
        hints.write(annotations);
    }
}
