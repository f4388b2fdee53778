//! What becomes of an image concerns those that stand on it.

use std::collections::{HashMap, HashSet};

use palan_core::Reference;

use super::planned::{Action, Entry, Left, Plan};

/// An image on a base that is left alone is so for the same reason.
pub(super) fn handed_down(action: Action, below: Option<&Action>) -> Action {
    match (&action, below) {
        (
            Action::Nothing { why: Some(Left::UpToDate), reason },
            Some(Action::Nothing { why: Some(why), reason: of_base }),
        ) if *why != Left::UpToDate => {
            Action::Nothing { why: Some(*why), reason: format!("{reason}; of that: {of_base}") }
        }
        _ => action,
    }
}

/// What cannot be done fails now, and not when it is applied; so does what stands on it.
pub(super) fn fail_faulty(plan: &mut Plan) {
    let faults = plan.faults().into_iter().map(|(image, reason)| (image.clone(), reason));
    let mut reasons: HashMap<Reference, String> = faults.collect();
    for entry in &mut plan.images {
        if !matches!(entry.action, Action::Rebase(_)) {
            continue;
        }
        let base = entry.after.iter().find(|base| reasons.contains_key(base));
        let above = base.map(|base| format!("its base {base} cannot be rebased"));
        if let Some(reason) = reasons.get(&entry.image).cloned().or(above) {
            reasons.insert(entry.image.clone(), reason.clone());
            entry.action = Action::Fail { reason };
        }
    }
}

/// What stands on an image that is held cannot go either.
pub(super) fn hold_above(images: &mut [Entry]) {
    let mut held: HashSet<Reference> = HashSet::new();
    for entry in images {
        if let Action::Rebase(locked) = &entry.action
            && let Some(base) = entry.after.iter().find(|base| held.contains(base))
        {
            let reasons = vec![format!("its base {base} is held")];
            entry.action = Action::Hold { reasons, locked: locked.clone() };
        }
        if matches!(entry.action, Action::Hold { .. }) {
            held.insert(entry.image.clone());
        }
    }
}
