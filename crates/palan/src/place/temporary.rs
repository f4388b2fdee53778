//! Layouts in temporary folders, where blobs that are made wait until they are copied.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use palan_core::Digest;
use tempfile::NamedTempFile;

use super::{Ahead, Layout, ahead::Watched, publish};
use crate::{Error, Scratch, error::UNWRITTEN};

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
        let folder = self.root.parent().unwrap_or(&self.root);
        let watched = Watched::new(Temporary { file: &mut file, folder }, &path, self.ahead.as_deref());
        let mut out = BufWriter::with_capacity(BUFFER, watched);
        let (digest, result) = write(&mut out).map_err(Error::or_of_machine)?;
        let watched = out.into_inner().map_err(|error| Error::io(UNWRITTEN, folder)(error.into_error()))?;
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

/// A temporary file, whose errors can be told from those of what is written to it.
pub(crate) struct Temporary<'a, W> {
    pub(crate) file: W,
    pub(crate) folder: &'a Path,
}

impl<W> Temporary<'_, W> {
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => source,
            _ => palan_layer::Error::Temporary { folder: self.folder.to_owned(), source }.into(),
        })
    }
}

impl<W: Write> Write for Temporary<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.told(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.told(flushed)
    }
}
