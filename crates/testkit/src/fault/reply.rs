//! Answers: whole ones, and those that are cut, stalled or late.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::{Body, BoxError, Request};

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    announce: bool,
    pub(super) delay: Option<Duration>,
    pub(super) end: End,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
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

    pub(super) fn into_response(self, method: &Method) -> Response<Body> {
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
