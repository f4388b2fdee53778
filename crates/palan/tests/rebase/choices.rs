//! Choices of a request: which layers are replaced, what becomes of the config, how bases are found.

use std::{sync::Arc, time::SystemTime};

use palan::{
    Error,
    base::{KnownBases, known},
    rebase::{ConfigPolicy, OldBase, OnConflict},
};
use palan_core::annotation;
use palan_testkit::image::{Image, ImageSpec, IndexSpec};
use serde_json::json;

use crate::{
    fixture::{
        APP, NEW, OLD, app, assert_stacked, assert_whole_history, base, diff_ids, field, merged, new_base,
        old_base,
    },
    world::World,
};

async fn world(old: &Image, new: &Image, app: &Image) -> World {
    let world = World::new().await;
    for (name, image) in [("base:old", old), ("base:new", new), ("app:v1", app)] {
        world.put(name, &image.graph()).await;
    }
    world
}

/// Case 3.2.2: the old base is in no registry any more.
#[tokio::test]
async fn c3_2_2_a_boundary_takes_the_place_of_a_base_that_is_gone() {
    let (old, new) = (old_base(), new_base());
    let image = app(&old).build();
    let top = &old.layers[1];
    let boundaries = ["2".to_owned(), "1..2".to_owned(), top.digest.to_string(), top.diff_id.to_string()];
    for boundary in boundaries {
        let world = World::new().await;
        world.put("base:new", &new.graph()).await;
        world.put("app:v1", &image.graph()).await;
        let mut rebase = world.rebase("app:v1").new_base("base:new");
        rebase.request.old_base = OldBase::Boundary(boundary.parse().unwrap());
        let done = rebase.run().await;
        let result = world.image("app:v1").await;
        assert_stacked(&result, &new, &image, 2);
        let platform = &done.plan.report().platforms[0];
        assert!(platform.old_base.digest.is_none() && platform.boundary == 2, "{platform:?}");
        // Nothing tells what the config inherited: it is kept, and that is said.
        assert_eq!(platform.config.notes.len(), 1, "{boundary}");
        world.assert_valid("app:v1").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_boundary_that_the_image_does_not_have_is_named() {
    let (old, new) = (old_base(), new_base());
    let world = world(&old, &new, &app(&old).build()).await;
    for (boundary, reason) in [("9", "9"), ("no such step", "no such step")] {
        let mut rebase = world.rebase("app:v1").new_base("base:new");
        rebase.request.old_base = OldBase::Boundary(boundary.parse().unwrap());
        let error = rebase.refused().await.to_string();
        assert!(error.contains(reason) && error.contains("app"), "{error}");
    }
    world.stop().await;
}

/// A runtime in the middle is swapped; what is below it and above it stays.
#[tokio::test]
async fn layers_in_the_middle_are_replaced_and_those_below_stay() {
    let distribution: [&[(&str, Option<&str>)]; 1] = [&[("etc/os-release", Some("13"))]];
    let runtime = |version: &'static str| -> [Vec<(&'static str, Option<&'static str>)>; 1] {
        [vec![("usr/lib/jvm", Some(version))]]
    };
    let (one, two) = (runtime("17"), runtime("21"));
    let stack = |top: &'static str| match top {
        "17" => [distribution[0], one[0].as_slice()],
        _ => [distribution[0], two[0].as_slice()],
    };
    let (old, new) = (base("linux/amd64", &stack("17")).build(), base("linux/amd64", &stack("21")).build());
    // The new runtime may also come as an image of its own.
    let alone = ImageSpec::new("linux/amd64").layer(new.layers[1].clone()).build();
    let image = app(&old).annotation(annotation::BASE_NAME, "example.com/base:1").build();
    for new in [&new, &alone] {
        let world = world(&old, new, &image).await;
        let mut rebase = world.rebase("app:v1").new_base("base:new");
        rebase.request.old_base = OldBase::Layers("2".parse().unwrap());
        let done = rebase.run().await;
        let result = world.image("app:v1").await;
        let expected: Vec<_> =
            [&image.layers[0], new.layers.last().unwrap(), &image.layers[2], &image.layers[3]]
                .map(|layer| layer.diff_id)
                .to_vec();
        assert_eq!(diff_ids(&result), expected);
        assert_whole_history(&result);
        assert_eq!(world.files("app:v1").await, merged("linux/amd64", &[&stack("21"), &APP]));
        // Where the result begins with all of the new image it says so; else what it said stays.
        let stands = new.layers.len() > 1;
        let name = if stands { world.text("base:new") } else { "example.com/base:1".to_owned() };
        let hint = field(&result.manifest, "/annotations").unwrap()[annotation::BASE_NAME].clone();
        assert_eq!(hint, json!(name));
        let platform = &done.plan.report().platforms[0];
        assert_eq!((platform.below, platform.boundary, platform.own_layers), (1, 2, 2));
        world.assert_valid("app:v1").await;
        let mut again = world.rebase("app:v1").new_base("base:new");
        again.request.old_base = OldBase::Layers("2".parse().unwrap());
        again.changes_nothing().await;
        world.stop().await;
    }
}

/// Cases 3.5.1 to 3.5.3.
#[tokio::test]
async fn c3_5_the_config_becomes_what_a_rebuild_would_have_made() {
    let with = |spec: ImageSpec, env: &[&str], user: &str| {
        spec.config_field("/config/Env", json!(env)).config_field("/config/User", user)
    };
    let old = with(base("linux/amd64", &OLD), &["PATH=/bin", "V=1", "GONE=1", "MINE=1"], "old").build();
    let new =
        with(base("linux/amd64", &NEW), &["PATH=/bin:/sbin", "V=2", "MINE=2", "ADDED=1"], "new").build();
    let image = with(app(&old), &["PATH=/app:/bin", "V=1", "GONE=1", "MINE=own", "APP=1"], "old").build();
    let env = |world: &palan::image::Image| field(&world.config, "/config/Env").unwrap();
    let world = world(&old, &new, &image).await;

    let mut keep = world.rebase("app:v1").bases("base:old", "base:new").target_at(world.at("app:keep"));
    keep.request.policy.config = ConfigPolicy::Keep;
    keep.run().await;
    assert_eq!(env(&world.image("app:keep").await), env(&world.image("app:v1").await));

    let mut fail = world.rebase("app:v1").bases("base:old", "base:new");
    fail.request.policy.on_conflict = OnConflict::Fail;
    let error = fail.refused().await;
    assert!(matches!(&error, Error::ConfigConflict { conflicts, .. } if conflicts.len() == 1), "{error}");
    assert!(error.to_string().contains("MINE"), "{error}");

    let mut base = world.rebase("app:v1").bases("base:old", "base:new").target_at(world.at("app:base"));
    base.request.policy.on_conflict = OnConflict::Base;
    base.run().await;
    assert!(env(&world.image("app:base").await).to_string().contains("MINE=2"));

    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    assert_eq!(env(&result), json!(["PATH=/app:/bin:/sbin", "V=2", "MINE=own", "ADDED=1", "APP=1"]));
    assert_eq!(field(&result.config, "/config/User").unwrap(), "new");
    let merged = &done.plan.report().platforms[0].config;
    assert_eq!(merged.conflicts.len(), 1, "{merged:?}");
    world.rebase("app:v1").bases("base:new", "base:new").changes_nothing().await;
    world.stop().await;
}

/// The layers of both bases are the same, only their configs differ.
#[tokio::test]
async fn a_base_that_changed_its_config_only_is_merged_once() {
    let env = |value: &str| base("linux/amd64", &OLD).config_field("/config/Env", json!([value]));
    let (old, new) = (env("V=1").build(), env("V=2").build());
    let image = app(&old).config_field("/config/Env", json!(["V=1"])).build();
    let world = world(&old, &new, &image).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    assert_eq!(field(&result.config, "/config/Env").unwrap(), json!(["V=2"]));
    assert_eq!(diff_ids(&result), image.diff_ids());
    world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    world.stop().await;
}

#[tokio::test]
async fn the_time_of_creation_is_the_images_or_the_one_given() {
    let (old, new) = (old_base(), new_base());
    let image = app(&old).created("2024-01-01T00:00:00Z").build();
    for (given, expected) in
        [(None, "2024-01-01T00:00:00Z"), (Some("2026-02-03T04:05:06Z"), "2026-02-03T04:05:06Z")]
    {
        let world = world(&old, &new, &image).await;
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
        rebase.request.policy.created = given.map(str::to_owned);
        rebase.run().await;
        assert_eq!(field(&world.image("app:v1").await.config, "/created").unwrap(), expected);
        // What stands there already is not created anew.
        let mut again = world.rebase("app:v1").bases("base:old", "base:new");
        again.request.policy.created = Some("2030-01-01T00:00:00Z".to_owned());
        again.changes_nothing().await;
        world.stop().await;
    }
}

/// No hint at all, and the old base is deleted: the index of known bases has its layers and its config.
#[tokio::test]
async fn a_known_base_need_not_be_there_any_more() {
    let (old, new) = (
        base("linux/amd64", &OLD).config_field("/config/User", "old").build(),
        base("linux/amd64", &NEW).config_field("/config/User", "new").build(),
    );
    let image = app(&old).config_field("/config/User", "old").build();
    let world = World::new().await;
    world.put("base:1", &IndexSpec::new().image(old.clone()).build().graph()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bases.jsonl");
    let watch = known::Watch {
        tags: world.text("base:1").parse().unwrap(),
        newest: 9,
        platforms: Vec::new(),
        order: known::Order::Created,
    };
    let found = known::gather(&world.places, &watch, 1, SystemTime::UNIX_EPOCH).await.unwrap();
    known::change(&file, known::Change { add: found.entries, ..known::Change::default() }).unwrap();
    // The tag moves on, and nothing holds the old one.
    world.put("base:1", &new.graph()).await;
    world.put("app:v1", &image.graph()).await;

    let unknown = world.rebase("app:v1").new_base("base:1").refused().await;
    assert!(matches!(unknown, Error::BaseUnknown { which: "old", .. }), "{unknown}");
    let mut rebase = world.rebase("app:v1");
    rebase.request.knowledge.bases = Some(Arc::new(KnownBases::open(&file).unwrap()));
    let done = rebase.run().await;
    let result = world.image("app:v1").await;
    assert_stacked(&result, &new, &image, 2);
    assert_eq!(field(&result.config, "/config/User").unwrap(), "new");
    let platform = &done.plan.report().platforms[0];
    assert!(platform.old_base.evidence.as_deref().unwrap().starts_with("known-base"), "{platform:?}");
    assert_whole_history(&result);
    world.stop().await;
}

/// The hints name a registry that does not answer any more; the known bases do.
#[tokio::test]
async fn hints_that_lead_nowhere_do_not_end_the_search() {
    let (old, new) = (old_base(), new_base());
    let gone = World::new().await;
    let name = gone.text("base:1");
    gone.stop().await;
    let image = app(&old)
        .annotation(annotation::BASE_NAME, name)
        .annotation(annotation::BASE_DIGEST, old.digest().to_string())
        .build();
    let (world, elsewhere) = (World::new().await, World::new().await);
    world.put("next:1", &new.graph()).await;
    world.put("app:v1", &image.graph()).await;
    elsewhere.put("base:old", &old.graph()).await;
    let error = world.rebase("app:v1").new_base("next:1").refused().await;
    assert!(matches!(error, Error::Client(_)), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bases.jsonl");
    let watch = known::Watch {
        tags: elsewhere.text("base:old").parse().unwrap(),
        newest: 1,
        platforms: Vec::new(),
        order: known::Order::Created,
    };
    let found = known::gather(&world.places, &watch, 1, SystemTime::UNIX_EPOCH).await.unwrap();
    known::change(&file, known::Change { add: found.entries, ..known::Change::default() }).unwrap();
    let mut rebase = world.rebase("app:v1").new_base("next:1");
    rebase.request.knowledge.bases = Some(Arc::new(KnownBases::open(&file).unwrap()));
    let done = rebase.run().await;
    assert_eq!(done.findings(palan::rebase::FindingKind::BaseFound).len(), 1);
    assert_stacked(&world.image("app:v1").await, &new, &image, 2);
    elsewhere.stop().await;
    world.stop().await;
}

/// Node's image is built on Debian's and inherits its labels; the application inherits them again.
#[tokio::test]
async fn inherited_labels_do_not_decide_where_to_cut() {
    let debian = base("linux/amd64", &OLD[..1]).build();
    let node = app(&debian).label(annotation::BASE_NAME, "x").build();
    let named = |world: &World, image: ImageSpec| {
        image
            .label(annotation::BASE_NAME, world.text("debian:12"))
            .label(annotation::BASE_DIGEST, debian.digest().to_string())
    };
    let world = World::new().await;
    let image =
        named(&world, ImageSpec::new("linux/amd64").on(&node).layers(crate::fixture::layers(&APP))).build();
    world.put("debian:12", &debian.graph()).await;
    world.put("node:22", &new_base().graph()).await;
    world.put("app:v1", &image.graph()).await;
    let error = world.rebase("app:v1").new_base("node:22").refused().await;
    assert!(matches!(error, Error::BaseUnknown { which: "old", .. }), "{error}");
    // In the repository that the labels name, they are believed.
    world.put("debian:13", &base("linux/amd64", &NEW[..1]).build().graph()).await;
    let done = world.rebase("app:v1").new_base("debian:13").run().await;
    assert_eq!(done.plan.report().platforms[0].boundary, 1);
    world.stop().await;
}

/// What was typed counts, not what the image says of itself.
#[tokio::test]
async fn a_boundary_counts_although_the_image_says_that_it_stands_on_the_new_base() {
    let new = new_base();
    let image = app(&new).annotation(annotation::BASE_DIGEST, new.digest().to_string()).build();
    let world = World::new().await;
    world.put("base:new", &new.graph()).await;
    world.put("app:v1", &image.graph()).await;
    let mut rebase = world.rebase("app:v1").new_base("base:new");
    rebase.request.old_base = OldBase::Boundary("3".parse().unwrap());
    rebase.run().await;
    assert_stacked(&world.image("app:v1").await, &new, &image, 3);
    let mut all = world.rebase("app:v1").new_base("base:new").target_at(world.at("app:v2"));
    all.request.old_base = OldBase::Boundary("3".parse().unwrap());
    let done = all.run().await;
    assert_eq!(done.findings(palan::rebase::FindingKind::Cut).len(), 1, "nothing of the application is left");
    world.stop().await;
}

/// A base name with a digest would stand for the old base for ever.
#[tokio::test]
async fn a_pinned_base_name_is_read_by_its_tag() {
    let (old, new) = (old_base(), new_base());
    let world = World::new().await;
    let pinned = format!("{}@{}", world.text("base:1"), old.digest());
    let image = app(&old)
        .annotation(annotation::BASE_NAME, pinned)
        .annotation(annotation::BASE_DIGEST, old.digest().to_string())
        .build();
    world.put("base:1", &old.graph()).await;
    world.put("base:1", &new.graph()).await;
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").run().await;
    assert_stacked(&world.image("app:v1").await, &new, &image, 2);
    world.stop().await;
}
