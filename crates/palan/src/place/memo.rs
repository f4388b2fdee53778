//! What places of registries learn for each other while a command runs.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use palan_client::Repo;
use palan_core::{Digest, Repository};
use tokio::sync::OnceCell;

/// How long a list of tags is taken for true: while images of one repository are looked at one after the other.
const FRESH: Duration = Duration::from_secs(60);
/// How many repositories' tags are kept; after that, all are forgotten.
const REPOSITORIES: usize = 1_000;

/// How long a blob that was put or mounted is taken to be there: registries do not collect what is as young.
const YOUNG: Duration = Duration::from_secs(600);

/// Cheap to clone; clones share what they know.
#[derive(Clone, Default)]
pub(crate) struct Memo {
    lists: Arc<Mutex<HashMap<Key, List>>>,
    written: Arc<Mutex<HashMap<Repository, Written>>>,
}

/// The blobs that a repository was given, since the first of them.
struct Written {
    since: Instant,
    blobs: HashSet<Digest>,
}

/// A repository, and whether its mirrors are asked.
type Key = (Repository, bool);

#[derive(Clone)]
struct List {
    since: Instant,
    tags: Arc<OnceCell<Option<BTreeSet<String>>>>,
}

impl Memo {
    /// Which of these digest tags there are, by one list of the repository's tags for all who ask. `None`: that would
    /// take more than one request, or is not to be had.
    pub(crate) async fn digest_tags(&self, repo: &Repo, wanted: &[String]) -> Option<Vec<String>> {
        let cell = self.list((repo.name().clone(), repo.uses_mirrors()));
        let tags = cell.get_or_init(|| read(repo)).await.as_ref()?;
        Some(wanted.iter().filter(|tag| tags.contains(*tag)).cloned().collect())
    }

    /// Notes that a repository has a blob now.
    pub(crate) fn note_written(&self, repository: &Repository, blob: Digest) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, written| written.since.elapsed() < YOUNG);
        let new = || Written { since: Instant::now(), blobs: HashSet::new() };
        written.entry(repository.clone()).or_insert_with(new).blobs.insert(blob);
    }

    /// Whether a repository was given a blob, not long ago.
    pub(crate) fn was_written(&self, repository: &Repository, blob: Digest) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let of = written.get(repository).filter(|written| written.since.elapsed() < YOUNG);
        of.is_some_and(|written| written.blobs.contains(&blob))
    }

    /// Forgets what a repository was given: it says that something is not there.
    pub(crate) fn forget(&self, repository: &Repository) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(repository);
    }

    fn list(&self, key: Key) -> Arc<OnceCell<Option<BTreeSet<String>>>> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if lists.len() >= REPOSITORIES && !lists.contains_key(&key) {
            lists.clear();
        }
        let new = || List { since: now, tags: Arc::default() };
        let list = lists.entry(key).or_insert_with(new);
        if now.duration_since(list.since) > FRESH {
            *list = new();
        }
        Arc::clone(&list.tags)
    }
}

async fn read(repo: &Repo) -> Option<BTreeSet<String>> {
    let tags = repo.few_tags().await;
    let tags = tags.inspect_err(|error| tracing::debug!(%error, "the tags are not listed")).ok()??;
    Some(tags.into_iter().filter(|tag| Digest::tag_stem(tag).is_some()).collect())
}
