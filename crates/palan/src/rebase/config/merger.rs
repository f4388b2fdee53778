//! Settles values by the table, and keeps what is worth saying.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    OnConflict,
    report::{Change, Choice, Merged, Note, Reason},
    steps::Steps,
    three::{Ruling, Step, Three, meaning, rule},
};

/// What is done to each field of an object.
pub(super) type Fields = Vec<(String, Step)>;

pub(super) struct Merger {
    pub(super) on_conflict: OnConflict,
    pub(super) windows: bool,
    pub(super) steps: Steps,
    pub(super) merged: Merged,
}

impl Merger {
    pub(super) fn new(on_conflict: OnConflict, windows: bool) -> Self {
        Self { on_conflict, windows, steps: Steps::default(), merged: Merged::default() }
    }

    pub(super) fn note(&mut self, note: Note) {
        self.merged.notes.push(note);
    }

    /// A field as a whole.
    pub(super) fn whole(&mut self, field: &str, three: Three<'_>) -> Step {
        let [old, app, new] = [three.old, three.app, three.new].map(|value| meaning(field, value));
        self.settle(field, three, rule(&old, &app, &new))
    }

    /// A field about which the table has spoken.
    pub(super) fn settle(&mut self, field: &str, three: Three<'_>, ruling: Ruling) -> Step {
        match ruling {
            Ruling::Keep => Step::Keep,
            Ruling::Inherit if self.steps.set(field) => self.conflict(field, three, None, Reason::SetAgain),
            Ruling::Inherit => self.take(field, three, Reason::Inherited),
            Ruling::Conflict => self.conflict(field, three, None, Reason::BothChanged),
        }
    }

    /// The new base's value.
    pub(super) fn take(&mut self, field: &str, three: Three<'_>, reason: Reason) -> Step {
        self.merged.changes.push(Change::of(field, three, three.new, Choice::Base, reason));
        three.new.into()
    }

    /// A value made of both sides.
    pub(super) fn combine(&mut self, field: &str, three: Three<'_>, value: Value, reason: Reason) -> Step {
        self.merged.changes.push(Change::of(field, three, Some(&value), Choice::Merged, reason));
        Step::Set(value)
    }

    /// A disagreement. `proposed`: what is better than the image's own value, where that wins.
    pub(super) fn conflict(
        &mut self,
        field: &str,
        three: Three<'_>,
        proposed: Option<&Value>,
        reason: Reason,
    ) -> Step {
        let (step, result, choice) = match (self.on_conflict, proposed) {
            (OnConflict::Base, _) => (three.new.into(), three.new, Choice::Base),
            (OnConflict::App, Some(value)) => (Step::Set(value.clone()), Some(value), Choice::Merged),
            _ => (Step::Keep, three.app, Choice::App),
        };
        self.merged.conflicts.push(Change::of(field, three, result, choice, reason));
        step
    }

    /// A Windows image runs on the new base's version of Windows, whatever it said before.
    pub(super) fn windows_version(&mut self, three: Three<'_>, version: &Value) -> Step {
        match three.app == Some(version) {
            true => Step::Keep,
            false => self.take("os.version", three, Reason::WindowsVersion),
        }
    }

    /// A `WORKDIR` may have been relative to the base's, which builders resolve.
    pub(super) fn directory(&mut self, three: Three<'_>) -> Step {
        let [old, app, new] = [three.old, three.app, three.new].map(|value| meaning("WorkingDir", value));
        let old_path = old.as_ref().and_then(|path| path.as_str()).unwrap_or_default();
        let beneath = app.as_ref().and_then(|path| path.as_str()?.strip_prefix(old_path));
        match (rule(&old, &app, &new), beneath) {
            (Ruling::Conflict, Some(rest)) if rest.starts_with('/') => {
                self.conflict("WorkingDir", three, None, Reason::MaybeRelative)
            }
            (ruling, _) => self.settle("WorkingDir", three, ruling),
        }
    }

    /// Builders run a base's triggers and do not hand them on.
    pub(super) fn on_build(&mut self, three: Three<'_>) -> Step {
        let [old, app, new] = [three.old, three.app, three.new].map(|value| meaning("OnBuild", value));
        if old != new {
            self.note(Note::OnBuild);
        }
        match app {
            None => Step::Keep,
            Some(_) => self.whole("OnBuild", three),
        }
    }
}

/// Carries out what was settled. New fields come last.
pub(super) fn apply(object: &mut Map<String, Value>, steps: Fields) {
    let mut removed = HashSet::new();
    for (field, step) in steps {
        match step {
            Step::Keep => {}
            Step::Set(value) => drop(object.insert(field, value)),
            Step::Remove => drop(removed.insert(field)),
        }
    }
    if !removed.is_empty() {
        object.retain(|field, _| !removed.contains(field));
    }
}
