//! Tags as versions, leniently: tags are not semver.

use std::cmp::Ordering;

/// A tag with numbers in it: `v1.2.3`, `12.5-slim`, `bookworm-20250101-slim`.
///
/// Only tags of one form can be compared: the same text before and after the numbers, and as many numbers. `3.20` moves
/// with every `3.20.x`, so that `3.20.1` is not newer than it; `3.21` is. Numbers of eight digits and more are dates or
/// build numbers: they are compared with numbers as long as themselves only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version<'a> {
    before: &'a str,
    numbers: Vec<u64>,
    after: &'a str,
}

impl<'a> Version<'a> {
    /// `None`: there is no number in it, or one that is too large.
    pub(crate) fn parse(tag: &'a str) -> Option<Self> {
        let start = tag.find(|c: char| c.is_ascii_digit())?;
        let (before, rest) = tag.split_at(start);
        let bytes = rest.as_bytes();
        let is_number = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
        let mut end = 0;
        while is_number(end) || (bytes.get(end) == Some(&b'.') && is_number(end + 1)) {
            end += 1;
        }
        let (numbers, after) = rest.split_at(end);
        let numbers = numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { before, numbers, after })
    }

    /// Its numbers, the most significant first.
    pub(crate) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Whether a tag is of the same form.
    pub(crate) fn is_of_form(&self, other: &Self) -> bool {
        self.before == other.before
            && self.after == other.after
            && self.numbers.len() == other.numbers.len()
            && self.numbers.iter().zip(&other.numbers).all(|(a, b)| long(*a) == long(*b))
    }

    /// How it compares with a tag of the same form; `None`: it is of another form.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        self.is_of_form(other).then(|| self.numbers.cmp(&other.numbers))
    }
}

/// The number of digits, where that matters.
fn long(number: u64) -> u32 {
    let digits = number.checked_ilog10().unwrap_or_default() + 1;
    if digits < 8 { 0 } else { digits }
}

/// Those of `tags` that are newer than `tag`, the newest first.
pub(super) fn newer(tag: &str, tags: &[String]) -> Vec<String> {
    let Some(current) = Version::parse(tag) else { return Vec::new() };
    let mut found: Vec<(Version<'_>, &String)> = tags
        .iter()
        .filter_map(|tag| Some((Version::parse(tag)?, tag)))
        .filter(|(version, _)| version.compare(&current) == Some(Ordering::Greater))
        .collect();
    found.sort_by(|(a, _), (b, _)| b.numbers.cmp(&a.numbers));
    found.into_iter().map(|(_, tag)| tag.clone()).collect()
}

/// The order of "newest first" for tags of whatever form: by their numbers, then by name; those without numbers last.
pub(crate) fn newest_first(a: &str, b: &str) -> Ordering {
    let numbers = |tag| Version::parse(tag).map(|v| v.numbers);
    numbers(b).cmp(&numbers(a)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_one_form_are_compared() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            ("1.2", "1.10", Some(Less)),
            ("v1.2", "v1.1", Some(Greater)),
            ("v1.2", "1.1", None),
            ("3.20", "3.20.1", None),
            ("12-slim", "13-slim", Some(Less)),
            ("12-slim", "13", None),
            ("1.25-alpine3.20", "1.26-alpine3.20", Some(Less)),
            ("1.25-alpine3.20", "1.25-alpine3.21", None),
            ("bookworm-20240101-slim", "bookworm-20250101-slim", Some(Less)),
            ("bookworm-20240101", "trixie-20250101", None),
            ("12", "20250101", None),
            ("3.13.0", "3.13.0rc1", None),
            ("1.2.", "1.3.", Some(Less)),
            ("2", "2", Some(Equal)),
            ("99999999999999999999", "1", None),
        ];
        for (a, b, expected) in cases {
            let compared = Version::parse(a).zip(Version::parse(b)).and_then(|(a, b)| a.compare(&b));
            assert_eq!(compared, expected, "{a} {b}");
        }
        assert_eq!(Version::parse("latest"), None);
    }

    #[test]
    fn newer_tags_come_newest_first() {
        let tags = ["13", "12", "11", "14", "14-slim", "latest", "12.5"].map(str::to_owned);
        assert_eq!(newer("12", &tags), ["14", "13"]);
        assert!(newer("latest", &tags).is_empty());
        let mut tags = tags.to_vec();
        tags.sort_by(|a, b| newest_first(a, b));
        assert_eq!(tags, ["14", "14-slim", "13", "12.5", "12", "11", "latest"]);
    }
}
