//! A fleet whose images do not say what they stand on, planned where that is known and applied where it is not.

use std::{sync::Arc, time::SystemTime};

use palan::{
    Observer,
    base::{
        KnownBases,
        known::{self, Change, Order, Watch},
    },
    fleet::{self, Become, Plan, Planning},
    rebase::Knowledge,
};
use palan_testkit::image::{Image, ImageSpec, layer};
use serde_json::json;

use crate::world::{Refusing, World, all, settings};

fn base(content: &str, version: &str) -> Image {
    let layer = layer(&[("etc/base", content.as_bytes())]);
    let env = json!([format!("BASE={version}"), "PATH=/bin"]);
    ImageSpec::new("linux/amd64").layer(layer).config_field("/config/Env", env).build()
}

async fn planned(world: &World) -> Plan {
    let old = base("with a hole", "1");
    world.put("os:1", &old.graph()).await;
    let folder = world.folder.path().join("bases.jsonl");
    let tags = world.name("os:1").repository().to_string().parse().unwrap();
    let watch = Watch { tags, newest: 9, order: Order::Version, platforms: vec![] };
    let gathered = known::gather(&world.places, &watch, 2, SystemTime::UNIX_EPOCH).await.unwrap();
    known::change(&folder, Change { add: gathered.entries, watch: vec![watch], ..Change::default() })
        .unwrap();
    // It brings its base's environment, as a build does.
    let app = ImageSpec::new("linux/amd64").on(&old).layer(layer(&[("app/run", b"run")]));
    let app = app.config_field("/config/Env", json!(["BASE=1", "PATH=/bin", "APP=1"])).build();
    world.put("team/app:1", &app.graph()).await;
    world.put("os:1", &base("patched", "2").graph()).await;

    let known = Arc::new(KnownBases::open(&folder).unwrap());
    let mut settings = settings(json!({"base": [{"from": format!("{}/os:*", world.host)}]}));
    settings.images.references = vec![world.name("team/app:1")];
    let scanned = fleet::scan(&world.places, &settings, Some(&known), 8, &Observer::default()).await;
    let inventory = scanned.unwrap();
    let knowledge = Knowledge { bases: Some(known), ..Knowledge::default() };
    let planning =
        Planning { settings: &settings, inventory: &inventory, knowledge, jobs: 8, signatures: None };
    fleet::plan(&world.places, &planning).await.unwrap()
}

#[tokio::test]
async fn a_plan_says_what_was_known_where_it_was_made() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let (_, locked) = plan.rebases().next().unwrap();
    let old = world.name("os:1").pinned(base("with a hole", "1").digest());
    assert_eq!(locked.platforms[0].old_base_at, Some(old), "{locked:?}");
    // With nothing known at all.
    let applied = world.apply(&Plan::parse(&plan.to_text()).unwrap(), all(), &Refusing::default()).await;
    assert_eq!(applied[0].result, Become::Done, "{applied:?}");
    assert_eq!(applied[0].digest, Some(locked.new_digest));
    world.stop().await;
}

#[tokio::test]
async fn an_old_base_that_is_gone_is_named() {
    let world = World::new().await;
    let mut plan = planned(&world).await;
    let gone = world.name("os:1").pinned(base("never pushed", "1").digest());
    let palan::fleet::Action::Rebase(locked) = &mut plan.images[0].action else { panic!("{plan:?}") };
    locked.platforms[0].old_base_at = Some(gone.clone());
    let applied = world.apply(&plan, all(), &Refusing::default()).await;
    assert_eq!(applied[0].result, Become::Failed, "{applied:?}");
    let reason = applied[0].reason.clone().unwrap();
    assert!(reason.contains(&gone.digest().unwrap().to_string()), "{reason}");
    world.stop().await;
}
