//! Layouts in temporary folders, where blobs that are made wait until they are copied.

use std::{
    fs,
    io::{BufWriter, Write},
    sync::Arc,
};

use palan_core::Digest;
use tempfile::NamedTempFile;

use super::{Layout, publish};
use crate::{Error, Scratch};

/// How much is written at once, in bytes.
const BUFFER: usize = 128 * 1024;

impl Layout {
    /// A layout in a temporary folder, which is there as long as the layout or a copy of it.
    pub(crate) fn in_temporary_folder(scratch: &Scratch) -> Result<Self, Error> {
        let folder = tempfile::tempdir_in(scratch.path()).map_err(Error::io("create", scratch.path()))?;
        let layout = Self::create(folder.path())?;
        Ok(Self { folder: Some(Arc::new(folder)), ..layout })
    }

    /// Puts what `write` writes in, as the blob whose digest it gives beside what else came of it. May take a while.
    pub(crate) fn write_blob<T>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(Digest, T), Error>,
    ) -> Result<T, Error> {
        let unwritten = || Error::io("write in", &self.root);
        let mut file = NamedTempFile::new_in(&self.root).map_err(unwritten())?;
        let mut out = BufWriter::with_capacity(BUFFER, &mut file);
        let (digest, result) = write(&mut out)?;
        out.flush().map_err(unwritten())?;
        drop(out);
        self.take(file, digest)?;
        Ok(result)
    }

    /// Moves a file of the same file system in, as the blob that it is.
    fn take(&self, file: NamedTempFile, digest: Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        publish(file, &path)
    }
}
