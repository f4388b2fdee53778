//! Writing docker archives in the layout of Docker's first years ("v1"), for programs that read nothing newer: a folder
//! for each layer with `layer.tar` (uncompressed), `json` and `VERSION`, and the file `repositories`. The
//! `manifest.json` of later versions is there too, so that `docker load` of today, skopeo and [`Archive`](super::Archive)
//! read it.
//!
//! Source: moby `image/spec/v1.md` and `v1.2.md`. Digests do not survive: layers are stored uncompressed and manifests
//! not at all. The same images give the same bytes, ids included.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use palan_core::{
    Algorithm, Descriptor, Digest, Document, Kind as DocumentKind, MAX_DOCUMENT_SIZE, Reference, Role,
    Selector, view,
};
use palan_layer::{
    Decoder, HashingReader,
    tar::{Meta, Writer},
};
use serde_json::{Map, Value, json};
use tempfile::{NamedTempFile, TempPath};

use super::{
    BlobStream, Origin, PutAs, Source, Target,
    archive_writer::put_root,
    index_json::same_name,
    memory::check_role,
    new_file::{NewFile, destination, folder_for},
    read_all, verified, with_reader,
};
use crate::{
    Error, Scratch,
    cancel::{self, Cancelled, blocking},
};

/// An archive to write, visible after [`Target::finish`].
pub struct LegacyWriter {
    path: PathBuf,
    scratch: Scratch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Layers, uncompressed, by the digest that they are stored under where they come from.
    layers: HashMap<Digest, Layer>,
    configs: HashMap<Digest, Bytes>,
    documents: HashMap<Digest, Document>,
    /// In the order they were put; a name belongs to the last one that asked for it.
    roots: Vec<(Option<String>, Digest)>,
    finished: bool,
}

struct Layer {
    file: TempPath,
    size: u64,
    diff_id: Digest,
}

/// One image, as the archive will hold it.
struct Image {
    names: Vec<String>,
    config: Bytes,
    config_name: String,
    layers: Vec<Step>,
}

struct Step {
    id: String,
    parent: Option<String>,
    blob: Digest,
    diff_id: Digest,
}

impl LegacyWriter {
    /// Begins an archive that will replace `path` when it is finished, as those of the other formats do.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::create_with(path, Scratch::default())
    }

    /// As [`LegacyWriter::create`]; what goes to a device or a pipe waits in `scratch`.
    pub fn create_with(path: impl Into<PathBuf>, scratch: Scratch) -> Result<Self, Error> {
        let path = destination(&path.into())?;
        // A destination that cannot be written is noticed before anything is pulled.
        drop(temporary(&path, &scratch)?);
        Ok(Self { path, scratch, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn layer(&self, blob: &Descriptor, from: &dyn Source) -> Result<Layer, Error> {
        let content = verified(from.name(), blob, from.open(blob, 0).await?);
        let file = temporary(&self.path, &self.scratch)?;
        let path = self.path.clone();
        let (digest, place) = (blob.digest, from.name());
        with_reader(content, move |reader| {
            let unreadable = |source| Error::Layer { digest, place: place.clone(), source };
            let decoder = Decoder::new(reader).map_err(&unreadable)?;
            let mut raw = HashingReader::new(decoder, Algorithm::Sha256);
            let mut out = BufWriter::with_capacity(128 * 1024, file.as_file());
            copy(&mut raw, &mut out, &path, |e| unreadable(e.into()))?;
            out.flush().map_err(Error::io("write", &path))?;
            drop(out);
            let (diff_id, size, _) = raw.finish();
            // Closed until it is its turn: an image may have more layers than a process may have open files.
            Ok(Layer { file: file.into_temp_path(), size, diff_id })
        })
        .await?
    }
}

/// Copies, telling which side failed.
fn copy(
    from: &mut impl io::Read,
    to: &mut impl io::Write,
    path: &Path,
    unreadable: impl FnOnce(io::Error) -> Error,
) -> Result<(), Error> {
    let mut piece = vec![0; 128 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&piece[..n]).map_err(Error::io("write", path))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e)),
        }
    }
}

/// A file beside the archive.
fn temporary(path: &Path, scratch: &Scratch) -> Result<NamedTempFile, Error> {
    let file = tempfile::Builder::new().prefix(".palan-").tempfile_in(folder_for(path, scratch));
    file.map_err(Error::io("write", path))
}

/// Refuses what is not one image.
fn single(root: &Document) -> Result<(), Error> {
    let manifest = || root.view::<view::Manifest>().ok();
    let found = match root.kind() {
        DocumentKind::Manifest if manifest().is_some_and(|m| m.is_image()) => return Ok(()),
        DocumentKind::Index => "an image index",
        _ => "an artifact",
    };
    Err(Error::WrongKind {
        image: root.digest().to_string(),
        found: found.into(),
        wanted: "one image (a docker archive holds single images: choose a platform)",
    })
}

/// Docker loads full names with a tag only.
fn full_name(name: &str, place: &str) -> Result<String, Error> {
    let bad = |reason: String| Error::Malformed {
        place: place.to_owned(),
        reason: format!("\"{name}\" cannot be an image's name in it: {reason}"),
    };
    let reference: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
    reference.base_name().ok_or_else(|| bad("it has no tag".into()))
}

impl State {
    fn find(&self, name: &str) -> Option<Digest> {
        let named = |n: &Option<String>| n.as_deref().is_some_and(|n| same_name(n, name));
        self.roots.iter().find(|(n, _)| named(n)).map(|(_, digest)| *digest)
    }

    /// The images, each once, with all of its names.
    fn images(&self) -> Result<Vec<Image>, Error> {
        let mut order: Vec<Digest> = Vec::new();
        for (_, digest) in &self.roots {
            if !order.contains(digest) {
                order.push(*digest);
            }
        }
        order.into_iter().map(|digest| self.image(digest)).collect()
    }

    fn image(&self, digest: Digest) -> Result<Image, Error> {
        let invalid = |reason| Error::InvalidImage { image: digest.to_string(), reason };
        let document =
            self.documents.get(&digest).ok_or_else(|| invalid("its manifest is missing".to_owned()))?;
        let manifest: view::Manifest = document.view()?;
        let config = self.configs.get(&manifest.config.digest).cloned();
        let config = config.ok_or_else(|| invalid("its config is missing".to_owned()))?;
        let parsed: view::Config =
            serde_json::from_slice(&config).map_err(|e| invalid(format!("its config: {e}")))?;
        let (count, ids) = (manifest.layers.len(), parsed.rootfs.diff_ids);
        if count != ids.len() {
            return Err(invalid(format!(
                "the manifest lists {count} layers, the config {} diff IDs",
                ids.len()
            )));
        }
        let mut layers: Vec<Step> = Vec::new();
        for (n, (layer, diff_id)) in manifest.layers.iter().zip(ids).enumerate() {
            let held = self
                .layers
                .get(&layer.digest)
                .ok_or_else(|| Error::NotHere { digest: layer.digest, place: "the archive".to_owned() })?;
            if held.diff_id != diff_id {
                let source = palan_layer::Error::DiffId { expected: diff_id, found: held.diff_id };
                return Err(Error::Layer { digest: layer.digest, place: digest.to_string(), source });
            }
            let parent = layers.last().map(|step| step.id.clone());
            let top = (n + 1 == count).then_some(manifest.config.digest);
            layers.push(Step {
                id: id(parent.as_deref(), diff_id, top),
                parent,
                blob: layer.digest,
                diff_id,
            });
        }
        let names = self.roots.iter().filter(|(_, d)| *d == digest).filter_map(|(name, _)| name.clone());
        let config_name = format!("{}.json", manifest.config.digest.hex());
        Ok(Image { names: names.collect(), config, config_name, layers })
    }
}

/// The id of a layer says what is below it and, of an image's last one, with which config it runs.
fn id(parent: Option<&str>, diff_id: Digest, config: Option<Digest>) -> String {
    let config = config.map(|digest| digest.to_string()).unwrap_or_default();
    let text = format!("{} {diff_id} {config}", parent.unwrap_or_default());
    Digest::sha256(text.as_bytes()).hex().to_string()
}

/// What `json` says about a layer. That of an image's last layer is the image's config, without what only came later.
fn layer_json(step: &Step, config: Option<&Bytes>) -> Value {
    let mut json = match config.and_then(|config| serde_json::from_slice(config).ok()) {
        Some(Value::Object(config)) => config,
        _ => Map::from_iter([("created".to_owned(), json!("1970-01-01T00:00:00Z"))]),
    };
    json.shift_remove("rootfs");
    json.shift_remove("history");
    json.insert("id".into(), json!(step.id));
    if let Some(parent) = &step.parent {
        json.insert("parent".into(), json!(parent));
    }
    Value::Object(json)
}

/// `repositories`: the last layer of each name, by repository and tag.
fn repositories(images: &[Image]) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut out: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for image in images {
        let Some(top) = image.layers.last() else { continue };
        for name in &image.names {
            if let Some((repository, tag)) = name.rsplit_once(':') {
                out.entry(repository).or_default().insert(tag, &top.id);
            }
        }
    }
    out
}

/// An archive on its way to the disk.
struct Output<'a> {
    tar: Writer<BufWriter<cancel::Writer<&'a File>>>,
    path: &'a Path,
    /// Folders that are there.
    written: HashSet<String>,
    /// Where each layer's content is, by diff ID: two images may compress one layer differently.
    content: HashMap<Digest, String>,
}

impl Output<'_> {
    fn unwritten(&self) -> impl FnOnce(palan_layer::Error) -> Error + use<> {
        let path = self.path.to_owned();
        move |error| Error::io("write", path)(error.into())
    }

    fn bytes(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let written = self.tar.bytes(name, &Meta::FILE, content);
        written.map_err(self.unwritten())
    }

    fn image(&mut self, image: &Image, layers: &mut HashMap<Digest, Layer>) -> Result<(), Error> {
        let last = image.layers.len().saturating_sub(1);
        for (n, step) in image.layers.iter().enumerate() {
            if self.written.insert(step.id.clone()) {
                self.bytes(&format!("{}/VERSION", step.id), b"1.0")?;
                let json = layer_json(step, (n == last).then_some(&image.config));
                self.bytes(&format!("{}/json", step.id), json.to_string().as_bytes())?;
                self.layer(step, layers)?;
            }
        }
        if self.written.insert(image.config_name.clone()) {
            self.bytes(&image.config_name, &image.config)?;
        }
        Ok(())
    }

    /// The content, once; other layers with the same content are links to it.
    fn layer(&mut self, step: &Step, layers: &mut HashMap<Digest, Layer>) -> Result<(), Error> {
        let name = format!("{}/layer.tar", step.id);
        if let Some(first) = self.content.get(&step.diff_id) {
            let linked = self.tar.symlink(&name, format!("../{first}"), &Meta::LINK);
            return linked.map_err(self.unwritten());
        }
        // Taken out, so that its temporary file goes as soon as it is copied.
        let Some(layer) = layers.remove(&step.blob) else { return Ok(()) };
        let file = File::open(&layer.file).map_err(Error::io("read", &*layer.file))?;
        let written = self.tar.file(&name, &Meta::FILE, layer.size, file);
        written.map_err(self.unwritten())?;
        self.content.insert(step.diff_id, name);
        Ok(())
    }
}

fn write(mut state: State, path: &Path, scratch: &Scratch, cancelled: &Cancelled) -> Result<(), Error> {
    let images = state.images()?;
    let file = NewFile::create(path, scratch)?;
    write_members(&images, &mut state.layers, cancelled.writer(file.file()), path)?;
    cancelled.check().map_err(|_| Error::Cancelled)?;
    file.publish()
}

fn write_members(
    images: &[Image],
    layers: &mut HashMap<Digest, Layer>,
    file: cancel::Writer<&File>,
    path: &Path,
) -> Result<(), Error> {
    let tar = Writer::new(BufWriter::with_capacity(128 * 1024, file));
    let mut out = Output { tar, path, written: HashSet::new(), content: HashMap::new() };
    for image in images {
        out.image(image, layers)?;
    }
    out.bytes("repositories", json!(repositories(images)).to_string().as_bytes())?;
    let list = images.iter().map(|image| {
        let layers: Vec<_> = image.layers.iter().map(|step| out.content.get(&step.diff_id)).collect();
        json!({"Config": image.config_name, "RepoTags": image.names, "Layers": layers})
    });
    let list: Vec<Value> = list.collect();
    // Last: an archive that was cut anywhere has none.
    out.bytes("manifest.json", json!(list).to_string().as_bytes())?;
    let unwritten = out.unwritten();
    let mut buffer = out.tar.finish().map_err(unwritten)?;
    buffer.flush().map_err(Error::io("write", path))
}

#[async_trait]
impl Source for LegacyWriter {
    fn name(&self) -> String {
        format!("docker-archive:{}", self.path.display())
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

    /// Layers are not kept as they were stored.
    async fn open(&self, blob: &Descriptor, _offset: u64) -> Result<BlobStream, Error> {
        Err(Error::NotFound { name: blob.digest.to_string(), place: self.name() })
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let state = self.state();
        Ok(state.layers.contains_key(&blob.digest) || state.configs.contains_key(&blob.digest))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.state().roots.iter().filter_map(|(name, _)| name.clone()).collect())
    }

    async fn referrers(&self, _: Digest, _: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }

    fn origin(&self, _digest: Digest) -> Origin {
        Origin::Opaque
    }
}

#[async_trait]
impl Target for LegacyWriter {
    fn accepts(&self, root: &Document) -> Result<(), Error> {
        single(root)
    }

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        if matches!(blob.media_type.role(), Role::Config) && blob.size <= MAX_DOCUMENT_SIZE {
            let content = read_all(verified(from.name(), blob, from.open(blob, 0).await?)).await?;
            self.state().configs.insert(blob.digest, content);
            return Ok(());
        }
        let layer = self.layer(blob, from).await?;
        self.state().layers.insert(blob.digest, layer);
        Ok(())
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        self.accepts(document)?;
        let name = role.tag().map(|tag| full_name(tag, &self.name())).transpose()?;
        let mut state = self.state();
        check_role(&self.name(), role, role.tag().and_then(|tag| state.find(tag)))?;
        let digest = document.digest();
        state.documents.insert(digest, document.clone());
        if *role != PutAs::Child {
            put_root(&mut state.roots, name, digest);
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        let state = std::mem::replace(&mut *self.state(), State { finished: true, ..State::default() });
        if state.finished {
            let reason = "was written after it was finished".into();
            return Err(Error::Malformed { place: self.name(), reason });
        }
        let (path, scratch) = (self.path.clone(), self.scratch.clone());
        blocking(move |cancelled| write(state, &path, &scratch, cancelled)).await
    }
}
