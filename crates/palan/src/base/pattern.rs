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
        let (repository, tags) = split(text)?;
        Ok(Self { repository: repository.parse()?, tags: tags.to_owned() })
    }
}

/// The name, and the pattern of tags.
fn split(text: &str) -> Result<(&str, &str), ReferenceError> {
    // A colon before the last slash is a port's.
    let name = text.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tags) = match text[name..].split_once(':') {
        Some((end, tags)) => (&text[..name + end.len()], tags),
        None => (text, "*"),
    };
    // Whatever may stand for a wildcard must make a tag.
    palan_core::validate_tag(&without_wildcards(tags))?;
    Ok((repository, tags))
}

fn without_wildcards(text: &str) -> String {
    text.replace(['*', '?'], "x")
}

/// Repositories of one registry, and tags in them: `ghcr.io/org/*:1.*`. `*` stands for any characters, slashes too, and
/// `?` for one; without a pattern of tags, all are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryPattern {
    registry: String,
    path: String,
    tags: String,
}

impl RepositoryPattern {
    /// The registry: host, and port if one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The pattern of one repository, when its name has no wildcards.
    pub fn single(&self) -> Option<Pattern> {
        let name = format!("{}/{}", self.registry, self.path);
        let repository = name.parse().ok().filter(|_| !self.path.contains(['*', '?']))?;
        Some(Pattern { repository, tags: self.tags.clone() })
    }

    /// Whether a repository is meant.
    pub fn matches_repository(&self, repository: &Repository) -> bool {
        repository.registry() == self.registry && matches(self.path.as_bytes(), repository.path().as_bytes())
    }

    /// Whether a tag is meant.
    pub fn matches_tag(&self, tag: &str) -> bool {
        matches(self.tags.as_bytes(), tag.as_bytes())
    }

    /// Whether a reference's repository and tag are meant.
    pub fn matches(&self, name: &Reference) -> bool {
        self.matches_repository(name.repository()) && name.tag().is_some_and(|tag| self.matches_tag(tag))
    }
}

impl FromStr for RepositoryPattern {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, tags) = split(text)?;
        let host = Repository::registry_in(name);
        let rest = host.map_or(name, |host| &name[host.len() + 1..]);
        // A wildcard in the host stays, and is refused there.
        let sample =
            format!("{}{}", host.map_or(String::new(), |h| format!("{h}/")), without_wildcards(rest));
        let sample: Repository = sample.parse()?;
        // Docker Hub's short names are longer than they are written.
        let added = sample.path().strip_suffix(&without_wildcards(rest)).unwrap_or_default();
        let path = format!("{added}{rest}");
        Ok(Self { registry: sample.registry().to_owned(), path, tags: tags.to_owned() })
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}:{}", self.registry, self.path, self.tags))
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

    #[test]
    fn repositories_are_meant_by_wildcards_too() {
        let cases = [
            ("h.io/team/*:1.*", "h.io/team/a/b:1.2", true),
            ("h.io/team/*:1.*", "h.io/team/a:2.1", false),
            ("h.io/team/*", "h.io/teams/a:2.1", false),
            ("h.io/*", "i.io/a:1", false),
            ("h.io:5000/*-api", "h.io:5000/team/x-api:1", true),
            ("debia?", "docker.io/library/debian:12", true),
            ("docker.io/debian", "debian:12", true),
            ("org/*", "docker.io/org/app:1", true),
        ];
        for (pattern, name, expected) in cases {
            let parsed: RepositoryPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&name.parse().unwrap()), expected, "{pattern} {name}");
            assert_eq!(parsed.to_string().parse::<RepositoryPattern>().unwrap(), parsed);
            assert_eq!(parsed.single().is_some(), pattern == "docker.io/debian", "{pattern}");
        }
        for text in ["*.io/a", "h.io/A*", "h.io/", "h.io/a:", "h.io/a@sha256:*", "*/a/", ""] {
            assert!(text.parse::<RepositoryPattern>().is_err(), "{text}");
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
