//! What apply, promote and rollback have in common: which images, in which order, and what is told of each.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_util::{StreamExt as _, stream};
use palan_core::{Digest, Reference};
use serde::{Deserialize, Serialize};

use super::{
    journal::{Event, Journal, JournalError},
    planned::{Entry, Locked, Plan},
    report::plain,
    shard::Shard,
    waves::names,
};
use crate::{Error, documents::Documents, place::Places, rebase, text};

/// Bytes of documents that are kept where the caller keeps none.
const REMEMBERED: usize = 32 << 20;

/// Which images, and how.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only those of these waves; empty: of all.
    pub waves: Vec<String>,
    /// Only those that such a pattern names (`*` and `?`, with the tag or without it); empty: all.
    pub only: Vec<String>,
    /// Only those of this part of the plan; `None`: of all.
    pub shard: Option<Shard>,
    /// No image is begun once more than so many have failed; `None`: however many.
    pub max_failures: Option<usize>,
    /// Go on with the next wave where images of one were not done: failed, moved by somebody, stopped by a gate, given back.
    pub keep_going: bool,
    /// Promoting: also those that were promoted and given back.
    pub again: bool,
    /// How many images at the same time.
    pub jobs: usize,
    /// Say what would be done.
    pub dry_run: bool,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The image.
    pub image: Reference,
    /// Its wave; `None`: not known (a journal alone does not say).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// In one word.
    pub result: Become,
    /// The tag that was written, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Reference>,
    /// What it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether the registry itself compares before it moves a tag; where it does not, the tag was read right before, which
    /// is best effort. `None`: no image's own tag was moved, or it could not be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditional: Option<bool>,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the gate said that it did not pass, without colours and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// What can become of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Become {
    /// Its tag was written.
    Done,
    /// It was so already.
    Already,
    /// It would be done.
    Planned,
    /// The result did not pass a gate.
    NotPassed,
    /// Its tag stands for something else than the plan says: somebody moved it.
    Moved,
    /// It failed.
    Failed,
    /// It was not begun: too many others had failed, or what it stands on.
    NotBegun,
    /// Its tag was given back by a rollback, and stays so.
    GivenBack,
}

impl Become {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::Planned => "planned",
            Self::NotPassed => "not-passed",
            Self::Moved => "moved",
            Self::Failed => "failed",
            Self::NotBegun => "not-begun",
            Self::GivenBack => "given-back",
        }
    }

    /// Whether it is as it was to be.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Done | Self::Already | Self::Planned)
    }

    /// Whether it was left as it is, and nothing is wrong with it.
    pub(super) fn is_left(self) -> bool {
        matches!(self, Self::NotBegun | Self::GivenBack)
    }

    /// Whether it counts among the failures: it was begun, or could not be.
    fn is_bad(self) -> bool {
        !self.is_good() && !self.is_left()
    }
}

impl fmt::Display for Become {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why one image was not done: what is told of it. Errors of the journal end the run.
pub(super) enum Fault {
    Image(Become, String),
    /// Why it did not pass a gate, and all that this said.
    Gate(String, String),
    Journal(JournalError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let result = match &error {
            Error::Moved { .. } => Become::Moved,
            _ => Become::Failed,
        };
        Self::Image(result, error.in_full())
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

pub(super) fn failed(reason: impl Into<String>) -> Fault {
    Fault::Image(Become::Failed, reason.into())
}

/// What an image's tag was written to.
pub(super) struct Written {
    pub(super) result: Become,
    pub(super) tag: Reference,
    pub(super) digest: Digest,
    pub(super) conditional: Option<bool>,
}

/// Called with each outcome as soon as it is there.
pub type Listener = dyn Fn(&Outcome) + Send + Sync;

/// A run over the images of a plan.
pub(super) struct Run<'a> {
    pub(super) step: &'static str,
    pub(super) plan: &'a Plan,
    pub(super) journal: &'a Journal,
    pub(super) choice: &'a Choice,
    pub(super) listener: &'a Listener,
}

impl Run<'_> {
    /// Does `work` for each image that was chosen: wave by wave, and bases before what stands on them.
    pub(super) async fn each<'e, F>(
        &self,
        work: impl Fn(&'e Entry, &'e Locked) -> F,
    ) -> Result<Vec<Outcome>, Error>
    where
        F: Future<Output = Result<Written, Fault>>,
        Self: 'e,
    {
        self.check()?;
        self.journal.write(Event::Start { command: self.step.to_owned() }).await?;
        let faults = self.plan.faults();
        let part = self.choice.shard.map(|shard| shard.images(self.plan));
        let is_here = |entry: &Entry| part.as_ref().is_none_or(|images| images.contains(&entry.image));
        let mut outcomes: BTreeMap<&Reference, Outcome> = BTreeMap::new();
        let mut closed: Option<String> = None;
        // Counted at once: images of one level begin while others of it end.
        let bad = AtomicUsize::new(0);
        for (entry, fault) in self.homeless(&faults).filter(|(entry, _)| is_here(entry)) {
            let outcome = self.outcome(entry, Err(failed(fault))).await?;
            (self.listener)(&outcome);
            bad.fetch_add(1, Relaxed);
            outcomes.insert(&entry.image, outcome);
        }
        for wave in &self.plan.waves {
            let of_wave = self.plan.rebases();
            let of_wave = of_wave
                .filter(|(entry, _)| entry.wave == wave.name && self.is_chosen(entry) && is_here(entry));
            for level in levels(of_wave.collect()) {
                let level = stream::iter(level).map(|(entry, locked)| {
                    let ahead = faults.get(&entry.image).cloned().map(failed).or_else(|| {
                        let begun = self.may_begin(entry, &outcomes, closed.as_deref(), bad.load(Relaxed));
                        begun.err().map(|reason| Fault::Image(Become::NotBegun, reason))
                    });
                    let begun = ahead.map_or_else(|| Ok(work(entry, locked)), Err);
                    async move {
                        let done = match begun {
                            Ok(work) => work.await,
                            Err(fault) => Err(fault),
                        };
                        (entry, self.outcome(entry, done).await)
                    }
                });
                let mut level = level.buffer_unordered(self.choice.jobs.max(1));
                let mut done = Vec::new();
                while let Some((entry, outcome)) = level.next().await {
                    let outcome = outcome?;
                    (self.listener)(&outcome);
                    bad.fetch_add(usize::from(outcome.result.is_bad()), Relaxed);
                    done.push((&entry.image, outcome));
                }
                drop(level);
                outcomes.extend(done);
            }
            self.journal.end_wave();
            if !self.choice.keep_going {
                closed = closed.or_else(|| stopped(&outcomes, &wave.name));
            }
        }
        Ok(self.plan.images.iter().filter_map(|entry| outcomes.remove(&entry.image)).collect())
    }

    /// Chosen images that are in no wave, and what is told of them.
    fn homeless<'f>(
        &self,
        faults: &'f BTreeMap<&Reference, String>,
    ) -> impl Iterator<Item = (&Entry, &'f str)> {
        let rebases = self.plan.rebases().map(|(entry, _)| entry);
        let homeless =
            rebases.filter(|entry| self.plan.gates(&entry.wave).is_none() && self.is_chosen(entry));
        homeless.map(|entry| (entry, faults.get(&entry.image).map_or("it is in no wave", String::as_str)))
    }

    fn check(&self) -> Result<(), Error> {
        self.check_waves()?;
        check_only(
            self.choice,
            &self.plan.images.iter().map(|entry| &entry.image).collect::<Vec<_>>(),
            "the plan",
        )
    }

    fn check_waves(&self) -> Result<(), Error> {
        match self.choice.waves.iter().find(|wave| self.plan.gates(wave).is_none()) {
            Some(wave) => Err(Error::NotFound { name: format!("the wave {wave}"), place: "the plan".into() }),
            None => Ok(()),
        }
    }

    fn is_chosen(&self, entry: &Entry) -> bool {
        is_chosen(self.choice, &entry.image)
            && (self.choice.waves.is_empty() || self.choice.waves.contains(&entry.wave))
    }

    fn may_begin(
        &self,
        entry: &Entry,
        outcomes: &BTreeMap<&Reference, Outcome>,
        closed: Option<&str>,
        bad: usize,
    ) -> Result<(), String> {
        if let Some(reason) = closed {
            return Err(reason.to_owned());
        }
        if self.choice.max_failures.is_some_and(|most| bad > most) {
            let others = text::count(bad, "other image");
            return Err(format!("{others} had failed"));
        }
        match entry.after.iter().find(|base| outcomes.get(base).is_some_and(|o| !o.result.is_good())) {
            Some(base) => Err(format!("its base {base} was not done")),
            None => Ok(()),
        }
    }

    async fn outcome(&self, entry: &Entry, done: Result<Written, Fault>) -> Result<Outcome, Error> {
        outcome(self.journal, self.step, &entry.image, Some(&entry.wave), done).await
    }
}

/// Images in an order in which bases go before what stands on them; those of one level need not wait for each other.
fn levels<'e>(mut left: Vec<(&'e Entry, &'e Locked)>) -> Vec<Vec<(&'e Entry, &'e Locked)>> {
    let mut levels = Vec::new();
    while !left.is_empty() {
        let waiting: Vec<&Reference> = left.iter().map(|(entry, _)| &entry.image).collect();
        let is_ready = |entry: &Entry| !entry.after.iter().any(|base| waiting.contains(&base));
        let (ready, rest): (Vec<_>, Vec<_>) = left.iter().partition(|(entry, _)| is_ready(entry));
        // A circle, which only an edited plan can have: each is told by what it waits for.
        let (level, later) = if ready.is_empty() { (rest, ready) } else { (ready, rest) };
        levels.push(level);
        left = later;
    }
    levels
}

/// Why no later wave is begun, for what became of images so far.
fn stopped(outcomes: &BTreeMap<&Reference, Outcome>, wave: &str) -> Option<String> {
    let of_wave = || outcomes.values().filter(|outcome| outcome.wave.as_deref() == Some(wave));
    let bad = of_wave().filter(|outcome| outcome.result.is_bad()).count();
    let back = of_wave().filter(|outcome| outcome.result == Become::GivenBack).count();
    let (count, what) = match (bad, back) {
        (0, 0) => return None,
        (0, back) => (back, "given back"),
        (bad, _) => (bad, "not done"),
    };
    let were = if count == 1 { "was" } else { "were" };
    Some(format!("{} of the wave {wave} {were} {what}", text::count(count, "image")))
}

/// What became of an image; why nothing did is written down.
pub(super) async fn outcome(
    journal: &Journal,
    step: &str,
    image: &Reference,
    wave: Option<&str>,
    done: Result<Written, Fault>,
) -> Result<Outcome, Error> {
    let (image, wave) = (image.clone(), wave.map(str::to_owned));
    match done {
        Ok(Written { result, tag, digest, conditional }) => {
            let (tag, digest) = (Some(tag), Some(digest));
            Ok(Outcome { image, wave, result, tag, digest, conditional, reason: None, said: None })
        }
        Err(Fault::Journal(error)) => Err(error.into()),
        // Gates have a line of their own.
        Err(Fault::Gate(reason, said)) => {
            let said = Some(plain(said.trim_end())).filter(|said| !said.is_empty());
            let not_passed = not_done(image, wave, Become::NotPassed, reason);
            Ok(Outcome { said, ..not_passed })
        }
        Err(Fault::Image(result, reason)) => {
            let (failed, step, why) = (image.clone(), step.to_owned(), reason.clone());
            journal.write(Event::Failed { image: failed, step, result, reason: why }).await?;
            Ok(not_done(image, wave, result, reason))
        }
    }
}

fn not_done(image: Reference, wave: Option<String>, result: Become, reason: String) -> Outcome {
    let reason = Some(reason);
    Outcome { image, wave, result, tag: None, digest: None, conditional: None, reason, said: None }
}

/// Each pattern must name an image, or it is mistyped.
pub(super) fn check_only(choice: &Choice, images: &[&Reference], place: &str) -> Result<(), Error> {
    let fits = |pattern: &&String| images.iter().any(|image| names(pattern, image));
    match choice.only.iter().find(|pattern| !fits(pattern)) {
        Some(pattern) => {
            Err(Error::NotFound { name: format!("an image like \"{pattern}\""), place: place.to_owned() })
        }
        None => Ok(()),
    }
}

pub(super) fn is_chosen(choice: &Choice, image: &Reference) -> bool {
    choice.only.is_empty() || choice.only.iter().any(|pattern| names(pattern, image))
}

/// Places that read each document once for all images, and know those that are not pushed yet: images can be planned that
/// are going to stand on them. A base that fails is asked for once.
pub(super) fn remembering(places: &Places) -> Places {
    let places = places.clone().asking_once();
    match places.documents() {
        Some(_) => places,
        None => places.with_documents(Documents::in_memory(REMEMBERED)),
    }
}

pub(super) fn remember(places: &Places, plan: &rebase::Plan) {
    if let Some(documents) = places.documents() {
        plan.new_documents().for_each(|document| documents.insert(document));
    }
}
