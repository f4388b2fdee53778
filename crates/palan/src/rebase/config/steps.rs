//! What the history says of steps that values alone cannot tell: an instruction that sets what the base has already.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::instruction::Step;

/// Which instructions an image's own part of the history has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) entrypoint: bool,
    pub(super) command: bool,
    /// Whether there are commands, whose result may depend on who runs them, where and how.
    pub(super) ran: bool,
    /// Whether something was copied to where the working directory was.
    pub(super) copied_here: bool,
    /// The fields that they set: `User`, `Env PATH`, `Labels a.b`.
    fields: BTreeSet<String>,
}

impl Steps {
    /// Nothing is said where the image's history does not go on from the old base's.
    pub(super) fn read(app: &Map<String, Value>, old: &Map<String, Value>) -> Self {
        let history = |config: &'_ Map<String, Value>| {
            config.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let (app, old) = (history(app), history(old));
        let is_same = |(a, b): (&Value, &Value)| a.get("created_by") == b.get("created_by");
        if old.is_empty() || app.len() < old.len() || !app.iter().zip(&old).all(is_same) {
            return Self::default();
        }
        let texts = app[old.len()..].iter().filter_map(|step| step.get("created_by")?.as_str());
        let own: Vec<Step<'_>> = texts.map(Step::read).collect();
        let has = |wanted: &str| own.iter().any(|step| step.name == wanted);
        let fields = own.iter().flat_map(|step| fields(step.name, step.rest)).collect();
        let ran = own.iter().any(|step| !step.runs_nothing());
        let is_here = |step: &Step<'_>| {
            let target = step.rest.split_whitespace().last().unwrap_or("/").trim_matches(['"', ']']);
            matches!(step.name, "COPY" | "ADD") && !target.starts_with('/')
        };
        let copied_here = own.iter().any(is_here);
        Self { entrypoint: has("ENTRYPOINT"), command: has("CMD"), ran, copied_here, fields }
    }

    /// Whether an instruction set a field.
    pub(super) fn set(&self, field: &str) -> bool {
        self.fields.contains(field)
    }
}

/// The fields that an instruction sets.
fn fields(instruction: &str, rest: &str) -> Vec<String> {
    let one = |field: &str| vec![field.to_owned()];
    match instruction {
        "ENV" => keys(rest).into_iter().map(|key| format!("Env {key}")).collect(),
        "LABEL" => keys(rest).into_iter().map(|key| format!("Labels {key}")).collect(),
        "EXPOSE" => members(rest).into_iter().map(|port| format!("ExposedPorts {port}")).collect(),
        "VOLUME" => members(rest).into_iter().map(|path| format!("Volumes {path}")).collect(),
        "USER" => one("User"),
        "WORKDIR" => one("WorkingDir"),
        "STOPSIGNAL" => one("StopSignal"),
        "HEALTHCHECK" => one("Healthcheck"),
        "SHELL" => one("Shell"),
        _ => Vec::new(),
    }
}

/// The members of `80 53/udp`, `map[80/tcp:{}]`, `["/a", "/b"]` or `[/a /b]`; a port without protocol is tcp's too.
fn members(text: &str) -> Vec<String> {
    let words = text.trim_start_matches("map").split(|c: char| c.is_whitespace() || "[]{}\",".contains(c));
    let words = words.map(|word| word.trim_end_matches(':')).filter(|word| !word.is_empty());
    let spellings = |word: &str| match word.bytes().all(|b| b.is_ascii_digit()) {
        true => vec![word.to_owned(), format!("{word}/tcp")],
        false => vec![word.to_owned()],
    };
    words.flat_map(spellings).collect()
}

/// The keys of `a=1 "b"='x y'`, or of `a 1`.
fn keys(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (_, c) => words.last_mut().unwrap_or(&mut String::new()).push(c),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    match words.next() {
        Some(first) if !first.contains('=') => vec![first],
        first => {
            let key = |word: String| word.split_once('=').map(|(key, _)| key.to_owned());
            first.into_iter().chain(words).filter_map(key).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instructions_of_the_image_alone_count() {
        let history = |steps: &[&str]| {
            let steps: Vec<Value> = steps.iter().map(|step| json!({"created_by": step})).collect();
            json!({"history": steps}).as_object().cloned().unwrap_or_default()
        };
        let base = ["ENV A=1", "/bin/sh -c #(nop) USER base"];
        let own = [
            "/bin/sh -c #(nop) ENV B=1 C=\"x D=1\"",
            "ENV E 1 2",
            "LABEL \"org.x\"='1' y=2 # buildkit",
            "WORKDIR /srv",
            "HEALTHCHECK NONE",
            "EXPOSE map[80/tcp:{}]",
            "VOLUME [/data]",
            "CMD [\"a\"]",
            "RUN ENV F=1",
        ];
        let app = history(&[base.as_slice(), &own].concat());
        let steps = Steps::read(&app, &history(&base));
        let fields: Vec<&str> = steps.fields.iter().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "Env B",
                "Env C",
                "Env E",
                "ExposedPorts 80/tcp",
                "Healthcheck",
                "Labels org.x",
                "Labels y",
                "Volumes /data",
                "WorkingDir"
            ]
        );
        assert!(steps.command && !steps.entrypoint && steps.set("Env E") && !steps.set("User"));
    }
}
