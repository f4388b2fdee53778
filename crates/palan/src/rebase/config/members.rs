//! Labels, ports and volumes: objects that are merged member by member.

use std::collections::{HashMap, HashSet};

use palan_core::annotation;
use serde_json::{Map, Value};

use super::{
    arrange::arrange,
    merger::Merger,
    three::{Ruling, Step, Three, rule},
};

/// What becomes of one member.
type Settle = fn(&mut Merger, &str, &str, Three<'_>) -> Step;

/// Merges `Labels`.
pub(super) fn labels(merger: &mut Merger, three: Three<'_>) -> Step {
    merge(merger, "Labels", three, str::to_owned, label)
}

/// Merges a set: an object whose keys are its members.
pub(super) fn set(merger: &mut Merger, field: &str, three: Three<'_>) -> Step {
    let key = |member: &str| member.strip_suffix("/tcp").unwrap_or(member).to_owned();
    match field {
        "ExposedPorts" => merge(merger, field, three, key, member),
        _ => merge(merger, field, three, str::to_owned, member),
    }
}

fn label(merger: &mut Merger, field: &str, key: &str, three: Three<'_>) -> Step {
    if is_left_alone(key) {
        return Step::Keep;
    }
    match rule(&three.old, &three.app, &three.new) {
        Ruling::Conflict if is_of_the_image(key) && three.app.is_some() => Step::Keep,
        ruling => merger.settle(&format!("{field} {key}"), three, ruling),
    }
}

/// What is in a set is in it, whatever its value.
fn member(merger: &mut Merger, field: &str, key: &str, three: Three<'_>) -> Step {
    let [old, app, new] = [three.old, three.app, three.new].map(|value| value.is_some());
    merger.settle(&format!("{field} {key}"), three, rule(&old, &app, &new))
}

/// Labels with rules of their own: base hints, and what buildpacks know of an image.
fn is_left_alone(key: &str) -> bool {
    [annotation::BASE_NAME, annotation::BASE_DIGEST].contains(&key) || key.starts_with("io.buildpacks.")
}

/// Labels that describe the one image that carries them, or are a builder's stamp: an image's own are about itself, and
/// disagree with no base's.
fn is_of_the_image(key: &str) -> bool {
    key.starts_with("org.opencontainers.image.") || key == "io.buildah.version"
}

fn merge(
    merger: &mut Merger,
    field: &str,
    three: Three<'_>,
    key: fn(&str) -> String,
    settle: Settle,
) -> Step {
    let [old, app, new] = [three.old, three.app, three.new].map(|value| Members::read(value, key));
    let (Some(old), Some(app), Some(new)) = (old, app, new) else { return merger.whole(field, three) };
    let more = new.names.iter().filter(|name| !app.at.contains_key(*name));
    let mut steps = HashMap::new();
    for name in app.names.iter().chain(more) {
        let three = Three { old: old.value(name), app: app.value(name), new: new.value(name) };
        let spelled = app.at.get(name).or(new.at.get(name)).map_or(name.as_str(), |(spelled, _)| spelled);
        match settle(merger, field, spelled, three) {
            Step::Keep => {}
            step => drop(steps.insert(name.as_str(), step)),
        }
    }
    match steps.is_empty() {
        true => Step::Keep,
        false => rewrite(&old, &app, &new, &steps),
    }
}

/// The members of an object, by what tells them apart.
#[derive(Default)]
struct Members<'a> {
    names: Vec<String>,
    at: HashMap<String, (&'a str, &'a Value)>,
}

impl<'a> Members<'a> {
    /// `None`: this is no object.
    fn read(value: Option<&'a Value>, key: fn(&str) -> String) -> Option<Self> {
        let object = match value {
            None | Some(Value::Null) => return Some(Self::default()),
            Some(Value::Object(object)) => object,
            Some(_) => return None,
        };
        let mut out = Self::default();
        for (spelled, value) in object {
            let name = key(spelled);
            if out.at.insert(name.clone(), (spelled, value)).is_none() {
                out.names.push(name);
            }
        }
        Some(out)
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.at.get(name).map(|(_, value)| *value)
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }
}

fn rewrite(old: &Members<'_>, app: &Members<'_>, new: &Members<'_>, steps: &HashMap<&str, Step>) -> Step {
    let (a, n) = (app.names(), new.names());
    let stays = |name: &&str| match steps.get(name) {
        None => app.at.contains_key(*name),
        Some(step) => *step != Step::Remove,
    };
    let kept: HashSet<&str> = a.iter().chain(&n).copied().filter(stays).collect();
    let mut names = arrange(&a, &old.names(), &n, &kept, &HashSet::new());
    // Builders sort them.
    if a.is_sorted() {
        names.sort_unstable();
    }
    let member = |name: &str| {
        let (spelled, value) = app.at.get(name).or(new.at.get(name))?;
        match steps.get(name) {
            Some(Step::Set(value)) => Some(((*spelled).to_owned(), value.clone())),
            _ => Some(((*spelled).to_owned(), (*value).clone())),
        }
    };
    let object: Map<String, Value> = names.into_iter().filter_map(member).collect();
    match object.is_empty() {
        true => Step::Remove,
        false => Step::Set(object.into()),
    }
}
