//! Which distribution the bases are of.

use std::collections::BTreeMap;

use palan_layer::tree::Tree;
use serde::Serialize;

use super::{
    Class, Collector, Finding, GateName, Grade, Outcome, abi::is_dynamic, search::text, settings::Settings,
    special::file_name, trees::Trees,
};

/// A base's distribution, `os-release(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// `ID`: `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `VERSION_ID`: `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// `PRETTY_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The C library's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libc: Option<Libc>,
}

/// Kinds of C libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Libc {
    /// GNU's.
    Glibc,
    /// musl.
    Musl,
}

impl std::fmt::Display for Libc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.as_deref().unwrap_or("an unnamed distribution");
        match &self.version_id {
            Some(version) => write!(f, "{id} {version}"),
            None => f.write_str(id),
        }
    }
}

impl Distribution {
    fn of(trees: &Trees<'_>, tree: &Tree) -> Self {
        let files: [&[u8]; 2] = [b"etc/os-release", b"usr/lib/os-release"];
        let text = files.iter().find_map(|path| text(trees, tree, path)).unwrap_or_default();
        let mut fields = os_release(&text);
        Self {
            id: fields.remove("ID"),
            version_id: fields.remove("VERSION_ID"),
            name: fields.remove("PRETTY_NAME"),
            libc: libc(tree),
        }
    }
}

/// Reads `NAME=value` lines, quoted or not.
fn os_release(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let value = quoted.map_or(value.to_owned(), |value| value.replace('\\', ""));
        (!value.is_empty() && !name.starts_with('#')).then(|| (name.to_owned(), value))
    };
    text.lines().filter_map(line).collect()
}

/// Which C library a tree has: musl's loader, or glibc's library.
pub(super) fn libc(tree: &Tree) -> Option<Libc> {
    let mut found = None;
    for (path, _) in tree.iter() {
        let name = file_name(path);
        // Anywhere else it is a part of something that brings its own.
        let is_systems = path.starts_with(b"lib") || path.starts_with(b"usr/lib");
        if is_systems && name.starts_with(b"ld-musl-") && name.ends_with(b".so.1") {
            return Some(Libc::Musl);
        }
        if name == b"libc.so.6" {
            found = Some(Libc::Glibc);
        }
    }
    found
}

/// Compares the bases, adds findings and gates.
pub(super) fn check(
    trees: &Trees<'_>,
    before: &Settings<'_>,
    after: &Settings<'_>,
    report: &mut Collector,
) -> [Distribution; 2] {
    let both = [Distribution::of(trees, &trees.old), Distribution::of(trees, &trees.new)];
    let [old, new] = &both;
    release(old, new, report);
    libraries(trees, old, new, report);
    platform(before, after, report);
    both
}

fn release(old: &Distribution, new: &Distribution, report: &mut Collector) {
    if old.id.is_none() && new.id.is_none() {
        return report.gate(GateName::Distribution, Outcome::NotAssessed, "the bases have no os-release");
    }
    if (&old.id, &old.version_id) == (&new.id, &new.version_id) {
        return report.gate(GateName::Distribution, Outcome::Pass, format!("both bases are {new}"));
    }
    let what = if old.id == new.id { "release" } else { "distribution" };
    let text = format!("the new base is of another {what}: {new} after {old}");
    report.gate(GateName::Distribution, Outcome::Warn, &*text);
    report.add(Finding::new(None, Class::Distribution, b"etc/os-release", text));
}

fn libraries(trees: &Trees<'_>, old: &Distribution, new: &Distribution, report: &mut Collector) {
    match (old.libc, new.libc) {
        (None, None) => report.gate(GateName::Libc, Outcome::Pass, "the bases have no C library"),
        (Some(old), Some(new)) if old == new => {
            report.gate(GateName::Libc, Outcome::Pass, format!("both bases have {new}"));
        }
        (old, new) => {
            let name = |libc: Option<Libc>| libc.map_or("none".to_owned(), |libc| libc.to_string());
            let text = format!("the new base has another C library: {} after {}", name(new), name(old));
            // Libraries without a loader of their own name find another one of the same name, and do not fit.
            let fails = old.is_some() && is_dynamic(trees);
            let outcome = if fails { Outcome::Fail } else { Outcome::Warn };
            report.gate(GateName::Libc, outcome, &*text);
            report.add(Finding::new(fails.then_some(Grade::Broken), Class::Distribution, b"", text));
        }
    }
}

fn platform(before: &Settings<'_>, after: &Settings<'_>, report: &mut Collector) {
    let (Some(old), Some(new)) = (before.platform(), after.platform()) else {
        return report.gate(GateName::Platform, Outcome::NotAssessed, "a config names no architecture");
    };
    if old == new {
        return report.gate(GateName::Platform, Outcome::Pass, format!("both are for {new}"));
    }
    let text = format!("the new base is for {new}, the image for {old}");
    report.gate(GateName::Platform, Outcome::Fail, &*text);
    report.add(Finding::new(Grade::Broken, Class::Architecture, b"", text));
}
