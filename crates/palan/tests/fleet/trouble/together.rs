//! Several runs at once.

use std::path::Path;

use palan::fleet::{self, Action, Apply, Choice, Journal, JournalError, Outcome, Plan};
use serde_json::json;

use crate::world::{World, all, settings};

async fn fleet(world: &World) -> Plan {
    let os = world.base("os:1", "with a hole").await;
    let jre = world.on("jre:17", ("os:1", &os)).await;
    let mut names = vec!["jre:17".to_owned()];
    for number in 0..12 {
        let name = format!("team/s{number}:1");
        match number % 3 {
            0 => world.on(&name, ("jre:17", &jre)).await,
            _ => world.on(&name, ("os:1", &os)).await,
        };
        names.push(name);
    }
    world.base("os:1", "patched").await;
    let settings = settings(json!({"base": [{"from": format!("{}/os:*", world.host)}]}));
    let plan = world.plan(&settings, &world.inventory(&names).await).await.unwrap();
    assert!(plan.images.iter().all(|entry| matches!(entry.action, Action::Rebase(_))), "{plan:?}");
    plan
}

fn journal(world: &World, name: &str, plan: &Plan) -> Journal {
    Journal::open(&world.folder.path().join(name), plan.digest()).unwrap()
}

async fn apply(world: &World, plan: &Plan, journal: &Journal) -> Vec<Outcome> {
    let apply = Apply {
        choice: Choice { jobs: 4, ..all() },
        options: Default::default(),
        knowledge: Default::default(),
        hook: None,
        listener: &|_| {},
    };
    fleet::apply(&world.places, plan, journal, &apply).await.unwrap()
}

fn digests(outcomes: &[Outcome]) -> Vec<String> {
    assert!(outcomes.iter().all(|outcome| outcome.result.is_good()), "{outcomes:?}");
    outcomes.iter().map(|o| format!("{} {}", o.image, o.digest.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_of_one_plan_with_journals_of_their_own_end_well() {
    let world = World::new().await;
    let plan = fleet(&world).await;
    let (one, two) = (journal(&world, "one", &plan), journal(&world, "two", &plan));
    let (a, b) = tokio::join!(apply(&world, &plan, &one), apply(&world, &plan, &two));
    assert_eq!(digests(&a), digests(&b));
    let choice = all();
    let promote = |journal| fleet::promote(&world.places, &plan, journal, &choice, &|_| {});
    let (a, b) = tokio::join!(promote(&one), promote(&two));
    assert_eq!(digests(&a.unwrap()), digests(&b.unwrap()));
    for (entry, locked) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, Some(locked.new_digest));
        assert_eq!(world.standing(&locked.backup).await, entry.digest);
    }
    let rollback = |journal| fleet::rollback(&world.places, journal, &choice, &|_| {});
    let (a, b) = tokio::join!(rollback(&one), rollback(&two));
    let (mut a, mut b) = (digests(&a.unwrap()), digests(&b.unwrap()));
    a.sort();
    b.sort();
    assert_eq!(a, b);
    for (entry, _) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
    }
    world.stop().await;
}

#[tokio::test]
async fn one_journal_is_written_by_one_run() {
    let world = World::new().await;
    let plan = fleet(&world).await;
    let busy = |path: &Path, opened: Result<Journal, JournalError>| match opened {
        Err(JournalError::Busy(named)) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    };
    let path = world.journal_path();
    let first = world.journal(&plan);
    busy(&path, Journal::open(&path, plan.digest()));
    apply(&world, &plan, &first).await;
    busy(&path, Journal::resume(&path));
    // Looking disturbs nobody.
    Journal::look(&path, plan.digest()).unwrap();
    drop(first);
    Journal::open(&path, plan.digest()).unwrap();
    world.stop().await;
}
