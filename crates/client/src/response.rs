//! The answer to a request: bounded, watched and counted.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use palan_core::Digest;
use url::Url;

use crate::{
    Error, ErrorCode, StatusError, retry,
    trace::Exchange,
    uri,
    wire::{self, Wire},
};

/// Of an error's body, no more than this is read.
const ERROR_BODY: u64 = 64 * 1024;
/// Of plain text in an error's body, no more than this is shown.
const SHOWN_TEXT: usize = 200;

pub(crate) struct Response {
    method: Method,
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    wire: Arc<Wire>,
    /// Where its body is traced: not where that may be content.
    trace: Option<Exchange>,
    /// Whether the registry itself answered, not a host it redirected to.
    pub(crate) own: bool,
    /// Whether it is a refusal for want of credentials.
    pub(crate) anonymous: bool,
    /// Which mirror answered, if one did: its place in the list.
    pub(crate) mirror: Option<usize>,
}

enum Body {
    Live(reqwest::Response),
    Read(Bytes),
}

impl Response {
    pub(crate) fn new(
        method: Method,
        url: Url,
        mut inner: reqwest::Response,
        wire: Arc<Wire>,
        trace: Option<Exchange>,
    ) -> Self {
        let headers = std::mem::take(inner.headers_mut());
        let status = inner.status();
        let body = Body::Live(inner);
        Self { method, url, status, headers, body, wire, trace, own: true, anonymous: false, mirror: None }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The URL for messages.
    pub(crate) fn shown_url(&self) -> String {
        uri::redact(&self.url)
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `Content-Length` header; for `HEAD` the length that `GET` would have.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// `Docker-Content-Digest`, unless it is missing or malformed.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.trim().parse().ok()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry::parse_retry_after(self.header(header::RETRY_AFTER)?, SystemTime::now())
    }

    /// Where an upload goes on.
    pub(crate) fn location(&self) -> Result<Url, Error> {
        let location = self.header(header::LOCATION);
        let location = location.ok_or_else(|| self.malformed("the answer has no Location"))?;
        uri::resolve(&self.url, location).ok_or_else(|| self.malformed("the Location is not an http URL"))
    }

    pub(crate) fn is_html(&self) -> bool {
        self.header(header::CONTENT_TYPE).is_some_and(|text| {
            let kind = text.split(';').next().unwrap_or_default().trim();
            ["text/html", "application/xhtml+xml"].iter().any(|html| kind.eq_ignore_ascii_case(html))
        })
    }

    /// The error for an answer that breaks the protocol.
    pub(crate) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Answer { url: self.shown_url(), reason: reason.into() }
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let inner = match &mut self.body {
            Body::Read(bytes) => return Ok(Some(std::mem::take(bytes)).filter(|b| !b.is_empty())),
            Body::Live(inner) => inner,
        };
        match tokio::time::timeout(self.wire.inactivity, inner.chunk()).await {
            Ok(Ok(chunk)) => {
                let length = chunk.as_ref().map_or(0, |c| c.len() as u64);
                self.wire.counters.bytes_received.fetch_add(length, Relaxed);
                Ok(chunk)
            }
            Ok(Err(error)) => Err(wire::describe(self.method.clone(), self.shown_url(), error)),
            Err(_) => Err(self.wire.inactive(self.method.clone(), self.shown_url())),
        }
    }

    /// The whole body, refused when it has more than `limit` bytes.
    pub(crate) async fn read(&mut self, limit: u64, what: impl Fn() -> String) -> Result<Bytes, Error> {
        if let Some(size) = self.length().filter(|&size| size > limit && self.method != Method::HEAD) {
            return Err(Error::TooLarge { what: what(), size, limit });
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
            if all.len() as u64 > limit {
                return Err(Error::TooLarge { what: what(), size: all.len() as u64, limit });
            }
        }
        let all = all.freeze();
        self.trace(&all);
        Ok(all)
    }

    /// Traces the body, the first time that it has been read.
    fn trace(&mut self, body: &[u8]) {
        if let Some(trace) = self.trace.take() {
            trace.reads(body, &self.headers);
        }
    }

    /// Reads the body and keeps it; of one with more than `limit` bytes only so much that [`Self::read`] refuses it.
    pub(crate) async fn buffer(&mut self, limit: u64) -> Result<(), Error> {
        if self.length().is_some_and(|size| size > limit) {
            return Ok(());
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
            if all.len() as u64 > limit {
                break;
            }
        }
        let all = all.freeze();
        self.trace(&all);
        self.body = Body::Read(all);
        Ok(())
    }

    /// The body, where it has been read and kept.
    pub(crate) fn buffered(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Read(bytes) => Some(bytes),
            Body::Live(_) => None,
        }
    }

    /// Reads the body of an answer that is probably an error and keeps it, so that it can be read again.
    pub(crate) async fn peek_error(&mut self) -> Bytes {
        let mut kept = BytesMut::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            let room = (ERROR_BODY as usize).saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if kept.len() as u64 >= ERROR_BODY {
                break;
            }
        }
        let kept = kept.freeze();
        self.trace(&kept);
        self.body = Body::Read(kept.clone());
        kept
    }

    /// Whether it is Go's and nginx' answer to plain http on a TLS port.
    pub(crate) async fn wants_tls(&mut self) -> bool {
        if self.status != StatusCode::BAD_REQUEST {
            return false;
        }
        let body = self.peek_error().await;
        String::from_utf8_lossy(&body).contains("HTTPS")
    }

    /// This answer, if its status is one of these; else the error it is.
    pub(crate) async fn expect(self, wanted: &[StatusCode]) -> Result<Self, Error> {
        if wanted.contains(&self.status) { Ok(self) } else { Err(self.into_error().await) }
    }

    /// As [`Response::expect`], and refuses web pages: some hosts answer every request with one, and 200.
    pub(crate) async fn expect_data(self, wanted: &[StatusCode]) -> Result<Self, Error> {
        let answer = self.expect(wanted).await?;
        if answer.is_html() {
            return Err(Error::Html { url: answer.shown_url() });
        }
        Ok(answer)
    }

    /// The error that this answer is.
    pub(crate) async fn into_error(mut self) -> Error {
        let body = self.peek_error().await;
        let codes = parse_codes(&body);
        let html = self.is_html();
        let text = if html || !codes.is_empty() { None } else { first_line(&body) };
        Error::Status(Box::new(StatusError {
            retry_after: self.retry_after(),
            url: self.shown_url(),
            method: self.method,
            status: self.status,
            codes,
            text,
            html,
            anonymous: self.anonymous,
        }))
    }
}

fn parse_codes(body: &[u8]) -> Vec<ErrorCode> {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<ErrorCode>,
    }
    let mut codes = serde_json::from_slice::<Errors>(body).map(|e| e.errors).unwrap_or_default();
    for code in &mut codes {
        code.code = shown(&code.code);
        code.message = code.message.take().map(|m| shown(&m));
    }
    codes
}

/// Foreign text for a terminal: no control characters, not too long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_TEXT).collect()
}

fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let line = text.lines().map(str::trim).find(|l| !l.is_empty())?;
    Some(shown(line))
}
