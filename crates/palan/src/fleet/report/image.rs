//! One image of the report.

use palan_core::{Digest, Reference};
use serde::Serialize;

use super::{
    markup::plain,
    standing::{Standing, held_by, standing},
};
use crate::{
    fleet::{
        gates::HeldBy,
        planned::{Action, Entry, Locked, LockedPlatform, Plan},
        states::State,
    },
    rebase::Verdict,
    text,
};

/// An image, what the plan has for it and how far it has come. What is not known is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Image {
    /// Repository and tag.
    pub image: Reference,
    /// What the tag stood for when the plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// In which wave it goes.
    pub wave: String,
    /// The plan's word for it: `rebase`, `hold`, `nothing`, `fail`.
    pub action: &'static str,
    /// How far it has come.
    pub state: Standing,
    /// Why: sentences.
    pub reasons: Vec<String>,
    /// By which gates it is held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<HeldBy>,
    /// The gate that the candidate did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Images of the plan that go before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Reference>,
    /// Name of the base it stood on, without digest where it has a tag; that of the first platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_base: Option<String>,
    /// The base that takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_base: Option<Reference>,
    /// How much of a rebuild the result is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Digest of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_digest: Option<Digest>,
    /// Where the result is pushed first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Reference>,
    /// What keeps the old image when the tag moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Reference>,
    /// Bytes of the layers, compressed, of all platforms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The same of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_size: Option<u64>,
    /// Its platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// What a reviewer should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// A gate that stopped an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Its name: `hook`, `verdict`, …
    pub name: String,
    /// All that it said, without what moves the cursor or colours the text.
    pub output: String,
}

/// One platform of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Platform {
    /// The platform.
    pub platform: String,
    /// The base it stood on, as far as it is known.
    pub old_base: String,
    /// How that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// How many of its layers were the base's.
    pub boundary: usize,
    /// How much of a rebuild the result is.
    pub verdict: Verdict,
}

impl Image {
    pub(super) fn new(plan: &Plan, entry: &Entry, state: &State, fault: Option<&str>) -> Self {
        let (word, reasons) = standing(entry, state, fault);
        let locked = entry.locked();
        let is_held = matches!(word, Standing::Held | Standing::NeedsRebuild);
        let held = locked.filter(|_| is_held).map(|locked| held_by(plan, &entry.wave, locked));
        let gate = state.gate.as_ref().filter(|_| word == Standing::GateFailed);
        Self {
            image: entry.image.clone(),
            digest: entry.digest,
            wave: entry.wave.clone(),
            action: action(&entry.action),
            state: word,
            reasons,
            held_by: held.unwrap_or_default(),
            gate: gate.map(|(name, output)| Gate { name: name.clone(), output: plain(output) }),
            after: entry.after.clone(),
            old_base: entry.base.as_ref().map(without_digest).or_else(|| locked.and_then(old_base)),
            new_base: locked.map(|locked| locked.new_base.clone()),
            verdict: locked.map(|locked| locked.verdict),
            new_digest: locked.map(|locked| locked.new_digest),
            candidate: locked.map(|locked| locked.candidate.clone()),
            backup: locked.map(|locked| locked.backup.clone()),
            size: locked.map(|locked| locked.size),
            new_size: locked.map(|locked| locked.new_size),
            platforms: locked
                .map(|locked| locked.platforms.iter().map(platform).collect())
                .unwrap_or_default(),
            findings: locked.map(|locked| locked.findings.clone()).unwrap_or_default(),
        }
    }

    /// Old base and new one, for people: `debian:12 → 13`, `debian:12 → ubuntu:26.04`.
    pub fn bases(&self) -> Option<String> {
        let new = self.new_base.as_ref()?;
        let Some(old) = &self.old_base else { return Some(format!("? → {}", without_digest(new))) };
        Some(format!("{old} → {}", beside(old, &without_digest(new))))
    }

    /// By how much the layers grow, for people: `+1.50 MiB (+3 %)`.
    pub fn growth(&self) -> Option<String> {
        self.size.zip(self.new_size).map(|(old, new)| growth(old, new))
    }

    /// The first of its reasons, in one line of at most `max` characters, and how many more there are.
    pub fn reason(&self, max: usize) -> String {
        match self.reasons.as_slice() {
            [] => String::new(),
            [one] => text::one_line(one, max),
            [first, more @ ..] => format!("{} (and {} more)", text::one_line(first, max), more.len()),
        }
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Rebase(_) => "rebase",
        Action::Hold { .. } => "hold",
        Action::Nothing { .. } => "nothing",
        Action::Fail { .. } => "fail",
    }
}

fn platform(locked: &LockedPlatform) -> Platform {
    Platform {
        platform: locked.platform.clone(),
        old_base: locked.old_base.clone(),
        evidence: locked.evidence.clone(),
        boundary: locked.boundary,
        verdict: locked.verdict,
    }
}

/// The name that bases are counted by: images stand on several digests of one tag.
fn old_base(locked: &Locked) -> Option<String> {
    let found =
        || locked.platforms.iter().map(|platform| platform.old_base.as_str()).find(|name| !name.is_empty());
    match &locked.old_base {
        Some(named) => Some(without_digest(named)),
        None => {
            found().map(|name| name.parse().map_or_else(|_| name.to_owned(), |named| without_digest(&named)))
        }
    }
}

/// The name with its tag; without one, with its digest.
pub(super) fn without_digest(name: &Reference) -> String {
    match name.tag() {
        Some(tag) => format!("{}:{tag}", name.repository()),
        None => name.to_string(),
    }
}

/// A new base's name beside the old one's: the tag says all where the repository is the same.
pub(super) fn beside<'a>(old: &str, new: &'a str) -> &'a str {
    if old == new {
        return "new digest";
    }
    let (old, new_tag) = (old.rsplit_once(':'), new.rsplit_once(':'));
    match (old, new_tag) {
        (Some((old, _)), Some((repository, tag))) if old == repository => tag,
        _ => new,
    }
}

/// `+1.50 MiB (+3 %)`, `±0 B`
pub(super) fn growth(old: u64, new: u64) -> String {
    let (sign, change) = match new.cmp(&old) {
        std::cmp::Ordering::Equal => return "±0 B".to_owned(),
        std::cmp::Ordering::Greater => ('+', new - old),
        std::cmp::Ordering::Less => ('−', old - new),
    };
    let percent = u128::from(change) * 100;
    let percent = percent.checked_div(u128::from(old)).map(|whole| match whole {
        0 => " (<1 %)".to_owned(),
        whole => format!(" ({sign}{whole} %)"),
    });
    format!("{sign}{}{}", text::size(change), percent.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_has_a_sign_and_a_percentage() {
        let cases = [
            (0, 0, "±0 B"),
            (7, 7, "±0 B"),
            (0, 5, "+5 B"),
            (1000, 1001, "+1 B (<1 %)"),
            (1024, 3072, "+2.00 KiB (+200 %)"),
            (3072, 0, "−3.00 KiB (−100 %)"),
            (1, u64::MAX, "+16.0 EiB (+1844674407370955161400 %)"),
        ];
        for (old, new, text) in cases {
            assert_eq!(growth(old, new), text);
        }
    }

    #[test]
    fn a_new_base_is_named_by_what_differs() {
        let cases = [
            ("r/debian:12", "r/debian:13", "13"),
            ("r/debian:12", "r/ubuntu:26.04", "r/ubuntu:26.04"),
            ("r/debian:12", "r/debian:12", "new digest"),
            ("the first 2 layers", "r:5000/debian:13", "r:5000/debian:13"),
        ];
        for (old, new, text) in cases {
            assert_eq!(beside(old, new), text);
        }
    }
}
