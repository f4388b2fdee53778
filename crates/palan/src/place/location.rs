//! Image locations: what people type, and the places it means.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use palan_client::Client;
use palan_core::{Descriptor, Digest, Reference, ReferenceError, Selector};

use super::{Archive, ArchiveWriter, Format, Layout, Memo, Registry, Source, Target, once_failed::Failures};
use crate::{Error, Scratch, documents::Documents};

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

/// A place together with what was chosen in it.
pub struct Opened<T: ?Sized> {
    /// The place.
    pub place: Arc<T>,
    /// The tag or digest. Reading from a location without one chooses the only image, which is resolved when opened;
    /// writing to one leaves the image without a tag.
    pub selector: Option<Selector>,
}

impl<T: ?Sized> Clone for Opened<T> {
    fn clone(&self) -> Self {
        Self { place: Arc::clone(&self.place), selector: self.selector.clone() }
    }
}

/// Turns locations into places; holds what all of a command's places share.
#[derive(Clone)]
pub struct Places {
    client: Client,
    scratch: Scratch,
    documents: Option<Documents>,
    memo: Memo,
    failures: Option<Failures>,
    /// Archives that are open for reading: writing one of them would replace what is being read.
    read: Arc<Mutex<Vec<OpenArchive>>>,
}

type OpenArchive = (PathBuf, Weak<Archive>);

/// A place, and what it lists.
pub(crate) type Listed = (Arc<dyn Source>, Vec<Descriptor>);

impl Places {
    /// Places that speak to registries through `client`: one connection pool and one token per scope.
    pub fn new(client: Client) -> Self {
        let (scratch, memo) = (Scratch::default(), Memo::default());
        Self { client, scratch, documents: None, memo, failures: None, read: Arc::default() }
    }

    /// With this folder for temporary files.
    pub fn with_scratch(self, scratch: Scratch) -> Self {
        Self { scratch, ..self }
    }

    /// With these documents before what is read of registries by digest. What is written, whether something is there and
    /// what tags stand for has nothing to do with them.
    #[must_use]
    pub fn with_documents(self, documents: Documents) -> Self {
        Self { documents: Some(documents), ..self }
    }

    /// For a run over many images: where bases are and that fails, nobody is asked again by this and its clones.
    #[must_use]
    pub fn asking_once(self) -> Self {
        Self { failures: self.failures.or_else(|| Some(Failures::default())), ..self }
    }

    /// The documents that are known, where some are kept.
    pub fn documents(&self) -> Option<&Documents> {
        self.documents.as_ref()
    }

    /// The folder for temporary files.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The registry client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a location for reading. Does file I/O for layouts and archives, no network.
    pub fn source(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        Ok(match location {
            Location::Registry(reference) => {
                Opened { place: Arc::new(self.registry(reference)), selector: Some(reference.selector()) }
            }
            Location::Layout { path, selector } => {
                let layout = Layout::open(path)?;
                let selector = selector.clone().map_or_else(|| layout.only(), Ok)?;
                Opened { place: Arc::new(layout), selector: Some(selector) }
            }
            Location::Archive { path, format, selector } => {
                let archive = Arc::new(Archive::open_with(path, *format, &self.scratch)?);
                self.note_read(path, &archive);
                let selector = selector.clone().map_or_else(|| archive.only(), Ok)?;
                Opened { place: archive, selector: Some(selector) }
            }
        })
    }

    /// As [`Places::source`], for what images are built on.
    pub(crate) fn base(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        match (&self.failures, location) {
            (Some(failures), Location::Registry(base)) => {
                let place = self.registry(base).with_asked(failures.of(base.repository()));
                Ok(Opened { place: Arc::new(place), selector: Some(base.selector()) })
            }
            _ => self.source(location),
        }
    }

    /// Opens a layout or archive of which nothing was chosen, for reading what it lists. `None`: it is a registry, or
    /// something was chosen.
    pub(crate) fn listed(&self, location: &Location) -> Result<Option<Listed>, Error> {
        Ok(match location {
            Location::Layout { path, selector: None } => {
                let layout = Layout::open(path)?;
                let entries = layout.entries()?;
                Some((Arc::new(layout), entries))
            }
            Location::Archive { path, format, selector: None } => {
                let archive = Arc::new(Archive::open(path, *format)?);
                self.note_read(path, &archive);
                let entries = archive.entries().to_vec();
                Some((archive, entries))
            }
            _ => None,
        })
    }

    /// As [`Places::source`], for what is about to be changed or deleted: a registry's mirrors are not asked, which may
    /// have an older image under the same tag.
    pub fn standing(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        match location {
            Location::Registry(reference) => {
                let repo = self.client.repository(reference.repository()).primary();
                let place = self.reading(Registry::new(repo));
                Ok(Opened { place: Arc::new(place), selector: Some(reference.selector()) })
            }
            _ => self.source(location),
        }
    }

    /// Opens what is to be changed; `target`: where the result goes, if not to the image's own place. What is changed in
    /// place is opened as by [`Places::standing`].
    pub fn to_change(
        &self,
        image: &Location,
        target: Option<&Location>,
    ) -> Result<Opened<dyn Source>, Error> {
        match target {
            Some(target) if target != image => self.source(image),
            _ => self.standing(image),
        }
    }

    /// Opens a location for reading what goes to `target`: inside one registry as [`Places::standing`], so that nothing
    /// is missing there afterwards that only a mirror had.
    pub fn source_for(&self, location: &Location, target: &Location) -> Result<Opened<dyn Source>, Error> {
        match (location.reference(), target.reference()) {
            (Some(from), Some(to)) if from.repository().registry() == to.repository().registry() => {
                self.standing(location)
            }
            _ => self.source(location),
        }
    }

    /// Opens a location for writing: layouts are made, archives begun.
    pub fn target(&self, location: &Location) -> Result<Opened<dyn Target>, Error> {
        let selector = location.selector();
        Ok(match location {
            // What is there already is asked where it is written, not a mirror.
            Location::Registry(reference) => {
                let repo = self.client.repository(reference.repository()).primary();
                Opened { place: Arc::new(Registry::new(repo).with_memo(&self.memo)), selector }
            }
            Location::Layout { path, .. } => Opened { place: Arc::new(Layout::create(path)?), selector },
            Location::Archive { path, format, .. } => {
                self.check_target(location)?;
                let writer = ArchiveWriter::create_with(path, *format, self.scratch.clone())?;
                Opened { place: Arc::new(writer), selector }
            }
        })
    }

    fn note_read(&self, path: &Path, archive: &Arc<Archive>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|(_, archive)| archive.strong_count() > 0);
        read.extend(fs::canonicalize(path).map(|file| (file, Arc::downgrade(archive))));
    }

    /// Refuses a target that is an archive which is open for reading, under whatever name: writing an archive replaces
    /// the file, and what else it holds would be lost.
    pub fn check_target(&self, location: &Location) -> Result<(), Error> {
        let Location::Archive { path, .. } = location else { return Ok(()) };
        let Ok(file) = fs::canonicalize(path) else { return Ok(()) };
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.iter().any(|(other, archive)| *other == file && archive.strong_count() > 0) {
            let what =
                format!("changing the archive {} in place: give another file as target", path.display());
            return Err(Error::Unsupported(what));
        }
        Ok(())
    }

    fn registry(&self, reference: &Reference) -> Registry {
        self.reading(Registry::new(self.client.repository(reference.repository())))
    }

    fn reading(&self, place: Registry) -> Registry {
        place.with_memo(&self.memo).with_documents(self.documents.clone())
    }
}

impl Opened<dyn Source> {
    /// What was chosen; locations opened for reading always have it.
    pub fn chosen(&self) -> Result<&Selector, Error> {
        self.selector
            .as_ref()
            .ok_or_else(|| Error::ChooseOne { place: self.place.name(), choices: Vec::new() })
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
