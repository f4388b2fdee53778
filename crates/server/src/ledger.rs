//! The ledger: which repository holds what. All of it is in memory, so that reading it never waits for a disk; every
//! change is made in the store first.
//!
//! Content is shared by all repositories and visible only in those that it was pushed or mounted to.
//!
//! Lock order: a repository's `writing`, then a stripe of `contents`, then a repository's `state`. Readers take
//! `state` alone, and nobody holds it while the store works.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    io,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, RwLock},
};

use palan_core::{Digest, Selector};

use crate::{
    name::Name,
    problem::Problem,
    query::Page,
    store::{Content, Fact, Staging, Store},
    sync::{lock, read, write},
};

mod manifest;
mod repository;
mod restore;
mod verify;

pub(crate) use manifest::{Manifest, Parsed, Put};
use repository::{Repository, State};
pub(crate) use restore::Found;
pub use verify::Damage;
use verify::Fault;

/// Changes to contents of different stripes do not wait for each other.
const STRIPES: usize = 64;

type Contents = HashMap<Digest, Held>;

pub(crate) struct Ledger {
    store: Box<dyn Store>,
    repositories: RwLock<BTreeMap<Name, Arc<Repository>>>,
    contents: [Mutex<Contents>; STRIPES],
    damage: Mutex<Vec<Damage>>,
}

/// Content in the store, and how many repositories hold it as what.
struct Held {
    size: u64,
    blobs: usize,
    manifests: usize,
}

impl Held {
    fn is_used(&self) -> bool {
        self.blobs + self.manifests > 0
    }
}

impl Ledger {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        Self {
            store,
            repositories: RwLock::default(),
            contents: std::array::from_fn(|_| Mutex::default()),
            damage: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Size in bytes of a blob of a repository.
    pub(crate) fn blob(&self, name: &Name, digest: &Digest) -> Option<u64> {
        read(&self.repository(name)?.state).blobs.get(digest).copied()
    }

    /// A manifest of a repository.
    pub(crate) fn manifest(&self, name: &Name, selector: &Selector) -> Option<Arc<Manifest>> {
        let repository = self.repository(name)?;
        let state = read(&repository.state);
        let digest = state.resolve(selector)?;
        state.manifests.get(&digest).cloned()
    }

    /// A page of tags in byte order; `None` for a repository that nothing was ever pushed to.
    pub(crate) fn tags(&self, name: &Name, page: &Page) -> Option<(Vec<String>, bool)> {
        let repository = self.repository(name)?;
        let state = read(&repository.state);
        if !state.known {
            return None;
        }
        let after = page.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let tags = state.tags.range::<str, _>((after, Bound::Unbounded));
        Some(page.take(tags.map(|(tag, _)| tag.clone())))
    }

    /// A page of the repositories that hold manifests, in byte order.
    pub(crate) fn catalog(&self, page: &Page) -> (Vec<String>, bool) {
        let repositories = read(&self.repositories);
        let after = page.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let held = repositories
            .range::<str, _>((after, Bound::Unbounded))
            .filter(|(_, repository)| !read(&repository.state).manifests.is_empty());
        page.take(held.map(|(name, _)| name.to_string()))
    }

    /// The manifests of a repository whose subject is `subject`, by digest, those after `after` only.
    pub(crate) fn referrers(
        &self,
        name: &Name,
        subject: &Digest,
        after: Option<&Digest>,
    ) -> Vec<Arc<Manifest>> {
        let Some(repository) = self.repository(name) else { return Vec::new() };
        let state = read(&repository.state);
        let Some(referrers) = state.referrers.get(subject) else { return Vec::new() };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        referrers
            .range((after, Bound::Unbounded))
            .filter_map(|digest| state.manifests.get(digest).cloned())
            .collect()
    }

    /// Opens content that a repository holds. If the store no longer has it as it was, nobody does any more.
    pub(crate) fn open(&self, digest: &Digest, size: u64, from: u64) -> Result<Content, Problem> {
        let opened = self.store.open(digest, size, from);
        match opened.as_ref().err().map(io::Error::kind) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => self.open_again(digest, size, from),
            _ => Ok(opened?),
        }
    }

    /// Tells content that was deleted a moment ago from content that is damaged.
    fn open_again(&self, digest: &Digest, size: u64, from: u64) -> Result<Content, Problem> {
        let contents = self.stripe(digest);
        if !contents.contains_key(digest) {
            return Err(Problem::blob_unknown(digest));
        }
        self.store.open(digest, size, from).map_err(|error| {
            let problem = Problem::storage(&error);
            if let Fault::Damaged(reason) = error.into() {
                self.set_aside(contents, digest, &reason);
            }
            problem
        })
    }

    /// Adds a blob to a repository. The caller has checked that `digest` is the digest of what is staged.
    pub(crate) fn add_blob(&self, name: &Name, digest: &Digest, staged: Staging) -> Result<(), Problem> {
        let mut contents = self.stripe(digest);
        self.publish(&mut contents, digest, staged.len(), || Ok(staged))?;
        self.link_blob(&self.repository_or_new(name), &mut contents, digest)
    }

    /// Makes content of `size` bytes part of the store if it is not yet.
    fn publish<'a>(
        &self,
        contents: &'a mut Contents,
        digest: &Digest,
        size: u64,
        staged: impl FnOnce() -> io::Result<Staging>,
    ) -> io::Result<&'a mut Held> {
        if contents.get(digest).is_some_and(|held| held.is_used() && held.size != size) {
            self.disown(contents, digest)?;
        }
        let held = match contents.entry(*digest) {
            Entry::Occupied(held) if held.get().is_used() => return Ok(held.into_mut()),
            // What nobody holds was found at the start and never compared with its digest.
            held => held.insert_entry(Held { size, blobs: 0, manifests: 0 }),
        };
        match staged().and_then(|staged| self.store.publish(staged, digest)) {
            Ok(()) => Ok(held.into_mut()),
            Err(error) => {
                held.remove();
                Err(error)
            }
        }
    }

    /// Adds a blob to a repository if `from`, or without it any repository, holds it. Says whether it did.
    pub(crate) fn mount(&self, name: &Name, digest: &Digest, from: Option<&Name>) -> Result<bool, Problem> {
        let mut contents = self.stripe(digest);
        let there = match from {
            Some(from) => self.blob(from, digest).is_some(),
            None => contents.get(digest).is_some_and(|held| held.blobs > 0),
        };
        if there {
            self.link_blob(&self.repository_or_new(name), &mut contents, digest)?;
        }
        Ok(there)
    }

    fn link_blob(
        &self,
        repository: &Repository,
        contents: &mut Contents,
        digest: &Digest,
    ) -> Result<(), Problem> {
        if read(&repository.state).blobs.contains_key(digest) {
            return Ok(());
        }
        let Some(held) = contents.get_mut(digest) else { return Err(Problem::blob_unknown(digest)) };
        self.store.record(&Fact::Blob(&repository.name, digest, held.size))?;
        held.blobs += 1;
        let mut state = write(&repository.state);
        state.known = true;
        state.blobs.insert(*digest, held.size);
        Ok(())
    }

    /// Removes a blob from a repository.
    pub(crate) fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<(), Problem> {
        let unknown = || Problem::blob_unknown(digest);
        let repository = self.repository(name).ok_or_else(unknown)?;
        let _writing = lock(&repository.writing);
        let mut contents = self.stripe(digest);
        let size = read(&repository.state).blobs.get(digest).copied().ok_or_else(unknown)?;
        self.store.forget(&Fact::Blob(name, digest, size))?;
        write(&repository.state).blobs.remove(digest);
        self.release(&mut contents, digest, |held| held.blobs -= 1)
    }

    /// Lets go of content that one repository less holds.
    fn release(
        &self,
        contents: &mut Contents,
        digest: &Digest,
        less: impl FnOnce(&mut Held),
    ) -> Result<(), Problem> {
        let Some(held) = contents.get_mut(digest) else { return Ok(()) };
        less(held);
        if !held.is_used() {
            contents.remove(digest);
            self.store.remove(digest)?;
        }
        Ok(())
    }

    fn repository(&self, name: &Name) -> Option<Arc<Repository>> {
        read(&self.repositories).get(name).cloned()
    }

    fn repository_or_new(&self, name: &Name) -> Arc<Repository> {
        self.repository(name).unwrap_or_else(|| {
            let mut repositories = write(&self.repositories);
            let new = || Arc::new(Repository::new(name.clone()));
            Arc::clone(repositories.entry(name.clone()).or_insert_with(new))
        })
    }

    fn stripe(&self, digest: &Digest) -> MutexGuard<'_, Contents> {
        lock(&self.contents[usize::from(digest.as_bytes()[0]) % STRIPES])
    }
}

#[cfg(test)]
mod tests;
