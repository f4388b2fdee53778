//! History is metadata: layers are fixed before it is looked at. It is carried as well as it can be.
//!
//! What comes out is either no history at all, or exactly one non-empty entry per layer. Entries are kept as JSON
//! values, unknown fields and missing `created` included.

use serde_json::{Value, json};

use super::one::Splice;

/// The history of a rebased image.
#[derive(Debug, PartialEq)]
pub(super) struct Merged {
    /// The entries; `None`: no history is written.
    pub(super) entries: Option<Vec<Value>>,
    /// What could not be carried as it was, in one sentence.
    pub(super) note: Option<&'static str>,
}

/// Numbers of layers: of the old base, of the image, of the new base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers {
    pub(super) old: usize,
    pub(super) image: usize,
    pub(super) new: usize,
}

/// Merges three histories.
pub(super) fn merge(old: &[Value], image: &[Value], new: &[Value], layers: Layers) -> Merged {
    let own = layers.image - layers.old;
    let (own_entries, note) = own_part(old, image, layers);
    if new.is_empty() && own_entries.is_empty() {
        return Merged { entries: None, note };
    }
    let misfit = !new.is_empty() && filled(new) != layers.new;
    let mut entries = fit(new, layers.new);
    entries.extend(fit(&own_entries, own));
    let note =
        note.or(misfit.then_some("the new base's history does not fit its layers; it was filled up or cut"));
    Merged { entries: Some(entries), note }
}

/// The history of an image of which some layers in the middle were replaced.
pub(super) fn splice(
    image: &[Value],
    new: &[Value],
    at: Splice,
    image_layers: usize,
    new_layers: usize,
) -> Merged {
    if image.is_empty() && new.is_empty() {
        return Merged { entries: None, note: None };
    }
    let below = lower_part(image, image_layers, at.start);
    let skipped = lower_part(new, new_layers, at.from).len();
    let gone = lower_part(image, image_layers, at.end).len();
    let is_whole = filled(image) == image_layers && filled(new) == new_layers;
    let mut entries = fit(&below, at.start);
    let inserted = if filled(new) == new_layers { &new[skipped..] } else { &[] };
    entries.extend(fit(inserted, new_layers - at.from));
    let own = if filled(image) == image_layers { &image[gone..] } else { &[] };
    entries.extend(fit(own, image_layers - at.end));
    let note = (!is_whole).then_some("a history does not fit its layers; it was left out");
    Merged { entries: Some(entries), note }
}

/// What is known of the history of an image's first `lower` layers.
pub(super) fn lower_part(history: &[Value], layers: usize, lower: usize) -> Vec<Value> {
    if filled(history) != layers {
        return Vec::new();
    }
    let mut seen = 0;
    let is_lower = |entry: &&Value| {
        let is_filled = is_filled(entry);
        seen += usize::from(is_filled);
        seen < lower || (is_filled && seen == lower)
    };
    history.iter().take_while(is_lower).cloned().collect()
}

/// The entries of an image's own layers, if the history has one for each.
pub(super) fn own_steps(
    old: &[Value],
    image: &[Value],
    base_layers: usize,
    layers: usize,
) -> Option<Vec<Value>> {
    let (entries, _) = own_part(old, image, Layers { old: base_layers, image: layers, new: 0 });
    (filled(&entries) == layers - base_layers && (base_layers < layers || !image.is_empty()))
        .then_some(entries)
}

/// The entries that describe the image's own layers, and what it had besides.
fn own_part(old: &[Value], image: &[Value], layers: Layers) -> (Vec<Value>, Option<&'static str>) {
    let own = layers.image - layers.old;
    let common = old.iter().zip(image).take_while(|(a, b)| is_same(a, b)).count();
    let rest = &image[common..];
    if filled(image) == layers.image {
        return (complete(old, image, common, layers.old), None);
    }
    // The image's history goes on where its base's ends, as far as it goes.
    if !old.is_empty() && common == old.len() {
        let note = "the image's history does not fit its layers; it was filled up or cut";
        return (rest.to_vec(), (filled(rest) != own).then_some(note));
    }
    match filled(image) {
        _ if image.is_empty() => (Vec::new(), None),
        // A base without history, and a builder that appended only what it did itself.
        n if old.is_empty() && n <= own => {
            (image.to_vec(), (n < own).then_some("the image's history was incomplete; it was filled up"))
        }
        _ => (Vec::new(), Some("the image's history cannot be matched to its layers; it was left out")),
    }
}

/// The own part of a history that has an entry for each layer. What the base's history shares with it is the base's,
/// if that is all the base's layers; else the position among the layers decides.
fn complete(old: &[Value], image: &[Value], common: usize, base_layers: usize) -> Vec<Value> {
    if common > 0 && filled(&image[..common]) == base_layers {
        return image[common..].to_vec();
    }
    let mut seen = 0;
    let is_own = |entry: &&Value| {
        let is_filled = is_filled(entry);
        seen += usize::from(is_filled);
        // A base that says nothing of itself has no steps without layers either.
        seen > base_layers || (!is_filled && (old.is_empty() || seen == base_layers))
    };
    image.iter().filter(is_own).cloned().collect()
}

/// Whether two entries are of the same step. Rebuilt images and image converters differ in its time only.
fn is_same(a: &Value, b: &Value) -> bool {
    let timeless = |value: &Value| {
        let mut value = value.clone();
        if let Some(entry) = value.as_object_mut() {
            entry.remove("created");
        }
        value
    };
    a == b || timeless(a) == timeless(b)
}

/// How many entries stand for a layer.
fn filled(history: &[Value]) -> usize {
    history.iter().filter(|e| is_filled(e)).count()
}

fn is_filled(entry: &Value) -> bool {
    entry.get("empty_layer").and_then(Value::as_bool) != Some(true)
}

/// Exactly `layers` non-empty entries: surplus ones are cut, missing ones are filled up at the end.
fn fit(history: &[Value], layers: usize) -> Vec<Value> {
    let mut left = layers;
    let mut out: Vec<Value> = history
        .iter()
        .filter(|e| {
            if !is_filled(e) {
                return true;
            }
            let keep = left > 0;
            left = left.saturating_sub(1);
            keep
        })
        .cloned()
        .collect();
    let missing = layers - filled(&out);
    out.extend(std::iter::repeat_n(json!({"comment": "no history recorded"}), missing));
    out
}

#[cfg(test)]
mod tests;
