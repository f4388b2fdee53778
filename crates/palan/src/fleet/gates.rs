//! Gates that need no candidate: what a plan says of a result decides.

use super::{planned::Locked, settings::Gates};
use crate::rebase::Verdict;

/// Why a result would not pass.
pub(super) fn refused(locked: &Locked, gates: &Gates) -> Vec<String> {
    let mut reasons = Vec::new();
    match locked.verdict {
        Verdict::Assessed(grade) if grade > gates.accept => {
            reasons
                .push(format!("its verdict is {grade}, and {} is the worst that is accepted", gates.accept));
        }
        Verdict::NotAssessed if !gates.accept_unassessed => {
            reasons.push("its files were not compared".to_owned());
        }
        _ => {}
    }
    let grown = locked.new_size.saturating_sub(locked.size);
    if let Some(most) = gates.max_growth_percent
        && u128::from(grown) * 100 > u128::from(locked.size) * u128::from(most)
    {
        reasons.push(format!(
            "it would grow from {} to {} bytes, by more than {most} %",
            locked.size, locked.new_size
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use palan_core::{Digest, Reference};

    use super::*;
    use crate::verdict::Grade;

    fn locked(verdict: Verdict, size: u64, new_size: u64) -> Locked {
        let name = |text: &str| text.parse::<Reference>().unwrap();
        Locked {
            old_base: None,
            new_base: name("h.io/base:2"),
            new_digest: Digest::sha256(b"new"),
            candidate_was: None,
            candidate: name("h.io/app:1-candidate"),
            backup: name("h.io/app:1-backup"),
            verdict,
            size,
            new_size,
            platforms: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn the_verdict_and_the_size_decide() {
        let strict = Gates::default();
        let lenient = Gates { accept: Grade::Shadowed, accept_unassessed: true, ..Gates::default() };
        let small = Gates { max_growth_percent: Some(10), ..Gates::default() };
        let (clean, shadowed) = (Verdict::Assessed(Grade::Clean), Verdict::Assessed(Grade::Shadowed));
        let cases = [
            (&strict, locked(clean, 100, 1000), 0),
            (&strict, locked(shadowed, 1, 1), 1),
            (&strict, locked(Verdict::NotAssessed, 1, 1), 1),
            (&lenient, locked(shadowed, 1, 1), 0),
            (&lenient, locked(Verdict::NotAssessed, 1, 1), 0),
            (&lenient, locked(Verdict::Assessed(Grade::DbShadowed), 1, 1), 1),
            (&small, locked(clean, 100, 110), 0),
            (&small, locked(clean, 100, 111), 1),
            (&small, locked(shadowed, u64::MAX / 2, u64::MAX), 2),
            (&small, locked(clean, 100, 1), 0),
        ];
        for (gates, locked, expected) in cases {
            let reasons = refused(&locked, gates);
            assert_eq!(reasons.len(), expected, "{gates:?} {locked:?}: {reasons:?}");
        }
    }
}
