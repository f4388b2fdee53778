//! Which packages the bases have, and in which order versions come.

use std::{cmp::Ordering, collections::BTreeMap};

use palan_layer::tree::Tree;
use serde::Serialize;

use super::{Class, Collector, Finding, GateName, Outcome, search::text, special, trees::Trees};

/// Which package manager's versions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PackageKind {
    /// Debian's.
    Deb,
    /// Alpine's.
    Apk,
}

/// A package that the bases do not have alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct PackageChange {
    /// Its name, with `:architecture` where the base has it for several.
    pub name: String,
    /// Which package manager's it is.
    pub kind: PackageKind,
    /// The old base's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new base's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// How the packages of the bases differ, each list by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Packages {
    /// Packages that only the new base has.
    pub added: Vec<PackageChange>,
    /// Packages that only the old base has.
    pub removed: Vec<PackageChange>,
    /// Packages with a higher version in the new base.
    pub upgraded: Vec<PackageChange>,
    /// Packages with a lower version in the new base.
    pub downgraded: Vec<PackageChange>,
}

/// Versions by name.
pub(super) type Installed = BTreeMap<(PackageKind, String), String>;

/// Compares the bases and adds findings and the gate; `None`: no list could be read.
pub(super) fn check(trees: &Trees<'_>, report: &mut Collector) -> Option<Packages> {
    let (old, new) = (installed(trees, &trees.old), installed(trees, &trees.new));
    if has_unread_database(&trees.old) || has_unread_database(&trees.new) {
        report.gate(GateName::Packages, Outcome::NotAssessed, "rpm's database was not read");
        return None;
    }
    if old.is_empty() && new.is_empty() {
        report.gate(
            GateName::Packages,
            Outcome::NotAssessed,
            "the bases have no package database that could be read",
        );
        return None;
    }
    let packages = Packages::between(&old, &new);
    packages.report(report);
    Some(packages)
}

impl Packages {
    /// Compares two lists.
    fn between(old: &Installed, new: &Installed) -> Self {
        let mut found = Self::default();
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for key in names {
            let change = PackageChange {
                kind: key.0,
                name: key.1.clone(),
                old: old.get(key).cloned(),
                new: new.get(key).cloned(),
            };
            let list = match (&change.old, &change.new) {
                (None, _) => &mut found.added,
                (_, None) => &mut found.removed,
                (Some(old), Some(new)) => match compare(key.0, old, new) {
                    Ordering::Less => &mut found.upgraded,
                    Ordering::Greater => &mut found.downgraded,
                    Ordering::Equal => continue,
                },
            };
            list.push(change);
        }
        found
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        [&self.added, &self.removed, &self.upgraded, &self.downgraded].iter().all(|list| list.is_empty())
    }

    fn report(&self, report: &mut Collector) {
        for change in &self.downgraded {
            let (old, new) =
                (change.old.as_deref().unwrap_or_default(), change.new.as_deref().unwrap_or_default());
            let text = format!("the new base has an older {}: {new} after {old}", change.name);
            report.add(Finding::new(None, Class::Package, b"", text).relating([change.name.clone()]));
        }
        if !self.removed.is_empty() {
            let names: Vec<String> = self.removed.iter().map(|change| change.name.clone()).collect();
            let text = format!("the new base no longer has {}", listed(&names, 5));
            report.add(Finding::new(None, Class::Package, b"", text).relating(names));
        }
        let outcome = match self.removed.is_empty() && self.downgraded.is_empty() {
            true => Outcome::Pass,
            false => Outcome::Warn,
        };
        report.gate(GateName::Packages, outcome, self.to_string());
    }
}

impl std::fmt::Display for Packages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.upgraded.len(), "upgraded"),
            (self.added.len(), "added"),
            (self.removed.len(), "removed"),
            (self.downgraded.len(), "downgraded"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match parts.is_empty() {
            true => f.write_str("the bases have the same packages"),
            false => write!(f, "packages: {}", parts.join(", ")),
        }
    }
}

/// Names in a sentence: not more than `limit`.
pub(super) fn listed(names: &[String], limit: usize) -> String {
    match names.len().checked_sub(limit) {
        Some(more @ 1..) => format!("{} and {more} more", names[..limit].join(", ")),
        _ => names.join(", "),
    }
}

/// What dpkg and apk have installed in a tree.
pub(super) fn installed(trees: &Trees<'_>, tree: &Tree) -> Installed {
    let mut all = Installed::new();
    let status_d = || tree.iter().map(|(path, _)| path).filter(|path| special::is_status_d(path));
    for path in std::iter::once(&b"var/lib/dpkg/status"[..]).chain(status_d()) {
        if let Some(text) = text(trees, tree, path) {
            dpkg(&text, &mut all);
        }
    }
    for path in [&b"lib/apk/db/installed"[..], b"usr/lib/apk/db/installed"] {
        if let Some(text) = text(trees, tree, path) {
            apk(&text, &mut all);
        }
    }
    all
}

fn has_unread_database(tree: &Tree) -> bool {
    let is_rpm = |path: &[u8]| {
        let names: [&[u8]; 3] = [b"Packages", b"Packages.db", b"rpmdb.sqlite"];
        special::is_package_database(path) && names.contains(&special::file_name(path))
            || path == b"var/lib/rpmmanifest/container-manifest-2"
    };
    tree.iter().any(|(path, _)| is_rpm(path))
}

/// Reads deb822 records: `Package`, `Version`, `Status`, `Architecture`, `Multi-Arch`.
fn dpkg(text: &str, all: &mut Installed) {
    for record in text.split("\n\n") {
        let field = |name: &str| {
            let line = record
                .lines()
                .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else { continue };
        // Records of distroless images have no status: they are there.
        if field("Status").is_none_or(|status| status.ends_with(" installed")) {
            let name = match field("Architecture") {
                Some(architecture) if all.contains_key(&(PackageKind::Deb, name.to_owned())) => {
                    format!("{name}:{architecture}")
                }
                _ => name.to_owned(),
            };
            all.insert((PackageKind::Deb, name), version.to_owned());
        }
    }
}

/// Reads apk's records: `P:` name, `V:` version.
fn apk(text: &str, all: &mut Installed) {
    for record in text.split("\n\n") {
        let field = |name: &str| record.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(name), Some(version)) = (field("P:"), field("V:")) {
            all.insert((PackageKind::Apk, name.to_owned()), version.to_owned());
        }
    }
}

fn compare(kind: PackageKind, a: &str, b: &str) -> Ordering {
    match kind {
        PackageKind::Deb => super::version::deb(a, b),
        PackageKind::Apk => super::version::apk(a, b),
    }
}
