//! Keys that no plan has: what is misspelt must not count as left out.

use std::collections::BTreeSet;

use serde_json::Value;

use super::settings::nearest;

/// Where the first such key is, and what it may have been meant for. `given` is the text as it is, `known` what was read of
/// it. Nulls and what is empty say nothing, whatever they are called.
pub(super) fn first(given: &Value, known: &Value, text: &str) -> Option<String> {
    let (path, key, others) = find(given, known, "")?;
    let quoted = Value::from(key.as_str()).to_string();
    let line = text.lines().position(|line| line.trim_start().starts_with(&quoted));
    let line = line.map(|line| format!("line {}: ", line + 1)).unwrap_or_default();
    let meant = nearest(&key, &others.iter().map(String::as_str).collect::<Vec<_>>());
    let meant = meant.map(|meant| format!(", did you mean \"{meant}\"?")).unwrap_or_default();
    Some(format!("{line}{path}{key}: there is no such key{meant}"))
}

type Unknown = (String, String, BTreeSet<String>);

fn find(given: &Value, known: &Value, path: &str) -> Option<Unknown> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            given.iter().find_map(|(key, value)| match known.get(key) {
                Some(known) => find(value, known, &format!("{path}{key}.")),
                None if is_empty(value) => None,
                None => {
                    let mut others: BTreeSet<String> = known.keys().cloned().collect();
                    // Not all of these are written where they have no value.
                    others.extend(super::settings::KEYS.iter().map(|known| known.key.to_owned()));
                    Some((path.to_owned(), key.clone(), others))
                }
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            let path = path.trim_end_matches('.');
            let mut pairs = given.iter().zip(known).enumerate();
            pairs.find_map(|(n, (given, known))| find(given, known, &format!("{path}[{}].", n + 1)))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
