//! Forty images in a registry of this process, their plan, and what must hold of them.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::future::join_all;
use palan::{
    fleet::{Entry, Journal, Locked, Plan, State, states},
    place::Location,
};
use palan_core::{Digest, Reference};
use palan_server::{Registry, Server, Stats};
use palan_testkit::fleet::Yard;
use tokio::runtime::Runtime;

/// How many images, the one that others stand on among them.
const IMAGES: usize = 40;

/// What is done to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Apply,
    Promote,
    Rollback,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Apply, Self::Promote, Self::Rollback];

    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }

    /// After how many requests it is killed at the latest: about as many as the whole makes, or fewer.
    pub(crate) fn latest(self) -> u64 {
        match self {
            Self::Apply => 400,
            Self::Promote => 300,
            Self::Rollback => 60,
        }
    }

    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Apply | Self::Promote => "plan.json",
            Self::Rollback => "plan.journal.jsonl",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())
    }
}

/// The fleet, planned.
pub(crate) struct Fleet {
    runtime: Runtime,
    server: Server,
    yard: Yard,
    folder: tempfile::TempDir,
    plan: Plan,
}

/// What the tags of an image's repository stand for.
struct Tags {
    image: Option<Digest>,
    candidate: Option<Digest>,
    backup: Option<Digest>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Registry::memory().serve("127.0.0.1:0")).unwrap();
        let yard = Yard::new(server.host());
        let names = runtime.block_on(build(&yard));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fleet.toml"), settings(&yard, &names)).unwrap();
        let plan = plan(folder.path());
        assert_eq!(plan.rebases().count(), IMAGES, "{}", plan.to_text());
        Self { runtime, server, yard, folder, plan }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.server.registry().stats()
    }

    /// How many requests were made so far.
    pub(crate) fn requests(&self) -> u64 {
        self.stats().requests
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.server.stop());
    }

    fn journal(&self) -> PathBuf {
        Journal::path_beside(&self.folder().join("plan.json"))
    }

    fn states(&self) -> BTreeMap<Reference, State> {
        match self.journal().exists() {
            true => states(&Journal::read_of(&self.journal(), self.plan.digest()).unwrap()),
            false => BTreeMap::new(),
        }
    }

    /// What holds at any time: each tag is one of the plan's and stands for what the plan says, nothing that the journal
    /// says was done is missing, and no image has lost its backup.
    pub(crate) fn check(&self, phase: Phase) {
        // Before the tags: what is written down later than they are read proves nothing.
        let states = self.states();
        for (entry, locked, tags) in self.tags() {
            let state = states.get(&entry.image).cloned().unwrap_or_default();
            let name = format!("{phase}: {}", entry.image);
            assert!(tags.image == entry.digest || tags.image == Some(locked.new_digest), "{name}");
            assert!(tags.candidate.is_none_or(|found| found == locked.new_digest), "{name}");
            assert!(tags.backup.is_none() || tags.backup == entry.digest, "{name}");
            if state.candidate.is_some() {
                assert_eq!(tags.candidate, Some(locked.new_digest), "{name}");
            }
            if tags.image == Some(locked.new_digest) {
                assert_eq!(tags.backup, entry.digest, "{name}");
                assert!(phase != Phase::Apply && state.promoted.is_some(), "{name}");
            }
            if state.is_promoted && phase == Phase::Promote {
                assert_eq!(tags.image, Some(locked.new_digest), "{name}");
            }
            if state.is_restored {
                assert_eq!(tags.image, entry.digest, "{name}");
            }
        }
    }

    /// What holds when a phase has ended.
    pub(crate) fn check_all(&self, phase: Phase) {
        let states = self.states();
        for (entry, locked, tags) in self.tags() {
            let (state, name) = (&states[&entry.image], format!("{phase}: {}", entry.image));
            let expected = if phase == Phase::Promote { Some(locked.new_digest) } else { entry.digest };
            assert_eq!(tags.image, expected, "{name}");
            assert_eq!(tags.candidate, Some(locked.new_digest), "{name}");
            assert_eq!(tags.backup, entry.digest.filter(|_| phase != Phase::Apply), "{name}");
            assert_eq!(state.passed, Some(true), "{name}");
            assert_eq!(state.is_promoted, phase == Phase::Promote, "{name}");
            assert_eq!(state.is_restored, phase == Phase::Rollback, "{name}");
            assert_eq!(state.failed, None, "{name}");
        }
    }

    /// The tags of all images. Panics on one that is none of the plan's.
    fn tags(&self) -> Vec<(&Entry, &Locked, Tags)> {
        let read = self.plan.rebases().map(|(entry, locked)| async move {
            let place = self.yard.places.source(&Location::Registry(entry.image.clone())).unwrap().place;
            let known = [&entry.image, &locked.candidate, &locked.backup];
            // First the image's own: a backup may come meanwhile, but none goes.
            let image = self.yard.standing(&entry.image).await;
            let candidate = self.yard.standing(&locked.candidate).await;
            let backup = self.yard.standing(&locked.backup).await;
            for tag in place.tags().await.unwrap() {
                assert!(known.iter().any(|known| known.tag() == Some(&tag)), "{}: {tag}", entry.image);
            }
            (entry, locked, Tags { image, candidate, backup })
        });
        self.runtime.block_on(join_all(read))
    }
}

/// `os:1`, thirty services on it; `base/jre:17` on it too, and nine services on that. `os:1` has moved since.
async fn build(yard: &Yard) -> Vec<String> {
    let os = yard.base("os:1", "with a hole").await;
    let jre = yard.on("base/jre:17", ("os:1", &os)).await;
    let mut names = vec!["base/jre:17".to_owned()];
    for number in 1..IMAGES {
        let name = format!("team/service-{number:02}:1.0");
        let base = if number < 10 { ("base/jre:17", &jre) } else { ("os:1", &os) };
        yard.on(&name, base).await;
        names.push(name);
    }
    yard.base("os:1", "patched").await;
    names
}

fn settings(yard: &Yard, names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{:?}", yard.name(name).to_string())).collect();
    format!(
        "[images]\nreferences = [{}]\n\n[[base]]\nfrom = \"{}/os:*\"\n\n[[wave]]\nname = \"canary\"\ncount = 5\n\n\
         [gates]\naccept = \"clean\"\nhook = [\"true\"]\n",
        names.join(", "),
        yard.host
    )
}

fn plan(folder: &Path) -> Plan {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palan"));
    command.env_clear().env("HOME", folder).current_dir(folder);
    let output = command.args(["fleet", "plan", "--output", "plan.json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Plan::parse(&std::fs::read_to_string(folder.join("plan.json")).unwrap()).unwrap()
}

/// What was written to a file.
pub(crate) fn text(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).unwrap();
    text
}
