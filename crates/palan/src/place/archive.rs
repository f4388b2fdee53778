//! Images in one tar file: OCI archives (an OCI layout in a tar) and docker archives (`docker save`).
//!
//! Reading indexes the tar's headers once and then reads members in place. Writing streams members into a temporary
//! file next to the destination, which takes its name only in [`Target::finish`]: a failed pull leaves no file.
//! A docker archive is written with an OCI layout inside, as Docker 25 does, so that digests survive the way through it.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use palan_core::{
    Descriptor, Digest, Document, Kind, MAX_DOCUMENT_SIZE, MediaType, Reference, Selector, Verifier,
    annotation, view,
};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{
    BlobStream, Origin, PutAs, Source, Target, docker_save,
    layout::{add_entry, check_marker, read_file, tag_of},
    memory::referrers_among,
    tar_index::{Span, TarIndex, member_header},
    verified,
};
use crate::Error;

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
}

/// What an archive holds, however it says so.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) roots: Vec<Root>,
    /// Manifests that the archive does not hold as such (old `docker save`): made from its `manifest.json`.
    pub(super) made: HashMap<Digest, Document>,
    pub(super) blobs: HashMap<Digest, Span>,
}

#[derive(Debug)]
pub(super) struct Root {
    pub(super) descriptor: Descriptor,
    pub(super) names: Vec<String>,
}

/// An archive to read.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    format: Format,
    contents: Contents,
}

impl Archive {
    /// Indexes the file. Does I/O, and for old `docker save` files reads every layer once to learn its digest.
    pub fn open(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        let path = path.into();
        let place = format!("{}:{}", format.scheme(), path.display());
        let tar = TarIndex::read(&path, &place)?;
        let contents = if tar.get("index.json").is_some() {
            oci_contents(&tar, &place)?
        } else if format == Format::Docker {
            docker_save::contents(&tar, &place)?
        } else {
            let reason = "has no index.json: it is not an OCI archive".into();
            return Err(Error::Malformed { place, reason });
        };
        Ok(Self { path, format, contents })
    }

    pub(crate) fn only(&self) -> Result<Selector, Error> {
        match self.contents.roots.as_slice() {
            [root] => Ok(root.descriptor.digest.into()),
            roots => Err(Error::ChooseOne {
                place: self.name(),
                choices: roots
                    .iter()
                    .map(|r| r.names.first().cloned().unwrap_or_else(|| r.descriptor.digest.to_string()))
                    .collect(),
            }),
        }
    }

    fn find(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let missing = || Error::NotFound { name: selector.to_string(), place: self.name() };
        match selector {
            Selector::Tag(name) => {
                let root = self.contents.roots.iter().find(|r| r.names.iter().any(|n| same_name(n, name)));
                root.map(|r| r.descriptor.clone()).ok_or_else(missing)
            }
            Selector::Digest(digest) => {
                if let Some(root) = self.contents.roots.iter().find(|r| r.descriptor.digest == *digest) {
                    return Ok(root.descriptor.clone());
                }
                let span = self.contents.blobs.get(digest).ok_or_else(missing)?;
                Ok(Descriptor::new(MediaType::new(""), *digest, span.length))
            }
        }
    }

    fn load(&self, entry: &Descriptor) -> Result<Document, Error> {
        if let Some(made) = self.contents.made.get(&entry.digest) {
            return Ok(made.clone());
        }
        let missing = || Error::NotFound { name: entry.digest.to_string(), place: self.name() };
        let span = self.contents.blobs.get(&entry.digest).ok_or_else(missing)?;
        load_document(&self.path, *span, entry, &self.name())
    }
}

fn load_document(path: &Path, span: Span, entry: &Descriptor, place: &str) -> Result<Document, Error> {
    let unusable =
        |source| Error::Document { name: entry.digest.to_string(), place: place.to_owned(), source };
    if span.length > MAX_DOCUMENT_SIZE {
        return Err(unusable(palan_core::DocumentError::TooLarge { size: span.length }));
    }
    let bytes = span.read(path)?;
    let mut verifier = Verifier::of(entry);
    verifier.update(&bytes).and_then(|()| verifier.finish()).map_err(|source| Error::Damaged {
        name: entry.digest.to_string(),
        place: place.to_owned(),
        source,
    })?;
    let declared = Some(entry.media_type.clone()).filter(MediaType::is_document);
    Document::parse_with(bytes, declared, entry.digest.algorithm()).map_err(unusable)
}

/// A name matches as it stands, or as the same reference in another spelling.
fn same_name(a: &str, b: &str) -> bool {
    let parse = |s: &str| s.parse::<Reference>().ok();
    a == b || (a.contains(['/', ':']) && parse(a).is_some() && parse(a) == parse(b))
}

fn oci_contents(tar: &TarIndex, place: &str) -> Result<Contents, Error> {
    if let Some(marker) = tar.get("oci-layout") {
        check_marker(place, &marker.read(tar.path())?)?;
    }
    let unusable = |source| Error::Document { name: "index.json".into(), place: place.to_owned(), source };
    let index = tar.content("index.json", place)?;
    let index = Document::parse(index, Some(MediaType::OCI_INDEX)).map_err(unusable)?;
    let index: view::Index = index.view().map_err(unusable)?;
    let blobs = tar.members().filter_map(|(name, span)| {
        let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
        Some((format!("{algorithm}:{hex}").parse().ok()?, span))
    });
    // Docker lists an image once per name; that is one root with several names.
    let mut roots: Vec<Root> = Vec::new();
    for descriptor in index.manifests {
        let full = descriptor.annotation(annotation::CONTAINERD_IMAGE_NAME).map(str::to_owned);
        let names = full.into_iter().chain(tag_of(&descriptor).map(str::to_owned));
        match roots.iter_mut().find(|r| r.descriptor.digest == descriptor.digest) {
            Some(root) => root.names.extend(names),
            None => roots.push(Root { names: names.collect(), descriptor }),
        }
    }
    Ok(Contents { roots, made: HashMap::new(), blobs: blobs.collect() })
}

#[async_trait]
impl Source for Archive {
    fn name(&self) -> String {
        format!("{}:{}", self.format.scheme(), self.path.display())
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.load(&self.find(selector)?)?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.load(&self.find(selector)?)
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let missing = || Error::NotFound { name: blob.digest.to_string(), place: self.name() };
        let span = self.contents.blobs.get(&blob.digest).ok_or_else(missing)?;
        open_span(&self.path, *span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.contents.blobs.contains_key(&blob.digest))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.contents.roots.iter().filter_map(|r| r.names.first().cloned()).collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let documents = self.contents.roots.iter().filter_map(|r| self.load(&r.descriptor).ok());
        Ok(referrers_among(documents, digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

fn open_span(
    path: &Path,
    span: Span,
    offset: u64,
    blob: &Descriptor,
    place: String,
) -> Result<BlobStream, Error> {
    let offset = offset.min(span.length);
    let content = read_file(path.to_owned(), span.start + offset, span.length - offset)?;
    Ok(if offset == 0 { verified(place, blob, content) } else { content })
}

/// An archive to write.
pub struct ArchiveWriter {
    path: PathBuf,
    format: Format,
    state: Mutex<State>,
}

struct State {
    file: Option<tempfile::NamedTempFile>,
    end: u64,
    blobs: HashMap<Digest, Span>,
    documents: HashMap<Digest, Document>,
    /// In the order they were put; a name is given to the last one that asked for it.
    roots: Vec<(Option<String>, Digest)>,
}

impl ArchiveWriter {
    /// Begins an archive that will replace `path` when it is finished.
    pub fn create(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        let path = path.into();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".palan-")
            .tempfile_in(folder)
            .map_err(Error::io("write", &path))?;
        let state = State {
            file: Some(file),
            end: 0,
            blobs: HashMap::new(),
            documents: HashMap::new(),
            roots: Vec::new(),
        };
        Ok(Self { path, format, state: Mutex::new(state) })
    }

    fn io(&self) -> impl FnOnce(std::io::Error) -> Error {
        Error::io("write", &self.path)
    }

    fn finished(&self) -> Error {
        Error::Malformed { place: self.name(), reason: "was written after it was finished".into() }
    }

    async fn stream(
        &self,
        state: &mut State,
        blob: &Descriptor,
        content: &mut BlobStream,
    ) -> Result<(), Error> {
        let file = state.file.as_mut().ok_or_else(|| self.finished())?.as_file_mut();
        let header = member_header(&blob_name(blob.digest), blob.size);
        file.seek(SeekFrom::Start(state.end)).map_err(self.io())?;
        file.write_all(&header).map_err(self.io())?;
        while let Some(piece) = content.next().await {
            file.write_all(&piece?).map_err(self.io())?;
        }
        let padding = blob.size.next_multiple_of(512) - blob.size;
        file.write_all(&[0; 512][..usize::try_from(padding).unwrap_or(0)]).map_err(self.io())?;
        let start = state.end + header.len() as u64;
        state.blobs.insert(blob.digest, Span { start, length: blob.size });
        state.end = start + blob.size + padding;
        Ok(())
    }

    fn add(&self, state: &mut State, name: &str, content: &[u8]) -> Result<Span, Error> {
        let file = state.file.as_mut().ok_or_else(|| self.finished())?.as_file_mut();
        let header = member_header(name, content.len() as u64);
        file.seek(SeekFrom::Start(state.end)).map_err(self.io())?;
        file.write_all(&header).map_err(self.io())?;
        file.write_all(content).map_err(self.io())?;
        let padded = content.len().next_multiple_of(512);
        file.write_all(&[0; 512][..padded - content.len()]).map_err(self.io())?;
        let span = Span { start: state.end + header.len() as u64, length: content.len() as u64 };
        state.end = span.start + padded as u64;
        Ok(span)
    }

    fn index(&self, state: &State) -> Map<String, Value> {
        let mut index = Map::new();
        index.insert("schemaVersion".into(), json!(2));
        index.insert("mediaType".into(), json!(MediaType::OCI_INDEX));
        index.insert("manifests".into(), json!([]));
        for (name, digest) in &state.roots {
            let Some(document) = state.documents.get(digest) else { continue };
            add_entry(&mut index, document, name.as_deref());
        }
        if self.format == Format::Docker {
            split_docker_names(&mut index);
        }
        index
    }

    /// Docker's own list of what the archive holds.
    fn docker_manifest(state: &State) -> Result<Value, Error> {
        let mut images: Vec<(Digest, Value)> = Vec::new();
        for (name, digest) in &state.roots {
            let Some(document) = state.documents.get(digest) else { continue };
            let manifest: view::Manifest = document.view()?;
            let position = images.iter().position(|(d, _)| d == digest).unwrap_or_else(|| {
                let layers: Vec<String> = manifest.layers.iter().map(|l| blob_name(l.digest)).collect();
                let config = blob_name(manifest.config.digest);
                images.push((*digest, json!({"Config": config, "RepoTags": [], "Layers": layers})));
                images.len() - 1
            });
            if let (Some(name), Some(tags)) = (name, images[position].1["RepoTags"].as_array_mut()) {
                tags.push(json!(name));
            }
        }
        Ok(images.into_iter().map(|(_, image)| image).collect())
    }
}

/// containerd and Docker read the full name from one annotation and the tag from another.
fn split_docker_names(index: &mut Map<String, Value>) {
    for entry in index.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) else { continue };
        let Some(name) = annotations.get(annotation::REF_NAME).and_then(Value::as_str).map(str::to_owned)
        else {
            continue;
        };
        if let Ok(reference) = name.parse::<Reference>() {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            let full = reference.base_name().unwrap_or(name);
            annotations.insert(annotation::CONTAINERD_IMAGE_NAME.into(), json!(full));
            annotations.insert(annotation::REF_NAME.into(), json!(tag));
        }
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

#[async_trait]
impl Source for ArchiveWriter {
    fn name(&self) -> String {
        format!("{}:{}", self.format.scheme(), self.path.display())
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.document(selector).await?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        let state = self.state.lock().await;
        let digest = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(tag) => {
                state.roots.iter().rev().find(|(name, _)| name.as_ref() == Some(tag)).map(|(_, d)| *d)
            }
        };
        let found = digest.and_then(|d| state.documents.get(&d).cloned());
        found.ok_or_else(|| Error::NotFound { name: selector.to_string(), place: self.name() })
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let state = self.state.lock().await;
        let missing = || Error::NotFound { name: blob.digest.to_string(), place: self.name() };
        let span = *state.blobs.get(&blob.digest).ok_or_else(missing)?;
        let file = state.file.as_ref().ok_or_else(|| self.finished())?;
        open_span(file.path(), span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.state.lock().await.blobs.contains_key(&blob.digest))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        let state = self.state.lock().await;
        let names: BTreeMap<&String, ()> =
            state.roots.iter().filter_map(|(n, _)| Some((n.as_ref()?, ()))).collect();
        Ok(names.into_keys().cloned().collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let documents: Vec<Document> = self.state.lock().await.documents.values().cloned().collect();
        Ok(referrers_among(documents, digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

#[async_trait]
impl Target for ArchiveWriter {
    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        // A tar is written one member at a time; the next one may be opened meanwhile.
        let mut content = verified(from.name(), blob, from.open(blob, 0).await?);
        let mut state = self.state.lock().await;
        if state.blobs.contains_key(&blob.digest) {
            return Ok(());
        }
        self.stream(&mut state, blob, &mut content).await
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        if self.format == Format::Docker && document.kind() != Kind::Manifest {
            return Err(Error::WrongKind {
                image: document.digest().to_string(),
                found: "an image index".into(),
                wanted: "one image (a docker archive holds single images: choose a platform, or use oci-archive:)",
            });
        }
        let mut state = self.state.lock().await;
        let digest = document.digest();
        if !state.blobs.contains_key(&digest) {
            let span = self.add(&mut state, &blob_name(digest), document.bytes())?;
            state.blobs.insert(digest, span);
        }
        state.documents.insert(digest, document.clone());
        if let Some(tag) = role.tag() {
            state.roots.retain(|(name, _)| name.as_deref() != Some(tag));
        }
        if *role != PutAs::Child {
            state.roots.push((role.tag().map(str::to_owned), digest));
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let index = self.index(&state);
        if self.format == Format::Docker {
            let manifest = Self::docker_manifest(&state)?;
            self.add(&mut state, "manifest.json", manifest.to_string().as_bytes())?;
        }
        self.add(&mut state, "index.json", Value::Object(index).to_string().as_bytes())?;
        self.add(&mut state, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let end = state.end;
        let mut file = state.file.take().ok_or_else(|| self.finished())?;
        file.seek(SeekFrom::Start(end)).map_err(self.io())?;
        file.write_all(&[0; 1024]).map_err(self.io())?;
        file.as_file().set_len(end + 1024).map_err(self.io())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(mode).map_err(self.io())?;
        }
        file.persist(&self.path).map_err(|e| self.io()(e.error))?;
        Ok(())
    }
}
