//! Which requests are made again, how often and when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::{MANIFEST, MANIFEST_TYPE, builder, client, repo, tag};
use palan_client::{Client, Error, Fault};
use palan_testkit::fault::{FaultRegistry, Reply};

fn manifest() -> Reply {
    Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE)
}

#[tokio::test]
async fn failures_that_may_pass_are_repeated() {
    // A connection that breaks may be a TLS port the first time: that is one request more on the wire, which the
    // registry's log does not show.
    for reply in
        [408, 429, 499, 500, 502, 503, 504, 522].map(Reply::status).into_iter().chain([Reply::abort()])
    {
        let shown = format!("{reply:?}");
        let registry = FaultRegistry::start(move |r| match r.before {
            0 | 1 => reply.clone(),
            _ => manifest(),
        })
        .await;
        let client = client();
        repo(&client, &registry).manifest(&tag("x")).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_eq!((registry.requests().len(), client.stats().retries), (3, 2), "{shown}");
    }
}

#[tokio::test]
async fn other_failures_are_not() {
    for status in [400, 401, 403, 404, 405, 410, 413, 416, 418, 501, 505] {
        let registry = FaultRegistry::start(move |_| Reply::status(status)).await;
        let error = repo(&client(), &registry).manifest(&tag("x")).await.unwrap_err();
        assert_eq!(error.status().map(|s| s.as_u16()), Some(status), "{error}");
        assert_eq!(registry.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn failures_without_end_are_an_error() {
    let registry = FaultRegistry::start(|_| Reply::error(503, "UNAVAILABLE")).await;
    let client = builder().retries(2).build().unwrap();
    let error = repo(&client, &registry).manifest(&tag("x")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "GET {} answered 503 Service Unavailable: UNAVAILABLE: scripted",
            registry.url("/v2/a/b/manifests/x")
        )
    );
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_a_limit() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600));
    for retry_after in ["1", "86400", &date] {
        let value = retry_after.to_owned();
        let registry = FaultRegistry::start(move |r| match r.before {
            0 => Reply::status(429).header("retry-after", &value),
            _ => manifest(),
        })
        .await;
        let client = builder().longest_retry_after(Duration::from_millis(300)).build().unwrap();
        let started = Instant::now();
        repo(&client, &registry).manifest(&tag("x")).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300), "{retry_after}: {:?}", started.elapsed());
        assert_eq!(registry.requests().len(), 2);
    }
}

#[tokio::test]
async fn without_retry_after_the_backoff_decides() {
    let registry = FaultRegistry::start(|r| match r.before {
        0 => Reply::status(429),
        1 => Reply::status(429).header("retry-after", "later"),
        _ => manifest(),
    })
    .await;
    let started = Instant::now();
    repo(&client(), &registry).manifest(&tag("x")).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_so() {
    let registry = FaultRegistry::start(|_| Reply::status(200)).await;
    let name = format!("{}/a/b", registry.host()).parse().unwrap();
    drop(registry);
    let client = builder().retries(1).build().unwrap();
    // The port may be closing still.
    let error = client.repository(&name).manifest(&tag("x")).await.unwrap_err();
    let Error::Transport { url, reason, .. } = &error else { panic!("{error:?}") };
    assert!(url.contains(&name.registry().to_owned()) && !reason.is_empty(), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_asked_again() {
    let name = "palan.invalid/a/b".parse().unwrap();
    let client = Client::builder().backoff(Duration::from_secs(3_600)).build().unwrap();
    let (repo, selector) = (client.repository(&name), tag("x"));
    let asked = repo.manifest(&selector);
    match tokio::time::timeout(Duration::from_secs(30), asked).await {
        Ok(Err(Error::Transport { fault, .. })) => assert_eq!(fault, Fault::Dns),
        Ok(other) => panic!("{other:?}"),
        // The resolver called it a temporary failure: then waiting is right.
        Err(_) => assert_eq!(client.stats().requests, 1),
    }
}

#[tokio::test]
async fn few_requests_at_a_time_still_get_everything() {
    let registry = FaultRegistry::start(|_| manifest()).await;
    let client = builder().max_connections_per_host(2).build().unwrap();
    let repo = repo(&client, &registry);
    let asked = (0..20).map(|_| async { repo.manifest(&tag("x")).await.map(drop) });
    for outcome in futures_util::future::join_all(asked).await {
        outcome.unwrap();
    }
    assert_eq!(registry.requests().len(), 20);
}

#[tokio::test]
async fn warnings_are_collected_once_each_and_malformed_ones_ignored() {
    let registry = FaultRegistry::start(|_| {
        manifest()
            .header("warning", r#"299 - "quota nearly used up""#)
            .header("warning", "299 - nope")
            .header("warning", r#"299 - "another""#)
    })
    .await;
    let client = client();
    for _ in 0..3 {
        repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    }
    assert_eq!(client.warnings(), ["another", "quota nearly used up"]);
}
