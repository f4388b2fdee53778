//! Files that take the place of others when they are complete.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::layout::TEMPORARY;
use crate::{Error, Scratch};

/// A file on its way: it gets its name when it is complete.
///
/// A symbolic link is followed. What is there and is no file (a pipe, a device) is not replaced but written to, at the end.
pub struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file. Fails where none can be: `path` is a directory, or its folder cannot be written.
    ///
    /// What goes to a pipe or a device waits in `scratch`.
    pub fn create(path: &Path, scratch: &Scratch) -> Result<Self, Error> {
        let path = destination(path)?;
        let file = temporary_in(folder_for(&path, scratch)).and_then(|file| scratch.note(file));
        let file = file.map_err(Error::io("write", &path))?;
        Ok(Self { file, path })
    }

    /// A file with this content, or what was there before.
    pub fn write(path: &Path, content: &[u8], scratch: &Scratch) -> Result<(), Error> {
        let new = Self::create(path, scratch)?;
        new.file().write_all(content).map_err(Error::io("write", &new.path))?;
        new.publish()
    }

    /// What is written so far.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name; the mode is that of what it replaces. Waits for who reads a pipe.
    pub fn publish(self) -> Result<(), Error> {
        let Self { file, path } = self;
        if !is_special(&path) {
            return publish(file, &path);
        }
        let write = || {
            let mut content = file.as_file();
            content.rewind()?;
            io::copy(&mut content, &mut File::options().write(true).open(&path)?)
        };
        write().map(drop).map_err(Error::io("write", &path))
    }
}

/// Where a file really goes.
pub(super) fn destination(path: &Path) -> Result<PathBuf, Error> {
    // What stands for a pipe has no other name.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match path.is_dir() {
        true => Err(Error::io("write", &path)(io::ErrorKind::IsADirectory.into())),
        false => Ok(path),
    }
}

/// Whether something is there that cannot be replaced.
pub(super) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// The folder for the temporary files of a destination: its own, so that they can be renamed.
pub(super) fn folder_for<'a>(path: &'a Path, scratch: &'a Scratch) -> &'a Path {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        _ if is_special(path) => scratch.path(),
        Some(folder) => folder,
        None => Path::new("."),
    }
}

/// A temporary file with the mode that any new file has; those of the library are private otherwise, images are not.
pub(crate) fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Gives a temporary file its name, and the mode of the file that it replaces.
pub(crate) fn publish(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions()).map_err(Error::io("write", path))?;
    }
    file.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    Ok(())
}
