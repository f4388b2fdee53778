//! Pushing: small blobs in one `POST`; else `POST`, then the bytes in one `PUT`; in pieces where the registry or a proxy
//! before it wants that; taken up again where the registry says how far it got.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{Method, StatusCode, header};
use palan_core::{Descriptor, Digest};
use url::Url;

use super::{BlobOpener, Upload};
use crate::{
    Error, Fault, Repo,
    call::{Call, Payload, Target},
    registry::Registry,
    repo::Access,
    response::Response,
    retry::Attempts,
    wire::Lane,
};

/// Pieces that are refused as too large are halved down to this.
const SMALLEST_PIECE: u64 = 64 * 1024;
/// Blobs up to this size are sent with the first request: configs are. Where the registry ignores them there, that many
/// bytes were sent in vain, once.
const SMALL: u64 = 64 * 1024;

impl Repo {
    /// Uploads a blob. Does not ask whether it is there already: see [`Repo::has_blob`] and [`Repo::mount_blob`].
    ///
    /// The registry verifies the digest. A failed upload is taken up again where the registry says it has got to,
    /// else from the start; `opener` is opened again for that. Memory does not grow with the blob's size.
    pub async fn push_blob(&self, descriptor: &Descriptor, opener: &dyn BlobOpener) -> Result<(), Error> {
        let registry = self.registry()?;
        let settings = &self.transport().settings;
        let push = Push {
            repo: self,
            descriptor,
            opener,
            session: None,
            at_once: (1..=SMALL.min(settings.largest_upload)).contains(&descriptor.size)
                && !registry.no_single_post.load(Relaxed),
            chunked: descriptor.size > settings.largest_upload,
            piece: settings.chunk_size.min(settings.largest_upload),
            cuts: 0,
            attempts: Attempts::new(Some(&registry.pace)),
            best: 0,
            registry: &registry,
        };
        push.run().await
    }
}

struct Push<'a> {
    repo: &'a Repo,
    descriptor: &'a Descriptor,
    opener: &'a dyn BlobOpener,
    session: Option<Session>,
    /// Whether to send the whole blob with the first request.
    at_once: bool,
    /// Whether the blob goes in pieces.
    chunked: bool,
    /// How large these are, in bytes, unless the registry wants them larger.
    piece: u64,
    /// How often the connection broke without any progress.
    cuts: u32,
    /// Failures since the last progress.
    attempts: Attempts,
    registry: &'a Registry,
    /// The most bytes that the registry has ever had: only more than that is progress, whatever session it was in.
    best: u64,
}

/// An upload that the registry has opened.
pub(super) struct Session {
    pub(super) location: Url,
    /// Bytes that the registry has.
    offset: u64,
    /// `OCI-Chunk-Min-Length`.
    smallest_chunk: u64,
    /// Where the bytes end that were handed out for sending: the registry cannot have more.
    handed: Arc<AtomicU64>,
}

enum Step {
    Done,
    More,
}

impl Push<'_> {
    async fn run(mut self) -> Result<(), Error> {
        loop {
            match self.step().await {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::More) => self.note_progress(),
                Err(error) if self.shrink(&error) => {
                    tracing::debug!(%error, piece = self.piece, "uploading in smaller pieces");
                    self.session = None;
                }
                Err(error) => {
                    let Some(attempt) = self.fail(&error) else {
                        self.abandon(&error).await;
                        return Err(error);
                    };
                    self.repo.transport().pause(attempt, error.retry_after()).await;
                    if self.recover().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Notes a failure. `None`: another attempt makes no sense.
    fn fail(&mut self, error: &Error) -> Option<u32> {
        let lost = matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE));
        if !(error.is_transient() || (lost && self.session.is_some())) {
            return None;
        }
        if matches!(error, Error::Transport { fault: Fault::Cut, .. }) {
            // Some proxies break the connection instead of saying that a body is too large.
            self.cuts += 1;
            self.chunked |= self.cuts > 1 && self.descriptor.size > self.piece;
        }
        self.attempts.fail(&self.repo.transport().retry, error.into(), Some(&self.registry.pace))
    }

    /// Where it is our own fault that the upload ends here, the registry need not keep what it has of it.
    async fn abandon(&mut self, error: &Error) {
        if let (Error::Source { .. }, Some(session)) = (error, self.session.take()) {
            self.repo.cancel_upload(Target::Url(session.location)).await;
        }
    }

    fn note_progress(&mut self) {
        let offset = self.session.as_ref().map_or(0, |s| s.offset);
        if offset > self.best {
            self.best = offset;
            self.cuts = 0;
            self.attempts.renew();
        }
    }

    /// Where a body was too large: goes on with smaller ones, if there are any.
    fn shrink(&mut self, error: &Error) -> bool {
        let Some(session) = &self.session else { return false };
        if error.status() != Some(StatusCode::PAYLOAD_TOO_LARGE) || self.descriptor.size == 0 {
            return false;
        }
        let smallest = session.smallest_chunk.max(SMALLEST_PIECE.min(self.piece));
        if self.chunked && self.piece <= smallest {
            return false;
        }
        let refused = if self.chunked { self.piece } else { self.descriptor.size };
        self.piece = self.piece.min(refused / 2).max(smallest);
        self.chunked = true;
        true
    }

    /// Sends what comes next.
    async fn step(&mut self) -> Result<Step, Error> {
        if std::mem::take(&mut self.at_once) {
            return self.post().await;
        }
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(open(self.repo).await?),
        };
        let left = self.descriptor.size.saturating_sub(session.offset);
        let chunk = self.piece.max(session.smallest_chunk);
        if self.chunked && left > 0 { self.patch(left.min(chunk)).await } else { self.put(left).await }
    }

    /// Sends the whole blob with the request that else opens a session: distribution-spec end-4b. A registry that does
    /// not know that is not asked so again; most of those open a session.
    async fn post(&mut self) -> Result<Step, Error> {
        let path = format!("blobs/uploads/?digest={}", self.descriptor.digest);
        let mut call = self.repo.call(Method::POST, &path, Access::Push)?;
        call = call.header(header::CONTENT_TYPE, "application/octet-stream");
        let upload = Upload::new(self.opener, self.descriptor.digest, 0, self.descriptor.size);
        call.payload = Payload::Upload(upload);
        call.lane = Lane::Blob;
        call.retry = false;
        let mut answer = match self.repo.send(&call).await {
            Ok(answer) if answer.status() == StatusCode::CREATED => {
                answer.expect_data(&[StatusCode::CREATED]).await?;
                return Ok(Step::Done);
            }
            Ok(answer) if says_nothing_of_posts(answer.status()) => {
                self.at_once = true;
                return Err(answer.into_error().await);
            }
            Err(error @ Error::Source { .. }) => return Err(error),
            sent => {
                tracing::debug!("the registry does not take a blob in one request");
                self.registry.no_single_post.store(true, Relaxed);
                sent?
            }
        };
        match answer.status() {
            StatusCode::ACCEPTED => {
                answer = answer.expect_data(&[StatusCode::ACCEPTED]).await?;
                // "0-0" may mean one byte or none. Where it kept some it is not known what it would do with the rest.
                self.session = match received(&answer) {
                    Some(2..) => None,
                    _ => Some(Session::of(&answer)?),
                };
                Ok(Step::More)
            }
            status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => Ok(Step::More),
            _ => Err(answer.into_error().await),
        }
    }

    /// Sends the rest and closes the upload.
    async fn put(&mut self, length: u64) -> Result<Step, Error> {
        let Some(session) = &self.session else { return Ok(Step::More) };
        let url = closing(session.location.clone(), self.descriptor.digest);
        let call = self.body_call(Method::PUT, url, session.offset, length)?;
        self.repo.send(&call).await?.expect_data(&CLOSED).await?;
        Ok(Step::Done)
    }

    /// Sends a piece.
    async fn patch(&mut self, length: u64) -> Result<Step, Error> {
        let Some(session) = &self.session else { return Ok(Step::More) };
        let offset = session.offset;
        let call = self.body_call(Method::PATCH, session.location.clone(), offset, length)?;
        let answer = self.repo.send(&call).await?;
        let answer = answer.expect_data(&TAKEN).await?;
        // It cannot have more than it was sent: then that is what it means, or the next piece is refused.
        let reached = received(&answer).unwrap_or(offset + length).min(offset + length);
        if reached <= offset {
            return Err(answer.malformed(format!("claims to have {reached} bytes of the upload")));
        }
        if let Some(session) = &mut self.session {
            session.location = answer.location().unwrap_or_else(|_| session.location.clone());
            session.offset = reached;
        }
        Ok(Step::More)
    }

    fn body_call(&self, method: Method, url: Url, offset: u64, length: u64) -> Result<Call<'_>, Error> {
        let mut call: Call<'_> = self.repo.call_target(method, Target::Url(url), Access::Push)?;
        call = call.header(header::CONTENT_TYPE, "application/octet-stream");
        if length > 0 && (self.chunked || offset > 0) {
            call = call.header(header::CONTENT_RANGE, &format!("{offset}-{}", offset + length - 1));
        }
        if length > 0 {
            let mut upload = Upload::new(self.opener, self.descriptor.digest, offset, length);
            if let Some(session) = &self.session {
                upload = upload.counted(&session.handed);
            }
            call.payload = Payload::Upload(upload);
        }
        call.lane = Lane::Blob;
        call.retry = false;
        Ok(call)
    }

    /// After a failure: asks how far the upload got. Where that is unknown, the next step opens a new one, unless the
    /// blob has arrived after all. Returns whether it has.
    async fn recover(&mut self) -> Result<bool, Error> {
        let Some(mut session) = self.session.take() else { return Ok(false) };
        match self.progress(&session).await {
            Some((offset, location)) => {
                session.offset = offset;
                session.location = location;
                self.session = Some(session);
                self.note_progress();
                Ok(false)
            }
            None => Ok(self.arrived().await),
        }
    }

    /// Whether the blob is there: its upload was finished, and only the answer was lost.
    async fn arrived(&self) -> bool {
        let Ok(mut call) =
            self.repo.call(Method::HEAD, &format!("blobs/{}", self.descriptor.digest), Access::Pull)
        else {
            return false;
        };
        call.retry = false;
        let answer = self.repo.send(&call).await;
        answer.is_ok_and(|a| a.status() == StatusCode::OK && !a.is_html())
    }

    /// Upload status, distribution-spec end-13.
    async fn progress(&self, session: &Session) -> Option<(u64, Url)> {
        let target = Target::Url(session.location.clone());
        let mut call = self.repo.call_target(Method::GET, target, Access::Push).ok()?;
        call.retry = false;
        let answer = self.repo.send(&call).await.ok()?;
        if answer.status() != StatusCode::NO_CONTENT {
            return None;
        }
        // "0-0" may mean one byte or none: not worth to find out.
        // More than was sent is not known to be this blob's.
        let sent = session.handed.load(Relaxed);
        let offset = received(&answer).filter(|&n| n > 1 && n <= sent)?;
        let location = answer.location().unwrap_or_else(|_| session.location.clone());
        Some((offset, location))
    }
}

/// What registries answer when they have taken a piece of an upload, and when they have closed one.
pub(super) const TAKEN: [StatusCode; 3] = [StatusCode::ACCEPTED, StatusCode::CREATED, StatusCode::NO_CONTENT];
pub(super) const CLOSED: [StatusCode; 4] =
    [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];

/// Where an upload is closed.
pub(super) fn closing(mut location: Url, digest: Digest) -> Url {
    location.query_pairs_mut().append_pair("digest", &digest.to_string());
    location
}

/// Whether the registry would have said the same to any other request.
fn says_nothing_of_posts(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

pub(super) async fn open(repo: &Repo) -> Result<Session, Error> {
    let mut call = repo.call(Method::POST, "blobs/uploads/", Access::Push)?;
    call.retry = false;
    let answer = repo.send(&call).await?;
    Session::of(&answer.expect_data(&[StatusCode::ACCEPTED]).await?)
}

impl Session {
    /// As the registry opened it.
    fn of(answer: &Response) -> Result<Self, Error> {
        let smallest_chunk =
            answer.header("oci-chunk-min-length").and_then(|v| v.trim().parse().ok()).unwrap_or(0);
        Ok(Self { location: answer.location()?, offset: 0, smallest_chunk, handed: Arc::default() })
    }
}

/// How many bytes the registry has, from `Range: 0-<last byte>`.
pub(super) fn received(answer: &Response) -> Option<u64> {
    let range = answer.header(header::RANGE)?.trim();
    let (start, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    (start.trim() == "0").then(|| last.trim().parse::<u64>().ok()?.checked_add(1))?
}
