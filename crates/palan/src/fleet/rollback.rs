//! Rolling back: tags that were promoted get back what they stood for.

use futures_util::{StreamExt as _, stream};
use palan_core::Reference;

use super::{
    journal::{Effect, Event, Journal, State, Step},
    run::{Become, Choice, Fault, Listener, Outcome, failed, is_chosen},
    tags::{effect, moved, put_tag, standing},
};
use crate::{
    Error,
    place::{Places, PutAs},
};

/// Gives each tag that a journal says was promoted what it stood for. One that stands for something else by now is left
/// alone. Images that others stand on come after those, being promoted before them.
///
/// [`Choice::waves`] means nothing here: a journal does not know them.
pub async fn rollback(
    places: &Places,
    journal: &Journal,
    choice: &Choice,
    listener: &Listener,
) -> Result<Vec<Outcome>, Error> {
    journal.write(Event::Start { command: "rollback".into() }).await?;
    let promoted = journal.promoted().into_iter().filter(|(image, _)| is_chosen(choice, image));
    let work = promoted.map(|(image, state)| async move {
        let done = restore(places, journal, choice, &image, &state).await;
        let outcome = outcome(journal, image, done).await?;
        listener(&outcome);
        Ok(outcome)
    });
    let done: Vec<Result<Outcome, Error>> = stream::iter(work).buffered(choice.jobs.max(1)).collect().await;
    done.into_iter().collect()
}

async fn restore(
    places: &Places,
    journal: &Journal,
    choice: &Choice,
    image: &Reference,
    state: &State,
) -> Result<(Become, Effect), Fault> {
    let Some((promotion, old)) = state.promoted.as_ref().and_then(|effect| Some((effect, effect.old?)))
    else {
        return Err(failed("the journal does not say what its tag stood for"));
    };
    let back = effect(image, Step::Restore, image, Some(promotion.new), old);
    let found = standing(places, image).await?;
    if found == Some(old) {
        // It never moved, or was given back and that was not written down.
        if !state.is_restored {
            journal.write(Event::Done(back.clone())).await?;
        }
        return Ok((Become::Already, back));
    }
    if found != Some(promotion.new) {
        return Err(moved(image, promotion.new, found));
    }
    if choice.dry_run {
        return Ok((Become::Planned, back));
    }
    let tag = image.tag().unwrap_or_default().to_owned();
    put_tag(places, journal, back.clone(), PutAs::Replace { tag, expected: promotion.new }).await?;
    Ok((Become::Done, back))
}

async fn outcome(
    journal: &Journal,
    image: Reference,
    done: Result<(Become, Effect), Fault>,
) -> Result<Outcome, Error> {
    let blank = |image, result| Outcome { image, wave: None, result, tag: None, digest: None, reason: None };
    match done {
        Ok((result, effect)) => {
            Ok(Outcome { tag: Some(effect.tag), digest: Some(effect.new), ..blank(image, result) })
        }
        Err(Fault::Journal(error)) => Err(error.into()),
        Err(Fault::Image(result, reason)) => {
            let (failed, step) = (image.clone(), "rollback".to_owned());
            journal.write(Event::Failed { image: failed, step, reason: reason.clone() }).await?;
            Ok(Outcome { reason: Some(reason), ..blank(image, result) })
        }
    }
}
