//! The story, step by step, through the library.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use palan::{
    Location, Observer, Places, Scratch,
    copy::Options,
    fleet::{
        self, Action, Apply, Become, Candidate, Choice, Entry, Hook, HookOutput, Inventory, Journal, Outcome,
        Plan, Planning, Settings, report::Report,
    },
    image::Image,
    place::NewFile,
    rebase::{Knowledge, Verdict},
    verdict::Grade,
};
use palan_core::{Digest, Reference};
use serde::Serialize;

use super::{
    check::{Checked, Expected, Fault, check, images},
    fixture::{self, BACK, Fleet, MOVED},
    made::Member,
};
use crate::{
    exit::{Failure, Result},
    session::Session,
    ui::text,
};

/// How many images are worked on at the same time.
const JOBS: usize = 16;

pub(super) struct Demo {
    pub(super) places: Places,
    pub(super) host: String,
    pub(super) folder: PathBuf,
    pub(super) scratch: Scratch,
}

/// What happened.
#[derive(Serialize)]
pub(super) struct Story {
    pub(super) registry: String,
    pub(super) images: usize,
    pub(super) platform_images: usize,
    /// Images on the base with the hole, directly and through other images of the fleet.
    pub(super) on_the_hole: usize,
    /// Candidates that the hook of the first wave was asked about.
    pub(super) tested: usize,
    pub(super) steps: Vec<Step>,
    /// How many results have which verdict.
    pub(super) verdicts: BTreeMap<String, usize>,
    pub(super) held: Vec<Told>,
    /// Tags that somebody else had moved.
    pub(super) moved: Vec<Told>,
    pub(super) restored: Vec<String>,
    /// Tags that were moved, those that were given back among them.
    pub(super) promoted: usize,
    /// Tags that were read back.
    pub(super) checked: usize,
    pub(super) faults: Vec<Fault>,
}

/// One image, and why.
#[derive(Serialize)]
pub(super) struct Told {
    pub(super) image: String,
    pub(super) reason: String,
}

/// What a step did, and what it cost.
#[derive(Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) what: String,
    pub(super) requests: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) milliseconds: u64,
}

impl Demo {
    pub(super) async fn run(&self, images: usize, session: &Session) -> Result<Story> {
        let fleet = fixture::publish(&self.places, &self.host, images).await?;
        fixture::patch(&self.places, &self.host).await?;
        session
            .ui
            .say(format!("registry on {}: {images} images on 5 bases, which are patched now", self.host));
        let text = fixture::settings(&self.host);
        self.keep("fleet.toml", &text)?;
        let settings = Settings::parse(&text).map_err(|e| Failure::usage(e.to_string()))?;

        let mut run = Run { demo: self, places: &self.places, steps: Vec::new() };
        let inventory = run.scan(&settings).await?;
        let plan = run.plan(&settings, &inventory).await?;
        self.keep("plan.json", &plan.to_text())?;
        let path = self.folder.join("plan.journal.jsonl");
        let journal = Journal::open(&path, plan.digest()).map_err(palan::Error::from)?;
        let smoke = Smoke { places: &self.places, asked: AtomicUsize::new(0) };
        run.apply(&plan, &journal, &smoke).await?;
        let theirs = fixture::interfere(&self.places, &self.host, &fleet).await?;
        let promoted = run.promote(&plan, &journal).await?;
        let restored = run.rollback(&journal).await?;
        let ends = Ends { fleet: &fleet, plan: &plan, promoted: &promoted, restored: &restored, theirs };
        let (checked, mut faults) = run.check(&ends).await?;
        faults.extend(ends.surprises(&self.host));
        let records = Journal::read(&path).map_err(palan::Error::from)?;
        self.keep("report.html", &Report::new(&plan, &fleet::states(&records)).to_html())?;
        let tested = smoke.asked.load(Relaxed);
        Ok(Story { tested, checked, faults, ..self.story(&inventory, &ends, run.steps)? })
    }

    fn keep(&self, name: &str, text: &str) -> Result {
        Ok(NewFile::write(&self.folder.join(name), text.as_bytes(), &self.scratch)?)
    }

    fn story(&self, inventory: &Inventory, ends: &Ends<'_>, steps: Vec<Step>) -> Result<Story> {
        let mut verdicts = BTreeMap::new();
        for locked in ends.plan.images.iter().filter_map(|entry| entry.locked()) {
            *verdicts.entry(locked.verdict.to_string()).or_default() += 1;
        }
        let held = ends.plan.images.iter().filter_map(|entry| match &entry.action {
            Action::Hold { reasons, locked } => {
                let reason =
                    reasons.iter().chain(locked.findings.first()).cloned().collect::<Vec<_>>().join("; ");
                Some(Told { image: short(&entry.image), reason })
            }
            _ => None,
        });
        let moved = ends.promoted.iter().filter(|outcome| outcome.result == Become::Moved);
        let moved = moved.map(|outcome| Told {
            image: short(&outcome.image),
            reason: outcome.reason.clone().unwrap_or_default(),
        });
        Ok(Story {
            registry: self.host.clone(),
            images: inventory.images.len(),
            platform_images: inventory.images.iter().map(|member| member.platforms.len()).sum(),
            on_the_hole: inventory.standing_on(&fixture::hole(&self.host)?).len(),
            tested: 0,
            steps,
            verdicts,
            held: held.collect(),
            moved: moved.collect(),
            restored: ends.restored.iter().map(|outcome| short(&outcome.image)).collect(),
            promoted: ends.promoted.iter().filter(|outcome| outcome.result == Become::Done).count(),
            checked: 0,
            faults: Vec::new(),
        })
    }
}

/// The steps, measured.
struct Run<'a> {
    demo: &'a Demo,
    places: &'a Places,
    steps: Vec<Step>,
}

impl Run<'_> {
    /// `work` gives a result, and what it did in a few words.
    async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let (before, start) = (self.places.client().stats(), Instant::now());
        let (done, what) = work.await?;
        let after = self.places.client().stats();
        self.steps.push(Step {
            name,
            what,
            requests: after.requests - before.requests,
            bytes_sent: after.bytes_sent - before.bytes_sent,
            bytes_received: after.bytes_received - before.bytes_received,
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(done)
    }

    async fn scan(&mut self, settings: &Settings) -> Result<Inventory> {
        let (places, hole) = (self.places, fixture::hole(&self.demo.host)?);
        let work = async {
            let inventory = fleet::scan(places, settings, None, JOBS, &Observer::default()).await?;
            let (all, on) = (inventory.images.len(), inventory.standing_on(&hole).len());
            let what = format!("{}, {on} on {}", text::count(all, "image"), short(&hole));
            Ok((inventory, what))
        };
        self.step("scan", work).await
    }

    async fn plan(&mut self, settings: &Settings, inventory: &Inventory) -> Result<Plan> {
        let (places, knowledge) = (self.places, Knowledge::default());
        let work = async {
            let planning = Planning { settings, inventory, knowledge, jobs: JOBS, signatures: None };
            let plan = fleet::plan(places, &planning).await?;
            let held = plan.images.iter().filter(|entry| matches!(entry.action, Action::Hold { .. })).count();
            let what = format!("{} to rebase, {held} held", plan.rebases().count());
            // What follows does what the file says.
            let plan = Plan::parse(&plan.to_text()).map_err(|e| Failure::usage(e.to_string()))?;
            Ok((plan, what))
        };
        self.step("plan", work).await
    }

    async fn apply(&mut self, plan: &Plan, journal: &Journal, hook: &Smoke<'_>) -> Result<Vec<Outcome>> {
        let places = self.places;
        let work = async {
            let apply = Apply {
                choice: Choice { jobs: JOBS, ..Choice::default() },
                options: Options::default(),
                knowledge: Knowledge::default(),
                hook: Some(hook),
                listener: &|_| {},
            };
            let done = fleet::apply(places, plan, journal, &apply).await?;
            let what = format!("{} pushed", text::count(count(&done, Become::Done), "candidate"));
            Ok((done, what))
        };
        self.step("apply", work).await
    }

    /// The first wave; then, when nobody complains, the rest.
    async fn promote(&mut self, plan: &Plan, journal: &Journal) -> Result<Vec<Outcome>> {
        let mut all = Vec::new();
        for (name, wave) in [("promote canary", "canary"), ("promote rest", "rest")] {
            let places = self.places;
            let work = async {
                let choice = Choice { jobs: JOBS, waves: vec![wave.to_owned()], ..Choice::default() };
                let done = fleet::promote(places, plan, journal, &choice, &|_| {}).await?;
                let moved = match count(&done, Become::Moved) {
                    0 => String::new(),
                    moved => format!(", {moved} left alone"),
                };
                let what = format!("{} moved{moved}", text::count(count(&done, Become::Done), "tag"));
                Ok((done, what))
            };
            all.extend(self.step(name, work).await?);
        }
        Ok(all)
    }

    async fn rollback(&mut self, journal: &Journal) -> Result<Vec<Outcome>> {
        let places = self.places;
        let only = BACK.map(|name| format!("*/{name}")).to_vec();
        let work = async {
            let choice = Choice { jobs: JOBS, only, ..Choice::default() };
            let done = fleet::rollback(places, journal, &choice, &|_| {}).await?;
            let what = format!("{} given back", text::count(count(&done, Become::Done), "tag"));
            Ok((done, what))
        };
        self.step("rollback", work).await
    }

    async fn check(&mut self, ends: &Ends<'_>) -> Result<(usize, Vec<Fault>)> {
        let places = self.places;
        let all = ends.expected(&self.demo.host)?;
        let work = async {
            let faults = check(places, &all).await;
            let what = format!("{} read back", text::count(all.len(), "tag"));
            Ok(((all.len(), faults), what))
        };
        self.step("check", work).await
    }
}

/// How it ended.
struct Ends<'a> {
    fleet: &'a Fleet,
    plan: &'a Plan,
    promoted: &'a [Outcome],
    restored: &'a [Outcome],
    /// What somebody's tag stands for.
    theirs: Option<Digest>,
}

impl<'a> Ends<'a> {
    /// What each tag must stand for.
    fn expected(&self, host: &str) -> Result<Vec<Checked<'a>>> {
        let entries: BTreeMap<String, &'a Entry> =
            self.plan.images.iter().map(|entry| (short(&entry.image), entry)).collect();
        let one = |(member, before): (&'a Member, &Digest)| {
            let entry = entries.get(&member.name).copied();
            let locked = entry.and_then(Entry::locked);
            let is_held = member.grade != Grade::Clean;
            let expected = match locked {
                _ if member.name == MOVED => Expected::Kept(self.theirs.unwrap_or(*before)),
                Some(locked) if !is_held && !BACK.contains(&member.name.as_str()) => {
                    Expected::Patched(locked.new_digest)
                }
                _ => Expected::Kept(*before),
            };
            let backup =
                locked.filter(|_| !is_held && member.name != MOVED).map(|locked| locked.backup.clone());
            let image = format!("{host}/{}", member.name).parse()?;
            Ok(Checked { image, member, before: *before, expected, backup })
        };
        self.fleet.members.iter().zip(&self.fleet.digests).map(one).collect()
    }

    /// What should have happened, and did not.
    fn surprises(&self, host: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        for member in &self.fleet.members {
            let image = format!("{host}/{}", member.name);
            let mut fault = |fault| faults.push(Fault { image: member.name.clone(), fault });
            let entry = self.plan.images.iter().find(|entry| entry.image.to_string() == image);
            match entry.map(|entry| (&entry.action, entry.locked())) {
                Some((Action::Rebase(_) | Action::Hold { .. }, Some(locked))) => {
                    if locked.verdict != Verdict::Assessed(member.grade) {
                        fault(format!("its verdict is {}, not {}", locked.verdict, member.grade));
                    }
                }
                Some((Action::Nothing { reason, .. } | Action::Fail { reason }, _)) => {
                    fault(format!("it was not rebased: {reason}"));
                }
                _ => fault("it is not in the plan".to_owned()),
            }
        }
        let outcomes = |all: &[Outcome], result| {
            let found = all.iter().filter(move |outcome| outcome.result == result);
            found.map(|outcome| short(&outcome.image)).collect::<BTreeSet<_>>()
        };
        let mut fault = |image: &str, fault: &str| {
            faults.push(Fault { image: image.to_owned(), fault: fault.to_owned() });
        };
        if outcomes(self.promoted, Become::Moved) != BTreeSet::from([MOVED.to_owned()]) {
            fault(MOVED, "somebody moved it, and that was not seen");
        }
        if outcomes(self.restored, Become::Done) != BACK.map(str::to_owned).into() {
            fault(BACK[0], "it and the others were to be given back");
        }
        faults
    }
}

fn count(outcomes: &[Outcome], result: Become) -> usize {
    outcomes.iter().filter(|outcome| outcome.result == result).count()
}

/// Without the registry.
pub(super) fn short(name: &Reference) -> String {
    let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}{tag}", name.repository().path())
}

/// What a team's smoke test is here: the candidate can be had, and says what to run.
struct Smoke<'a> {
    places: &'a Places,
    asked: AtomicUsize,
}

#[async_trait]
impl Hook for Smoke<'_> {
    async fn run(&self, _: &[String], _: Duration, candidate: &Candidate<'_>) -> HookOutput {
        self.asked.fetch_add(1, Relaxed);
        match self.look(&candidate.candidate).await {
            Ok(true) => HookOutput { passed: true, output: String::new() },
            Ok(false) => HookOutput { passed: false, output: "it says nothing to run".to_owned() },
            Err(error) => HookOutput { passed: false, output: error.to_string() },
        }
    }
}

impl Smoke<'_> {
    async fn look(&self, candidate: &Reference) -> std::result::Result<bool, palan::Error> {
        let opened = self.places.standing(&Location::Registry(candidate.clone()))?;
        let root = opened.place.document(&candidate.selector()).await?;
        let images = images(opened.place.as_ref(), &root).await?;
        let runs =
            |image: &Image| image.config.object().is_ok_and(|config| config["config"]["Cmd"].is_array());
        Ok(!images.is_empty() && images.iter().all(runs))
    }
}
