//! The folder for temporary files: who uses the library names it, the environment is not asked.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder for temporary files, which must be there. By default `/tmp`, on Windows `C:\Windows\Temp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scratch(Option<Arc<Path>>);

impl Scratch {
    /// The default one.
    pub const DEFAULT: Self = Self(None);

    /// This folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Some(folder.into().into()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        let usual = if cfg!(windows) { r"C:\Windows\Temp" } else { "/tmp" };
        self.0.as_deref().unwrap_or(Path::new(usual))
    }

    /// A new file without a name, which is gone when it is closed.
    pub fn file(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.path())
    }
}

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
}
