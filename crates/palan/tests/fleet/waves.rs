//! Who goes first, and what goes only after that.

use palan::fleet::{Become, Choice, Plan};
use palan_testkit::image::{ImageSpec, layer};
use serde_json::json;

use crate::{
    operation::{fleet, rules},
    world::{Refusing, World, all, results, settings, short},
};

async fn planned(world: &World) -> Plan {
    let (names, _) = fleet(world).await;
    let inventory = world.inventory(&names).await;
    world.plan(&settings(rules(world)), &inventory).await.unwrap()
}

/// The tag of the canary stands for something else.
async fn move_web(world: &World) {
    let other = ImageSpec::new("linux/amd64").layer(layer(&[("etc/other", b"other")])).build();
    world.put("team/web:1", &other.graph()).await;
}

#[tokio::test]
async fn a_wave_of_which_an_image_was_moved_ends_the_run() {
    let world = World::new().await;
    let plan = planned(&world).await;
    world.apply(&plan, all(), &Refusing::default()).await;
    move_web(&world).await;
    let promoted = world.promote(&plan, all()).await;
    assert_eq!(promoted[0].result, Become::Moved);
    let reason = Some("1 image of the wave canary was not done");
    assert!(promoted[1..].iter().all(|o| o.result == Become::NotBegun && o.reason.as_deref() == reason));
    for (entry, _) in plan.rebases().skip(1) {
        assert_eq!(world.standing(&entry.image).await, entry.digest, "{}", entry.image);
    }
    let promoted = world.promote(&plan, Choice { keep_going: true, ..all() }).await;
    assert_eq!(promoted[0].result, Become::Moved);
    assert!(promoted[1..].iter().all(|outcome| outcome.result == Become::Done), "{promoted:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_wave_that_was_not_applied_ends_the_run() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let rest = Choice { waves: vec!["rest".into()], ..all() };
    let applied = world.apply(&plan, rest.clone(), &Refusing::default()).await;
    assert!(applied.iter().all(|outcome| outcome.result == Become::Done), "{applied:?}");
    let promoted = world.promote(&plan, all()).await;
    assert_eq!(promoted[0].reason.as_deref(), Some("it has not been applied"));
    assert!(promoted[1..].iter().all(|outcome| outcome.result == Become::NotBegun), "{promoted:?}");
    // Who names a wave means it.
    let promoted = world.promote(&plan, rest).await;
    assert!(promoted.iter().all(|outcome| outcome.result == Become::Done), "{promoted:?}");
    assert_eq!(results(&promoted).len(), 5);
    world.stop().await;
}

/// Image, wave, and what is said of the wave.
fn waves(plan: &Plan) -> Vec<(&str, &str, Option<&str>)> {
    plan.images
        .iter()
        .map(|entry| {
            let finding = entry.locked().and_then(|locked| locked.findings.first());
            (short(&entry.image), entry.wave.as_str(), finding.map(String::as_str))
        })
        .collect()
}

#[tokio::test]
async fn a_base_goes_with_the_first_that_stands_on_it() {
    let world = World::new().await;
    let (names, _) = fleet(&world).await;
    let inventory = world.inventory(&names).await;
    let rules = json!({
        "base": [{"from": format!("{}/os:*", world.host)}],
        "wave": [{"name": "canary", "images": ["*/team/cart"]}, {"name": "bases", "images": ["*/base/*"]}],
    });
    let plan = world.plan(&settings(rules), &inventory).await.unwrap();
    let cart = world.name("team/cart:1");
    let said = format!("it goes in the wave canary, not in bases: {cart} of that wave is to stand on it");
    assert_eq!(
        waves(&plan),
        [
            ("jre", "canary", Some(said.as_str())),
            ("cart", "canary", None),
            ("api", "rest", None),
            ("auth", "rest", None),
            ("web", "rest", None),
            ("billing", "rest", None),
        ]
    );
    assert_eq!(plan.images[1].after, [world.name("base/jre:17")]);
    world.stop().await;
}

#[tokio::test]
async fn a_base_that_stays_keeps_nobody_back() {
    let world = World::new().await;
    let os = world.base("os:1", "with a hole").await;
    let jre = world.on("base/jre:17", ("os:1", &os)).await;
    world.on("team/cart:1", ("base/jre:17", &jre)).await;
    world.base("base/jre:21", "newer").await;
    let names = ["base/jre:17", "team/cart:1"].map(str::to_owned);
    let inventory = world.inventory(&names).await;
    let rules = json!({
        "base": [{"from": format!("{}/base/jre:*", world.host), "to": format!("{}/base/jre:21", world.host)}],
        "gates": {"accept": "broken"},
        "wave": [{"name": "canary", "images": ["*/team/cart"]}],
    });
    let plan = world.plan(&settings(rules), &inventory).await.unwrap();
    let waves: Vec<_> = waves(&plan).into_iter().map(|(image, wave, _)| (image, wave)).collect();
    assert_eq!(waves, [("cart", "canary"), ("jre", "rest")]);
    assert!(plan.images[0].after.is_empty());
    assert_eq!(plan.rebases().count(), 1);
    world.stop().await;
}
