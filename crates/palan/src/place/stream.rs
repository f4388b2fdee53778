//! Helpers for blob streams.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use palan_core::{Descriptor, Digest, Mismatch, Verifier};
use palan_layer::Expected;
use tokio::sync::mpsc;

use super::Source;
use crate::{
    Error, Event, Observer,
    cancel::{Cancelled, cancel, on_thread},
};

/// The content of a blob as stored (a layer: compressed), in pieces.
///
/// It may know that it is checked on its way: then nobody hashes the content a second time.
pub struct BlobStream {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    /// It fails before its last piece if the content is not this blob's.
    verified: Option<Digest>,
}

impl BlobStream {
    /// Content that nobody has checked yet.
    pub fn new(pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self { pieces: Box::pin(pieces), verified: None }
    }

    /// Content that `pieces` themselves check: an error comes before the last one if it is not that of the blob.
    pub(crate) fn verified(
        blob: &Descriptor,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Self {
        Self { pieces: Box::pin(pieces), verified: Some(blob.digest) }
    }

    /// Whether it fails before its last piece if the content is not that of the blob.
    pub(crate) fn is_verified(&self, blob: &Descriptor) -> bool {
        self.verified == Some(blob.digest)
    }

    /// The blob, as whoever reads this stream may expect it.
    pub(crate) fn expected(&self, blob: &Descriptor) -> Expected {
        if self.is_verified(blob) { Expected::verified(blob.clone()) } else { blob.clone().into() }
    }

    /// Calls `look` with each piece on its way.
    #[must_use]
    pub(crate) fn inspected(self, look: impl FnMut(&Result<Bytes, Error>) + Send + 'static) -> Self {
        Self { pieces: Box::pin(self.pieces.inspect(look)), verified: self.verified }
    }

    /// Tells how far a blob is read.
    #[must_use]
    pub(crate) fn told_to(self, observer: &Observer, digest: Digest) -> Self {
        let observer = observer.clone();
        self.inspected(move |piece| {
            if let Ok(piece) = piece {
                observer.emit(&Event::BlobProgress { digest, bytes: piece.len() as u64 });
            }
        })
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

/// Collects a stream. The streams of this crate are bounded by their descriptor's size, which callers check first.
pub(crate) async fn read_all(mut content: BlobStream) -> Result<Bytes, Error> {
    let mut out = BytesMut::new();
    while let Some(piece) = content.next().await {
        out.extend_from_slice(&piece?);
    }
    Ok(out.freeze())
}

/// Opens a whole blob, telling that it begins to move and how far it is. Who reads it tells when it is done.
pub(crate) async fn open_announced(
    source: &dyn Source,
    blob: &Descriptor,
    observer: &Observer,
) -> Result<BlobStream, Error> {
    observer.emit(&Event::BlobStarted { blob });
    Ok(source.open(blob, 0).await?.told_to(observer, blob.digest))
}

/// Passes a whole blob on and fails before its last piece when it is not what `blob` promises.
pub(crate) fn verified(place: String, blob: &Descriptor, content: BlobStream) -> BlobStream {
    if content.is_verified(blob) {
        return content;
    }
    let state = Some((content, Verifier::of(blob)));
    let digest = blob.digest;
    let checked = stream::unfold(state, move |state| {
        let place = place.clone();
        async move {
            let (mut content, mut verifier) = state?;
            let damaged = |source| Error::Damaged { name: digest.to_string(), place, source };
            match content.next().await {
                Some(Ok(piece)) => match verifier.update(&piece) {
                    Ok(()) => Some((Ok(piece), Some((content, verifier)))),
                    Err(source) => Some((Err(damaged(source)), None)),
                },
                Some(Err(e)) => Some((Err(e), None)),
                None => verifier.finish().err().map(|source| (Err(damaged(source)), None)),
            }
        }
    });
    BlobStream::verified(blob, hold_back(checked))
}

/// Passes each piece on when the next one, or the end, has come without an error.
///
/// Who uploads a blob stops reading at its last byte and would never see that the end was an error; the target would
/// then blame the content, and nobody would name the place it came from.
pub(crate) fn hold_back(
    content: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let state = Some((Box::pin(content), None));
    stream::unfold(state, |state| async move {
        let (mut content, mut held): (_, Option<Bytes>) = state?;
        loop {
            match (content.next().await, held.take()) {
                (Some(Ok(next)), Some(piece)) => return Some((Ok(piece), Some((content, Some(next))))),
                (Some(Ok(first)), None) => held = Some(first),
                (Some(Err(e)), _) => return Some((Err(e), None)),
                (None, last) => return last.map(|piece| (Ok(piece), None)),
            }
        }
    })
}

/// The part of a blob from `offset` on, as places with random access have it: checked against the descriptor's digest
/// when it is the whole, against its size when it is a part.
pub(crate) fn checked(
    place: String,
    blob: &Descriptor,
    offset: u64,
    content: BlobStream,
) -> Result<BlobStream, Error> {
    if offset == 0 {
        return Ok(verified(place, blob, content));
    }
    let (digest, expected) = (blob.digest, blob.size);
    let damaged = move |place, found| {
        let source = Mismatch::Size { digest, expected, found };
        Error::Damaged { name: digest.to_string(), place, source }
    };
    if offset > expected {
        return Err(damaged(place, offset));
    }
    let state = Some((content, offset));
    Ok(BlobStream::new(stream::unfold(state, move |state| {
        let place = place.clone();
        async move {
            let (mut content, seen) = state?;
            match content.next().await {
                Some(Ok(piece)) => match seen + piece.len() as u64 {
                    seen if seen > expected => Some((Err(damaged(place, seen)), None)),
                    seen => Some((Ok(piece), Some((content, seen)))),
                },
                Some(Err(e)) => Some((Err(e), None)),
                None if seen == expected => None,
                None => Some((Err(damaged(place, seen)), None)),
            }
        }
    })))
}

/// Feeds a stream to synchronous `work` on a thread of its own, through a channel of a few pieces: CPU work does not
/// hold up the network, and memory does not grow with the content.
pub(crate) async fn with_reader<T: Send + 'static>(
    mut content: BlobStream,
    work: impl FnOnce(&mut ChannelReader) -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::channel(4);
    let (_cancel, cancelled) = cancel();
    let worker = on_thread(move || work(&mut ChannelReader { receiver, piece: Bytes::new(), cancelled }));
    let mut failed = None;
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(|e| failed = Some(e));
        let last = piece.is_err();
        if sender.send(piece).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    let done = worker.await?;
    failed.map_or(Ok(done), Err)
}

/// The synchronous end of [`with_reader`].
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<Result<Bytes, ()>>,
    piece: Bytes,
    cancelled: Cancelled,
}

impl io::Read for ChannelReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => {
                    // What was dropped has not ended.
                    self.cancelled.check()?;
                    return Ok(0);
                }
                Some(Ok(piece)) => self.piece = piece,
                // The cause is returned by `with_reader` itself.
                Some(Err(())) => return Err(io::Error::other("the source failed")),
            }
        }
        let n = out.len().min(self.piece.len());
        out[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}
