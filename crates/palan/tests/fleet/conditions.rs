//! Registries that compare before they move a tag, those that do not, and how much they are asked at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use palan::{
    Observer, Places,
    client::Client,
    fleet::{self, Become, Plan, Settings},
};
use palan_testkit::{
    fault::{FaultRegistry, Reply, Store},
    image::Index,
};
use serde_json::json;

use crate::{
    operation::{fleet as six, rules},
    world::{Refusing, World, all, settings},
};

#[tokio::test]
async fn a_registry_that_compares_is_asked_once_whether_it_does() {
    let world = World::new().await;
    let (names, _) = six(&world).await;
    let plan = world.plan(&settings(rules(&world)), &world.inventory(&names).await).await.unwrap();
    world.apply(&plan, all(), &Refusing::default()).await;
    let before = world.registry().stats();
    let promoted = world.promote(&plan, all()).await;
    assert!(promoted.iter().all(|outcome| outcome.conditional == Some(true)), "{promoted:?}");
    let put = world.registry().stats().since(&before).of(palan_server::RequestKind::ManifestPut);
    // Six backups, six tags, one question.
    assert_eq!(put, 13);
    for (entry, locked) in plan.rebases() {
        assert_eq!(world.standing(&locked.backup).await, entry.digest);
    }
    world.stop().await;
}

/// An image in a registry that ignores conditions, on a base in the world's.
async fn elsewhere(
    world: &World,
    answer: impl Fn(&Store, &palan_testkit::fault::Request) -> Reply + Send + Sync + 'static,
) -> (FaultRegistry, Store, Plan) {
    let os: Index = world.base("os:1", "with a hole").await;
    let web = world.on("team/web:1", ("os:1", &os)).await;
    world.base("os:1", "patched").await;
    let store = Store::new();
    store.put("team/web", "1", &web.graph());
    let (held, answering) = (store.clone(), store.clone());
    let registry = FaultRegistry::start(move |request| answer(&answering, request)).await;
    let mut named = Settings::default();
    named.images.references = vec![format!("{}/team/web:1", registry.host()).parse().unwrap()];
    let inventory = fleet::scan(&world.places, &named, None, 8, &Observer::default()).await.unwrap();
    assert!(inventory.missed.is_empty(), "{:?}", inventory.missed);
    let plan = world.plan(&settings(rules(world)), &inventory).await.unwrap();
    (registry, held, plan)
}

#[tokio::test]
async fn a_registry_that_does_not_compare_is_best_effort() {
    let world = World::new().await;
    let (_registry, store, plan) = elsewhere(&world, Store::answer).await;
    let applied = world.apply(&plan, all(), &Refusing::default()).await;
    assert_eq!(applied[0].result, Become::Done, "{applied:?}");
    let promoted = world.promote(&plan, all()).await;
    assert_eq!((promoted[0].result, promoted[0].conditional), (Become::Done, Some(false)), "{promoted:?}");
    let (entry, locked) = plan.rebases().next().unwrap();
    assert_eq!(store.tag("team/web", "1"), Some(locked.new_digest));
    assert_eq!(store.tag("team/web", locked.backup.tag().unwrap()), entry.digest);
    // Again: nothing is moved, and nothing is asked.
    let promoted = world.promote(&plan, all()).await;
    assert_eq!((promoted[0].result, promoted[0].conditional), (Become::Already, None));
    world.stop().await;
}

/// As registries with immutable tags do.
#[tokio::test]
async fn a_registry_that_refuses_the_question_does_not_answer_it() {
    let world = World::new().await;
    let (_registry, store, plan) = elsewhere(&world, |store, request| {
        let tag = request.path().strip_prefix("/v2/team/web/manifests/").unwrap_or_default();
        match request.method == "PUT" && tag.contains("-before-") && store.tag("team/web", tag).is_some() {
            true => Reply::error(400, "TAG_INVALID"),
            false => store.answer(request),
        }
    })
    .await;
    world.apply(&plan, all(), &Refusing::default()).await;
    let promoted = world.promote(&plan, all()).await;
    assert_eq!((promoted[0].result, promoted[0].conditional), (Become::Done, None), "{promoted:?}");
    let (_, locked) = plan.rebases().next().unwrap();
    assert_eq!(store.tag("team/web", "1"), Some(locked.new_digest));
    world.stop().await;
}

/// A registry that counts who asks at once.
async fn counting(store: &Store) -> (FaultRegistry, Arc<AtomicUsize>) {
    let (most, busy) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let (seen, store) = (most.clone(), store.clone());
    let registry = FaultRegistry::start(move |request| {
        seen.fetch_max(busy.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(3));
        busy.fetch_sub(1, SeqCst);
        store.answer(request)
    })
    .await;
    (registry, most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn each_registry_is_asked_as_much_as_it_bears() {
    let world = World::new().await;
    let os = world.base("os:1", "with a hole").await;
    let web = world.on("team/web:1", ("os:1", &os)).await;
    let store = Store::new();
    let tags: Vec<String> = (0..24).map(|n| n.to_string()).collect();
    tags.iter().for_each(|tag| store.put("team/web", tag, &web.graph()));
    let (bounded, at_once) = counting(&store).await;
    let (other, at_once_there) = counting(&store).await;
    let mut all = settings(json!({"jobs": 3, "requests": 6, "registry": {bounded.host(): {"requests": 2}}}));
    let hosts = [bounded.host(), other.host()];
    all.images.references = hosts
        .iter()
        .flat_map(|host| tags.iter().map(move |tag| format!("{host}/team/web:{tag}").parse().unwrap()))
        .collect();
    let places = Places::new(all.bounds().bound(Client::builder()).build().unwrap());
    let inventory = fleet::scan(&places, &all, None, 32, &Observer::default()).await.unwrap();
    assert_eq!(inventory.images.len(), 48);
    assert_eq!(at_once.load(SeqCst), 2);
    let there = at_once_there.load(SeqCst);
    assert!((3..=6).contains(&there), "{there}");
    // What bounds them goes with the plan.
    let plan = world.plan(&all, &inventory).await.unwrap();
    let read = Plan::parse(&plan.to_text()).unwrap();
    assert_eq!((read.bounds(), read.jobs), (all.bounds(), Some(3)));
    world.stop().await;
}
