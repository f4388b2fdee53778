//! Bytes on their way in.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use palan_core::{Algorithm, Digest};

/// How much is read at once when content is hashed again.
const READ: usize = 1024 * 1024;

/// Content that has no digest yet.
#[derive(Debug)]
pub(crate) enum Staging {
    Memory(BytesMut),
    File(StagedFile),
}

/// A file beside its final place, in the same file system.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: File,
    path: PathBuf,
    length: u64,
    /// Whether the file goes when this does.
    temporary: bool,
}

impl Staging {
    /// A new file, or, for a session, what is left of one.
    pub(crate) fn file(path: PathBuf, temporary: bool) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self::File(StagedFile { file, path, length, temporary }))
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.length,
        }
    }

    /// Makes room for `length` more bytes, if that is cheap to give back.
    pub(crate) fn reserve(&mut self, length: u64) {
        const MOST: u64 = 64 * 1024 * 1024;
        if let Self::Memory(bytes) = self {
            bytes.reserve(length.min(MOST) as usize);
        }
    }

    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.append_all(&[data])
    }

    /// As one piece: the page cache takes much at once, wherever it begins, in half the time of many odd pieces.
    pub(crate) fn append_all(&mut self, pieces: &[impl AsRef<[u8]>]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => pieces.iter().for_each(|piece| bytes.extend_from_slice(piece.as_ref())),
            Self::File(staged) => {
                let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece.as_ref())).collect();
                staged.length += write_all(&mut staged.file, &mut slices)?;
            }
        }
        Ok(())
    }

    /// Back to an earlier length.
    pub(crate) fn truncate(&mut self, length: u64) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => bytes.truncate(length as usize),
            Self::File(staged) => {
                staged.file.set_len(length)?;
                staged.file.seek(SeekFrom::Start(length))?;
                staged.length = length;
            }
        }
        Ok(())
    }

    /// The digest of everything staged, read again.
    pub(crate) fn digest(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        match self {
            Self::Memory(bytes) => Ok(algorithm.digest(bytes)),
            Self::File(staged) => {
                staged.file.seek(SeekFrom::Start(0))?;
                let digest = hash(&mut staged.file, algorithm)?.0;
                staged.file.seek(SeekFrom::End(0))?;
                Ok(digest)
            }
        }
    }

    pub(crate) fn into_bytes(self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.freeze()),
            Self::File(_) => Err(io::Error::other("content staged in a file, not in memory")),
        }
    }
}

impl StagedFile {
    /// Moves the file to its final place; durable when `sync`, but for the entry in the folder.
    pub(crate) fn persist(mut self, to: &Path, sync: bool) -> io::Result<()> {
        if sync {
            self.file.sync_all()?;
        }
        fs::rename(&self.path, to)?;
        self.temporary = false;
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed now is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How much that was.
fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<u64> {
    let mut written = 0;
    // Away with empty ones at the beginning, so that nothing written means that nothing can be.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                written += n as u64;
                IoSlice::advance_slices(&mut slices, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Digest and length of what `source` still holds.
pub(crate) fn hash(source: &mut impl io::Read, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    let mut hasher = algorithm.hasher();
    let mut buffer = vec![0; READ];
    let mut length = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return Ok((hasher.finish(), length));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}
