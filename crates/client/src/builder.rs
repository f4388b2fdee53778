//! Settings of a client.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue};

use crate::{
    Client, CredentialProvider, Error,
    credentials::Anonymous,
    registry::{Registry, Trust},
    retry, tls,
    transport::Transport,
    wire::Wire,
};

/// Makes a [`Client`]; start with [`Client::builder`].
pub struct Builder {
    user_agent: String,
    credentials: Arc<dyn CredentialProvider>,
    settings: Settings,
    roots: Vec<Vec<u8>>,
    inactivity: Duration,
    retry: retry::Policy,
    environment_proxy: bool,
}

/// What is set per registry, and what operations need to know.
pub(crate) struct Settings {
    pub(crate) insecure: bool,
    pub(crate) page_size: u32,
    pub(crate) chunk_size: u64,
    plain_http: HashSet<String>,
    skip_verify: HashSet<String>,
    headers: HashMap<String, HeaderMap>,
    common_headers: HeaderMap,
    parallel: usize,
}

impl Settings {
    pub(crate) fn registry(&self, name: &str) -> Result<Registry, Error> {
        let trust = Trust {
            insecure: self.insecure,
            plain_http: self.plain_http.contains(name),
            skip_verify: self.skip_verify.contains(name),
        };
        let mut headers = self.common_headers.clone();
        if let Some(own) = self.headers.get(name) {
            headers.extend(own.clone());
        }
        Registry::new(name, trust, headers, self.parallel)
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            user_agent: concat!("palan/", env!("CARGO_PKG_VERSION")).into(),
            credentials: Arc::new(Anonymous),
            settings: Settings {
                insecure: false,
                page_size: 1000,
                chunk_size: 64 * 1024 * 1024,
                plain_http: HashSet::new(),
                skip_verify: HashSet::new(),
                headers: HashMap::new(),
                common_headers: HeaderMap::new(),
                parallel: 32,
            },
            roots: Vec::new(),
            inactivity: Duration::from_secs(60),
            retry: retry::Policy {
                retries: 3,
                base: Duration::from_millis(500),
                longest_retry_after: Duration::from_secs(60),
            },
            environment_proxy: false,
        }
    }
}

impl Builder {
    /// The `User-Agent` header; `palan/<version>` if not set.
    #[must_use]
    pub fn user_agent(mut self, text: &str) -> Self {
        text.clone_into(&mut self.user_agent);
        self
    }

    /// Where credentials come from; nowhere if not set.
    #[must_use]
    pub fn credentials(mut self, provider: Arc<dyn CredentialProvider>) -> Self {
        self.credentials = provider;
        self
    }

    /// For every registry: plain http is allowed where https fails, and certificates are not checked.
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.settings.insecure = insecure;
        self
    }

    /// This registry (host and port as in references) speaks plain http.
    #[must_use]
    pub fn plain_http(mut self, registry: impl Into<String>) -> Self {
        self.settings.plain_http.insert(registry.into());
        self
    }

    /// The certificate of this registry (host and port as in references) is not checked.
    #[must_use]
    pub fn skip_tls_verify(mut self, registry: impl Into<String>) -> Self {
        self.settings.skip_verify.insert(registry.into());
        self
    }

    /// Trusts the certificates of a PEM text in addition to the system's.
    #[must_use]
    pub fn add_root_pem(mut self, pem: Vec<u8>) -> Self {
        self.roots.push(pem);
        self
    }

    /// How long silence may last before a request or transfer counts as dead: 60 s if not set. There is no limit to
    /// how long a transfer may take.
    #[must_use]
    pub fn inactivity_timeout(mut self, timeout: Duration) -> Self {
        self.inactivity = timeout;
        self
    }

    /// How often a failed request is made again: 3 if not set. For transfers this counts failures without progress.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retry.retries = retries;
        self
    }

    /// The wait before the first repetition: 500 ms if not set. Doubled for each further one, with jitter.
    #[must_use]
    pub fn backoff(mut self, base: Duration) -> Self {
        self.retry.base = base;
        self
    }

    /// The longest `Retry-After` that is waited for: 60 s if not set.
    #[must_use]
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.retry.longest_retry_after = longest;
        self
    }

    /// How many tags or repositories to ask for at once: 1000 if not set.
    #[must_use]
    pub fn page_size(mut self, entries: u32) -> Self {
        self.settings.page_size = entries.max(1);
        self
    }

    /// How large the pieces of an upload are, in bytes, where it has to go in pieces (a proxy refused the whole): 64 MiB
    /// if not set, below the 100 MB that common proxies allow. A larger minimum of the registry is honoured.
    #[must_use]
    pub fn chunk_size(mut self, bytes: u64) -> Self {
        self.settings.chunk_size = bytes.max(1);
        self
    }

    /// How many requests may be under way to one registry: 32 if not set. Counted from sending until the answer
    /// begins; requests that stream a body are counted apart, so that copying inside one registry cannot block itself.
    #[must_use]
    pub fn max_connections_per_host(mut self, connections: usize) -> Self {
        self.settings.parallel = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Headers sent to this registry (host and port as in references), and to no other host.
    #[must_use]
    pub fn headers(mut self, registry: impl Into<String>, headers: HeaderMap) -> Self {
        self.settings.headers.insert(registry.into(), headers);
        self
    }

    /// Headers sent to every registry (Docker's `HttpHeaders`), but not to the hosts registries redirect to.
    #[must_use]
    pub fn common_headers(mut self, headers: HeaderMap) -> Self {
        self.settings.common_headers = headers;
        self
    }

    /// Whether the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY` …) are used: not, if not set. Loopback
    /// addresses are never reached by a proxy.
    #[must_use]
    pub fn proxy_from_environment(mut self, allowed: bool) -> Self {
        self.environment_proxy = allowed;
        self
    }

    /// The client. Nothing is opened or loaded yet.
    pub fn build(self) -> Result<Client, Error> {
        let user_agent = HeaderValue::from_str(&self.user_agent)
            .map_err(|_| Error::Settings(format!("\"{}\" cannot be a User-Agent", self.user_agent)))?;
        let tls = tls::Settings::new(&self.roots)?;
        let idle = self.settings.parallel;
        let wire = Wire::new(user_agent, self.inactivity, tls, idle, self.environment_proxy);
        let transport = Transport::new(Arc::new(wire), self.retry, self.settings, self.credentials);
        Ok(Client::new(transport))
    }
}
