//! One client for a whole command.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use futures_util::{Stream, TryStreamExt as _};
use http::{Method, StatusCode};
use palan_core::Repository;

use crate::{
    Builder, Error, Repo,
    auth::Scopes,
    call::{Call, Target},
    registry::Registry,
    response::Response,
    transport::Transport,
};

/// Talks to registries. Cheap to clone; clones share connections, tokens and knowledge.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Transport>);

/// What a client has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// HTTP requests sent, of any kind, repetitions included.
    pub requests: u64,
    /// Of these: to a registry's root.
    pub pings: u64,
    /// Of these: to token services.
    pub token_requests: u64,
    /// Bytes of answers' bodies.
    pub bytes_received: u64,
    /// Bytes of requests' bodies.
    pub bytes_sent: u64,
    /// Requests and transfers that were taken up again after a failure.
    pub retries: u64,
}

impl Client {
    pub(crate) fn new(transport: Transport) -> Self {
        Self(Arc::new(transport))
    }

    /// Settings for a new client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The operations on a repository. Does nothing yet.
    pub fn repository(&self, repository: &Repository) -> Repo {
        Repo::new(self.clone(), repository.clone())
    }

    /// Asks once whether this is a registry that talks to us (end-1 of the specification).
    pub async fn ping(&self, registry: &str) -> Result<(), Error> {
        let registry = self.registry(registry)?;
        registry.pinged.get_or_try_init(|| async { self.ask_root(&registry).await.map(drop) }).await?;
        Ok(())
    }

    /// Asks whether the registry accepts the credentials that are configured for it. An error for which
    /// [`Error::is_unauthorized`] holds says that it does not. Registries that ask for nothing accept everything.
    pub async fn check_credentials(&self, registry: &str) -> Result<(), Error> {
        let registry = self.registry(registry)?;
        self.ask_root(&registry).await?;
        let credentials = self.0.credentials(&registry, "").await?;
        // It did not ask for a password: see whether it minds a wrong one.
        if registry.auth.is_open() && registry.auth.assume_basic(&credentials) {
            self.ask_root(&registry).await?;
        }
        Ok(())
    }

    async fn ask_root(&self, registry: &Arc<Registry>) -> Result<Response, Error> {
        self.0.wire.counters.pings.fetch_add(1, Relaxed);
        let call = Call::new(registry, Method::GET, Target::Path("/v2/".into()));
        self.0.send(&call).await?.expect_data(&[StatusCode::OK]).await
    }

    /// All repositories of a registry, in its order. Many registries do not offer this.
    pub async fn catalog(&self, registry: &str, page_size: Option<u32>) -> Result<Vec<String>, Error> {
        self.catalog_pages(registry, page_size)?.try_concat().await
    }

    /// As [`Client::catalog`], page by page as the registry gives them.
    pub fn catalog_pages(
        &self,
        registry: &str,
        page_size: Option<u32>,
    ) -> Result<impl Stream<Item = Result<Vec<String>, Error>> + Send + use<>, Error> {
        let registry = self.registry(registry)?;
        let entries = page_size.unwrap_or(self.0.settings.page_size).max(1);
        let mut call = Call::new(&registry, Method::GET, Target::Path(format!("/v2/_catalog?n={entries}")));
        call.scopes = Scopes::catalog();
        Ok(self.pages(call, "repositories"))
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        let counters = &self.0.wire.counters;
        Stats {
            requests: counters.requests.load(Relaxed),
            pings: counters.pings.load(Relaxed),
            token_requests: counters.token_requests.load(Relaxed),
            bytes_received: counters.bytes_received.load(Relaxed),
            bytes_sent: counters.bytes_sent.load(Relaxed),
            retries: counters.retries.load(Relaxed),
        }
    }

    /// What registries wanted people to know (`Warning: 299` headers): each text once, sorted.
    pub fn warnings(&self) -> Vec<String> {
        self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn registry(&self, name: &str) -> Result<Arc<Registry>, Error> {
        let name = Repository::parse_registry(name)?;
        let place = self.0.settings.conf.locate_registry(&name);
        place.check(&name)?;
        self.0.registry(&name, place.primary.insecure)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
