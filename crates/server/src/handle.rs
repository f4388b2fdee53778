//! Operations to answers. What all of them share is here, the rest is a file per noun.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts, response};
use serde::Serialize;

use crate::{
    Registry,
    body::Body,
    incoming::Incoming,
    problem::Problem,
    router::{Operation, Start},
};

mod blob;
mod list;
mod manifest;
mod upload;

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(crate) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

type Answer = Result<Response<Body>, Problem>;

/// Does what `operation` says.
pub(crate) async fn handle(
    registry: &Registry,
    operation: Operation,
    parts: &Parts,
    body: &mut Incoming,
) -> Answer {
    let ledger = &registry.shared.ledger;
    match operation {
        Operation::Ping => json(&serde_json::json!({}), Response::builder()),
        Operation::Catalog(page) => list::catalog(ledger, &page),
        Operation::Tags(name, page) => list::tags(ledger, &name, &page),
        Operation::Referrers(name, digest, artifact_type, after) => {
            list::referrers(ledger, &name, &digest, artifact_type.as_deref(), after.as_ref())
        }
        Operation::GetManifest(name, selector) => manifest::get(registry, name, selector, parts).await,
        Operation::PutManifest(name, selector, tags) => {
            manifest::put(registry, name, selector, tags, parts, body).await
        }
        Operation::DeleteManifest(name, selector) => manifest::delete(registry, name, selector).await,
        Operation::GetBlob(name, digest) => blob::get(registry, name, digest, parts).await,
        Operation::DeleteBlob(name, digest) => blob::delete(registry, name, digest).await,
        Operation::StartUpload(name, Start::Session(algorithm)) => {
            upload::start(registry, name, algorithm).await
        }
        Operation::StartUpload(name, Start::Monolithic(digest)) => {
            upload::monolithic(registry, name, digest, body).await
        }
        Operation::StartUpload(name, Start::Mount(digest, from)) => {
            upload::mount(registry, name, digest, from).await
        }
        Operation::UploadStatus(name, id) => upload::status(registry, &name, &id),
        Operation::AppendUpload(name, id) => upload::append(registry, &name, &id, parts, body).await,
        Operation::FinishUpload(name, id, digest) => {
            upload::finish(registry, &name, &id, digest, parts, body).await
        }
        Operation::CancelUpload(name, id) => upload::cancel(registry, name, id).await,
    }
}

/// An answer whose headers were made here: it can only fail if a value is not a header value.
fn respond(builder: response::Builder, body: Body) -> Answer {
    builder.body(body).map_err(|error| Problem::internal("an answer", &error))
}

fn empty(status: StatusCode) -> response::Builder {
    Response::builder().status(status)
}

fn json(value: &impl Serialize, builder: response::Builder) -> Answer {
    let text = serde_json::to_vec(value).map_err(|error| Problem::internal("an answer", &error))?;
    let typed = builder.headers_ref().is_some_and(|headers| headers.contains_key(header::CONTENT_TYPE));
    let builder = if typed { builder } else { builder.header(header::CONTENT_TYPE, "application/json") };
    respond(builder.header(header::CONTENT_LENGTH, text.len()), Body::from(text))
}

/// A header's text; `None` when it is absent or not text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::to_str).and_then(Result::ok)
}
