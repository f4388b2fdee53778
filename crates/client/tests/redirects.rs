//! Redirects: followed, but alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{blob, builder, client, collect, content, repo, tag};
use http::{HeaderMap, HeaderValue};
use palan_client::{Client, Credentials, Error, Secret};
use palan_testkit::fault::{FaultRegistry, Reply, Request};

fn secretive(registry: &FaultRegistry) -> Client {
    let credentials = Credentials::Basic { username: "me".into(), password: Secret::new("hunter2") };
    let one = HeaderMap::from_iter([("x-one".parse().unwrap(), HeaderValue::from_static("1"))]);
    let two = HeaderMap::from_iter([("x-two".parse().unwrap(), HeaderValue::from_static("2"))]);
    builder()
        .credentials(Arc::new(credentials))
        .common_headers(one)
        .headers(registry.host(), two)
        .build()
        .unwrap()
}

fn authenticated(request: &Request, reply: Reply) -> Reply {
    match request.header("authorization") {
        "" => Reply::status(401).header("www-authenticate", "Basic realm=x"),
        _ => reply,
    }
}

#[tokio::test]
async fn another_host_gets_neither_credentials_nor_headers() {
    let bytes = content(100_000);
    let served = bytes.clone();
    let store = FaultRegistry::start(move |r| match r.before {
        0 => Reply::ranged(r, &served).cut_after(40_000),
        _ => Reply::ranged(r, &served),
    })
    .await;
    let target = store.url("/bucket/x?X-Amz-Signature=hunter2");
    let registry =
        FaultRegistry::start(move |r| authenticated(r, Reply::status(307).header("location", &target))).await;
    let client = secretive(&registry);
    let stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes);
    for request in store.requests() {
        for name in ["authorization", "x-one", "x-two", "cookie", "referer"] {
            assert_eq!(request.header(name), "", "{name}");
        }
        assert_eq!(request.header("user-agent"), concat!("palan/", env!("CARGO_PKG_VERSION")));
    }
    // A cut is resumed by asking the registry again: signed URLs expire.
    let last = registry.requests().pop().unwrap();
    assert_eq!(last.range_start(), Some(40_000));
    assert_eq!(store.requests()[1].range_start(), Some(40_000));
    assert_eq!((last.header("x-one"), last.header("x-two")), ("1", "2"));
    assert_ne!(last.header("authorization"), "");
}

#[tokio::test]
async fn the_same_host_gets_both() {
    let registry = FaultRegistry::start(|r| match r.path() {
        "/elsewhere" => authenticated(r, Reply::ok(content(10))),
        _ => authenticated(r, Reply::status(302).header("location", "/elsewhere")),
    })
    .await;
    let client = secretive(&registry);
    let bytes = content(10);
    assert_eq!(repo(&client, &registry).blob_bytes(&blob(&bytes), 10).await.unwrap(), bytes);
    let last = registry.requests().pop().unwrap();
    assert_eq!((last.path(), last.header("x-two")), ("/elsewhere", "2"));
    assert_ne!(last.header("authorization"), "");
}

/// A store that is asked in between could choose what the registry is asked with somebody's password.
#[tokio::test]
async fn credentials_do_not_come_back_with_a_redirect() {
    let back = Arc::new(std::sync::OnceLock::<String>::new());
    let known = back.clone();
    let store =
        FaultRegistry::start(move |_| Reply::status(307).header("location", known.get().unwrap())).await;
    let target = store.url("/x");
    let registry = FaultRegistry::start(move |r| match r.path() {
        "/back" => Reply::ok(content(10)),
        _ => authenticated(r, Reply::status(307).header("location", &target)),
    })
    .await;
    back.set(registry.url("/back")).unwrap();
    let bytes = content(10);
    let client = secretive(&registry);
    assert_eq!(repo(&client, &registry).blob_bytes(&blob(&bytes), 10).await.unwrap(), bytes);
    let last = registry.requests().pop().unwrap();
    assert_eq!(last.path(), "/back");
    for name in ["authorization", "x-one", "x-two"] {
        assert_eq!(last.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_registry_is_not_authenticated_to() {
    let store = FaultRegistry::start(|_| {
        Reply::status(401).header("www-authenticate", r#"Bearer realm="http://127.0.0.1:1/steal""#)
    })
    .await;
    let target = store.url("/x?Signature=hunter2");
    let registry =
        FaultRegistry::start(move |r| authenticated(r, Reply::status(307).header("location", &target))).await;
    let error = repo(&secretive(&registry), &registry).open_blob(&blob(&content(1)), 0).await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert_eq!(store.requests().len(), 1);
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_errors() {
    for (location, requests) in [
        ("/v2/again", 11),
        ("http://169.254.169.254/latest/meta-data/?token=hunter2", 1),
        ("http://[fe80::1]/", 1),
        ("ftp://example.com/", 1),
        ("http://", 1),
    ] {
        let registry = FaultRegistry::start(move |_| Reply::status(307).header("location", location)).await;
        let error = repo(&client(), &registry).manifest(&tag("x")).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. } | Error::Answer { .. }), "{location}: {error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(registry.requests().len(), requests, "{location}");
    }
}

#[tokio::test]
async fn a_redirect_without_a_location_is_an_answer() {
    let registry = FaultRegistry::start(|_| Reply::status(307)).await;
    let error = repo(&client(), &registry).manifest(&tag("x")).await.unwrap_err();
    assert_eq!(error.status().map(|s| s.as_u16()), Some(307));
}

#[tokio::test]
async fn a_body_follows_where_the_method_is_kept() {
    for (status, follows) in [(307, true), (308, true), (301, false), (302, false), (303, false)] {
        let registry = FaultRegistry::start(move |r| match r.path() {
            "/v2/a/b/blobs/uploads/" => Reply::status(202).header("location", "/upload?x=1"),
            "/upload" => Reply::status(status).header("location", "/moved?y=2"),
            _ => Reply::status(201),
        })
        .await;
        let bytes = content(1_000);
        let pushed = repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await;
        assert_eq!(pushed.is_ok(), follows, "{status}");
        let last = registry.requests().pop().unwrap();
        if follows {
            assert_eq!((last.line(), last.body), ("PUT /moved?y=2".into(), bytes), "{status}");
        }
    }
}

/// Uploads may go to a store, too.
#[tokio::test]
async fn an_upload_location_elsewhere_gets_the_bytes_only() {
    let store = FaultRegistry::start(|_| Reply::status(201)).await;
    let location = store.url("/store?Signature=s");
    let registry =
        FaultRegistry::start(move |r| authenticated(r, Reply::status(202).header("location", &location)))
            .await;
    let bytes = Bytes::from_static(b"hello");
    repo(&secretive(&registry), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    let request = &store.requests()[0];
    assert_eq!(request.body, bytes);
    assert!(request.target.starts_with("/store?Signature=s&digest=sha256"), "{}", request.target);
    assert_eq!((request.header("authorization"), request.header("x-one")), ("", ""));
}

#[tokio::test]
async fn a_store_that_signs_for_get_only_still_has_the_blob() {
    let store = FaultRegistry::start(|r| match r.method.as_str() {
        "HEAD" => Reply::status(403),
        _ => Reply::status(206).body("x").header("content-range", "bytes 0-0/9"),
    })
    .await;
    let target = store.url("/x");
    let registry = FaultRegistry::start(move |_| Reply::status(307).header("location", &target)).await;
    assert!(repo(&client(), &registry).has_blob(&blob(&content(9))).await.unwrap());
}
