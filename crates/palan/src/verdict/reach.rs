//! What build steps reach beyond the paths that they leave in layers: links that they follow, directories that they go
//! through as a whole, files from which they make others.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
};

use palan_layer::{
    listing::Change,
    tree::{Inode, Node, NodeKind, Tree},
};

use super::{
    Class, Collector, Finding, GateName, Grade,
    footprint::parent,
    resolve::{destination, resolve},
    shown, special,
    trees::{Differences, Trees, is_own, range_below, same_metadata},
};

/// Adds findings and the gate.
pub(super) fn check(trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    moved_links(trees, delta, report);
    dangling_links(trees, report);
    derived(trees, delta, report);
    Sweep { trees, delta, paths: trees.old.iter().map(|(path, _)| path).collect() }.check(report);
    report.gate_since(mark, GateName::Reach, "no build step depends on what the new base changed elsewhere");
}

/// A build writes through links: layers show only where that led on the old base.
fn moved_links(trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let is_link = |node: &&Node| matches!(node.kind, NodeKind::Symlink(_));
    let links = || delta.iter().filter(|change| change.old.as_ref().is_some_and(is_link));
    if links().next().is_none() {
        return;
    }
    // Link, where it led, and what was reached there: that, or what further links in it lead to.
    let mut led: BTreeSet<(&[u8], Vec<u8>, Vec<u8>)> = BTreeSet::new();
    trees.at_each_stage(|tree| {
        let further = LazyCell::new(|| all_links(tree));
        for change in links() {
            let Some(was) = destination(tree, change.path) else { continue };
            if tree.get(&was).is_some_and(Node::is_dir) {
                let reached = beyond(&was, &further).into_iter();
                led.extend(reached.map(|place| (change.path, was.clone(), place)));
            }
            led.insert((change.path, was.clone(), was));
        }
    });
    for (path, was, place) in led {
        let is = trees.new.get(path).and_then(|_| destination(&trees.new, path));
        if Some(&was) != is.as_ref() && trees.footprint.touches(&place) {
            moved_link(path, &place, is, report);
        }
    }
}

/// Every symbolic link and where it leads, in byte order of paths.
fn all_links(tree: &Tree) -> Vec<(&[u8], Vec<u8>)> {
    let links = tree.iter().filter(|(_, node)| matches!(node.kind, NodeKind::Symlink(_)));
    links.filter_map(|(path, _)| Some((path, destination(tree, path)?))).collect()
}

/// What links in a directory lead to, and links in that.
fn beyond(dir: &[u8], links: &[(&[u8], Vec<u8>)]) -> BTreeSet<Vec<u8>> {
    let (mut found, mut ahead) = (BTreeSet::new(), vec![dir]);
    while let Some(dir) = ahead.pop() {
        let below = range_below(dir, |probe| links.partition_point(|(path, _)| *path < probe));
        for (_, place) in &links[below] {
            if found.insert(place.clone()) {
                ahead.push(place);
            }
        }
    }
    found
}

fn moved_link(path: &[u8], was: &[u8], is: Option<Vec<u8>>, report: &mut Collector) {
    let now = match is {
        Some(is) => format!("leads to {} in the new base", shown(&is)),
        None => "leads nowhere in the new base".to_owned(),
    };
    let (was, link) = (shown(was), shown(path));
    let text = format!(
        "the application has paths in {was}, which the build may have reached through {link}: that {now}"
    );
    report.add(Finding::new(Grade::Shadowed, Class::Symlink, path, text).relating([was]));
}

fn dangling_links(trees: &Trees<'_>, report: &mut Collector) {
    for (path, node) in trees.result.iter().filter(|(_, node)| is_own(node)) {
        let NodeKind::Symlink(target) = &node.kind else { continue };
        if resolve(&trees.app, path).is_some() && resolve(&trees.result, path).is_none() {
            let target = String::from_utf8_lossy(target).into_owned();
            let text = format!("{} is a link to {target:?}, which the new base does not have", shown(path));
            let grade = if is_decoration(path) { Grade::Shadowed } else { Grade::Broken };
            report.add(Finding::new(grade, Class::Symlink, path, text).relating([target]));
        }
    }
}

/// Whether nothing stops working where a link is missing: one certificate of many, documentation, traces of a build.
fn is_decoration(path: &[u8]) -> bool {
    const DIRS: [&[u8]; 6] =
        [b"etc/ssl/certs/", b"usr/share/doc/", b"usr/share/man/", b"usr/share/locale/", b"var/", b"tmp/"];
    DIRS.iter().any(|dir| path.starts_with(dir))
}

/// Files that are made from others, where the base changed these others only.
fn derived(trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let lists_differ = |wanted: fn(&[u8]) -> bool| {
        let differs = |change: &&super::trees::Delta<'_>| change.old.is_none() || change.new.is_none();
        delta.iter().filter(differs).map(|change| change.path).find(|path| wanted(path))
    };
    for (path, node) in trees.result.iter().filter(|(_, node)| is_own(node) && !node.is_dir()) {
        if delta.get(path).is_some() || !matches!(node.kind, NodeKind::File { .. }) {
            continue;
        }
        let (class, source) = if special::is_loader_cache(path) {
            (Class::LoaderCache, lists_differ(special::is_library).map(<[u8]>::to_vec))
        } else if special::is_trust_bundle(path) {
            (
                Class::TrustStore,
                delta
                    .iter()
                    .map(|change| change.path)
                    .find(|path| special::is_trust_store(path))
                    .map(<[u8]>::to_vec),
            )
        } else {
            (Class::LanguageTree, special::python_source(path).filter(|source| delta.get(source).is_some()))
        };
        if let Some(source) = source {
            let text = format!(
                "{} was made from files of the old base, like {}, that the new base changed",
                shown(path),
                shown(&source)
            );
            report.add(Finding::new(Grade::Shadowed, class, path, text).relating([shown(&source)]));
        }
    }
}

/// How a step changed the metadata of a file that it left as it was otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    uid: Option<u64>,
    gid: Option<u64>,
    owner: (u64, u64),
    mode: Option<(u32, u32)>,
}

impl Step {
    /// `None`: nothing was changed.
    fn of(old: &Inode, own: &Inode) -> Option<Self> {
        let changed = |old, own| (old != own).then_some(own);
        let step = Self {
            uid: changed(old.uid, own.uid),
            gid: changed(old.gid, own.gid),
            owner: (own.uid, own.gid),
            mode: (old.mode != own.mode).then_some((old.mode, own.mode)),
        };
        (step.changes_owner() || step.mode.is_some() || !same_metadata(old, own)).then_some(step)
    }

    fn changes_owner(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }

    /// Whether the step may have been applied to `node` and changed nothing.
    fn may_have_passed(&self, node: &Node) -> bool {
        let owner = self.changes_owner()
            && self.uid.is_none_or(|uid| uid == node.uid)
            && self.gid.is_none_or(|gid| gid == node.gid);
        let mode = self.mode.is_some_and(|(old, own)| {
            let (set, cleared) = (own & !old, old & !own);
            node.mode & set == set && node.mode & cleared == 0
        });
        let attributes = !self.changes_owner() && self.mode.is_none();
        owner || mode || attributes || matches!(node.kind, NodeKind::Symlink(_))
    }

    /// Whether the step would change `node`.
    fn would_change(&self, node: &Node) -> bool {
        // Changing an owner clears these bits even where the owner stays.
        const SET_ID: u32 = 0o6000;
        let owner = self.changes_owner() && (self.owner != (node.uid, node.gid) || node.mode & SET_ID != 0);
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        owner
            || self.mode.is_some_and(|(_, own)| own != node.mode && !is_link)
            || (!self.changes_owner() && self.mode.is_none())
    }
}

/// Directories times kinds of steps that are looked at: images have few kinds.
const STEPS: usize = 100_000;

/// Looks for steps like `chown -R` that would have changed files that only the new base has.
struct Sweep<'t> {
    trees: &'t Trees<'t>,
    delta: &'t Differences<'t>,
    paths: Vec<&'t [u8]>,
}

impl<'t> Sweep<'t> {
    fn check(self, report: &mut Collector) {
        let mut found: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        let mut visited = BTreeSet::new();
        for (path, step, is_dir) in self.steps() {
            let mut dir = if is_dir { path } else { parent(path).unwrap_or_default() };
            if !is_dir && visited.insert((dir, step, false)) {
                let beside = |new: &&[u8]| parent(new).unwrap_or_default() == dir;
                found.entry(dir).or_default().extend(self.missed(dir, step).into_iter().filter(beside));
            }
            // Above a directory that was seen, all was seen.
            while visited.insert((dir, step, true)) && self.is_whole(dir, step) {
                found.entry(dir).or_default().extend(self.missed(dir, step));
                if dir.is_empty() {
                    break;
                }
                dir = parent(dir).unwrap_or_default();
            }
            if visited.len() > STEPS {
                let text =
                    "the application changes mode and owner of base files in more ways than can be judged";
                return report.add(Finding::new(Grade::Shadowed, Class::Directory, b"", text));
            }
        }
        let mut reported = BTreeSet::new();
        // The innermost directory comes last and is the one to tell of.
        for (dir, mut new) in found.into_iter().rev() {
            new.retain(|path| reported.insert(*path));
            let Some(first) = new.first() else { continue };
            let text = format!(
                "the application changes mode or owner of files in {}, where the new base has others like {}: \
                 a rebuild may change them too",
                shown(dir),
                shown(first)
            );
            let related = new.iter().map(|path| shown(path));
            report.add(Finding::new(Grade::Shadowed, Class::Directory, dir, text).relating(related));
        }
    }

    /// The steps that changed only metadata, of base files that both bases have alike or of own files, and where.
    fn steps(&self) -> BTreeSet<(&'t [u8], Step, bool)> {
        let mut steps = BTreeSet::new();
        self.trees.before_each_layer(|tree, layer| {
            for (path, change) in &layer.changes {
                let (Change::Put(own), Some(before)) = (change, tree.get(path)) else { continue };
                let same_content = match (&before.kind, &own.kind) {
                    (NodeKind::Dir { .. }, NodeKind::Dir { .. }) => true,
                    (before, own) => before == own && self.delta.get(path).is_none(),
                };
                let step = same_content.then(|| Step::of(before, own)).flatten();
                // `setcap` names its files: nothing else of the application's own goes through directories so.
                let step = step.filter(|step| !is_own(before) || step.changes_owner() || step.mode.is_some());
                steps.extend(step.map(|step| (&**path, step, before.is_dir())));
            }
        });
        steps
    }

    /// What the step left alone in the old base, a directory or below it, and would change in the new one.
    fn missed(&self, dir: &[u8], step: Step) -> Vec<&'t [u8]> {
        // A directory that the application makes later is there already on the new base, when the step comes to it.
        let made_later =
            |change: &super::trees::Delta<'t>| change.old.is_none() && change.new.is_some_and(Node::is_dir);
        let is_missed = |change: &&super::trees::Delta<'t>| {
            change.old.is_none_or(|old| step.may_have_passed(old))
                && change.new.is_some_and(|new| step.would_change(new))
                && (!self.trees.footprint.has(change.path) || made_later(change))
        };
        let itself = self.delta.get(dir).into_iter();
        itself.chain(self.delta.below(dir)).filter(is_missed).map(|change| change.path).collect()
    }

    /// Whether the step may have been applied to all that the old base has below a directory.
    fn is_whole(&self, dir: &[u8], step: Step) -> bool {
        let range = range_below(dir, |probe| self.paths.partition_point(|path| *path < probe));
        let passed = |path: &&[u8]| self.trees.old.get(path).is_some_and(|node| step.may_have_passed(node));
        let touched = |path: &&[u8]| self.trees.footprint.has(path);
        self.paths[range].iter().all(|path| touched(path) || passed(path))
    }
}
