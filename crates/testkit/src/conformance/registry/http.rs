//! Plain HTTP, and what the checks do often with it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use palan_core::{Algorithm, Digest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::Stop;

/// No answer takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A client of the registry under test.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Body>,
    base: String,
}

/// A request being put together.
pub(super) struct Call<'a> {
    http: &'a Http,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    request: String,
}

impl Http {
    pub(super) fn new(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: base.trim_end_matches('/').to_owned() }
    }

    pub(super) fn call(&self, method: Method, target: impl Into<String>) -> Call<'_> {
        let (target, headers) = (target.into(), Vec::new());
        Call { http: self, method, target, headers, body: full(Bytes::new()) }
    }

    pub(super) fn get(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, target)
    }

    pub(super) fn head(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::HEAD, target)
    }

    pub(super) fn post(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, target)
    }

    pub(super) fn patch(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::PATCH, target)
    }

    pub(super) fn put(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::PUT, target)
    }

    pub(super) fn delete(&self, target: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, target)
    }

    /// A new upload session: its location.
    pub(super) async fn session(&self, repository: &str) -> Result<String, Stop> {
        let answer = self.post(format!("/v2/{repository}/blobs/uploads/")).send().await?;
        if answer.status != 202 {
            return Err(format!("no upload session: {}", answer.summary()));
        }
        answer.location()
    }

    /// Pushes a blob by `POST` and `PUT`.
    pub(super) async fn push_blob(
        &self,
        repository: &str,
        blob: &[u8],
        algorithm: Algorithm,
    ) -> Result<Digest, Stop> {
        let digest = algorithm.digest(blob);
        let location = self.session(repository).await?;
        let target = with_query(&location, &format!("digest={digest}"));
        let answer = self.put(target).bytes(blob).send().await?;
        if answer.status != 201 {
            return Err(format!("blob not accepted: {}", answer.summary()));
        }
        Ok(digest)
    }

    /// Pushes a manifest to a tag or digest.
    pub(super) async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Answer, Stop> {
        let call = self.put(format!("/v2/{repository}/manifests/{reference}"));
        call.header("content-type", media_type).bytes(bytes).send().await
    }

    /// Sends text as it is on a connection of its own and reads what comes back until the server closes.
    pub(super) async fn raw(&self, text: &[u8]) -> Result<String, Stop> {
        let talk = async {
            let mut stream = TcpStream::connect(self.host()).await?;
            // A server may close before it has read everything: what it said counts.
            let _ = stream.write_all(text).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = timeout(PATIENCE, talk).await.map_err(|_| "the server did not close".to_owned())?;
        answer.map_err(|e| format!("raw connection: {e}"))
    }

    /// Sends text on a connection of its own and leaves without waiting for an answer.
    pub(super) async fn raw_cut(&self, text: &[u8]) -> Result<(), Stop> {
        let failed = |e: std::io::Error| format!("raw connection: {e}");
        let mut stream = TcpStream::connect(self.host()).await.map_err(failed)?;
        stream.write_all(text).await.map_err(failed)?;
        stream.flush().await.map_err(failed)
    }

    /// Host and port.
    pub(super) fn host(&self) -> &str {
        self.base.strip_prefix("http://").unwrap_or(&self.base)
    }
}

impl Call<'_> {
    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn bytes(mut self, body: &[u8]) -> Self {
        self.body = full(Bytes::copy_from_slice(body));
        self
    }

    /// A body without a length, in pieces.
    pub(super) fn stream(mut self, pieces: &[&[u8]]) -> Self {
        let frames: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        self.body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        self
    }

    pub(super) async fn send(self) -> Result<Answer, Stop> {
        let request = format!("{} {}", self.method, self.target);
        let failed = |e: &dyn std::fmt::Display| format!("{request}: {e}");
        let url = if self.target.starts_with("http://") {
            self.target.clone()
        } else {
            format!("{}{}", self.http.base, self.target)
        };
        let mut builder = Request::builder().method(self.method.clone()).uri(url);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let message = builder.body(self.body).map_err(|e| failed(&e))?;
        let answer = timeout(PATIENCE, self.http.client.request(message));
        let answer = answer.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let (parts, body) = answer.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.map_err(|e| failed(&e))?;
        let body = body.map_err(|e| failed(&e))?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, request })
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn location(&self) -> Result<String, Stop> {
        let location = self.header("location").map(str::to_owned);
        location.ok_or_else(|| format!("no Location: {}", self.summary()))
    }

    pub(super) fn json(&self) -> Result<serde_json::Value, Stop> {
        serde_json::from_slice(&self.body).map_err(|e| format!("no JSON ({e}): {}", self.summary()))
    }

    /// The target of a `Link` to the next page.
    pub(super) fn next(&self) -> Option<String> {
        let (target, rest) = self.header("link")?.strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| target.to_owned())
    }

    pub(super) fn summary(&self) -> String {
        let text = self.body[..self.body.len().min(200)].escape_ascii();
        format!("{} answered {} {text}", self.request, self.status)
    }
}

/// A target with one more parameter.
pub(super) fn with_query(target: &str, parameter: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}{parameter}")
}

/// `length` bytes that no other `seed` gives and no compressor makes smaller.
pub(super) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    let mut block = Algorithm::Sha512.digest(seed.as_bytes());
    while out.len() < length {
        out.extend_from_slice(block.as_bytes());
        block = Algorithm::Sha512.digest(block.as_bytes());
    }
    out.truncate(length);
    out
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
