//! What others, and the registry, do while a plan is applied and promoted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use palan::fleet::{Action, Become, Candidate, Choice, Hook, HookOutput, Journal, Plan};
use palan_testkit::{
    fault::{Reply, Request, Store},
    image::{Graph, ImageSpec},
};
use serde_json::json;

use super::scene::{Expected, Scene, check, foreign, foreign_digest};
use crate::world::{all, short};

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeApply,
    /// While the first hook runs.
    InApply,
    BeforePromote,
}

/// What happens to `team/b`, unless another image is named.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// Somebody moves the tag.
    Move(&'static str, &'static str),
    /// Somebody deletes it.
    Delete,
    /// Nobody may read or write the repository.
    Deny,
    /// The registry has had enough, for so many requests.
    TooMany(usize),
    /// The candidate is not there any more.
    Collected,
    /// The registry says that it has what is put there, and has not: a tag, or whatever begins so and ends in "-" or ":".
    Lose(&'static str),
    /// Somebody has a tag with the name of the backup.
    TakeBackup,
    /// The tag is written, and nobody hears of it; the second time that is refused.
    Unheard,
}

struct Case {
    when: When,
    what: What,
    /// Who is not applied.
    apply: Expected<'static>,
    /// Who is not promoted.
    promote: Expected<'static>,
    /// Whether it goes well when everything is done again with a registry that works.
    again: bool,
}

const TABLE: [Case; 15] = {
    use {What::*, When::*};
    const MOVED: (&str, Become, &str) = ("b", Become::Moved, "somebody moved it");
    const GONE: (&str, Become, &str) = ("b", Become::Moved, "somebody deleted it");
    const LOST: (&str, Become, &str) = ("b", Become::Failed, "team/b does not have sha256:");
    const UNWRITTEN: (&str, Become, &str) = ("b", Become::Failed, "the registry said that it has written");
    const DENIED: (&str, Become, &str) = ("b", Become::Failed, "403");
    const B: What = Move("team/b", "1");
    [
        Case { when: BeforeApply, what: B, apply: &[MOVED], promote: &[MOVED], again: false },
        Case { when: InApply, what: B, apply: &[], promote: &[MOVED], again: false },
        Case { when: BeforePromote, what: B, apply: &[], promote: &[MOVED], again: false },
        Case {
            when: BeforeApply,
            what: Move("base/jre", "17"),
            apply: &[
                ("jre", Become::Moved, "somebody moved it"),
                ("d", Become::NotBegun, "jre:17 was not done"),
            ],
            promote: &[
                ("jre", Become::Moved, "somebody moved it"),
                ("d", Become::NotBegun, "jre:17 was not done"),
            ],
            again: false,
        },
        Case { when: BeforeApply, what: Delete, apply: &[GONE], promote: &[GONE], again: true },
        Case { when: BeforePromote, what: Delete, apply: &[], promote: &[GONE], again: true },
        Case { when: BeforeApply, what: Deny, apply: &[DENIED], promote: &[DENIED], again: true },
        Case { when: BeforePromote, what: Deny, apply: &[], promote: &[DENIED], again: true },
        Case { when: BeforeApply, what: TooMany(200), apply: &[], promote: &[], again: true },
        Case { when: BeforePromote, what: Collected, apply: &[], promote: &[LOST], again: true },
        Case { when: BeforeApply, what: Lose("1-palan-"), apply: &[], promote: &[LOST], again: true },
        Case { when: BeforeApply, what: Lose("sha256:"), apply: &[], promote: &[LOST], again: true },
        // It says that it has written the tag, or the backup.
        Case { when: BeforePromote, what: Lose("1"), apply: &[], promote: &[UNWRITTEN], again: true },
        Case { when: BeforePromote, what: Lose("1-before-"), apply: &[], promote: &[UNWRITTEN], again: true },
        Case {
            when: BeforePromote,
            what: TakeBackup,
            apply: &[],
            promote: &[("b", Become::Failed, "exists, and is another image")],
            again: false,
        },
    ]
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_one_image_is_told_of_it_and_the_others_go_on() {
    for case in &TABLE {
        run(case).await;
    }
}

#[tokio::test]
async fn a_tag_that_was_written_without_an_answer_is_written() {
    run(&Case { when: When::BeforePromote, what: What::Unheard, apply: &[], promote: &[], again: true })
        .await;
}

async fn run(case: &Case) {
    let name = format!("{:?} {:?}", case.what, case.when);
    let scene = Scene::new().await;
    let plan = scene.plan(&scene.settings(&json!({"gates": {"accept": "clean", "hook": ["smoke"]}}))).await;
    assert!(plan.images.iter().all(|entry| matches!(entry.action, Action::Rebase(_))), "{plan:?}");
    let happen = || happen(&scene, &plan, case.what);
    if case.when == When::BeforeApply {
        happen();
    }
    let count = AtomicUsize::new(0);
    let hook = |_: &Candidate<'_>| {
        if case.when == When::InApply && count.fetch_add(1, Relaxed) == 0 {
            happen();
        }
    };
    let applied = scene.world.apply(&plan, all(), &Calling(&hook)).await;
    check(&format!("{name}, apply"), &applied, case.apply);
    if case.when == When::BeforePromote {
        happen();
    }
    let promoted = scene.world.promote(&plan, all()).await;
    check(&format!("{name}, promote"), &promoted, case.promote);
    for (entry, locked) in plan.rebases() {
        let repository = entry.image.repository().path();
        let found = scene.store.tag(repository, entry.image.tag().unwrap());
        let is_done = !case.promote.iter().any(|(image, ..)| *image == short(&entry.image));
        let expected = if is_done { Some(locked.new_digest) } else { entry.digest };
        assert!(found == expected || found == Some(foreign_digest()), "{name}: {}", entry.image);
    }
    let journal = Journal::read_of(&scene.world.journal_path(), plan.digest());
    journal.unwrap_or_else(|e| panic!("{name}: {e}"));
    scene.heal();
    let (applied, expected) =
        (scene.world.apply(&plan, all(), &Calling(&|_| {})).await, if case.again { &[] } else { case.apply });
    check(&format!("{name}, apply again"), &applied, expected);
    let expected = if case.again { &[] } else { case.promote };
    check(&format!("{name}, promote again"), &scene.world.promote(&plan, all()).await, expected);
}

fn happen(scene: &Scene, plan: &Plan, what: What) {
    let b = plan.rebases().find(|(entry, _)| short(&entry.image) == "b").unwrap().1;
    let (candidate, backup) = (b.candidate.tag().unwrap().to_owned(), b.backup.tag().unwrap());
    let digest = b.new_digest.to_string();
    let missing = || Some(Reply::error(404, "MANIFEST_UNKNOWN"));
    let is_about = |request: &Request, names: &[&str]| {
        names.iter().any(|name| request.path() == format!("/v2/team/b/manifests/{name}"))
    };
    let before = scene.requests();
    match what {
        What::Move(repository, tag) => scene.store.put(repository, tag, &foreign()),
        What::TakeBackup => scene.store.put("team/b", backup, &foreign()),
        What::Delete => scene.rule(move |request| is_about(request, &["1"]).then(missing)?),
        What::Collected => {
            scene.rule(move |request| is_about(request, &[&candidate, &digest]).then(missing)?);
        }
        What::Deny => scene
            .rule(|request| request.path().starts_with("/v2/team/b/").then(|| Reply::error(403, "DENIED"))),
        What::TooMany(most) => scene.rule(move |request| {
            (request.before - before < most)
                .then(|| Reply::error(429, "TOOMANYREQUESTS").header("retry-after", "1"))
        }),
        What::Lose(start) => scene.rule(move |request| {
            let start_of = format!("/v2/team/b/manifests/{start}");
            let is_meant = match start.ends_with(['-', ':']) {
                true => request.path().starts_with(&start_of),
                false => request.path() == start_of,
            };
            (request.method == "PUT" && is_meant).then(|| Reply::status(201))
        }),
        What::Unheard => scene.rule(unheard(scene.store.clone(), "1")),
    }
}

fn unheard(store: Store, tag: &str) -> impl Fn(&Request) -> Option<Reply> + Send {
    let (asked, path) = (AtomicUsize::new(0), format!("/v2/team/b/manifests/{tag}"));
    move |request| {
        if request.method != "PUT" || request.path() != path {
            return None;
        }
        match asked.fetch_add(1, Relaxed) {
            0 => {
                store.answer(request);
                Some(Reply::abort())
            }
            _ => Some(Reply::status(412)),
        }
    }
}

/// What images say of a base that fails, and how often it is asked for in a scan, and in a plan.
async fn of_failing_base(images: &[&str], answer: fn() -> Reply) -> (BTreeSet<String>, [usize; 2]) {
    let scene = Scene::new().await;
    let names: Vec<String> = images.iter().map(|name| (*name).to_owned()).collect();
    let healthy = scene.world.inventory(&names).await;
    scene.rule(move |request| request.path().starts_with("/v2/os/").then(answer));
    let before = scene.asked_of("os").len();
    let inventory = scene.world.inventory(&names).await;
    let scanned = scene.asked_of("os").len() - before;
    let all = inventory.images.iter().flat_map(|member| &member.platforms);
    let mut reasons: BTreeSet<String> = all.map(|platform| platform.reason.clone().unwrap()).collect();
    // A plan whose inventory is older.
    let plan = scene.world.plan(&scene.settings(&json!({})), &healthy).await.unwrap();
    let planned = scene.asked_of("os").len() - before - scanned;
    for entry in &plan.images {
        let Action::Fail { reason } = &entry.action else { panic!("{entry:?}") };
        reasons.insert(reason.clone());
    }
    let hidden = |reason: &String| reason.replace(&scene.world.host, "HOST");
    (reasons.iter().map(hidden).collect(), [scanned, planned])
}

#[tokio::test]
async fn a_base_that_fails_is_asked_for_once_and_all_images_say_so() {
    for answer in [|| Reply::error(403, "DENIED"), Reply::abort, || Reply::error(500, "UNKNOWN")] {
        let (reasons, asked) = of_failing_base(&["team/a:1"], answer).await;
        let (of_all, asked_by_all) =
            of_failing_base(&["base/jre:17", "team/a:1", "team/b:1", "team/c:1"], answer).await;
        assert_eq!(asked_by_all, asked, "{of_all:?}");
        assert_eq!(of_all, reasons);
        // One for the scan, one for the plan.
        assert_eq!(of_all.len(), 2, "{of_all:?}");
    }
    let (_, asked) = of_failing_base(&["team/a:1"], || Reply::error(403, "DENIED")).await;
    assert_eq!(asked, [1, 1]);
}

/// A hook that calls something, and passes.
struct Calling<'a>(&'a (dyn Fn(&Candidate<'_>) + Send + Sync));

#[async_trait]
impl Hook for Calling<'_> {
    async fn run(&self, _: &[String], _: std::time::Duration, candidate: &Candidate<'_>) -> HookOutput {
        (self.0)(candidate);
        HookOutput { passed: true, output: String::new() }
    }
}

#[tokio::test]
async fn a_tag_that_was_moved_is_not_given_back() {
    let scene = Scene::new().await;
    let plan = scene.plan(&scene.settings(&json!({}))).await;
    check("apply", &scene.world.apply(&plan, all(), &Calling(&|_| {})).await, &[]);
    check("promote", &scene.world.promote(&plan, all()).await, &[]);
    scene.store.put("team/b", "1", &foreign());
    let back = scene.world.rollback(all()).await;
    check("rollback", &back, &[("b", Become::Moved, "somebody moved it")]);
    for (entry, _) in plan.rebases() {
        let expected = if short(&entry.image) == "b" { Some(foreign_digest()) } else { entry.digest };
        assert_eq!(scene.world.standing(&entry.image).await, expected, "{}", entry.image);
    }
    // It is told again until somebody decides, and the others are left alone.
    let back = scene.world.rollback(all()).await;
    assert_eq!(back.iter().map(|outcome| short(&outcome.image)).collect::<Vec<_>>(), ["b"]);
}

/// What a tag can stand for, besides the result.
fn graph(of: &str) -> Graph {
    ImageSpec::new("linux/amd64").label("whose", of).build().graph()
}

/// A candidate tag that does not name the result may be somebody's.
#[tokio::test]
async fn a_candidate_tag_of_somebody_else_is_not_overwritten() {
    const TAKEN: Expected<'static> = &[("b", Become::Moved, "somebody moved its candidate")];
    // When planned, when applied, whether the plan is of a version that did not ask; who is not done.
    type Case<'a> = (Option<&'a str>, Option<&'a str>, bool, Expected<'a>);
    let cases: [Case<'_>; 8] = [
        (None, None, false, &[]),
        (None, Some("x"), false, TAKEN),
        (Some("x"), Some("x"), false, &[]),
        (Some("x"), Some("y"), false, TAKEN),
        (Some("x"), None, false, &[]),
        (None, Some("the result"), false, &[]),
        (None, None, true, &[]),
        (Some("x"), Some("x"), true, TAKEN),
    ];
    for (planned, standing, is_old, expected) in cases {
        let name = format!("{planned:?} {standing:?} {is_old}");
        let scene = Scene::new().await;
        planned.inspect(|of| scene.store.put("team/b", "1-next", &graph(of)));
        let settings = scene.settings(&json!({"tags": {"candidate": "{tag}-next"}}));
        let mut plan = scene.plan(&settings).await;
        let at = plan.images.iter().position(|entry| short(&entry.image) == "b").unwrap();
        let b = super::paper::locked(&mut plan, at);
        let was = planned.map_or("nothing".to_owned(), |of| graph(of).root().digest().to_string());
        assert_eq!(b.candidate_was.unwrap().to_string(), was, "{name}");
        assert_eq!(
            b.findings.iter().filter(|text| text.contains("is there already")).count(),
            planned.iter().count()
        );
        if is_old {
            b.candidate_was = None;
        }
        let (result, tag) = (b.new_digest, b.candidate.clone());
        let plan = Plan::parse(&plan.to_text()).unwrap();
        match standing {
            Some("the result") => {
                let only = Choice { only: vec!["*/b".into()], ..all() };
                scene.world.apply(&plan, only, &Calling(&|_| {})).await;
                std::fs::remove_file(scene.world.journal_path()).unwrap();
            }
            Some(of) => scene.store.put("team/b", "1-next", &graph(of)),
            None => scene.rule(|request| {
                let is_read = request.method != "PUT" && request.path().ends_with("/b/manifests/1-next");
                is_read.then(|| Reply::error(404, "MANIFEST_UNKNOWN"))
            }),
        }
        let applied = scene.world.apply(&plan, all(), &Calling(&|_| {})).await;
        check(&name, &applied, expected);
        scene.heal();
        let kept = standing.map(|of| graph(of).root().digest());
        let expected_tag = if expected.is_empty() { Some(result) } else { kept };
        assert_eq!(scene.world.standing(&tag).await, expected_tag, "{name}");
        // Nor is it promoted.
        check(&name, &scene.world.promote(&plan, all()).await, expected);
    }
}

#[tokio::test]
async fn a_candidate_tag_that_was_written_without_an_answer_is_written() {
    let scene = Scene::new().await;
    let settings = scene.settings(&json!({"tags": {"candidate": "{tag}-next"}}));
    let plan = scene.plan(&settings).await;
    scene.rule(unheard(scene.store.clone(), "1-next"));
    check("apply", &scene.world.apply(&plan, all(), &Calling(&|_| {})).await, &[]);
}

#[tokio::test]
async fn no_image_is_begun_once_more_than_so_many_have_failed() {
    let scene = Scene::new().await;
    let plan = scene.plan(&scene.settings(&json!({}))).await;
    for name in ["a", "b", "c"] {
        scene.store.put(&format!("team/{name}"), "1", &foreign());
    }
    for (most, expected) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        let choice = Choice { jobs: 1, max_failures: Some(most), only: vec!["*/team/*".into()], ..all() };
        let applied = scene.world.apply(&plan, choice, &Calling(&|_| {})).await;
        let count = |result| applied.iter().filter(|outcome| outcome.result == result).count();
        assert_eq!(count(Become::Moved), expected, "{most}: {applied:?}");
        // The fourth stands on a base that was not applied.
        assert_eq!(count(Become::NotBegun), if most == 3 { 0 } else { 4 - expected }, "{most}: {applied:?}");
    }
}

#[tokio::test]
async fn a_rollback_that_the_registry_lost_is_told_and_done_again() {
    let scene = Scene::new().await;
    let plan = scene.plan(&scene.settings(&json!({}))).await;
    check("apply", &scene.world.apply(&plan, all(), &Calling(&|_| {})).await, &[]);
    check("promote", &scene.world.promote(&plan, all()).await, &[]);
    happen(&scene, &plan, What::Lose("1"));
    let back = scene.world.rollback(all()).await;
    check("rollback", &back, &[("b", Become::Failed, "the registry said that it has written")]);
    scene.heal();
    let back = scene.world.rollback(all()).await;
    assert_eq!(back.iter().map(|o| (short(&o.image), o.result)).collect::<Vec<_>>(), [("b", Become::Done)]);
}
