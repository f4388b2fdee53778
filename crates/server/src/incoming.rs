//! Request bodies, read with limits on size and patience.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use tokio::time::timeout;

use crate::problem::{Code, Problem};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that delivers nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of an unwanted body is read, and for how long, so that the client sees the answer and not a reset.
const DRAIN_BYTES: u64 = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The body of a request.
pub(crate) struct Incoming {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// What the client says the length is, in bytes.
    length: Option<u64>,
    ended: bool,
    /// Reading would tell the client to send what it waits to be asked for.
    expects_continue: bool,
    started: bool,
}

impl Incoming {
    pub(crate) fn new<B>(body: B, headers: &HeaderMap) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let ended = body.is_end_stream();
        Self {
            length: body.size_hint().exact(),
            body: body.map_err(Into::into).boxed_unsync(),
            ended,
            expects_continue: headers.contains_key(header::EXPECT),
            started: false,
        }
    }

    /// This body, leaving one that has ended.
    pub(crate) fn take(&mut self) -> Self {
        let rest = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let ended = Self { body: rest, length: Some(0), ended: true, expects_continue: false, started: true };
        std::mem::replace(self, ended)
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.started = true;
        while !self.ended {
            let frame = timeout(PATIENCE, self.body.frame()).await.map_err(|_| {
                self.ended = true;
                Problem::new(Code::BlobUploadInvalid, "the body stopped arriving")
                    .with_status(StatusCode::REQUEST_TIMEOUT)
            })?;
            match frame {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.ended = true;
                    tracing::debug!("request body: {error}");
                    return Err(Problem::new(Code::BlobUploadInvalid, "the body was cut"));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
        Ok(None)
    }

    /// The whole body, at most `limit` bytes of it: else 413.
    pub(crate) async fn collect(&mut self, limit: u64) -> Result<Bytes, Problem> {
        let too_large = || {
            Problem::new(Code::ManifestInvalid, format!("the manifest is larger than {limit} bytes"))
                .with_status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        let length = self.length.unwrap_or(0);
        if length > limit {
            return Err(too_large());
        }
        let mut all = BytesMut::with_capacity(length as usize);
        while let Some(data) = self.next().await? {
            if (all.len() + data.len()) as u64 > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// Reads and forgets what is left, within reason.
    pub(crate) async fn drain(&mut self) {
        let waits = self.expects_continue && !self.started;
        if self.ended || waits || self.length.is_some_and(|l| l > DRAIN_BYTES) {
            return;
        }
        let mut left = DRAIN_BYTES;
        let read = async {
            while let Ok(Some(data)) = self.next().await {
                left = left.saturating_sub(data.len() as u64);
                if left == 0 {
                    break;
                }
            }
        };
        let _ = timeout(DRAIN_TIME, read).await;
    }
}
