//! The registry itself.

use std::{
    convert::Infallible,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use tokio::sync::watch;

use crate::{
    Body, Damage, Durability, Error, Logged, RequestKind, Stats, handle,
    incoming::{BoxError, Incoming},
    ledger::Ledger,
    problem::Problem,
    router,
    stats::Counters,
    store::{
        directory::{Directory, Opened, content_path},
        memory::Memory,
    },
    upload::Uploads,
};

/// Docker's clients look for this.
const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// An OCI registry: cheap to clone, all clones are the same registry.
///
/// [`Registry::serve`] listens on an address. It is also a [`tower_service::Service`] that must be called inside a
/// tokio runtime.
#[derive(Clone)]
pub struct Registry {
    pub(crate) shared: Arc<Shared>,
    delay: Option<Duration>,
    log: bool,
}

pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) uploads: Uploads,
    pub(crate) counters: Arc<Counters>,
    pub(crate) background: Background,
}

/// Counts work that may outlive its request.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<watch::Sender<usize>>);

pub(crate) struct Running(Background);

impl Background {
    fn enter(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    async fn settled(&self) {
        // It fails only when there is no sender left, and this is one.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}

impl Registry {
    /// An empty registry that is gone when the last clone is dropped.
    pub fn memory() -> Self {
        Self::new(Ledger::new(Box::new(Memory::default())), Uploads::default())
    }

    /// The registry in a directory, which is made if it is not there. What is in it is read before this returns:
    /// names, sizes and manifests, not the other blobs.
    ///
    /// One registry at a time can use a directory. Whatever a client was told is stored is there after a crash of the
    /// process or the machine; uploads can be resumed after a crash of the process.
    pub fn directory(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::directory_with(path, Durability::default())
    }

    /// As [`Registry::directory`], with less durability for more speed.
    pub fn directory_with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        let root = path.as_ref();
        let (directory, Opened { found, uploads }) = Directory::open(root, durability)?;
        let registry = Self::new(Ledger::new(Box::new(directory)), Uploads::default());
        let unreadable = |(digest, source)| Error::Open { path: content_path(root, &digest), source };
        registry.shared.ledger.restore(found).map_err(unreadable)?;
        for upload in uploads {
            registry.shared.uploads.insert(upload);
        }
        Ok(registry)
    }

    pub(crate) fn new(ledger: Ledger, uploads: Uploads) -> Self {
        let (counters, background) = (Arc::default(), Background::default());
        let shared = Shared { ledger, uploads, counters, background };
        Self { shared: Arc::new(shared), delay: None, log: false }
    }

    /// Answers every request to this clone so much later: a network to measure with.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Keeps a log of the requests to this clone, the last 100,000 of them: see [`Registry::logged`].
    #[must_use]
    pub fn with_request_log(mut self) -> Self {
        self.log = true;
        self
    }

    /// The counters of all clones together.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// The requests answered so far to clones that keep a log.
    pub fn logged(&self) -> Vec<Logged> {
        self.shared.counters.logged()
    }

    /// Content found damaged since the registry was opened, by opening it (sizes, and the digests of manifests), by
    /// reading (sizes) or by [`Registry::verify`]. Damaged content is not served and can be pushed again.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.ledger.damage()
    }

    /// Reads all content and checks it against its digests; gives the damage found now, and what could not
    /// be read: a refusal of the system is no damage, and that content stays. Takes about as long as reading the disk
    /// does.
    pub async fn verify(&self) -> Vec<Damage> {
        self.blocking(|shared| Ok(shared.ledger.verify())).await.unwrap_or_default()
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        let (parts, body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let mut body = Incoming::new(body, &parts.headers);
        let operation = router::route(&parts.method, parts.uri.path(), parts.uri.query());
        let kind = operation.as_ref().map_or(RequestKind::Refused, |o| RequestKind::of(o, head));
        self.shared.counters.request(kind);
        let result = match operation {
            Ok(operation) => handle::handle(self, operation, &parts, &mut body).await,
            Err(problem) => Err(problem),
        };
        body.drain().await;
        let mut response = result.unwrap_or_else(|problem| problem.into_response(head));
        let (name, value) = API_VERSION;
        response.headers_mut().insert(name, value);
        self.count(&parts, &response);
        response
    }

    fn count(&self, parts: &http::request::Parts, response: &Response<Body>) {
        let status = response.status();
        if status.as_u16() >= 400 {
            self.shared.counters.failed();
        }
        tracing::debug!(method = %parts.method, target = %parts.uri, status = status.as_u16());
        if self.log {
            let target = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
            self.shared.counters.log(Logged {
                method: parts.method.clone(),
                target,
                status: status.as_u16(),
            });
        }
    }

    /// Runs work that may wait for a disk where it disturbs nobody. It runs to its end even if the request does not.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if !self.shared.ledger.store().blocks() {
            return work(&self.shared);
        }
        let shared = Arc::clone(&self.shared);
        let running = shared.background.enter();
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&shared);
            drop(shared);
            drop(running);
            result
        });
        task.await.unwrap_or_else(|error| Err(Problem::internal("a task", &error)))
    }

    /// Runs a future to its end even if the request that started it does not.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let running = self.shared.background.enter();
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(running);
            result
        });
        task.await.unwrap_or_else(|error| Err(Problem::internal("a task", &error)))
    }

    /// Waits for work that outlived its request.
    pub(crate) async fn settled(&self) {
        self.shared.background.settled().await;
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("delay", &self.delay).finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for Registry
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let registry = self.clone();
        Box::pin(async move { Ok(registry.answer(request).await) })
    }
}
