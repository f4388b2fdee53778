//! The few lines that matter.

use std::collections::BTreeMap;

use palan_layer::tree::{Inode, NodeKind, Tree};
use serde::Serialize;

use super::{Assessment, Class, Finding, GateName, Grade, Outcome, trees::Trees};

/// How much a file system holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Size {
    /// Bytes of file content, uncompressed; files with several names count once.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// How much there was, and will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sizes {
    /// The old base.
    pub old_base: Size,
    /// The new base.
    pub new_base: Size,
    /// The image as it was.
    pub old: Size,
    /// The result.
    pub new: Size,
}

impl Sizes {
    pub(super) fn of(trees: &Trees<'_>) -> Self {
        let [old_base, new_base, old, new] =
            [&trees.old, &trees.new, &trees.app, &trees.result].map(Size::of);
        Self { old_base, new_base, old, new }
    }
}

impl Size {
    fn of(tree: &Tree) -> Self {
        let mut files: Vec<(usize, u64)> = Vec::new();
        for (_, node) in tree.iter() {
            if let NodeKind::File { size, .. } = node.kind {
                let inode: &Inode = node;
                files.push((std::ptr::from_ref(inode).addr(), size));
            }
        }
        files.sort_unstable();
        files.dedup();
        Self { bytes: files.iter().map(|(_, size)| size).sum(), files: files.len() as u64 }
    }
}

impl Assessment {
    /// The gate of a name.
    pub fn gate(&self, name: GateName) -> Option<&super::Gate> {
        self.gates.iter().find(|gate| gate.name == name)
    }

    /// At most `limit` sentences for people, what matters most first: findings that lead to a grade with that in front,
    /// many of a kind as one; what was not assessed; notes.
    pub fn summary(&self, limit: usize) -> Vec<String> {
        let (graded, notes): (Vec<&Finding>, Vec<&Finding>) =
            self.findings.iter().partition(|finding| finding.grade.is_some());
        let skipped = self.gates.iter().filter(|gate| gate.outcome == Outcome::NotAssessed);
        let mut lines = grouped(&graded);
        lines.extend(skipped.map(|gate| format!("not assessed: {}: {}", gate.name, gate.reason)));
        lines.extend(grouped(&notes));
        if lines.len() > limit {
            let more = lines.len() - limit.saturating_sub(1);
            lines.truncate(limit.saturating_sub(1));
            if limit > 0 {
                lines.push(format!("and {more} more lines in the full report"));
            }
        }
        lines
    }
}

/// One line for all findings of a grade and class in one part of the tree.
fn grouped(findings: &[&Finding]) -> Vec<String> {
    type Key<'f> = (std::cmp::Reverse<Option<Grade>>, Class, &'f str);
    let mut groups: BTreeMap<Key<'_>, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let key = (std::cmp::Reverse(finding.grade), finding.class, part(&finding.path));
        groups.entry(key).or_default().push(finding);
    }
    groups.values().filter_map(|group| line(group)).collect()
}

/// The first two directories of a path.
fn part(path: &str) -> &str {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let first = slashes.next();
    let end = slashes.next().or(first).unwrap_or(0);
    &path[..end]
}

fn line(group: &[&Finding]) -> Option<String> {
    let first = group.first()?;
    let word = first.grade.map_or("note", Grade::as_str);
    let more = match group.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more below /{}", common(group)),
    };
    Some(format!("{word}: {}{more}", first.text))
}

/// The directory that all paths are in.
fn common<'f>(group: &[&'f Finding]) -> &'f str {
    let Some(first) = group.first() else { return "" };
    let mut dir = first.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let is_in = |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    while !dir.is_empty() && !group.iter().all(|finding| is_in(&finding.path, dir)) {
        dir = dir.rsplit_once('/').map_or("", |(dir, _)| dir);
    }
    dir
}
