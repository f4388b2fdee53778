//! Content that is no longer what its digest says.

use std::{
    io,
    sync::{Arc, MutexGuard},
};

use palan_core::Digest;

use super::{Contents, Ledger, Repository};
use crate::{
    store::{Content, Fact, hash},
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
        self.withdraw(&mut contents, digest);
        if let Err(error) = self.store.set_aside(digest) {
            tracing::warn!("{digest} cannot be set aside: {error}");
        }
    }

    /// As [`Ledger::set_aside`], for content that is about to be replaced by what its digest promises: the facts that
    /// state the wrong size go too, lest they contradict the new content after a restart.
    pub(super) fn disown(&self, contents: &mut Contents, digest: &Digest) -> io::Result<()> {
        self.note_damage(*digest, "had another size than what was pushed now");
        for (repository, size) in self.withdraw(contents, digest) {
            self.store.forget(&Fact::Blob(&repository.name, digest, size))?;
        }
        self.store.set_aside(digest)
    }

    /// Takes content out of every repository. Gives those that held it as a blob, with the size they knew.
    fn withdraw(&self, contents: &mut Contents, digest: &Digest) -> Vec<(Arc<Repository>, u64)> {
        contents.remove(digest);
        let mut holders = Vec::new();
        for repository in read(&self.repositories).values() {
            let mut state = write(&repository.state);
            let size = state.blobs.remove(digest);
            holders.extend(size.map(|size| (Arc::clone(repository), size)));
            state.remove(digest);
        }
        holders
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
