//! What keeps documents apart that are written at the same time.
//!
//! There are registries that, while a manifest is written again, do not find it: an index that lists it is refused in
//! that moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use palan_core::{Digest, Document, Kind, view};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::Error;

/// How long a registry is given to find what it has acknowledged.
pub(super) const MOMENT: Duration = Duration::from_millis(300);

/// Whether a registry does not find what was written just now.
pub(super) fn is_late(error: &Error) -> bool {
    matches!(error, Error::Client(palan_client::Error::Status(e)) if e.has_code("MANIFEST_BLOB_UNKNOWN"))
}

/// Documents under way, by digest: whoever writes one has it alone, indexes hold what they list.
#[derive(Default)]
pub(super) struct Writing(Mutex<HashMap<Digest, Arc<RwLock<()>>>>);

pub(super) enum Held {
    Own { _guard: OwnedRwLockWriteGuard<()> },
    Listed { _guard: OwnedRwLockReadGuard<()> },
}

impl Writing {
    /// Waits until nobody writes the document, or what it lists.
    pub(super) async fn begin(&self, document: &Document) -> Vec<Held> {
        let mut wanted = BTreeMap::from([(document.digest(), true)]);
        if document.kind() == Kind::Index
            && let Ok(index) = document.view::<view::Index>()
        {
            for entry in index.manifests.iter().filter(|e| e.media_type.is_document()) {
                wanted.entry(entry.digest).or_insert(false);
            }
        }
        let mut held = Vec::with_capacity(wanted.len());
        // All in the order of digests, so that no two can wait for each other.
        for (digest, own) in wanted {
            let lock = self.lock(digest);
            held.push(match own {
                true => Held::Own { _guard: lock.write_owned().await },
                false => Held::Listed { _guard: lock.read_owned().await },
            });
        }
        held
    }

    fn lock(&self, digest: Digest) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(digest).or_default())
    }
}

#[cfg(test)]
mod tests {
    use palan_core::MediaType;
    use serde_json::json;

    use super::*;

    fn index(entries: &[&Document]) -> Document {
        let manifests: Vec<_> = entries.iter().map(|document| document.descriptor()).collect();
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests});
        Document::from_value(&index, MediaType::OCI_INDEX).unwrap()
    }

    /// Debian's docker-registry refuses an index while one of its manifests is written again.
    #[tokio::test]
    async fn an_index_waits_for_whoever_writes_what_it_lists() {
        use futures_util::FutureExt as _;
        let (writing, child) = (Writing::default(), index(&[]));
        let (one, two) = (index(&[&child]), index(&[&child, &child]));
        let held = writing.begin(&child).await;
        assert!(writing.begin(&one).now_or_never().is_none());
        assert!(writing.begin(&child).now_or_never().is_none());
        drop(held);
        let first = writing.begin(&one).now_or_never();
        assert!(first.is_some() && writing.begin(&two).now_or_never().is_some(), "indexes share");
        assert!(writing.begin(&child).now_or_never().is_none());
    }

    /// An index, what it lists, and what that lists, over and over: nobody waits for ever.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn writers_do_not_wait_for_each_other_in_circles() {
        let bottom = index(&[]);
        let middle = index(&[&bottom]);
        let top = index(&[&bottom, &middle]);
        let writing = Arc::new(Writing::default());
        let tasks = (0..300).map(|i| {
            let (writing, document) = (Arc::clone(&writing), [&top, &middle, &bottom][i % 3].clone());
            tokio::spawn(async move {
                let _held = writing.begin(&document).await;
                tokio::task::yield_now().await;
            })
        });
        let all = futures_util::future::join_all(tasks.collect::<Vec<_>>());
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    }
}
