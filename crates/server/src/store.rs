//! Where content and facts are kept: one narrow trait, two implementations.
//!
//! A store is dumb: it does not count, compare or decide, and it may be called for one digest or one tag by one
//! thread at a time only. The [ledger](crate::ledger) above it sees to both.

use std::{fs::File, io};

use bytes::Bytes;
use palan_core::{Algorithm, Digest, MediaType};

use crate::name::Name;

pub(crate) mod directory;
pub(crate) mod memory;
mod staging;

pub use directory::Durability;
pub(crate) use staging::{Staging, hash};

/// Keeps content by digest, facts about repositories, and what unfinished uploads have received. All methods may block.
pub(crate) trait Store: Send + Sync {
    /// Whether methods touch a disk, so that they must not be called on a thread that runs other tasks.
    fn blocks(&self) -> bool;

    /// A place for content whose digest is not yet known; gone when dropped.
    fn stage(&self) -> io::Result<Staging>;

    /// As [`Store::stage`], found again under `id` after a restart.
    fn stage_session(&self, id: &str, session: &Session) -> io::Result<Staging>;

    /// Forgets a session and what it received, if it is still there.
    fn drop_session(&self, id: &str) -> io::Result<()>;

    /// Makes staged content visible under its digest, which the caller has checked.
    fn publish(&self, staged: Staging, digest: &Digest) -> io::Result<()>;

    /// Content, from an offset: an error if it is not `size` bytes long.
    fn open(&self, digest: &Digest, size: u64, from: u64) -> io::Result<Content>;

    /// Forgets content.
    fn remove(&self, digest: &Digest) -> io::Result<()>;

    /// Puts content that is not what it should be out of the way.
    fn set_aside(&self, digest: &Digest) -> io::Result<()>;

    /// Remembers a fact, replacing an earlier one about the same thing.
    fn record(&self, fact: &Fact<'_>) -> io::Result<()>;

    /// Forgets a fact.
    fn forget(&self, fact: &Fact<'_>) -> io::Result<()>;
}

/// Content as it is handed out.
pub(crate) enum Content {
    Bytes(Bytes),
    /// Positioned at the offset asked for.
    File(File),
}

/// Something that a repository holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact<'a> {
    Blob(&'a Name, &'a Digest, u64),
    Manifest(&'a Name, &'a Digest, &'a MediaType),
    Tag(&'a Name, &'a str, &'a Digest),
}

/// What is remembered of an upload session besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) name: Name,
    pub(crate) algorithm: Algorithm,
}
