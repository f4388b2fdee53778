//! An OCI image layout directory, image-spec `image-layout.md`.
//!
//! Correct under concurrent writers: blobs are written to temporary files and renamed, `index.json` is changed under a
//! lock (an advisory lock on the file `oci-layout`) and replaced by a rename, so that readers see the old or the new
//! one and two writers never lose each other's entries. Garbage collection and writers keep each other out (an advisory
//! lock on the directory).
//!
//! A blob that is there with the right size is taken for what its name says: hashing it again for every copy would
//! read the whole layout each time. Reading it hashes it, and `validate` does so for everything.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use palan_core::{Descriptor, Digest, Document, MediaType, Platform, Selector, Verifier, view};
use serde_json::{Map, Value, json};

use super::{
    Ahead, BlobStream, Origin, PutAs, Source, Target, checked,
    content::{is_content_of, parse_document, read_bounded, read_file},
    fresh::Fresh,
    index_json::{self, tag_of},
    memory::{check_role, referrers_among},
    new_file::{publish, temporary_in},
    verified,
};
use crate::Error;

pub(super) const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
/// How the names of temporary files begin.
pub(super) const TEMPORARY: &str = ".palan-";
/// An OCI image layout directory.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) root: PathBuf,
    /// Held by who writes, against garbage collection: blobs come before the entry that leads to them.
    pub(super) lease: Arc<OnceLock<File>>,
    /// That of a temporary one, which goes with its last user; that may be a thread.
    pub(super) folder: Option<Arc<tempfile::TempDir>>,
    /// Where blobs that are made here are to go.
    pub(super) ahead: Option<Arc<Ahead>>,
    /// Of one that is not there yet. The last field: it goes after the lease.
    pub(super) fresh: Option<Arc<Fresh>>,
}

impl Layout {
    /// A layout to read: the directory must be one.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self::at(root);
        let marker = layout.root.join(LAYOUT_FILE);
        match fs::read(&marker) {
            Ok(text) => check_marker(&layout.name(), &text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound && layout.root.is_dir() => {
                let reason = format!("is not an OCI layout: the file {LAYOUT_FILE} is missing");
                return Err(Error::Malformed { place: layout.name(), reason });
            }
            Err(e) => return Err(Error::io("read", &marker)(e)),
        }
        Ok(layout)
    }

    /// A layout to write. What there is must be a layout, or what an interrupted copy left: a directory with other
    /// files in it is refused.
    ///
    /// Where there is none nothing is made yet: the directory appears with the first blob and becomes a layout with
    /// the first entry, when all that the entry needs is there. A copy that fails leaves no layout that looks empty,
    /// and the next one finds the blobs that came.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self::at(root);
        if layout.exists() {
            let layout = Self::open(layout.root)?;
            layout.hold()?;
            layout.update_index(|_, _| Ok(false))?;
            return Ok(layout);
        }
        let occupied = match fs::read_dir(&layout.root) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(Error::io("read", &layout.root)(e)),
        };
        if occupied && !layout.root.join("blobs").is_dir() {
            let reason = "is a directory with other files in it, not an OCI layout".into();
            return Err(Error::Malformed { place: layout.name(), reason });
        }
        if occupied {
            layout.hold()?;
        }
        Ok(layout)
    }

    fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), lease: Arc::default(), folder: None, ahead: None, fresh: None }
    }

    pub(super) fn exists(&self) -> bool {
        self.root.join(LAYOUT_FILE).exists()
    }

    /// Writes the file `oci-layout`, unless another writer was quicker: there must be one, for it is the lock.
    fn mark(&self) -> Result<(), Error> {
        let path = self.root.join(LAYOUT_FILE);
        let mut file = self.temporary(&self.root)?;
        file.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(Error::io("write", &path))?;
        match file.persist_noclobber(&path) {
            Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("write", &path)(e.error))
            }
            _ => Ok(()),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The file that holds, or would hold, the content with this digest.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The entries of `index.json`.
    pub fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        self.entries_of(&self.read_index()?)
    }

    /// Changes the entries of `index.json`, which are given as views and as they stand.
    pub(crate) fn edit_entries(
        &self,
        change: impl FnOnce(&[Descriptor], Vec<Value>) -> Vec<Value>,
    ) -> Result<(), Error> {
        self.update_index(|entries, index| {
            let old = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
            let new = change(entries, old.clone());
            let changed = new != old;
            if changed {
                index.insert("manifests".into(), new.into());
            }
            Ok(changed)
        })
    }

    fn entries_of(&self, index: &Document) -> Result<Vec<Descriptor>, Error> {
        Ok(index.view::<view::Index>().map_err(|e| self.unusable(&INDEX_FILE, e))?.manifests)
    }

    fn read_index(&self) -> Result<Document, Error> {
        let bytes = match self.exists() {
            true => read_bounded(&self.root.join(INDEX_FILE))?,
            false => empty_index().into(),
        };
        Document::parse(bytes, Some(MediaType::OCI_INDEX)).map_err(|e| self.unusable(&INDEX_FILE, e))
    }

    fn unusable(&self, name: &dyn ToString, source: palan_core::DocumentError) -> Error {
        Error::Document { name: name.to_string(), place: self.name(), source }
    }

    /// Changes `index.json` under the lock; `change` gets the entries and the JSON, and says whether it changed it.
    fn update_index(
        &self,
        change: impl FnOnce(&[Descriptor], &mut Map<String, Value>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if !self.exists() {
            self.mark()?;
        }
        let lock_path = self.root.join(LAYOUT_FILE);
        let lock = File::open(&lock_path).map_err(Error::io("read", &lock_path))?;
        lock.lock().map_err(Error::io("lock", &lock_path))?;
        let path = self.root.join(INDEX_FILE);
        if !path.exists() {
            self.replace(&path, empty_index().as_bytes())?;
        }
        let before = self.read_index()?;
        let entries = self.entries_of(&before)?;
        let mut changed = false;
        let after = before.try_edit(|index| {
            changed = change(&entries, index)?;
            Ok::<_, Error>(())
        })?;
        if changed {
            self.replace(&path, after.bytes())?;
        }
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.temporary(&self.root)?;
        file.write_all(bytes).map_err(Error::io("write", path))?;
        publish(file, path)
    }

    fn temporary(&self, folder: &Path) -> Result<tempfile::NamedTempFile, Error> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        self.hold()?;
        temporary_in(folder).map_err(Error::io("write in", folder))
    }

    fn find(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let missing = || Error::NotFound { name: selector.to_string(), place: self.name() };
        if let Some(entry) = index_json::find(&self.entries()?, selector, &self.name())? {
            return Ok(entry.clone());
        }
        let Selector::Digest(digest) = selector else { return Err(missing()) };
        let size = fs::metadata(self.blob_path(*digest)).map_err(|_| missing())?.len();
        Ok(Descriptor::new(MediaType::new(""), *digest, size))
    }

    fn load(&self, entry: &Descriptor) -> Result<Document, Error> {
        let path = self.blob_path(entry.digest);
        if !path.exists() {
            return Err(Error::NotFound { name: entry.digest.to_string(), place: self.name() });
        }
        let bytes = read_bounded(&path)?;
        let mut verifier = Verifier::of(entry);
        verifier.update(&bytes).and_then(|()| verifier.finish()).map_err(|source| Error::Damaged {
            name: entry.digest.to_string(),
            place: self.name(),
            source,
        })?;
        parse_document(bytes, entry, &self.name())
    }

    /// Takes the entries of a tag, or of a digest, out of `index.json`; blobs stay. Fails with [`Error::NotFound`] when
    /// there is none.
    pub(crate) fn remove(&self, selector: &Selector) -> Result<(), Error> {
        self.update_index(|entries, index| {
            let found = index_json::find(entries, selector, &self.name())?;
            if found.is_none() || !index_json::remove_entries(index, entries, selector) {
                return Err(Error::NotFound { name: selector.to_string(), place: self.name() });
            }
            Ok(true)
        })
    }

    /// The only image of the layout, for locations without a tag.
    pub(crate) fn only(&self) -> Result<Selector, Error> {
        index_json::only(&self.entries()?, &self.name())
    }

    /// Links a file in as the blob that it is; `false` where that cannot be done (another file system) or it is not.
    async fn link(&self, blob: &Descriptor, file: &Path) -> Result<bool, Error> {
        if !is_content_of(file, blob).await {
            return Ok(false);
        }
        let path = self.blob_path(blob.digest);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        Ok(fs::hard_link(file, &path).is_ok())
    }

    /// The platform of an image whose config is here.
    fn platform_of(&self, document: &Document) -> Option<Platform> {
        let manifest = document.view::<view::Manifest>().ok().filter(view::Manifest::is_image)?;
        let config = read_bounded(&self.blob_path(manifest.config.digest)).ok()?;
        Some(serde_json::from_slice::<view::Config>(&config).ok()?.platform())
    }

    async fn store(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        let path = self.blob_path(blob.digest);
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        let mut file = self.temporary(&folder)?;
        let mut content = verified(from.name(), blob, from.open(blob, 0).await?);
        while let Some(piece) = content.next().await {
            // Writing to the page cache is quicker than a hop to another thread.
            file.write_all(&piece?).map_err(Error::io("write", &path))?;
        }
        publish(file, &path)
    }
}

fn empty_index() -> String {
    json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": []}).to_string()
}

pub(crate) fn check_marker(place: &str, text: &[u8]) -> Result<(), Error> {
    let marker: Option<Value> = serde_json::from_slice(text).ok();
    let version = marker.as_ref().and_then(|m| m.get("imageLayoutVersion")).and_then(Value::as_str);
    match version {
        Some(v) if v.starts_with("1.") => Ok(()),
        Some(v) => Err(Error::Unsupported(format!("OCI layout version {v} in {place}"))),
        None => {
            Err(Error::Malformed { place: place.to_owned(), reason: format!("{LAYOUT_FILE} is malformed") })
        }
    }
}

#[async_trait]
impl Source for Layout {
    fn name(&self) -> String {
        format!("oci:{}", self.root.display())
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        Ok(self.load(&self.find(selector)?)?.descriptor())
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.load(&self.find(selector)?)
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let path = self.blob_path(blob.digest);
        if !path.exists() {
            return Err(Error::NotFound { name: blob.digest.to_string(), place: self.name() });
        }
        let content = read_file(path, offset, u64::MAX)?;
        // What waits in a folder of its own was hashed when it was made, moments ago.
        match self.folder.is_some() && offset == 0 && self.has(blob).await? {
            true => Ok(BlobStream::verified(blob, content)),
            false => checked(self.name(), blob, offset, content),
        }
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        // What somebody else has put there must not go when that one fails.
        self.fresh.as_ref().map_or(Ok(()), |_| self.hold())?;
        Ok(fs::metadata(self.blob_path(blob.digest)).is_ok_and(|m| m.len() == blob.size))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.entries()?.iter().filter_map(tag_of).map(str::to_owned).collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let documents = index_json::referrer_candidates(&self.entries()?, digest, |e| self.load(e));
        Ok(referrers_among(documents, digest, artifact_type))
    }

    fn origin(&self, digest: Digest) -> Origin {
        Origin::File(self.blob_path(digest))
    }
}

#[async_trait]
impl Target for Layout {
    fn is_home_of(&self, origin: &Origin) -> bool {
        matches!(origin, Origin::File(path) if path.starts_with(&self.root) && path.exists())
    }

    async fn adopt(&self, blob: &Descriptor, from: &dyn Source) -> Result<bool, Error> {
        let Origin::Cached(file) = from.origin(blob.digest) else { return Ok(false) };
        if self.has(blob).await? {
            return Ok(false);
        }
        self.link(blob, &file).await
    }

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        self.store(blob, from).await
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        let path = self.blob_path(document.digest());
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        let mut file = self.temporary(&folder)?;
        file.write_all(document.bytes()).map_err(Error::io("write", &path))?;
        publish(file, &path)?;
        if *role == PutAs::Child {
            return Ok(());
        }
        let platform = self.platform_of(document);
        self.update_index(|entries, index| {
            if let PutAs::Replace { tag, .. } | PutAs::Absent(tag) = role {
                let found = index_json::find(entries, &Selector::Tag(tag.clone()), &self.name())?;
                check_role(&self.name(), role, found.map(|d| d.digest))?;
            }
            index_json::add_entry(index, document, role.tag(), platform.as_ref(), &self.name())
        })
    }
}
