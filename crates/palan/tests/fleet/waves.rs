//! Who goes first, and what goes only after that.

use palan::fleet::{Become, Choice, Plan};
use palan_testkit::image::{ImageSpec, layer};

use crate::{
    operation::{fleet, rules},
    world::{Refusing, World, all, results, settings},
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
