//! What can go wrong with a layer, as facts.

use std::{fmt, io};

use palan_core::{Compression, Digest, MediaType, Mismatch};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A path as it stands in an archive: bytes, which need not be UTF-8. Prints quoted, with control characters escaped.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPath(pub Box<[u8]>);

impl EntryPath {
    /// How many bytes a message shows. A hostile path may be very long; a message needs only enough to find it.
    pub(crate) const SHOWN: usize = 256;
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(Self::SHOWN)];
        let dots = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "{:?}{dots}", String::from_utf8_lossy(shown))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for EntryPath {
    fn from(path: &T) -> Self {
        Self(path.as_ref().into())
    }
}

/// Where in the uncompressed archive something went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spot {
    /// Bytes of the archive read before.
    pub offset: u64,
    /// The last entry before.
    pub after: Option<EntryPath>,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of the archive{}", self.offset, behind(self.after.as_ref()))
    }
}

/// Why a layer could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The underlying reader or writer failed.
    #[error(transparent)]
    Io(io::Error),
    /// A file or folder could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A temporary file could not be written, which is no fault of the layer.
    #[error("cannot write a temporary file in {folder}", folder = folder.display())]
    Temporary {
        /// The folder.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The blob is not what its descriptor promises.
    #[error(transparent)]
    Content(#[from] Mismatch),
    /// The uncompressed archive is not the one that the config names.
    #[error("the uncompressed layer has digest {found}, the config's diff ID is {expected}")]
    DiffId {
        /// The diff ID in the config.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
    /// Compressed in a way that image layers are not.
    #[error("layers compressed with {0} are not supported (only gzip, zstd and none)")]
    UnsupportedCompression(&'static str),
    /// The media type says otherwise than the content.
    #[error("the media type {media_type} says compression {declared}, the content has {found}")]
    WrongCompression {
        /// The media type.
        media_type: MediaType,
        /// What it says.
        declared: Compression,
        /// What the content is.
        found: Compression,
    },
    /// The compressed stream stops in the middle.
    #[error("the {compression} stream is cut off after {offset} bytes{}", at(.spot.as_ref()))]
    Truncated {
        /// Which kind of stream.
        compression: Compression,
        /// Compressed bytes read.
        offset: u64,
        /// Where in the archive, if one was read.
        spot: Option<Spot>,
    },
    /// The compressed stream is damaged.
    #[error("the {compression} stream is damaged near byte {offset}{}: {reason}", at(.spot.as_ref()))]
    Corrupt {
        /// Which kind of stream.
        compression: Compression,
        /// Compressed bytes read.
        offset: u64,
        /// Where in the archive, if one was read.
        spot: Option<Spot>,
        /// What the decoder says.
        reason: String,
    },
    /// Something that is not compressed data follows it.
    #[error("after the {compression} stream, at byte {offset}, there is other data")]
    TrailingData {
        /// Which kind of stream.
        compression: Compression,
        /// Where the other data starts, in compressed bytes.
        offset: u64,
    },
    /// A compression level that the codec does not have.
    #[error("{compression} has no level {level}; levels are {min} to {max}")]
    Level {
        /// Which codec.
        compression: Compression,
        /// The level asked for.
        level: i32,
        /// Lowest level.
        min: i32,
        /// Highest level.
        max: i32,
    },
    /// Something else than an archive.
    #[error("it is no tar archive")]
    NotTar,
    /// A header of the archive is damaged.
    #[error("bad tar header at byte {offset}{}: {reason}", behind(.after.as_ref()))]
    TarHeader {
        /// Where the header starts, in the uncompressed archive.
        offset: u64,
        /// The entry before it.
        after: Option<EntryPath>,
        /// What is wrong.
        reason: String,
    },
    /// The archive stops inside a header, or without the end marker where that is required.
    #[error("the tar archive is cut off at byte {offset}{}", behind(.after.as_ref()))]
    TarCutOff {
        /// Length of the uncompressed archive.
        offset: u64,
        /// The last complete entry.
        after: Option<EntryPath>,
    },
    /// The archive stops inside an entry's content.
    #[error("the tar archive is cut off at byte {offset}, {missing} bytes before the end of {path}")]
    EntryCutOff {
        /// The entry.
        path: EntryPath,
        /// Length of the uncompressed archive.
        offset: u64,
        /// Bytes of the entry (with its padding) that are missing.
        missing: u64,
    },
    /// An entry that cannot be what it says.
    #[error("tar entry {path} at byte {offset}: {reason}")]
    Entry {
        /// The entry.
        path: EntryPath,
        /// Where its header starts, in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The same, of layers that were merged: where it stands in what they became is of no use to who has the layers.
    #[error("tar entry {path}: {reason}")]
    MergedEntry {
        /// The entry.
        path: EntryPath,
        /// What is wrong.
        reason: String,
    },
    /// A bound of [`Limits`](crate::Limits) was reached.
    #[error("the layer has more than {limit} {what}{}", at(.spot.as_ref()))]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
        /// Where in the archive, if one was read.
        spot: Option<Spot>,
    },
    /// A [`Listing`](crate::Listing) that was kept is damaged, or of another version.
    #[error("the kept listing {0}")]
    KeptListing(&'static str),
    /// An entry that cannot be extracted, as the machine does not allow it.
    #[error("cannot {action} {path}")]
    Extract {
        /// What was tried: `create`, `write`, `set the owner of`.
        action: &'static str,
        /// The entry.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// A directory to extract to cannot be used.
    #[error("cannot {action} the directory {path}", path = path.display())]
    Directory {
        /// What was tried: `read`, `create`, `finish`.
        action: &'static str,
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory to extract to has something in it.
    #[error("the directory {path} is not empty", path = .0.display())]
    NotEmpty(std::path::PathBuf),
    /// An entry that cannot be written.
    #[error("cannot write tar entry {path}: {reason}")]
    Unwritable {
        /// The entry.
        path: EntryPath,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Says where it happened, unless that is known.
    pub(crate) fn at(mut self, found: impl FnOnce() -> Spot) -> Self {
        if let Self::Truncated { spot, .. } | Self::Corrupt { spot, .. } | Self::Limit { spot, .. } =
            &mut self
        {
            spot.get_or_insert_with(found);
        }
        self
    }

    /// As it is told of an archive that was made by merging layers.
    #[must_use]
    pub fn of_merged(self) -> Self {
        match self {
            Self::Entry { path, reason, .. } => Self::MergedEntry { path, reason },
            error => error,
        }
    }

    /// Whether the archive is damaged, and not what it is read from.
    pub(crate) fn is_of_archive(&self) -> bool {
        matches!(
            self,
            Self::NotTar
                | Self::TarHeader { .. }
                | Self::TarCutOff { .. }
                | Self::EntryCutOff { .. }
                | Self::Entry { .. }
        )
    }

    /// Whether an I/O error carries one of ours.
    pub(crate) fn is_inside(error: &io::Error) -> bool {
        matches!(error.get_ref(), Some(inner) if inner.is::<Self>())
    }
}

fn at(spot: Option<&Spot>) -> String {
    spot.map_or_else(String::new, |spot| format!(", at {spot}"))
}

fn behind(path: Option<&EntryPath>) -> String {
    path.map_or_else(String::new, |path| format!(", after entry {path}"))
}

/// Errors pass through [`io::Read`] and [`io::Write`] and come out as they went in.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Io(error) => return error,
            Error::Temporary { ref source, .. } => source.kind(),
            Error::Truncated { .. } | Error::TarCutOff { .. } | Error::EntryCutOff { .. } => {
                io::ErrorKind::UnexpectedEof
            }
            Error::Level { .. } | Error::Unwritable { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
