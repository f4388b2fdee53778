//! Several machines that share nothing but registries.

use palan::{
    Error, Places,
    client::Client,
    copy::Options,
    fleet::{
        self, Apply, Become, Candidate, Choice, Event, Hook, HookOutput, Journal, Lines, Outcome, Plan,
        Remote, Shard, states,
    },
    place::{Location, PutAs},
    rebase::Knowledge,
};
use palan_core::{Digest, Repository};
use tempfile::TempDir;

use crate::{
    operation::{fleet as six, rules},
    world::{Refusing, World, all, results, settings},
};

/// A machine: connections, a journal and a way to the registry of its own.
struct Machine {
    places: Places,
    journal: Journal,
    remote: Remote,
    shard: Option<Shard>,
    _folder: TempDir,
}

impl Machine {
    /// Begins with an empty disk and what is in the registry.
    async fn new(world: &World, plan: &Plan, shard: Option<&str>) -> Self {
        let places = Places::new(Client::builder().build().unwrap());
        let folder = TempDir::new().unwrap();
        let shard = shard.map(|text| text.parse().unwrap());
        let journal = Journal::open(&folder.path().join("journal.jsonl"), plan.digest()).unwrap();
        let remote = Remote::new(&places, &state(world), plan.digest(), shard).unwrap();
        journal.absorb(&remote.fetch().await.unwrap()).unwrap();
        Self { places, journal, remote, shard, _folder: folder }
    }

    fn choice(&self) -> Choice {
        Choice { shard: self.shard, ..all() }
    }

    /// Does the work of a run, whose journal is pushed.
    async fn kept(&self, work: impl Future<Output = Result<Vec<Outcome>, Error>>) -> Vec<Outcome> {
        let (done, pushed) = self.remote.keep(&self.journal, work).await;
        pushed.unwrap();
        done.unwrap()
    }

    async fn apply(&self, plan: &Plan, hook: &dyn Hook) -> Vec<Outcome> {
        let (options, knowledge) = (Options::default(), Knowledge::default());
        let apply = Apply { choice: self.choice(), options, knowledge, hook: Some(hook), listener: &|_| {} };
        let work = fleet::apply(&self.places, plan, &self.journal, &apply);
        self.kept(work).await
    }

    async fn promote(&self, plan: &Plan) -> Vec<Outcome> {
        let choice = self.choice();
        let work = fleet::promote(&self.places, plan, &self.journal, &choice, &|_| {});
        self.kept(work).await
    }

    async fn rollback_plan(&self, plan: &Plan) -> Vec<Outcome> {
        let choice = self.choice();
        let work = fleet::rollback_plan(&self.places, plan, &self.journal, &choice, &|_| {});
        self.kept(work).await
    }
}

fn state(world: &World) -> Repository {
    world.name("team/state:x").repository().clone()
}

async fn planned(world: &World) -> Plan {
    let (names, _) = six(world).await;
    world.plan(&settings(rules(world)), &world.inventory(&names).await).await.unwrap()
}

fn all_are(outcomes: &[Outcome], result: Become) -> bool {
    outcomes.iter().all(|outcome| outcome.result == result)
}

#[tokio::test]
async fn machines_share_a_plan_and_nothing_else() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let hook = Refusing::default();
    let (a, b) =
        tokio::join!(Machine::new(&world, &plan, Some("1/2")), Machine::new(&world, &plan, Some("2/2")));
    let (applied, others) = tokio::join!(a.apply(&plan, &hook), b.apply(&plan, &hook));
    assert_eq!(applied.len() + others.len(), 6);
    assert!(all_are(&applied, Become::Done) && all_are(&others, Become::Done), "{applied:?} {others:?}");
    assert_eq!(hook.asked.lock().unwrap().len(), 6);

    let digits = &plan.digest().hex()[..12];
    let tags = world.tags("team/state").await;
    let own = |shard: &str| format!("{digits}-{shard}");
    let expected: Vec<String> =
        [(&applied, "1-of-2"), (&others, "2-of-2")].map(|(_, shard)| own(shard)).into();
    assert_eq!(tags, expected);

    // Another machine, which knows nothing, goes on where they ended; a third gives back.
    let c = Machine::new(&world, &plan, None).await;
    let before = world.registry().stats();
    assert!(all_are(&c.apply(&plan, &hook).await, Become::Already));
    // The journal has a line more: what is asked is about that alone.
    let since = world.registry().stats().since(&before);
    assert_eq!(since.of(palan_server::RequestKind::ManifestPut), 1);
    assert!(all_are(&c.promote(&plan).await, Become::Done));
    let d = Machine::new(&world, &plan, None).await;
    assert_eq!(d.rollback_plan(&plan).await.len(), 6);
    for (entry, _) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
    }
    let told = states(&Machine::new(&world, &plan, None).await.journal.lines().unwrap().records().unwrap());
    assert_eq!(told.len(), 6);
    assert!(told.values().all(|state| state.is_restored && state.passed == Some(true)), "{told:?}");
    world.stop().await;
}

#[tokio::test]
async fn who_writes_the_same_tag_at_once_loses_nothing() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let mut machines = Vec::new();
    for _ in 0..5 {
        machines.push(Machine::new(&world, &plan, None).await);
    }
    let mut expected = Lines::default();
    for machine in &machines {
        machine.journal.write(Event::Start { command: "apply".into() }).await.unwrap();
        expected.merge(machine.journal.path(), machine.journal.lines().unwrap()).unwrap();
    }
    let pushed = machines.iter().map(|machine| machine.remote.push(machine.journal.lines().unwrap()));
    futures_util::future::try_join_all(pushed).await.unwrap();
    let fetched = machines[0].remote.fetch().await.unwrap();
    assert_eq!(fetched.len(), 5);
    assert_eq!(fetched, expected);
    // Nothing new: nothing is pushed.
    let before = world.registry().stats();
    machines[0].remote.push(fetched).await.unwrap();
    assert_eq!(world.registry().stats().since(&before).requests, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_fails_leaves_what_it_did() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let machine = Machine::new(&world, &plan, None).await;
    let choice = Choice { waves: vec!["nobody".into()], ..all() };
    let work = async {
        machine.journal.write(Event::Start { command: "promote".into() }).await?;
        fleet::promote(&machine.places, &plan, &machine.journal, &choice, &|_| {}).await
    };
    let (done, pushed) = machine.remote.keep(&machine.journal, work).await;
    assert!(done.is_err());
    pushed.unwrap();
    assert_eq!(machine.remote.fetch().await.unwrap().len(), 1);
    world.stop().await;
}

/// What nobody could write down is found in the registry: by who applies and promotes again, and by who gives back.
#[tokio::test]
async fn a_lost_journal_is_no_harm() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let hook = Refusing::default();
    world.apply(&plan, all(), &hook).await;
    world.promote(&plan, Choice { waves: vec!["canary".into()], ..all() }).await;
    std::fs::remove_file(world.journal_path()).unwrap();

    let applied = world.apply(&plan, all(), &hook).await;
    assert_eq!(results(&applied)[0], ("web", Become::Already));
    assert!(applied.iter().all(|outcome| outcome.result.is_good()), "{applied:?}");
    let promoted = world.promote(&plan, all()).await;
    assert_eq!(promoted.iter().filter(|outcome| outcome.result == Become::Already).count(), 1);
    for (entry, locked) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, Some(locked.new_digest));
    }

    // Somebody else moved this one before palan could: its backup is gone.
    let api = plan.rebases().find(|(entry, _)| entry.image.to_string().ends_with("/api:1")).unwrap();
    let place = world.places.target(&Location::Registry(api.1.backup.clone())).unwrap().place;
    let result = place.document(&api.1.new_digest.into()).await.unwrap();
    let role = PutAs::Tag(api.1.backup.tag().unwrap().to_owned());
    place.put_document(&result, &role).await.unwrap();

    let empty = Machine::new(&world, &plan, None).await;
    assert!(fleet::rollback(&empty.places, &empty.journal, &all(), &|_| {}).await.unwrap().is_empty());
    let dry = Journal::look(&world.folder.path().join("none"), plan.digest()).unwrap();
    let choice = Choice { dry_run: true, ..all() };
    let would = fleet::rollback_plan(&world.places, &plan, &dry, &choice, &|_| {}).await.unwrap();
    assert_eq!(would.iter().filter(|outcome| outcome.result == Become::Planned).count(), 5);
    let back = empty.rollback_plan(&plan).await;
    // The last one first: what stands on another image before that.
    let order: Vec<&str> = results(&back).into_iter().map(|(name, _)| name).collect();
    assert_eq!(order, ["cart", "billing", "auth", "api", "jre", "web"]);
    let moved: Vec<_> = results(&back).into_iter().filter(|(_, result)| *result != Become::Done).collect();
    assert_eq!(moved, [("api", Become::Moved)]);
    for (entry, locked) in plan.rebases() {
        let expected = if entry.image == api.0.image { Some(locked.new_digest) } else { entry.digest };
        assert_eq!(world.standing(&entry.image).await, expected, "{}", entry.image);
    }
    // Again: they are back, and that is known.
    let again = empty.rollback_plan(&plan).await;
    assert_eq!(results(&again), [("api", Become::Moved)]);
    world.stop().await;
}

#[tokio::test]
async fn what_is_under_the_tag_must_be_a_journal_of_the_plan() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let digits = plan.digest().hex()[..12].to_owned();
    // Tags that are none of a journal do not matter.
    for other in [format!("{digits}-0-of-2"), format!("{digits}x"), "latest".to_owned()] {
        world.base(&format!("team/state:{other}"), "no journal").await;
    }
    let machine = Machine::new(&world, &plan, None).await;
    assert!(machine.remote.fetch().await.unwrap().is_empty());
    assert_eq!(machine.remote.tag(), digits);
    world.base(&format!("team/state:{digits}"), "no journal").await;
    let error = machine.remote.fetch().await.unwrap_err().to_string();
    assert_eq!(error, format!("{}:{digits}: it is no journal of a fleet", state(&world)));

    let other = Digest::sha256(b"another plan");
    let line = format!(
        r#"{{"at":"2026-01-01T00:00:00Z","run":"r","plan":"{other}","event":"start","command":"apply"}}"#
    );
    let lines = Lines::parse(std::path::Path::new("j"), format!("{line}\n").as_bytes()).unwrap();
    let error = machine.journal.absorb(&lines).unwrap_err().to_string();
    assert!(error.contains("is of another plan"), "{error}");
    world.stop().await;
}

/// A hook that, for images of the last wave, waits until the registry knows of the first.
struct Waiting<'a>(&'a Remote);

#[async_trait::async_trait]
impl Hook for Waiting<'_> {
    async fn run(&self, _: &[String], _: std::time::Duration, candidate: &Candidate<'_>) -> HookOutput {
        let is_known = || async {
            let records = self.0.fetch().await.unwrap().records().unwrap();
            states(&records).values().any(|state| state.passed == Some(true))
        };
        while candidate.wave == "rest" && !is_known().await {
            tokio::task::yield_now().await;
        }
        HookOutput { passed: true, output: String::new() }
    }
}

/// A hook that waits until the registry knows that its candidate was pushed.
struct Impatient<'a>(&'a Remote);

#[async_trait::async_trait]
impl Hook for Impatient<'_> {
    async fn run(&self, _: &[String], _: std::time::Duration, candidate: &Candidate<'_>) -> HookOutput {
        let is_known = || async {
            let told = states(&self.0.fetch().await.unwrap().records().unwrap());
            told.get(candidate.image).is_some_and(|state| state.candidate.is_some() && state.passed.is_none())
        };
        while !is_known().await {
            tokio::task::yield_now().await;
        }
        HookOutput { passed: true, output: String::new() }
    }
}

#[tokio::test]
async fn the_journal_is_pushed_now_and_then() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let mut machine = Machine::new(&world, &plan, None).await;
    machine.remote = machine.remote.pushed_every(std::time::Duration::from_millis(5));
    let reader = Remote::new(&world.places, &state(&world), plan.digest(), None).unwrap();
    // Sooner than where nothing else is said, and before the wave has ended.
    let waited = std::time::Duration::from_secs(20);
    let applied = tokio::time::timeout(waited, machine.apply(&plan, &Impatient(&reader))).await.unwrap();
    assert!(all_are(&applied, Become::Done), "{applied:?}");
    world.stop().await;
}

#[tokio::test]
async fn the_journal_is_pushed_after_each_wave() {
    let world = World::new().await;
    let plan = planned(&world).await;
    let machine = Machine::new(&world, &plan, None).await;
    let reader = Remote::new(&world.places, &state(&world), plan.digest(), None).unwrap();
    // Sooner than what is pushed now and then.
    let waited = std::time::Duration::from_secs(20);
    let applied = tokio::time::timeout(waited, machine.apply(&plan, &Waiting(&reader))).await.unwrap();
    assert!(all_are(&applied, Become::Done), "{applied:?}");
    world.stop().await;
}
