//! Where listings are kept between runs.

use std::{fs::File, io::Read as _, path::PathBuf};

use palan_core::Digest;
use palan_layer::Listing;

use crate::kept;

/// Keeps encoded listings by diff ID. It may forget, and it may return damaged bytes: they are found out and the layer
/// is read anew. Called on threads that may wait for files.
pub trait ListingCache: Send + Sync {
    /// What was put under this diff ID.
    fn get(&self, diff_id: Digest) -> Option<Vec<u8>>;

    /// Keeps an encoded listing, where that is possible; a failure is nothing that a run should fail for.
    fn put(&self, diff_id: Digest, bytes: &[u8]);
}

/// A directory with one file for each layer, named by diff ID and the version of the encoding. Safe with concurrent
/// runs: files appear whole. They are readable for their owner only, as listings hold files such as `etc/shadow`.
#[derive(Clone, Debug)]
pub struct DirectoryCache {
    root: PathBuf,
}

/// Larger files are not read: no listing is as large, uncompressed.
const MAX_FILE: u64 = 512 << 20;

impl DirectoryCache {
    /// A cache in `root`, which is made with the first file.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file that holds, or would hold, the listing of a layer.
    pub fn path(&self, diff_id: Digest) -> PathBuf {
        let (algorithm, version) = (diff_id.algorithm(), Listing::VERSION);
        self.root.join(format!("{algorithm}-{}.v{version}", diff_id.hex()))
    }
}

impl ListingCache for DirectoryCache {
    fn get(&self, diff_id: Digest) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(diff_id)).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn put(&self, diff_id: Digest, bytes: &[u8]) {
        if let Err(e) = kept::write(&self.path(diff_id), &[bytes]) {
            tracing::debug!("the listing of {diff_id} cannot be kept in {}: {e}", self.root.display());
        }
    }
}
