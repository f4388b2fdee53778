//! Applying a plan: results are pushed under candidate tags and pass their gates, or do not. No image's own tag moves.

use async_trait::async_trait;
use palan_core::{Digest, Reference};

use super::{
    gates::refused,
    journal::{Effect, Event, Journal, JournalError, Step},
    lock::edited,
    plan::{SIGNED_BASE, request},
    planned::{Entry, Locked, Plan, Stood},
    run::{Become, Choice, Fault, Listener, Outcome, Run, Written, failed, remember, remembering},
    settings::Gates,
    states::State,
    tags::{effect, found_there, moved, standing},
    template::names,
};
use crate::{
    Error,
    copy::Options,
    place::{Places, PutAs},
    rebase::{self, Check, Knowledge, OldBase},
};

const STEP: &str = "apply";

/// A program, or whatever else, that looks at a candidate.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Whether `command` could be run at all; asked before anything is pushed, and by runs that only say what they would do.
    /// The error says why not.
    async fn check(&self, _command: &[String]) -> Result<(), String> {
        Ok(())
    }

    /// Runs `command` (program and arguments, as the plan has them) for a candidate.
    async fn run(
        &self,
        command: &[String],
        timeout: std::time::Duration,
        candidate: &Candidate<'_>,
    ) -> HookOutput;
}

/// What a hook is run for.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The image that is to be replaced.
    pub image: &'a Reference,
    /// What it stands for.
    pub digest: Digest,
    /// The result: its tag, with its digest.
    pub candidate: Reference,
    /// The wave.
    pub wave: &'a str,
}

/// What came of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOutput {
    /// Whether the candidate passed.
    pub passed: bool,
    /// What it said.
    pub output: String,
}

/// How a plan is applied.
pub struct Apply<'a> {
    /// Which images.
    pub choice: Choice,
    /// How content is copied.
    pub options: Options,
    /// What is known of layers and bases.
    pub knowledge: Knowledge,
    /// Who runs the hooks of gates; without one, a plan that has hooks is refused.
    pub hook: Option<&'a dyn Hook>,
    /// Is told each outcome at once.
    pub listener: &'a Listener,
}

/// Pushes the results of a plan under their candidate tags, and asks the gates of their waves.
///
/// Each image's tag must stand for what the plan says, and its rebase must give what the plan says; otherwise nothing is
/// pushed for it. What the journal has done is not done again.
///
/// Fails where nothing can go on: the journal cannot be written, the plan asks for hooks and there is nobody to run them, or
/// for signatures.
pub async fn apply(
    places: &Places,
    plan: &Plan,
    journal: &Journal,
    apply: &Apply<'_>,
) -> Result<Vec<Outcome>, Error> {
    if apply.hook.is_none() && plan.waves.iter().any(|wave| !wave.gates.hook.is_empty()) {
        return Err(Error::Unsupported("hooks: there is nobody to run them".into()));
    }
    // No plan is made with it; who writes it into one must not believe that it was checked.
    if plan.waves.iter().any(|wave| wave.gates.signed_base) {
        return Err(Error::Unsupported(SIGNED_BASE.into()));
    }
    let run = Run { step: STEP, plan, journal, choice: &apply.choice, listener: apply.listener };
    let one = One { places: &remembering(places), plan, journal, apply };
    run.each(|entry, locked| one.image(entry, locked)).await
}

struct One<'a> {
    places: &'a Places,
    plan: &'a Plan,
    journal: &'a Journal,
    apply: &'a Apply<'a>,
}

impl One<'_> {
    async fn image(&self, entry: &Entry, locked: &Locked) -> Result<Written, Fault> {
        let Some(digest) = entry.digest else { return Err(failed("the plan has no digest of it")) };
        let Some(gates) = self.plan.gates(&entry.wave) else { return Err(failed("its wave has no gates")) };
        let state = self.journal.state(&entry.image);
        let candidate = effect(&entry.image, Step::Push, &locked.candidate, None, locked.new_digest);
        let written =
            |result| Written { result, tag: candidate.tag.clone(), digest: candidate.new, conditional: None };
        let is_pushed = state.candidate.as_ref() == Some(&candidate) && !self.is_lost(&state, locked).await?;
        if is_pushed {
            return match state.passed {
                Some(true) => {
                    // What failed since then is over.
                    if state.failed.is_some_and(|failed| failed.step == STEP) {
                        self.journal.write(Event::Done(candidate.clone())).await?;
                    }
                    Ok(written(Become::Already))
                }
                _ if self.apply.choice.dry_run => {
                    self.check_hook(entry, locked, gates).await.map(|()| written(Become::Planned))
                }
                // It did not pass, or nobody knows: the hook is asked again.
                _ => self.pass(entry, locked, gates, digest).await.map(|()| written(Become::Done)),
            };
        }
        let found = standing(self.places, &entry.image).await?;
        if found == Some(locked.new_digest) && self.is_pushed(&candidate).await? {
            // Promoted by a run that could not write anything down.
            if self.apply.choice.dry_run {
                return Ok(written(Become::Already));
            }
            self.journal.write(Event::Done(candidate.clone())).await?;
            return self.pass(entry, locked, gates, digest).await.map(|()| written(Become::Already));
        }
        if found != Some(digest) {
            return Err(moved(&entry.image, digest, found));
        }
        // A plan may have been edited, and its gates with it.
        let reasons = refused(locked, gates);
        if !reasons.is_empty() {
            let reason = reasons.join("; ");
            self.asked(entry, locked, "plan", false, &reason).await?;
            return Err(Fault::Gate(reason, String::new()));
        }
        self.check_hook(entry, locked, gates).await?;
        let plan = self.rebase(entry, locked, digest).await?;
        let role = self.role(locked).await?;
        if self.apply.choice.dry_run {
            return Ok(written(Become::Planned));
        }
        self.push(plan, candidate.clone(), role).await?;
        self.pass(entry, locked, gates, digest).await?;
        Ok(written(Become::Done))
    }

    /// Whether a candidate that was pushed is not there any more: looked at only where its promotion failed.
    async fn is_lost(&self, state: &State, locked: &Locked) -> Result<bool, Fault> {
        if state.failed.as_ref().is_none_or(|failed| failed.step != "promote") {
            return Ok(false);
        }
        match found_there(self.places, &locked.candidate, locked.new_digest).await {
            Ok(_) => Ok(false),
            Err(Fault::Journal(error)) => Err(Fault::Journal(error)),
            Err(_) => Ok(true),
        }
    }

    /// The rebase, computed again: it must give what was reviewed.
    async fn rebase(&self, entry: &Entry, locked: &Locked, digest: Digest) -> Result<rebase::Plan, Fault> {
        let image = entry.image.pinned(digest);
        let bases = (locked.old_base.as_ref(), &locked.new_base);
        let mut request = request(&self.plan.rebase, &self.apply.knowledge, image, bases);
        if locked.old_base.is_none() {
            let found = locked.platforms.iter().filter_map(|on| Some((on.digest, on.old_base_at.clone()?)));
            request.old_base = OldBase::Found(found.collect());
        }
        // The verdict was given when the plan was made, about these very digests. It is the one thing that is believed.
        request.policy.check = Check::None;
        let plan = rebase::plan(self.places, &request).await?;
        if plan.digest() != locked.new_digest {
            return Err(failed(format!(
                "the rebase gives {}, and the plan says {}: it was edited, or made by another version",
                plan.digest(),
                locked.new_digest
            )));
        }
        if let Some(what) = edited(locked, plan.report()) {
            return Err(failed(format!("the plan says of its {what} what is not so: it was edited")));
        }
        remember(self.places, &plan);
        Ok(plan)
    }

    async fn is_pushed(&self, candidate: &Effect) -> Result<bool, Error> {
        Ok(standing(self.places, &candidate.tag).await? == Some(candidate.new))
    }

    /// How the candidate tag is written. One that names the result stands for nothing else; any other may be somebody's: it
    /// is written only where it stands for what it did when the plan was made, for the result, or for nothing.
    async fn role(&self, locked: &Locked) -> Result<PutAs, Fault> {
        let tag = locked.candidate.tag().unwrap_or_default().to_owned();
        if locked.candidate_was.is_none() && names(&tag, locked.new_digest) {
            return Ok(PutAs::Tag(tag));
        }
        // Plans without it are older than the question.
        let was = locked.candidate_was.unwrap_or(Stood::Nothing);
        match standing(self.places, &locked.candidate).await? {
            None => Ok(PutAs::Absent(tag)),
            Some(found) if found == locked.new_digest || Stood::For(found) == was => {
                Ok(PutAs::Replace { tag, expected: found })
            }
            Some(found) => Err(taken(&locked.candidate, was, &found.to_string())),
        }
    }

    async fn push(&self, plan: rebase::Plan, candidate: Effect, role: PutAs) -> Result<(), Fault> {
        let plan = plan.to(candidate.tag.repository(), role);
        self.journal.write(Event::Begin(candidate.clone())).await?;
        match rebase::apply(self.places, &plan, &self.apply.options).await {
            Ok(_) => {}
            // Another run did the same meanwhile; or this one did, and the answer was lost.
            Err(Error::Moved { .. } | Error::Exists { .. }) if self.is_pushed(&candidate).await? => {}
            Err(error) => return Err(error.into()),
        }
        self.journal.write(Event::Done(candidate)).await?;
        Ok(())
    }

    /// A hook that cannot be run would stop the image after it was pushed.
    async fn check_hook(&self, entry: &Entry, locked: &Locked, gates: &Gates) -> Result<(), Fault> {
        let Some(hook) = self.apply.hook.filter(|_| !gates.hook.is_empty()) else { return Ok(()) };
        let Err(reason) = hook.check(&gates.hook).await else { return Ok(()) };
        let reason = format!("the hook cannot be run: {reason}");
        self.asked(entry, locked, "hook", false, &reason).await?;
        Err(Fault::Gate(reason, String::new()))
    }

    /// Writes down what a gate said.
    async fn asked(
        &self,
        entry: &Entry,
        locked: &Locked,
        gate: &str,
        passed: bool,
        output: &str,
    ) -> Result<(), JournalError> {
        let (image, digest) = (entry.image.clone(), locked.new_digest);
        let (gate, output) = (gate.to_owned(), output.to_owned());
        self.journal.write(Event::Gate { image, digest, gate, passed, output }).await
    }

    /// Asks the gates that need the candidate, and writes down what they said.
    async fn pass(&self, entry: &Entry, locked: &Locked, gates: &Gates, digest: Digest) -> Result<(), Fault> {
        let hook = self.apply.hook.filter(|_| !gates.hook.is_empty());
        let said = match hook {
            None => HookOutput { passed: true, output: String::new() },
            Some(hook) => {
                let candidate = Candidate {
                    image: &entry.image,
                    digest,
                    candidate: locked.candidate.pinned(locked.new_digest),
                    wave: &entry.wave,
                };
                let timeout = std::time::Duration::from_secs(gates.hook_timeout);
                hook.run(&gates.hook, timeout, &candidate).await
            }
        };
        let HookOutput { passed, output } = said;
        let gate = if hook.is_some() { "hook" } else { "plan" };
        let reason = format!("the hook refused it: {}", last_line(&output));
        self.asked(entry, locked, gate, passed, &output).await?;
        if passed { Ok(()) } else { Err(Fault::Gate(reason, output)) }
    }
}

/// Why a candidate tag is not written.
fn taken(candidate: &Reference, was: Stood, found: &str) -> Fault {
    let reason = format!("somebody moved its candidate: {candidate} stands for {found}, not for {was}");
    Fault::Image(Become::Moved, reason)
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing")
}
