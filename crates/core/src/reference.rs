//! References: how people name images.
//!
//! Grammar: distribution-spec "Pulling manifests" for repository and tag; the rules for leaving parts out (Docker Hub,
//! `library/`, `latest`) are Docker's.

mod grammar;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::grammar::{check_path, check_registry};
use crate::{Digest, hub};

const DEFAULT_TAG: &str = "latest";
/// distribution-spec: many clients limit host and name together to 255 characters.
const MAX_NAME: usize = 255;

/// A repository in a registry: `host[:port]/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Host, and port if one was given; `index.docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name inside the registry: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A reference to a tag or digest of this repository.
    pub fn at(&self, selector: &Selector) -> Reference {
        let (tag, digest) = match selector {
            Selector::Tag(tag) => (Some(tag.clone()), None),
            Selector::Digest(digest) => (None, Some(*digest)),
        };
        Reference { repository: self.clone(), tag, digest }
    }

    /// A reference to a digest of this repository.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        self.at(&Selector::Digest(digest))
    }

    /// The registry that a name begins with, as it is written; `None`: it is a short one, of Docker Hub. Does not check
    /// the name.
    pub fn registry_in(text: &str) -> Option<&str> {
        let (first, _) = text.split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then_some(first)
    }

    /// Parses a registry's name alone: `localhost:5000`, `ghcr.io`, `docker.io`.
    pub fn parse_registry(text: &str) -> Result<String, ReferenceError> {
        let error = |position, reason: String| ReferenceError::new(text, Part::Registry, position, reason);
        check_registry(text).map_err(|(position, reason)| error(position, reason))?;
        Ok(canonical_registry(text))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.registry, self.path))
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// Parses `[registry/]path`; a tag or digest is an error here.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Some(position) = text.find('@') {
            return Err(ReferenceError::new(
                text,
                Part::Digest,
                position,
                "a repository is wanted, without a digest",
            ));
        }
        let (repository, rest) = parse_name(text, text)?;
        match rest {
            Some(position) => {
                Err(ReferenceError::new(text, Part::Tag, position, "a repository is wanted, without a tag"))
            }
            None => Ok(repository),
        }
    }
}

/// What is chosen inside a repository or an image layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// A name that may move.
    Tag(String),
    /// Exactly this content.
    Digest(Digest),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.pad(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Digest> for Selector {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// An image in a registry: `[registry/]path[:tag][@digest]`.
///
/// A tag and a digest may both be given; then the digest selects and the tag is kept as information.
/// Docker Hub's short forms are expanded when parsing: `ubuntu` is `index.docker.io/library/ubuntu:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Host, and port if one was given.
    pub fn registry(&self) -> &str {
        &self.repository.registry
    }

    /// The tag given, or `latest` when neither tag nor digest were.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What selects the image: the digest when there is one, else the tag.
    pub fn selector(&self) -> Selector {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Selector::Digest(*digest),
            (None, Some(tag)) => Selector::Tag(tag.clone()),
            (None, None) => Selector::Tag(DEFAULT_TAG.to_owned()),
        }
    }

    /// The same repository and tag with this digest, the tag kept as information.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The name to write into `org.opencontainers.image.base.name`: fully qualified, with Docker Hub under the host
    /// that people know (`docker.io`), with the tag and never with a digest. `None` when only a digest is known.
    pub fn base_name(&self) -> Option<String> {
        let tag = self.tag.as_deref()?;
        let registry = hub::shown(self.registry());
        Some(format!("{registry}/{}:{tag}", self.repository.path))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.repository.to_string();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        f.pad(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = digest.parse().map_err(|e: crate::DigestError| {
                    ReferenceError::new(text, Part::Digest, rest.len() + 1, e.to_string())
                })?;
                (rest, Some(parsed))
            }
        };
        let (repository, colon) = parse_name(text, rest)?;
        let tag = match colon {
            None if digest.is_some() => None,
            None => Some(DEFAULT_TAG.to_owned()),
            Some(colon) => {
                let tag = &rest[colon + 1..];
                validate_tag(tag)
                    .map_err(|e| ReferenceError::new(text, Part::Tag, colon + 1 + e.position, e.reason))?;
                Some(tag.to_owned())
            }
        };
        Ok(Self { repository, tag, digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// A part of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Host and port.
    Registry,
    /// The name inside the registry.
    Repository,
    /// What follows the colon.
    Tag,
    /// What follows the `@`.
    Digest,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Repository => "repository",
            Self::Tag => "tag",
            Self::Digest => "digest",
        })
    }
}

/// Why a text is not a reference: which part is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference \"{text}\": {part} (at position {position}): {reason}")]
pub struct ReferenceError {
    /// The whole text given.
    pub text: String,
    /// The part that is wrong.
    pub part: Part,
    /// Byte offset of the first thing wrong, from the start of the text.
    pub position: usize,
    /// What is wrong.
    pub reason: String,
}

impl ReferenceError {
    fn new(text: &str, part: Part, position: usize, reason: impl Into<String>) -> Self {
        Self { text: text.to_owned(), part, position, reason: reason.into() }
    }
}

/// Checks a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn validate_tag(tag: &str) -> Result<(), ReferenceError> {
    let error = |position, reason: String| Err(ReferenceError::new(tag, Part::Tag, position, reason));
    if tag.is_empty() {
        return error(0, "is empty".into());
    }
    for (position, c) in tag.char_indices() {
        let ok = c.is_ascii_alphanumeric() || c == '_' || (position > 0 && (c == '.' || c == '-'));
        if !ok {
            return error(position, format!("'{c}' is not allowed here"));
        }
    }
    if tag.len() > 128 {
        return error(128, format!("has {} characters, 128 are allowed", tag.len()));
    }
    Ok(())
}

/// Splits `name` (the text before any `@`) into a repository and the position of the tag's colon.
fn parse_name(text: &str, name: &str) -> Result<(Repository, Option<usize>), ReferenceError> {
    let error = |part, position, reason: String| ReferenceError::new(text, part, position, reason);
    if name.is_empty() {
        return Err(error(Part::Repository, 0, "is empty".into()));
    }
    // A colon after the last slash starts the tag; before it, a port.
    let colon = name.rfind(':').filter(|c| name.rfind('/').is_none_or(|slash| slash < *c));
    let path = &name[..colon.unwrap_or(name.len())];
    let registry = Repository::registry_in(path);
    let start = registry.map_or(0, |registry| registry.len() + 1);
    if let Some(registry) = registry {
        check_registry(registry).map_err(|(position, reason)| error(Part::Registry, position, reason))?;
    }
    let path = &path[start..];
    check_path(path).map_err(|(position, reason)| error(Part::Repository, start + position, reason))?;
    let registry = canonical_registry(registry.unwrap_or(hub::REGISTRY));
    let path = if registry == hub::REGISTRY && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + path.len() > MAX_NAME {
        return Err(error(
            Part::Repository,
            start,
            format!("with its registry is longer than {MAX_NAME} characters"),
        ));
    }
    Ok((Repository { registry, path }, colon))
}

fn canonical_registry(registry: &str) -> String {
    match registry.to_ascii_lowercase() {
        known if hub::NAMES.contains(&known.as_str()) => hub::REGISTRY.to_owned(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
