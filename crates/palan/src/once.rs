//! Reading things once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use crate::Error;

/// What was read, by key: each once, however many ask for it at the same time.
pub(crate) struct Once<K, V>(Mutex<Cells<K, V>>);

type Cells<K, V> = HashMap<K, Arc<OnceCell<Arc<V>>>>;

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V> Once<K, V> {
    pub(crate) async fn get<F: Future<Output = Result<V, Error>>>(
        &self,
        key: K,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<V>, Error> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_try_init(|| async { read().await.map(Arc::new) }).await.cloned()
    }
}
