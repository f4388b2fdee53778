//! Where results go, what is done twice, and what fails: 3.9.

use palan::{Error, rebase};
use palan_core::{
    Digest,
    annotation::{BASE_DIGEST, BASE_NAME},
};
use palan_server::RequestKind;
use palan_testkit::image::{Image, ImageSpec, IndexSpec};
use serde_json::json;

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, field, layers, new_base, old_base},
    world::{World, writes},
};

async fn world() -> (World, Image) {
    let world = World::new().await;
    let old = old_base();
    let app = app(&old).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app.graph()).await;
    (world, app)
}

#[tokio::test]
async fn the_default_target_is_the_images_own_tag_and_a_plan_writes_nothing() {
    let (world, app) = world().await;
    let before = world.stats();
    let rebase = world.rebase("app:v1").bases("base:old", "base:new");
    let plan = rebase.plan().await.unwrap();
    assert_eq!(writes(&world.stats().since(&before)), 0);
    assert_eq!(world.digest("app:v1").await, app.digest());
    let outcome = rebase.apply(&plan).await.unwrap();
    assert!(outcome.pushed);
    assert_eq!(world.digest("app:v1").await, plan.digest());
    assert_eq!(plan.report().target, world.text("app:v1"));
    // The old image is still there, by digest.
    assert_eq!(world.digest(&format!("app@{}", app.digest())).await, app.digest());
    world.stop().await;
}

#[tokio::test]
async fn a_reference_by_digest_is_pushed_by_digest() {
    let (world, app) = world().await;
    let name = format!("app@{}", app.digest());
    let done = world.rebase(&name).bases("base:old", "base:new").run().await;
    assert_eq!(world.digest("app:v1").await, app.digest(), "no tag moves");
    let result = world.image(&format!("app@{}", done.outcome.digest)).await;
    assert_stacked(&result, &new_base(), &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn a_target_by_digest_takes_that_digest_only() {
    let (world, app) = world().await;
    let other = format!("app@{}", app.digest());
    let error = world.rebase("app:v1").bases("base:old", "base:new").target(&other).refused().await;
    assert!(matches!(error, Error::OtherDigest { .. }), "{error}");
    let plan = world.rebase("app:v1").bases("base:old", "base:new").plan().await.unwrap();
    let right = format!("elsewhere@{}", plan.digest());
    world.rebase("app:v1").bases("base:old", "base:new").target(&right).run().await;
    assert_eq!(world.digest(&right).await, plan.digest());
    world.stop().await;
}

#[tokio::test]
async fn another_tag_and_another_repository_without_moving_layers() {
    let (world, app) = world().await;
    let configs = [&app, &old_base(), &new_base()].map(|image| image.config.size()).iter().sum::<u64>();
    for target in ["app:v2", "elsewhere/app:v1", "base:app"] {
        let before = world.stats();
        world.rebase("app:v1").bases("base:old", "base:new").target(target).run().await;
        let stats = world.stats().since(&before);
        assert_eq!(stats.blob_bytes_out, configs, "{target}");
        assert_stacked(&world.image(target).await, &new_base(), &app, 2);
        assert_eq!(world.digest("app:v1").await, app.digest());
        world.assert_valid(target).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn c3_9_3_a_tag_that_moved_meanwhile_stays_untouched() {
    let (world, _) = world().await;
    let rebase = world.rebase("app:v1").bases("base:old", "base:new");
    let plan = rebase.plan().await.unwrap();
    let other = app(&old_base()).config_field("/author", "somebody else").build();
    world.put("app:v1", &other.graph()).await;
    let error = rebase.apply(&plan).await.unwrap_err();
    let Error::Moved { reference, expected, found } = &error else { panic!("{error}") };
    assert_eq!(*reference, world.text("app:v1"));
    assert_eq!(*expected, plan.report().digest);
    assert!(found.contains(&other.digest().to_string()), "{error}");
    assert_eq!(world.digest("app:v1").await, other.digest());
    world.stop().await;
}

#[tokio::test]
async fn c3_9_2_a_new_base_that_moves_after_planning_changes_nothing() {
    let (world, app) = world().await;
    let rebase = world.rebase("app:v1").bases("base:old", "base:new");
    let plan = rebase.plan().await.unwrap();
    let newest = base("linux/amd64", &[&[("etc/os-release", Some("newest"))]]).build();
    world.put("base:new", &newest.graph()).await;
    rebase.apply(&plan).await.unwrap();
    assert_stacked(&world.image("app:v1").await, &new_base(), &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn c3_9_4_the_same_inputs_give_the_same_bytes_and_a_result_that_stands_is_left_alone() {
    let (world, _) = world().await;
    let first = world.rebase("app:v1").bases("base:old", "base:new").target("app:v2").run().await;
    let again = world.rebase("app:v1").bases("base:old", "base:new").target("app:v3").run().await;
    assert_eq!(first.outcome.digest, again.outcome.digest);

    let before = world.stats();
    let third = world.rebase("app:v1").bases("base:old", "base:new").target("app:v3").run().await;
    assert!(third.plan.is_noop() && !third.outcome.pushed);
    assert_eq!(third.outcome.digest, first.outcome.digest);
    assert_eq!(writes(&world.stats().since(&before)), 0);
    world.stop().await;
}

#[tokio::test]
async fn twice_onto_the_same_base_is_once() {
    let (world, app) = world().await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    // By the same bases, from the new one onto itself, and by hints.
    world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    world.rebase("app:v1").bases("base:new", "base:new").changes_nothing().await;
    world.rebase("app:v1").changes_nothing().await;
    assert_stacked(&world.image("app:v1").await, &new_base(), &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn onto_a_base_that_only_grew_twice_is_once() {
    // The image on the new base stands on the old one, too.
    let world = World::new().await;
    let old = old_base();
    let grown = base("linux/amd64", &[OLD[0], OLD[1], &[("etc/patch", Some("1"))]]).build();
    let image = app(&old).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &grown.graph()).await;
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_stacked(&world.image("app:v1").await, &grown, &image, 2);
    let plan = world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    assert_eq!(plan.report().platforms[0].boundary, 3);
    world.stop().await;
}

#[tokio::test]
async fn onto_its_own_base_an_image_with_true_hints_stays_byte_for_byte() {
    let world = World::new().await;
    let old = old_base();
    world.put("base:old", &old.graph()).await;
    let specs: [fn(ImageSpec) -> ImageSpec; 3] = [
        |spec| spec,
        |spec| spec.history(palan_testkit::image::History::OwnOnly),
        |spec| spec.config_field("/history", json!([{"created_by": "too"}, {"created_by": "few"}])),
    ];
    for change in specs {
        let image = change(app(&old))
            .annotation(BASE_NAME, world.text("base:old"))
            .annotation(BASE_DIGEST, old.digest().to_string())
            .build();
        world.put("app:v1", &image.graph()).await;
        world.rebase("app:v1").bases("base:old", "base:old").changes_nothing().await;
        assert_eq!(world.digest("app:v1").await, image.digest());
    }
    world.stop().await;
}

#[tokio::test]
async fn onto_a_base_that_was_only_packed_otherwise_nothing_changes_but_the_hints() {
    let world = World::new().await;
    let old = old_base();
    let packed = old.layers.iter().map(|l| l.recompressed(palan_core::Compression::Zstd));
    let new = ImageSpec::new("linux/amd64").layers(packed).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    let image = app(&old).history(palan_testkit::image::History::OwnOnly).build();
    world.put("app:v1", &image.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    assert_eq!(result.config.digest(), image.config.digest());
    assert_eq!(field(&result.manifest, "/layers"), field(&image.manifest, "/layers"));
    let said = field(&result.manifest, "/annotations").unwrap();
    assert_eq!(said[BASE_DIGEST], json!(new.digest()));
    assert_eq!(done.outcome.summary.blobs_adopted, 0);
    world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    world.stop().await;
}

#[tokio::test]
async fn there_and_back_again() {
    let (world, app) = world().await;
    world.rebase("app:v1").bases("base:old", "base:new").target("app:there").run().await;
    world.rebase("app:there").bases("base:new", "base:old").target("app:back").run().await;
    let back = world.image("app:back").await;
    assert_eq!(back.config.digest(), app.config.digest());
    assert_eq!(field(&back.manifest, "/layers"), field(&app.manifest, "/layers"));
    world.stop().await;
}

#[tokio::test]
async fn the_layers_of_a_partly_rebased_index_are_not_pushed_again() {
    let world = World::new().await;
    let platforms = ["linux/amd64", "linux/arm64"];
    let old = platforms.map(|p| base(p, &OLD).build());
    let new = platforms.map(|p| base(p, &NEW).build());
    let index = |images: &[Image]| IndexSpec::new().images(images.to_vec()).build().graph();
    world.put("base:old", &index(&old)).await;
    world.put("base:new", &index(&new)).await;
    let apps = old.each_ref().map(|old| app(old).build());
    world.put("app:v1", &index(&apps)).await;
    world.rebase("app:v1").bases("base:old", "base:new").platform("linux/amd64").run().await;
    let before = world.stats();
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let stats = world.stats().since(&before);
    assert_eq!(stats.of(RequestKind::ManifestPut), 2, "the other image and the index");
    assert_eq!(stats.of(RequestKind::UploadStart), 1, "its config");
    assert_eq!(stats.of(RequestKind::BlobMount), 1, "both have the same upper layer of the new base");
    world.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (world, _) = world().await;
    for (image, old, new) in [
        ("app:none", "base:old", "base:new"),
        ("app:v1", "base:none", "base:new"),
        ("app:v1", "base:old", "none:1"),
    ] {
        let error = world.rebase(image).bases(old, new).refused().await;
        let missing = [image, old, new].into_iter().find(|n| n.contains("none")).unwrap();
        let (repository, tag) = missing.split_once(':').unwrap();
        let text = error.to_string();
        assert!(error.is_not_found() && text.contains(repository) && text.contains(tag), "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_layer_that_is_gone_fails_before_the_tag_moves() {
    let (world, app) = world().await;
    let rebase = world.rebase("app:v1").bases("base:old", "base:new");
    let plan = rebase.plan().await.unwrap();
    let repository = world.text("base:new").parse::<palan_core::Reference>().unwrap();
    let client = world.places.client().repository(repository.repository());
    // A layer cannot leave while a manifest needs it.
    client.delete_manifest(&new_base().digest().into()).await.unwrap();
    client.delete_blob(new_base().layers[1].digest).await.unwrap();
    let error = rebase::apply(&world.places, &plan, &palan::copy::Options::default()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(world.digest("app:v1").await, app.digest());
    world.stop().await;
}

#[tokio::test]
async fn an_empty_new_base_is_not_taken_for_what_every_image_stands_on() {
    let (world, _) = world().await;
    let empty = ImageSpec::new("linux/amd64").build();
    world.put("base:empty", &empty.graph()).await;
    let stranger = ImageSpec::new("linux/amd64").layers(layers(&APP)).build();
    world.put("app:stranger", &stranger.graph()).await;
    let error = world.rebase("app:stranger").bases("base:old", "base:empty").refused().await;
    assert!(matches!(error, Error::NotBasedOn(_)), "{error}");
    world.rebase("app:v1").bases("base:old", "base:empty").run().await;
    let result = world.image("app:v1").await;
    let ids: Vec<Digest> = layers(&APP).iter().map(|l| l.diff_id).collect();
    assert_eq!(result.config_view.rootfs.diff_ids, ids);
    world.rebase("app:v1").bases("base:old", "base:empty").changes_nothing().await;
    world.stop().await;
}
