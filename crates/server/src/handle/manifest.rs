//! Manifests.

use http::{Response, StatusCode, header, request::Parts};
use palan_core::{Algorithm, MAX_DOCUMENT_SIZE, MediaType, Selector};

use super::{Answer, CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, empty, respond, text};
use crate::{
    Registry,
    body::Body,
    condition::{Conditions, Read},
    incoming::Incoming,
    ledger::{Manifest, Parsed, Put},
    name::Name,
    problem::{Code, Problem},
    store::Content,
};

pub(super) async fn get(registry: &Registry, name: Name, selector: Selector, parts: &Parts) -> Answer {
    let unknown = || Problem::new(Code::ManifestUnknown, format!("manifest {selector} is not known"));
    let manifest = registry.shared.ledger.manifest(&name, &selector).ok_or_else(unknown)?;
    let digest = manifest.descriptor.digest;
    let status = match Conditions::of(&parts.headers).read(&digest) {
        Read::Proceed => StatusCode::OK,
        Read::NotModified => StatusCode::NOT_MODIFIED,
        Read::Failed => return Err(Problem::precondition(format!("{selector} is {digest} now"))),
    };
    let builder = Response::builder()
        .status(status)
        .header(CONTENT_DIGEST, &manifest.headers.digest)
        .header(header::ETAG, &manifest.headers.entity_tag);
    if status == StatusCode::NOT_MODIFIED {
        return respond(builder, Body::empty());
    }
    let builder = builder
        .header(header::CONTENT_TYPE, &manifest.headers.content_type)
        .header(header::CONTENT_LENGTH, manifest.descriptor.size);
    if parts.method == http::Method::HEAD {
        return respond(builder, Body::empty());
    }
    let size = manifest.descriptor.size;
    respond(
        builder,
        match &manifest.content {
            Some(bytes) => Body::from(bytes.clone()),
            None => match registry.blocking(move |shared| shared.ledger.open(&digest, size, 0)).await? {
                Content::Bytes(bytes) => Body::from(bytes),
                Content::File(file) => Body::file(file, size),
            },
        },
    )
}

pub(super) async fn put(
    registry: &Registry,
    name: Name,
    selector: Selector,
    tags: Vec<String>,
    parts: &Parts,
    body: &mut Incoming,
) -> Answer {
    let bytes = body.collect(MAX_DOCUMENT_SIZE).await?;
    let content_type = text(&parts.headers, &header::CONTENT_TYPE).map(MediaType::from_content_type);
    let algorithm = match &selector {
        Selector::Digest(digest) => digest.algorithm(),
        Selector::Tag(_) => Algorithm::Sha256,
    };
    let parsed = Parsed::read(bytes, content_type, algorithm)?;
    let found = parsed.manifest.descriptor.digest;
    if let Selector::Digest(wanted) = &selector
        && *wanted != found
    {
        let message = format!("the manifest has digest {found}, not {wanted}");
        return Err(Problem::new(Code::DigestInvalid, message));
    }
    let tagged = tags.join(", ");
    let location = format!("/v2/{name}/manifests/{found}");
    let put = Put::new(parsed, selector, tags, Conditions::of(&parts.headers));
    let manifest = registry.blocking(move |shared| shared.ledger.put_manifest(&name, put)).await?;
    created(&manifest, location, tagged)
}

fn created(manifest: &Manifest, location: String, tagged: String) -> Answer {
    let mut builder = empty(StatusCode::CREATED)
        .header(header::LOCATION, location)
        .header(CONTENT_DIGEST, &manifest.headers.digest)
        .header(header::ETAG, &manifest.headers.entity_tag);
    if let Some(subject) = &manifest.subject {
        builder = builder.header(OCI_SUBJECT, subject.to_string());
    }
    if !tagged.is_empty() {
        builder = builder.header(OCI_TAG, tagged);
    }
    respond(builder, Body::empty())
}

pub(super) async fn delete(registry: &Registry, name: Name, selector: Selector) -> Answer {
    registry.blocking(move |shared| shared.ledger.delete_manifest(&name, &selector)).await?;
    respond(empty(StatusCode::ACCEPTED), Body::empty())
}
