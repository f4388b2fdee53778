//! Reading and writing manifests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{INDEX_TYPE, MANIFEST, MANIFEST_TYPE, client, repo, tag};
use palan_client::{Error, Precondition};
use palan_core::{Algorithm, Digest, Document, MediaType, Mismatch, Selector};
use palan_testkit::fault::{FaultRegistry, Reply, table};

fn digest() -> Digest {
    Digest::sha256(MANIFEST.as_bytes())
}

fn manifest() -> Reply {
    Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE)
}

fn document() -> Document {
    Document::parse(MANIFEST, None).unwrap()
}

#[tokio::test]
async fn bytes_media_type_and_digest_are_kept() {
    let registry = FaultRegistry::start(|_| manifest()).await;
    let repo = repo(&client(), &registry);
    for selector in [tag("x"), digest().into(), Algorithm::Sha512.digest(MANIFEST.as_bytes()).into()] {
        let document = repo.manifest(&selector).await.unwrap();
        assert_eq!(document.bytes(), MANIFEST);
        assert_eq!(document.media_type(), &MediaType::OCI_MANIFEST);
        if let Selector::Digest(asked) = selector {
            assert_eq!(document.digest(), asked);
        }
    }
    assert!(registry.requests()[0].header("accept").contains(INDEX_TYPE));
    assert_eq!(registry.lines()[0], "GET /v2/a/b/manifests/x");
}

#[tokio::test]
async fn wrong_answers_are_refused() {
    type Expected = fn(&Error) -> bool;
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(4 * 1024 * 1024));
    let cases: Vec<(&str, Selector, Reply, Expected)> = vec![
        ("another manifest than asked for", Digest::sha256(b"x").into(), manifest(), |e| {
            matches!(e, Error::Mismatch { source: Mismatch::Digest { .. }, .. })
        }),
        (
            "another digest than stated",
            tag("x"),
            manifest().header("docker-content-digest", &Digest::sha256(b"x").to_string()),
            |e| matches!(e, Error::Mismatch { source: Mismatch::Digest { .. }, .. }),
        ),
        ("too large, announced", tag("x"), Reply::ok(large.clone()), |e| {
            matches!(e, Error::TooLarge { limit: 4_194_304, .. })
        }),
        ("too large, not announced", tag("x"), Reply::ok(large).unannounced(), |e| {
            matches!(e, Error::TooLarge { limit: 4_194_304, .. })
        }),
        ("a web page", tag("x"), Reply::ok("hello").header("content-type", "text/html"), |e| {
            matches!(e, Error::Html { .. })
        }),
        ("a web page in disguise", tag("x"), Reply::ok("<!DOCTYPE html><html>"), |e| {
            matches!(e, Error::Html { .. })
        }),
        (
            "an index that calls itself a manifest",
            tag("x"),
            Reply::ok(MANIFEST).header("content-type", INDEX_TYPE),
            |e| matches!(e, Error::Document { .. }),
        ),
        ("duplicate keys", tag("x"), Reply::ok(r#"{"a":1,"a":2}"#), |e| matches!(e, Error::Document { .. })),
        ("no JSON", tag("x"), Reply::ok("hello"), |e| matches!(e, Error::Document { .. })),
        ("missing", tag("x"), Reply::error(404, "MANIFEST_UNKNOWN"), Error::is_not_found),
        ("forbidden", tag("x"), Reply::error(403, "DENIED"), Error::is_unauthorized),
    ];
    for (name, selector, reply, expected) in cases {
        let registry = FaultRegistry::start(move |_| reply.clone()).await;
        let error = repo(&client(), &registry).manifest(&selector).await.unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert!(error.to_string().contains(&registry.host()), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_error_with_a_web_page_says_so() {
    let page = Reply::status(404).body("<html>").header("content-type", "text/html");
    let registry = FaultRegistry::start(move |_| page.clone()).await;
    let error = repo(&client(), &registry).manifest(&tag("x")).await.unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().ends_with("with an HTML page, is it a registry?"), "{error}");
}

#[tokio::test]
async fn error_bodies_are_bounded() {
    let body = "x".repeat(10 * 1024 * 1024);
    let registry = FaultRegistry::start(move |_| Reply::status(403).body(body.clone())).await;
    let client = client();
    let error = repo(&client, &registry).manifest(&tag("x")).await.unwrap_err();
    assert!(error.to_string().len() < 500, "{error}");
    assert!(client.stats().bytes_received < 2 * 1024 * 1024, "{:?}", client.stats());
}

#[tokio::test]
async fn head_reads_the_manifest_only_where_it_must() {
    let full = || manifest().header("docker-content-digest", &digest().to_string());
    for (name, head, requests) in [
        ("all headers", full(), 1),
        ("no digest", manifest(), 2),
        ("no media type", Reply::ok(MANIFEST).header("docker-content-digest", &digest().to_string()), 2),
        ("a meaningless media type", full().header("content-type", "text/plain"), 1),
        ("no length", full().unannounced(), 2),
        ("not allowed", Reply::status(405), 2),
    ] {
        let registry = FaultRegistry::start(move |r| match r.method.as_str() {
            "HEAD" => head.clone(),
            _ => manifest(),
        })
        .await;
        let found = repo(&client(), &registry).head(&tag("x")).await.unwrap();
        assert_eq!(found, document().descriptor(), "{name}");
        assert_eq!(registry.requests().len(), requests, "{name}");
    }
}

#[tokio::test]
async fn head_by_digest_needs_no_digest_header_but_checks_it() {
    let registry = FaultRegistry::start(|_| manifest()).await;
    let found = repo(&client(), &registry).head(&digest().into()).await.unwrap();
    assert_eq!((found.digest, registry.requests().len()), (digest(), 1));
    let other = Digest::sha256(b"other");
    let registry =
        FaultRegistry::start(move |_| manifest().header("docker-content-digest", &other.to_string())).await;
    let error = repo(&client(), &registry).head(&digest().into()).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[tokio::test]
async fn pushing_sends_the_bytes_and_the_condition() {
    let other = Digest::sha256(b"other");
    let quoted = format!("\"{other}\"");
    for (condition, if_match, if_none_match) in [
        (Precondition::None, "", ""),
        (Precondition::IfMatch(other), quoted.as_str(), ""),
        (Precondition::IfAbsent, "", "*"),
    ] {
        let registry = FaultRegistry::start(|_| Reply::status(201)).await;
        repo(&client(), &registry).put_manifest(&document(), &tag("x"), condition).await.unwrap();
        let request = &registry.requests()[0];
        assert_eq!(request.line(), "PUT /v2/a/b/manifests/x");
        assert_eq!(request.body, MANIFEST);
        assert_eq!(request.header("content-type"), MANIFEST_TYPE);
        assert_eq!(request.header("if-match"), if_match);
        assert_eq!(request.header("if-none-match"), if_none_match);
    }
}

#[tokio::test]
async fn a_condition_that_fails_is_its_own_error() {
    let registry = FaultRegistry::start(|_| Reply::status(412)).await;
    let error = repo(&client(), &registry)
        .put_manifest(&document(), &tag("x"), Precondition::IfAbsent)
        .await
        .unwrap_err();
    assert!(error.is_precondition_failed(), "{error}");
}

#[tokio::test]
async fn what_was_stored_is_checked() {
    let other = Digest::sha256(b"other");
    let registry =
        FaultRegistry::start(move |_| Reply::status(201).header("docker-content-digest", &other.to_string()))
            .await;
    let repo = repo(&client(), &registry);
    let error = repo.put_manifest(&document(), &tag("x"), Precondition::None).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    // Under a digest that is not its own, nothing is sent at all.
    let error = repo.put_manifest(&document(), &other.into(), Precondition::None).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn deleting_follows_the_status() {
    for (status, expected) in [(202, true), (204, true), (404, false), (405, false)] {
        let registry = FaultRegistry::start(move |_| Reply::status(status)).await;
        let repo = repo(&client(), &registry);
        assert_eq!(repo.delete_manifest(&tag("x")).await.is_ok(), expected, "{status}");
        assert_eq!(repo.delete_blob(digest()).await.is_ok(), expected, "{status}");
        let expected =
            ["DELETE /v2/a/b/manifests/x".to_owned(), format!("DELETE /v2/a/b/blobs/{}", digest())];
        assert_eq!(registry.lines(), expected);
    }
}

#[tokio::test]
async fn a_ping_is_made_once_and_only_when_asked_for() {
    let registry = FaultRegistry::start(table([
        ("GET /v2/", Reply::json("{}")),
        ("GET /v2/a/b/manifests/x", manifest()),
    ]))
    .await;
    let client = client();
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    assert_eq!(registry.count("GET /v2/ "), 0);
    client.ping(&registry.host()).await.unwrap();
    client.clone().ping(&registry.host()).await.unwrap();
    assert_eq!(registry.lines(), ["GET /v2/a/b/manifests/x", "GET /v2/"]);
    assert_eq!((client.stats().requests, client.stats().pings), (2, 1));
}

#[tokio::test]
async fn what_is_no_tag_becomes_no_url() {
    let registry = FaultRegistry::start(|_| manifest()).await;
    let repo = repo(&client(), &registry);
    for text in ["../../victim/manifests/latest", "a?x=y#z", "%2e%2e", "a/b", "", "-a", ".", &"a".repeat(129)]
    {
        let outcomes = [
            repo.head(&tag(text)).await.map(drop),
            repo.manifest(&tag(text)).await.map(drop),
            repo.put_manifest(&document(), &tag(text), Precondition::None).await,
            repo.delete_manifest(&tag(text)).await,
        ];
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Reference(_)) && error.to_string().contains(text), "{error:?}");
        }
    }
    assert!(registry.lines().is_empty(), "{:?}", registry.lines());
}
