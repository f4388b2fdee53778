//! Pulling: a stream that survives cuts.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http::{Method, StatusCode, header};
use palan_core::{Descriptor, Digest, Mismatch, Verifier};

use crate::{
    Error, Repo,
    registry::Registry,
    repo::Access,
    response::Response,
    retry::{Attempts, Failure},
    wire::Lane,
};

/// How often a blob is taken up again, however much each attempt brings; and once more for each of these bytes: there
/// are proxies that answer long ranges piece by piece.
const MAX_RESUMPTIONS: u64 = 1_000;
const BYTES_PER_RESUMPTION: u64 = 64 * 1024;

/// A blob's bytes from some offset on, in pieces as they come from the network.
///
/// After a cut or silence it goes on by `Range` where it was, or from the start where the registry does not do ranges.
/// The number of attempts is limited, closely so without any progress.
/// The size is always checked, the digest when the stream began at offset 0. Both are checked at the end: bytes must
/// not be trusted before the stream has ended without an error.
pub struct BlobStream {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(context)
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobStream")
    }
}

impl Repo {
    /// Opens a blob at `offset` (in the blob as stored). The first answer is awaited, so that a missing blob fails
    /// here.
    pub async fn open_blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let registry = self.registry()?;
        let mut pull = Pull {
            repo: self.clone(),
            descriptor: descriptor.clone(),
            position: offset,
            skip: 0,
            verifier: (offset == 0).then(|| Verifier::of(descriptor)),
            answer: None,
            mirror: None,
            fed: None,
            ranges: true,
            attempts: Attempts::new(Some(&registry.pace)),
            resumptions: 0,
            received: 0,
            registry,
        };
        if offset > descriptor.size {
            return Err(pull.wrong_size(offset));
        }
        if offset < descriptor.size || offset == 0 {
            pull.begin().await?;
        }
        let inner = stream::try_unfold(Some(pull), |pull| async move {
            let Some(mut pull) = pull else { return Ok(None) };
            match pull.next().await? {
                Some(chunk) => Ok(Some((chunk, Some(pull)))),
                None => pull.finish().map(|()| None),
            }
        });
        Ok(BlobStream { inner: inner.boxed() })
    }

    /// A small blob (a config) as a whole, verified; refused when its descriptor says more than `limit` bytes.
    pub async fn blob_bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            let what = self.name().with_digest(descriptor.digest).to_string();
            return Err(Error::TooLarge { what, size: descriptor.size, limit });
        }
        let read = async |repo: &Self| {
            let mut blob = repo.open_blob(descriptor, 0).await?;
            let mut all = BytesMut::new();
            while let Some(chunk) = blob.next().await {
                all.extend_from_slice(&chunk?);
            }
            Ok(all.freeze())
        };
        match read(self).await {
            // Nothing was handed out: what a mirror got wrong, the registry may have right.
            Err(Error::Mismatch { .. }) if self.uses_mirrors() => read(&self.primary()).await,
            outcome => outcome,
        }
    }
}

struct Pull {
    repo: Repo,
    descriptor: Descriptor,
    /// Where the next byte to hand out stands in the blob.
    position: u64,
    /// Bytes to throw away first, when the registry began earlier than asked.
    skip: u64,
    verifier: Option<Verifier>,
    answer: Option<Response>,
    /// The mirror that gave the last answer, if one did.
    mirror: Option<usize>,
    /// A mirror whose bytes were handed out.
    fed: Option<usize>,
    /// Whether the registry can be asked for parts.
    ranges: bool,
    /// Attempts since the last byte.
    attempts: Attempts,
    /// Attempts in all.
    resumptions: u64,
    /// Bytes handed out.
    received: u64,
    registry: Arc<Registry>,
}

impl Pull {
    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.step().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) if self.position == self.descriptor.size => return Ok(None),
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// The first answer.
    async fn begin(&mut self) -> Result<(), Error> {
        loop {
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// After a failure: leaves a mirror out, else waits, where it makes sense to try again.
    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        if let Some(mirror) = self.mirror.take() {
            self.repo.go_on_without(mirror, &error);
            (self.answer, self.ranges) = (None, true);
            return Ok(());
        }
        let attempt = if error.is_transient() { self.fail((&error).into()) } else { None };
        let Some(attempt) = attempt else { return Err(error) };
        tracing::debug!(%error, position = self.position, "taking the blob up again");
        self.answer = None;
        self.repo.transport().pause(attempt, error.retry_after()).await;
        Ok(())
    }

    /// Notes a failure. `None`: it was one too many.
    fn fail(&mut self, failure: Failure) -> Option<u32> {
        self.resumptions += 1;
        if self.resumptions > MAX_RESUMPTIONS + self.received / BYTES_PER_RESUMPTION {
            return None;
        }
        self.attempts.fail(&self.repo.transport().retry, failure, Some(&self.registry.pace))
    }

    /// One read. `None`: nothing to hand out this time.
    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        if self.answer.is_none() {
            if self.position == self.descriptor.size && self.position > 0 {
                return Ok(None);
            }
            self.connect().await?;
        }
        let Some(answer) = &mut self.answer else { return Ok(None) };
        match answer.chunk().await? {
            Some(chunk) => self.accept(chunk),
            None if self.position == self.descriptor.size => Ok(None),
            None => {
                self.answer = None;
                if self.mirror.is_some() {
                    return Err(self.wrong_size(self.position));
                }
                // Ended well, as far as HTTP can tell, and yet too early.
                if self.fail(Failure::Other).is_none() {
                    return Err(self.wrong_size(self.position));
                }
                Ok(None)
            }
        }
    }

    fn accept(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Error> {
        let skipped = self.skip.min(chunk.len() as u64);
        self.skip -= skipped;
        // `skipped` is at most the chunk's length.
        let _ = chunk.split_to(skipped as usize);
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = self.position + chunk.len() as u64;
        if end > self.descriptor.size {
            return Err(self.too_long());
        }
        if self.completes_wrongly(&chunk) {
            // Nothing of it was handed out yet: somebody else may have the right bytes.
            return Err(self.wrong_digest(&chunk));
        }
        self.attempts.renew();
        self.received += chunk.len() as u64;
        self.fed = self.fed.or(self.mirror);
        if let Some(verifier) = &mut self.verifier {
            let mirror = self.fed.or(self.mirror);
            verifier
                .update(&chunk)
                .map_err(|source| mismatch(&self.repo, &self.descriptor, mirror, source))?;
        }
        self.position = end;
        Ok(Some(chunk))
    }

    /// Whether a mirror has given a whole blob at once, and it is not this one.
    fn completes_wrongly(&self, chunk: &Bytes) -> bool {
        let whole = self.position == 0 && chunk.len() as u64 == self.descriptor.size;
        whole && self.mirror.is_some() && self.digest_of(chunk) != self.descriptor.digest
    }

    fn digest_of(&self, chunk: &Bytes) -> Digest {
        self.descriptor.digest.algorithm().digest(chunk)
    }

    fn wrong_digest(&self, chunk: &Bytes) -> Error {
        let found = self.digest_of(chunk);
        self.mismatch(Mismatch::Digest { expected: self.descriptor.digest, found })
    }

    /// Asks for the bytes from the position on; for all of them, where a part cannot be had.
    async fn connect(&mut self) -> Result<(), Error> {
        self.mirror = None;
        let mut answer = self.ask().await?;
        self.mirror = answer.mirror;
        if self.position > 0 && self.ranges && !self.is_usable(&answer) {
            tracing::debug!(status = answer.status().as_u16(), "no part of the blob to be had");
            self.ranges = false;
            answer = self.ask().await?;
            self.mirror = answer.mirror;
        }
        let start = match answer.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => self.range_start(&answer)?,
            _ => return Err(answer.into_error().await),
        };
        self.check_length(&answer, start)?;
        self.skip = self.position - start;
        self.answer = Some(answer);
        Ok(())
    }

    /// One request. Repeating is up to the caller: whoever repeats inside of what is repeated does so far too often.
    async fn ask(&self) -> Result<Response, Error> {
        let path = format!("blobs/{}", self.descriptor.digest);
        let mut call = self.repo.call(Method::GET, &path, Access::Pull)?;
        (call.lane, call.retry) = (Lane::Blob, false);
        if self.position > 0 && self.ranges {
            call = call.header(header::RANGE, &format!("bytes={}-", self.position));
        }
        self.repo.send(&call).await
    }

    /// Whether a range was understood, or answered by what has nothing to do with it.
    fn is_usable(&self, answer: &Response) -> bool {
        match answer.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => false,
            StatusCode::PARTIAL_CONTENT => self.range_start(answer).is_ok(),
            _ => true,
        }
    }

    /// Where the bytes of a partial answer begin: at or before the position.
    fn range_start(&self, answer: &Response) -> Result<u64, Error> {
        let Some(text) = answer.header(header::CONTENT_RANGE) else {
            return Err(answer.malformed("a partial answer without Content-Range"));
        };
        match parse_content_range(text) {
            Some((start, _)) if start <= self.position => Ok(start),
            _ => Err(answer.malformed(format!("bytes from {} were asked for, not {text}", self.position))),
        }
    }

    /// Refuses an answer that announces another size before its bytes are read.
    fn check_length(&self, answer: &Response, start: u64) -> Result<(), Error> {
        let total = match answer.header(header::CONTENT_RANGE).and_then(parse_content_range) {
            Some((_, total)) if answer.status() == StatusCode::PARTIAL_CONTENT => total,
            _ => answer.length().map(|length| start + length),
        };
        match total {
            Some(found) if found != self.descriptor.size && answer.is_html() => {
                Err(Error::Html { url: answer.shown_url() })
            }
            Some(found) if found != self.descriptor.size => Err(self.wrong_size(found)),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        match self.verifier.take() {
            Some(verifier) => verifier.finish().map_err(|source| self.mismatch(source)),
            None => Ok(()),
        }
    }

    fn wrong_size(&self, found: u64) -> Error {
        let Descriptor { digest, size, .. } = self.descriptor;
        self.mismatch(Mismatch::Size { digest, expected: size, found })
    }

    fn too_long(&self) -> Error {
        let Descriptor { digest, size, .. } = self.descriptor;
        self.mismatch(Mismatch::TooLong { digest, expected: size })
    }

    fn mismatch(&self, source: Mismatch) -> Error {
        mismatch(&self.repo, &self.descriptor, self.fed.or(self.mirror), source)
    }
}

fn mismatch(repo: &Repo, descriptor: &Descriptor, mirror: Option<usize>, source: Mismatch) -> Error {
    let what = repo.name().with_digest(descriptor.digest);
    let what = match mirror {
        Some(mirror) => format!("{what}, from the mirror {}", repo.mirror_name(mirror)),
        None => what.to_string(),
    };
    Error::Mismatch { what, source }
}

/// `bytes 5-9/10`: the first byte and, if known, the whole size.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let rest = text.trim().strip_prefix("bytes")?.trim_start();
    let (range, total) = rest.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    match total.trim() {
        "*" => Some((start, None)),
        total => Some((start, Some(total.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes=5-9/10", None),
            ("bytes */10", None),
            ("bytes 5-9", None),
            ("items 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(text), expected, "{text}");
        }
    }
}
