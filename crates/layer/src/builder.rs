//! Small layers made in memory, for demonstrations and tests.

use palan_core::{Compression, Descriptor, Family};

use crate::{
    Level, Packed, Packing, Result, pack_layer,
    tar::{Kind, Meta, Writer},
};

/// Collects the entries of a layer and makes its blob. The same calls give the same bytes.
///
/// The first error is kept and returned by [`Builder::build`]. Parents are not written unless asked for with
/// [`Builder::dir`].
///
/// ```
/// use palan_core::{Compression, Family, MediaType};
/// let layer = palan_layer::Builder::new()
///     .dir("etc")
///     .file("etc/motd", b"hello\n")
///     .symlink("etc/alias", "motd")
///     .whiteout("etc/old")
///     .build(Compression::Zstd)?;
/// assert_eq!(layer.descriptor(Family::Oci).unwrap().media_type, MediaType::OCI_LAYER_ZSTD);
/// assert!(layer.descriptor(Family::Docker).is_none());
/// # Ok::<_, palan_layer::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    tar: Writer<Vec<u8>>,
    mtime: i64,
    failed: Result<()>,
}

/// A layer made in memory.
#[derive(Clone, Debug)]
pub struct Built {
    /// The blob as stored.
    pub bytes: Vec<u8>,
    /// Its digests and sizes.
    pub packed: Packed,
}

impl Built {
    /// The blob's descriptor; `None` where `family` has no media type for its compression.
    pub fn descriptor(&self, family: Family) -> Option<Descriptor> {
        self.packed.descriptor(family)
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty layer.
    pub fn new() -> Self {
        Self { tar: Writer::new(Vec::new()), mtime: 0, failed: Ok(()) }
    }

    /// Time of the entries that follow, in seconds since 1970.
    #[must_use]
    pub fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }

    /// A file, mode 0644.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.file_with(path, content, Meta::FILE)
    }

    /// A program, mode 0755.
    #[must_use]
    pub fn program(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.file_with(path, content, Meta::FILE.mode(0o755))
    }

    /// A file with its own metadata (but the time of [`Builder::mtime`] where it has none).
    #[must_use]
    pub fn file_with(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>, meta: Meta) -> Self {
        let meta = self.stamped(meta);
        self.with(|tar| tar.bytes(path, &meta, content.as_ref()))
    }

    /// A directory, mode 0755.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>) -> Self {
        let meta = self.stamped(Meta::DIR);
        self.with(|tar| tar.dir(path, &meta))
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let meta = self.stamped(Meta::LINK);
        self.with(|tar| tar.symlink(path, target, &meta))
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let meta = self.stamped(Meta::FILE);
        self.with(|tar| tar.hard_link(path, target, &meta))
    }

    /// A device or named pipe.
    #[must_use]
    pub fn special(self, path: impl AsRef<[u8]>, kind: Kind) -> Self {
        let meta = self.stamped(Meta::FILE);
        self.with(|tar| tar.special(path, kind, &meta))
    }

    /// Hides `path` of the layers below.
    #[must_use]
    pub fn whiteout(self, path: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.whiteout(path))
    }

    /// Hides what the layers below have in the directory `dir`.
    #[must_use]
    pub fn opaque(self, dir: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.opaque(dir))
    }

    /// Any other call of the writer.
    #[must_use]
    pub fn with(mut self, call: impl FnOnce(&mut Writer<Vec<u8>>) -> Result<()>) -> Self {
        if self.failed.is_ok() {
            self.failed = call(&mut self.tar);
        }
        self
    }

    /// The uncompressed archive.
    pub fn tar(self) -> Result<Vec<u8>> {
        self.failed?;
        self.tar.finish()
    }

    /// The layer's blob, with the default level.
    pub fn build(self, compression: Compression) -> Result<Built> {
        self.build_with(compression, Level::DEFAULT)
    }

    /// The layer's blob.
    pub fn build_with(self, compression: Compression, level: Level) -> Result<Built> {
        let mut packing = Packing::new(compression);
        packing.level = level;
        let mut bytes = Vec::new();
        let packed = pack_layer(self.tar()?.as_slice(), &packing, &mut bytes)?;
        Ok(Built { bytes, packed })
    }

    fn stamped(&self, meta: Meta) -> Meta {
        if meta.mtime == 0 { meta.mtime(self.mtime) } else { meta }
    }
}
