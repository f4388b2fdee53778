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

/// Content found damaged or missing, and since then not served; or, by [`Registry::verify`](crate::Registry::verify)
/// only, content that could not be read, which is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What was promised.
    pub digest: Digest,
    /// What is wrong with it.
    pub reason: String,
}

impl Damage {
    fn new(digest: Digest, reason: String) -> Self {
        tracing::warn!("{digest} {reason}");
        Self { digest, reason }
    }
}

/// Why content is not as it should be.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is missing, or is not what its digest says.
    Damaged(String),
    /// The system does not let us read it now: that says nothing about what it is.
    Unreadable(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged("is missing".to_owned()),
            io::ErrorKind::InvalidData => Self::Damaged("has another size".to_owned()),
            _ => Self::Unreadable(error),
        }
    }
}

impl Fault {
    pub(super) fn check(promised: &Digest, found: &Digest) -> Result<(), Self> {
        if found == promised { Ok(()) } else { Err(Self::Damaged(format!("has the content of {found}"))) }
    }
}

impl Ledger {
    pub(crate) fn damage(&self) -> Vec<Damage> {
        lock(&self.damage).clone()
    }

    pub(super) fn note_damage(&self, digest: Digest, reason: impl Into<String>) {
        let damage = Damage::new(digest, reason.into());
        lock(&self.damage).push(damage);
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

    /// Reads everything and sets aside what does not hash to its digest. Gives what was found this time, with what
    /// cannot be read, which stays where it is.
    pub(crate) fn verify(&self) -> Vec<Damage> {
        let all: Vec<(Digest, u64)> = self
            .contents
            .iter()
            .flat_map(|stripe| lock(stripe).iter().map(|(d, held)| (*d, held.size)).collect::<Vec<_>>())
            .collect();
        all.into_iter().filter_map(|(digest, size)| self.verify_one(digest, size)).collect()
    }

    fn verify_one(&self, digest: Digest, size: u64) -> Option<Damage> {
        self.compare(&digest, size).err()?;
        // Deleted or pushed again since then is not damaged.
        let contents = self.stripe(&digest);
        let size = contents.get(&digest)?.size;
        match self.compare(&digest, size).err()? {
            Fault::Damaged(reason) => {
                self.set_aside(contents, &digest, &reason);
                Some(Damage { digest, reason })
            }
            Fault::Unreadable(error) => Some(Damage::new(digest, format!("cannot be read: {error}"))),
        }
    }

    fn compare(&self, digest: &Digest, size: u64) -> Result<(), Fault> {
        let found = match self.store.open(digest, size, 0)? {
            Content::Bytes(bytes) => digest.algorithm().digest(&bytes),
            Content::File(mut file) => hash(&mut file, digest.algorithm())?.0,
        };
        Fault::check(digest, &found)
    }
}
