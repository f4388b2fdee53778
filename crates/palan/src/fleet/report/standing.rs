//! Where an image of a plan stands, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::markup::plain;
use crate::{
    fleet::{
        Become,
        gates::{HeldBy, offended},
        planned::{Action, Entry, Left, Locked, Plan},
        states::State,
    },
    rebase::Verdict,
    verdict::Grade,
};

/// How far an image has come. One vocabulary for all forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// Its tag stands for the result.
    Promoted,
    /// The move of its tag has begun; whether it happened is not known before the next run.
    Promoting,
    /// The candidate is pushed; the tag has not moved.
    Pushed,
    /// It is to be rebased, and nothing was done yet.
    Planned,
    /// Its tag was moved, and given back.
    Restored,
    /// It would not pass the gates, and a person has to decide.
    Held,
    /// It would not pass the gates, and by its verdict (`db-shadowed`, `broken`) only a rebuild helps.
    NeedsRebuild,
    /// Somebody else has moved the tag since the plan was made; it was left alone.
    Moved,
    /// The candidate was pushed and did not pass a gate.
    GateFailed,
    /// Something failed: the plan of it, or the last step.
    Failed,
    /// Its base is not known, so that it was left alone.
    BaseUnknown,
    /// No rule is about its base, so that it was left alone.
    NoRule,
    /// There was nothing to do.
    Nothing,
}

impl Standing {
    /// All, from done to failed; what had nothing to do comes last. Reports have this order.
    pub const ALL: [Self; 13] = [
        Self::Promoted,
        Self::Promoting,
        Self::Pushed,
        Self::Planned,
        Self::Restored,
        Self::Held,
        Self::NeedsRebuild,
        Self::Moved,
        Self::GateFailed,
        Self::Failed,
        Self::BaseUnknown,
        Self::NoRule,
        Self::Nothing,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Promoting => "promoting",
            Self::Pushed => "pushed",
            Self::Planned => "planned",
            Self::Restored => "restored",
            Self::Held => "held",
            Self::NeedsRebuild => "needs-rebuild",
            Self::Moved => "moved",
            Self::GateFailed => "gate-failed",
            Self::Failed => "failed",
            Self::BaseUnknown => "base-unknown",
            Self::NoRule => "no-rule",
            Self::Nothing => "nothing",
        }
    }

    /// The words for people, after a number: `3 need a rebuild`.
    pub fn counted(self, count: usize) -> String {
        let words = match (self, count) {
            (Self::Promoting, _) => "being moved",
            (Self::BaseUnknown, _) => "with an unknown base",
            (Self::NoRule, _) => "without a rule",
            (Self::Nothing, _) => "with nothing to do",
            (Self::NeedsRebuild, 1) => "needs a rebuild",
            (Self::NeedsRebuild, _) => "need a rebuild",
            (Self::Moved, _) => "moved by others",
            (Self::GateFailed, _) => "stopped by a gate",
            (Self::Restored, _) => "given back",
            (standing, _) => standing.as_str(),
        };
        format!("{count} {words}")
    }

    /// Whether it had something to do, or should have had. With an unknown base, nobody knows.
    pub fn is_concerned(self) -> bool {
        !matches!(self, Self::NoRule | Self::Nothing)
    }

    /// Whether somebody has to look at it because something went wrong. What is held did not go wrong: it was decided so.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Moved | Self::GateFailed | Self::Failed)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// By which gates a result is held; never empty. Computed from the numbers, not from the sentences.
pub(super) fn held_by(plan: &Plan, wave: &str, locked: &Locked) -> Vec<HeldBy> {
    let mut by = Vec::new();
    if let Some(gates) = plan.gates(wave) {
        by.extend(offended(locked, gates).into_iter().map(|(gate, _)| gate));
    }
    if by.is_empty() {
        by.push(HeldBy::Other);
    }
    by
}

/// Where an image stands, and why: the plan's word where nothing was done yet, else the journal's. `fault` is what is
/// wrong with its entry in the plan.
pub(super) fn standing(entry: &Entry, state: &State, fault: Option<&str>) -> (Standing, Vec<String>) {
    if let Some((standing, reason)) = went_wrong(state) {
        return (standing, reason);
    }
    // What is as it was, because others failed, or because it was given back, says so.
    let left = || state.left.iter().map(|left| format!("{}: {}: {}", left.step, left.result, left.reason));
    match done(state) {
        Some(Standing::Promoted) => return (Standing::Promoted, Vec::new()),
        Some(done) => return (done, left().collect()),
        None => {}
    }
    match (&entry.action, fault) {
        (Action::Rebase(_), Some(fault)) => (Standing::Failed, vec![fault.to_owned()]),
        (Action::Rebase(_), None) => (Standing::Planned, left().collect()),
        (Action::Hold { reasons, locked }, _) => (held(locked), reasons.clone()),
        (Action::Nothing { why, reason }, _) => (left_alone(*why), vec![reason.clone()]),
        (Action::Fail { reason }, _) => (Standing::Failed, vec![reason.clone()]),
    }
}

fn left_alone(why: Option<Left>) -> Standing {
    match why {
        Some(Left::BaseUnknown) => Standing::BaseUnknown,
        Some(Left::NoRule) => Standing::NoRule,
        Some(Left::UpToDate) | None => Standing::Nothing,
    }
}

fn held(locked: &Locked) -> Standing {
    match locked.verdict {
        Verdict::Assessed(Grade::DbShadowed | Grade::Broken) => Standing::NeedsRebuild,
        _ => Standing::Held,
    }
}

/// What stopped an image. The gate comes first: that a later step was refused is its consequence.
fn went_wrong(state: &State) -> Option<(Standing, Vec<String>)> {
    let failed = state.failed.as_ref().map(|failed| format!("{}: {}", failed.step, failed.reason));
    if let (Some((gate, output)), false) = (&state.gate, state.is_promoted || state.is_restored) {
        // Programs say at the end why they gave up.
        let output = plain(output);
        let said = output.lines().rfind(|line| !line.trim().is_empty());
        let gate =
            said.map_or_else(|| format!("gate {gate}"), |said| format!("gate {gate}: {}", said.trim()));
        return Some((Standing::GateFailed, std::iter::once(gate).chain(failed).collect()));
    }
    let result = state.failed.as_ref()?.result;
    let standing = if result == Become::Moved { Standing::Moved } else { Standing::Failed };
    Some((standing, failed.into_iter().collect()))
}

fn done(state: &State) -> Option<Standing> {
    match state {
        State { is_restored: true, .. } => Some(Standing::Restored),
        State { is_promoted: true, .. } => Some(Standing::Promoted),
        State { promoted: Some(_), .. } => Some(Standing::Promoting),
        State { candidate: Some(_), .. } => Some(Standing::Pushed),
        _ => None,
    }
}
