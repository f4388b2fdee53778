//! The folder for temporary files: who uses the library names it, the environment is not asked.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A folder for temporary files, which must be there. By default `/tmp`, on Windows `C:\Windows\Temp`.
///
/// Copies are the same one. Two are equal when they are the same folder.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    folder: Option<Arc<Path>>,
    made: Option<Arc<Mutex<Made>>>,
}

/// What was made under a name, and may be gone meanwhile.
#[derive(Debug, Default)]
struct Made {
    paths: Vec<PathBuf>,
    is_swept: bool,
}

impl Scratch {
    /// The default one.
    pub const DEFAULT: Self = Self { folder: None, made: None };

    /// This folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into().into()), made: None }
    }

    /// The same folder, for a program that may end while threads still hold temporary files: see [`Scratch::sweep`].
    #[must_use]
    pub fn remembering(self) -> Self {
        Self { made: Some(Arc::default()), ..self }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        let usual = if cfg!(windows) { r"C:\Windows\Temp" } else { "/tmp" };
        self.folder.as_deref().unwrap_or(Path::new(usual))
    }

    /// A new file without a name, which is gone when it is closed.
    pub fn file(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.path())
    }

    /// Remembers a temporary file or directory, here or elsewhere, for [`Scratch::sweep`]; what is renamed later is not
    /// meant any more. Fails after that.
    pub fn note<T: AsRef<Path>>(&self, made: T) -> io::Result<T> {
        let Some(known) = &self.made else { return Ok(made) };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_swept {
            return Err(io::Error::other("cancelled"));
        }
        // What is gone need not be known; looking now and then costs nearly nothing.
        if known.paths.len() >= 64 && known.paths.len().is_power_of_two() {
            known.paths.retain(|path| path.symlink_metadata().is_ok());
        }
        known.paths.push(std::path::absolute(made.as_ref())?);
        Ok(made)
    }

    /// Removes all that was [noted](Scratch::note) and is still there, whoever uses it. Nothing can be noted from now on.
    pub fn sweep(&self) {
        let Some(known) = &self.made else { return };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_swept = true;
        for path in std::mem::take(&mut known.paths) {
            // There is nothing to be done where that fails.
            let _ = match path.symlink_metadata() {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
        }
    }
}

impl PartialEq for Scratch {
    fn eq(&self, other: &Self) -> bool {
        self.folder == other.folder
    }
}

impl Eq for Scratch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_they_are_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(folder.path());
        scratch.file().unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert_eq!(scratch.path(), path);
        assert_eq!(scratch.file().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_ne!(Scratch::default(), scratch);
    }

    #[test]
    fn what_was_noted_is_swept_and_what_got_another_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(folder.path()).remembering();
        let new = || tempfile::NamedTempFile::new_in(folder.path());
        (0..200).for_each(|_| drop(scratch.note(new().unwrap()).unwrap()));
        assert!(scratch.made.as_ref().unwrap().lock().unwrap().paths.len() <= 64);
        let file = scratch.note(new().unwrap()).unwrap();
        let directory = scratch.note(tempfile::tempdir_in(folder.path()).unwrap()).unwrap();
        fs::write(directory.path().join("inside"), "x").unwrap();
        scratch.note(new().unwrap()).unwrap().persist(folder.path().join("whole")).unwrap();
        scratch.clone().sweep();
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["whole"]);
        assert!(scratch.note(new().unwrap()).is_err());
        drop((file, directory));
    }

    #[test]
    fn who_does_not_remember_sweeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(folder.path());
        let file = scratch.note(tempfile::NamedTempFile::new_in(folder.path()).unwrap()).unwrap();
        scratch.sweep();
        assert!(scratch.note(file).unwrap().path().exists());
    }
}
