//! A target that remembers what was done to it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use palan::{
    Error,
    place::{BlobStream, Origin, PutAs, Source, Target},
};
use palan_core::{Descriptor, Digest, Document, Selector};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open(Digest),
    Adopt(Digest),
    Blob(Digest),
    Document(Digest, PutAs),
}

/// Notes every call that moves something, when it has succeeded.
pub(crate) struct Recorder<T: ?Sized> {
    calls: Mutex<Vec<Call>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    pub(crate) inner: Arc<T>,
}

impl<T: ?Sized> Recorder<T> {
    pub(crate) fn new(inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            inner,
        })
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.calls.lock().unwrap().clear();
    }

    /// How many writes were under way at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.most.load(SeqCst)
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    async fn busy<R>(&self, work: impl Future<Output = R>) -> R {
        self.most.fetch_max(self.under_way.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::task::yield_now().await;
        let result = work.await;
        self.under_way.fetch_sub(1, SeqCst);
        result
    }
}

#[async_trait]
impl<T: Source + ?Sized> Source for Recorder<T> {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.inner.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.inner.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.note(Call::Open(blob.digest));
        self.inner.open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.inner.has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.inner.tags().await
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        self.inner.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.inner.origin(digest)
    }
}

#[async_trait]
impl<T: Target + ?Sized> Target for Recorder<T> {
    fn accepts(&self, root: &Document) -> Result<(), Error> {
        self.inner.accepts(root)
    }

    async fn has_graph(&self, document: &Descriptor) -> Result<bool, Error> {
        self.inner.has_graph(document).await
    }

    fn is_home_of(&self, origin: &Origin) -> bool {
        self.inner.is_home_of(origin)
    }

    async fn adopt(&self, blob: &Descriptor, from: &dyn Source) -> Result<bool, Error> {
        let adopted = self.inner.adopt(blob, from).await?;
        if adopted {
            self.note(Call::Adopt(blob.digest));
        }
        Ok(adopted)
    }

    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error> {
        self.busy(self.inner.put_blob(blob, from)).await?;
        self.note(Call::Blob(blob.digest));
        Ok(())
    }

    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error> {
        self.busy(self.inner.put_document(document, role)).await?;
        self.note(Call::Document(document.digest(), role.clone()));
        Ok(())
    }

    async fn finish(&self) -> Result<(), Error> {
        self.inner.finish().await
    }
}
