//! A fleet on a registry that does what a test says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use palan::{
    Places,
    client::Client,
    fleet::{Become, Outcome, Plan, Settings},
};
use palan_core::Digest;
use palan_testkit::{
    fault::{FaultRegistry, Reply, Request, Store},
    fleet::Yard,
    image::{Graph, ImageSpec},
};
use serde_json::{Value, json};

use crate::world::{World, settings, short};

/// What a registry answers instead of what it should.
pub(crate) type Rule = dyn Fn(&Request) -> Option<Reply> + Send;

/// A registry that does what a rule says, and else what it should.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) store: Store,
    registry: FaultRegistry,
    rule: Arc<Mutex<Option<Box<Rule>>>>,
}

/// `os:1`, three services on it, `base/jre:17` on it too, and a service on that; `os:1` has moved.
pub(crate) const IMAGES: [&str; 5] = ["base/jre:17", "team/a:1", "team/b:1", "team/c:1", "team/d:1"];

impl Scene {
    pub(crate) async fn new() -> Self {
        let (store, rule) = (Store::new(), Arc::new(Mutex::new(None::<Box<Rule>>)));
        let (content, ruled) = (store.clone(), Arc::clone(&rule));
        let registry = FaultRegistry::start(move |request| {
            let reply = ruled.lock().unwrap().as_ref().and_then(|rule| rule(request));
            reply.unwrap_or_else(|| content.answer(request))
        })
        .await;
        let yard = Yard { places: places(), host: registry.host() };
        let scene = Self { world: World::at(yard), store, registry, rule };
        scene.build().await;
        scene
    }

    async fn build(&self) {
        let world = &self.world;
        let os = world.base("os:1", "with a hole").await;
        let jre = world.on("base/jre:17", ("os:1", &os)).await;
        for name in &IMAGES[1..4] {
            world.on(name, ("os:1", &os)).await;
        }
        world.on(IMAGES[4], ("base/jre:17", &jre)).await;
        world.base("os:1", "patched").await;
    }

    pub(crate) fn settings(&self, more: &Value) -> Settings {
        let mut value =
            json!({"base": [{"from": format!("{}/os:*", self.world.host)}], "gates": {"accept": "clean"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings(value)
    }

    pub(crate) async fn plan(&self, settings: &Settings) -> Plan {
        let inventory = self.world.inventory(&IMAGES.map(str::to_owned)).await;
        self.world.plan(settings, &inventory).await.unwrap()
    }

    /// From now on the registry does this, and what it should where this says nothing.
    pub(crate) fn rule(&self, rule: impl Fn(&Request) -> Option<Reply> + Send + 'static) {
        *self.rule.lock().unwrap() = Some(Box::new(rule));
    }

    pub(crate) fn heal(&self) {
        *self.rule.lock().unwrap() = None;
    }

    /// What was asked of a repository so far.
    pub(crate) fn asked_of(&self, repository: &str) -> Vec<String> {
        let start = format!("/v2/{repository}/");
        let requests = self.registry.requests();
        requests.iter().filter(|r| r.path().starts_with(&start)).map(Request::line).collect()
    }

    /// How many requests were answered so far.
    pub(crate) fn requests(&self) -> usize {
        self.registry.requests().len()
    }
}

/// Patient with a registry that refuses, but not for long.
pub(crate) fn places() -> Places {
    let short = Duration::from_millis(2);
    Places::new(Client::builder().backoff(short).longest_retry_after(short).build().unwrap())
}

/// An image that somebody else pushed.
pub(crate) fn foreign() -> Graph {
    ImageSpec::new("linux/amd64").label("whose", "somebody else's").build().graph()
}

pub(crate) fn foreign_digest() -> Digest {
    foreign().root().digest()
}

/// Who was not done: image, outcome, and a piece of the reason.
pub(crate) type Expected<'a> = &'a [(&'a str, Become, &'a str)];

/// Those outcomes, and all others good.
pub(crate) fn check(what: &str, outcomes: &[Outcome], expected: Expected<'_>) {
    assert_eq!(outcomes.len(), IMAGES.len(), "{what}: {outcomes:?}");
    let expected: BTreeMap<&str, (Become, &str)> =
        expected.iter().map(|(image, result, reason)| (*image, (*result, *reason))).collect();
    for outcome in outcomes {
        match expected.get(short(&outcome.image)) {
            None => assert!(outcome.result.is_good(), "{what}: {outcome:?}"),
            Some((result, reason)) => {
                assert_eq!(outcome.result, *result, "{what}: {outcome:?}");
                let said = outcome.reason.as_deref().unwrap_or_default();
                assert!(said.contains(reason), "{what}: {said}");
            }
        }
    }
}
