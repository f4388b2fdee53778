//! The newest of a repository's tags, by a team's rule.

use std::cmp::Ordering;

use super::settings::Newest;
use crate::base::{
    pattern::matches,
    version::{Version, newest_first},
};

/// The tag with the highest numbers among those that a rule allows; tags without numbers are never newest.
///
/// With a range, only tags of the form of `current` (what the images stand on now) count, where that has a number: `17.0.2`
/// does not give way to `18.0.1-slim`.
pub(super) fn newest<'a>(
    rule: &Newest,
    current: Option<&str>,
    tags: &'a [String],
) -> Result<Option<&'a str>, String> {
    let range = rule.semver.as_deref().map(range).transpose()?;
    let current = current.and_then(Version::parse);
    let is_allowed = |tag: &&String| {
        let Some(version) = Version::parse(tag) else { return false };
        let by_name = rule.newest.as_ref().is_none_or(|pattern| matches(pattern.as_bytes(), tag.as_bytes()));
        let by_range = range.as_ref().is_none_or(|range| {
            let same_form = current.as_ref().is_none_or(|current| current.is_of_form(&version));
            same_form && range.iter().all(|(operator, bound)| operator.holds(version.numbers(), bound))
        });
        by_name && by_range
    };
    Ok(tags.iter().filter(is_allowed).min_by(|a, b| newest_first(a, b)).map(String::as_str))
}

#[derive(Clone, Copy)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

impl Operator {
    fn holds(self, numbers: &[u64], bound: &[u64]) -> bool {
        let at = |numbers: &[u64], i: usize| numbers.get(i).copied().unwrap_or_default();
        let length = numbers.len().max(bound.len());
        let order = (0..length).map(|i| at(numbers, i).cmp(&at(bound, i))).find(|order| order.is_ne());
        let order = order.unwrap_or(Ordering::Equal);
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            // `=17` is all of 17.
            Self::Equal => bound.iter().enumerate().all(|(i, bound)| at(numbers, i) == *bound),
        }
    }
}

/// `>=17, <18`.
fn range(text: &str) -> Result<Vec<(Operator, Vec<u64>)>, String> {
    let operators = [
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
        ("", Operator::Equal),
    ];
    let bound = |part: &str| {
        let part = part.trim();
        let (rest, operator) =
            operators.iter().find_map(|(word, operator)| Some((part.strip_prefix(word)?, *operator)))?;
        let numbers =
            rest.trim().split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some((operator, numbers))
    };
    let bounds = text.split(',').map(bound).collect::<Option<Vec<_>>>();
    bounds.ok_or_else(|| format!("\"{text}\" is no range of versions like \">=17, <18\""))
}

/// Checks a range.
pub(super) fn check_range(text: &str) -> Result<(), String> {
    range(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_allowed_tag_is_taken() {
        let tags: Vec<String> =
            ["16.0.9", "17", "17.0.2", "17.0.10", "17.0.10-slim", "18.0.1", "latest", "20260101"]
                .map(str::to_owned)
                .into();
        let by = |newest: Option<&str>, semver: Option<&str>| Newest {
            newest: newest.map(str::to_owned),
            semver: semver.map(str::to_owned),
        };
        let cases = [
            (by(Some("17.*"), None), None, Some("17.0.10")),
            (by(Some("*-slim"), None), None, Some("17.0.10-slim")),
            (by(None, Some(">=17, <18")), Some("17.0.2"), Some("17.0.10")),
            (by(None, Some("=17")), Some("16.0.9"), Some("17.0.10")),
            (by(None, Some("<= 17.0.2")), Some("17.0.2"), Some("17.0.2")),
            (by(None, Some(">17")), Some("17.0.2"), Some("18.0.1")),
            (by(Some("17*"), Some(">17.0.2")), Some("17.0.2"), Some("17.0.10")),
            (by(None, Some(">=19")), Some("17.0.2"), None),
            (by(Some("nothing*"), None), None, None),
        ];
        for (rule, current, expected) in cases {
            assert_eq!(newest(&rule, current, &tags), Ok(expected), "{rule:?}");
        }
        for text in ["", ">=", "^1", ">=a", "1..2"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
