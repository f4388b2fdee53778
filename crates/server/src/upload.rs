//! Uploads under way.
//!
//! An upload's state sits behind a plain lock, and every append happens whole under it, so that a connection that
//! dies at any moment leaves an offset that tells the truth.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use palan_core::{Algorithm, Digest, Hasher};

use crate::{
    name::Name,
    problem::{Code, Problem},
    store::{Session, Staging, Store},
    sync::lock,
};

/// A session that nobody touched for so long is dropped.
pub(crate) const IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// Content on its way into one repository.
pub(crate) struct Upload {
    /// Empty for an upload in one request, which cannot be resumed.
    pub(crate) id: String,
    pub(crate) name: Name,
    /// Held by the request that appends.
    pub(crate) turn: tokio::sync::Mutex<()>,
    received: Mutex<Received>,
    touched: Mutex<Instant>,
}

struct Received {
    /// `None` once the upload has ended, well or not.
    staging: Option<Staging>,
    algorithm: Algorithm,
    /// `None` when the bytes so far were not hashed by this process.
    hasher: Option<Hasher>,
}

/// A state to go back to.
pub(crate) struct Mark {
    offset: u64,
    hasher: Option<Hasher>,
}

impl Upload {
    /// An upload, perhaps with bytes from before a restart.
    pub(crate) fn new(id: String, session: Session, staging: Staging) -> Self {
        let hasher = (staging.len() == 0).then(|| session.algorithm.hasher());
        let received = Received { staging: Some(staging), algorithm: session.algorithm, hasher };
        Self {
            id,
            name: session.name,
            turn: tokio::sync::Mutex::default(),
            received: Mutex::new(received),
            touched: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn location(&self) -> String {
        format!("/v2/{}/blobs/uploads/{}", self.name, self.id)
    }

    /// Bytes received.
    pub(crate) fn offset(&self) -> Result<u64, Problem> {
        lock(&self.received).staging.as_ref().map(Staging::len).ok_or_else(unknown)
    }

    pub(crate) fn mark(&self) -> Result<Mark, Problem> {
        let received = lock(&self.received);
        let staging = received.staging.as_ref().ok_or_else(unknown)?;
        Ok(Mark { offset: staging.len(), hasher: received.hasher.clone() })
    }

    /// Forgets what came after `mark`.
    pub(crate) fn rewind(&self, mark: Mark) -> Result<(), Problem> {
        let mut received = lock(&self.received);
        received.hasher = mark.hasher;
        received.staging.as_mut().ok_or_else(unknown)?.truncate(mark.offset)?;
        Ok(())
    }

    /// Says how many bytes are coming, and for which digest if that is known.
    pub(crate) fn expect(&self, length: Option<u64>, digest: Option<&Digest>) {
        let mut received = lock(&self.received);
        let Received { staging: Some(staging), algorithm, hasher } = &mut *received else { return };
        staging.reserve(length.unwrap_or(0));
        if let (Some(digest), 0) = (digest, staging.len()) {
            *algorithm = digest.algorithm();
            *hasher = Some(algorithm.hasher());
        }
    }

    /// Adds bytes. May block.
    pub(crate) fn append(&self, data: &[Bytes]) -> Result<(), Problem> {
        *lock(&self.touched) = Instant::now();
        let mut received = lock(&self.received);
        let Received { staging: Some(staging), hasher, .. } = &mut *received else { return Err(unknown()) };
        if let Some(hasher) = hasher {
            data.iter().for_each(|piece| hasher.update(piece));
        }
        if let Err(error) = staging.append_all(data) {
            *hasher = None;
            let offset = staging.len();
            staging.truncate(offset)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Ends the upload: gives what was received if it hashes to `digest`, else nothing. May block.
    pub(crate) fn finish(&self, digest: &Digest) -> Result<Staging, Problem> {
        let mut received = lock(&self.received);
        let mut staging = received.staging.take().ok_or_else(unknown)?;
        let found = match received.hasher.take() {
            Some(hasher) if received.algorithm == digest.algorithm() => hasher.finish(),
            _ => staging.digest(digest.algorithm())?,
        };
        if found != *digest {
            let message = format!("the content has digest {found}, not {digest}");
            return Err(Problem::new(Code::DigestInvalid, message));
        }
        Ok(staging)
    }

    /// Ends the upload with nothing.
    fn abandon(&self) {
        lock(&self.received).staging = None;
    }
}

/// The sessions, by id.
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Arc<Upload>>>,
    swept: Mutex<Instant>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { sessions: Mutex::default(), swept: Mutex::new(Instant::now()) }
    }
}

impl Uploads {
    /// A new session. May block.
    pub(crate) fn start(&self, store: &dyn Store, session: Session) -> Result<Arc<Upload>, Problem> {
        self.sweep(store)?;
        let id = random_id();
        let staging = store.stage_session(&id, &session)?;
        Ok(self.insert(Upload::new(id, session, staging)))
    }

    pub(crate) fn insert(&self, upload: Upload) -> Arc<Upload> {
        let upload = Arc::new(upload);
        lock(&self.sessions).insert(upload.id.clone(), Arc::clone(&upload));
        upload
    }

    /// A session, only by the repository it belongs to.
    pub(crate) fn get(&self, name: &Name, id: &str) -> Result<Arc<Upload>, Problem> {
        let upload = lock(&self.sessions).get(id).cloned();
        upload.filter(|upload| upload.name == *name).ok_or_else(unknown)
    }

    /// Ends a session, whatever its state. May block.
    pub(crate) fn end(&self, store: &dyn Store, upload: &Upload) -> io::Result<()> {
        upload.abandon();
        if lock(&self.sessions).remove(&upload.id).is_some() {
            store.drop_session(&upload.id)?;
        }
        Ok(())
    }

    fn sweep(&self, store: &dyn Store) -> io::Result<()> {
        if std::mem::replace(&mut *lock(&self.swept), Instant::now()).elapsed() < SWEEP {
            return Ok(());
        }
        let idle = |upload: &&Arc<Upload>| lock(&upload.touched).elapsed() > IDLE;
        let idle: Vec<_> = lock(&self.sessions).values().filter(idle).cloned().collect();
        idle.iter().try_for_each(|upload| self.end(store, upload))
    }
}

fn unknown() -> Problem {
    Problem::new(Code::BlobUploadUnknown, "no such upload session")
}

/// A version 4 UUID. Every [`RandomState`] has keys of its own, from the system's randomness.
fn random_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let (a, b) = (half(), half());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), 36, "{id}");
            assert_eq!(&id[14..15], "4");
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        }
    }
}
