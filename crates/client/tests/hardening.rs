//! Faults that once led to a leak, an endless loop or a false alarm; each test is named after what went wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use common::{MANIFEST, MANIFEST_TYPE, blob, builder, client, content, repo, tag};
use palan_client::{BoxFuture, CredentialProvider, Credentials, Error, Precondition, Secret};
use palan_core::{Digest, Document};
use palan_testkit::fault::{FaultRegistry, Reply};

struct Identity;

impl CredentialProvider for Identity {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async { Ok(Credentials::IdentityToken(Secret::new("REFRESH-SECRET"))) })
    }
}

#[tokio::test]
async fn a_redirected_token_service_does_not_pass_the_refresh_token_on() {
    let other = FaultRegistry::start(|_| Reply::json(r#"{"access_token":"stolen"}"#)).await;
    let elsewhere = other.url("/token");
    let registry = FaultRegistry::start(move |request| match request.path() {
        "/token" => Reply::status(307).header("location", &elsewhere),
        _ => {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host"));
            Reply::error(401, "UNAUTHORIZED").header("www-authenticate", &realm)
        }
    })
    .await;
    let client = builder().credentials(Arc::new(Identity)).build().unwrap();
    let error = repo(&client, &registry).manifest(&tag("v1")).await.unwrap_err();
    assert!(error.to_string().contains("carry credentials"), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_registry_that_forgets_uploads_does_not_keep_a_push_going_for_ever() {
    let registry = FaultRegistry::start(|request| match request.method.as_str() {
        "POST" => Reply::status(202).header("location", "/v2/a/b/blobs/uploads/1"),
        "PUT" if request.body.len() > 4 => Reply::status(413),
        "PATCH" => Reply::status(202)
            .header("location", "/v2/a/b/blobs/uploads/1")
            .header("range", &format!("0-{}", request.body.len() - 1)),
        _ => Reply::error(404, "BLOB_UPLOAD_UNKNOWN"),
    })
    .await;
    let bytes = content(1000);
    let error = repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(registry.requests().len() < 60, "{} requests", registry.requests().len());
}

#[tokio::test]
async fn a_conditional_put_whose_answer_was_lost_is_no_conflict() {
    let puts = AtomicUsize::new(0);
    let document = Document::parse(MANIFEST, None).unwrap();
    let digest = document.digest().to_string();
    let registry = FaultRegistry::start(move |request| match request.method.as_str() {
        "PUT" if puts.fetch_add(1, Relaxed) == 0 => Reply::abort(),
        "PUT" => Reply::status(412),
        _ => {
            Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE).header("docker-content-digest", &digest)
        }
    })
    .await;
    let expected = Precondition::IfMatch(Digest::sha256(b"what was there"));
    repo(&client(), &registry).put_manifest(&document, &tag("v1"), expected).await.unwrap();
}

#[tokio::test]
async fn a_cut_manifest_is_asked_for_again() {
    let gets = AtomicUsize::new(0);
    let registry = FaultRegistry::start(move |_| {
        let reply = Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE);
        if gets.fetch_add(1, Relaxed) == 0 { reply.cut_after(30) } else { reply }
    })
    .await;
    let document = repo(&client(), &registry).manifest(&tag("v1")).await.unwrap();
    assert_eq!(document.bytes(), MANIFEST.as_bytes());
}

#[tokio::test]
async fn a_registry_cannot_write_control_sequences_to_the_terminal() {
    let body = r#"{"errors":[{"code":"DENIED\u001b[2J","message":"\u001b]0;owned\u0007no"}]}"#;
    let registry = FaultRegistry::start(move |_| Reply::status(403).body(body)).await;
    let error = repo(&client(), &registry).manifest(&tag("v1")).await.unwrap_err().to_string();
    assert!(error.contains("DENIED") && !error.chars().any(char::is_control), "{error:?}");
}
