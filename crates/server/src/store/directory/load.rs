//! Reading a registry directory when it is opened, and sweeping what no one will finish.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
};

use palan_core::{Algorithm, MediaType};

use super::{
    Directory,
    layout::{BLOBS, MANIFESTS, TAGS, open_error, parse_digest_name, parse_session, parse_tag_name},
};
use crate::{
    Error,
    ledger::Found,
    name::Name,
    store::{Staging, Store as _},
    upload::{IDLE, Upload},
};

/// What a registry directory holds.
pub(crate) struct Opened {
    pub(crate) found: Found,
    pub(crate) uploads: Vec<Upload>,
}

impl Directory {
    pub(super) fn load(&self) -> Result<Opened, Error> {
        self.sweep()?;
        let mut found = Found::default();
        for algorithm in Algorithm::ALL {
            self.load_contents(algorithm, &mut found)?;
        }
        load_repositories(&self.layout.repositories(), &mut found)?;
        Ok(Opened { found, uploads: self.load_uploads()? })
    }

    /// Removes what was being written when the last process ended.
    fn sweep(&self) -> Result<(), Error> {
        for entry in entries(&self.layout.tmp())? {
            let path = entry.path();
            fs::remove_file(&path).map_err(|e| open_error(&path, e))?;
        }
        Ok(())
    }

    fn load_contents(&self, algorithm: Algorithm, found: &mut Found) -> Result<(), Error> {
        for entry in entries(&self.layout.contents(algorithm))? {
            let name = file_name(&entry);
            let Ok(digest) = format!("{algorithm}:{name}").parse() else { continue };
            let metadata = entry.metadata().map_err(|e| open_error(&entry.path(), e))?;
            if metadata.is_file() {
                found.contents.push((digest, metadata.len()));
            }
        }
        Ok(())
    }

    /// Sessions that can go on. Those that nobody went on with for long, and halves of sessions, are removed.
    fn load_uploads(&self) -> Result<Vec<Upload>, Error> {
        let folder = self.layout.uploads();
        let mut uploads = Vec::new();
        for entry in entries(&folder)? {
            let name = file_name(&entry);
            let id = name.strip_suffix(".json").unwrap_or(&name);
            let failed = |e| open_error(&entry.path(), e);
            match self.load_upload(id).map_err(failed)? {
                Some(upload) if name == id => uploads.push(upload),
                Some(_) => {}
                None => self.drop_session(id).map_err(failed)?,
            }
        }
        Ok(uploads)
    }

    fn load_upload(&self, id: &str) -> io::Result<Option<Upload>> {
        let (data, record) = self.layout.session(id);
        let record = unless_damaged(fs::read_to_string(record))?;
        let Some(session) = record.and_then(|text| parse_session(&text)) else { return Ok(None) };
        let Some(metadata) = unless_damaged(fs::metadata(&data))? else { return Ok(None) };
        let idle = metadata.modified()?.elapsed().unwrap_or_default();
        if idle > IDLE {
            return Ok(None);
        }
        Ok(Some(Upload::new(id.to_owned(), session, Staging::file(data, false)?)))
    }
}

/// `None` for a file that is not there or no text. Other errors say nothing about the file.
fn unless_damaged<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
        read => read.map(Some),
    }
}

/// Walks the repositories; their names are the paths.
fn load_repositories(root: &Path, found: &mut Found) -> Result<(), Error> {
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, path)) = folders.pop() {
        let name = Name::parse(&path).ok();
        for entry in entries(&folder)? {
            let part = file_name(&entry);
            match (&name, part.as_str()) {
                (Some(name), BLOBS) => load_blobs(&entry.path(), name, found)?,
                (Some(name), MANIFESTS) => load_manifests(&entry.path(), name, found)?,
                (Some(name), TAGS) => load_tags(&entry.path(), name, found)?,
                _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    let path = if path.is_empty() { part } else { format!("{path}/{part}") };
                    folders.push((entry.path(), path));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn load_blobs(folder: &Path, name: &Name, found: &mut Found) -> Result<(), Error> {
    each(folder, |file, text| {
        let fact = Some((name.clone(), parse_digest_name(file)?, text.parse().ok()?));
        found.blobs.extend(fact);
        Some(())
    })
}

fn load_manifests(folder: &Path, name: &Name, found: &mut Found) -> Result<(), Error> {
    each(folder, |file, text| {
        found.manifests.push((name.clone(), parse_digest_name(file)?, MediaType::new(text)));
        Some(())
    })
}

fn load_tags(folder: &Path, name: &Name, found: &mut Found) -> Result<(), Error> {
    each(folder, |file, text| {
        found.tags.push((name.clone(), parse_tag_name(file)?, text.parse().ok()?));
        Some(())
    })
}

/// Calls `read` with the name and the text of every file of a folder. Files that are none of ours are passed over.
fn each(folder: &Path, mut read: impl FnMut(&str, &str) -> Option<()>) -> Result<(), Error> {
    for entry in entries(folder)? {
        let path = entry.path();
        let text = fs::read_to_string(&path).map_err(|e| open_error(&path, e))?;
        if read(&file_name(&entry), &text).is_none() {
            tracing::warn!("{} is not understood and left alone", path.display());
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, Error> {
    let read = |path: &PathBuf| fs::read_dir(path)?.collect::<io::Result<Vec<_>>>();
    read(&folder.to_owned()).map_err(|e| open_error(folder, e))
}

/// Names of ours are ASCII; others match nothing.
fn file_name(entry: &DirEntry) -> String {
    OsStr::to_string_lossy(&entry.file_name()).into_owned()
}
