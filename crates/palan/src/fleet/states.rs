//! How far images have come, by what journals say.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _};
use palan_core::Reference;
use serde::Serialize;

use super::{
    journal::{Effect, Event, Record, Step},
    lines::time,
    run::Become,
};

/// How far an image has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// The candidate that was pushed.
    pub candidate: Option<Effect>,
    /// Whether the candidate passed all gates; `None`: not all were asked.
    pub passed: Option<bool>,
    /// The gate that it did not pass, and what that said.
    pub gate: Option<(String, String)>,
    /// The move of its tag, from when it began.
    pub promoted: Option<Effect>,
    /// The number of the journal's line that said so.
    #[serde(skip)]
    pub promoted_at: usize,
    /// Whether that is known to have happened.
    pub is_promoted: bool,
    /// Whether the tag was given back.
    pub is_restored: bool,
    /// Why the last step was not done: it failed.
    pub failed: Option<Failed>,
    /// Why a later step was not begun: nothing is wrong with the image, and it is as it was.
    pub left: Option<Failed>,
}

/// A step that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// `apply`, `promote`, `rollback`.
    pub step: String,
    /// What became of it instead.
    pub result: Become,
    /// Why.
    pub reason: String,
}

/// How far each image has come, by the lines read and written so far.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) images: BTreeMap<Reference, State>,
    lines: usize,
    /// When the last line was written, by whatever clock.
    last: Timestamp,
}

/// How far each image has come.
pub fn states(records: &[Record]) -> BTreeMap<Reference, State> {
    States::of(records).images
}

impl States {
    /// What was written first counts first, wherever it stands: lines of others are appended when they are known.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut records: Vec<(Timestamp, &Record)> =
            records.iter().map(|record| (time(record), record)).collect();
        records.sort_by_key(|(time, _)| *time);
        let mut states = Self::default();
        records.iter().for_each(|(_, record)| states.absorb(record));
        states
    }

    /// Now; but later than all that is known, even if that was written by a clock that is ahead.
    pub(super) fn next_time(&mut self) -> Timestamp {
        let after = self.last.checked_add(1.nanosecond()).unwrap_or(self.last);
        self.last = Timestamp::now().max(after);
        self.last
    }

    pub(super) fn absorb(&mut self, record: &Record) {
        self.lines += 1;
        self.last = self.last.max(time(record));
        match &record.event {
            Event::Start { .. } => {}
            Event::Begin(effect) => {
                let state = self.images.entry(effect.image.clone()).or_default();
                // Where its tag leads must be known also when nobody could write that it was done.
                if effect.step == Step::Promote {
                    state.promoted = Some(effect.clone());
                    state.promoted_at = self.lines;
                    (state.is_promoted, state.is_restored) = (false, false);
                }
            }
            Event::Done(effect) => {
                let state = self.images.entry(effect.image.clone()).or_default();
                (state.failed, state.left) = (None, None);
                match effect.step {
                    Step::Push => {
                        // Gates are asked of each candidate anew.
                        if state.candidate.as_ref() != Some(effect) {
                            (state.passed, state.gate) = (None, None);
                        }
                        state.candidate = Some(effect.clone());
                    }
                    Step::Backup => {}
                    Step::Promote => {
                        state.promoted = Some(effect.clone());
                        state.promoted_at = self.lines;
                        (state.is_promoted, state.is_restored) = (true, false);
                    }
                    Step::Restore => (state.is_promoted, state.is_restored) = (false, true),
                }
            }
            Event::Gate { image, gate, passed, output, .. } => {
                let state = self.images.entry(image.clone()).or_default();
                state.passed = Some(*passed);
                state.gate = (!passed).then(|| (gate.clone(), output.clone()));
                state.left = None;
            }
            Event::Failed { image, step, result, reason } => {
                let state = self.images.entry(image.clone()).or_default();
                let why = Failed { step: step.clone(), result: *result, reason: reason.clone() };
                if result.is_left() {
                    state.left = Some(why);
                } else {
                    (state.failed, state.left) = (Some(why), None);
                }
            }
        }
    }
}
