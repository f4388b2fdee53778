//! What a rebase costs: 3.9.1.

use std::sync::{Arc, Mutex};

use palan::{Event, Observer, Places, client::Client, copy::Options, rebase};
use palan_server::RequestKind;

use crate::{
    fixture::{OLD, app, base, new_base, old_base},
    world::World,
};

/// Rebases in place or to another tag, as a command of its own: nothing is known of the registry.
async fn assert_cheap(target: Option<&str>) {
    let world = World::new().await;
    let old = old_base();
    let image = app(&old).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &image.graph()).await;
    let client = Client::builder().build().unwrap();
    let places = Places::new(client.clone());
    let (before, known) = (world.stats(), world.server.registry().logged().len());
    let mut request = world.rebase("app:v1").bases("base:old", "base:new").request;
    request.target = target.map(|t| world.at(t));
    let plan = rebase::plan(&places, &request).await.unwrap();
    let outcome = rebase::apply(&places, &plan, &Options::default()).await.unwrap();
    let (spent, stats) = (client.stats(), world.stats().since(&before));

    let log = world.server.registry().logged();
    let log: Vec<_> =
        log[known..].iter().map(|l| format!("{} {} {}", l.method, l.target, l.status)).collect();
    assert_eq!(spent.requests, log.len() as u64, "{log:#?}");
    assert!(spent.requests <= 12, "{log:#?}");
    assert!(spent.pings <= 1 && spent.token_requests == 0 && spent.retries == 0, "{log:#?}");
    // The image and its bases; and once the tag that is about to be written.
    assert_eq!(stats.of(RequestKind::ManifestGet), 3);
    assert_eq!(stats.of(RequestKind::BlobGet), 3);
    assert_eq!(stats.of(RequestKind::ManifestHead), 1);
    assert_eq!(stats.of(RequestKind::ManifestPut), 1);

    // The new base's layers are mounted, and the only blob bytes that moved are configs.
    assert_eq!(stats.of(RequestKind::BlobMount), 2);
    assert_eq!(stats.mounted, 2);
    assert_eq!(stats.of(RequestKind::BlobHead), 0, "{log:#?}");
    let configs = old.config.size() + new_base().config.size() + image.config.size();
    assert_eq!(stats.blob_bytes_out, configs);
    let result = world.image(target.unwrap_or("app:v1")).await;
    assert_eq!(stats.blob_bytes_in, result.config.size());
    assert_eq!(outcome.summary.blobs_adopted, 2);
    assert_eq!(outcome.summary.blobs_moved, 1);
    world.stop().await;
}

#[tokio::test]
async fn c3_9_1_one_image_in_one_registry_takes_twelve_requests_and_no_layer_bytes() {
    assert_cheap(None).await;
    assert_cheap(Some("app:v2")).await;
}

#[tokio::test]
async fn finding_that_there_is_nothing_to_do_by_hints_reads_each_thing_once() {
    let world = World::new().await;
    let old = old_base();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let before = world.client_stats().requests;
    world.rebase("app:v1").changes_nothing().await;
    assert_eq!(world.client_stats().requests - before, 4, "two manifests, two configs");
    world.stop().await;
}

#[tokio::test]
async fn layers_that_the_image_has_already_are_not_asked_for() {
    let world = World::new().await;
    let old = old_base();
    let patched = base("linux/amd64", &[OLD[0], &[("usr/lib/libssl.so", Some("ssl 1.1"))]]).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &patched.graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    let before = world.stats();
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(world.stats().since(&before).of(RequestKind::BlobMount), 1);
    assert_eq!(done.outcome.summary.blobs_present, 3);
    world.stop().await;
}

#[tokio::test]
async fn what_happens_is_told() {
    let world = World::new().await;
    let old = old_base();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    let plan = world.rebase("app:v1").bases("base:old", "base:new").plan().await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        Observer::new(move |event| {
            if let Event::BlobDone { blob, how } = event {
                told.lock().unwrap().push((blob.digest, *how));
            }
        })
    };
    let options = Options { observer, ..Options::default() };
    rebase::apply(&world.places, &plan, &options).await.unwrap();
    let told = told.lock().unwrap().clone();
    for layer in new_base().layers {
        assert!(told.contains(&(layer.digest, palan::Transfer::Adopted)), "{told:?}");
    }
    world.stop().await;
}
