//! An OCI image layout directory, image-spec `image-layout.md`.
//!
//! Correct under concurrent writers: blobs are written to temporary files and renamed, `index.json` is changed under a
//! lock (an advisory lock on the file `oci-layout`) and replaced by a rename, so that readers see the old or the new
//! one and two writers never lose each other's entries.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use palan_core::{
    Descriptor, Digest, Document, MAX_DOCUMENT_SIZE, MediaType, Selector, Verifier, annotation, view,
};
use serde_json::{Map, Value, json};

use super::{
    BlobStream, Origin, PutAs, Source, Target,
    memory::{check_unmoved, referrers_among},
    verified,
};
use crate::Error;

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
/// How much of a file is read at once.
const PIECE: usize = 256 * 1024;

/// An OCI image layout directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// A layout to read: the directory must be one.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self { root: root.into() };
        let marker = layout.root.join(LAYOUT_FILE);
        let text = fs::read(&marker).map_err(Error::io("read", &marker))?;
        check_marker(&layout.name(), &text)?;
        Ok(layout)
    }

    /// A layout to write: made if there is none. A directory with other files in it is refused.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self { root: root.into() };
        if layout.root.join(LAYOUT_FILE).exists() {
            return Self::open(layout.root);
        }
        let occupied = fs::read_dir(&layout.root).is_ok_and(|mut d| d.next().is_some());
        if occupied && !layout.root.join("blobs").is_dir() {
            let reason = "is a directory with other files in it, not an OCI layout".into();
            return Err(Error::Malformed { place: layout.name(), reason });
        }
        let blobs = layout.root.join("blobs").join("sha256");
        fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
        layout.update_index(|_| false)?;
        let marker = layout.root.join(LAYOUT_FILE);
        layout.replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
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
        Ok(self.read_index()?.view::<view::Index>().map_err(|e| self.unusable(&INDEX_FILE, e))?.manifests)
    }

    fn read_index(&self) -> Result<Document, Error> {
        let path = self.root.join(INDEX_FILE);
        let bytes = read_bounded(&path)?;
        Document::parse(bytes, Some(MediaType::OCI_INDEX)).map_err(|e| self.unusable(&INDEX_FILE, e))
    }

    fn unusable(&self, name: &dyn ToString, source: palan_core::DocumentError) -> Error {
        Error::Document { name: name.to_string(), place: self.name(), source }
    }

    /// Changes `index.json` under the lock; `change` says whether it changed anything.
    fn update_index(&self, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<(), Error> {
        let lock_path = self.root.join(LAYOUT_FILE);
        // Before the marker exists there is no lock to take, and no other writer that could know the layout.
        let lock = File::open(&lock_path).ok();
        if let Some(lock) = &lock {
            lock.lock().map_err(Error::io("lock", &lock_path))?;
        }
        let path = self.root.join(INDEX_FILE);
        let before = if path.exists() {
            self.read_index()?
        } else {
            let empty = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": []});
            self.replace(&path, empty.to_string().as_bytes())?;
            self.read_index()?
        };
        let mut changed = false;
        let after = before.edit(|index| changed = change(index))?;
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
        tempfile::Builder::new().prefix(".palan-").tempfile_in(folder).map_err(Error::io("write in", folder))
    }

    fn find(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let missing = || Error::NotFound { name: selector.to_string(), place: self.name() };
        let entries = self.entries()?;
        match selector {
            Selector::Tag(tag) => entries.into_iter().find(|e| tag_of(e) == Some(tag)).ok_or_else(missing),
            Selector::Digest(digest) => {
                if let Some(entry) = entries.into_iter().find(|e| e.digest == *digest) {
                    return Ok(entry);
                }
                let size = fs::metadata(self.blob_path(*digest)).map_err(|_| missing())?.len();
                Ok(Descriptor::new(MediaType::new(""), *digest, size))
            }
        }
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
        let declared = Some(entry.media_type.clone()).filter(MediaType::is_document);
        Document::parse_with(bytes, declared, entry.digest.algorithm())
            .map_err(|e| self.unusable(&entry.digest, e))
    }

    /// The only image of the layout, for locations without a tag.
    pub(crate) fn only(&self) -> Result<Selector, Error> {
        let entries = self.entries()?;
        let digests: HashSet<Digest> = entries.iter().map(|e| e.digest).collect();
        match (digests.len(), entries.first()) {
            (1, Some(entry)) => Ok(entry.digest.into()),
            _ => Err(Error::ChooseOne {
                place: self.name(),
                choices: entries
                    .iter()
                    .map(|e| tag_of(e).map_or_else(|| e.digest.to_string(), str::to_owned))
                    .collect(),
            }),
        }
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

/// The tag of an entry: the reference name annotation, image-spec "Pre-defined annotation keys".
pub(crate) fn tag_of(entry: &Descriptor) -> Option<&str> {
    entry.annotation(annotation::REF_NAME)
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

/// Puts `document` into the entries of an `index.json`: one entry per tag, one per untagged root.
pub(crate) fn add_entry(index: &mut Map<String, Value>, document: &Document, tag: Option<&str>) -> bool {
    let mut entry = json!({
        "mediaType": document.media_type(), "digest": document.digest(), "size": document.size(),
    });
    if let Some(artifact_type) = document.object().ok().and_then(|o| o.get("artifactType").cloned()) {
        entry["artifactType"] = artifact_type;
    }
    if let Some(tag) = tag {
        entry["annotations"] = json!({ annotation::REF_NAME: tag });
    }
    if !index.get("manifests").is_some_and(Value::is_array) {
        index.insert("manifests".into(), json!([]));
    }
    let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) else { return false };
    let name = |e: &Value| e.pointer("/annotations").and_then(|a| a.get(annotation::REF_NAME)).cloned();
    match tag {
        None if entries.iter().any(|e| e["digest"] == entry["digest"]) => false,
        None => {
            entries.push(entry);
            true
        }
        Some(tag) => match entries.iter_mut().find(|e| name(e).as_ref().and_then(Value::as_str) == Some(tag))
        {
            Some(old) if old["digest"] == entry["digest"] => false,
            Some(old) => {
                *old = entry;
                true
            }
            None => {
                entries.push(entry);
                true
            }
        },
    }
}

fn read_bounded(path: &Path) -> Result<Bytes, Error> {
    let size = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > MAX_DOCUMENT_SIZE {
        let source = palan_core::DocumentError::TooLarge { size };
        return Err(Error::Document {
            name: path.display().to_string(),
            place: "the file system".into(),
            source,
        });
    }
    Ok(fs::read(path).map_err(Error::io("read", path))?.into())
}

fn publish(file: tempfile::NamedTempFile, path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(Error::io("write", path))?;
    }
    file.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    Ok(())
}

/// The content of a file, or a part of one, in pieces.
pub(crate) fn read_file(path: PathBuf, start: u64, length: u64) -> Result<BlobStream, Error> {
    use std::io::{Read as _, Seek as _};
    let mut file = File::open(&path).map_err(Error::io("read", &path))?;
    file.seek(std::io::SeekFrom::Start(start)).map_err(Error::io("read", &path))?;
    let state = Some((file, length));
    Ok(Box::pin(stream::unfold(state, move |state| {
        let path = path.clone();
        async move {
            let (mut file, left) = state.filter(|(_, left)| *left > 0)?;
            let mut piece = BytesMut::zeroed(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            match file.read(&mut piece) {
                Ok(0) => None,
                Ok(n) => {
                    piece.truncate(n);
                    Some((Ok(piece.freeze()), Some((file, left - n as u64))))
                }
                Err(e) => Some((Err(Error::io("read", path)(e)), None)),
            }
        }
    })))
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
        Ok(if offset == 0 { verified(self.name(), blob, content) } else { content })
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(fs::metadata(self.blob_path(blob.digest)).is_ok_and(|m| m.len() == blob.size))
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.entries()?.iter().filter_map(tag_of).map(str::to_owned).collect())
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        // Both conventions are read: untagged entries that have a subject, and the fallback tag.
        let mut candidates = self.entries()?;
        if let Ok(list) = self.document(&Selector::Tag(digest.referrers_tag())).await {
            candidates.extend(list.view::<view::Index>().map(|i| i.manifests).unwrap_or_default());
        }
        let mut seen = HashSet::new();
        candidates.retain(|c| seen.insert(c.digest));
        let documents = candidates.iter().filter_map(|c| self.load(c).ok());
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

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        self.store(blob, from).await
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        let path = self.blob_path(document.digest());
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        let mut file = self.temporary(&folder)?;
        file.write_all(document.bytes()).map_err(Error::io("write", &path))?;
        publish(file, &path)?;
        if let PutAs::Replace { tag, expected } = role {
            check_unmoved(tag, *expected, self.find(&Selector::Tag(tag.clone())).ok().map(|d| d.digest))?;
        }
        match role {
            PutAs::Child => Ok(()),
            _ => self.update_index(|index| add_entry(index, document, role.tag())),
        }
    }
}
