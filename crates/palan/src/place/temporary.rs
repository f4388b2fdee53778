//! Layouts in temporary folders, where blobs that are made wait until they are copied.

use std::{
    fs,
    io::{BufWriter, Write},
    sync::Arc,
};

use palan_core::Digest;
use tempfile::NamedTempFile;

use super::{Ahead, Layout, ahead::Watched, publish};
use crate::{Error, Scratch};

/// How much is written at once, in bytes.
const BUFFER: usize = 128 * 1024;

impl Layout {
    /// A layout in a temporary folder, which is there as long as the layout or a copy of it.
    pub(crate) fn in_temporary_folder(scratch: &Scratch) -> Result<Self, Error> {
        let folder = tempfile::tempdir_in(scratch.path()).and_then(|folder| scratch.note(folder));
        let folder = folder.map_err(Error::io("create", scratch.path()))?;
        let layout = Self::create(folder.path())?;
        Ok(Self { folder: Some(Arc::new(folder)), ..layout })
    }

    /// The same layout; blobs that are made in it are sent to where they are to go meanwhile.
    pub(crate) fn sending(self, ahead: Option<Ahead>) -> Self {
        Self { ahead: ahead.map(Arc::new), ..self }
    }

    /// Waits until all blobs are sent that could be sent while they were made.
    pub(crate) async fn sent(&self) {
        if let Some(ahead) = &self.ahead {
            ahead.sent().await;
        }
    }

    /// Puts what `write` writes in, as the blob whose digest it gives beside what else came of it. May take a while.
    pub(crate) fn write_blob<T>(
        &self,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(Digest, T), Error>,
    ) -> Result<T, Error> {
        let unwritten = || Error::io("write in", &self.root);
        let mut file = NamedTempFile::new_in(&self.root).map_err(unwritten())?;
        let path = file.path().to_owned();
        let watched = Watched::new(&mut file, &path, self.ahead.as_deref());
        let mut out = BufWriter::with_capacity(BUFFER, watched);
        let (digest, result) = write(&mut out)?;
        let watched = out.into_inner().map_err(|error| unwritten()(error.into_error()))?;
        watched.finish(digest);
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
