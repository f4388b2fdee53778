//! Rolling back: tags that were promoted get back what they stood for.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use palan_core::Reference;

use super::{
    journal::{Event, Journal, Step},
    planned::{Entry, Locked, Plan},
    run::{Become, Choice, Fault, Listener, Outcome, Written, check_only, failed, is_chosen, outcome},
    states::State,
    tags::{effect, moved, put_tag, standing},
};
use crate::{
    Error,
    place::{Location, Places, PutAs},
};

/// Gives each tag that a journal says was promoted what it stood for. One that stands for something else by now is left
/// alone. Images that others stand on come after those, being promoted before them.
///
/// [`Choice::waves`] and [`Choice::shard`] mean nothing here: a journal does not know them.
pub async fn rollback(
    places: &Places,
    journal: &Journal,
    choice: &Choice,
    listener: &Listener,
) -> Result<Vec<Outcome>, Error> {
    let written = journal.images();
    check_only(choice, &written.iter().collect::<Vec<_>>(), "the journal")?;
    let promoted = journal.promoted().into_iter().filter(|(image, _)| is_chosen(choice, image));
    let run = Run { places, journal, choice, listener };
    run.all(promoted.map(|(image, state)| (image, Lead::Journal(Box::new(state)))).collect()).await
}

/// As [`rollback`], with a look at the tags of the plan's other images: one that stands for its result was promoted too,
/// by a run that could not write that down any more, if the backup that is made before stands for what it was.
pub async fn rollback_plan(
    places: &Places,
    plan: &Plan,
    journal: &Journal,
    choice: &Choice,
    listener: &Listener,
) -> Result<Vec<Outcome>, Error> {
    let images: Vec<&Reference> = plan.images.iter().map(|entry| &entry.image).collect();
    check_only(choice, &images, "the plan")?;
    let part = choice.shard.map(|shard| shard.images(plan));
    let is_here = |image: &Reference| {
        is_chosen(choice, image) && part.as_ref().is_none_or(|images| images.contains(image))
    };
    let written = journal.promoted().into_iter().filter(|(image, _)| is_here(image));
    let mut all: Vec<_> = written.map(|(image, state)| (image, Lead::Journal(Box::new(state)))).collect();
    let known: BTreeSet<Reference> = all.iter().map(|(image, _)| image.clone()).collect();
    let faults = plan.faults();
    let others = plan.rebases().filter(|(entry, _)| {
        let image = &entry.image;
        is_here(image) && !known.contains(image) && !faults.contains_key(image)
    });
    let mut others: Vec<_> =
        others.map(|(entry, locked)| (entry.image.clone(), Lead::Plan(entry, locked))).collect();
    others.reverse();
    all.extend(others);
    Run { places, journal, choice, listener }.all(all).await
}

/// Why an image may have to be given back.
enum Lead<'a> {
    /// It was written that it was promoted.
    Journal(Box<State>),
    /// It is in the plan.
    Plan(&'a Entry, &'a Locked),
}

struct Run<'a> {
    places: &'a Places,
    journal: &'a Journal,
    choice: &'a Choice,
    listener: &'a Listener,
}

impl Run<'_> {
    async fn all(&self, images: Vec<(Reference, Lead<'_>)>) -> Result<Vec<Outcome>, Error> {
        self.journal.write(Event::Start { command: "rollback".into() }).await?;
        let work = images.into_iter().map(|(image, lead)| async move {
            let done = match lead {
                Lead::Journal(state) => self.restore(&image, &state).await.map(Some),
                Lead::Plan(entry, locked) => self.found(entry, locked).await,
            };
            let Some(done) = done.transpose() else { return Ok(None) };
            let outcome = outcome(self.journal, "rollback", &image, None, done).await?;
            (self.listener)(&outcome);
            Ok(Some(outcome))
        });
        let done = stream::iter(work).buffered(self.choice.jobs.max(1));
        let done: Vec<Result<Option<Outcome>, Error>> = done.collect().await;
        done.into_iter().filter_map(Result::transpose).collect()
    }

    /// Gives back what nobody wrote down. `None`: it was not promoted.
    async fn found(&self, entry: &Entry, locked: &Locked) -> Result<Option<Written>, Fault> {
        let image = &entry.image;
        if standing(self.places, image).await? != Some(locked.new_digest) {
            return Ok(None);
        }
        if entry.digest.is_none() || standing(self.places, &locked.backup).await? != entry.digest {
            let reason = format!(
                "it stands for the plan's result, and {} does not stand for what it was: it was moved by somebody else",
                locked.backup
            );
            return Err(Fault::Image(Become::Moved, reason));
        }
        let promotion = effect(image, Step::Promote, image, entry.digest, locked.new_digest);
        self.journal.write(Event::Done(promotion.clone())).await?;
        let state = State { promoted: Some(promotion), ..State::default() };
        self.restore(image, &state).await.map(Some)
    }

    async fn restore(&self, image: &Reference, state: &State) -> Result<Written, Fault> {
        let Some((promotion, old)) = state.promoted.as_ref().and_then(|effect| Some((effect, effect.old?)))
        else {
            return Err(failed("the journal does not say what its tag stood for"));
        };
        let back = effect(image, Step::Restore, image, Some(promotion.new), old);
        let written = |result| Written { result, tag: image.clone(), digest: old, conditional: None };
        let found = standing(self.places, image).await?;
        if found == Some(old) {
            // It never moved, or was given back and that was not written down.
            if !state.is_restored || state.failed.is_some() {
                self.journal.write(Event::Done(back)).await?;
            }
            return Ok(written(Become::Already));
        }
        if found != Some(promotion.new) {
            return Err(moved(image, promotion.new, found));
        }
        if self.choice.dry_run {
            return Ok(written(Become::Planned));
        }
        // Of the registry: it may have cleared away what has no tag.
        let target = self.places.target(&Location::Registry(image.clone()))?.place;
        let document = target.document(&old.into()).await?;
        let tag = image.tag().unwrap_or_default().to_owned();
        let role = PutAs::Replace { tag, expected: promotion.new };
        put_tag(self.places, self.journal, back, &document, role, true).await?;
        Ok(written(Become::Done))
    }
}
