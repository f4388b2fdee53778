//! Environment variables, one by one.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::{Value, json};

use super::{
    arrange::arrange,
    merger::Merger,
    path,
    report::Reason,
    three::{Step, Three, rule},
};

/// The variables of a config.
#[derive(Default)]
pub(super) struct Variables<'a> {
    /// Names by which they are told apart, in order.
    names: Vec<Cow<'a, str>>,
    /// Where a variable is set more than once, the last value counts.
    values: HashMap<Cow<'a, str>, Variable<'a>>,
}

#[derive(Clone, Copy)]
struct Variable<'a> {
    spelled: &'a str,
    value: &'a str,
    /// The value, as JSON, to be reported; `None`: the entry has no `=`.
    entry: &'a Value,
}

impl<'a> Variables<'a> {
    /// `None`: this is no list of variables.
    pub(super) fn read(env: Option<&'a Value>, windows: bool) -> Option<Self> {
        let entries = match env {
            None | Some(Value::Null) => return Some(Self::default()),
            Some(Value::Array(entries)) => entries,
            Some(_) => return None,
        };
        let mut out = Self::default();
        for entry in entries {
            let text = entry.as_str()?;
            // Windows has variables whose names begin with the sign.
            let at = text.char_indices().skip(1).find(|(_, c)| *c == '=').map(|(at, _)| at);
            let (spelled, value) = at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
            let name = match windows {
                true => Cow::Owned(spelled.to_ascii_uppercase()),
                false => Cow::Borrowed(spelled),
            };
            let variable = Variable { spelled, value, entry };
            if out.values.insert(name.clone(), variable).is_none() {
                out.names.push(name);
            }
        }
        Some(out)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).map(|variable| variable.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.names.iter().filter_map(|name| Some((name.as_ref(), self.get(name)?)))
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(Cow::as_ref).collect()
    }
}

/// Merges `Env`.
pub(super) fn merge(merger: &mut Merger, three: Three<'_>) -> Step {
    let windows = merger.windows;
    let [old, app, new] = [three.old, three.app, three.new].map(|env| Variables::read(env, windows));
    let (Some(old), Some(app), Some(new)) = (old, app, new) else { return merger.whole("Env", three) };
    let more = new.names().into_iter().filter(|name| !app.values.contains_key(*name));
    let mut steps = HashMap::new();
    for name in app.names().into_iter().chain(more) {
        let step = one(merger, name, [&old, &app, &new]);
        if step != Step::Keep {
            steps.insert(name, step);
        }
    }
    if steps.is_empty() {
        return Step::Keep;
    }
    let stays = |name: &&str| match steps.get(name) {
        None => app.values.contains_key(*name),
        Some(step) => *step != Step::Remove,
    };
    let (a, n) = (app.names(), new.names());
    let kept: HashSet<&str> = a.iter().chain(&n).copied().filter(stays).collect();
    let is_own = |name: &&str| {
        let differs = app.get(name).is_some_and(|value| old.get(name) != Some(value));
        differs || merger.steps.set(&format!("Env {name}"))
    };
    let own: HashSet<&str> = a.iter().copied().filter(is_own).collect();
    let entry = |name: &str| match steps.get(name) {
        Some(Step::Set(value)) => {
            let spelled = app.values.get(name).or(new.values.get(name)).map_or(name, |v| v.spelled);
            json!(format!("{spelled}={}", value.as_str().unwrap_or_default()))
        }
        _ => app.values.get(name).map_or(Value::Null, |variable| variable.entry.clone()),
    };
    let entries: Vec<Value> = arrange(&a, &old.names(), &n, &kept, &own).into_iter().map(entry).collect();
    match entries.is_empty() {
        true => Step::Remove,
        false => Step::Set(entries.into()),
    }
}

fn one(merger: &mut Merger, name: &str, sides: [&Variables<'_>; 3]) -> Step {
    let values = sides.map(|variables| variables.get(name));
    let [old, app, new] = values.map(|value| value.map(Value::from));
    let three = Three { old: old.as_ref(), app: app.as_ref(), new: new.as_ref() };
    let spelled = sides[1].values.get(name).or(sides[2].values.get(name)).map_or(name, |v| v.spelled);
    let field = format!("Env {spelled}");
    let [old, Some(app), new] = values else { return merger.settle(&field, three, rule(&old, &app, &new)) };
    if name != "PATH" {
        return merger.settle(&field, three, rule(&old, &Some(app), &new));
    }
    match path::merge(old, app, new, merger.windows) {
        path::Merge::Ruled(ruling) => merger.settle(&field, three, ruling),
        path::Merge::Inherited(_) if merger.steps.set(&field) => {
            merger.conflict(&field, three, None, Reason::SetAgain)
        }
        path::Merge::Inherited(path) => merger.combine(&field, three, path.into(), Reason::Inherited),
        path::Merge::Replaced(path) => merger.combine(&field, three, path.into(), Reason::PathOfBase),
        path::Merge::InPieces(path) => {
            merger.conflict(&field, three, Some(&path.into()), Reason::PathInPieces)
        }
    }
}
