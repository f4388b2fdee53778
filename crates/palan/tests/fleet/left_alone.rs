//! Images that a plan leaves alone, and why.

use palan::fleet::{self, Action, Choice, Left, Plan};
use palan_core::annotation::{BASE_DIGEST, BASE_NAME};
use palan_testkit::image::{Image, ImageSpec, LayerSpec};
use serde_json::json;

use crate::world::{Refusing, World, all, settings, short};

/// `web` on `lib` on `rt` on `os`, each by its word alone.
async fn tower(world: &World) {
    let os = world.base("os:1", "with a hole").await;
    let rt = world.on("base/rt:1", ("os:1", &os)).await;
    let lib = world.on("base/lib:1", ("base/rt:1", &rt)).await;
    world.on("team/web:1", ("base/lib:1", &lib)).await;
}

fn single(name: &str, base: Option<(&Image, [(&str, String); 2])>) -> Image {
    let layer = LayerSpec::new().file("etc/name", name).build();
    let spec = ImageSpec::new("linux/amd64");
    let spec = match base {
        None => spec,
        Some((base, hints)) => {
            hints.into_iter().fold(spec.on(base), |spec, (key, value)| spec.annotation(key, value))
        }
    };
    spec.layer(layer).build()
}

async fn planned(world: &World, rules: serde_json::Value, names: &[&str]) -> Plan {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let inventory = world.inventory(&names).await;
    world.plan(&settings(rules), &inventory).await.unwrap()
}

/// Names, with why they are left alone; `None`: something else becomes of them.
fn left(plan: &Plan) -> Vec<(String, Option<Left>)> {
    let why = |action: &Action| match action {
        Action::Nothing { why, .. } => *why,
        _ => None,
    };
    plan.images.iter().map(|entry| (short(&entry.image).to_owned(), why(&entry.action))).collect()
}

fn reasons(plan: &Plan, host: &str) -> Vec<String> {
    let reason = |action: &Action| match action {
        Action::Fail { reason } => Some(reason.replace(&format!("{host}/"), "")),
        _ => None,
    };
    plan.images.iter().filter_map(|entry| reason(&entry.action)).collect()
}

#[tokio::test]
async fn what_stands_on_a_base_that_failed_fails_too() {
    let world = World::new().await;
    tower(&world).await;
    let rule = json!({ "from": format!("{}/os:*", world.host), "to": format!("{}/os:7", world.host) });
    let rules = json!({ "base": [rule] });
    let plan = planned(&world, rules.clone(), &["base/rt:1", "base/lib:1", "team/web:1"]).await;
    let found = reasons(&plan, &world.host);
    assert_eq!(
        found,
        [
            "7 was not found in os",
            "its base base/rt:1 cannot be rebased",
            "its base base/lib:1 cannot be rebased"
        ]
    );
    // What cannot be looked at cannot be rebased either.
    let plan = planned(&world, rules, &["base/gone:1", "team/web:1"]).await;
    assert_eq!(reasons(&plan, &world.host).len(), 2, "{}", plan.to_text());
    world.stop().await;
}

#[tokio::test]
async fn a_base_that_is_not_of_the_fleet_does_not_hide_what_is_below() {
    let world = World::new().await;
    tower(&world).await;
    let rule = |to: &str| json!({ "base": [{ "from": format!("{}/os:*", world.host), "to": format!("{}/{to}", world.host) }] });
    let new = world.base("os:2", "patched").await;
    let plan = planned(&world, rule("os:2"), &["base/lib:1", "team/web:1"]).await;
    let found = reasons(&plan, &world.host);
    let reason = "its base base/rt:1 is no image of the fleet, but stands on os:1, which a rule is about: name it among the images, or give it a rule";
    assert_eq!(found, [reason, "its base base/lib:1 cannot be rebased"]);
    // Already where the rule wants it.
    let rt = world.on("base/rt:2", ("os:2", &new)).await;
    world.on("team/api:1", ("base/rt:2", &rt)).await;
    let plan = planned(&world, rule("os:2"), &["team/api:1"]).await;
    assert_eq!(left(&plan), [("api".to_owned(), Some(Left::UpToDate))]);
    world.stop().await;
}

#[tokio::test]
async fn why_nothing_is_done_is_told_apart() {
    let world = World::new().await;
    let os = single("os", None);
    let on = |base: &Image, on: &str, name: &str| {
        let hinted = [(BASE_NAME, world.name(on).to_string()), (BASE_DIGEST, base.digest().to_string())];
        single(name, Some((base, hinted)))
    };
    let rt = on(&os, "os:1", "rt");
    let lib = on(&rt, "base/rt:1", "lib");
    for (name, image) in [("os:1", &os), ("base/rt:1", &rt), ("base/lib:1", &lib)] {
        world.put(name, &image.graph()).await;
    }
    let of = |name: &str, why| (name.to_owned(), Some(why));
    let plan = planned(&world, json!({}), &["os:1"]).await;
    assert_eq!(left(&plan), [of("os", Left::BaseUnknown)]);
    let rule = json!({ "base": [{ "from": format!("{}/os:*", world.host) }] });
    let plan = planned(&world, rule, &["base/rt:1", "base/lib:1"]).await;
    assert_eq!(left(&plan), [of("rt", Left::UpToDate), of("lib", Left::UpToDate)]);
    let plan = planned(&world, json!({}), &["base/rt:1", "base/lib:1"]).await;
    assert_eq!(left(&plan), [of("rt", Left::NoRule), of("lib", Left::NoRule)]);
    world.stop().await;
}

#[tokio::test]
async fn what_stands_where_it_should_is_not_rebased_for_its_annotations() {
    let world = World::new().await;
    // Each names its base by the platform's digest, where a rebase would write that of the index.
    tower(&world).await;
    let rule = json!({ "base": [{ "from": format!("{}/os:*", world.host) }] });
    let plan = planned(&world, rule, &["base/rt:1", "base/lib:1", "team/web:1"]).await;
    assert!(left(&plan).iter().all(|(_, why)| *why == Some(Left::UpToDate)), "{}", plan.to_text());
    world.stop().await;
}

#[tokio::test]
async fn what_has_arrived_is_up_to_date_and_its_rule_is_met() {
    let world = World::new().await;
    tower(&world).await;
    let host = &world.host;
    for more in [json!({ "to": format!("{host}/os:1") }), json!({ "newest": "1*" })] {
        let mut rule = json!({ "from": format!("{host}/os:0") });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let rules = json!({ "base": [rule] });
        let plan = planned(&world, rules.clone(), &["base/lib:1", "team/web:1"]).await;
        assert!(left(&plan).iter().all(|(_, why)| *why == Some(Left::UpToDate)), "{}", plan.to_text());
        let inventory = world.inventory(&["base/lib:1".to_owned()]).await;
        assert!(fleet::unfit(&settings(rules), &inventory).is_empty());
    }
    world.stop().await;
}

#[tokio::test]
async fn rules_and_waves_that_no_image_fits_are_said() {
    let world = World::new().await;
    tower(&world).await;
    let host = &world.host;
    let rules = json!({
        "base": [{"from": format!("{host}/os:*")}, {"from": format!("{host}/ooos:*")}],
        "wave": [
            {"name": "canary", "label": "tier=nobody"},
            {"name": "web", "images": ["*/team/web"]},
            {"name": "typo", "images": ["*/team/wbe"]},
        ],
    });
    // The rule about what is only below another base is met.
    let inventory = world.inventory(&["team/web:1".to_owned()]).await;
    let said = fleet::unfit(&settings(rules.clone()), &inventory);
    let rule = format!("no image stands on {host}/ooos:*, as a rule has it");
    assert_eq!(said, [&rule, "no image fits the wave \"canary\"", "no image fits the wave \"typo\""]);
    assert!(fleet::unfit(&settings(rules), &Default::default()).is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_pattern_that_names_no_image_of_the_plan_is_an_error() {
    let world = World::new().await;
    let (names, _) = crate::operation::fleet(&world).await;
    let inventory = world.inventory(&names).await;
    let plan = world.plan(&settings(crate::operation::rules(&world)), &inventory).await.unwrap();
    let only = |pattern: &str| Choice { only: vec!["*/team/web".into(), pattern.into()], ..all() };
    world.apply(&plan, only("*/cart:1"), &Refusing::default()).await;
    let journal = world.journal(&plan);
    let refused = fleet::promote(&world.places, &plan, &journal, &only("*/nope"), &|_| {}).await.unwrap_err();
    assert!(refused.is_not_found() && refused.to_string().contains("an image like \"*/nope\""), "{refused}");
    for plan in [None, Some(&plan)] {
        let back = match plan {
            Some(plan) => fleet::rollback_plan(&world.places, plan, &journal, &only("*/nope"), &|_| {}).await,
            None => fleet::rollback(&world.places, &journal, &only("*/nope"), &|_| {}).await,
        };
        assert!(back.unwrap_err().is_not_found());
    }
    // Named in the journal, with nothing to give back.
    let back = fleet::rollback(&world.places, &journal, &only("*/cart:1"), &|_| {}).await.unwrap();
    assert!(back.is_empty());
    world.stop().await;
}
