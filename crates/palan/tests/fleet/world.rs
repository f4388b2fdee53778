//! A registry with a fleet in it.

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, sync::Mutex};

use async_trait::async_trait;
use palan::{
    Error, Observer,
    copy::Options,
    files,
    fleet::{
        self, Apply, Become, Candidate, Choice, Hook, HookOutput, Inventory, Journal, Outcome, Plan,
        Planning, Settings,
    },
    image::Image as Loaded,
    place::Location,
    rebase::Knowledge,
};
use palan_core::{Digest, Reference};
use palan_layer::tree::Content;
use palan_server::{Registry, Server};
use palan_testkit::fleet::Yard;
use tempfile::TempDir;

/// A registry in memory, a client, and a folder for plans and journals.
pub(crate) struct World {
    /// The embedded one; `None`: another one.
    server: Option<Server>,
    pub(crate) yard: Yard,
    pub(crate) folder: TempDir,
}

impl Deref for World {
    type Target = Yard;

    fn deref(&self) -> &Yard {
        &self.yard
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Registry::memory().with_request_log().serve("127.0.0.1:0").await.unwrap();
        let yard = Yard::new(server.host());
        Self { server: Some(server), ..Self::at(yard) }
    }

    /// On a registry that is already there.
    pub(crate) fn at(yard: Yard) -> Self {
        Self { server: None, yard, folder: TempDir::new().unwrap() }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.server.as_ref().unwrap().registry()
    }

    /// All tags of a repository.
    pub(crate) async fn tags(&self, name: &str) -> Vec<String> {
        let opened = self.places.source(&Location::Registry(self.name(name))).unwrap();
        opened.place.tags().await.unwrap()
    }

    /// What a container of a platform would see.
    pub(crate) async fn files(&self, name: &Reference, platform: &str) -> BTreeMap<String, Digest> {
        let opened = self.places.source(&Location::Registry(name.clone())).unwrap();
        let root = opened.place.document(&name.selector()).await.unwrap();
        let manifest = match palan::image::platforms(opened.place.as_ref(), &root).await.unwrap() {
            images if images.is_empty() => root,
            images => {
                let found = images.iter().find(|(_, found)| found.to_string() == platform).unwrap();
                opened.place.document(&found.0.digest.into()).await.unwrap()
            }
        };
        let image = Loaded::load(opened.place.as_ref(), manifest).await.unwrap();
        let tree = files(opened.place.as_ref(), &image, Content::Digest).await.unwrap();
        let file = |(path, node): (&[u8], &palan_layer::tree::Node)| {
            Some((String::from_utf8(path.to_vec()).unwrap(), node.digest()?))
        };
        tree.iter().filter_map(file).collect()
    }

    pub(crate) async fn inventory(&self, names: &[String]) -> Inventory {
        let mut settings = Settings::default();
        settings.images.references = names.iter().map(|name| self.name(name)).collect();
        fleet::scan(&self.places, &settings, None, 8, &Observer::default()).await.unwrap()
    }

    pub(crate) async fn plan(&self, settings: &Settings, inventory: &Inventory) -> Result<Plan, Error> {
        let knowledge = Knowledge::default();
        let planning = Planning { settings, inventory, knowledge, jobs: 8, signatures: None };
        fleet::plan(&self.places, &planning).await
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    pub(crate) fn journal(&self, plan: &Plan) -> Journal {
        Journal::open(&self.journal_path(), plan.digest()).unwrap()
    }

    pub(crate) async fn apply(&self, plan: &Plan, choice: Choice, hook: &dyn Hook) -> Vec<Outcome> {
        let apply = Apply {
            choice,
            options: Options::default(),
            knowledge: Knowledge::default(),
            hook: Some(hook),
            listener: &|_| {},
        };
        fleet::apply(&self.places, plan, &self.journal(plan), &apply).await.unwrap()
    }

    pub(crate) async fn promote(&self, plan: &Plan, choice: Choice) -> Vec<Outcome> {
        fleet::promote(&self.places, plan, &self.journal(plan), &choice, &|_| {}).await.unwrap()
    }

    pub(crate) async fn rollback(&self, choice: Choice) -> Vec<Outcome> {
        let journal = Journal::resume(&self.journal_path()).unwrap();
        fleet::rollback(&self.places, &journal, &choice, &|_| {}).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// Eight at a time.
pub(crate) fn all() -> Choice {
    Choice { jobs: 8, ..Choice::default() }
}

/// Settings of a `fleet.toml`'s shape.
pub(crate) fn settings(value: serde_json::Value) -> Settings {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn results(outcomes: &[Outcome]) -> Vec<(&str, Become)> {
    outcomes.iter().map(|outcome| (short(&outcome.image), outcome.result)).collect()
}

/// `app:1` of `127.0.0.1:40000/app:1`.
pub(crate) fn short(image: &Reference) -> &str {
    let path = image.repository().path();
    path.rsplit('/').next().unwrap_or(path)
}

/// A hook that refuses images with such a word in their names, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Refusing {
    pub(crate) word: Option<&'static str>,
    pub(crate) asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Hook for Refusing {
    async fn run(&self, command: &[String], _: std::time::Duration, candidate: &Candidate<'_>) -> HookOutput {
        assert_eq!(command, ["smoke", "--fast"]);
        assert_eq!(candidate.candidate.tag().is_some(), candidate.candidate.digest().is_some());
        self.asked.lock().unwrap().push(short(candidate.image).to_owned());
        let is_refused = self.word.is_some_and(|word| candidate.image.to_string().contains(word));
        HookOutput { passed: !is_refused, output: if is_refused { "boom\n".into() } else { String::new() } }
    }
}
