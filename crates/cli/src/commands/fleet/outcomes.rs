//! What is said of a run over a fleet.

use std::collections::BTreeMap;

use palan::fleet::{Become, Journal, Outcome, Plan, Step};
use palan_core::Reference;

use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// How many lines of what a gate said are told; the journal has more.
const SAID: usize = 20;

/// How many images one sentence names.
const NAMED: usize = 5;

/// The tags that stand as they were to, on stdout; what did not come about, and the sum, on stderr. `done`: what was done to
/// them: "promoted".
pub(super) fn tell(outcomes: &[Outcome], done: &str, format: ReportFormat, session: &Session) -> Result {
    for outcome in outcomes.iter().filter(|outcome| !outcome.result.is_good()) {
        let reason = outcome.reason.as_deref().unwrap_or_default();
        session.ui.warning(format!("{}: {}: {reason}", outcome.image, outcome.result));
        for line in said(outcome) {
            session.ui.say(format!("  | {line}"));
        }
    }
    match format {
        ReportFormat::Json => session.ui.json(&outcomes)?,
        ReportFormat::Text => {
            for outcome in outcomes {
                if let (true, Some(tag), Some(digest)) =
                    (outcome.result.is_good(), &outcome.tag, outcome.digest)
                {
                    session.ui.line(tag.pinned(digest).to_string())?;
                }
            }
        }
    }
    session.ui.say(sum(outcomes, done));
    if outcomes.iter().any(|outcome| outcome.result == Become::GivenBack) {
        session.ui.note("with --again, what was given back goes forth once more");
    }
    match outcomes.iter().all(|outcome| outcome.result.is_good()) {
        true => Ok(()),
        false => Err(Failure::reported(Code::Partial)),
    }
}

/// The end of what a gate said, where that is more than the reason.
fn said(outcome: &Outcome) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = outcome.said.iter().flat_map(|said| said.lines()).collect();
    let from = if lines.len() > 1 { lines.len().saturating_sub(SAID) } else { lines.len() };
    lines.into_iter().skip(from)
}

/// Says which registries do not compare themselves before they move a tag.
pub(super) fn unconditional(outcomes: &[Outcome], session: &Session) {
    let moved = outcomes.iter().filter(|outcome| outcome.result == Become::Done);
    let registries: BTreeMap<&str, Option<bool>> =
        moved.map(|outcome| (outcome.image.registry(), outcome.conditional)).collect();
    for (registry, heeds) in registries {
        let why = match heeds {
            Some(true) => continue,
            Some(false) => "does not heed conditional requests",
            None => "does not say whether it heeds conditional requests",
        };
        session
            .ui
            .note(format!("{registry} {why}: tags were read right before they were moved, best effort"));
    }
}

/// Says which images stand on the result of another one whose own tag does not: where only some were chosen, or done.
pub(super) fn apart(plan: &Plan, outcomes: &[Outcome], journal: &Journal, step: Step, session: &Session) {
    let outcome = |image: &Reference| outcomes.iter().find(|outcome| outcome.image == *image);
    let is_done = |image: &Reference| outcome(image).is_some_and(|outcome| outcome.result.is_good());
    let has_result = |image: &Reference| match is_done(image) {
        true => step == Step::Promote,
        false => journal.state(image).is_promoted,
    };
    let mut above: BTreeMap<&Reference, Vec<String>> = BTreeMap::new();
    for (entry, _) in plan.rebases().filter(|(entry, _)| has_result(&entry.image)) {
        let concerned = entry.after.iter().filter(|base| is_done(&entry.image) || is_done(base));
        for base in concerned.filter(|base| !has_result(base)) {
            above.entry(base).or_default().push(entry.image.to_string());
        }
    }
    for (base, images) in above {
        let (count, more) = (text::count(images.len(), "image"), images.len().saturating_sub(NAMED));
        let named = images.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (stand, are) = if images.len() == 1 { ("stands", "is") } else { ("stand", "are") };
        session.ui.note(format!(
            "{base} is not promoted, and {count} that {stand} on its result {are}: {named}{more}"
        ));
    }
}

fn sum(outcomes: &[Outcome], done: &str) -> String {
    let mut counts: BTreeMap<Become, usize> = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.result).or_default() += 1;
    }
    let count = |result| counts.get(&result).copied().unwrap_or_default();
    let all = text::count(outcomes.len(), "image");
    let mut parts = match count(Become::Planned) {
        0 => vec![format!("{done} {} of {all}", count(Become::Done))],
        planned => vec![format!("{planned} of {all} would be {done}")],
    };
    let words = [
        (Become::Already, "already so"),
        (Become::NotPassed, "not passed by a gate"),
        (Become::Moved, "moved by somebody else"),
        (Become::Failed, "failed"),
        (Become::NotBegun, "not begun"),
        (Become::GivenBack, "given back before"),
    ];
    let others = words.iter().filter(|(result, _)| count(*result) > 0);
    parts.extend(others.map(|(result, word)| format!("{} {word}", count(*result))));
    parts.join(", ")
}
