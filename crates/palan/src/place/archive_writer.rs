//! Writing archives: members are streamed into a temporary file next to the destination, which takes its name only in
//! [`Target::finish`]: a failed pull leaves no file.
//!
//! A docker archive is written with an OCI layout inside, as Docker 25 does, so that digests survive the way through it.

use std::{
    collections::HashMap,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex as StdMutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use palan_core::{Descriptor, Digest, Document, Kind, MediaType, Reference, Selector, annotation, view};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{
    BlobStream, Format, Origin, PutAs, Source, Target,
    archive::open_span,
    index_json::{add_entry, same_name},
    layout::make_readable,
    memory::{check_unmoved, referrers_among},
    tar_index::{Span, member_header},
    verified,
};
use crate::Error;

/// An archive to write.
pub struct ArchiveWriter {
    path: PathBuf,
    format: Format,
    /// Held while a member is written: a tar is written one member at a time.
    output: Mutex<Option<Output>>,
    /// Held for moments only.
    state: StdMutex<State>,
}

struct Output {
    file: tempfile::NamedTempFile,
    end: u64,
}

struct State {
    /// Where what has been written can be read: the temporary file, in the end the archive.
    readable: PathBuf,
    blobs: HashMap<Digest, Span>,
    documents: HashMap<Digest, Document>,
    /// In the order they were put; a name belongs to the last one that asked for it.
    roots: Vec<(Option<String>, Digest)>,
}

impl ArchiveWriter {
    /// Begins an archive that will replace `path` when it is finished. A symbolic link is followed; what exists and is
    /// not a regular file (a device, a pipe) is refused, as replacing it would destroy it.
    pub fn create(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        let path = path.into();
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            let place = format!("{}:{}", format.scheme(), path.display());
            return Err(Error::Malformed { place, reason: "exists and is not a regular file".into() });
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".palan-")
            .tempfile_in(folder)
            .map_err(Error::io("write", &path))?;
        let state = State {
            readable: file.path().to_owned(),
            blobs: HashMap::new(),
            documents: HashMap::new(),
            roots: Vec::new(),
        };
        let output = Mutex::new(Some(Output { file, end: 0 }));
        Ok(Self { path, format, output, state: StdMutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self) -> impl FnOnce(std::io::Error) -> Error {
        Error::io("write", &self.path)
    }

    fn finished(&self) -> Error {
        Error::Malformed { place: self.name(), reason: "was written after it was finished".into() }
    }

    /// Writes one member. What a failed one leaves behind is overwritten by the next.
    async fn member(
        &self,
        output: &mut Output,
        name: &str,
        size: u64,
        mut content: BlobStream,
    ) -> Result<Span, Error> {
        let file = output.file.as_file_mut();
        let header = member_header(name, size);
        file.seek(SeekFrom::Start(output.end)).map_err(self.io())?;
        file.write_all(&header).map_err(self.io())?;
        while let Some(piece) = content.next().await {
            file.write_all(&piece?).map_err(self.io())?;
        }
        let padding = size.next_multiple_of(512) - size;
        file.write_all(&[0; 512][..usize::try_from(padding).unwrap_or(0)]).map_err(self.io())?;
        let span = Span { start: output.end + header.len() as u64, length: size };
        output.end = span.start + size + padding;
        Ok(span)
    }

    async fn bytes(&self, output: &mut Output, name: &str, content: bytes::Bytes) -> Result<Span, Error> {
        let size = content.len() as u64;
        let content = Box::pin(futures_util::stream::iter([Ok(content)]));
        self.member(output, name, size, content).await
    }

    /// How a name is written into the archive: Docker only loads full names with a tag.
    fn written_name(&self, name: &str) -> Result<String, Error> {
        if self.format == Format::Oci {
            return Ok(name.to_owned());
        }
        let bad = |reason: String| Error::Malformed {
            place: self.name(),
            reason: format!("\"{name}\" cannot be an image's name in it: {reason}"),
        };
        let reference: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
        reference.base_name().ok_or_else(|| bad("it has no tag".into()))
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
            split_names(&mut index);
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
fn split_names(index: &mut Map<String, Value>) {
    for entry in index.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) else { continue };
        let Some(name) = annotations.get(annotation::REF_NAME).and_then(Value::as_str).map(str::to_owned)
        else {
            continue;
        };
        if let Some(tag) = name.parse::<Reference>().ok().as_ref().and_then(Reference::tag) {
            annotations.insert(annotation::REF_NAME.into(), json!(tag));
            annotations.insert(annotation::CONTAINERD_IMAGE_NAME.into(), json!(name));
        }
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

impl State {
    fn find(&self, name: &str) -> Option<Digest> {
        let named = |n: &Option<String>| n.as_deref().is_some_and(|n| same_name(n, name));
        self.roots.iter().find(|(n, _)| named(n)).map(|(_, digest)| *digest)
    }
}

#[async_trait]
impl Source for ArchiveWriter {
    fn name(&self) -> String {
        self.format.place(&self.path)
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.document(selector).await?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        let state = self.state();
        let digest = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(tag) => state.find(tag),
        };
        let found = digest.and_then(|d| state.documents.get(&d).cloned());
        found.ok_or_else(|| Error::NotFound { name: selector.to_string(), place: self.name() })
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let state = self.state();
        let missing = || Error::NotFound { name: blob.digest.to_string(), place: self.name() };
        let span = *state.blobs.get(&blob.digest).ok_or_else(missing)?;
        open_span(&state.readable, span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.state().blobs.get(&blob.digest).is_some_and(|span| span.length == blob.size))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.state().roots.iter().filter_map(|(name, _)| name.clone()).collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let documents: Vec<Document> = self.state().documents.values().cloned().collect();
        Ok(referrers_among(documents, digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

#[async_trait]
impl Target for ArchiveWriter {
    fn accepts(&self, root: &Document) -> Result<(), Error> {
        if self.format == Format::Oci {
            return Ok(());
        }
        let manifest = || root.view::<view::Manifest>().ok();
        let found = match root.kind() {
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

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        // Opened only when it is its turn: a connection that waits for a big blob before it would be closed.
        let mut output = self.output.lock().await;
        let output = output.as_mut().ok_or_else(|| self.finished())?;
        if self.has(blob).await? {
            return Ok(());
        }
        let content = verified(from.name(), blob, from.open(blob, 0).await?);
        let span = self.member(output, &blob_name(blob.digest), blob.size, content).await?;
        self.state().blobs.insert(blob.digest, span);
        Ok(())
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        self.accepts(document)?;
        let name = role.tag().map(|tag| self.written_name(tag)).transpose()?;
        let digest = document.digest();
        let mut output = self.output.lock().await;
        let output = output.as_mut().ok_or_else(|| self.finished())?;
        if let PutAs::Replace { tag, expected } = role {
            check_unmoved(&self.name(), tag, *expected, self.state().find(tag))?;
        }
        if !self.has(&document.descriptor()).await? {
            let span = self.bytes(output, &blob_name(digest), document.bytes().clone()).await?;
            self.state().blobs.insert(digest, span);
        }
        let mut state = self.state();
        state.documents.insert(digest, document.clone());
        if name.is_some() {
            state.roots.retain(|(other, _)| *other != name);
        }
        if *role != PutAs::Child && !state.roots.contains(&(name.clone(), digest)) {
            state.roots.push((name, digest));
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        let mut turn = self.output.lock().await;
        let output = turn.as_mut().ok_or_else(|| self.finished())?;
        let (index, docker) = {
            let state = self.state();
            let docker = (self.format == Format::Docker).then(|| Self::docker_manifest(&state));
            (Value::Object(self.index(&state)), docker.transpose()?)
        };
        let marker = bytes::Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#);
        self.bytes(output, "oci-layout", marker).await?;
        if let Some(docker) = docker {
            self.bytes(output, "manifest.json", docker.to_string().into()).await?;
        }
        // Last: an archive that was cut anywhere has none.
        self.bytes(output, "index.json", index.to_string().into()).await?;
        let Some(Output { mut file, end }) = turn.take() else { return Err(self.finished()) };
        file.seek(SeekFrom::Start(end)).map_err(self.io())?;
        file.write_all(&[0; 1024]).map_err(self.io())?;
        file.as_file().set_len(end + 1024).map_err(self.io())?;
        make_readable(&file, &self.path)?;
        file.persist(&self.path).map_err(|e| self.io()(e.error))?;
        self.state().readable.clone_from(&self.path);
        Ok(())
    }
}
