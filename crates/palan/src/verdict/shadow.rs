//! Whether what the application's layers touch is on the new base what it was on the old one.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::{
    listing::Change,
    tree::{Node, NodeKind},
};

use super::{
    Class, Collector, Finding, GateName, Grade,
    footprint::parent,
    shown, special,
    stale::is_unread,
    trees::{Differences, State, Trees, is_own, kind_name, same, same_metadata},
};

/// Adds findings and the gate.
pub(super) fn check(trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    let names = [Trees::names(&trees.old), Trees::names(&trees.new)];
    let mut shadow = Shadow { trees, delta, report, names };
    for (path, change) in &trees.footprint.puts {
        match change {
            Change::Put(inode) if matches!(inode.kind, NodeKind::Dir { .. }) => shadow.directory(path, true),
            _ => shadow.leaf(path),
        }
    }
    for path in &trees.footprint.passed {
        shadow.directory(path, false);
    }
    for path in &trees.footprint.hidden {
        shadow.removal(path);
    }
    for path in &trees.footprint.opaque {
        shadow.emptied(path);
    }
    shadow.removals_beside_new_names();
    shadow.hard_links();
    report.gate_since(mark, GateName::Shadow, "no own path hides what the new base changed");
}

struct Shadow<'t, 'r> {
    trees: &'t Trees<'t>,
    delta: &'t Differences<'t>,
    report: &'r mut Collector,
    /// Names of files that have several, in the old and in the new base.
    names: [BTreeMap<&'t [u8], Vec<&'t [u8]>>; 2],
}

impl<'t> Shadow<'t, '_> {
    /// What the old base has at a path.
    fn before(&self, path: &[u8]) -> Option<&'t Node> {
        self.trees.old.get(path)
    }

    /// What the new base has at a path.
    fn base(&self, path: &[u8]) -> Option<&'t Node> {
        self.trees.new.get(path)
    }

    /// What the application itself has at a path in the end.
    fn own(&self, path: &[u8]) -> Option<&'t Node> {
        self.trees.app.get(path).filter(|node| is_own(node))
    }

    fn add(&mut self, grade: impl Into<Option<Grade>>, class: Class, path: &[u8], text: impl Into<String>) {
        let mut finding = Finding::new(grade, class, path, text);
        finding.old = State::of(self.before(path));
        finding.new = State::of(self.base(path));
        finding.own = State::of(self.own(path));
        self.report.add(finding);
    }

    /// A directory that own layers have an entry for, or (`entry` is false) only pass through.
    fn directory(&mut self, path: &'t [u8], entry: bool) {
        let (old, new) = (self.before(path), self.base(path));
        match (old, new) {
            (Some(old), Some(new)) if !old.is_dir() && !new.is_dir() => {
                if !same(old, new) {
                    let text = format!(
                        "{} is a directory of the application's in the place of a {} that the new base changed",
                        shown(path),
                        kind_name(new)
                    );
                    self.add(Grade::Shadowed, Class::Kind, path, text);
                }
            }
            (_, Some(new)) if !new.is_dir() => self.kind_changed(path, "directory", kind_name(new)),
            (Some(old), Some(_)) if !old.is_dir() => self.kind_changed(path, kind_name(old), "directory"),
            (Some(_), None) => self.directory_gone(path),
            (_, Some(_)) if entry => self.directory_entry(path),
            _ => self.inherits(path),
        }
    }

    fn kind_changed(&mut self, path: &[u8], was: &str, is: &str) {
        let path_text = shown(path);
        let text = format!(
            "{path_text} is a {is} in the new base, but the application's layers need the {was} that it was"
        );
        self.add(Grade::Broken, Class::Kind, path, text);
    }

    fn directory_gone(&mut self, path: &[u8]) {
        // Removals alone do not bring it back.
        if self.trees.result.get(path).is_some() {
            let text =
                format!("the new base no longer has {}, in which the application has files", shown(path));
            self.add(Grade::Shadowed, Class::Directory, path, text);
        }
    }

    fn directory_entry(&mut self, path: &'t [u8]) {
        let Some(own) = self.own(path) else { return };
        let (Some(old), Some(new)) = (self.before(path), self.base(path)) else {
            // The root is there, whether or not a layer says so; and what is alike hides nothing.
            if !path.is_empty() && !self.base(path).is_some_and(|new| same_metadata(own, new)) {
                let text =
                    format!("{} is the application's, and the new base has one of its own", shown(path));
                self.add(Grade::Shadowed, Class::Directory, path, text);
            }
            return;
        };
        if !same_metadata(old, new) && !same_metadata(own, new) {
            let text =
                format!("the new base changed the mode or owner of {}, the application's stay", shown(path));
            self.add(Grade::Shadowed, Class::Directory, path, text);
        }
    }

    /// What is made in a directory whose group is handed down has that group.
    fn inherits(&mut self, path: &'t [u8]) {
        const SET_GROUP_ID: u32 = 0o2000;
        let Some(dir) = parent(path).filter(|dir| self.trees.footprint.passed.contains(dir)) else { return };
        let (Some(old), Some(new)) = (self.before(dir), self.base(dir)) else { return };
        if (old.mode | new.mode) & SET_GROUP_ID != 0 && !same_metadata(old, new) {
            let text = format!("{} hands down its group, and the new base changed it", shown(dir));
            self.add(Grade::Shadowed, Class::Directory, dir, text);
        }
    }

    /// A file, link or device.
    fn leaf(&mut self, path: &'t [u8]) {
        let (old, new, own) = (self.before(path), self.base(path), self.own(path));
        let is_dir = |node: Option<&Node>| node.is_some_and(Node::is_dir);
        match (is_dir(old), is_dir(new)) {
            (true, _) if is_dir(new) || new.is_none() => {
                if self.delta.get(path).is_some() || !self.delta.below(path).is_empty() {
                    let text =
                        format!("{} takes the place of a directory that the new base changed", shown(path));
                    self.add(Grade::Shadowed, Class::Kind, path, text);
                }
            }
            (true, _) if own.zip(new).is_some_and(|(own, new)| same(own, new)) => {
                let text = format!(
                    "{} was a directory, and the new base changed it as the application did",
                    shown(path)
                );
                self.add(Grade::Shadowed, Class::Kind, path, text);
            }
            (true, _) => self.kind_changed(path, "directory", new.map_or("file", kind_name)),
            (false, true) => self.kind_changed(path, own.map_or("file", kind_name), "directory"),
            (false, false) if own.is_none() => {}
            (false, false) if old.is_none() && new.is_none() => self.inherits(path),
            (false, false) if old.zip(new).is_some_and(|(old, new)| same(old, new)) => self.other_names(path),
            (false, false) => self.over_changed(path),
        }
    }

    fn over_changed(&mut self, path: &'t [u8]) {
        let class = special::class(path);
        let class = match self.own(path).map(|node| &node.kind) {
            Some(NodeKind::Symlink(_)) if class == Class::File => Class::Symlink,
            _ => class,
        };
        let database = special::is_package_database(path);
        let grade = if database { Grade::DbShadowed } else { Grade::Shadowed };
        let (old, own) = (self.before(path), self.own(path));
        let copied = old.and_then(Node::digest).is_some_and(|old| own.and_then(Node::digest) == Some(old));
        let unread = [old, self.base(path)].into_iter().flatten().any(is_unread);
        let what = match (old.is_some(), self.base(path).is_some()) {
            (true, true) if unread => {
                "is the application's; whether the new base changed its own was not looked at"
            }
            (true, true) if copied => "still has the old base's content, which the new base changed",
            (true, true) => "is the application's, and the new base changed its own",
            (true, false) => "is the application's, and the new base no longer has one",
            (false, _) => "is the application's, and the new base has one of its own",
        };
        let path_text = shown(path);
        let text = if database {
            format!(
                "{path_text}, the package database, is the application's: it lists the old base's packages"
            )
        } else {
            format!("{path_text} {what}")
        };
        self.add(grade, class, path, text);
    }

    /// Changing a file changes it under all its names, or separates it from them.
    fn other_names(&mut self, path: &'t [u8]) {
        if self.names[0].get(path) != self.names[1].get(path) {
            let text = format!("{} has other hard links in the new base", shown(path));
            self.add(Grade::Shadowed, Class::HardLink, path, text);
        }
    }

    fn removal(&mut self, path: &'t [u8]) {
        match (self.before(path), self.base(path)) {
            (Some(_), None) => {
                let text =
                    format!("the application removes {}, which the new base no longer has", shown(path));
                self.add(None, Class::Removal, path, text);
            }
            (None, Some(_)) => {
                let text =
                    format!("the application removes its own {}, and the new base has one", shown(path));
                self.add(Grade::Shadowed, Class::Removal, path, text);
            }
            (Some(old), Some(new))
                if old.is_dir() != new.is_dir()
                    // It was changed before it was removed: through a link, something else would have been.
                    || self.trees.footprint.puts.contains_key(path) && kind_name(old) != kind_name(new) =>
            {
                let (was, is) = (kind_name(old), kind_name(new));
                let text = format!("the application removes {}, a {was} that now is a {is}", shown(path));
                self.add(Grade::Shadowed, Class::Removal, path, text);
            }
            (Some(old), Some(_)) if old.is_dir() => self.directory_removal(path),
            _ => {}
        }
    }

    fn directory_removal(&mut self, path: &'t [u8]) {
        let other = |delta: &&super::trees::Delta<'_>| delta.old.is_none() || delta.new.is_none();
        if self.delta.below(path).iter().any(|delta| other(&delta)) {
            let text = format!(
                "the application removes {}, in which the new base has other files: a removal by name would leave some",
                shown(path)
            );
            self.add(Grade::Shadowed, Class::Removal, path, text);
        }
    }

    fn emptied(&mut self, path: &'t [u8]) {
        if self.delta.get(path).is_some() || !self.delta.below(path).is_empty() {
            let text = format!("the application replaces all of {}, which the new base changed", shown(path));
            self.add(Grade::Shadowed, Class::Emptied, path, text);
        }
    }

    /// A removal by pattern would have taken what is new as well.
    fn removals_beside_new_names(&mut self) {
        let hidden = &self.trees.footprint.hidden;
        let dirs: BTreeSet<&[u8]> = hidden.iter().map(|path| parent(path).unwrap_or_default()).collect();
        for dir in dirs {
            let is_new = |path: &[u8]| !hidden.contains(path) && parent(path).unwrap_or_default() == dir;
            let new = self.delta.below(dir).iter().filter(|delta| delta.old.is_none() && is_new(delta.path));
            let names: Vec<String> = new.map(|delta| shown(delta.path)).collect();
            if let Some(first) = names.first() {
                let text = format!(
                    "the application removes files from {}, where the new base has further ones like {first}: \
                     a removal by pattern would take them too",
                    shown(dir)
                );
                let finding = Finding::new(Grade::Shadowed, Class::Removal, dir, text).relating(names);
                self.report.add(finding);
            }
        }
    }

    fn hard_links(&mut self) {
        for (path, target) in &self.trees.lost_links {
            let text = format!("{} is a hard link to {}, which is missing", shown(path), shown(target));
            let finding = Finding::new(Grade::Broken, Class::HardLink, path, text).relating([shown(target)]);
            self.report.add(finding);
        }
        for (path, target) in &self.trees.footprint.links {
            let (app, result) = (self.trees.app.get(path), self.trees.result.get(path));
            if app
                .zip(result)
                .is_some_and(|(app, result)| is_own(app) && is_own(result) && !same(app, result))
            {
                let text = format!(
                    "{} is a hard link to {}, which the new base changed",
                    shown(path),
                    shown(target)
                );
                self.add(Grade::Shadowed, Class::HardLink, path, text);
            }
        }
    }
}
