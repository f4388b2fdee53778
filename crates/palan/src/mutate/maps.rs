//! Changing maps and sets inside JSON documents, in place.

use serde_json::{Map, Value, json};

use super::edits::{Keys, Pairs};

/// Changes the object under `key`, which is made where there is none.
pub(super) fn within(json: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    match json.get_mut(key).and_then(Value::as_object_mut) {
        Some(map) => change(map),
        None => {
            let mut map = Map::new();
            change(&mut map);
            json.insert(key.into(), map.into());
        }
    }
}

/// Applies `pairs` to the map under `key`, which is made only where something is put into it, and goes with its last
/// entry. What was to be removed and is not there is given to `missing`.
pub(super) fn pairs(json: &mut Map<String, Value>, key: &str, pairs: &Pairs, mut missing: impl FnMut(&str)) {
    for (name, value) in pairs {
        match value {
            Some(value) => within(json, key, |map| drop(map.insert(name.clone(), json!(value)))),
            None => {
                if !remove(json, key, name) {
                    missing(name);
                }
            }
        }
    }
}

/// Applies `keys` to the set under `key`, which is a map to empty objects.
pub(super) fn keys(json: &mut Map<String, Value>, key: &str, keys: &Keys, mut missing: impl FnMut(&str)) {
    if let Some(all) = &keys.replace {
        let old = json.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let kept = |name: &String| (name.clone(), old.get(name).cloned().unwrap_or_else(|| json!({})));
        let new: Map<String, Value> = all.iter().map(kept).collect();
        match new.is_empty() {
            // Not touched where it says the same: an order that nobody asked for is not asked for.
            _ if new == old => {}
            true => drop(json.shift_remove(key)),
            false => drop(json.insert(key.into(), new.into())),
        }
    }
    for name in &keys.add {
        within(json, key, |map| {
            map.entry(name).or_insert_with(|| json!({}));
        });
    }
    for name in &keys.remove {
        if !remove(json, key, name) {
            missing(name);
        }
    }
}

/// Sets a text or a list, or removes it where it is empty.
pub(super) fn set_or_remove(json: &mut Map<String, Value>, key: &str, value: Value, is_empty: bool) {
    match is_empty {
        true if json.get(key).is_some_and(|old| !is_blank(old)) => drop(json.shift_remove(key)),
        true => {}
        false => drop(json.insert(key.into(), value)),
    }
}

/// Go writes what is not there as `null`, `""` or `[]`.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn remove(json: &mut Map<String, Value>, key: &str, name: &str) -> bool {
    let Some(map) = json.get_mut(key).and_then(Value::as_object_mut) else { return false };
    let removed = map.shift_remove(name).is_some();
    if removed && map.is_empty() {
        json.shift_remove(key);
    }
    removed
}
