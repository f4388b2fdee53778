//! A registry with a fleet in it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use palan::{
    Error, Observer, Places,
    client::Client,
    copy::{self, Options},
    files,
    fleet::{
        self, Apply, Become, Candidate, Choice, Hook, HookOutput, Inventory, Journal, Outcome, Plan,
        Planning, Settings,
    },
    image::Image as Loaded,
    place::{Location, Memory, PutAs, Source},
    rebase::Knowledge,
};
use palan_core::{
    Digest, Reference,
    annotation::{BASE_DIGEST, BASE_NAME},
};
use palan_layer::tree::Content;
use palan_server::{Registry, Server};
use palan_testkit::image::{Graph, Image, ImageSpec, Index, IndexSpec, LayerSpec};
use tempfile::TempDir;

pub(crate) const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// A registry in memory, a client, and a folder for plans and journals.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) places: Places,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Registry::memory().with_request_log().serve("127.0.0.1:0").await.unwrap();
        let places = Places::new(Client::builder().build().unwrap());
        Self { server, places, folder: TempDir::new().unwrap() }
    }

    pub(crate) fn name(&self, name: &str) -> Reference {
        format!("{}/{name}", self.server.host()).parse().unwrap()
    }

    pub(crate) async fn put(&self, name: &str, graph: &Graph) {
        let memory = Memory::new();
        for (descriptor, content) in &graph.blobs {
            memory.add_blob(descriptor.media_type.clone(), content.clone());
        }
        graph.documents.iter().for_each(|document| memory.add_document(document));
        let source: Arc<dyn Source> = Arc::new(memory);
        let name = self.name(name);
        let target = self.places.target(&Location::Registry(name.clone())).unwrap().place;
        let role = PutAs::from_selector(&name.selector());
        let roots = vec![(graph.root().clone(), role)];
        copy::copy(&source, &target, roots, &Options::default()).await.unwrap();
    }

    /// What a tag stands for.
    pub(crate) async fn standing(&self, name: &Reference) -> Option<Digest> {
        let opened = self.places.standing(&Location::Registry(name.clone())).unwrap();
        opened.place.resolve(&name.selector()).await.ok().map(|found| found.digest)
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
        let images = palan::image::platforms(opened.place.as_ref(), &root).await.unwrap();
        let entry = images.iter().find(|(_, found)| found.to_string() == platform).unwrap().0.digest;
        let manifest = opened.place.document(&entry.into()).await.unwrap();
        let image = Loaded::load(opened.place.as_ref(), manifest).await.unwrap();
        let tree = files(opened.place.as_ref(), &image, Content::Digest).await.unwrap();
        let file = |(path, node): (&[u8], &palan_layer::tree::Node)| {
            Some((String::from_utf8(path.to_vec()).unwrap(), node.digest()?))
        };
        tree.iter().filter_map(file).collect()
    }

    /// An index of both platforms, of one layer, tagged; a base.
    pub(crate) async fn base(&self, name: &str, content: &str) -> Index {
        let image = |platform: &&str| {
            let layer = LayerSpec::new().file("etc/platform", platform).file("etc/base", content).build();
            ImageSpec::new(platform).layer(layer).build()
        };
        let index = PLATFORMS.iter().map(image).fold(IndexSpec::new(), IndexSpec::image).build();
        self.put(name, &index.graph()).await;
        index
    }

    /// An image with one layer of its own, which says what it stands on.
    pub(crate) async fn on(&self, name: &str, base: (&str, &Index)) -> Index {
        let image = |platform: &&str| {
            let below: &Image = base.1.image(platform).unwrap();
            let layer = LayerSpec::new().file(format!("app/{}", name.replace([':', '/'], "-")), name).build();
            ImageSpec::new(platform)
                .on(below)
                .layer(layer)
                .annotation(BASE_NAME, self.name(base.0).to_string())
                .annotation(BASE_DIGEST, below.digest().to_string())
                .label("team", name.split('/').next().unwrap_or_default())
                .build()
        };
        let index = PLATFORMS.iter().map(image).fold(IndexSpec::new(), IndexSpec::image).build();
        self.put(name, &index.graph()).await;
        index
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
        self.server.stop().await;
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
