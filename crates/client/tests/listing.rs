//! Lists that come in pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{builder, client, repo};
use palan_client::Error;
use palan_testkit::fault::{FaultRegistry, Reply, table};

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let registry = FaultRegistry::start(table([
        (
            "GET /v2/a/b/tags/list?n=2",
            Reply::json(r#"{"name":"a/b","tags":["1","2"]}"#)
                .header("link", r#"</v2/a/b/tags/list?last=2&n=2>; rel="next""#),
        ),
        (
            "GET /v2/a/b/tags/list?last=2&n=2",
            Reply::json(r#"{"tags":["3"]}"#).header("link", r#"<list?last=3>; rel=next"#),
        ),
        ("GET /v2/a/b/tags/list?last=3", Reply::json(r#"{"tags":null}"#)),
    ]))
    .await;
    let client = builder().page_size(2).build().unwrap();
    assert_eq!(repo(&client, &registry).tags().await.unwrap(), ["1", "2", "3"]);
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn the_catalog_is_a_list_too() {
    let registry = FaultRegistry::start(table([
        (
            "GET /v2/_catalog?n=1",
            Reply::json(r#"{"repositories":["a/b"]}"#)
                .header("link", r#"</v2/_catalog?n=1&last=a%2Fb>; rel="next""#),
        ),
        ("GET /v2/_catalog?n=1&last=a%2Fb", Reply::json(r#"{"repositories":["c"]}"#)),
        ("GET /v2/_catalog?n=1000", Reply::json(r#"{"repositories":["a/b","c"]}"#)),
    ]))
    .await;
    let client = client();
    assert_eq!(client.catalog(&registry.host(), Some(1)).await.unwrap(), ["a/b", "c"]);
    assert_eq!(client.catalog(&registry.host(), None).await.unwrap(), ["a/b", "c"]);
}

#[tokio::test]
async fn pages_elsewhere_and_pages_in_a_circle_are_refused() {
    let elsewhere = FaultRegistry::start(|_| Reply::json(r#"{"tags":["stolen"]}"#)).await;
    for (link, requests) in [
        (format!("<{}>; rel=\"next\"", elsewhere.url("/v2/a/b/tags/list?n=1")), 1),
        ("<https://example.com/v2/a/b/tags/list>; rel=\"next\"".to_owned(), 1),
        ("</v2/a/b/tags/list?n=1000>; rel=\"next\"".to_owned(), 1),
        ("</v2/a/b/tags/list?last=x>; rel=\"next\"".to_owned(), 2),
    ] {
        let shown = link.clone();
        let registry =
            FaultRegistry::start(move |_| Reply::json(r#"{"tags":["x"]}"#).header("link", &link)).await;
        let error = repo(&client(), &registry).tags().await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{shown}: {error:?}");
        assert_eq!(registry.requests().len(), requests, "{shown}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn lists_that_are_none_are_errors() {
    for (reply, html) in [
        (Reply::json("[]"), false),
        (Reply::json(r#"{"tags":"x"}"#), false),
        (Reply::json("{"), false),
        (Reply::ok("<html>").header("content-type", "text/html"), true),
    ] {
        let shown = format!("{reply:?}");
        let registry = FaultRegistry::start(move |_| reply.clone()).await;
        let error = repo(&client(), &registry).tags().await.unwrap_err();
        assert_eq!(matches!(error, Error::Html { .. }), html, "{shown}: {error}");
        assert!(error.to_string().contains("/v2/a/b/tags/list"), "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_registry_that_is_no_name_is_an_error() {
    let client = client();
    for name in ["", "a b", "a/b", "ghcr.io:x"] {
        assert!(client.ping(name).await.is_err(), "{name}");
        assert!(client.catalog(name, None).await.is_err(), "{name}");
    }
    assert_eq!(client.stats().requests, 0);
}
