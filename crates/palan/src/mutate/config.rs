//! What edits do to an image's config.
//!
//! Sources: image-spec `config.md`; Docker "Image JSON" for `Healthcheck` and `Shell`, which the former reserves.

use serde_json::{Map, Value, json};

use super::{
    edits::{Created, Edits, Healthcheck, Pairs},
    maps::{keys, pairs, set_or_remove, within},
};
use crate::history;

type Json = Map<String, Value>;

/// Applies `edits`. `note` is told what was to be removed and is not there. Fails with a reason.
pub(super) fn edit(json: &mut Json, edits: &Edits, note: &mut dyn FnMut(String)) -> Result<(), String> {
    if let Some(created) = &edits.created {
        let time = match created {
            Created::At(time) => time.clone(),
            Created::Newest => history::newest(history::steps(json))
                .ok_or("its history does not tell when its layers were made")?
                .to_owned(),
        };
        json.insert("created".into(), json!(time));
    }
    if let Some(platform) = &edits.platform {
        set_platform(json, platform);
    }
    let windows = json.get("os").and_then(Value::as_str) == Some("windows");
    // An empty object is made only where something is put into it.
    let mut runtime = json.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    let before = runtime.clone();
    edit_runtime(&mut runtime, edits, windows, note)?;
    if runtime != before {
        json.insert("config".into(), runtime.into());
    }
    Ok(())
}

/// Sets operating system, architecture, variant and version, in a config or in a descriptor's platform. The first two
/// have to be there, even where they say nothing.
pub(super) fn set_platform(json: &mut Json, platform: &palan_core::Platform) {
    json.insert("architecture".into(), json!(platform.architecture));
    json.insert("os".into(), json!(platform.os));
    for (key, value) in [("variant", &platform.variant), ("os.version", &platform.os_version)] {
        let value = value.as_deref().unwrap_or_default();
        set_or_remove(json, key, json!(value), value.is_empty());
    }
}

fn edit_runtime(
    json: &mut Json,
    edits: &Edits,
    windows: bool,
    note: &mut dyn FnMut(String),
) -> Result<(), String> {
    env(json, &edits.env, windows, note);
    command(json, edits);
    let texts =
        [("User", &edits.user), ("WorkingDir", &edits.working_dir), ("StopSignal", &edits.stop_signal)];
    for (key, value) in texts {
        if let Some(value) = value {
            set_or_remove(json, key, json!(value), value.is_empty());
        }
    }
    pairs(json, "Labels", &edits.labels, |key| note(format!("there is no label {key}")));
    keys(json, "ExposedPorts", &edits.exposed_ports, |key| note(format!("there is no exposed port {key}")));
    keys(json, "Volumes", &edits.volumes, |key| note(format!("there is no volume {key}")));
    match &edits.healthcheck {
        Some(change) => healthcheck(json, change, note),
        None => Ok(()),
    }
}

fn env(json: &mut Json, changes: &Pairs, windows: bool, note: &mut dyn FnMut(String)) {
    if changes.is_empty() {
        return;
    }
    let had = json.get("Env").is_some_and(Value::is_array);
    let mut all = json.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, value) in changes {
        let name = if windows { name.to_uppercase() } else { name.clone() };
        let is_it = |entry: &Value| {
            let text = entry.as_str().unwrap_or_default();
            let key = text.split_once('=').map_or(text, |(key, _)| key);
            if windows { key.to_uppercase() == name } else { key == name }
        };
        let found = all.iter().any(is_it);
        match value {
            // A variable that is there twice must not keep its old value in one of the places.
            Some(value) if found => {
                let text = json!(format!("{name}={value}"));
                all.iter_mut().filter(|entry| is_it(entry)).for_each(|entry| *entry = text.clone());
            }
            Some(value) => all.push(json!(format!("{name}={value}"))),
            None if found => all.retain(|entry| !is_it(entry)),
            None => note(format!("there is no environment variable {name}")),
        }
    }
    if !all.is_empty() {
        json.insert("Env".into(), all.into());
    } else if had {
        set_or_remove(json, "Env", Value::Null, true);
    }
}

fn command(json: &mut Json, edits: &Edits) {
    if let Some(entrypoint) = &edits.entrypoint {
        set_or_remove(json, "Entrypoint", json!(entrypoint), entrypoint.is_empty());
        if !edits.keep_cmd && edits.cmd.is_none() {
            set_or_remove(json, "Cmd", Value::Null, true);
        }
    }
    for (key, value) in [("Cmd", &edits.cmd), ("Shell", &edits.shell)] {
        if let Some(value) = value {
            set_or_remove(json, key, json!(value), value.is_empty());
        }
    }
}

fn healthcheck(json: &mut Json, change: &Healthcheck, note: &mut dyn FnMut(String)) -> Result<(), String> {
    let Healthcheck::Change { test, interval, timeout, start_period, start_interval, retries } = change
    else {
        match json.get("Healthcheck") {
            None | Some(Value::Null) => note("there is no health check".to_owned()),
            Some(_) => drop(json.shift_remove("Healthcheck")),
        }
        return Ok(());
    };
    if test.is_none() && !json.get("Healthcheck").is_some_and(Value::is_object) {
        return Err("it has no health check whose times could be changed".to_owned());
    }
    let numbers = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
        ("Retries", retries),
    ];
    within(json, "Healthcheck", |check| {
        if let Some(test) = test {
            check.insert("Test".into(), json!(test));
        }
        for (key, value) in numbers {
            if let Some(value) = value {
                check.insert(key.into(), json!(value));
            }
        }
    });
    Ok(())
}
