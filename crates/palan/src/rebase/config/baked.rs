//! Values of the old base that builders copied into values of the image, as `ENV CLASSES=$JAVA_HOME/lib` does.

use serde_json::{Map, Value};

use super::{
    env::Variables,
    merger::{Fields, Merger},
    report::Note,
    three::{Sides, Step},
};

/// Of how many changed variables of the base copies are looked for: bounds the work that a hostile config can ask for.
const MOST_VARIABLES: usize = 64;

/// Shorter values are found only where they are all of a value: they occur by chance.
const SHORT: usize = 4;

/// Finds them in `Env`, `Labels` and `WorkingDir` of the result, where builders replace variables.
pub(super) fn find(merger: &mut Merger, sides: Sides<'_>, steps: &Fields) {
    let windows = merger.windows;
    let env = |map: &'_ Map<String, Value>| map.get("Env").cloned();
    let (old, new) = (env(sides.old), env(sides.new));
    let read = |env| Variables::read(env, windows).unwrap_or_default();
    let (old, new) = (read(old.as_ref()), read(new.as_ref()));
    let changed =
        old.iter().filter(|(name, value)| value.len() > 1 && *name != "PATH" && new.get(name) != Some(value));
    let changed: Vec<(&str, &str)> = changed.take(MOST_VARIABLES).collect();
    if changed.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    let mut look = |field: &str, value: &str, of_base: Option<&str>| {
        if of_base == Some(value) {
            return;
        }
        let copied = changed.iter().filter(|(_, old)| contains(value, old));
        notes.extend(copied.map(|(variable, old)| Note::Baked {
            field: field.to_owned(),
            variable: format!("Env {variable}"),
            old: (*old).to_owned(),
            new: new.get(variable).map(str::to_owned),
        }));
    };
    let env = after(sides.app, steps, "Env");
    for (name, value) in read(env).iter() {
        look(&format!("Env {name}"), value, new.get(name));
    }
    let text = |map: Option<&'_ Value>, key: &str| map?.get(key)?.as_str().map(str::to_owned);
    if let Some(labels) = after(sides.app, steps, "Labels").and_then(Value::as_object) {
        for (key, value) in labels {
            let of_base = text(sides.new.get("Labels"), key);
            look(&format!("Labels {key}"), value.as_str().unwrap_or_default(), of_base.as_deref());
        }
    }
    if let Some(path) = after(sides.app, steps, "WorkingDir").and_then(Value::as_str) {
        look("WorkingDir", path, sides.new.get("WorkingDir").and_then(Value::as_str));
    }
    merger.merged.notes.extend(notes);
}

/// A field of the result.
fn after<'a>(app: &'a Map<String, Value>, steps: &'a Fields, field: &str) -> Option<&'a Value> {
    match steps.iter().find(|(name, _)| name == field).map(|(_, step)| step) {
        None | Some(Step::Keep) => app.get(field),
        Some(Step::Set(value)) => Some(value),
        Some(Step::Remove) => None,
    }
}

/// Whether a value is part of another, not only of a word in it.
fn contains(value: &str, part: &str) -> bool {
    if part.len() < SHORT {
        return value == part;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    value
        .match_indices(part)
        .any(|(at, found)| !value[..at].ends_with(is_word) && !value[at + found.len()..].starts_with(is_word))
}
