//! Blobs on their way in: in one request, in a session of several, or by mount.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header, request::Parts, response};
use palan_core::{Algorithm, Digest};
use tokio::task::JoinHandle;

use super::{Answer, CONTENT_DIGEST, UPLOAD_ID, empty, respond, text};
use crate::{
    Registry,
    body::Body,
    incoming::Incoming,
    name::Name,
    problem::{Code, Problem},
    range,
    registry::Shared,
    store::Session,
    upload::Upload,
};

/// How much is collected before it is hashed and written, while the next is being received.
const BATCH: usize = 512 * 1024;
/// How long a request waits for another one that is appending to the same session.
const TURN: Duration = Duration::from_secs(10);

pub(super) async fn start(registry: &Registry, name: Name, algorithm: Algorithm) -> Answer {
    let session = Session { name, algorithm };
    let upload = registry.blocking(move |s| s.uploads.start(s.ledger.store(), session)).await?;
    respond(progress(StatusCode::ACCEPTED, &upload, 0), Body::empty())
}

pub(super) async fn mount(registry: &Registry, name: Name, digest: Digest, from: Option<Name>) -> Answer {
    let target = name.clone();
    let mounted = registry.blocking(move |s| s.ledger.mount(&target, &digest, from.as_ref())).await?;
    if !mounted {
        return start(registry, name, digest.algorithm()).await;
    }
    registry.shared.counters.mounted();
    created(&name, &digest)
}

pub(super) async fn monolithic(
    registry: &Registry,
    name: Name,
    digest: Digest,
    body: &mut Incoming,
) -> Answer {
    let session = Session { name: name.clone(), algorithm: digest.algorithm() };
    let staging = registry.blocking(|s| Ok(s.ledger.store().stage()?)).await?;
    let upload = Arc::new(Upload::new(String::new(), session, staging));
    upload.expect(body.length(), Some(&digest));
    let rest = receive(registry, &upload, body, None).await?;
    registry.blocking(move |shared| commit(shared, &upload, &rest, &digest)).await?;
    created(&name, &digest)
}

pub(super) fn status(registry: &Registry, name: &Name, id: &str) -> Answer {
    let upload = registry.shared.uploads.get(name, id)?;
    respond(progress(StatusCode::NO_CONTENT, &upload, upload.offset()?), Body::empty())
}

pub(super) async fn cancel(registry: &Registry, name: Name, id: String) -> Answer {
    let cancel = move |shared: &Shared| {
        let upload = shared.uploads.get(&name, &id)?;
        Ok(shared.uploads.end(shared.ledger.store(), &upload)?)
    };
    registry.blocking(cancel).await?;
    respond(empty(StatusCode::NO_CONTENT), Body::empty())
}

pub(super) async fn append(
    registry: &Registry,
    name: &Name,
    id: &str,
    parts: &Parts,
    body: &mut Incoming,
) -> Answer {
    let upload = registry.shared.uploads.get(name, id)?;
    let chunk = Chunk::of(parts, body, &upload)?;
    let (owner, mut body) = (registry.clone(), body.take());
    // What arrived before a connection died is kept: the future of the request is dropped then, this is not.
    let work = async move {
        let result = async {
            let _turn = turn(&upload).await?;
            let rest = receive_chunk(&owner, &upload, &mut body, chunk).await?;
            let appending = Arc::clone(&upload);
            owner.blocking(move |_| appending.append(&rest)).await?;
            respond(progress(StatusCode::ACCEPTED, &upload, upload.offset()?), Body::empty())
        };
        let result = result.await;
        body.drain().await;
        drop(owner);
        result
    };
    registry.detached(work).await
}

pub(super) async fn finish(
    registry: &Registry,
    name: &Name,
    id: &str,
    digest: Digest,
    parts: &Parts,
    body: &mut Incoming,
) -> Answer {
    let upload = registry.shared.uploads.get(name, id)?;
    let chunk = Chunk::of(parts, body, &upload)?;
    let (owner, mut body, name) = (registry.clone(), body.take(), name.clone());
    let work = async move {
        let result = async {
            let _turn = turn(&upload).await?;
            upload.expect(body.length(), Some(&digest));
            let rest = receive_chunk(&owner, &upload, &mut body, chunk).await?;
            let ending = Arc::clone(&upload);
            owner.blocking(move |shared| end(shared, &ending, &rest, &digest)).await?;
            created(&name, &digest)
        };
        let result = result.await;
        body.drain().await;
        drop(owner);
        result
    };
    registry.detached(work).await
}

/// The last bytes, the check and the entry in the ledger.
fn commit(shared: &Shared, upload: &Upload, rest: &[Bytes], digest: &Digest) -> Result<(), Problem> {
    upload.append(rest)?;
    let staged = upload.finish(digest)?;
    shared.ledger.add_blob(&upload.name, digest, staged)
}

/// As [`commit`]; the session is over however that went.
fn end(shared: &Shared, upload: &Upload, rest: &[Bytes], digest: &Digest) -> Result<(), Problem> {
    let result = commit(shared, upload, rest, digest);
    shared.uploads.end(shared.ledger.store(), upload)?;
    result
}

fn created(name: &Name, digest: &Digest) -> Answer {
    let builder = empty(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.to_string());
    respond(builder, Body::empty())
}

fn progress(status: StatusCode, upload: &Upload, offset: u64) -> response::Builder {
    empty(status)
        .header(header::LOCATION, upload.location())
        .header(header::RANGE, held(offset))
        .header(UPLOAD_ID, &upload.id)
}

/// The bytes held, as the specification writes them; it has no way to write none.
fn held(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

async fn turn(upload: &Upload) -> Result<tokio::sync::MutexGuard<'_, ()>, Problem> {
    tokio::time::timeout(TURN, upload.turn.lock()).await.map_err(|_| {
        Problem::new(Code::TooManyRequests, "another request is writing to this upload")
            .with_header(header::RETRY_AFTER, "1")
    })
}

/// Which bytes a request carries.
#[derive(Clone, Copy)]
struct Chunk {
    /// Offset of the first byte. Without a `Content-Range` it is where the upload stood when the request came: if
    /// another request appends first, this one is out of order too.
    first: u64,
    length: Option<u64>,
}

impl Chunk {
    fn of(parts: &Parts, body: &Incoming, upload: &Upload) -> Result<Self, Problem> {
        let Some(header) = text(&parts.headers, &header::CONTENT_RANGE) else {
            return Ok(Self { first: upload.offset()?, length: None });
        };
        let invalid = |message: String| Problem::new(Code::BlobUploadInvalid, message);
        let (first, last) = range::chunk(header)
            .ok_or_else(|| invalid(format!("Content-Range \"{header}\" is not <first>-<last>")))?;
        let length = last - first + 1;
        if body.length().is_some_and(|found| found != length) {
            return Err(invalid(format!("Content-Range \"{header}\" does not fit the length of the body")));
        }
        Ok(Self { first, length: Some(length) })
    }
}

/// Receives a chunk that must start where the upload stands; if it is not as long as it says, nothing of it is kept.
async fn receive_chunk(
    registry: &Registry,
    upload: &Arc<Upload>,
    body: &mut Incoming,
    chunk: Chunk,
) -> Result<Vec<Bytes>, Problem> {
    let (mark, offset) = (upload.mark()?, upload.offset()?);
    if chunk.first != offset {
        let message = format!("the chunk starts at {}, the upload stands at {offset}", chunk.first);
        return Err(Problem::new(Code::BlobUploadInvalid, message)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(header::LOCATION, upload.location())
            .with_header(header::RANGE, held(offset)));
    }
    let result = receive(registry, upload, body, chunk.length).await;
    if result.as_ref().is_err_and(|problem| problem.code == Code::SizeInvalid) {
        let rewound = Arc::clone(upload);
        registry.blocking(move |_| rewound.rewind(mark)).await?;
    }
    result
}

/// Moves a body into an upload. Gives back the last bytes, so that they can be written together with what follows.
///
/// A body that breaks off is kept as far as it came, so that the client can resume.
async fn receive(
    registry: &Registry,
    upload: &Arc<Upload>,
    body: &mut Incoming,
    exactly: Option<u64>,
) -> Result<Vec<Bytes>, Problem> {
    let batch_size = if registry.shared.ledger.store().blocks() { BATCH } else { 1 };
    let mut writer = Writer { registry, upload, under_way: None };
    let (mut batch, mut size, mut received) = (Vec::new(), 0, 0);
    let outcome = loop {
        let data = match body.next().await {
            Ok(Some(data)) => data,
            Ok(None) => break Ok(()),
            Err(problem) => break Err(problem),
        };
        registry.shared.counters.blob_in(data.len());
        received += data.len() as u64;
        if exactly.is_some_and(|exactly| received > exactly) {
            break Err(Problem::new(Code::SizeInvalid, "the chunk is longer than its Content-Range"));
        }
        size += data.len();
        batch.push(data);
        if size >= batch_size {
            writer.write(std::mem::take(&mut batch)).await?;
            size = 0;
        }
    };
    if outcome.is_err() {
        writer.write(std::mem::take(&mut batch)).await?;
    }
    writer.settle().await?;
    outcome?;
    if exactly.is_some_and(|exactly| received < exactly) {
        return Err(Problem::new(Code::SizeInvalid, "the chunk is shorter than its Content-Range"));
    }
    Ok(batch)
}

/// Appends off the runtime's threads, one batch behind the network.
struct Writer<'a> {
    registry: &'a Registry,
    upload: &'a Arc<Upload>,
    under_way: Option<JoinHandle<Result<(), Problem>>>,
}

impl Writer<'_> {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), Problem> {
        self.settle().await?;
        let upload = Arc::clone(self.upload);
        if self.registry.shared.ledger.store().blocks() {
            self.under_way = Some(tokio::task::spawn_blocking(move || upload.append(&batch)));
            return Ok(());
        }
        upload.append(&batch)
    }

    async fn settle(&mut self) -> Result<(), Problem> {
        match self.under_way.take() {
            None => Ok(()),
            Some(task) => task.await.unwrap_or_else(|error| Err(Problem::internal("a task", &error))),
        }
    }
}
