//! Which tags of a repository are meant: `REPO[:TAG-PATTERN]`.

use std::{fmt, str::FromStr};

use palan_core::{Reference, ReferenceError, Repository};
use serde::{Deserialize, Serialize};

/// A repository and a pattern of tags: `debian:12*`, `ghcr.io/org/base`. In the pattern, `*` stands for any characters
/// and `?` for one; without a pattern, all tags are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// The repository.
    pub repository: Repository,
    /// The pattern of tags.
    pub tags: String,
}

impl Pattern {
    /// Whether a tag is meant.
    pub fn matches_tag(&self, tag: &str) -> bool {
        matches(self.tags.as_bytes(), tag.as_bytes())
    }

    /// Whether a reference's repository and tag are meant.
    pub fn matches(&self, name: &Reference) -> bool {
        *name.repository() == self.repository && name.tag().is_some_and(|tag| self.matches_tag(tag))
    }

    /// The one tag that is meant, when there are no wildcards.
    pub fn single(&self) -> Option<&str> {
        (!self.tags.contains(['*', '?'])).then_some(self.tags.as_str())
    }
}

impl FromStr for Pattern {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // A colon before the last slash is a port's.
        let name = text.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tags) = match text[name..].split_once(':') {
            Some((end, tags)) => (&text[..name + end.len()], tags),
            None => (text, "*"),
        };
        // Whatever may stand for a wildcard must make a tag.
        palan_core::validate_tag(&tags.replace(['*', '?'], "x"))?;
        Ok(Self { repository: repository.parse()?, tags: tags.to_owned() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.repository, self.tags))
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Wildcard matching that goes back to the last `*` only: linear for one star, never exponential.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stand_for_characters() {
        let cases = [
            ("*", "12", true),
            ("12*", "12", true),
            ("12*", "12.1-slim", true),
            ("12*", "11", false),
            ("*-slim", "12-slim", true),
            ("*-slim", "12-slim-a", false),
            ("1?", "12", true),
            ("1?", "1", false),
            ("*a*b", "xaaxab", true),
            ("*a*b", "xaaxa", false),
            ("", "", true),
        ];
        for (pattern, tag, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), tag.as_bytes()), expected, "{pattern} {tag}");
        }
    }

    #[test]
    fn a_port_is_no_pattern() {
        let cases = [
            ("debian", "index.docker.io/library/debian:*"),
            ("debian:12*", "index.docker.io/library/debian:12*"),
            ("localhost:5000/base", "localhost:5000/base:*"),
            ("localhost:5000/base:1.?-slim", "localhost:5000/base:1.?-slim"),
        ];
        for (text, shown) in cases {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(shown.parse::<Pattern>().unwrap(), pattern);
        }
        for text in ["debian:", "debian:a/b", "debian:12 *", "debian@sha256:1", "Debian"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    /// By recursion, as it is defined.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| model(rest, &text[n..])),
            Some((c, rest)) => {
                text.split_first().is_some_and(|(t, more)| (*c == b'?' || c == t) && model(rest, more))
            }
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
