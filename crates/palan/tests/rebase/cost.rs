//! What a rebase costs: 3.9.1.

use std::sync::{Arc, Mutex};

use palan::{
    Event, Observer, Places,
    client::Client,
    copy::Options,
    documents::Documents,
    image::Image,
    place::PutAs,
    rebase::{self, Check, FindingKind, Plan},
};
use palan_core::Selector;
use palan_server::RequestKind;
use palan_testkit::image::{ImageSpec, Index, IndexSpec};

use crate::{
    fixture::{NEW, OLD, app, base, layers, new_base, old_base},
    world::{World, findings},
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
    assert!(spent.requests <= 11, "{log:#?}");
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
async fn c3_9_1_one_image_in_one_registry_takes_eleven_requests_and_no_layer_bytes() {
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

/// An index of two platforms.
fn both(image: impl Fn(&str) -> palan_testkit::image::Image) -> Index {
    IndexSpec::new().images(["linux/amd64", "linux/arm64"].map(image)).build()
}

/// What was asked of the registry meanwhile: manifests by tag, manifests by digest, configs.
fn reads(world: &World, from: usize) -> (usize, usize, usize) {
    let log = world.server.registry().logged();
    let gets: Vec<_> = log[from..].iter().filter(|l| l.method == "GET").map(|l| &l.target).collect();
    let count = |text: &str| gets.iter().filter(|target| target.contains(text)).count();
    let digests = count("/manifests/sha256:");
    (count("/manifests/") - digests, digests, count("/blobs/sha256:"))
}

/// Plans moving `app-0` to `app-4` from one base to another, as one run.
async fn plan_all(world: &World, documents: Documents) -> Vec<Plan> {
    let places = world.places.clone().with_documents(documents);
    let requests = (0..5).map(|n| {
        let mut request = world.rebase(&format!("app-{n}:v1")).bases("base:old", "base:new").request;
        request.target = Some(world.at(&format!("app-{n}:v2")));
        request
    });
    let requests: Vec<_> = requests.collect();
    futures_util::future::try_join_all(requests.iter().map(|r| rebase::plan(&places, r))).await.unwrap()
}

#[tokio::test]
async fn many_images_read_a_base_once_and_the_next_run_reads_what_tags_stand_for() {
    let world = World::new().await;
    let old = both(|p| base(p, &OLD).build());
    let new = both(|p| base(p, &NEW).build());
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    for n in 0..5 {
        let app = both(|p| app(&base(p, &OLD).build()).label("n", n.to_string()).build());
        world.put(&format!("app-{n}:v1"), &app.graph()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let documents = || Documents::in_directory(folder.path(), Observer::default());
    let logged = || world.server.registry().logged().len();
    let from = logged();
    let first = plan_all(&world, documents()).await;
    // Each image names both bases by tag. Below that, two platforms of each image and of both bases.
    assert_eq!(reads(&world, from), (5 * 3, 5 * 2 + 4, 5 * 2 + 4));
    let from = logged();
    let second = plan_all(&world, documents()).await;
    assert_eq!(reads(&world, from), (5 * 3, 0, 0));
    let digests = |plans: &[Plan]| plans.iter().map(Plan::digest).collect::<Vec<_>>();
    assert_eq!(digests(&first), digests(&second));
    world.stop().await;
}

#[tokio::test]
async fn what_was_computed_can_be_stood_on_before_it_is_pushed() {
    let world = World::new().await;
    let (old, new) = (old_base(), new_base());
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    let middle = ImageSpec::new("linux/amd64").on(&old).layers(layers(&[&[("middle", Some("m"))]])).build();
    world.put("middle:v1", &middle.graph()).await;
    world.put("app:v1", &app(&middle).build().graph()).await;
    let documents = Documents::default();
    let places = world.places.clone().with_documents(documents.clone());
    let request = world.rebase("middle:v1").bases("base:old", "base:new").target("middle:v2").request;
    let first = rebase::plan(&places, &request).await.unwrap();
    first.new_documents().for_each(|document| documents.insert(document));
    let moved = format!("middle@{}", first.digest());
    let request = world.rebase("app:v1").bases("middle:v1", &moved).target("app:v2").request;
    assert!(rebase::plan(&world.places, &request).await.unwrap_err().is_not_found());
    let second = rebase::plan(&places, &request).await.unwrap();
    for plan in [&first, &second] {
        rebase::apply(&places, plan, &Options::default()).await.unwrap();
    }
    world.assert_valid("app:v2").await;
    let again = rebase::plan(&world.places, &request).await.unwrap();
    assert!(again.is_noop() && again.digest() == second.digest());
    world.stop().await;
}

#[tokio::test]
async fn what_is_known_hides_nothing_that_changed() {
    let world = World::new().await;
    let (one, two) = (old_base(), new_base());
    world.put("app:v1", &one.graph()).await;
    let places = world.places.clone().with_documents(Documents::default());
    let place = || places.source(&world.at("app:v1")).unwrap().place;
    let tag = Selector::Tag("v1".into());
    let read = place().document(&tag).await.unwrap();
    let image = Image::load(place().as_ref(), read).await.unwrap();
    world.put("app:v1", &two.graph()).await;
    assert_eq!(place().document(&tag).await.unwrap().digest(), two.digest());
    let repo = world.places.client().repository(world.at("app:v1").reference().unwrap().repository());
    repo.delete_manifest(&one.digest().into()).await.unwrap();
    repo.delete_blob(image.config.digest()).await.unwrap();
    let by_digest: Selector = one.digest().into();
    assert_eq!(place().document(&by_digest).await.unwrap().bytes(), image.manifest.bytes());
    assert!(Image::load(place().as_ref(), image.manifest.clone()).await.is_ok());
    assert!(place().resolve(&by_digest).await.unwrap_err().is_not_found());
    assert!(!place().has(&image.manifest_view.config).await.unwrap());
    let target = places.target(&world.at("app:v1")).unwrap().place;
    assert!(!target.has_graph(&image.manifest.descriptor()).await.unwrap());
    assert!(target.document(&by_digest).await.unwrap_err().is_not_found());
    world.stop().await;
}

/// What looking for referrers of an index of two platforms asks: referrers, tag lists, tags one by one.
async fn looks(world: &World, image: &str, referrers: bool) -> (Plan, [u64; 3]) {
    let mut request = world.rebase(image).bases("base:old", "base:new").target("app:moved").request;
    (request.policy.check, request.policy.referrers) = (Check::Metadata, referrers);
    let places = Places::new(Client::builder().build().unwrap());
    let before = world.stats();
    let plan = rebase::plan(&places, &request).await.unwrap();
    let spent = world.stats().since(&before);
    // One question is for the target.
    let heads = spent.of(RequestKind::ManifestHead) - 1;
    (plan, [spent.of(RequestKind::Referrers), spent.of(RequestKind::Tags), heads])
}

#[tokio::test]
async fn digest_tags_are_found_by_one_list_where_that_is_short() {
    let world = World::new().await;
    world.put("base:old", &both(|p| base(p, &OLD).build()).graph()).await;
    world.put("base:new", &both(|p| base(p, &NEW).build()).graph()).await;
    let index = both(|p| app(&base(p, &OLD).build()).build());
    world.put("app:v1", &index.graph()).await;
    let child = index.image("linux/arm64").unwrap().digest();
    let signature = format!("{}.sig", child.referrers_tag());
    world.put(&format!("app:{signature}"), &new_base().graph()).await;
    let stays = |plan: &Plan| {
        let found = findings(plan, FindingKind::ReferrersStay);
        found.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()
    };
    let (plan, asked) = looks(&world, "app:v1", true).await;
    assert_eq!(asked, [3, 1, 0]);
    let found = stays(&plan);
    assert!(
        found.len() == 1 && found[0].contains(&child.to_string()) && found[0].ends_with(&signature),
        "{found:?}"
    );
    let (plan, asked) = looks(&world, "app:v1", false).await;
    assert_eq!((stays(&plan), asked), (Vec::new(), [0, 0, 0]));

    let place = world.places.target(&world.at("app:v1")).unwrap().place;
    for n in 0..1_000 {
        place.put_document(&index.document, &PutAs::Tag(format!("more-{n}"))).await.unwrap();
    }
    let (plan, asked) = looks(&world, "app:v1", true).await;
    assert_eq!((stays(&plan), asked), (found, [3, 1, 9]), "the list goes on");
    world.stop().await;
}

#[tokio::test]
async fn what_a_repository_was_given_once_it_is_not_given_again() {
    let world = World::new().await;
    let (old, new) = (old_base(), new_base());
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    for n in 1..=4 {
        world.put(&format!("app:v{n}"), &app(&old).label("n", n.to_string()).build().graph()).await;
    }
    let places = Places::new(Client::builder().build().unwrap());
    let run = async |n: u32| {
        let before = world.stats();
        let request = world.rebase(&format!("app:v{n}")).bases("base:old", "base:new").request;
        let plan = rebase::plan(&places, &request).await.unwrap();
        let done = rebase::apply(&places, &plan, &Options::default()).await;
        (done, world.stats().since(&before).of(RequestKind::BlobMount))
    };
    assert_eq!(run(1).await.1, 2);
    let (done, mounts) = run(2).await;
    assert_eq!((done.unwrap().summary.blobs_present, mounts), (4, 0));
    // Somebody deletes one: that is said, and the next time it is mounted again.
    let repo = places.client().repository(world.at("app:v1").reference().unwrap().repository());
    repo.delete_blob(new.layers[0].digest).await.unwrap();
    let (failed, mounts) = run(3).await;
    assert!(failed.is_err() && mounts == 0, "{failed:?}");
    assert_eq!(run(4).await.1, 2);
    world.assert_valid("app:v4").await;
    world.stop().await;
}
