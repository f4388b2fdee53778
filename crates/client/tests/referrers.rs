//! Referrers, by API and by fallback tag.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use common::{INDEX_TYPE, MANIFEST, MANIFEST_TYPE, client, repo, tag};
use palan_client::Precondition;
use palan_core::{Digest, Document, MediaType};
use palan_testkit::fault::{FaultRegistry, Reply, Request, table};
use serde_json::json;

fn subject() -> Digest {
    Digest::sha256(b"subject")
}

fn entry(name: &str, artifact_type: &str) -> serde_json::Value {
    json!({
        "mediaType": MANIFEST_TYPE, "size": 5,
        "digest": Digest::sha256(name.as_bytes()).to_string(), "artifactType": artifact_type,
    })
}

fn index(entries: &[serde_json::Value]) -> Reply {
    let json = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries });
    Reply::ok(json.to_string()).header("content-type", INDEX_TYPE)
}

/// An artifact that says something about the subject.
fn referrer(name: &str) -> Document {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": "text/sbom",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" },
        "layers": [], "annotations": { "name": name },
        "subject": { "mediaType": MANIFEST_TYPE, "size": 5, "digest": subject().to_string() },
    });
    Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap()
}

fn fallback_path() -> String {
    format!("/v2/a/b/manifests/{}", subject().referrers_tag())
}

#[tokio::test]
async fn the_api_is_asked_with_the_filter_and_its_pages_are_followed() {
    let path = format!("GET /v2/a/b/referrers/{}", subject());
    let first = index(&[entry("1", "text/sbom"), entry("2", "text/other")])
        .header("link", &format!("</v2/a/b/referrers/{}?page=2>; rel=\"next\"", subject()));
    let registry = FaultRegistry::start(table([
        (&format!("{path}?artifactType=text%2Fsbom"), first.clone()),
        (&format!("{path}?page=2"), index(&[entry("3", "text/sbom")])),
        (&path, first),
    ]))
    .await;
    let repo = repo(&client(), &registry);
    let names = |found: Vec<palan_core::Descriptor>| found.into_iter().map(|d| d.digest).collect::<Vec<_>>();
    let of = |names: &[&str]| names.iter().map(|n| Digest::sha256(n.as_bytes())).collect::<Vec<_>>();
    // The registry did not filter: then we do.
    assert_eq!(names(repo.referrers(subject(), Some("text/sbom")).await.unwrap()), of(&["1", "3"]));
    assert_eq!(names(repo.referrers(subject(), None).await.unwrap()), of(&["1", "2", "3"]));
}

#[tokio::test]
async fn the_fallback_tag_is_read_where_there_is_no_api() {
    let html = Reply::ok("<html>").header("content-type", "text/html");
    for (name, reply) in
        [("404", Reply::error(404, "NOT_FOUND")), ("405", Reply::status(405)), ("something else", html)]
    {
        let fallback = index(&[entry("1", "text/sbom"), entry("2", "text/other")]);
        let registry =
            FaultRegistry::start(
                move |r| {
                    if r.path() == fallback_path() { fallback.clone() } else { reply.clone() }
                },
            )
            .await;
        let repo = repo(&client(), &registry);
        assert_eq!(repo.referrers(subject(), Some("text/other")).await.unwrap().len(), 1, "{name}");
        assert_eq!(repo.referrers(subject(), None).await.unwrap().len(), 2, "{name}");
        assert_eq!(registry.count("GET /v2/a/b/referrers/"), 1, "{name}: the API is asked once");
    }
}

#[tokio::test]
async fn an_unknown_repository_says_nothing_about_the_api() {
    let registry = FaultRegistry::start(|r| match r.path().starts_with("/v2/known/referrers/") {
        true => index(&[entry("1", "x")]),
        false => Reply::error(404, "NAME_UNKNOWN"),
    })
    .await;
    let client = client();
    assert_eq!(repo(&client, &registry).referrers(subject(), None).await.unwrap(), []);
    let known = common::named(&client, &registry, "known");
    assert_eq!(known.referrers(subject(), None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_list_of_referrers_counts_as_none() {
    let image = Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE);
    let with_itself =
        index(&[json!({"mediaType": MANIFEST_TYPE, "size": 1, "digest": subject().to_string()})]);
    let no_manifest =
        index(&[json!({"mediaType": "text/plain", "size": 1, "digest": Digest::sha256(b"x").to_string()})]);
    for (name, reply) in [
        ("missing", Reply::error(404, "MANIFEST_UNKNOWN")),
        ("an image", image),
        ("the subject itself", with_itself),
        ("no manifest", no_manifest),
    ] {
        let registry = FaultRegistry::start(move |r| {
            if r.path() == fallback_path() { reply.clone() } else { Reply::error(404, "NOT_FOUND") }
        })
        .await;
        assert_eq!(repo(&client(), &registry).referrers(subject(), None).await.unwrap(), [], "{name}");
    }
    // Some registries answer the index that was asked about under its fallback tag.
    let body = json!({ "schemaVersion": 2, "manifests": [entry("child", "x")] }).to_string();
    let itself = Digest::sha256(body.as_bytes());
    let registry = FaultRegistry::start(move |r| match r.path().contains("/manifests/") {
        true => Reply::ok(body.clone()).header("content-type", INDEX_TYPE),
        false => Reply::error(404, "NOT_FOUND"),
    })
    .await;
    assert_eq!(repo(&client(), &registry).referrers(itself, None).await.unwrap(), []);
}

#[tokio::test]
async fn other_failures_are_errors() {
    for status in [401, 403, 500] {
        let registry = FaultRegistry::start(move |_| Reply::status(status)).await;
        let error = repo(&client(), &registry).referrers(subject(), None).await.unwrap_err();
        assert_eq!(error.status().map(|s| s.as_u16()), Some(status));
    }
}

#[tokio::test]
async fn a_registry_that_lists_referrers_itself_needs_no_fallback() {
    let registry =
        FaultRegistry::start(|_| Reply::status(201).header("oci-subject", &subject().to_string())).await;
    let document = referrer("one");
    let digest = document.digest().into();
    repo(&client(), &registry).put_manifest(&document, &digest, Precondition::None).await.unwrap();
    assert_eq!(registry.requests().len(), 1);
}

/// Manifests by tag, with or without support for conditional requests.
#[derive(Default)]
struct Manifests {
    stored: HashMap<String, Bytes>,
    conditional: bool,
    /// Somebody else's write, right before ours.
    intruder: Option<Bytes>,
}

impl Manifests {
    fn answer(&mut self, request: &Request) -> Reply {
        let name = request.path().rsplit('/').next().unwrap_or_default().to_owned();
        match request.method.as_str() {
            "GET" | "HEAD" => match self.stored.get(&name) {
                Some(bytes) => Reply::ok(bytes.clone()).header("content-type", INDEX_TYPE),
                None => Reply::error(404, "MANIFEST_UNKNOWN"),
            },
            _ => self.put(&name, request),
        }
    }

    fn put(&mut self, name: &str, request: &Request) -> Reply {
        if name.starts_with("sha256-")
            && let Some(bytes) = self.intruder.take()
        {
            self.stored.insert(name.to_owned(), bytes);
        }
        let current = self.stored.get(name).map(|b| format!("\"{}\"", Digest::sha256(b)));
        let (wanted, absent) = (request.header("if-match"), request.header("if-none-match") == "*");
        let fails =
            (!wanted.is_empty() && current.as_deref() != Some(wanted)) || (absent && current.is_some());
        if self.conditional && fails {
            return Reply::status(412);
        }
        self.stored.insert(name.to_owned(), request.body.clone());
        Reply::status(201)
    }
}

fn foreign_index() -> Bytes {
    let mut odd = entry("foreign", "text/other");
    odd["x-unknown"] = json!("kept");
    json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [odd] }).to_string().into()
}

#[tokio::test]
async fn the_fallback_tag_gains_an_entry_and_loses_none() {
    for (conditional, intruder) in [(true, None), (false, None), (true, Some(foreign_index()))] {
        let intruded = intruder.is_some();
        let manifests = Manifests { conditional, intruder, ..Manifests::default() };
        let manifests = Arc::new(Mutex::new(manifests));
        let shared = manifests.clone();
        let registry = FaultRegistry::start(move |r| shared.lock().unwrap().answer(r)).await;
        let repo = repo(&client(), &registry);
        let documents = [referrer("one"), referrer("two"), referrer("one")];
        let pushes = documents.iter().map(|d| {
            let (repo, digest) = (repo.clone(), d.digest().into());
            async move { repo.put_manifest(d, &digest, Precondition::None).await }
        });
        for outcome in futures_util::future::join_all(pushes).await {
            outcome.unwrap();
        }
        let stored = manifests.lock().unwrap().stored[&subject().referrers_tag()].clone();
        let index: serde_json::Value = serde_json::from_slice(&stored).unwrap();
        let entries = index["manifests"].as_array().unwrap();
        for document in &documents[..2] {
            let digest = document.digest().to_string();
            let own: Vec<_> = entries.iter().filter(|e| e["digest"] == digest.as_str()).collect();
            assert_eq!(own.len(), 1, "{entries:?}");
            assert_eq!(own[0]["artifactType"], "text/sbom");
            assert_eq!(own[0]["size"], document.size());
            assert!(own[0]["annotations"]["name"].is_string());
        }
        assert_eq!(entries.iter().filter(|e| e["x-unknown"] == "kept").count(), usize::from(intruded));
        assert_eq!(entries.len(), 2 + usize::from(intruded));
    }
}

#[tokio::test]
async fn what_is_no_index_is_not_replaced() {
    let registry = FaultRegistry::start(|r| match r.method.as_str() {
        "GET" => Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE),
        _ => Reply::status(201),
    })
    .await;
    let document = referrer("one");
    let error =
        repo(&client(), &registry).put_manifest(&document, &tag("x"), Precondition::None).await.unwrap_err();
    assert!(error.to_string().contains(&subject().referrers_tag()), "{error}");
    assert_eq!(registry.count("PUT"), 1);
}
