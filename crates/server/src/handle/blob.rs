//! Blobs, read and deleted; how they come in is in [`super::upload`].

use std::sync::Arc;

use http::{Method, Response, StatusCode, header, request::Parts, response};
use palan_core::Digest;

use super::{Answer, CONTENT_DIGEST, empty, respond, text};
use crate::{
    Registry,
    body::Body,
    condition::{Conditions, Read, entity_tag},
    name::Name,
    problem::{Code, Problem},
    range::{Selected, select},
    store::Content,
};

pub(super) async fn get(registry: &Registry, name: Name, digest: Digest, parts: &Parts) -> Answer {
    let size = registry.shared.ledger.blob(&name, &digest).ok_or_else(|| Problem::blob_unknown(&digest))?;
    match Conditions::of(&parts.headers).read(&digest) {
        Read::Proceed => {}
        Read::NotModified => {
            return respond(described(StatusCode::NOT_MODIFIED, &digest), Body::empty());
        }
        Read::Failed => return Err(Problem::precondition(format!("the blob is {digest}"))),
    }
    if parts.method == Method::HEAD {
        return respond(whole(&digest, size), Body::empty());
    }
    match selected(parts, &digest, size) {
        Selected::All => respond(whole(&digest, size), content(registry, digest, size, 0, size).await?),
        Selected::Part(from, to) => {
            let builder = described(StatusCode::PARTIAL_CONTENT, &digest)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, to - from)
                .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{size}", to - 1));
            respond(builder, content(registry, digest, size, from, to).await?)
        }
        Selected::Nothing => Err(Problem::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(header::CONTENT_RANGE, format!("bytes */{size}"))),
    }
}

/// The range asked for, unless it is about content that has changed (RFC 9110 §13.1.5).
fn selected(parts: &Parts, digest: &Digest, size: u64) -> Selected {
    let current =
        text(&parts.headers, &header::IF_RANGE).is_none_or(|validator| validator == entity_tag(digest));
    select(text(&parts.headers, &header::RANGE).filter(|_| current), size)
}

fn described(status: StatusCode, digest: &Digest) -> response::Builder {
    Response::builder()
        .status(status)
        .header(CONTENT_DIGEST, digest.to_string())
        .header(header::ETAG, entity_tag(digest))
        .header(header::ACCEPT_RANGES, "bytes")
}

fn whole(digest: &Digest, size: u64) -> response::Builder {
    described(StatusCode::OK, digest)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, size)
}

async fn content(
    registry: &Registry,
    digest: Digest,
    size: u64,
    from: u64,
    to: u64,
) -> Result<Body, Problem> {
    let content = registry.blocking(move |shared| shared.ledger.open(&digest, size, from)).await?;
    let body = match content {
        Content::Bytes(bytes) => Body::from(bytes.slice(..(to - from) as usize)),
        Content::File(file) => Body::file(file, to - from),
    };
    Ok(body.counted(Arc::clone(&registry.shared.counters)))
}

pub(super) async fn delete(registry: &Registry, name: Name, digest: Digest) -> Answer {
    registry.blocking(move |shared| shared.ledger.delete_blob(&name, &digest)).await?;
    respond(empty(StatusCode::ACCEPTED), Body::empty())
}
