//! The operation as it should go.

use palan::fleet::{Action, Become, Choice, Journal, Plan, states};
use palan_core::Digest;
use palan_testkit::{fleet::PLATFORMS, image::Index};
use serde_json::json;

use crate::world::{Refusing, World, all, results, settings, short};

/// `os:1` with three services, and `jre:1` on it with two more; then `os:1` moves.
pub(crate) async fn fleet(world: &World) -> (Vec<String>, Index) {
    let os = world.base("os:1", "with a hole").await;
    let jre = world.on("base/jre:17", ("os:1", &os)).await;
    for name in ["team/api:1", "team/web:1", "team/auth:2"] {
        world.on(name, ("os:1", &os)).await;
    }
    for name in ["team/billing:1", "team/cart:1"] {
        world.on(name, ("base/jre:17", &jre)).await;
    }
    let names = ["base/jre:17", "team/api:1", "team/web:1", "team/auth:2", "team/billing:1", "team/cart:1"];
    (names.map(str::to_owned).into(), world.base("os:1", "patched").await)
}

pub(crate) fn rules(world: &World) -> serde_json::Value {
    json!({
        "base": [{"from": format!("{}/os:*", world.host)}],
        "wave": [{"name": "canary", "images": ["*/team/web"]}],
        "gates": {"accept": "clean", "hook": ["smoke", "--fast"]},
    })
}

#[tokio::test]
async fn a_fleet_is_planned_applied_promoted_and_given_back() {
    let world = World::new().await;
    let (names, _) = fleet(&world).await;
    let inventory = world.inventory(&names).await;
    let plan = world.plan(&settings(rules(&world)), &inventory).await.unwrap();
    let shape: Vec<_> = plan
        .images
        .iter()
        .map(|entry| (short(&entry.image), entry.wave.as_str(), matches!(entry.action, Action::Rebase(_))))
        .collect();
    assert_eq!(
        shape,
        [
            ("web", "canary", true),
            ("jre", "rest", true),
            ("api", "rest", true),
            ("auth", "rest", true),
            ("billing", "rest", true),
            ("cart", "rest", true),
        ]
    );
    let cart = plan.images.last().unwrap();
    assert_eq!(cart.after, [world.name("base/jre:17")]);
    // The same fleet gives the same file, and the file says all of it.
    let again = world.plan(&settings(rules(&world)), &inventory).await.unwrap();
    assert_eq!(again.to_text(), plan.to_text());
    assert_eq!(Plan::parse(&plan.to_text()).unwrap(), plan);

    let hook = Refusing::default();
    let applied = world.apply(&plan, all(), &hook).await;
    assert!(applied.iter().all(|outcome| outcome.result == Become::Done), "{applied:?}");
    assert_eq!(hook.asked.lock().unwrap().len(), 6);
    for (entry, locked) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
        assert_eq!(world.standing(&locked.candidate).await, Some(locked.new_digest));
        assert_eq!(world.standing(&locked.backup).await, None);
    }
    // Again: nothing is done, nothing is asked.
    let before = world.registry().stats();
    let applied = world.apply(&plan, all(), &hook).await;
    assert!(applied.iter().all(|outcome| outcome.result == Become::Already), "{applied:?}");
    assert_eq!(world.registry().stats().since(&before).requests, 0);
    assert_eq!(hook.asked.lock().unwrap().len(), 6);

    let canary = world.promote(&plan, Choice { waves: vec!["canary".into()], ..all() }).await;
    assert_eq!(results(&canary), [("web", Become::Done)]);
    let promoted = world.promote(&plan, all()).await;
    let count = |result| promoted.iter().filter(|outcome| outcome.result == result).count();
    assert_eq!((count(Become::Done), count(Become::Already)), (5, 1));
    for (entry, locked) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, Some(locked.new_digest));
        assert_eq!(world.standing(&locked.backup).await, entry.digest);
        for platform in PLATFORMS {
            let files = world.files(&entry.image, platform).await;
            assert_eq!(files["etc/base"], Digest::sha256(b"patched"), "{}", entry.image);
            assert_eq!(files["etc/platform"], Digest::sha256(platform.as_bytes()));
            assert!(files.keys().any(|path| path.starts_with("app/")));
        }
    }

    let back = world.rollback(Choice { only: vec!["*/team/web".into(), "*/cart:1".into()], ..all() }).await;
    assert_eq!(back.len(), 2);
    let back = world.rollback(all()).await;
    assert_eq!(back.len(), 4, "{back:?}");
    for (entry, _) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
    }
    assert!(world.rollback(all()).await.is_empty());
    let states = states(&Journal::read(&world.journal_path()).unwrap());
    assert!(states.values().all(|state| state.is_restored && !state.is_promoted));
    // Whoever promotes the plan once more, as a cron job does, does not undo that.
    let promoted = world.promote(&plan, all()).await;
    assert!(promoted.iter().any(|outcome| outcome.result == Become::GivenBack), "{promoted:?}");
    for (entry, _) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
    }
    let states = palan::fleet::states(&Journal::read(&world.journal_path()).unwrap());
    let report = palan::fleet::report::Report::new(&plan, &states);
    assert_eq!(report.totals.count(palan::fleet::report::Standing::Restored), 6, "{:?}", report.totals);
    // And forth again.
    let promoted = world.promote(&plan, Choice { again: true, ..all() }).await;
    assert!(promoted.iter().all(|outcome| outcome.result == Become::Done), "{promoted:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_wave_that_does_not_pass_ends_the_run() {
    let world = World::new().await;
    let (names, _) = fleet(&world).await;
    let inventory = world.inventory(&names).await;
    let plan = world.plan(&settings(rules(&world)), &inventory).await.unwrap();
    let hook = Refusing { word: Some("web"), ..Refusing::default() };
    let applied = world.apply(&plan, all(), &hook).await;
    assert_eq!(applied[0].result, Become::NotPassed);
    assert_eq!(applied[0].reason.as_deref(), Some("the hook refused it: boom"));
    assert!(applied[1..].iter().all(|outcome| outcome.result == Become::NotBegun), "{applied:?}");
    let applied = world.apply(&plan, Choice { keep_going: true, ..all() }, &hook).await;
    assert!(applied[1..].iter().all(|outcome| outcome.result == Become::Done), "{applied:?}");
    // What did not pass is not promoted, and it ends that run too.
    let promoted = world.promote(&plan, all()).await;
    assert_eq!(promoted[0].result, Become::NotPassed);
    assert_eq!(promoted[1].result, Become::NotBegun);
    let promoted = world.promote(&plan, Choice { keep_going: true, ..all() }).await;
    assert_eq!(promoted[0].result, Become::NotPassed);
    assert!(promoted[1..].iter().all(|outcome| outcome.result == Become::Done), "{promoted:?}");
    // Mended: the hook is asked again, for this one only.
    let hook = Refusing::default();
    let applied = world.apply(&plan, all(), &hook).await;
    assert_eq!((applied[0].result, applied[1].result), (Become::Done, Become::Already));
    assert_eq!(*hook.asked.lock().unwrap(), ["web"]);
    world.stop().await;
}

#[tokio::test]
async fn what_would_be_done_is_said_and_not_done() {
    let world = World::new().await;
    let (names, _) = fleet(&world).await;
    let inventory = world.inventory(&names).await;
    let plan = world.plan(&settings(rules(&world)), &inventory).await.unwrap();
    let before = world.registry().stats();
    let dry = Choice { dry_run: true, ..all() };
    let look = Journal::look(&world.journal_path(), plan.digest()).unwrap();
    let promoted = palan::fleet::promote(&world.places, &plan, &look, &dry, &|_| {}).await.unwrap();
    assert!(!promoted.iter().any(|outcome| outcome.result.is_good()), "{promoted:?}");
    let apply = palan::fleet::Apply {
        choice: dry,
        options: Default::default(),
        knowledge: Default::default(),
        hook: Some(&Refusing::default()),
        listener: &|_| {},
    };
    let applied = palan::fleet::apply(&world.places, &plan, &look, &apply).await.unwrap();
    let planned = applied.iter().filter(|outcome| outcome.result == Become::Planned).count();
    assert_eq!(planned, 6, "{applied:?}");
    assert!(!world.journal_path().exists());
    let tags = world.tags("team/web").await;
    assert_eq!(tags, ["1"]);
    assert_eq!(world.registry().stats().since(&before).of(palan_server::RequestKind::ManifestPut), 0);
    world.stop().await;
}
