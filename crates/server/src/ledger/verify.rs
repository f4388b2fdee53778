//! Content that is no longer what its digest says.

use std::sync::MutexGuard;

use palan_core::Digest;

use super::{Contents, Ledger};
use crate::{
    store::{Content, hash},
    sync::{lock, read, write},
};

/// Content found damaged or missing, and since then not served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What was promised.
    pub digest: Digest,
    /// What is wrong with it.
    pub reason: String,
}

impl Ledger {
    pub(crate) fn damage(&self) -> Vec<Damage> {
        lock(&self.damage).clone()
    }

    pub(super) fn note_damage(&self, digest: Digest, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::warn!("{digest} {reason}");
        lock(&self.damage).push(Damage { digest, reason });
    }

    /// Takes content out of every repository and out of the way in the store: it can be pushed again.
    pub(super) fn set_aside(&self, mut contents: MutexGuard<'_, Contents>, digest: &Digest, reason: &str) {
        self.note_damage(*digest, reason);
        contents.remove(digest);
        for repository in read(&self.repositories).values() {
            let mut state = write(&repository.state);
            state.blobs.remove(digest);
            state.remove(digest);
        }
        if let Err(error) = self.store.set_aside(digest) {
            tracing::warn!("{digest} cannot be set aside: {error}");
        }
    }

    /// Reads everything and sets aside what does not hash to its digest. Gives what was found this time.
    pub(crate) fn verify(&self) -> Vec<Damage> {
        let before = lock(&self.damage).len();
        let all: Vec<(Digest, u64)> = self
            .contents
            .iter()
            .flat_map(|stripe| lock(stripe).iter().map(|(d, held)| (*d, held.size)).collect::<Vec<_>>())
            .collect();
        for (digest, size) in all {
            if self.verify_one(&digest, size).is_ok() {
                continue;
            }
            // Deleted or pushed again since then is not damaged.
            let contents = self.stripe(&digest);
            if !contents.contains_key(&digest) {
                continue;
            }
            if let Err(reason) = self.verify_one(&digest, size) {
                self.set_aside(contents, &digest, &reason);
            }
        }
        lock(&self.damage)[before..].to_vec()
    }

    fn verify_one(&self, digest: &Digest, size: u64) -> Result<(), String> {
        let content = self.store.open(digest, size, 0).map_err(|e| format!("cannot be read: {e}"))?;
        let found = match content {
            Content::Bytes(bytes) => digest.algorithm().digest(&bytes),
            Content::File(mut file) => {
                hash(&mut file, digest.algorithm()).map_err(|e| format!("cannot be read: {e}"))?.0
            }
        };
        if found == *digest { Ok(()) } else { Err(format!("has the content of {found}")) }
    }
}
