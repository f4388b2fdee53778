//! Image locations: what people type.

use std::{fmt, path::PathBuf, str::FromStr};

use palan_core::{Digest, Reference, ReferenceError, Selector};

use super::Format;

/// An image location: a registry reference, or a file or directory behind a scheme.
///
/// | written as | is |
/// |---|---|
/// | `[registry/]name[:tag][@digest]` | an image in a registry |
/// | `oci:DIR[:TAG]`, `oci:DIR@DIGEST` | an OCI layout directory |
/// | `oci-archive:FILE[:TAG]` | an OCI layout in a tar |
/// | `docker-archive:FILE[:NAME]` | what `docker save` writes |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a registry.
    Registry(Reference),
    /// In an OCI layout directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image; `None`: the only one.
        selector: Option<Selector>,
    },
    /// In an archive file.
    Archive {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// Which image, by tag or full name; `None`: the only one.
        selector: Option<Selector>,
    },
}

/// Why a text is not an image location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Not a registry reference either.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A scheme without a path behind it.
    #[error("invalid location \"{0}\": a path is missing after the scheme")]
    NoPath(String),
    /// A scheme that palan does not have.
    #[error("not supported yet: the transport {0}")]
    Scheme(String),
    /// A digest that is not one.
    #[error("invalid location \"{text}\": {source}")]
    Digest {
        /// The whole text.
        text: String,
        /// Why.
        source: palan_core::DigestError,
    },
}

impl Location {
    /// The registry reference, when it is one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            _ => None,
        }
    }

    /// What it selects in its place.
    pub fn selector(&self) -> Option<Selector> {
        match self {
            Self::Registry(reference) => Some(reference.selector()),
            Self::Layout { selector, .. } | Self::Archive { selector, .. } => selector.clone(),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let split = |rest: &str| split_path(text, rest);
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, selector) = split(rest)?;
            return Ok(Self::Layout { path, selector });
        }
        for format in [Format::Oci, Format::Docker] {
            if let Some(rest) = text.strip_prefix(format.scheme()).and_then(|r| r.strip_prefix(':')) {
                let (path, selector) = split(rest)?;
                return Ok(Self::Archive { path, format, selector });
            }
        }
        if let Some(rest) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(rest.parse()?));
        }
        for scheme in ["docker-daemon:", "containers-storage:", "dir:", "sif:"] {
            if text.starts_with(scheme) {
                return Err(LocationError::Scheme(scheme.to_owned()));
            }
        }
        Ok(Self::Registry(text.parse()?))
    }
}

/// `PATH[:NAME]` or `PATH@DIGEST`. The name starts at the first colon that is not a Windows drive's.
fn split_path(text: &str, rest: &str) -> Result<(PathBuf, Option<Selector>), LocationError> {
    if rest.is_empty() {
        return Err(LocationError::NoPath(text.to_owned()));
    }
    let digest = ["@sha256:", "@sha512:"].iter().find_map(|start| rest.rfind(start));
    if let Some(at) = digest {
        let digest: Digest = rest[at + 1..]
            .parse()
            .map_err(|source| LocationError::Digest { text: text.to_owned(), source })?;
        // As in references: where a tag and a digest are given, the digest selects.
        return Ok((split_path(text, &rest[..at])?.0, Some(digest.into())));
    }
    let bytes = rest.as_bytes();
    let drive = bytes.len() > 2
        && bytes[0].is_ascii_alphabetic()
        && bytes[1] == b':'
        && matches!(bytes[2], b'\\' | b'/');
    let from = if drive { 2 } else { 0 };
    Ok(match rest[from..].split_once(':') {
        None => (rest.into(), None),
        Some(("", _)) => return Err(LocationError::NoPath(text.to_owned())),
        Some((path, "")) => (format!("{}{path}", &rest[..from]).into(), None),
        Some((path, name)) => {
            (format!("{}{path}", &rest[..from]).into(), Some(Selector::Tag(name.to_owned())))
        }
    })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, selector) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::Layout { path, selector } => ("oci", path, selector),
            Self::Archive { path, format, selector } => (format.scheme(), path, selector),
        };
        let selector = match selector {
            None => String::new(),
            Some(Selector::Tag(tag)) => format!(":{tag}"),
            Some(Selector::Digest(digest)) => format!("@{digest}"),
        };
        f.pad(&format!("{scheme}:{}{selector}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_means_a_place() {
        let layout = |path: &str, tag: Option<&str>| Location::Layout {
            path: path.into(),
            selector: tag.map(|t| Selector::Tag(t.into())),
        };
        let archive = |format, path: &str, tag: Option<&str>| Location::Archive {
            path: path.into(),
            format,
            selector: tag.map(|t| Selector::Tag(t.into())),
        };
        let cases = [
            ("oci:dir", layout("dir", None)),
            ("oci:/a/b:v1", layout("/a/b", Some("v1"))),
            ("oci:dir:", layout("dir", None)),
            ("oci:me@shack/dir:v1", layout("me@shack/dir", Some("v1"))),
            (r"oci:C:\x\y:v1", layout(r"C:\x\y", Some("v1"))),
            ("oci-archive:x.tar:v1", archive(Format::Oci, "x.tar", Some("v1"))),
            ("docker-archive:x.tar", archive(Format::Docker, "x.tar", None)),
            (
                "docker-archive:x.tar:localhost:5000/a/b:v1",
                archive(Format::Docker, "x.tar", Some("localhost:5000/a/b:v1")),
            ),
            ("docker://ubuntu", Location::Registry("ubuntu".parse().unwrap())),
            ("ubuntu", Location::Registry("ubuntu".parse().unwrap())),
        ];
        for (text, location) in cases {
            assert_eq!(text.parse::<Location>().unwrap(), location, "{text}");
        }
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        let digest = palan_core::Digest::sha256(b"");
        for text in
            ["oci:dir:v1", "oci-archive:x.tar", "docker-archive:x.tar:a/b:v1", &format!("oci:dir@{digest}")]
        {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn of_a_tag_and_a_digest_the_digest_selects() {
        let digest = palan_core::Digest::sha256(b"");
        let location: Location = format!("oci:dir:v1@{digest}").parse().unwrap();
        assert_eq!(location, Location::Layout { path: "dir".into(), selector: Some(digest.into()) });
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("oci:", "a path is missing"),
            ("docker-daemon:x", "docker-daemon:"),
            ("Foo", "upper case"),
            ("oci:d@sha256:1", "64"),
            (
                "oci:@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "a path is missing",
            ),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
