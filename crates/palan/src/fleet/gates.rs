//! Gates that need no candidate: what a plan says of a result decides.

use serde::{Deserialize, Serialize};

use super::{planned::Locked, settings::Gates};
use crate::rebase::Verdict;

/// Why an image is held: by which gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HeldBy {
    /// The verdict is worse than what is accepted.
    Verdict,
    /// Nobody looked, and that is not accepted.
    NotAssessed,
    /// The layers grow by more than what is accepted.
    Growth,
    /// Another reason, which the text says.
    Other,
}

impl HeldBy {
    /// All.
    pub const ALL: [Self; 4] = [Self::Verdict, Self::NotAssessed, Self::Growth, Self::Other];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::NotAssessed => "not-assessed",
            Self::Growth => "growth",
            Self::Other => "other",
        }
    }
}

/// Why a result would not pass: the gates, and a sentence for each.
pub(super) fn offended(locked: &Locked, gates: &Gates) -> Vec<(HeldBy, String)> {
    let mut reasons = Vec::new();
    match locked.verdict {
        Verdict::Assessed(grade) if grade > gates.accept => {
            let reason =
                format!("its verdict is {grade}, and {} is the worst that is accepted", gates.accept);
            reasons.push((HeldBy::Verdict, reason));
        }
        Verdict::NotAssessed if !gates.accept_unassessed => {
            reasons.push((HeldBy::NotAssessed, "its files were not compared".to_owned()));
        }
        _ => {}
    }
    let (size, new) = (locked.size, locked.new_size);
    let grown = u128::from(new.saturating_sub(size));
    if let Some(most) = gates.max_growth_percent
        && grown * 100 > u128::from(size) * u128::from(most)
    {
        let reason = format!("it would grow from {size} to {new} bytes, by more than {most} %");
        reasons.push((HeldBy::Growth, reason));
    }
    reasons
}

/// The sentences of [`offended`].
pub(super) fn refused(locked: &Locked, gates: &Gates) -> Vec<String> {
    offended(locked, gates).into_iter().map(|(_, reason)| reason).collect()
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
