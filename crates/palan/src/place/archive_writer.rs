//! Writing archives: blobs are spooled into a temporary folder next to the destination, at the same time as they come;
//! [`Target::finish`] writes them into a tar, in the order of the graph, and gives it its name. A failed pull leaves no
//! file, and the same images make the same bytes, whatever came first.
//!
//! A docker archive is written with an OCI layout inside, as Docker 25 does, so that digests survive the way through it.

use std::{
    collections::{HashMap, HashSet},
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
    index_json::{add_entry, same_name},
    memory::{check_role, referrers_among},
    new_file::{NewFile, destination, folder_for, is_special},
    tar_index::{Span, member_header},
    verified,
};
use crate::{Error, cancel::on_thread};

/// How much is moved into an archive at once.
const STEP: u64 = 16 << 20;

/// An archive to write.
pub struct ArchiveWriter {
    path: PathBuf,
    format: Format,
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
    documents: HashMap<Digest, Document>,
    /// In the order they were put; a name belongs to the last one that asked for it.
    roots: Vec<(Option<String>, Digest)>,
}

impl ArchiveWriter {
    /// Begins an archive that will replace `path` when it is finished. A symbolic link is followed; to a device or a pipe
    /// the archive is written when it is finished.
    pub fn create(path: impl Into<PathBuf>, format: Format) -> Result<Self, Error> {
        let path = destination(&path.into())?;
        let spool = tempfile::Builder::new().prefix(".palan-").tempdir_in(folder_for(&path));
        let state = State {
            spool: Some(spool.map_err(Error::io("write", &path))?),
            blobs: HashMap::new(),
            documents: HashMap::new(),
            roots: Vec::new(),
        };
        Ok(Self { path, format, state: Mutex::new(state) })
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
        for (name, digest) in &state.roots {
            let Some(document) = state.documents.get(digest) else { continue };
            add_entry(&mut index, document, name.as_deref(), None, &self.name())?;
        }
        if self.format == Format::Docker {
            split_names(&mut index);
        }
        Ok(index)
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

/// What a walk has found so far: each digest once, what is named before what names it.
#[derive(Default)]
struct Order {
    seen: HashSet<Digest>,
    list: Vec<Digest>,
}

impl Order {
    fn add(&mut self, digest: Digest, documents: &HashMap<Digest, Document>) {
        if !self.seen.insert(digest) {
            return;
        }
        if let Some(document) = documents.get(&digest) {
            let manifest =
                document.view::<view::Manifest>().ok().filter(|_| document.kind() == Kind::Manifest);
            let index = document.view::<view::Index>().ok().filter(|_| document.kind() == Kind::Index);
            let blobs = manifest.into_iter().flat_map(|m| std::iter::once(m.config).chain(m.layers));
            let entries = index.into_iter().flat_map(|i| i.manifests);
            blobs.chain(entries).for_each(|named| self.add(named.digest, documents));
        }
        self.list.push(digest);
    }
}

impl State {
    /// Everything, in the order of the graph; what no root names comes last.
    fn in_order(&self) -> Vec<(Digest, PathBuf, Span)> {
        let mut rest: Vec<Digest> = self.blobs.keys().copied().collect();
        rest.sort();
        let mut order = Order::default();
        for digest in self.roots.iter().map(|(_, digest)| *digest).chain(rest) {
            order.add(digest, &self.documents);
        }
        let found = order.list.into_iter().filter_map(|d| Some((d, self.blobs.get(&d)?)));
        found.map(|(digest, (path, span))| (digest, path.clone(), *span)).collect()
    }

    fn find(&self, name: &str) -> Option<Digest> {
        let named = |n: &Option<String>| n.as_deref().is_some_and(|n| same_name(n, name));
        self.roots.iter().find(|(n, _)| named(n)).map(|(_, digest)| *digest)
    }
}

/// Puts a root. A name belongs to the last one that asked for it; who had it before stays, without a name.
pub(super) fn put_root(roots: &mut Vec<(Option<String>, Digest)>, name: Option<String>, digest: Digest) {
    if let Some(new) = &name {
        for (old, other) in roots.iter_mut() {
            if *other != digest && old.as_deref().is_some_and(|old| same_name(old, new)) {
                *old = None;
            }
        }
    }
    if !roots.contains(&(name.clone(), digest)) {
        roots.push((name, digest));
    }
    let named: HashSet<Digest> = roots.iter().filter(|(n, _)| n.is_some()).map(|(_, d)| *d).collect();
    let mut unnamed = HashSet::new();
    roots.retain(|(name, digest)| name.is_some() || (!named.contains(digest) && unnamed.insert(*digest)));
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
        let (path, span) = state.blobs.get(&blob.digest).ok_or_else(missing)?;
        open_span(path, *span, offset, blob, self.name())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.state().blobs.get(&blob.digest).is_some_and(|(_, span)| span.length == blob.size))
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
        let digest = document.digest();
        check_role(&self.name(), role, role.tag().and_then(|tag| self.state().find(tag)))?;
        self.check_complete(document)?;
        if !self.has(&document.descriptor()).await? {
            let mut file = self.spool()?;
            file.write_all(document.bytes()).map_err(self.io())?;
            self.keep(file, &document.descriptor())?;
        }
        let mut state = self.state();
        state.documents.insert(digest, document.clone());
        if *role != PutAs::Child {
            put_root(&mut state.roots, name, digest);
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        let (members, index, docker) = {
            let state = self.state();
            state.spool.as_ref().ok_or_else(|| self.finished())?;
            let docker = (self.format == Format::Docker).then(|| Self::docker_manifest(&state));
            (state.in_order(), Value::Object(self.index(&state)?), docker.transpose()?)
        };
        let mut output = Output::create(&self.path)?;
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
    fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self { file: NewFile::create(path)?, path: path.to_owned(), end: 0, members: HashMap::new() })
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
