//! One HTTP exchange: no redirect, no retry, no authentication, but a watch on inactivity.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::{
    BoxError, Error, Fault,
    response::Response,
    tls::{self, Security, SetId},
    trace::Exchange,
    uri,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How the HTTP/2 stack puts the error code of this name (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: &str = "detected excessive load";
/// A registry may hash or move a large blob before it answers the end of an upload.
const COMMIT_FACTOR: u32 = 5;

/// Which connection pool a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Small answers; HTTP/2 where offered.
    Api,
    /// Blobs: HTTP/1.1, because one HTTP/2 connection is slower and costs more.
    Blob,
}

/// By what kind of client a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) lane: Lane,
    pub(crate) security: Security,
    /// The certificates that count.
    pub(crate) certificates: SetId,
    /// Refuse names that resolve to [metadata addresses](uri::is_metadata).
    pub(crate) guarded: bool,
    /// Never by a proxy.
    pub(crate) direct: bool,
}

/// Counts for [`crate::Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) pings: AtomicU64,
    pub(crate) token_requests: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// When bytes last moved in a request's body.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    last: AtomicU64,
    /// Waiting for the bytes' source, which watches itself.
    paused: AtomicBool,
    sent: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            sent: AtomicBool::new(true),
        })
    }

    pub(crate) fn touch(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.last.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        self.touch();
    }

    /// Whether the body has left; until then only silence of the connection counts.
    pub(crate) fn set_sent(&self, sent: bool) {
        self.sent.store(sent, Relaxed);
        self.touch();
    }

    /// How long to wait from now on until the silence is too long. `None`: it is.
    fn patience(&self, limit: Duration, streaming: bool) -> Option<Duration> {
        if self.paused.load(Relaxed) {
            return Some(limit);
        }
        let limit = if streaming && self.sent.load(Relaxed) { limit * COMMIT_FACTOR } else { limit };
        let silence = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)));
        limit.checked_sub(silence).filter(|left| !left.is_zero())
    }
}

/// A request as it goes out.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: reqwest::Body,
    /// For bodies that stream.
    pub(crate) activity: Option<Arc<Activity>>,
    pub(crate) route: Route,
}

/// The connection pools.
pub(crate) struct Wire {
    pub(crate) user_agent: HeaderValue,
    pub(crate) inactivity: Duration,
    pub(crate) counters: Counters,
    pub(crate) tls: tls::Settings,
    idle_per_host: usize,
    environment_proxy: bool,
    clients: Mutex<HashMap<Route, reqwest::Client>>,
}

impl Wire {
    pub(crate) fn new(
        user_agent: HeaderValue,
        inactivity: Duration,
        tls: tls::Settings,
        idle_per_host: usize,
        environment_proxy: bool,
    ) -> Self {
        Self {
            user_agent,
            inactivity,
            counters: Counters::default(),
            tls,
            idle_per_host,
            environment_proxy,
            clients: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(self: &Arc<Self>, outgoing: Outgoing) -> Result<Response, Error> {
        let Outgoing { method, url, mut headers, body, activity, route } = outgoing;
        let client = self.client(route)?;
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body);
        self.counters.requests.fetch_add(1, Relaxed);
        let shown = uri::redact(&url);
        let trace = Exchange::begin();
        if let Some(trace) = trace {
            let body = request.body().and_then(reqwest::Body::as_bytes);
            trace.asks(&method, &shown, request.headers(), body);
        }
        let started = Instant::now();
        let answer = self.watch(client.execute(request), activity).await;
        let milliseconds = started.elapsed().as_millis();
        match answer {
            Some(Ok(answer)) => {
                if let Some(trace) = trace {
                    trace.hears(&method, &shown, answer.status().as_u16(), milliseconds, answer.headers());
                }
                let failed = !answer.status().is_success();
                let trace = trace.filter(|_| route.lane == Lane::Api || failed);
                let mut answer = Response::new(method, url, answer, self.clone(), trace);
                if trace.is_some() && failed {
                    // Nobody else may read what a registry says with a challenge.
                    answer.peek_error().await;
                }
                Ok(answer)
            }
            Some(Err(error)) => {
                let error = describe(method, shown, error);
                tracing::debug!(%error, milliseconds, "failed");
                Err(error)
            }
            None => {
                tracing::debug!(%method, url = shown, milliseconds, "inactive");
                Err(self.inactive(method, shown))
            }
        }
    }

    /// The error for a connection that fell silent.
    pub(crate) fn inactive(&self, method: Method, url: String) -> Error {
        let reason = format!("nothing was received for {:?}", self.inactivity);
        Error::Transport { method, url, fault: Fault::Inactive, reason }
    }

    async fn watch<T>(&self, work: impl Future<Output = T>, activity: Option<Arc<Activity>>) -> Option<T> {
        let streaming = activity.is_some();
        let activity = activity.unwrap_or_else(Activity::new);
        let mut work = pin!(work);
        loop {
            let left = activity.patience(self.inactivity, streaming)?;
            if let Ok(done) = tokio::time::timeout(left, &mut work).await {
                return Some(done);
            }
        }
    }

    fn client(&self, route: Route) -> Result<reqwest::Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&route) {
            return Ok(client.clone());
        }
        let client = self.make_client(route)?;
        clients.insert(route, client.clone());
        Ok(client)
    }

    fn make_client(&self, route: Route) -> Result<reqwest::Client, Error> {
        let alpn: &[&[u8]] = match route.lane {
            Lane::Api => &[b"h2", b"http/1.1"],
            Lane::Blob => &[b"http/1.1"],
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.config(route.security, route.certificates, alpn)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(self.inactivity))
            .pool_max_idle_per_host(self.idle_per_host);
        if route.lane == Lane::Blob || route.security == Security::None {
            builder = builder.http1_only();
        }
        if route.direct || !self.environment_proxy {
            builder = builder.no_proxy();
        }
        if route.guarded {
            builder = builder.dns_resolver(GuardedResolver);
        }
        builder.build().map_err(|e| Error::Settings(format!("HTTP client: {}", chain(&e))))
    }
}

/// Resolves names as the system does, but never to metadata addresses.
#[derive(Debug)]
struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| uri::is_metadata(a.ip()));
            if good.is_empty()
                && let Some(what) = bad.first().and_then(|a| uri::refusal(a.ip()))
            {
                return Err(BoxError::from(format!("{} resolves to {what}", name.as_str())));
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// An error of the HTTP stack in our terms.
pub(crate) fn describe(method: Method, url: String, error: reqwest::Error) -> Error {
    let error = error.without_url();
    Error::Transport { method, url, fault: classify(&error), reason: chain(&error) }
}

fn classify(error: &reqwest::Error) -> Fault {
    if let Some(tls) = tls_cause(error) {
        use rustls::{AlertDescription as Alert, Error as Tls};
        return match tls {
            Tls::InvalidCertificate(_) => Fault::Certificate,
            // Ours is missing, or is not the one that is wanted.
            Tls::AlertReceived(
                Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::UnknownCA,
            ) => Fault::Certificate,
            _ => Fault::Tls,
        };
    }
    if error.is_builder() {
        Fault::Request
    } else if error.is_dns() && !chain(error).to_ascii_lowercase().contains("temporary") {
        Fault::Dns
    } else if chain(error).contains(ENHANCE_YOUR_CALM) {
        Fault::Overload
    } else if error.is_connect() {
        Fault::Connect
    } else {
        Fault::Cut
    }
}

fn tls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // `io::Error` hides what it wraps from `source`.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => tls_cause(wrapped),
        None => tls_cause(error.source()?),
    }
}

/// The message with its causes, without repeating what a message already includes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(current) = cause {
        let text = current.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        cause = current.source();
    }
    // reqwest's own words say only that a request failed.
    if parts.len() > 1 && parts[0].starts_with("error ") {
        parts.remove(0);
    }
    parts.join(": ")
}
