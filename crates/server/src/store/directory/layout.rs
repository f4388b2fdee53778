//! Which path is what.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use palan_core::{Algorithm, Digest, validate_tag};
use serde_json::{Value, json};

use crate::{
    Error,
    name::Name,
    store::{Fact, Session},
};

const VERSION: &str = "palan registry directory, version 1";

pub(super) const BLOBS: &str = "_blobs";
pub(super) const MANIFESTS: &str = "_manifests";
pub(super) const TAGS: &str = "_tags";

pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    pub(super) fn contents(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    pub(super) fn content(&self, digest: &Digest) -> PathBuf {
        self.contents(digest.algorithm()).join(digest.hex())
    }

    pub(super) fn damaged(&self, digest: &Digest) -> PathBuf {
        self.root.join("damaged").join(digest_name(digest))
    }

    /// Where a session's bytes and its record are.
    pub(super) fn session(&self, id: &str) -> (PathBuf, PathBuf) {
        (self.uploads().join(id), self.uploads().join(format!("{id}.json")))
    }

    pub(super) fn fact(&self, fact: &Fact<'_>) -> PathBuf {
        let (name, kind, file) = match fact {
            Fact::Blob(name, digest, _) => (name, BLOBS, digest_name(digest)),
            Fact::Manifest(name, digest, _) => (name, MANIFESTS, digest_name(digest)),
            Fact::Tag(name, tag, _) => (name, TAGS, tag_name(tag)),
        };
        self.repositories().join(name.as_str()).join(kind).join(file)
    }

    /// Makes the folders, checks the version and takes the lock.
    pub(super) fn prepare(&self) -> Result<File, Error> {
        let make = |path: PathBuf| fs::create_dir_all(&path).map_err(|e| open_error(&path, e));
        make(self.root.clone())?;
        let lock = self.lock()?;
        self.check_version()?;
        make(self.tmp())?;
        make(self.uploads())?;
        make(self.repositories())?;
        make(self.root.join("damaged"))?;
        Algorithm::ALL.into_iter().try_for_each(|algorithm| make(self.contents(algorithm)))?;
        Ok(lock)
    }

    /// The folders in which [`Layout::prepare`] makes folders.
    pub(super) fn folders_of_folders(&self) -> [PathBuf; 2] {
        [self.root.clone(), self.root.join("blobs")]
    }

    /// The folders above the root, as far as its path says: [`Layout::prepare`] makes those that are not there.
    pub(super) fn above(&self) -> impl Iterator<Item = &Path> {
        let here = |path| if path == Path::new("") { Path::new(".") } else { path };
        self.root.ancestors().skip(1).map(here)
    }

    /// Whether this is a folder of content or the one of the repositories, which [`Layout::prepare`] made.
    pub(super) fn is_own(&self, folder: &Path) -> bool {
        folder == self.repositories() || folder.parent() == Some(&*self.root.join("blobs"))
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.root.join("lock");
        let file = File::options().create(true).write(true).truncate(false).open(&path);
        let file = file.map_err(|e| open_error(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: self.root.clone() }),
            // Some network file systems have no locks.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(e)) => Err(open_error(&path, e)),
        }
    }

    fn check_version(&self) -> Result<(), Error> {
        let path = self.root.join("palan-registry");
        match fs::read_to_string(&path) {
            Ok(found) if found.trim_end() == VERSION => Ok(()),
            // What a power cut leaves of a file that was never synchronised.
            Ok(found) if found.trim_matches('\0').is_empty() => self.write_version(&path),
            Ok(found) => {
                let found = found.lines().next().unwrap_or_default().chars().take(80).collect();
                Err(Error::Format { path, found, expected: VERSION })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write_version(&path),
            Err(error) => Err(open_error(&path, error)),
        }
    }

    /// Makes the version file appear whole; the root is synchronised with the other folders.
    fn write_version(&self, path: &Path) -> Result<(), Error> {
        let staged = self.root.join("palan-registry.new");
        let write = || {
            let mut file = File::create(&staged)?;
            file.write_all(format!("{VERSION}\n").as_bytes())?;
            file.sync_all()?;
            drop(file);
            fs::rename(&staged, path)
        };
        write().map_err(|e| open_error(path, e))
    }
}

pub(super) fn open_error(path: &Path, source: io::Error) -> Error {
    Error::Open { path: path.to_owned(), source }
}

/// A digest as a file name; not every system allows colons.
fn digest_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

pub(super) fn parse_digest_name(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

/// A tag as a file name. `Latest` and `latest` are two tags, but one file on many systems: upper case is written as
/// lower case and, after a `+`, which no tag holds, a number whose bits say where it was.
fn tag_name(tag: &str) -> String {
    let upper = |(i, c): (usize, char)| u128::from(c.is_ascii_uppercase()) << i;
    match tag.chars().enumerate().map(upper).sum::<u128>() {
        0 => tag.to_owned(),
        upper => format!("{}+{upper:x}", tag.to_ascii_lowercase()),
    }
}

pub(super) fn parse_tag_name(name: &str) -> Option<String> {
    let tag = match name.split_once('+') {
        None => name.to_owned(),
        Some((tag, upper)) => {
            let upper = u128::from_str_radix(upper, 16).ok()?;
            let raise = |(i, c): (usize, char)| {
                if i < 128 && upper >> i & 1 == 1 { c.to_ascii_uppercase() } else { c }
            };
            tag.chars().enumerate().map(raise).collect()
        }
    };
    validate_tag(&tag).is_ok().then_some(tag)
}

pub(super) fn write_session(session: &Session) -> String {
    json!({"repository": session.name.as_str(), "algorithm": session.algorithm.as_str()}).to_string()
}

pub(super) fn parse_session(text: &str) -> Option<Session> {
    let json: Value = serde_json::from_str(text).ok()?;
    Some(Session {
        name: Name::parse(json["repository"].as_str()?).ok()?,
        algorithm: json["algorithm"].as_str()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_differ_in_case_only_have_names_that_differ_in_more() {
        let longest = "A".repeat(128);
        let tags = ["latest", "Latest", "LATEST", "v1.0-RC1", "_x", "0", &longest];
        let mut names = std::collections::HashSet::new();
        for tag in tags {
            let name = tag_name(tag);
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(name.len() <= 255, "{name}");
            assert_eq!(parse_tag_name(&name).as_deref(), Some(tag));
            assert!(names.insert(name));
        }
        for bad in ["", "a+xyz", "..", ".tmp", "a b"] {
            assert_eq!(parse_tag_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_folder_that_may_be_made_is_synchronised() {
        let table: [(&str, &[&str]); 3] =
            [("/x/y/z", &["/x/y", "/x", "/"]), ("a/b/c", &["a/b", "a", "."]), ("a", &["."])];
        for (root, expected) in table {
            let layout = Layout::new(Path::new(root));
            assert!(layout.above().eq(expected.iter().map(Path::new)), "{root}");
        }
    }

    #[test]
    fn sessions_and_digests_round_trip() {
        let session = Session { name: Name::parse("a/b").unwrap(), algorithm: Algorithm::Sha512 };
        assert_eq!(parse_session(&write_session(&session)), Some(session));
        assert_eq!(parse_session(r#"{"repository":"../x","algorithm":"sha256"}"#), None);
        assert_eq!(parse_session("{"), None);
        for algorithm in Algorithm::ALL {
            let digest = algorithm.digest(b"x");
            assert_eq!(parse_digest_name(&digest_name(&digest)), Some(digest));
        }
    }
}
