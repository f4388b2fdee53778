//! A registry that fails as scripted.
//!
//! A closure answers each request; answers can be cut, stalled or delayed, uploads can be cut while they are read.
//! Everything asked is recorded.

mod reply;
mod store;

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, request::Parts};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use self::reply::End;
pub use self::{reply::Reply, store::Store};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;
type Handler = dyn Fn(&Request) -> Reply + Send + Sync;
type UploadLimit = dyn Fn(&Parts) -> Option<usize> + Send + Sync;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, as sent.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; what arrived of it, when the upload was cut.
    pub body: Bytes,
    /// Whether the upload was cut: then nobody sees the reply.
    pub cut: bool,
    /// How many requests came before this one.
    pub before: usize,
    /// How many requests with this method and path (without query) came before this one.
    pub same_before: usize,
}

impl Request {
    /// The path without query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header's text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The first byte asked for by `Range: bytes=N-`.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range").strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }

    /// Method and target, for comparing: `GET /v2/`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// A registry on a free loopback port, until it is dropped.
pub struct FaultRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    handler: Box<Handler>,
    upload_limit: Box<UploadLimit>,
    log: Mutex<Vec<Request>>,
}

impl FaultRegistry {
    /// Starts one that answers with what `handler` gives.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_cutting(|_| None, handler).await
    }

    /// As [`FaultRegistry::start`]; where `upload_limit` gives a number, the connection breaks after so many bytes of
    /// the request's body have arrived. The handler still sees the request.
    pub async fn start_cutting(
        upload_limit: impl Fn(&Parts) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("the port's address");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            upload_limit: Box::new(upload_limit),
            log: Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, server }
    }

    /// Host and port, as in references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A URL of this registry; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method and target of everything asked so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }

    /// How many requests began so: `count("GET /v2/a/blobs/")`.
    pub fn count(&self, line_start: &str) -> usize {
        self.lines().iter().filter(|l| l.starts_with(line_start)).count()
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and with it all connections, when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    // Broken connections are what this server is for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: http::Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let limit = (shared.upload_limit)(&parts);
    let (body, cut) = read(body, limit).await;
    let request = shared.record(parts, body, cut);
    let reply = (shared.handler)(&request);
    if cut {
        return Err("cut as scripted".into());
    }
    if let Some(delay) = reply.delay {
        tokio::time::sleep(delay).await;
    }
    match reply.end {
        End::Abort => Err("aborted as scripted".into()),
        End::Silence => match std::future::pending::<Infallible>().await {},
        _ => Ok(reply.into_response(&request.method)),
    }
}

async fn read(mut body: Incoming, limit: Option<usize>) -> (Bytes, bool) {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (all.freeze(), true) };
        if let Some(data) = frame.data_ref() {
            all.extend_from_slice(data);
        }
        if let Some(limit) = limit.filter(|&limit| all.len() >= limit) {
            all.truncate(limit);
            return (all.freeze(), true);
        }
    }
    (all.freeze(), false)
}

impl Shared {
    fn record(&self, parts: Parts, body: Bytes, cut: bool) -> Request {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let target = parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string);
        let mut request = Request {
            method: parts.method,
            target,
            headers: parts.headers,
            body,
            cut,
            before: log.len(),
            same_before: 0,
        };
        let same = |r: &&Request| r.method == request.method && r.path() == request.path();
        request.same_before = log.iter().filter(same).count();
        log.push(request.clone());
        request
    }
}

/// Fixed answers by method and target (`GET /v2/`); everything else is 404.
pub fn table<const N: usize>(
    entries: [(&str, Reply); N],
) -> impl Fn(&Request) -> Reply + Send + Sync + use<N> {
    let entries: HashMap<String, Reply> = entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    move |request| {
        let found = entries.get(&request.line());
        let found = found.or_else(|| entries.get(&format!("{} {}", request.method, request.path())));
        found.cloned().unwrap_or_else(|| Reply::error(404, "NOT_FOUND"))
    }
}
