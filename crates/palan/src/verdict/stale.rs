//! Copies of old base files in the application.

use std::collections::{HashMap, HashSet};

use palan_core::Digest;
use palan_layer::tree::{Node, NodeKind, Tree};

use super::{
    Class, Collector, Finding, GateName, Grade, shown,
    trees::{Delta, Differences, State, Trees, is_own},
};

/// Adds findings and the gate.
pub(super) fn check(trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    let own = || trees.result.iter().filter(|(_, node)| is_own(node));
    let files = |tree: &Tree| tree.iter().any(|(_, node)| is_unread(node));
    if files(&trees.old) || files(&trees.new) || own().any(|(_, node)| is_unread(node)) {
        return report.gate(GateName::StaleCopies, super::Outcome::NotAssessed, "file content was not read");
    }
    let outdated = outdated(trees, delta);
    for (path, node) in own() {
        if let Some(change) = node.digest().and_then(|digest| outdated.get(&digest))
            && change.path != path
        {
            let now = if change.new.is_some() { "changed" } else { "no longer has" };
            let text = format!(
                "{} has the content of {}, which the new base {now}",
                shown(path),
                shown(change.path)
            );
            // Packages are installed more than once: theirs is a copy of the package, not of the base.
            let is_installed = is_package(path) && is_package(change.path) && trees.facts(node).is_none();
            let grade = (!is_installed).then_some(Grade::Shadowed);
            let mut finding = Finding::new(grade, Class::StaleCopy, path, text);
            finding.old = State::of(change.old);
            finding.new = State::of(change.new);
            finding.own = State::of(Some(node));
            report.add(finding.relating([shown(change.path)]));
        }
    }
    report.gate_since(mark, GateName::StaleCopies, "no own file is a copy of one that the new base changed");
}

/// Whether a path is in a tree of packages that are installed as they come.
fn is_package(path: &[u8]) -> bool {
    let trees: [&[u8]; 3] = [b"node_modules", b"site-packages", b"dist-packages"];
    path.split(|byte| *byte == b'/').any(|part| trees.contains(&part))
}

/// Whether a file's content is not known.
pub(super) fn is_unread(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File { size: 1.., digest: None })
}

/// Content of the old base that the new base has nowhere, with the first path that had it.
fn outdated<'t>(trees: &'t Trees<'_>, delta: &'t Differences<'t>) -> HashMap<Digest, &'t Delta<'t>> {
    let current: HashSet<Digest> = trees.new.iter().filter_map(|(_, node)| node.digest()).collect();
    let mut outdated = HashMap::new();
    for change in delta.iter() {
        let old = change.old.filter(|old| matches!(old.kind, NodeKind::File { size: 1.., .. }));
        if let Some(digest) = old.and_then(Node::digest)
            && !current.contains(&digest)
        {
            outdated.entry(digest).or_insert(change);
        }
    }
    outdated
}
