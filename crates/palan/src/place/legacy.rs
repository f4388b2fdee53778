//! Writing docker archives in the layout of Docker's first years ("v1"), for programs that read nothing newer: a folder
//! for each layer with `layer.tar` (uncompressed), `json` and `VERSION`, and the file `repositories`. The
//! `manifest.json` of later versions is there too, so that `docker load` of today, skopeo and [`Archive`](super::Archive)
//! read it.
//!
//! Source: moby `image/spec/v1.md` and `v1.2.md`. Digests do not survive: layers are stored uncompressed and manifests
//! not at all. The same images give the same bytes, ids included.

mod members;

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use palan_core::{
    Algorithm, Descriptor, Digest, Document, Kind as DocumentKind, MAX_DOCUMENT_SIZE, Role, Selector, view,
};
use palan_layer::{Decoder, HashingReader};
use tempfile::NamedTempFile;

use self::members::{Image, Layer, Step, id};
use super::{
    BlobStream, Origin, PutAs, Source, Target,
    new_file::{NewFile, destination, folder_for},
    read_all,
    roots::{Roots, full_name},
    verified, with_reader,
};
use crate::{
    Error, Scratch,
    cancel::{Cancelled, blocking},
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
    roots: Roots,
    finished: bool,
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
            copy(&mut raw, &mut out, Error::io("write", &path), |e| unreadable(e.into()))?;
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
pub(super) fn copy(
    from: &mut impl io::Read,
    to: &mut impl io::Write,
    unwritten: impl FnOnce(io::Error) -> Error,
    unreadable: impl FnOnce(io::Error) -> Error,
) -> Result<(), Error> {
    let mut piece = vec![0; 128 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                if let Err(e) = to.write_all(&piece[..n]) {
                    return Err(unwritten(e));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e)),
        }
    }
}

/// A file beside the archive.
fn temporary(path: &Path, scratch: &Scratch) -> Result<NamedTempFile, Error> {
    let file = tempfile::Builder::new().prefix(".palan-").tempfile_in(folder_for(path, scratch));
    file.and_then(|file| scratch.note(file)).map_err(Error::io("write", path))
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

impl State {
    /// The images, each once, with all of its names.
    fn images(&self) -> Result<Vec<Image>, Error> {
        self.roots.images().into_iter().map(|(digest, names)| self.image(digest, names)).collect()
    }

    fn image(&self, digest: Digest, names: Vec<String>) -> Result<Image, Error> {
        let invalid = |reason| Error::InvalidImage { image: digest.to_string(), reason };
        let document = self.roots.get(digest).ok_or_else(|| invalid("its manifest is missing".to_owned()))?;
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
        let config_name = format!("{}.json", manifest.config.digest.hex());
        Ok(Image { names, config, config_name, layers })
    }
}

fn write(mut state: State, path: &Path, scratch: &Scratch, cancelled: &Cancelled) -> Result<(), Error> {
    let images = state.images()?;
    let file = NewFile::create(path, scratch)?;
    members::write(&images, &mut state.layers, cancelled.writer(file.file()), path)?;
    cancelled.check().map_err(|_| Error::Cancelled)?;
    file.publish()
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
        self.state().roots.select(selector, &self.name())
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
        Ok(self.state().roots.names())
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
        state.roots.check(role, &self.name())?;
        state.roots.put(document, role, name);
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
