//! Plans, journals and templates that are not as palan writes them.

use std::collections::BTreeSet;

use palan::{
    fleet::{
        self, Action, Become, Effect, Event, Inventory, Journal, JournalError, Plan, Record, Step, states,
    },
    rebase::Verdict,
    verdict::Grade,
};
use palan_core::{Digest, Reference};
use proptest::prelude::*;
use serde_json::json;

use super::scene::{Expected, Scene, check};
use crate::world::{Refusing, all, short};

/// What somebody did to the entry of `team/b`.
type Edit = fn(&mut Plan, usize);

pub(super) fn locked(plan: &mut Plan, at: usize) -> &mut palan::fleet::Locked {
    match &mut plan.images[at].action {
        Action::Rebase(locked) => locked,
        other => panic!("{other:?}"),
    }
}

fn named(name: &Reference, tag: &str) -> Reference {
    name.repository().at(&palan_core::Selector::Tag(tag.into()))
}

fn other() -> Digest {
    Digest::sha256(b"something else")
}

const EDITS: [(&str, Edit, Expected<'static>); 18] = {
    use Become::*;
    const JRE: &str = "its base";
    [
        ("new digest", |plan, at| locked(plan, at).new_digest = other(), &[("b", Failed, "it was edited")]),
        ("digest", |plan, at| plan.images[at].digest = Some(other()), &[("b", Moved, "somebody moved it")]),
        ("no digest", |plan, at| plan.images[at].digest = None, &[("b", Failed, "has no digest")]),
        (
            "candidate elsewhere",
            |plan, at| locked(plan, at).candidate = "localhost/x:1".parse().unwrap(),
            &[("b", Failed, "its candidate localhost/x:1 is not a tag of the same repository")],
        ),
        (
            "backup is the candidate",
            |plan, at| locked(plan, at).backup = locked(plan, at).candidate.clone(),
            &[("b", Failed, "is both its candidate and its backup")],
        ),
        (
            "backup is an image",
            |plan, at| locked(plan, at).backup = plan.images[at].image.clone(),
            &[("b", Failed, "is the tag of an image of the fleet")],
        ),
        (
            "candidate is an image",
            |plan, at| locked(plan, at).candidate = plan.images[at].image.clone(),
            &[("b", Failed, "is the tag of an image of the fleet")],
        ),
        (
            "no tag",
            |plan, at| plan.images[at].image = plan.images[at].image.pinned(other()),
            &[("b", Failed, "it is not named by a tag")],
        ),
        (
            "no wave",
            |plan, at| plan.images[at].wave = "rset".into(),
            &[("b", Failed, "there is no wave \"rset\"")],
        ),
        (
            "new base without digest",
            |plan, at| {
                let base = &mut locked(plan, at).new_base;
                *base = named(base, "1");
            },
            &[("b", Failed, "has no digest")],
        ),
        (
            "another new base",
            |plan, at| locked(plan, at).new_base = locked(plan, at).new_base.pinned(other()),
            &[("b", Failed, "not found")],
        ),
        (
            "twice",
            |plan, at| {
                let again = plan.images[at].clone();
                plan.images.push(again);
            },
            &[("b", Failed, "the plan has it twice")],
        ),
        (
            "after itself",
            |plan, at| plan.images[at].after = vec![plan.images[at].image.clone()],
            &[("b", Failed, "it is to go after itself")],
        ),
        (
            "a circle",
            |plan, at| {
                let jre = plan.images.iter().position(|entry| short(&entry.image) == "jre").unwrap();
                plan.images[jre].after = vec![plan.images[at].image.clone()];
                plan.images[at].after = vec![plan.images[jre].image.clone()];
            },
            &[
                ("b", Failed, "it is to go after itself"),
                ("jre", Failed, "it is to go after itself"),
                ("d", Failed, "it is to go after itself"),
            ],
        ),
        (
            "size",
            |plan, at| locked(plan, at).new_size = 1,
            &[("b", Failed, "the plan says of its size what is not so: it was edited")],
        ),
        (
            "a platform's digest",
            |plan, at| locked(plan, at).platforms[1].new_digest = other(),
            &[("b", Failed, "the plan says of its platforms what is not so: it was edited")],
        ),
        (
            "one of its verdicts",
            |plan, at| locked(plan, at).platforms[1].verdict = Verdict::Assessed(Grade::Broken),
            &[("b", Failed, "the plan says of its verdict what is not so: it was edited")],
        ),
        (
            "the base of another",
            |plan, _| {
                let jre = plan.images.iter().position(|entry| short(&entry.image) == "jre").unwrap();
                locked(plan, jre).new_digest = other();
            },
            &[("jre", Failed, "it was edited"), ("d", NotBegun, JRE)],
        ),
    ]
};

#[tokio::test]
async fn a_plan_that_was_edited_is_refused_image_by_image() {
    let scene = Scene::new().await;
    let plan = scene.plan(&scene.settings(&json!({}))).await;
    let at = plan.images.iter().position(|entry| short(&entry.image) == "b").unwrap();
    for (what, edit, expected) in EDITS {
        let mut edited = plan.clone();
        edit(&mut edited, at);
        let edited = Plan::parse(&edited.to_text()).unwrap();
        let _ = std::fs::remove_file(scene.world.journal_path());
        let applied = scene.world.apply(&edited, all(), &Refusing::default()).await;
        check(what, &applied, expected);
        assert!(scene.store.tag("team/b", "1") == plan.images[at].digest, "{what}");
        let failed: Vec<_> = expected.iter().map(|(image, ..)| *image).collect();
        for (entry, locked) in plan.rebases().filter(|(entry, _)| failed.contains(&short(&entry.image))) {
            let repository = entry.image.repository().path();
            let written = scene.store.tag(repository, locked.candidate.tag().unwrap());
            assert!(written.is_none_or(|digest| digest == locked.new_digest), "{what}");
        }
    }
    let journal = Journal::open(&scene.world.journal_path(), plan.digest());
    assert!(matches!(journal, Err(JournalError::OtherPlan { .. })), "{journal:?}");
}

#[tokio::test]
async fn a_gate_that_nobody_can_ask_is_not_passed_over() {
    let scene = Scene::new().await;
    let mut plan = scene.plan(&scene.settings(&json!({}))).await;
    plan.waves[0].gates.signed_base = true;
    let journal = scene.world.journal(&plan);
    let apply = fleet::Apply {
        choice: all(),
        options: Default::default(),
        knowledge: Default::default(),
        hook: Some(&Refusing::default()),
        listener: &|_| {},
    };
    let error = fleet::apply(&scene.world.places, &plan, &journal, &apply).await.unwrap_err();
    assert!(error.to_string().contains("the gate signed-base"), "{error}");
    let (entry, locked) = plan.rebases().next().unwrap();
    assert_eq!(scene.world.standing(&locked.candidate).await, None, "{}", entry.image);
}

/// Outcome of planning with templates of tags: who is not to be rebased, and why.
#[tokio::test]
async fn templates_that_give_no_tag_or_one_twice_are_told_of_the_image() {
    let scene = Scene::new().await;
    let cases: [(serde_json::Value, &[(&str, &str)]); 4] = [
        (json!({"candidate": "{tag}-next"}), &[]),
        (
            json!({"candidate": "next"}),
            &[("b", "b:next would also be that of"), ("b", "b:next would also be that of")],
        ),
        (
            json!({"candidate": "{tag}-x", "backup": "{tag}-x"}),
            &[
                ("jre", "is both its candidate and its backup"),
                ("a", "is both its candidate and its backup"),
                ("b", "is both its candidate and its backup"),
                ("b", "is both its candidate and its backup"),
                ("c", "is both its candidate and its backup"),
                ("d", "is both its candidate and its backup"),
            ],
        ),
        (
            json!({"backup": "2"}),
            &[("b", "b:2 is the tag of an image of the fleet"), ("b", "is the tag of an image")],
        ),
    ];
    let os = scene.world.base("os:0", "with a hole").await;
    scene.world.on("team/b:2", ("os:1", &os)).await;
    let names = ["base/jre:17", "team/a:1", "team/b:1", "team/b:2", "team/c:1", "team/d:1"];
    let inventory = scene.world.inventory(&names.map(str::to_owned)).await;
    for (tags, expected) in cases {
        let plan = scene.world.plan(&scene.settings(&json!({"tags": tags})), &inventory).await.unwrap();
        let failed: Vec<(&str, &str)> = plan
            .images
            .iter()
            .filter_map(|entry| match &entry.action {
                Action::Fail { reason } => Some((short(&entry.image), reason.as_str())),
                _ => None,
            })
            .collect();
        let mut rest = expected.to_vec();
        for (image, reason) in &failed {
            let found = rest.iter().position(|(i, r)| i == image && reason.contains(r));
            rest.remove(found.unwrap_or_else(|| panic!("{tags}: {image}: {reason}")));
        }
        assert!(rest.is_empty(), "{tags}: {rest:?} {failed:?}");
        assert!(plan.faults().is_empty(), "{tags}");
    }
}

#[tokio::test]
async fn bases_that_stand_on_each_other_fail_and_the_others_are_planned() {
    let scene = Scene::new().await;
    let names = ["base/jre:17", "team/a:1", "team/b:1", "team/c:1", "team/d:1"];
    let mut inventory: Inventory = scene.world.inventory(&names.map(str::to_owned)).await;
    let base = |inventory: &mut Inventory, image: &str, base: &str| {
        let base = scene.world.name(base);
        let member = inventory.images.iter_mut().find(|member| short(&member.image) == image).unwrap();
        member.platforms.iter_mut().for_each(|platform| platform.base = Some(base.clone()));
    };
    base(&mut inventory, "a", "team/b:1");
    base(&mut inventory, "b", "base/jre:17");
    base(&mut inventory, "jre", "team/a:1");
    let plan = scene.world.plan(&scene.settings(&json!({})), &inventory).await.unwrap();
    let failed: Vec<&str> = plan
        .images
        .iter()
        .filter(|entry| match &entry.action {
            Action::Fail { reason } => reason.starts_with("it stands on itself"),
            _ => false,
        })
        .map(|entry| short(&entry.image))
        .collect();
    assert_eq!(failed, ["jre", "a", "b", "d"]);
    assert_eq!(plan.rebases().map(|(entry, _)| short(&entry.image)).collect::<Vec<_>>(), ["c"]);
}

fn effect(image: &str, step: Step) -> Effect {
    let image: Reference = format!("localhost/{image}:1").parse().unwrap();
    let (old, new) = (Some(Digest::sha256(b"old")), Digest::sha256(b"new"));
    Effect { tag: image.clone(), image, step, old, new }
}

/// The bytes of a journal of some images.
async fn written(folder: &std::path::Path, plan: Digest) -> Vec<u8> {
    let path = folder.join("whole");
    let journal = Journal::open(&path, plan).unwrap();
    journal.write(Event::Start { command: "apply".into() }).await.unwrap();
    for image in ["a", "b"] {
        journal.write(Event::Begin(effect(image, Step::Push))).await.unwrap();
        journal.write(Event::Done(effect(image, Step::Push))).await.unwrap();
        let reason = "\"line\nbreak\" – ümlaut".to_owned();
        let image = effect(image, Step::Push).image;
        journal
            .write(Event::Failed { image, step: "promote".into(), result: Become::Failed, reason })
            .await
            .unwrap();
    }
    journal.write(Event::Begin(effect("a", Step::Promote))).await.unwrap();
    journal.write(Event::Done(effect("a", Step::Promote))).await.unwrap();
    drop(journal);
    std::fs::read(&path).unwrap()
}

#[tokio::test]
async fn a_journal_cut_anywhere_counts_its_whole_lines_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = (Digest::sha256(b"plan"), folder.path().join("cut"));
    let whole = written(folder.path(), plan).await;
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let last = whole.len() - lines.last().unwrap().len();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let complete = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let read = Journal::read(&path).unwrap();
        assert_eq!(read.len(), complete, "{cut}");
        // What is found by reading is what looking finds, and what opening finds.
        let look = Journal::look(&path, plan).unwrap();
        for (image, state) in states(&read) {
            assert_eq!(look.state(&image), state, "{cut}");
        }
        // The next line is a line of its own: tried where the last one was cut.
        if cut >= last {
            let journal = Journal::open(&path, plan).unwrap();
            for (image, state) in states(&read) {
                assert_eq!(journal.state(&image), state, "{cut}");
            }
            let kept: usize = lines[..complete].iter().map(|line| line.len()).sum();
            assert_eq!(std::fs::read(&path).unwrap(), &whole[..kept], "{cut}");
            journal.write(Event::Start { command: "promote".into() }).await.unwrap();
            drop(journal);
            assert_eq!(Journal::read(&path).unwrap().len(), complete + 1, "{cut}");
        }
    }
}

#[tokio::test]
async fn damage_in_the_middle_of_a_journal_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, path) = (Digest::sha256(b"plan"), folder.path().join("damaged"));
    let whole = String::from_utf8(written(folder.path(), plan).await).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for (number, garbage) in [(1, "{"), (3, "garbage"), (4, "\0\0\0"), (lines.len(), "{\"at\": 1}")] {
        let mut damaged = lines.clone();
        damaged[number - 1] = garbage;
        std::fs::write(&path, damaged.join("\n") + "\n").unwrap();
        for opened in [Journal::open(&path, plan), Journal::look(&path, plan), Journal::resume(&path)] {
            match opened {
                Err(JournalError::Damaged { line, .. }) => assert_eq!(line, number),
                other => panic!("{garbage}: {other:?}"),
            }
        }
        // Nothing was done to it.
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged.join("\n") + "\n");
    }
    std::fs::write(&path, &whole).unwrap();
    let of_other = Journal::open(&path, other()).unwrap_err();
    assert!(matches!(of_other, JournalError::OtherPlan { found, .. } if found == plan), "{of_other:?}");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Journal::resume(&path), Err(JournalError::Empty(_))));
}

/// Records as a run could have written them.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let step = prop_oneof![Just(Step::Push), Just(Step::Backup), Just(Step::Promote), Just(Step::Restore)];
    let event = (0..4usize, prop::sample::select(vec!["a", "b", "c"]), step, any::<bool>(), any::<String>());
    let event = event.prop_map(|(kind, image, step, passed, text)| {
        let effect = effect(image, step);
        let (image, digest) = (effect.image.clone(), effect.new);
        match kind {
            0 => Event::Begin(effect),
            1 => Event::Done(effect),
            2 => Event::Gate { image, digest, gate: "hook".into(), passed, output: text },
            _ => Event::Failed { image, step: "promote".into(), result: Become::Failed, reason: text },
        }
    });
    let record = event.prop_map(|event| Record {
        at: "2026-11-21T00:00:00Z".into(),
        run: "1".into(),
        plan: Digest::sha256(b"plan"),
        event,
    });
    prop::collection::vec(record, 1..20)
}

proptest! {
    /// Whatever was written when the power went: the whole lines count, and nothing else.
    #[test]
    fn any_prefix_of_a_journal_gives_the_states_of_its_whole_lines(
        records in records(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        for record in &records {
            bytes.extend(serde_json::to_vec(record).unwrap());
            bytes.push(b'\n');
        }
        let cut = cut.index(bytes.len() + 1);
        let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let read = Journal::read(&path).unwrap();
        prop_assert_eq!(&read, &records[..whole]);
        let expected = states(&records[..whole]);
        let look = Journal::look(&path, Digest::sha256(b"plan")).unwrap();
        for image in ["a", "b", "c"] {
            let image = effect(image, Step::Push).image;
            let state = expected.get(&image).cloned().unwrap_or_default();
            prop_assert_eq!(look.state(&image), state);
        }
        // What may have been promoted is never forgotten, and nothing else is given back.
        let promoted: BTreeSet<Reference> = look.promoted().into_iter().map(|(image, _)| image).collect();
        let mut expected = BTreeSet::new();
        for record in &records[..whole] {
            match &record.event {
                Event::Begin(e) | Event::Done(e) if e.step == Step::Promote => {
                    expected.insert(e.image.clone());
                }
                Event::Done(e) if e.step == Step::Restore => {
                    expected.remove(&e.image);
                }
                _ => {}
            }
        }
        prop_assert_eq!(promoted, expected);
    }
}
