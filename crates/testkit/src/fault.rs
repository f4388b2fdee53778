//! A registry that fails as scripted.
//!
//! A closure answers each request; answers can be cut, stalled or delayed, uploads can be cut while they are read.
//! Everything asked is recorded.

mod store;

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

pub use self::store::Store;

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

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    announce: bool,
    delay: Option<Duration>,
    end: End,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes of the body; the connection stays open.
    Stall(usize),
    /// The connection breaks before the head.
    Abort,
    /// Not even the head comes.
    Silence,
}

impl Reply {
    /// An empty body. Panics on a number that is no status.
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            announce: true,
            delay: None,
            end: End::Whole,
        }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).body(body)
    }

    /// 200 with a JSON text.
    pub fn json(text: impl Into<String>) -> Self {
        Self::ok(text.into()).header("content-type", "application/json")
    }

    /// An error as the specification wants it.
    pub fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"scripted"}}]}}"#);
        Self::status(status).body(body).header("content-type", "application/json")
    }

    /// Connection broken before anything is answered.
    pub fn abort() -> Self {
        Self { end: End::Abort, ..Self::status(200) }
    }

    /// Nothing is ever answered.
    pub fn silence() -> Self {
        Self { end: End::Silence, ..Self::status(200) }
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With this header. Panics on what no header can hold.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
        self
    }

    /// With a header whose value is no text. Panics on what no header can hold.
    #[must_use]
    pub fn raw_header(mut self, name: &str, value: &[u8]) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.append(name, HeaderValue::from_bytes(value).expect("a header's value"));
        self
    }

    /// The bytes that would be sent.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The status that would be sent.
    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// Answers `Range: bytes=N-` of `request` with that part of `body`, else all of it.
    pub fn ranged(request: &Request, body: &Bytes) -> Self {
        match request.range_start() {
            None => Self::ok(body.clone()),
            Some(start) if start >= body.len() => Self::status(416),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Self::status(206).body(body.slice(start..)).header("content-range", &range)
            }
        }
    }

    /// The body has no `Content-Length`.
    #[must_use]
    pub fn unannounced(mut self) -> Self {
        self.announce = false;
        self
    }

    /// The connection breaks after `bytes` of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    /// Nothing comes after `bytes` of the body.
    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.end = End::Stall(bytes);
        self
    }

    /// The answer begins later.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    fn into_response(self, method: &Method) -> Response<Body> {
        let length = self.body.len();
        let body = match self.end {
            End::Cut(at) => interrupted(self.body.slice(..at.min(length)), false),
            End::Stall(at) => interrupted(self.body.slice(..at.min(length)), true),
            _ => interruptible(stream::iter([Ok(Frame::data(self.body))])),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let has_body = !matches!(self.status.as_u16(), 100..=199 | 204 | 304);
        if self.announce && has_body && !response.headers().contains_key(header::CONTENT_LENGTH) {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        if method == Method::HEAD || !has_body {
            *response.body_mut() = interruptible(stream::empty());
        }
        response
    }
}

fn interruptible(
    frames: impl futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static,
) -> Body {
    StreamBody::new(frames).boxed_unsync()
}

/// `start`, and then silence or the end of the connection.
fn interrupted(start: Bytes, silence: bool) -> Body {
    let rest = stream::once(async move {
        if silence {
            std::future::pending::<()>().await;
        }
        // A pending body makes hyper flush what it has.
        tokio::task::yield_now().await;
        Err(BoxError::from("cut as scripted"))
    });
    let start = stream::iter(Some(start).filter(|s| !s.is_empty()).map(|s| Ok(Frame::data(s))));
    interruptible(start.chain(rest))
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
