//! History is metadata: layers are fixed before it is looked at. It is carried as well as it can be.
//!
//! What comes out is either no history at all, or exactly one non-empty entry per layer. Entries are kept as JSON
//! values, unknown fields and missing `created` included.

use serde_json::{Value, json};

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
    let (own_entries, note) = own_part(old, image, layers.old, layers.image);
    if new.is_empty() && own_entries.is_empty() {
        return Merged { entries: None, note };
    }
    let repaired = filled(new) > layers.new;
    let mut entries = fit(new, layers.new);
    entries.extend(fit(own_entries, own));
    let note =
        note.or(repaired.then_some("the new base's history claims more layers than it has; it was cut"));
    Merged { entries: Some(entries), note }
}

/// The entries that describe the image's own layers.
fn own_part<'a>(
    old: &[Value],
    image: &'a [Value],
    base_layers: usize,
    image_layers: usize,
) -> (&'a [Value], Option<&'static str>) {
    let own = image_layers - base_layers;
    let complete = filled(image) == image_layers;
    let rest = image.strip_prefix(old);
    match rest {
        // The image's history goes on where its base's ends: the ordinary case.
        Some(rest) if complete && filled(rest) == own => (rest, None),
        _ if complete => (after_filled(image, base_layers), None),
        Some(rest) if !old.is_empty() => {
            let note = "the image's history does not fit its layers; it was filled up or cut";
            (rest, (filled(rest) != own).then_some(note))
        }
        // A base without history, and a builder that appended only what it did itself.
        Some(rest) if filled(rest) <= own => (
            rest,
            (filled(rest) < own && !rest.is_empty())
                .then_some("the image's history was incomplete; it was filled up"),
        ),
        _ => (&[], Some("the image's history cannot be matched to its layers; it was left out")),
    }
}

/// How many entries stand for a layer.
fn filled(history: &[Value]) -> usize {
    history.iter().filter(|e| is_filled(e)).count()
}

fn is_filled(entry: &Value) -> bool {
    entry.get("empty_layer").and_then(Value::as_bool) != Some(true)
}

/// What follows the first `n` entries that stand for a layer.
fn after_filled(history: &[Value], n: usize) -> &[Value] {
    let mut seen = 0;
    let end = history.iter().position(|e| {
        seen += usize::from(is_filled(e));
        seen == n
    });
    match end {
        _ if n == 0 => history,
        Some(end) => &history[end + 1..],
        None => &[],
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer(name: &str) -> Value {
        json!({"created_by": name})
    }

    fn empty(name: &str) -> Value {
        json!({"created_by": name, "empty_layer": true})
    }

    fn names(merged: &Merged) -> Vec<&str> {
        let name = |e: &'_ Value| -> &str {
            // Leaked in a test only, to compare with literals.
            e.get("created_by")
                .and_then(Value::as_str)
                .map_or("-", |s| Box::leak(s.to_owned().into_boxed_str()))
        };
        merged.entries.iter().flatten().map(name).collect()
    }

    #[test]
    fn every_shape_of_history_is_carried_as_well_as_it_can_be() {
        let l = |old, image, new| Layers { old, image, new };
        let (b1, b2, n1, n2) = (layer("b1"), layer("b2"), layer("n1"), layer("n2"));
        let (env, a1, a2) = (empty("ENV"), layer("a1"), layer("a2"));
        let base = [b1.clone(), b2.clone()];
        let new = [n1.clone(), empty("CMD"), n2.clone()];
        let null = json!({"created": null, "created_by": "a1", "x-mine": 1});
        let cases: [(&str, &[Value], &[Value], &[Value], Layers, &[&str]); 10] = [
            (
                "full",
                &base,
                &[b1.clone(), b2.clone(), env.clone(), a1.clone(), a2.clone()],
                &new,
                l(2, 4, 2),
                &["n1", "CMD", "n2", "ENV", "a1", "a2"],
            ),
            ("none on either side", &[], &[], &[], l(2, 4, 2), &[]),
            ("none, new base has one", &[], &[], &new, l(2, 4, 2), &["n1", "CMD", "n2", "-", "-"]),
            (
                "own entries only",
                &[],
                &[env.clone(), a1.clone()],
                &new,
                l(2, 3, 2),
                &["n1", "CMD", "n2", "ENV", "a1"],
            ),
            (
                "padded at the end",
                &[],
                &[a1.clone(), layer("p1"), layer("p2")],
                &new,
                l(2, 3, 2),
                &["n1", "CMD", "n2", "p2"],
            ),
            (
                "base's is longer than the image's copy",
                &[b1.clone(), b2.clone(), empty("X")],
                &[b1.clone(), b2.clone(), env.clone(), a1.clone()],
                &new,
                l(2, 3, 2),
                &["n1", "CMD", "n2", "ENV", "a1"],
            ),
            (
                "more entries than layers",
                &base,
                &[b1.clone(), b2.clone(), a1.clone(), a2.clone()],
                &new,
                l(2, 3, 2),
                &["n1", "CMD", "n2", "a1"],
            ),
            (
                "only the new base has none",
                &base,
                &[b1.clone(), b2.clone(), a1.clone()],
                &[],
                l(2, 3, 1),
                &["-", "a1"],
            ),
            (
                "new base claims too many",
                &base,
                &[b1.clone(), b2.clone(), a1.clone()],
                &new,
                l(2, 3, 1),
                &["n1", "CMD", "a1"],
            ),
            (
                "image adds no layer",
                &base,
                &[b1.clone(), b2.clone(), env.clone()],
                &new,
                l(2, 2, 2),
                &["n1", "CMD", "n2", "ENV"],
            ),
        ];
        for (case, old, image, new, layers, expected) in cases {
            assert_eq!(names(&merge(old, image, new, layers)), expected, "{case}");
        }
        let kept = merge(&base, &[b1, b2, null.clone()], &new, l(2, 3, 2));
        assert_eq!(kept.entries.unwrap().last(), Some(&null));
    }

    fn history() -> impl Strategy<Value = Vec<Value>> {
        proptest::collection::vec(prop_oneof![Just(layer("x")), Just(layer("y")), Just(empty("e"))], 0..6)
    }

    proptest! {
        #[test]
        fn none_or_one_non_empty_entry_per_layer(
            old in history(), image in history(), new in history(),
            base_layers in 0usize..4, own in 0usize..4, new_layers in 0usize..4,
        ) {
            let layers = Layers { old: base_layers, image: base_layers + own, new: new_layers };
            if let Some(entries) = merge(&old, &image, &new, layers).entries {
                prop_assert_eq!(filled(&entries), new_layers + own);
            }
        }
    }
}
