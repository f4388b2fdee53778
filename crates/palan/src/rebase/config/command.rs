//! Entrypoint and command, which belong together.
//!
//! A Dockerfile's `ENTRYPOINT` clears a command that was inherited, in every builder, unless the same stage has a `CMD`
//! too. So an image with an entrypoint of its own has nothing from its base's command; one with only a command of its
//! own runs it by its base's entrypoint. Where values do not tell what an image set, its history may.

use super::{
    OnConflict,
    merger::{Fields, Merger},
    report::Reason,
    three::{Ruling, Sides, Step, Three, meaning, rule},
};

/// What is settled here. `ArgsEscaped` says how the command was written.
pub(super) const FIELDS: [&str; 3] = ["Entrypoint", "Cmd", "ArgsEscaped"];

/// Merges the pair.
pub(super) fn pair(merger: &mut Merger, sides: Sides<'_>) -> Fields {
    let [entrypoint, command, escaped] = FIELDS.map(|field| sides.at(field));
    let ruling = Ruled::of("Entrypoint", entrypoint);
    let steps = merger.steps.clone();
    let (entrypoint_step, command_step) = match ruling {
        Ruled { inherited: true, .. } if steps.entrypoint => (Step::Keep, Step::Keep),
        Ruled { inherited: true, .. } if !steps.command && is_repeated(entrypoint, command) => {
            repeated(merger, entrypoint, command)
        }
        Ruled { inherited: true, ruling } => {
            let own = steps.command && Ruled::of("Cmd", command).inherited;
            let step = merger.settle("Entrypoint", entrypoint, ruling);
            (step, if own { Step::Keep } else { merger.whole("Cmd", command) })
        }
        Ruled { inherited: false, ruling } => {
            let step = merger.settle("Entrypoint", entrypoint, ruling);
            let base = ruling == Ruling::Conflict && merger.on_conflict == OnConflict::Base;
            (step, if base { follow(merger, command) } else { Step::Keep })
        }
    };
    let escaped_step = match command_step {
        Step::Keep if !steps.command && Ruled::of("Cmd", command).inherited => {
            merger.whole("ArgsEscaped", escaped)
        }
        Step::Keep => Step::Keep,
        _ => escaped_with(merger, escaped),
    };
    [entrypoint_step, command_step, escaped_step]
        .into_iter()
        .zip(FIELDS)
        .map(|(step, field)| (field.to_owned(), step))
        .collect()
}

struct Ruled {
    /// Whether the image has what the old base has.
    inherited: bool,
    ruling: Ruling,
}

impl Ruled {
    fn of(field: &str, three: Three<'_>) -> Self {
        let [old, app, new] = [three.old, three.app, three.new].map(|value| meaning(field, value));
        Self { inherited: old == app, ruling: rule(&old, &app, &new) }
    }
}

/// Whether the old base's entrypoint stands there without the old base's command, and it matters: either the image set
/// the same entrypoint again, which cleared the command, or an empty command.
fn is_repeated(entrypoint: Three<'_>, command: Three<'_>) -> bool {
    let is_some = |value| meaning("Cmd", value).is_some();
    Ruled::of("Entrypoint", entrypoint).ruling == Ruling::Inherit
        && is_some(command.old)
        && !is_some(command.app)
}

fn repeated(merger: &mut Merger, entrypoint: Three<'_>, command: Three<'_>) -> (Step, Step) {
    let step = merger.conflict("Entrypoint", entrypoint, None, Reason::EntrypointRepeated);
    match merger.on_conflict {
        OnConflict::Base => (step, follow(merger, command)),
        _ => (step, Step::Keep),
    }
}

/// The command where the new base's entrypoint prevails: one of the image's own stays, unless that is disputed too.
fn follow(merger: &mut Merger, command: Three<'_>) -> Step {
    let Ruled { ruling, .. } = Ruled::of("Cmd", command);
    let is_own = meaning("Cmd", command.app).is_some() && ruling == Ruling::Keep;
    let same = meaning("Cmd", command.app) == meaning("Cmd", command.new);
    match (is_own || same, ruling) {
        (true, _) => Step::Keep,
        (false, Ruling::Conflict) => merger.settle("Cmd", command, ruling),
        (false, _) => merger.take("Cmd", command, Reason::WithEntrypoint),
    }
}

fn escaped_with(merger: &mut Merger, escaped: Three<'_>) -> Step {
    match meaning("ArgsEscaped", escaped.app) == meaning("ArgsEscaped", escaped.new) {
        true => Step::Keep,
        false => merger.take("ArgsEscaped", escaped, Reason::WithEntrypoint),
    }
}
