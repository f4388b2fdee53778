//! Method and path to operation: a pure function over the endpoint table of the distribution-spec ("Endpoints").
//!
//! Nothing is normalised. A path whose name, tag, digest or session id does not match its grammar is refused, so no
//! operation ever carries a string from the outside that could mean something to a file system.

use std::borrow::Cow;

use http::{Method, StatusCode, header};
use palan_core::{Algorithm, Digest, Selector, validate_tag};
use percent_encoding::percent_decode_str;

use crate::{
    name::Name,
    problem::{Code, Problem},
    query::{Page, Query},
};

/// At most so many `tag` parameters are taken with one manifest; the draft demands at least ten.
const MAX_TAGS: usize = 100;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Ping,
    Catalog(Page),
    Tags(Name, Page),
    GetManifest(Name, Selector),
    /// With the tags to set besides.
    PutManifest(Name, Selector, Vec<String>),
    DeleteManifest(Name, Selector),
    GetBlob(Name, Digest),
    DeleteBlob(Name, Digest),
    StartUpload(Name, Start),
    UploadStatus(Name, String),
    AppendUpload(Name, String),
    FinishUpload(Name, String, Digest),
    CancelUpload(Name, String),
    /// With the artifact type to filter by, and the digest after which a page starts.
    Referrers(Name, Digest, Option<String>, Option<Digest>),
}

/// How an upload starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A session, to be hashed with this algorithm unless told otherwise at the end.
    Session(Algorithm),
    /// The body is the blob.
    Monolithic(Digest),
    /// No bytes at all if the blob is in the repository named, or, without one, anywhere.
    Mount(Digest, Option<Name>),
}

enum Target<'a> {
    Ping,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Referrers(&'a str, &'a str),
}

/// Finds the operation. `path` is the raw path of the request target.
pub(crate) fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Operation, Problem> {
    let path = decode(path)?;
    let target = target(&path).ok_or_else(Problem::no_endpoint)?;
    let query = Query::new(query);
    match method.as_str() {
        "GET" | "HEAD" => read(&target, query),
        "POST" => match target {
            Target::Uploads(name) => Ok(Operation::StartUpload(parse_name(name)?, start(query)?)),
            _ => Err(not_allowed(&target)),
        },
        "PATCH" => match target {
            Target::Upload(name, id) => Ok(Operation::AppendUpload(parse_name(name)?, session(id)?)),
            _ => Err(not_allowed(&target)),
        },
        "PUT" => put(&target, query),
        "DELETE" => delete(&target),
        _ => Err(not_allowed(&target)),
    }
}

/// The path's shape alone, read from its end: a name may contain any of the words of the protocol.
fn target(path: &str) -> Option<Target<'_>> {
    let rest = path.strip_prefix("/v2")?;
    if rest.is_empty() || rest == "/" {
        return Some(Target::Ping);
    }
    let rest = rest.strip_prefix('/')?;
    if rest == "_catalog" {
        return Some(Target::Catalog);
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Some(Target::Tags(name));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Some(Target::Uploads(name));
    }
    let (rest, last) = rest.rsplit_once('/')?;
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return Some(Target::Upload(name, last));
    }
    let (name, kind) = rest.rsplit_once('/')?;
    match kind {
        "manifests" => Some(Target::Manifest(name, last)),
        "blobs" => Some(Target::Blob(name, last)),
        "referrers" => Some(Target::Referrers(name, last)),
        _ => None,
    }
}

fn read(target: &Target<'_>, query: Query<'_>) -> Result<Operation, Problem> {
    Ok(match *target {
        Target::Ping => Operation::Ping,
        Target::Catalog => Operation::Catalog(query.page()?),
        Target::Tags(name) => Operation::Tags(parse_name(name)?, query.page()?),
        Target::Manifest(name, reference) => Operation::GetManifest(parse_name(name)?, selector(reference)?),
        Target::Blob(name, digest) => Operation::GetBlob(parse_name(name)?, digest.parse()?),
        Target::Upload(name, id) => Operation::UploadStatus(parse_name(name)?, session(id)?),
        Target::Referrers(name, digest) => {
            let artifact_type = query.get("artifactType").filter(|t| !t.is_empty()).map(Cow::into_owned);
            let after = query.get("last").map(|d| d.parse()).transpose()?;
            Operation::Referrers(parse_name(name)?, digest.parse()?, artifact_type, after)
        }
        Target::Uploads(_) => return Err(not_allowed(target)),
    })
}

fn put(target: &Target<'_>, query: Query<'_>) -> Result<Operation, Problem> {
    match *target {
        Target::Manifest(name, reference) => {
            let tags: Vec<String> = query.all("tag").map(Cow::into_owned).collect();
            if tags.len() > MAX_TAGS {
                let message = format!("{} tags, at most {MAX_TAGS} at once", tags.len());
                return Err(Problem::new(Code::Unsupported, message).with_status(StatusCode::URI_TOO_LONG));
            }
            tags.iter().try_for_each(|tag| check_tag(tag))?;
            Ok(Operation::PutManifest(parse_name(name)?, selector(reference)?, tags))
        }
        Target::Upload(name, id) => {
            let digest = query
                .get("digest")
                .ok_or_else(|| Problem::new(Code::DigestInvalid, "the digest parameter is missing"))?;
            Ok(Operation::FinishUpload(parse_name(name)?, session(id)?, digest.parse()?))
        }
        _ => Err(not_allowed(target)),
    }
}

fn delete(target: &Target<'_>) -> Result<Operation, Problem> {
    Ok(match *target {
        Target::Manifest(name, reference) => {
            Operation::DeleteManifest(parse_name(name)?, selector(reference)?)
        }
        Target::Blob(name, digest) => Operation::DeleteBlob(parse_name(name)?, digest.parse()?),
        Target::Upload(name, id) => Operation::CancelUpload(parse_name(name)?, session(id)?),
        _ => return Err(not_allowed(target)),
    })
}

fn start(query: Query<'_>) -> Result<Start, Problem> {
    if let Some(digest) = query.get("mount") {
        // A source that cannot exist is a source that does not have the blob.
        let from = query.get("from").filter(|from| !from.is_empty());
        return match from.map(|from| Name::parse(&from)) {
            None => Ok(Start::Mount(digest.parse()?, None)),
            Some(Ok(name)) => Ok(Start::Mount(digest.parse()?, Some(name))),
            Some(Err(_)) => Ok(Start::Session(digest.parse::<Digest>()?.algorithm())),
        };
    }
    if let Some(digest) = query.get("digest") {
        return Ok(Start::Monolithic(digest.parse()?));
    }
    Ok(Start::Session(match query.get("digest-algorithm") {
        None => Algorithm::Sha256,
        Some(algorithm) => algorithm.parse()?,
    }))
}

/// Escapes are undone where they hide nothing: clients write the colon of a digest as `%3A`.
fn decode(path: &str) -> Result<Cow<'_, str>, Problem> {
    let suspicious = |c: char| c == '\\' || c == '%' || c.is_control();
    if !path.contains(suspicious) {
        return Ok(Cow::Borrowed(path));
    }
    let refused = || Problem::new(Code::NameInvalid, "the path holds an escape that no name needs");
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| refused())?;
    let slashes = |text: &str| text.matches('/').count();
    if decoded.contains(suspicious) || slashes(&decoded) != slashes(path) {
        return Err(refused());
    }
    Ok(decoded)
}

fn parse_name(text: &str) -> Result<Name, Problem> {
    Name::parse(text)
        .map_err(|e| Problem::new(Code::NameInvalid, format!("invalid repository name: {}", e.reason)))
}

fn selector(text: &str) -> Result<Selector, Problem> {
    if text.contains(':') {
        return Ok(Selector::Digest(text.parse()?));
    }
    check_tag(text)?;
    Ok(Selector::Tag(text.to_owned()))
}

fn check_tag(tag: &str) -> Result<(), Problem> {
    validate_tag(tag).map_err(|e| Problem::new(Code::ManifestInvalid, format!("invalid tag: {}", e.reason)))
}

fn session(id: &str) -> Result<String, Problem> {
    let plausible = id.len() == 36 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if plausible {
        Ok(id.to_owned())
    } else {
        Err(Problem::new(Code::BlobUploadUnknown, "no such upload session"))
    }
}

fn not_allowed(target: &Target<'_>) -> Problem {
    let allow = match target {
        Target::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Target::Blob(..) => "GET, HEAD, DELETE",
        Target::Uploads(_) => "POST",
        Target::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        _ => "GET, HEAD",
    };
    Problem::new(Code::Unsupported, "this endpoint does not support the method")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .with_header(header::ALLOW, allow)
}

#[cfg(test)]
mod tests;
