//! Images in one tar file, for reading: OCI archives (an OCI layout in a tar) and docker archives (`docker save`).
//!
//! The tar's headers are indexed once; members are then read in place. What cannot be read in place (a file that is
//! compressed as a whole, a pipe) is unpacked into a temporary file first.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use palan_core::{
    Compression, Descriptor, Digest, Document, Kind, MAX_DOCUMENT_SIZE, MediaType, Selector, Verifier, view,
};
use palan_layer::{Decoder, Scratch, codec};
use tempfile::{NamedTempFile, TempPath};

use super::{
    BlobStream, Origin, Source, checked,
    content::{parse_document, read_file},
    docker_save,
    index_json::{self, full_name_of, tag_of},
    layout::check_marker,
    legacy::copy,
    memory::referrers_among,
    tar_index::{Span, TarIndex},
};
use crate::{Error, error::UNWRITTEN};

/// Which kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An OCI image layout in a tar.
    Oci,
    /// What `docker save` writes and `docker load` reads.
    Docker,
}

impl Format {
    /// The scheme in locations.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Oci => "oci-archive",
            Self::Docker => "docker-archive",
        }
    }

    /// Refuses what such an archive cannot hold: a docker archive holds single images.
    pub fn accepts(self, root: &Document) -> Result<(), Error> {
        let manifest = || root.view::<view::Manifest>().ok();
        let found = match root.kind() {
            _ if self == Self::Oci => return Ok(()),
            Kind::Manifest if manifest().is_some_and(|m| m.is_image()) => return Ok(()),
            Kind::Index => "an image index",
            _ => "an artifact",
        };
        Err(Error::WrongKind {
            image: root.digest().to_string(),
            found: found.into(),
            wanted: "one image (a docker archive holds single images: choose a platform, or use oci-archive:)",
        })
    }

    pub(super) fn place(self, path: &Path) -> String {
        format!("{}:{}", self.scheme(), path.display())
    }
}

/// What an archive holds, however it says so.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Its images, one entry for each name of each.
    pub(super) entries: Vec<Descriptor>,
    /// Manifests that the archive does not hold as such (old `docker save`): made from its `manifest.json`.
    pub(super) made: HashMap<Digest, Document>,
    pub(super) blobs: HashMap<Digest, Span>,
}

/// An archive to read.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    format: Format,
    contents: Contents,
    /// The file unpacked, where it cannot be read in place. It goes with the archive.
    unpacked: Option<TempPath>,
}

impl Archive {
    /// Indexes the file. Does I/O, and for old `docker save` files reads every layer once to learn its digest.
    pub fn open(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        Self::open_with(path, format, &Scratch::default())
    }

    /// As [`Archive::open`]; what cannot be read in place is unpacked into `scratch`.
    pub fn open_with(path: impl Into<PathBuf>, format: Format, scratch: &Scratch) -> Result<Self, Error> {
        let path = path.into();
        let place = format.place(&path);
        let unpacked = unpacked(&path, &place, scratch)?;
        let tar = TarIndex::read(unpacked.as_deref().unwrap_or(&path), &place)?;
        let contents = if tar.get("index.json").or(tar.get("oci-layout")).is_some() {
            oci_contents(&tar, &place)?
        } else if format == Format::Docker {
            docker_save::contents(&tar, &place)?
        } else {
            let reason = "has no index.json: it is not an OCI archive".into();
            return Err(Error::Malformed { place, reason });
        };
        Ok(Self { path, format, contents, unpacked })
    }

    /// The file that members are read from.
    fn readable(&self) -> &Path {
        self.unpacked.as_deref().unwrap_or(&self.path)
    }

    /// The size of a blob, in bytes as stored.
    pub fn blob_size(&self, digest: Digest) -> Option<u64> {
        self.contents.blobs.get(&digest).map(|span| span.length)
    }

    /// What it holds, one entry for each name of each.
    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.contents.entries
    }

    pub(crate) fn only(&self) -> Result<Selector, Error> {
        index_json::only(&self.contents.entries, &self.name())
    }

    fn find(&self, selector: &Selector) -> Result<Descriptor, Error> {
        if let Some(entry) = index_json::find(&self.contents.entries, selector, &self.name())? {
            return Ok(entry.clone());
        }
        let missing = || Error::NotFound { name: selector.to_string(), place: self.name() };
        let Selector::Digest(digest) = selector else { return Err(missing()) };
        let span = self.contents.blobs.get(digest).ok_or_else(missing)?;
        Ok(Descriptor::new(MediaType::new(""), *digest, span.length))
    }

    fn load(&self, entry: &Descriptor) -> Result<Document, Error> {
        if let Some(made) = self.contents.made.get(&entry.digest) {
            return Ok(made.clone());
        }
        let name = || entry.digest.to_string();
        let missing = || Error::NotFound { name: name(), place: self.name() };
        let span = *self.contents.blobs.get(&entry.digest).ok_or_else(missing)?;
        if span.length > MAX_DOCUMENT_SIZE {
            let source = palan_core::DocumentError::TooLarge { size: span.length };
            return Err(Error::Document { name: name(), place: self.name(), source });
        }
        let bytes = span.read(self.readable())?;
        let mut verifier = Verifier::of(entry);
        verifier.update(&bytes).and_then(|()| verifier.finish()).map_err(|source| Error::Damaged {
            name: name(),
            place: self.name(),
            source,
        })?;
        parse_document(bytes.into(), entry, &self.name())
    }
}

/// The uncompressed archive in a temporary file, where `path` is compressed or cannot be read twice.
fn unpacked(path: &Path, place: &str, scratch: &Scratch) -> Result<Option<TempPath>, Error> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let kind = file.metadata().map_err(Error::io("read", path))?;
    if kind.is_dir() {
        let source = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(Error::io("read", path)(source));
    }
    let (compression, content) = codec::sniff(file).map_err(|error| match error {
        palan_layer::Error::UnsupportedCompression(name) => {
            Error::Unsupported(format!("{place} is compressed with {name}; decompress it first"))
        }
        error => Error::io("read", path)(error.into()),
    })?;
    if compression == Compression::None && kind.is_file() {
        return Ok(None);
    }
    let damaged = |error: &dyn std::fmt::Display| Error::Malformed {
        place: place.to_owned(),
        reason: format!("cannot be decompressed: {error}"),
    };
    let mut decoder = Decoder::new(content).map_err(|e| damaged(&e))?;
    let unpacked = NamedTempFile::new_in(scratch.path()).and_then(|file| scratch.note(file));
    let unpacked = unpacked.map_err(Error::io("create", scratch.path()))?;
    let mut out = BufWriter::with_capacity(128 * 1024, unpacked.as_file());
    copy(&mut decoder, &mut out, Error::io(UNWRITTEN, scratch.path()), |e| damaged(&e))?;
    out.flush().map_err(Error::io(UNWRITTEN, scratch.path()))?;
    drop(out);
    Ok(Some(unpacked.into_temp_path()))
}

fn oci_contents(tar: &TarIndex, place: &str) -> Result<Contents, Error> {
    check_marker(place, &tar.content("oci-layout", place)?)?;
    let unusable = |source| Error::Document { name: "index.json".into(), place: place.to_owned(), source };
    let index = tar.content("index.json", place)?;
    let index = Document::parse(index, Some(MediaType::OCI_INDEX)).map_err(unusable)?;
    let index: view::Index = index.view().map_err(unusable)?;
    let blobs = tar.names().filter_map(|name| {
        let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
        Some((format!("{algorithm}:{hex}").parse().ok()?, tar.get(name)?))
    });
    Ok(Contents { entries: index.manifests, made: HashMap::new(), blobs: blobs.collect() })
}

#[async_trait]
impl Source for Archive {
    fn name(&self) -> String {
        self.format.place(&self.path)
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.load(&self.find(selector)?)?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.load(&self.find(selector)?)
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let missing = || Error::NotFound { name: blob.digest.to_string(), place: self.name() };
        let span = *self.contents.blobs.get(&blob.digest).ok_or_else(missing)?;
        open_span(self.readable(), span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.contents.blobs.get(&blob.digest).is_some_and(|span| span.length == blob.size))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        let name = |entry| match self.format {
            Format::Oci => tag_of(entry).or(full_name_of(entry)),
            Format::Docker => full_name_of(entry).or(tag_of(entry)),
        };
        let mut seen = HashSet::new();
        let names = self.contents.entries.iter().filter_map(name);
        Ok(names.filter(|name| seen.insert(*name)).map(str::to_owned).collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let candidates = index_json::referrer_candidates(&self.contents.entries, digest, |e| self.load(e));
        Ok(referrers_among(candidates, digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }

    fn is_made(&self, manifest: Digest) -> bool {
        self.contents.made.contains_key(&manifest)
    }
}

pub(super) fn open_span(
    path: &Path,
    span: Span,
    offset: u64,
    blob: &Descriptor,
    place: String,
) -> Result<BlobStream, Error> {
    let start = offset.min(span.length);
    let content = read_file(path.to_owned(), span.start + start, span.length - start)?;
    checked(place, blob, offset, content)
}
