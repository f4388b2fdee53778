//! Images, bases and results in other registries and in files.

use std::path::Path;

use palan::{Error, place::Location};
use palan_testkit::image::{Image, IndexSpec};

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, merged, new_base, old_base},
    world::{Rebase, World, assert_valid, files_at, image, put},
};

#[tokio::test]
async fn a_base_and_a_target_in_other_registries_are_streamed() {
    let world = World::new().await;
    let (bases, results) = (world.beside().await, world.beside().await);
    let old = old_base();
    let image = app(&old).build();
    world.put("app:v1", &image.graph()).await;
    bases.put("base:old", &old.graph()).await;
    bases.put("base:new", &new_base().graph()).await;
    let done = world
        .rebase("app:v1")
        .old_base_at(bases.at("base:old"))
        .new_base_at(bases.at("base:new"))
        .target_at(results.at("app:v1"))
        .run()
        .await;
    assert_stacked(&results.image("app:v1").await, &new_base(), &image, 2);
    assert_eq!(results.files("app:v1").await, merged("linux/amd64", &[&NEW, &APP]));
    results.assert_valid("app:v1").await;
    assert_eq!(done.outcome.summary.blobs_moved, 5, "four layers and the config");
    assert_eq!(world.digest("app:v1").await, image.digest());

    // In place, with the bases elsewhere: only the new base's layers move.
    let done = world
        .rebase("app:v1")
        .old_base_at(bases.at("base:old"))
        .new_base_at(bases.at("base:new"))
        .run()
        .await;
    assert_eq!(done.outcome.summary.blobs_moved, 3);
    assert_eq!(world.digest("app:v1").await, results.digest("app:v1").await);
    for world in [world, bases, results] {
        world.stop().await;
    }
}

fn locations(dir: &Path, scheme: &str) -> [Location; 4] {
    ["app", "old", "new", "result"].map(|name| {
        let path = dir.join(name);
        let name = if scheme == "docker-archive" { "example.com/x:v1" } else { "v1" };
        format!("{scheme}:{}:{name}", path.display()).parse().unwrap()
    })
}

#[tokio::test]
async fn layouts_and_archives_as_image_bases_and_target() {
    for scheme in ["oci", "oci-archive", "docker-archive"] {
        let world = World::new().await;
        let dir = tempfile::tempdir().unwrap();
        let [image_at, old_at, new_at, result_at] = locations(dir.path(), scheme);
        let old = old_base();
        let app = app(&old).build();
        put(&world.places, &image_at, &app.graph()).await;
        put(&world.places, &old_at, &old.graph()).await;
        put(&world.places, &new_at, &new_base().graph()).await;
        let rebase = |target: Location| {
            Rebase::of(&world, image_at.clone())
                .old_base_at(old_at.clone())
                .new_base_at(new_at.clone())
                .target_at(target)
        };
        let to_file = rebase(result_at.clone()).run().await;
        assert_stacked(&image(&world.places, &result_at).await, &new_base(), &app, 2);
        assert_eq!(files_at(&world.places, &result_at).await, merged("linux/amd64", &[&NEW, &APP]));
        assert_valid(&world.places, &result_at).await;
        let to_registry = rebase(world.at("app:v1")).run().await;
        assert_eq!(to_registry.outcome.digest, to_file.outcome.digest, "{scheme}");
        world.assert_valid("app:v1").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn an_index_in_a_layout_is_rebased_in_place_under_its_tag() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let platforms = ["linux/amd64", "linux/arm64"];
    let images = |stack: &[_]| platforms.map(|p| base(p, stack).build());
    let (old, new) = (images(&OLD), images(&NEW));
    let index = |images: &[Image]| IndexSpec::new().images(images.to_vec()).build().graph();
    world.put("base:old", &index(&old)).await;
    world.put("base:new", &index(&new)).await;
    let apps = old.each_ref().map(|old| app(old).build());
    let tagged: Location = format!("oci:{}:v1", dir.path().display()).parse().unwrap();
    let other: Location = format!("oci:{}:other", dir.path().display()).parse().unwrap();
    put(&world.places, &tagged, &index(&apps)).await;
    put(&world.places, &other, &apps[0].graph()).await;
    let rebase = || Rebase::of(&world, tagged.clone()).old_base("base:old").new_base("base:new");
    let done = rebase().run().await;
    assert_eq!(crate::world::document(&world.places, &tagged).await.digest(), done.outcome.digest);
    assert_eq!(crate::world::document(&world.places, &other).await.digest(), apps[0].digest());
    assert_valid(&world.places, &tagged).await;
    assert!(rebase().run().await.plan.is_noop());
    world.stop().await;
}

#[tokio::test]
async fn the_only_image_of_a_layout_keeps_its_tag() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let old = old_base();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    let tagged: Location = format!("oci:{}:v1", dir.path().display()).parse().unwrap();
    let only: Location = format!("oci:{}", dir.path().display()).parse().unwrap();
    put(&world.places, &tagged, &app(&old).build().graph()).await;
    let done = Rebase::of(&world, only.clone()).old_base("base:old").new_base("base:new").run().await;
    for location in [tagged, only] {
        assert_eq!(crate::world::document(&world.places, &location).await.digest(), done.outcome.digest);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_base_in_a_file_has_no_name_to_write() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let old = old_base();
    let new: Location = format!("oci:{}:v1", dir.path().display()).parse().unwrap();
    put(&world.places, &new, &new_base().graph()).await;
    world.put("base:old", &old.graph()).await;
    let image = app(&old).annotation(palan_core::annotation::BASE_NAME, world.text("base:old")).build();
    world.put("app:v1", &image.graph()).await;
    let done = world.rebase("app:v1").old_base("base:old").new_base_at(new).run().await;
    let unnamed = done.findings(palan::rebase::FindingKind::BaseUnnamed);
    assert!(unnamed[0].contains("is not in a registry"), "{unnamed:?}");
    let result = world.image("app:v1").await;
    let annotations = &result.manifest_view.annotations;
    assert_eq!(annotations.get(palan_core::annotation::BASE_NAME), None);
    assert_eq!(annotations[palan_core::annotation::BASE_DIGEST], new_base().digest().to_string());
    world.stop().await;
}

#[tokio::test]
async fn an_archive_is_not_changed_in_place() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let [archive, ..] = locations(dir.path(), "oci-archive");
    let old = old_base();
    put(&world.places, &archive, &app(&old).build().graph()).await;
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    let path = dir.path().join("app");
    let before = std::fs::read(&path).unwrap();
    let error = Rebase::of(&world, archive.clone()).old_base("base:old").new_base("base:new").refused().await;
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let other_name = format!("oci-archive:{}:v2", path.display()).parse().unwrap();
    Rebase::of(&world, archive)
        .old_base("base:old")
        .new_base("base:new")
        .target_at(other_name)
        .refused()
        .await;
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // Nor is that of a base.
    let [_, old_at, new_at, _] = locations(dir.path(), "oci-archive");
    put(&world.places, &old_at, &old.graph()).await;
    put(&world.places, &new_at, &new_base().graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    for target in [&old_at, &new_at] {
        let rebase = world.rebase("app:v1").old_base_at(old_at.clone()).new_base_at(new_at.clone());
        let error = rebase.target_at(target.clone()).refused().await;
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }
    world.stop().await;
}
