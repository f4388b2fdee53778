//! Lists: tags, repositories, referrers.

use http::{Response, header, response};
use palan_core::{Descriptor, Digest, MAX_DOCUMENT_SIZE, MediaType};
use serde_json::{Value, json};

use super::{Answer, OCI_FILTERS_APPLIED, json as answer};
use crate::{
    ledger::Ledger,
    name::Name,
    problem::{Code, Problem},
    query::Page,
};

/// A referrers list is an index, and clients refuse indexes over 4 MiB: longer lists are paged.
const REFERRERS_PAGE: usize = MAX_DOCUMENT_SIZE as usize - 64 * 1024;

pub(super) fn tags(ledger: &Ledger, name: &Name, page: &Page) -> Answer {
    let unknown = || Problem::new(Code::NameUnknown, format!("repository {name} is not known"));
    let (tags, more) = ledger.tags(name, page).ok_or_else(unknown)?;
    let next = next(more, &tags, |last| format!("/v2/{name}/tags/list?n={}&last={last}", page.limit));
    answer(&json!({"name": name.as_str(), "tags": tags}), linked(next))
}

pub(super) fn catalog(ledger: &Ledger, page: &Page) -> Answer {
    let (repositories, more) = ledger.catalog(page);
    let next = next(more, &repositories, |last| format!("/v2/_catalog?n={}&last={last}", page.limit));
    answer(&json!({"repositories": repositories}), linked(next))
}

pub(super) fn referrers(
    ledger: &Ledger,
    name: &Name,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&Digest>,
) -> Answer {
    let mut manifests = Vec::new();
    let (mut size, mut last, mut next) = (0, None, None);
    for manifest in ledger.referrers(name, subject, after) {
        let descriptor = &manifest.descriptor;
        if artifact_type.is_some() && descriptor.artifact_type.as_deref() != artifact_type {
            continue;
        }
        let mut entry = entry(descriptor)?;
        if manifests.is_empty() && length(&entry) > REFERRERS_PAGE {
            entry = shortened(descriptor)?;
        }
        size += length(&entry);
        if size > REFERRERS_PAGE {
            next = last.map(|last| referrers_link(name, subject, artifact_type, &last));
            break;
        }
        last = Some(descriptor.digest);
        manifests.push(entry);
    }
    let mut builder = linked(next).header(header::CONTENT_TYPE, MediaType::OCI_INDEX.as_str());
    if artifact_type.is_some() {
        builder = builder.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    answer(&index(&manifests), builder)
}

fn entry(descriptor: &Descriptor) -> Result<Value, Problem> {
    serde_json::to_value(descriptor).map_err(|e| Problem::internal("an answer", &e))
}

/// An entry that no page has room for, without what made it so long: it must not hide those after it.
fn shortened(descriptor: &Descriptor) -> Result<Value, Problem> {
    let mut short = Descriptor { annotations: None, ..descriptor.clone() };
    let without_annotations = entry(&short)?;
    if length(&without_annotations) <= REFERRERS_PAGE {
        return Ok(without_annotations);
    }
    short.artifact_type = None;
    entry(&short)
}

/// Bytes that an entry takes in a list.
fn length(entry: &Value) -> usize {
    entry.to_string().len() + 1
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests})
}

fn referrers_link(name: &Name, subject: &Digest, artifact_type: Option<&str>, last: &Digest) -> String {
    let filter = artifact_type.map_or_else(String::new, |t| {
        let t = percent_encoding::utf8_percent_encode(t, percent_encoding::NON_ALPHANUMERIC);
        format!("&artifactType={t}")
    });
    format!("/v2/{name}/referrers/{subject}?last={last}{filter}")
}

fn next(more: bool, page: &[String], link: impl Fn(&str) -> String) -> Option<String> {
    page.last().filter(|_| more).map(|last| link(last))
}

fn linked(next: Option<String>) -> response::Builder {
    match next {
        None => Response::builder(),
        Some(next) => Response::builder().header(header::LINK, format!("<{next}>; rel=\"next\"")),
    }
}
