//! Settings of a client.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use crate::{
    Client, CredentialProvider, Error, certificates,
    config::RegistriesConf,
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
    inactivity: Duration,
    retry: retry::Policy,
    environment_proxy: bool,
}

/// What is set per registry, and what operations need to know.
pub(crate) struct Settings {
    pub(crate) insecure: bool,
    pub(crate) page_size: u32,
    pub(crate) chunk_size: u64,
    pub(crate) largest_upload: u64,
    pub(crate) conf: RegistriesConf,
    certificates: certificates::Sources,
    plain_http: Registries,
    skip_verify: Registries,
    headers: HashMap<String, HeaderMap>,
    common_headers: HeaderMap,
    parallel: usize,
    /// For registries with a number of their own.
    parallel_to: HashMap<String, usize>,
}

/// Some registries, or all.
#[derive(Default)]
struct Registries {
    all: bool,
    named: HashSet<String>,
}

impl Registries {
    fn has(&self, name: &str) -> bool {
        self.all || self.named.contains(name)
    }
}

impl Settings {
    /// A registry with its settings; `insecure`: `registries.conf` calls it so. Reads the certificates that are kept
    /// for it.
    pub(crate) fn registry(
        &self,
        name: &str,
        insecure: bool,
        tls: &tls::Settings,
    ) -> Result<Registry, Error> {
        let (own, others) = match self.certificates.of_registry(name)? {
            Some(set) => tls.add(set),
            None => Default::default(),
        };
        let trust = Trust {
            insecure: self.insecure || insecure,
            plain_http: self.plain_http.has(name),
            skip_verify: insecure || self.skip_verify.has(name),
            own,
            others,
        };
        let mut headers = self.common_headers.clone();
        if let Some(own) = self.headers.get(name) {
            headers.extend(own.clone());
        }
        let ours: Vec<_> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
        for name in ours {
            headers.remove(name);
        }
        let parallel = self.parallel_to.get(name).copied().unwrap_or(self.parallel);
        Registry::new(name, trust, headers, parallel)
    }

    /// Whether the certificate of this host was said not to matter.
    pub(crate) fn skips_verify(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.insecure
            || self.skip_verify.has(&match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            })
    }
}

/// Headers that say what a request is, which no setting knows.
fn is_ours(name: &HeaderName) -> bool {
    [header::HOST, header::RANGE, header::TRANSFER_ENCODING].contains(name)
        || name.as_str().starts_with("content-")
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
                largest_upload: u64::MAX,
                conf: RegistriesConf::default(),
                certificates: certificates::Sources::default(),
                plain_http: Registries::default(),
                skip_verify: Registries::default(),
                headers: HashMap::new(),
                common_headers: HeaderMap::new(),
                parallel: 32,
                parallel_to: HashMap::new(),
            },
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

    /// This registry (host and port as in references) speaks plain http, and nothing else is tried.
    #[must_use]
    pub fn plain_http(mut self, registry: impl Into<String>) -> Self {
        self.settings.plain_http.named.insert(registry.into());
        self
    }

    /// All registries speak plain http.
    #[must_use]
    pub fn plain_http_everywhere(mut self) -> Self {
        self.settings.plain_http.all = true;
        self
    }

    /// The certificate of this host (and port, as in references) is not checked: a registry, a token service, a store.
    #[must_use]
    pub fn skip_tls_verify(mut self, registry: impl Into<String>) -> Self {
        self.settings.skip_verify.named.insert(registry.into());
        self
    }

    /// No certificate is checked. Plain http is not spoken because of it.
    #[must_use]
    pub fn skip_tls_verify_everywhere(mut self) -> Self {
        self.settings.skip_verify.all = true;
        self
    }

    /// Trusts the certificates of a PEM text in addition to the system's.
    #[must_use]
    pub fn add_root_pem(mut self, pem: Vec<u8>) -> Self {
        self.settings.certificates.roots.push((None, pem));
        self
    }

    /// The same for one registry (host and port as in references) and the hosts to which it leads: its token service,
    /// its stores.
    #[must_use]
    pub fn registry_root_pem(mut self, registry: impl Into<String>, pem: Vec<u8>) -> Self {
        self.settings.certificates.roots.push((Some(registry.into()), pem));
        self
    }

    /// Shows a certificate (PEM, with the chain behind it) to one registry, or to every registry that asks for one;
    /// never to the hosts to which registries lead. What is named for one registry goes before what is for all.
    #[must_use]
    pub fn client_certificate(
        mut self,
        registry: Option<String>,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Self {
        self.settings.certificates.identities.push((registry, tls::IdentityPem { certificate, key }));
        self
    }

    /// Takes the certificates of a folder, for one registry or for all: authorities from `*.crt`, a client certificate
    /// from `NAME.cert` and `NAME.key`. Read when a registry is first spoken to.
    #[must_use]
    pub fn certificate_folder(mut self, registry: Option<String>, folder: impl Into<PathBuf>) -> Self {
        self.settings.certificates.folders.push((registry, folder.into()));
        self
    }

    /// Looks for such a folder per registry, by host and port, in a folder like docker's and podman's `certs.d`. Of
    /// several, the first counts that has one. Need not exist.
    #[must_use]
    pub fn certs_d(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.certificates.per_registry.push(folder.into());
        self
    }

    /// Mirrors, other locations, blocked and insecure registries.
    #[must_use]
    pub fn registries_conf(mut self, conf: RegistriesConf) -> Self {
        self.settings.conf = conf;
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
    /// if not set, below the 100 MB that common proxies allow; less where these are refused, too. A larger minimum of
    /// the registry is honoured.
    #[must_use]
    pub fn chunk_size(mut self, bytes: u64) -> Self {
        self.settings.chunk_size = bytes.max(1);
        self
    }

    /// Blobs larger than this, in bytes, are uploaded in pieces of this size from the start, not only when a proxy
    /// refused the whole: without limit if not set. A larger minimum of the registry is honoured.
    #[must_use]
    pub fn largest_upload(mut self, bytes: u64) -> Self {
        self.settings.largest_upload = bytes.max(1);
        self
    }

    /// How many requests may be under way to one registry: 32 if not set. Fewer after the registry said that it is
    /// asked too much, until it answers well again. Counted from sending until the answer begins; requests that
    /// stream a body are counted apart, so that copying inside one registry cannot block itself.
    #[must_use]
    pub fn max_connections_per_host(mut self, connections: usize) -> Self {
        self.settings.parallel = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// The same for one registry (host and port as in references).
    #[must_use]
    pub fn max_connections_to(mut self, registry: impl Into<String>, connections: usize) -> Self {
        let connections = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self.settings.parallel_to.insert(registry.into(), connections);
        self
    }

    /// Headers sent to this registry (host and port as in references), and to no other host, instead of those that
    /// palan sends under these names. What says what a request is (`Host`, `Range`, `Content-…`) is ignored.
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
        let tls = tls::Settings::new(self.settings.certificates.common()?);
        let idle = self.settings.parallel;
        let wire = Wire::new(user_agent, self.inactivity, tls, idle, self.environment_proxy);
        let transport = Transport::new(Arc::new(wire), self.retry, self.settings, self.credentials);
        Ok(Client::new(transport))
    }
}
