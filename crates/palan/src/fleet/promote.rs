//! Promoting: the images' own tags move to the results, each after its backup.

use palan_core::{Digest, Document, Reference};

use super::{
    journal::{Event, Journal, Step},
    planned::{Entry, Locked, Plan},
    run::{Become, Choice, Fault, Listener, Outcome, Run, Written, failed},
    tags::{check_stands, effect, found_there, moved, put_tag, standing, taken},
};
use crate::{
    Error,
    once::Once,
    place::{Location, Places, PutAs},
};

/// Moves the tags of a plan's images to their candidates, where those passed all gates.
///
/// A tag is read right before it is moved, and the move is conditional where the registry can do that. One that stands for
/// neither of the plan's two digests is left alone. What it stood for is kept under the backup tag first. What a rollback
/// gave back goes forth once more only with [`Choice::again`]. Where the registry makes no conditional moves, each tag is read
/// again after it was written.
pub async fn promote(
    places: &Places,
    plan: &Plan,
    journal: &Journal,
    choice: &Choice,
    listener: &Listener,
) -> Result<Vec<Outcome>, Error> {
    let run = Run { step: "promote", plan, journal, choice, listener };
    let conditions = &Conditions { places, heeded: Once::default() };
    run.each(|entry, locked| image(conditions, journal, choice, entry, locked)).await
}

/// Which registries heed preconditions, each asked once.
struct Conditions<'a> {
    places: &'a Places,
    heeded: Once<String, Option<bool>>,
}

impl Conditions<'_> {
    /// `backup`: a tag that stands for `document`; it is put where it is once more, which changes nothing. `None`: the registry
    /// refuses that for another reason.
    async fn heeded(&self, backup: &Reference, document: &Document) -> Option<bool> {
        let ask = || async {
            let repo = self.places.client().repository(backup.repository()).primary();
            Ok(repo.heeds_preconditions(document, backup.tag().unwrap_or_default()).await.ok())
        };
        self.heeded.get(backup.registry().to_owned(), ask).await.ok().and_then(|heeded| *heeded)
    }
}

async fn image(
    conditions: &Conditions<'_>,
    journal: &Journal,
    choice: &Choice,
    entry: &Entry,
    locked: &Locked,
) -> Result<Written, Fault> {
    let places = conditions.places;
    let Some(digest) = entry.digest else { return Err(failed("the plan has no digest of it")) };
    let state = journal.state(&entry.image);
    match &state.candidate {
        Some(candidate) if candidate.new == locked.new_digest => {}
        // Why not is what there is to know, also later.
        _ => match state.failed.or(state.left).filter(|failed| failed.step == "apply") {
            Some(failed) => return Err(Fault::Image(failed.result, failed.reason)),
            None => return Err(failed("it has not been applied")),
        },
    }
    if state.passed != Some(true) {
        let gate = state.gate.map_or("its gates were not asked".to_owned(), |(gate, _)| {
            format!("its candidate did not pass the gate \"{gate}\"")
        });
        return Err(Fault::Gate(gate, String::new()));
    }
    let promotion = effect(&entry.image, Step::Promote, &entry.image, Some(digest), locked.new_digest);
    let written =
        |result| Written { result, tag: entry.image.clone(), digest: locked.new_digest, conditional: None };
    let found = standing(places, &entry.image).await?;
    if found == Some(locked.new_digest) {
        // Done, and perhaps not written down; or somebody else did it. What failed since then is over.
        if !state.is_promoted || state.failed.is_some() {
            journal.write(Event::Done(promotion)).await?;
        }
        return Ok(written(Become::Already));
    }
    if found != Some(digest) {
        return Err(moved(&entry.image, digest, found));
    }
    if state.is_restored && !choice.again {
        return Err(Fault::Image(Become::GivenBack, "a rollback gave its tag back".to_owned()));
    }
    let (result, old) = tokio::try_join!(
        found_there(places, &locked.candidate, locked.new_digest),
        old(places, &entry.image, digest)
    )?;
    if choice.dry_run {
        let backup = standing(places, &locked.backup).await?;
        return match backup.is_none_or(|found| found == digest) {
            true => Ok(written(Become::Planned)),
            false => Err(taken(&locked.backup)),
        };
    }
    let keep = effect(&entry.image, Step::Backup, &locked.backup, None, digest);
    let tag = locked.backup.tag().unwrap_or_default().to_owned();
    put_tag(places, journal, keep, &old, PutAs::Absent(tag), false).await?;
    let conditional = conditions.heeded(&locked.backup, &old).await;
    // Where it does not compare, nothing but a look tells what a write came to.
    let is_checked = conditional != Some(true);
    if is_checked {
        check_stands(places, &locked.backup, digest).await?;
    }
    let role = PutAs::Replace { tag: entry.image.tag().unwrap_or_default().to_owned(), expected: digest };
    put_tag(places, journal, promotion, &result, role, is_checked).await?;
    Ok(Written { conditional, ..written(Become::Done) })
}

/// What the image's tag stands for: the registry has just said so, and whoever knows it need not read it.
async fn old(places: &Places, image: &Reference, digest: Digest) -> Result<Document, Fault> {
    let standing = places.standing(&Location::Registry(image.clone()))?;
    Ok(standing.place.document(&digest.into()).await?)
}
