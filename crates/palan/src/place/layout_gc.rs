//! Garbage collection of a layout: blobs that nothing in `index.json` leads to.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use palan_core::{Algorithm, Descriptor, Digest, MAX_DOCUMENT_SIZE, MediaType, Role, Verifier, view};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::layout::{Layout, TEMPORARY};
use crate::Error;

/// How old a temporary file must be to be taken for what an interrupted write left.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// What was, or would be, removed from a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Blobs that nothing leads to, with their sizes in bytes, in the order of their digests.
    pub blobs: BTreeMap<Digest, u64>,
    /// What interrupted writes left.
    pub temporary: BTreeSet<PathBuf>,
    /// Bytes of all these files.
    pub bytes: u64,
    /// How many blobs stay.
    pub kept: usize,
}

impl Layout {
    /// Removes the blobs that nothing in `index.json` leads to, and temporary files that were abandoned an hour ago;
    /// with `dry_run`, only says which.
    ///
    /// Everything stays that an entry leads to, over indexes, manifests, configs, layers and subjects; and manifests that
    /// have as their subject what stays. Of content of unknown type, every digest that it holds is taken for a
    /// reference. A manifest or index that is damaged is an error, for nobody can know what it led to; one that is
    /// missing is not.
    ///
    /// Fails with [`Error::Busy`] while a [`Layout`] that was opened for writing exists, in this process or another.
    pub fn collect_garbage(&self, dry_run: bool) -> Result<Garbage, Error> {
        let _alone = if dry_run { None } else { self.alone()? };
        let mut marks = Marks { layout: self, reached: BTreeSet::new(), seen: HashSet::new() };
        marks.mark(self.entries()?.iter().map(|e| (e.digest, e.media_type.clone())).collect())?;
        let (blobs, temporary) = self.files()?;
        marks.referrers(&blobs)?;
        let mut garbage = Garbage { kept: blobs.len(), ..Garbage::default() };
        for (digest, size) in blobs.into_iter().filter(|(digest, _)| !marks.reached.contains(digest)) {
            garbage.kept -= 1;
            garbage.bytes += size;
            remove(&self.blob_path(digest), dry_run)?;
            garbage.blobs.insert(digest, size);
        }
        for (path, size) in temporary {
            garbage.bytes += size;
            remove(&path, dry_run)?;
            garbage.temporary.insert(path);
        }
        Ok(garbage)
    }

    /// Keeps garbage collection away as long as this handle lives; waits for one that is under way. Where folders cannot
    /// be opened as files (Windows), nothing does.
    pub(super) fn hold(&self) -> Result<(), Error> {
        if self.lease.get().is_some() {
            return Ok(());
        }
        let Ok(folder) = File::open(&self.root) else { return Ok(()) };
        folder.lock_shared().map_err(Error::io("lock", &self.root))?;
        let _ = self.lease.set(folder);
        Ok(())
    }

    /// Keeps writers away as long as the file is open; `None` where folders cannot be locked.
    fn alone(&self) -> Result<Option<File>, Error> {
        let Ok(folder) = File::open(self.path()) else { return Ok(None) };
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { place: super::Source::name(self) }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", self.path())(error)),
        }
    }

    /// All blobs, and abandoned temporary files, with their sizes.
    fn files(&self) -> Result<(Sizes<Digest>, Sizes<PathBuf>), Error> {
        let (mut blobs, mut temporary) = (BTreeMap::new(), BTreeMap::new());
        let folders = Algorithm::ALL.map(|a| (Some(a), self.path().join("blobs").join(a.as_str())));
        for (algorithm, folder) in folders.into_iter().chain([(None, self.path().to_owned())]) {
            for (name, path, metadata) in list(&folder)? {
                let digest = algorithm.and_then(|a| format!("{a}:{name}").parse().ok());
                if let Some(digest) = digest {
                    blobs.insert(digest, metadata.len());
                } else if name.starts_with(TEMPORARY) && is_abandoned(&metadata) {
                    temporary.insert(path, metadata.len());
                }
            }
        }
        Ok((blobs, temporary))
    }
}

/// The files of a folder; a folder that does not exist has none.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf, fs::Metadata)>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", folder)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        let metadata = entry.metadata().map_err(Error::io("read", entry.path()))?;
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            files.push((name, entry.path(), metadata));
        }
    }
    Ok(files)
}

fn is_abandoned(metadata: &fs::Metadata) -> bool {
    metadata.modified().ok().and_then(|t| t.elapsed().ok()).is_some_and(|age| age > ABANDONED)
}

fn remove(path: &Path, dry_run: bool) -> Result<(), Error> {
    if dry_run {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// What has which size, in bytes.
type Sizes<K> = BTreeMap<K, u64>;

type Named = Vec<(Digest, MediaType)>;

struct Marks<'a> {
    layout: &'a Layout,
    reached: BTreeSet<Digest>,
    /// What one document calls a layer, another may call a manifest.
    seen: HashSet<(Digest, MediaType)>,
}

impl Marks<'_> {
    fn mark(&mut self, mut todo: Named) -> Result<(), Error> {
        while let Some((digest, media_type)) = todo.pop() {
            if self.seen.insert((digest, media_type.clone())) {
                self.reached.insert(digest);
                todo.extend(self.named(digest, &media_type)?);
            }
        }
        Ok(())
    }

    /// What a blob names.
    fn named(&self, digest: Digest, media_type: &MediaType) -> Result<Named, Error> {
        let of = |d: Descriptor| (d.digest, d.media_type);
        match media_type.role() {
            Role::Config | Role::Layer { .. } => Ok(Vec::new()),
            Role::Index => {
                let Some(index) = self.document::<view::Index>(digest)? else { return Ok(Vec::new()) };
                Ok(index.manifests.into_iter().chain(index.subject).map(of).collect())
            }
            Role::Manifest => {
                let Some(manifest) = self.document::<view::Manifest>(digest)? else { return Ok(Vec::new()) };
                let config = std::iter::once(manifest.config);
                Ok(config.chain(manifest.layers).chain(manifest.subject).map(of).collect())
            }
            Role::LegacyManifest | Role::Other => {
                let mut found = Vec::new();
                if let Some(json) = self.small(digest)?.and_then(|text| serde_json::from_slice(&text).ok()) {
                    digests(&json, &mut found);
                }
                Ok(found.into_iter().map(|digest| (digest, MediaType::new(""))).collect())
            }
        }
    }

    /// A manifest or index that must be sound, where it is there.
    fn document<T: DeserializeOwned>(&self, digest: Digest) -> Result<Option<T>, Error> {
        let path = self.layout.blob_path(digest);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let (name, place) = (digest.to_string(), super::Source::name(self.layout));
        if size > MAX_DOCUMENT_SIZE {
            let source = palan_core::DocumentError::TooLarge { size };
            return Err(Error::Document { name, place, source });
        }
        let bytes = fs::read(&path).map_err(Error::io("read", path))?;
        let mut verifier = Verifier::new(digest, size);
        if let Err(source) = verifier.update(&bytes).and_then(|()| verifier.finish()) {
            return Err(Error::Damaged { name, place, source });
        }
        let read = serde_json::from_slice(&bytes);
        let unusable = |e: serde_json::Error| palan_core::DocumentError::Json(e.to_string());
        read.map(Some).map_err(|e| Error::Document { name, place, source: unusable(e) })
    }

    /// The content of a blob that is small enough to be a document.
    fn small(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.layout.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MAX_DOCUMENT_SIZE => {
                fs::read(&path).map(Some).map_err(Error::io("read", path))
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("read", path)(e)),
            _ => Ok(None),
        }
    }

    /// Marks what has as its subject what is marked.
    fn referrers(&mut self, blobs: &BTreeMap<Digest, u64>) -> Result<(), Error> {
        let mut subjects = Vec::new();
        for digest in blobs.keys().filter(|digest| !self.reached.contains(digest)) {
            let Some(json) = self.small(*digest)?.filter(|text| text.first() == Some(&b'{')) else {
                continue;
            };
            let Ok(json) = serde_json::from_slice::<Value>(&json) else { continue };
            if let Some(about) = json["subject"]["digest"].as_str().and_then(|d| d.parse::<Digest>().ok()) {
                let index = json["manifests"].is_array();
                let media_type = if index { MediaType::OCI_INDEX } else { MediaType::OCI_MANIFEST };
                subjects.push((*digest, media_type, about));
            }
        }
        loop {
            let before = self.reached.len();
            for (digest, media_type, about) in &subjects {
                if self.reached.contains(about) && !self.reached.contains(digest) {
                    self.mark(vec![(*digest, media_type.clone())])?;
                }
            }
            if self.reached.len() == before {
                return Ok(());
            }
        }
    }
}

/// Every digest in a JSON value.
fn digests(json: &Value, out: &mut Vec<Digest>) {
    match json {
        Value::String(text) => out.extend(text.parse::<Digest>().ok()),
        Value::Array(all) => all.iter().for_each(|value| digests(value, out)),
        Value::Object(all) => all.values().for_each(|value| digests(value, out)),
        _ => {}
    }
}
