//! The rule behind the grades: what is clean is what a rebuild gives.
//!
//! A model builder runs steps on a model file system and keeps, as builders do, one layer per step with what changed.
//! Steps that change nothing on the old base leave no trace there, and are not run on the new one.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::tree::{NodeKind, Tree};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Dir,
    File(String),
    Link(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    kind: Kind,
    mode: u32,
    uid: u64,
}

const DIR: Object = Object { kind: Kind::Dir, mode: 0o755, uid: 0 };

/// Paths without slash in front; the root is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Disk(BTreeMap<String, Object>);

#[derive(Clone, Debug)]
enum Step {
    /// `echo content > path`, or as `COPY`: with parents, and metadata where it is new or replaced.
    Write(&'static str, &'static str),
    Copy(&'static str, &'static str, u32, u64),
    Remove(&'static str),
    RemoveInside(&'static str),
    MakeDir(&'static str),
    Link(&'static str, &'static str),
    Mode(&'static str, u32, bool),
    Owner(&'static str, u64, bool),
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Disk {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.0.get(path).is_some_and(|object| object.kind == Kind::Dir)
    }

    /// Where a path leads, `last`: through a link at its end too. What is missing stays. `None`: no way there.
    fn follow(&self, path: &str, last: bool) -> Option<String> {
        let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut here, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                continue;
            } else if part.is_empty() {
                continue;
            }
            here.push(part);
            match self.0.get(&here.join("/")).map(|object| &object.kind) {
                Some(Kind::Link(target)) if last || !ahead.is_empty() => {
                    links += 1;
                    if links > 20 {
                        return None;
                    }
                    here.pop();
                    if target.starts_with('/') {
                        here.clear();
                    }
                    ahead.extend(target.split('/').rev().map(str::to_owned));
                }
                Some(Kind::File(_)) if !ahead.is_empty() => return None,
                _ => {}
            }
        }
        Some(here.join("/"))
    }

    fn make_dirs(&mut self, path: &str) -> Option<()> {
        if path.is_empty() || self.is_dir(path) {
            return Some(());
        }
        self.make_dirs(parent(path))?;
        self.0.insert(path.to_owned(), DIR).is_none().then_some(())
    }

    fn below(&self, dir: &str) -> Vec<String> {
        let inside = |path: &&String| {
            dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        self.0.keys().filter(inside).cloned().collect()
    }

    fn remove(&mut self, path: &str) {
        for path in self.below(path) {
            self.0.remove(&path);
        }
        self.0.remove(path);
    }

    /// `None`: the step fails.
    fn run(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Write(path, content) => {
                let path = self.follow(path, true)?;
                self.make_dirs(parent(&path))?;
                let object = self.0.entry(path).or_insert(Object { mode: 0o644, ..DIR }.file());
                matches!(object.kind, Kind::File(_)).then(|| object.kind = Kind::File((*content).into()))
            }
            Step::Copy(path, content, mode, uid) => {
                let object = Object { kind: Kind::File((*content).into()), mode: *mode, uid: *uid };
                self.place(path, object)
            }
            Step::Link(path, target) => {
                self.place(path, Object { kind: Kind::Link((*target).into()), mode: 0o777, uid: 0 })
            }
            Step::Remove(path) => {
                if let Some(path) = self.follow(path, false) {
                    self.remove(&path);
                }
                Some(())
            }
            Step::RemoveInside(dir) => {
                let dir = self.follow(dir, true).filter(|dir| self.is_dir(dir));
                for path in dir.map(|dir| self.below(&dir)).unwrap_or_default() {
                    self.remove(&path);
                }
                Some(())
            }
            Step::MakeDir(path) => {
                let path = self.follow(path, true)?;
                self.make_dirs(&path)
            }
            Step::Mode(path, mode, all) => self.change(path, *all, |object| {
                if !matches!(object.kind, Kind::Link(_)) {
                    object.mode = *mode;
                }
            }),
            Step::Owner(path, uid, all) => self.change(path, *all, |object| object.uid = *uid),
        }
    }

    fn place(&mut self, path: &str, object: Object) -> Option<()> {
        let path = self.follow(path, false)?;
        self.make_dirs(parent(&path))?;
        if self.is_dir(&path) {
            return None;
        }
        self.0.insert(path, object);
        Some(())
    }

    fn change(&mut self, path: &str, all: bool, change: impl Fn(&mut Object)) -> Option<()> {
        let path = self.follow(path, true)?;
        change(self.0.get_mut(&path)?);
        for path in if all { self.below(&path) } else { Vec::new() } {
            change(self.0.get_mut(&path)?);
        }
        Some(())
    }

    /// The layer that makes this of `before`.
    fn layer(&self, before: &Self, with_parents: bool) -> Arc<Listing> {
        let removed: BTreeSet<&String> = before.0.keys().filter(|path| !self.0.contains_key(*path)).collect();
        let changed: BTreeSet<&String> = self
            .0
            .iter()
            .filter(|(path, object)| before.0.get(*path) != Some(object))
            .map(|(path, _)| path)
            .collect();
        let mut layer = Builder::new();
        let mut put: BTreeSet<&str> = changed.iter().map(|path| path.as_str()).collect();
        for path in changed.iter().chain(&removed).filter(|_| with_parents) {
            let mut dir = parent(path);
            while !dir.is_empty() {
                if self.is_dir(dir) {
                    put.insert(dir);
                }
                dir = parent(dir);
            }
        }
        for path in put {
            layer = self.0[path].put(layer, path);
        }
        for path in &removed {
            // What is in a directory goes with it.
            if self.is_dir(parent(path)) {
                layer = layer.whiteout(path);
            }
        }
        read(layer)
    }

    fn of(tree: &Tree) -> Self {
        let object = |path: &[u8]| {
            let node = tree.get(path).unwrap();
            let kind = match &node.kind {
                NodeKind::Dir { .. } => Kind::Dir,
                NodeKind::Symlink(target) => Kind::Link(String::from_utf8(target.to_vec()).unwrap()),
                NodeKind::File { digest, .. } => Kind::File(digest.unwrap().to_string()),
                _ => unreachable!("the model has no devices"),
            };
            Object { kind, mode: node.mode, uid: node.uid }
        };
        let path = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        Self(tree.iter().map(|(at, _)| (path(at), object(at))).collect())
    }

    /// As [`Disk::of`] gives it.
    fn digested(&self) -> Self {
        let digest = |content: &str| palan_core::Digest::sha256(content.as_bytes()).to_string();
        let object = |object: &Object| match &object.kind {
            Kind::File(content) => Object { kind: Kind::File(digest(content)), ..object.clone() },
            _ => object.clone(),
        };
        Self(self.0.iter().map(|(path, at)| (path.clone(), object(at))).collect())
    }
}

impl Object {
    fn file(self) -> Self {
        Self { kind: Kind::File(String::new()), ..self }
    }

    fn put(&self, layer: Builder, path: &str) -> Builder {
        let stamp = |mut meta: Meta| {
            meta.uid = self.uid;
            meta.mode(self.mode)
        };
        match &self.kind {
            Kind::Dir => layer.with(|tar| tar.dir(path, &stamp(Meta::DIR))),
            Kind::File(content) => layer.file_with(path, content, stamp(Meta::FILE)),
            Kind::Link(target) => layer.with(|tar| tar.symlink(path, target, &stamp(Meta::LINK))),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let path = || {
        select(vec![
            "a", "a/x", "a/y", "a/s", "a/s/x", "a/s/z", "b", "b/x", "b/y", "l", "l/x", "l/s/x", "a/l",
            "a/l/x",
        ])
    };
    let dir = || select(vec!["a", "a/s", "b", "l", "a/l"]);
    let content = || select(vec!["0", "1"]);
    let mode = || select(vec![0o644, 0o600, 0o755]);
    let uid = || select(vec![0u64, 7]);
    let target = select(vec!["a", "/b", "a/s", "../b", "a/x", "x", "/a/s/x"]);
    prop_oneof![
        (path(), content()).prop_map(|(path, content)| Step::Write(path, content)),
        (path(), content(), mode(), uid()).prop_map(|(path, c, mode, uid)| Step::Copy(path, c, mode, uid)),
        path().prop_map(Step::Remove),
        dir().prop_map(Step::RemoveInside),
        path().prop_map(Step::MakeDir),
        (path(), target).prop_map(|(path, target)| Step::Link(path, target)),
        (path(), mode(), any::<bool>()).prop_map(|(path, mode, all)| Step::Mode(path, mode, all)),
        (path(), uid(), any::<bool>()).prop_map(|(path, uid, all)| Step::Owner(path, uid, all)),
    ]
}

/// A base, made by steps.
fn disk(steps: &[Step], mut disk: Disk) -> Disk {
    for step in steps {
        let before = disk.clone();
        if disk.run(step).is_none() {
            disk = before;
        }
    }
    disk
}

/// What a builder makes on a base: the steps that did something, their layers.
fn build(base: &Disk, steps: &[Step], with_parents: bool) -> (Vec<Step>, Vec<Arc<Listing>>) {
    let (mut disk, mut run, mut layers) = (base.clone(), Vec::new(), Vec::new());
    for step in steps {
        let before = disk.clone();
        if disk.run(step).is_none() || disk == before {
            disk = before;
            continue;
        }
        layers.push(disk.layer(&before, with_parents));
        run.push(step.clone());
    }
    (run, layers)
}

fn stacked(layers: &[Arc<Listing>]) -> Tree {
    let mut tree = Tree::new();
    for (number, layer) in layers.iter().enumerate() {
        tree.apply_listing(number, layer).unwrap();
    }
    tree
}

/// Whether the image is graded clean although a rebuild gives something else: what it gives, and what the rebase does.
fn wrongly_clean(base: &[Step], update: &[Step], steps: &[Step], with_parents: bool) -> Option<(Disk, Disk)> {
    let old = disk(base, Disk::default());
    let new = disk(update, old.clone());
    let (run, own) = build(&old, steps, with_parents);
    let bases = [old.layer(&Disk::default(), true), new.layer(&Disk::default(), true)];
    if judge(&bases[..1], &bases[1..], &own).grade != Grade::Clean {
        return None;
    }
    // A step may fail where a later one removes what it was about.
    let rebuilt = disk(&run, new).digested();
    let layers: Vec<_> = bases[1..].iter().chain(&own).cloned().collect();
    Some((rebuilt, Disk::of(&stacked(&layers)))).filter(|(rebuilt, rebased)| rebuilt != rebased)
}

/// Found by chance, and checked ever since: base, what the new one changes, the application's steps.
#[test]
fn what_was_once_wrongly_clean_is_not_any_more() {
    use Step::{Copy, Link, MakeDir, Mode, Owner, Remove, Write};
    let cases = [
        // The application's own files tell that everything below a directory was changed.
        (vec![], vec![Copy("a/y", "0", 0o644, 0)], vec![Write("a/x", "0"), Mode("a", 0o755, true)]),
        // The directory itself had the owner already.
        (
            vec![Copy("a/x", "0", 0o644, 0), Owner("a/x", 7, false)],
            vec![Owner("a", 7, false)],
            vec![Owner("a", 0, true)],
        ),
        // The directory that the application makes is there already on the new base.
        (vec![MakeDir("a")], vec![MakeDir("a/l")], vec![Owner("a", 7, true), Write("a/l/x", "0")]),
        // A link leads to where a further one leads on.
        (vec![Link("l", "a/s"), Link("l/x", "/b")], vec![Copy("l", "0", 0o644, 0)], vec![Write("l/x", "0")]),
        // What is removed in the end was changed before, which a link would have led elsewhere.
        (
            vec![Write("b", "0")],
            vec![Link("b", "a/s"), MakeDir("a/s")],
            vec![Owner("b", 7, false), Remove("b")],
        ),
    ];
    for (base, update, steps) in cases {
        for with_parents in [false, true] {
            assert_eq!(
                wrongly_clean(&base, &update, &steps, with_parents),
                None,
                "{base:?} {update:?} {steps:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn clean_is_what_a_rebuild_gives(
        base in vec(step(), 0..12),
        update in vec(step(), 0..4),
        steps in vec(step(), 1..4),
        with_parents: bool,
    ) {
        prop_assert_eq!(wrongly_clean(&base, &update, &steps, with_parents), None);
    }

    #[test]
    fn nothing_is_graded_where_the_base_stays(base in vec(step(), 0..12), steps in vec(step(), 0..6)) {
        let base = disk(&base, Disk::default());
        let (_, own) = build(&base, &steps, true);
        let layer = [base.layer(&Disk::default(), true)];
        let assessment = judge(&layer, &layer, &own);
        prop_assert_eq!(graded(&assessment), [""; 0]);
        prop_assert_eq!(assessment.grade, Grade::Clean);
    }
}
