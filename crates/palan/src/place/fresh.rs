//! Layouts that are gone again where nothing came of them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::layout::{LAYOUT_FILE, Layout};

/// The directories that a layout is going to make. Where it has not become a layout in the end, they are removed with what
/// they hold; unless somebody else is writing there.
#[derive(Debug)]
pub(super) struct Fresh {
    root: PathBuf,
    /// Those that were not there, the innermost (`blobs`) first.
    missing: Vec<PathBuf>,
}

impl Layout {
    /// The same layout; where there was none it goes with its last copy, if it has no entry by then.
    pub(crate) fn or_nothing(self) -> Self {
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let blobs = root.join("blobs");
        let is_missing = |path: &&Path| path.symlink_metadata().is_err();
        let missing: Vec<_> = blobs.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        let fresh = (!missing.is_empty() && !self.exists()).then(|| Arc::new(Fresh { root, missing }));
        Self { fresh, ..self }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Who writes there holds a lock, as for garbage collection.
        let Ok(folder) = File::open(&self.root) else { return };
        if folder.try_lock().is_err() || self.root.join(LAYOUT_FILE).exists() {
            return;
        }
        let Some((blobs, around)) = self.missing.split_first() else { return };
        // What cannot be removed, or has got something else in it, stays.
        let _ = fs::remove_dir_all(blobs);
        around.iter().try_for_each(fs::remove_dir).unwrap_or_default();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use palan_core::Document;

    use super::*;
    use crate::place::{PutAs, Target as _};

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes().to_vec(), Some(palan_core::MediaType::OCI_INDEX)).unwrap()
    }

    #[tokio::test]
    async fn it_goes_with_the_last_writer_unless_there_is_an_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/layout");
        let begin = || Layout::create(&path).unwrap().or_nothing();
        let index = document(r#"{"schemaVersion":2,"manifests":[]}"#);
        let (one, other) = (begin(), begin());
        one.put_document(&index, &PutAs::Child).await.unwrap();
        other.put_document(&index, &PutAs::Child).await.unwrap();
        let blob = path.join("blobs");
        drop(one);
        assert!(blob.exists());
        let third = begin();
        drop(other);
        assert!(blob.exists());
        // It found some of it, and did not make the directory.
        drop(third);
        assert!(blob.exists());
        fs::remove_dir_all(folder.path().join("new")).unwrap();

        let one = begin();
        one.put_document(&index, &PutAs::Child).await.unwrap();
        let copy = one.clone();
        drop(one);
        assert!(blob.exists());
        drop(copy);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let one = begin();
        one.put_document(&index, &PutAs::Root).await.unwrap();
        drop(one);
        assert_eq!(Layout::open(&path).unwrap().entries().unwrap().len(), 1);
    }
}
