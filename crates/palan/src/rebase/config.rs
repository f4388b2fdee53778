//! What a rebuild would have made of the config: a three-way merge of the old base's, the image's and the new base's.
//!
//! Builders start from their base's config, so a value that still equals the old base's was inherited, and takes the
//! new base's; any other is the application's own, and stays. Where both changed a value, the two disagree: that is a
//! conflict, with a stated choice. Values are compared as far as they mean the same: absent, null and empty are one.
//! Where nothing changes, everything stays as the image spells it.
//!
//! Left to others: base hints and the labels of buildpacks, layers, history, `created`. Left to the image:
//! its `architecture`, `os`, `variant` and `author`.

mod arrange;
mod baked;
mod command;
mod env;
mod members;
mod merger;
mod path;
mod report;
mod steps;
mod three;

use serde_json::{Map, Value};

pub use report::{Change, Choice, Merged, Note, Reason};

use super::policy::{ConfigPolicy, OnConflict};
use merger::{Fields, Merger};
use steps::Steps;
use three::{Sides, Step, Three};

/// Merges the config document of an image (`json`, edited in place), of its old base and of its new base.
///
/// An old base whose config is not known (`None`) leaves nothing to tell inherited from own values by: nothing is
/// changed, and a note says so. The history of `json` is to be the image's still. With [`OnConflict::Fail`] the image's values stay; the caller looks at
/// [`Merged::conflicts`].
pub(super) fn merge(
    json: &mut Map<String, Value>,
    old: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    policy: ConfigPolicy,
    on_conflict: OnConflict,
) -> Merged {
    let mut merger = Merger::new(on_conflict, is_windows(json));
    match (policy, old) {
        (ConfigPolicy::Keep, Some(old)) => {
            // What is not done is said: a rebuild would do it.
            let mut would = Merger::new(on_conflict, is_windows(json));
            documents(&mut would, &mut json.clone(), old, new);
            let fields: Vec<String> = would.merged.changes.into_iter().map(|change| change.field).collect();
            if !fields.is_empty() {
                merger.note(Note::Kept { fields });
            }
        }
        (_, None) => merger.note(Note::OldConfigUnknown),
        (ConfigPolicy::Merge, Some(old)) => documents(&mut merger, json, old, new),
    }
    merger.merged
}

fn is_windows(json: &Map<String, Value>) -> bool {
    json.get("os").and_then(Value::as_str).is_some_and(|os| os.eq_ignore_ascii_case("windows"))
}

fn documents(
    merger: &mut Merger,
    json: &mut Map<String, Value>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) {
    let mut steps = Fields::new();
    let app = json.clone();
    merger.steps = Steps::read(&app, old);
    for field in ["os.version", "os.features"] {
        let three = Sides { old, app: &app, new }.at(field);
        // Windows refuses an image whose version is not that of its base's kernel interface.
        let step = match three.new {
            Some(version) if field == "os.version" && merger.windows => {
                merger.windows_version(three, version)
            }
            _ => merger.whole(field, three),
        };
        steps.push((field.to_owned(), step));
    }
    merger::apply(json, steps);
    let none = Map::new();
    let section = |map: &'_ Map<String, Value>| map.get("config").and_then(Value::as_object).cloned();
    let [old, app, new] = [old, &app, new].map(section);
    let sides = Sides {
        old: old.as_ref().unwrap_or(&none),
        app: app.as_ref().unwrap_or(&none),
        new: new.as_ref().unwrap_or(&none),
    };
    let steps = configs(merger, sides);
    built_with(merger, sides);
    baked::find(merger, sides, &steps);
    if steps.iter().any(|(_, step)| *step != Step::Keep)
        && let Some(config) = crate::json::map_at(json, "config")
    {
        merger::apply(config, steps);
    }
}

/// Build steps ran as the old base's user, in its directory and by its shell: a rebuild runs them otherwise.
fn built_with(merger: &mut Merger, sides: Sides<'_>) {
    let (ran, copied_here) = (merger.steps.ran, merger.steps.copied_here);
    for (field, matters) in [("User", ran), ("WorkingDir", ran || copied_here), ("Shell", ran)] {
        let three = sides.at(field);
        if matters && three::meaning(field, three.old) != three::meaning(field, three.new) {
            merger.note(Note::BuiltWith { field: field.to_owned() });
        }
    }
}

/// Fields that builders write about the build itself: they say nothing of a base.
const OF_THE_BUILD: [&str; 3] = ["Image", "Hostname", "Domainname"];

/// Fields that the lifecycle of buildpacks leaves alone when it rebases: its launcher sets them up.
const OF_THE_LIFECYCLE: [&str; 6] = ["Env", "User", "Entrypoint", "Cmd", "ArgsEscaped", "WorkingDir"];

fn configs(merger: &mut Merger, sides: Sides<'_>) -> Fields {
    let label = "io.buildpacks.lifecycle.metadata";
    let of_buildpacks = sides.app.get("Labels").is_some_and(|labels| labels.get(label).is_some());
    if of_buildpacks {
        merger.note(Note::Buildpacks);
    }
    let mut steps = Fields::new();
    if !of_buildpacks {
        steps.extend(command::pair(merger, sides));
    }
    for field in sides.names() {
        let skipped = OF_THE_BUILD.contains(&field) || of_buildpacks && OF_THE_LIFECYCLE.contains(&field);
        if !skipped && !command::FIELDS.contains(&field) {
            steps.push((field.to_owned(), one(merger, field, sides.at(field))));
        }
    }
    steps
}

fn one(merger: &mut Merger, field: &str, three: Three<'_>) -> Step {
    match field {
        "Env" => env::merge(merger, three),
        "Labels" => members::labels(merger, three),
        "ExposedPorts" | "Volumes" => members::set(merger, field, three),
        "OnBuild" => merger.on_build(three),
        "WorkingDir" => merger.directory(three),
        _ => merger.whole(field, three),
    }
}

#[cfg(test)]
mod tests;
