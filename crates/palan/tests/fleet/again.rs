//! What is done a second time: what is so already is written down where something went wrong in between.

use palan::fleet::{Become, Choice, Event, Journal, Plan, State, states};

use crate::{
    operation::{fleet, rules},
    world::{Refusing, World, all, settings},
};

async fn planned(world: &World) -> Plan {
    let (names, _) = fleet(world).await;
    let inventory = world.inventory(&names).await;
    world.plan(&settings(rules(world)), &inventory).await.unwrap()
}

/// All images failed in a step, as when their registry does not answer.
async fn fail(journal: &Journal, plan: &Plan, step: &str) {
    for (entry, _) in plan.rebases() {
        let (image, step, reason) = (entry.image.clone(), step.to_owned(), "no answer".to_owned());
        journal.write(Event::Failed { image, step, result: Become::Failed, reason }).await.unwrap();
    }
}

fn last(world: &World) -> Vec<State> {
    states(&Journal::read(&world.journal_path()).unwrap()).into_values().collect()
}

#[tokio::test]
async fn what_failed_and_is_so_already_is_done() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let is_already = |outcomes: &[palan::fleet::Outcome]| {
        assert_eq!(outcomes.len(), 6);
        assert!(outcomes.iter().all(|outcome| outcome.result == Become::Already), "{outcomes:?}");
        assert!(last(&world).iter().all(|state| state.failed.is_none()), "{:?}", last(&world));
    };
    world.apply(&plan, all(), &Refusing::default()).await;
    fail(&world.journal(&plan), &plan, "apply").await;
    is_already(&world.apply(&plan, all(), &Refusing::default()).await);
    world.promote(&plan, all()).await;
    fail(&world.journal(&plan), &plan, "promote").await;
    is_already(&world.promote(&plan, all()).await);
    assert!(last(&world).iter().all(|state| state.is_promoted));
    // Once: what is so, and is said to be so, is not said again.
    let lines = |world: &World| Journal::read(&world.journal_path()).unwrap().len();
    let before = lines(&world);
    is_already(&world.promote(&plan, all()).await);
    assert_eq!(lines(&world), before + 1, "only the beginning of the run");
    world.stop().await;
}

#[tokio::test]
async fn what_is_pushed_would_not_be_pushed() {
    let world = World::new().await;
    let plan = planned(&world).await;
    world.apply(&plan, all(), &Refusing::default()).await;
    let would = world.apply(&plan, Choice { dry_run: true, ..all() }, &Refusing::default()).await;
    assert!(would.iter().all(|outcome| outcome.result == Become::Already), "{would:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_a_gate_of_the_plan_stops_is_written_down() {
    let world = World::new().await;
    let mut plan = planned(&world).await;
    // Somebody edited it.
    plan.waves[0].gates.max_growth_percent = Some(0);
    let palan::fleet::Action::Rebase(locked) = &mut plan.images[0].action else { panic!("{plan:?}") };
    locked.size = 1;
    let applied = world.apply(&plan, all(), &Refusing::default()).await;
    assert_eq!(applied[0].result, Become::NotPassed, "{applied:?}");
    let states = states(&Journal::read(&world.journal_path()).unwrap());
    let (gate, said) = states[&plan.images[0].image].gate.clone().unwrap();
    assert_eq!(gate, "plan");
    assert!(said.starts_with("it would grow from 1 to "), "{said}");
    world.stop().await;
}
