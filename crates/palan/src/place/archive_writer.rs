//! Writing archives: blobs are spooled into a temporary folder next to the destination, at the same time as they come;
//! [`Target::finish`] writes them into a tar, in the order of the graph, and gives it its name. A failed pull leaves no
//! file, and the same images make the same bytes, whatever came first.
//!
//! A docker archive is written with an OCI layout inside, as Docker 25 does, so that digests survive the way through it.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use palan_core::{Descriptor, Digest, Document, Kind, MediaType, Reference, Selector, annotation, view};
use serde_json::{Map, Value, json};

use super::{
    BlobStream, Format, Origin, PutAs, Source, Target,
    archive::open_span,
    index_json::add_entry,
    new_file::{NewFile, destination, folder_for, is_special},
    roots::{Roots, full_name},
    tar_index::{Span, member_header},
    verified,
};
use crate::{Error, Scratch, cancel::on_thread};

/// How much is moved into an archive at once.
const STEP: u64 = 16 << 20;

/// An archive to write.
pub struct ArchiveWriter {
    path: PathBuf,
    format: Format,
    scratch: Scratch,
    /// Held for moments only.
    state: Mutex<State>,
}

/// The tar while it is written.
struct Output {
    file: NewFile,
    path: PathBuf,
    end: u64,
    members: HashMap<Digest, Span>,
}

struct State {
    /// Where blobs wait, each in a file of its own. `None`: the archive is finished.
    spool: Option<tempfile::TempDir>,
    /// Where what has been stored can be read: in the spool, in the end in the archive.
    blobs: HashMap<Digest, (PathBuf, Span)>,
    roots: Roots,
}

impl ArchiveWriter {
    /// Begins an archive that will replace `path` when it is finished. A symbolic link is followed; to a device or a pipe
    /// the archive is written when it is finished.
    pub fn create(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        Self::create_with(path, format, Scratch::default())
    }

    /// As [`ArchiveWriter::create`]; what goes to a device or a pipe waits in `scratch`.
    pub fn create_with(path: impl Into<PathBuf>, format: Format, scratch: Scratch) -> Result<Self, Error> {
        let path = destination(&path.into())?;
        let spool = tempfile::Builder::new().prefix(".palan-").tempdir_in(folder_for(&path, &scratch));
        let spool = spool.and_then(|folder| scratch.note(folder));
        let state = State {
            spool: Some(spool.map_err(Error::io("write", &path))?),
            blobs: HashMap::new(),
            roots: Roots::default(),
        };
        Ok(Self { path, format, scratch, state: Mutex::new(state) })
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

    /// A new file in the spool.
    fn spool(&self) -> Result<tempfile::NamedTempFile, Error> {
        let state = self.state();
        let folder = state.spool.as_ref().ok_or_else(|| self.finished())?.path();
        tempfile::NamedTempFile::new_in(folder).map_err(self.io())
    }

    /// Keeps a file of the spool as the blob that it is.
    fn keep(&self, file: tempfile::NamedTempFile, blob: &Descriptor) -> Result<(), Error> {
        let mut state = self.state();
        let folder = state.spool.as_ref().ok_or_else(|| self.finished())?.path();
        let path = folder.join(blob.digest.hex());
        file.persist(&path).map_err(|e| self.io()(e.error))?;
        state.blobs.insert(blob.digest, (path, Span { start: 0, length: blob.size }));
        Ok(())
    }

    /// How a name is written into the archive: Docker only loads full names with a tag.
    fn written_name(&self, name: &str) -> Result<String, Error> {
        match self.format {
            Format::Oci => Ok(name.to_owned()),
            Format::Docker => full_name(name, &self.name()),
        }
    }

    /// Docker's list names members: each must be there, non-distributable layers too.
    fn check_complete(&self, document: &Document) -> Result<(), Error> {
        if self.format == Format::Oci || document.kind() != Kind::Manifest {
            return Ok(());
        }
        let (manifest, state) = (document.view::<view::Manifest>()?, self.state());
        match manifest.layers.iter().find(|layer| !state.blobs.contains_key(&layer.digest)) {
            Some(layer) => {
                let reason = format!(
                    "the layer {} is not there, and a docker archive must hold every layer",
                    layer.digest
                );
                Err(Error::Malformed { place: self.name(), reason })
            }
            None => Ok(()),
        }
    }

    fn index(&self, state: &State) -> Result<Map<String, Value>, Error> {
        let mut index = Map::new();
        index.insert("schemaVersion".into(), json!(2));
        index.insert("mediaType".into(), json!(MediaType::OCI_INDEX));
        index.insert("manifests".into(), json!([]));
        for (name, document) in state.roots.entries() {
            add_entry(&mut index, document, name, None, &self.name())?;
        }
        if self.format == Format::Docker {
            split_names(&mut index);
        }
        Ok(index)
    }

    /// Docker's own list of what the archive holds.
    fn docker_manifest(state: &State) -> Result<Value, Error> {
        let mut images = Vec::new();
        for (digest, names) in state.roots.images() {
            let Some(document) = state.roots.get(digest) else { continue };
            let manifest: view::Manifest = document.view()?;
            let layers: Vec<String> = manifest.layers.iter().map(|l| blob_name(l.digest)).collect();
            let config = blob_name(manifest.config.digest);
            images.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
        }
        Ok(images.into())
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
    /// Everything, in the order of the graph; what no root names comes last.
    fn in_order(&self) -> Vec<(Digest, PathBuf, Span)> {
        let mut rest: Vec<Digest> = self.blobs.keys().copied().collect();
        rest.sort();
        let found = self.roots.in_order(rest).into_iter().filter_map(|d| Some((d, self.blobs.get(&d)?)));
        found.map(|(digest, (path, span))| (digest, path.clone(), *span)).collect()
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
        self.state().roots.select(selector, &self.name())
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let state = self.state();
        let missing = || Error::NotFound { name: blob.digest.to_string(), place: self.name() };
        let (path, span) = state.blobs.get(&blob.digest).ok_or_else(missing)?;
        open_span(path, *span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.state().blobs.get(&blob.digest).is_some_and(|(_, span)| span.length == blob.size))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.state().roots.names())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(self.state().roots.referrers(digest, artifact_type))
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

#[async_trait]
impl Target for ArchiveWriter {
    fn accepts(&self, root: &Document) -> Result<(), Error> {
        self.format.accepts(root)
    }

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        if self.has(blob).await? {
            return Ok(());
        }
        let mut file = self.spool()?;
        let mut content = verified(from.name(), blob, from.open(blob, 0).await?);
        while let Some(piece) = content.next().await {
            file.write_all(&piece?).map_err(self.io())?;
        }
        self.keep(file, blob)
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        self.accepts(document)?;
        let name = role.tag().map(|tag| self.written_name(tag)).transpose()?;
        self.state().roots.check(role, &self.name())?;
        self.check_complete(document)?;
        if !self.has(&document.descriptor()).await? {
            let mut file = self.spool()?;
            file.write_all(document.bytes()).map_err(self.io())?;
            self.keep(file, &document.descriptor())?;
        }
        self.state().roots.put(document, role, name);
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        let (members, index, docker) = {
            let state = self.state();
            state.spool.as_ref().ok_or_else(|| self.finished())?;
            let docker = (self.format == Format::Docker).then(|| Self::docker_manifest(&state));
            (state.in_order(), Value::Object(self.index(&state)?), docker.transpose()?)
        };
        let mut output = Output::create(&self.path, &self.scratch)?;
        for (digest, path, span) in members {
            output.file(digest, &path, span.length).await?;
        }
        output.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if let Some(docker) = docker {
            output.bytes("manifest.json", docker.to_string().as_bytes())?;
        }
        // Last: an archive that was cut anywhere has none.
        output.bytes("index.json", index.to_string().as_bytes())?;
        let members = output.finish().await?;
        let mut state = self.state();
        state.blobs = members.into_iter().map(|(digest, span)| (digest, (self.path.clone(), span))).collect();
        state.spool = None;
        Ok(())
    }
}

impl Output {
    fn create(path: &Path, scratch: &Scratch) -> Result<Self, Error> {
        let file = NewFile::create(path, scratch)?;
        Ok(Self { file, path: path.to_owned(), end: 0, members: HashMap::new() })
    }

    fn io(&self) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io("write", self.path.clone())
    }

    fn start(&mut self, name: &str, size: u64) -> Result<Span, Error> {
        let header = member_header(name, size);
        self.file.file().write_all(&header).map_err(self.io())?;
        let span = Span { start: self.end + header.len() as u64, length: size };
        self.end = span.start + size;
        Ok(span)
    }

    fn pad(&mut self) -> Result<(), Error> {
        let padding = self.end.next_multiple_of(512) - self.end;
        self.file.file().write_all(&[0; 512][..usize::try_from(padding).unwrap_or(0)]).map_err(self.io())?;
        self.end += padding;
        Ok(())
    }

    /// Moves a file in, as the blob that it is.
    async fn file(&mut self, digest: Digest, path: &Path, size: u64) -> Result<(), Error> {
        let span = self.start(&blob_name(digest), size)?;
        let content = File::open(path).map_err(Error::io("read", path))?;
        let mut left = size;
        while left > 0 {
            let mut piece = (&content).take(left.min(STEP));
            let copied = std::io::copy(&mut piece, &mut self.file.file()).map_err(self.io())?;
            if copied == 0 {
                return Err(Error::io("read", path)(std::io::ErrorKind::UnexpectedEof.into()));
            }
            left -= copied;
            // So that Ctrl-C is noticed.
            tokio::task::yield_now().await;
        }
        self.members.insert(digest, span);
        // What is in the archive need not be on the disk twice.
        let _ = std::fs::remove_file(path);
        self.pad()
    }

    fn bytes(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.start(name, content.len() as u64)?;
        self.file.file().write_all(content).map_err(self.io())?;
        self.pad()
    }

    /// Where the members are; nowhere, if what was written to is gone through a pipe.
    async fn finish(self) -> Result<HashMap<Digest, Span>, Error> {
        self.file.file().write_all(&[0; 1024]).map_err(self.io())?;
        if !is_special(&self.path) {
            self.file.publish()?;
            return Ok(self.members);
        }
        let publish = || self.file.publish();
        on_thread(publish).await??;
        Ok(HashMap::new())
    }
}
