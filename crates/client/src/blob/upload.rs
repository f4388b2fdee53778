//! The body of an upload: counted, watched, and never longer or shorter than announced.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use palan_core::Digest;

use super::{BlobOpener, ByteStream, GrowingBlob};
use crate::{
    BoxError, Error,
    wire::{Activity, Wire},
};

/// Part of a blob on its way to a registry.
#[derive(Clone)]
pub(crate) struct Upload<'a> {
    opener: &'a dyn BlobOpener,
    /// Which blob it is of, where that is known already.
    digest: Option<Digest>,
    offset: u64,
    /// `None`: up to the end of what is opened.
    length: Option<u64>,
    /// Where in the blob the bytes end that were handed out for sending, in this or another request of the session.
    handed: Arc<AtomicU64>,
    /// Why the bytes could not be read: not the registry's fault, so not to be mixed up with it.
    failure: Arc<Mutex<Option<BoxError>>>,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(opener: &'a dyn BlobOpener, digest: Digest, offset: u64, length: u64) -> Self {
        let (handed, failure) = Default::default();
        Self { opener, digest: Some(digest), offset, length: Some(length), handed, failure }
    }

    /// All of a blob that is still being made.
    pub(crate) fn growing(blob: &'a dyn GrowingBlob) -> Self {
        let (handed, failure) = Default::default();
        Self { opener: blob, digest: None, offset: 0, length: None, handed, failure }
    }

    /// Counts what is handed out for sending here.
    pub(crate) fn counted(self, handed: &Arc<AtomicU64>) -> Self {
        Self { handed: handed.clone(), ..self }
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(crate) async fn body(
        &self,
        activity: Arc<Activity>,
        wire: Arc<Wire>,
    ) -> Result<reqwest::Body, Error> {
        let opened = self.opener.open(self.offset).await;
        let source = opened.map_err(|source| Error::Source { digest: self.digest, source })?;
        activity.set_sent(self.length == Some(0));
        let ready = Bytes::new();
        let body = Body {
            source,
            ready,
            left: self.length,
            at: self.offset,
            handed: self.handed.clone(),
            activity,
            wire,
            failure: self.failure.clone(),
        };
        Ok(reqwest::Body::wrap_stream(stream::unfold(body, |mut body| async move {
            body.next().await.map(|item| (item, body))
        })))
    }

    /// The source's error, where that is what made the request fail.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => Error::Source { digest: self.digest, source },
            None => error,
        }
    }
}

/// Small enough that sending one is quick on any line: silence is measured from piece to piece.
const PIECE: usize = 64 * 1024;

struct Body {
    source: ByteStream,
    /// What the source gave and was not sent yet.
    ready: Bytes,
    /// `None`: whatever the source has.
    left: Option<u64>,
    /// Where in the blob the next byte stands.
    at: u64,
    handed: Arc<AtomicU64>,
    activity: Arc<Activity>,
    wire: Arc<Wire>,
    failure: Arc<Mutex<Option<BoxError>>>,
}

impl Body {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.left == Some(0) {
            return None;
        }
        while self.ready.is_empty() {
            self.activity.pause(true);
            let item = self.source.next().await;
            self.activity.pause(false);
            match item {
                Some(Ok(chunk)) => self.ready = chunk,
                Some(Err(error)) => return Some(Err(self.fail(error))),
                None => {
                    let Some(missing) = self.left else {
                        self.left = Some(0);
                        self.activity.set_sent(true);
                        return None;
                    };
                    return Some(
                        Err(self.fail(format!("the content ends {missing} bytes too early").into())),
                    );
                }
            }
        }
        Some(Ok(self.piece()))
    }

    fn piece(&mut self) -> Bytes {
        let left = self.left.unwrap_or(u64::MAX);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let piece = self.ready.split_to(self.ready.len().min(most));
        self.at += piece.len() as u64;
        self.left = self.left.map(|left| left - piece.len() as u64);
        self.wire.counters.bytes_sent.fetch_add(piece.len() as u64, Relaxed);
        self.handed.fetch_max(self.at, Relaxed);
        self.activity.set_sent(self.left == Some(0));
        piece
    }

    fn fail(&mut self, error: BoxError) -> BoxError {
        let text = error.to_string();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.left = Some(0);
        text.into()
    }
}
