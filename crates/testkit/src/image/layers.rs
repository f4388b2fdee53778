//! Layers.

use bytes::Bytes;
use palan_core::{Compression, Descriptor, Digest, Family, MediaType};
use palan_layer::{Builder, Level, Packing, pack_layer, tar};

/// A layer, ready to be put into images.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The blob as stored.
    pub bytes: Bytes,
    /// The uncompressed archive.
    pub tar: Bytes,
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// Compression of the blob.
    pub compression: Compression,
    /// What the history says about it.
    pub created_by: String,
    /// Media type, where it is not to follow from family and compression.
    pub media_type: Option<MediaType>,
}

impl Layer {
    /// Stores an archive.
    pub fn of_tar(tar: impl Into<Bytes>, compression: Compression, level: Level) -> Self {
        let tar = tar.into();
        let mut packing = Packing::new(compression);
        packing.level = level;
        let mut bytes = Vec::new();
        let packed = pack_layer(&*tar, &packing, &mut bytes).expect("fixtures are well-formed archives");
        Self {
            bytes: bytes.into(),
            tar,
            digest: packed.digest,
            diff_id: packed.diff_id,
            compression,
            created_by: format!("RUN make {}", packed.diff_id.short()),
            media_type: None,
        }
    }

    /// The same content stored otherwise: another digest (by level 1 where the compression stays), the same diff ID.
    /// An uncompressed layer stored uncompressed remains what it is.
    #[must_use]
    pub fn recompressed(&self, compression: Compression) -> Self {
        let level = if compression == self.compression { Level::new(1) } else { Level::DEFAULT };
        let created_by = self.created_by.clone();
        Self { created_by, ..Self::of_tar(self.tar.clone(), compression, level) }
    }

    /// With another media type than family and compression give.
    #[must_use]
    pub fn with_media_type(mut self, media_type: MediaType) -> Self {
        self.media_type = Some(media_type);
        self
    }

    /// Its descriptor in an image of `family`. Panics where that has no media type for the compression.
    pub fn descriptor(&self, family: Family) -> Descriptor {
        let of_family = || MediaType::layer(family, self.compression);
        let media_type = self.media_type.clone().or_else(of_family);
        let media_type =
            media_type.unwrap_or_else(|| panic!("no media type for {} layers in {family}", self.compression));
        Descriptor::new(media_type, self.digest, self.bytes.len() as u64)
    }
}

/// A gzip layer of a few files, mode 0644.
pub fn layer(files: &[(&str, &[u8])]) -> Layer {
    files.iter().fold(LayerSpec::new(), |spec, (path, content)| spec.file(path, content)).build()
}

/// Collects the entries of a layer.
#[derive(Debug)]
pub struct LayerSpec {
    tar: Builder,
    compression: Compression,
    level: Level,
    created_by: Option<String>,
}

impl Default for LayerSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerSpec {
    /// An empty layer, gzip.
    pub fn new() -> Self {
        Self {
            tar: Builder::new().mtime(1_735_689_600),
            compression: Compression::Gzip,
            level: Level::DEFAULT,
            created_by: None,
        }
    }

    /// How the blob is stored.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How hard it is compressed.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = Level::new(level);
        self
    }

    /// What the history says about it.
    #[must_use]
    pub fn created_by(mut self, created_by: impl Into<String>) -> Self {
        self.created_by = Some(created_by.into());
        self
    }

    /// A file, mode 0644.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.file(path, content))
    }

    /// A program, mode 0755.
    #[must_use]
    pub fn program(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.program(path, content))
    }

    /// A file of `size` bytes that do not compress, determined by `seed`.
    #[must_use]
    pub fn noise(self, path: impl AsRef<[u8]>, seed: u64, size: usize) -> Self {
        self.file(path, noise(seed, size))
    }

    /// A directory, mode 0755.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.dir(path))
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.symlink(path, target))
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.hard_link(path, target))
    }

    /// Hides `path` of the layers below.
    #[must_use]
    pub fn whiteout(self, path: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.whiteout(path))
    }

    /// Hides what the layers below have in `dir`.
    #[must_use]
    pub fn opaque(self, dir: impl AsRef<[u8]>) -> Self {
        self.with(|tar| tar.opaque(dir))
    }

    /// Any other entry.
    #[must_use]
    pub fn raw(self, call: impl FnOnce(&mut tar::Writer<Vec<u8>>) -> Result<(), palan_layer::Error>) -> Self {
        self.with(|tar| tar.with(call))
    }

    /// The layer.
    pub fn build(self) -> Layer {
        let tar = self.tar.tar().expect("fixtures are writable archives");
        let layer = Layer::of_tar(tar, self.compression, self.level);
        Layer { created_by: self.created_by.unwrap_or_else(|| layer.created_by.clone()), ..layer }
    }

    fn with(mut self, add: impl FnOnce(Builder) -> Builder) -> Self {
        self.tar = add(self.tar);
        self
    }
}

/// Bytes that do not compress: splitmix64.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let word = |i: usize| {
        let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..size.div_ceil(8)).flat_map(|i| word(i).to_le_bytes()).take(size).collect()
}
