//! What became of a base.

use palan::base::{self, Detector, Stale, Status};
use palan_testkit::image::{Attestation, ImageSpec, IndexSpec, layer};

use crate::{DIGEST, NAME, World, app_on, base_image};

async fn stale(world: &World, name: &str, newer_tags: bool) -> Stale {
    base::stale(&Detector::new(&world.places, None), &world.at(name), &[], newer_tags).await.unwrap()
}

async fn status(world: &World, name: &str) -> Status {
    stale(world, name, true).await.platforms[0].status
}

/// `base:TAG`, and `app:1` on it by annotations.
async fn on(tag: &str) -> World {
    let (world, base) = (World::new().await, base_image("one"));
    world.put(&format!("base:{tag}"), &base.graph()).await;
    let app = app_on(&base).annotation(NAME, world.text(&format!("base:{tag}")));
    world.put("app:1", &app.annotation(DIGEST, base.digest().to_string()).build().graph()).await;
    world
}

#[tokio::test]
async fn a_tag_stays_or_moves_or_goes() {
    let world = on("stable").await;
    assert_eq!(status(&world, "app:1").await, Status::Current);
    world.put("base:stable", &base_image("two").graph()).await;
    let moved = stale(&world, "app:1", true).await;
    let platform = &moved.platforms[0];
    assert_eq!(platform.status, Status::Moved);
    assert_eq!(
        (platform.old, platform.new),
        (Some(base_image("one").digest()), Some(base_image("two").digest()))
    );
    assert!(moved.is_stale() && !moved.is_unknown());

    let gone = app_on(&base_image("x")).annotation(NAME, world.text("gone:1")).build();
    world.put("app:2", &gone.graph()).await;
    assert_eq!(status(&world, "app:2").await, Status::Gone);
    world.put("app:3", &app_on(&base_image("x")).build().graph()).await;
    assert_eq!(status(&world, "app:3").await, Status::Unknown);
    let scratch = IndexSpec::new().annotated_image(base_image("x"), &[(NAME, "scratch")]).build();
    world.put("app:4", &scratch.graph()).await;
    assert_eq!(status(&world, "app:4").await, Status::Current);
}

#[tokio::test]
async fn newer_tags_have_the_same_form() {
    let world = on("12-slim").await;
    for tag in ["13", "11-slim", "12.1-slim", "latest", "13-slim", "14-slim"] {
        let status = status(&world, "app:1").await;
        assert_eq!(status == Status::NewerTag, tag == "14-slim", "before {tag}");
        world.put(&format!("base:{tag}"), &base_image(tag).graph()).await;
    }
    let found = stale(&world, "app:1", true).await;
    assert_eq!(found.platforms[0].newer, ["14-slim", "13-slim"]);
    assert!(found.is_stale());
    let found = stale(&world, "app:1", false).await;
    assert_eq!((found.platforms[0].status, found.platforms[0].newer.len()), (Status::Current, 0));
}

#[tokio::test]
async fn other_attestations_and_platforms_of_the_index_are_no_change() {
    let world = World::new().await;
    let image = |p: &str, id: &str| ImageSpec::new(p).layer(layer(&[("os", id.as_bytes())])).build();
    let (amd64, arm64) = (image("linux/amd64", "1"), image("linux/arm64", "1"));
    let index = |images: &[palan_testkit::image::Image]| IndexSpec::new().images(images.to_vec());
    let old = index(&[amd64.clone(), arm64.clone()]).attest(Attestation::Legacy).build();
    world.put("base:1", &old.graph()).await;
    let apps = [&amd64, &arm64].map(|base| {
        app_on(base)
            .annotation(NAME, world.text("base:1"))
            .annotation(DIGEST, old.digest().to_string())
            .build()
    });
    world.put("app:1", &index(&apps).build().graph()).await;

    let noise = index(&[amd64.clone(), arm64.clone(), image("linux/s390x", "1")])
        .attest(Attestation::Artifact)
        .build();
    world.put("base:1", &noise.graph()).await;
    let found = stale(&world, "app:1", true).await;
    assert_eq!(found.platforms.iter().map(|p| p.status).collect::<Vec<_>>(), [Status::Current; 2]);

    world.put("base:1", &index(&[amd64.clone(), image("linux/arm64", "2")]).build().graph()).await;
    let found = stale(&world, "app:1", true).await;
    assert_eq!(
        found.platforms.iter().map(|p| p.status).collect::<Vec<_>>(),
        [Status::Current, Status::Moved]
    );

    world.put("base:1", &index(&[amd64]).build().graph()).await;
    let found = stale(&world, "app:1", true).await;
    assert_eq!(found.platforms.iter().map(|p| p.status).collect::<Vec<_>>(), [Status::Current, Status::Gone]);
}

#[tokio::test]
async fn an_old_index_that_is_gone_does_not_make_its_image_stale() {
    let (world, base) = (World::new().await, base_image("one"));
    world.put("base:1", &base.graph()).await;
    let gone = format!("sha256:{}", "0".repeat(64));
    let app = app_on(&base).annotation(NAME, world.text("base:1")).annotation(DIGEST, gone).build();
    world.put("app:1", &app.graph()).await;
    assert_eq!(status(&world, "app:1").await, Status::Current);
    world.put("base:1", &base_image("two").graph()).await;
    assert_eq!(status(&world, "app:1").await, Status::Moved);
}

#[tokio::test]
async fn a_known_base_has_moved_when_its_tag_has() {
    let (world, base) = (World::new().await, base_image("one"));
    world.put("base:1", &base.graph()).await;
    world.put("app:1", &app_on(&base).build().graph()).await;
    for (id, expected) in [("one", Status::Current), ("two", Status::Moved)] {
        world.put("base:1", &base_image(id).graph()).await;
        let known = world.know("base").await;
        let detector = Detector::new(&world.places, Some(&known));
        let found = base::stale(&detector, &world.at("app:1"), &[], true).await.unwrap();
        assert_eq!(found.platforms[0].status, expected, "{id}");
    }
}
