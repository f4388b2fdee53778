//! What configs say about running a container, and whether the file system has it.

use palan_layer::tree::Tree;
use serde_json::{Map, Value};

use super::{
    Class, Collector, Finding, GateName, Grade,
    resolve::{exists, resolve_file},
    trees::Trees,
};

/// As Linux's programs that run containers set it, where a config does not.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A config, read where it says something; what is of another type than it should be says nothing.
pub(super) struct Settings<'a> {
    document: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(document: &'a Map<String, Value>) -> Self {
        Self { document }
    }

    fn setting(&self, name: &str) -> Option<&'a Value> {
        self.document.get("config")?.get(name)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.setting(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.setting(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// `architecture`, as the config has it.
    pub(super) fn architecture(&self) -> Option<String> {
        let text = self.document.get("architecture")?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// `architecture/variant`, with the variants that go without saying.
    pub(super) fn platform(&self) -> Option<String> {
        let architecture = self.architecture()?;
        let variant = self.document.get("variant").and_then(Value::as_str).unwrap_or_default();
        let variant = match (&*architecture, variant) {
            ("arm64", "" | "8") => "v8",
            ("arm", "" | "7") => "v7",
            ("amd64", "") => "v1",
            (_, variant) => variant,
        };
        Some(format!("{architecture}/{variant}").trim_end_matches('/').to_owned())
    }

    /// All variables: name, value.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.list("Env").filter_map(|entry| entry.split_once('='))
    }

    /// A variable's value; of several the last.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        self.variables().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// Where programs are looked for, separated by colons.
    pub(super) fn search_path(&self) -> &'a str {
        self.variable("PATH").unwrap_or(PATH)
    }

    /// Whether `Entrypoint`, `Cmd` or `Healthcheck` name a path.
    pub(super) fn names(&self, path: &[u8]) -> bool {
        let health = self.setting("Healthcheck").and_then(|health| health.get("Test")?.as_array());
        let health = health.into_iter().flatten().filter_map(Value::as_str);
        let words =
            self.list("Entrypoint").chain(self.list("Cmd")).chain(health).flat_map(str::split_whitespace);
        let here = self.directory().unwrap_or("/").trim_matches('/').to_owned();
        words.into_iter().any(|word| {
            let full = if word.starts_with('/') { word.to_owned() } else { format!("{here}/{word}") };
            full.trim_matches('/').replace("/./", "/").as_bytes() == path
        })
    }

    /// `WorkingDir`.
    pub(super) fn directory(&self) -> Option<&'a str> {
        self.text("WorkingDir")
    }

    /// `User`.
    pub(super) fn user(&self) -> Option<&'a str> {
        self.text("User")
    }

    /// What is started: the first word of `Entrypoint`, or of `Cmd`.
    pub(super) fn program(&self) -> Option<&'a str> {
        self.list("Entrypoint").next().or_else(|| self.list("Cmd").next()).filter(|word| !word.is_empty())
    }

    /// Whether a program is there, as it would be looked for.
    pub(super) fn starts(&self, tree: &Tree, program: &str) -> bool {
        let is_there = |path: &str| resolve_file(tree, path.as_bytes()).is_some();
        if program.starts_with('/') {
            return is_there(program);
        }
        let here = self.text("WorkingDir").unwrap_or("/");
        if program.contains('/') {
            return is_there(&format!("{here}/{program}"));
        }
        let path = self.search_path();
        path.split(':').any(|dir| is_there(&format!("{dir}/{program}")))
    }
}

/// Adds findings and the gate.
pub(super) fn check(trees: &Trees<'_>, before: &Settings<'_>, after: &Settings<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    entry_point(trees, before, after, report);
    variables(trees, after, report);
    report.gate_since(
        mark,
        GateName::Entrypoint,
        "what the config names is there, or was not there before either",
    );
}

fn entry_point(trees: &Trees<'_>, before: &Settings<'_>, after: &Settings<'_>, report: &mut Collector) {
    let Some(program) = after.program() else { return };
    if after.starts(&trees.result, program) {
        return;
    }
    let worked = before.program().is_some_and(|program| before.starts(&trees.app, program));
    let text = format!("the config starts {program:?}, which the result does not have");
    let grade = worked.then_some(Grade::Broken);
    let path = program.trim_start_matches('/').as_bytes();
    report.add(Finding::new(grade, Class::Entrypoint, path, text).relating([program.to_owned()]));
}

/// Variables like `JAVA_HOME`: one absolute path, to something that was there.
fn variables(trees: &Trees<'_>, after: &Settings<'_>, report: &mut Collector) {
    for (name, value) in after.variables().filter(|(name, value)| is_path(name, value)) {
        let path = value.as_bytes();
        if exists(&trees.app, path) && !exists(&trees.result, path) {
            let text = format!("the variable {name} names {value}, which the new base does not have");
            let path = value.trim_matches('/').as_bytes();
            report.add(Finding::new(Grade::Broken, Class::Variable, path, text).relating([name.to_owned()]));
        }
    }
}

fn is_path(name: &str, value: &str) -> bool {
    name != "PATH" && value.starts_with('/') && value.len() > 1 && !value.contains([':', ' '])
}
