//! Registries that are asked too much: by whom they are asked less, and for how long.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use common::{MANIFEST, MANIFEST_TYPE, blob, builder, client, content, repo, tag};
use futures_util::future::join_all;
use palan_testkit::fault::{FaultRegistry, Reply};

fn manifest() -> Reply {
    Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE)
}

/// Go's client library sends again after a second, whatever the registry asked for.
#[tokio::test]
async fn while_a_retry_after_runs_nobody_asks() {
    const QUIET: Duration = Duration::from_millis(300);
    let times = Arc::new(Mutex::new(Vec::new()));
    let log = times.clone();
    let registry = FaultRegistry::start(move |r| {
        log.lock().unwrap().push(Instant::now());
        match r.before {
            1 => Reply::status(429).header("retry-after", "3600"),
            _ => manifest(),
        }
    })
    .await;
    let client = builder().longest_retry_after(QUIET).build().unwrap();
    let repo = repo(&client, &registry);
    repo.manifest(&tag("known")).await.unwrap();
    let (refused, other) = (tag("refused"), tag("other"));
    let refused = async { repo.manifest(&refused).await.map(drop) };
    let others = async {
        // Begins when the first has been refused.
        while client.stats().retries == 0 {
            tokio::task::yield_now().await;
        }
        join_all((0..10).map(|_| repo.manifest(&other))).await.into_iter().try_for_each(|r| r.map(drop))
    };
    let (refused, others) = tokio::join!(refused, others);
    refused.and(others).unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 13);
    assert!(times[2..].iter().all(|at| at.duration_since(times[1]) >= QUIET), "somebody did not wait");
}

/// A registry that bears three requests at once, and refuses the fourth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_goes_down_until_nobody_is_refused() {
    let (busy, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, no) = (busy.clone(), refused.clone());
    let registry = FaultRegistry::start(move |_| {
        let others = now.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        now.fetch_sub(1, SeqCst);
        if others >= 1 {
            no.fetch_add(1, SeqCst);
            return Reply::status(429);
        }
        manifest()
    })
    .await;
    let client = builder().retries(4).build().unwrap();
    let repo = repo(&client, &registry);
    let all = join_all((0..100).map(|_| async { repo.manifest(&tag("x")).await.map(drop) })).await;
    all.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let refused = refused.load(SeqCst);
    // Nearly 400, if each of the five attempts of each request went out at once.
    assert!(refused < 300, "{refused} of 100 were refused");
}

/// One request that is always refused fails, although all others are served.
#[tokio::test]
async fn being_refused_while_others_are_served_ends_too() {
    let registry = FaultRegistry::start(|r| match r.path().ends_with("/never") {
        true => Reply::status(429),
        false => manifest(),
    })
    .await;
    let client = client();
    let repo = repo(&client, &registry);
    let never = tag("never");
    let failing = repo.manifest(&never);
    let serving = async {
        loop {
            repo.manifest(&tag("x")).await.unwrap();
        }
    };
    let error = tokio::select! {
        outcome = failing => outcome.unwrap_err(),
        () = serving => unreachable!(),
    };
    assert_eq!(error.status().map(|s| s.as_u16()), Some(429), "{error}");
    let asked = registry.count("GET /v2/a/b/manifests/never");
    assert!((4..=14).contains(&asked), "{asked}");
}

#[tokio::test]
async fn what_is_left_is_known_and_nothing_left_is_waited_for() {
    let registry = FaultRegistry::start(|r| match r.before {
        0 => manifest()
            .header("ratelimit", "\"pulls\";r=0;t=1")
            .header("ratelimit-policy", "\"pulls\";q=9;w=60"),
        _ => manifest().header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", "76;w=21600"),
    })
    .await;
    let client = builder().longest_retry_after(Duration::from_secs(5)).build().unwrap();
    let repo = repo(&client, &registry);
    assert!(client.rate_limits().is_empty());
    let started = Instant::now();
    repo.manifest(&tag("x")).await.unwrap();
    let [stated] = &client.rate_limits()[..] else { panic!("one registry") };
    assert_eq!((&stated.registry, stated.limit.remaining), (&registry.host(), 0));
    repo.manifest(&tag("x")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    let limit = &client.rate_limits()[0].limit;
    assert_eq!(limit.to_string(), "76 of 100 requests per 6 h left");
    assert_eq!(client.stats().retries, 0);
}

/// Some registries always say so, and serve.
#[tokio::test]
async fn a_registry_that_always_has_nothing_left_is_waited_for_once() {
    let registry =
        FaultRegistry::start(|_| manifest().header("ratelimit", "limit=9, remaining=0, reset=1")).await;
    let client = builder().longest_retry_after(Duration::from_secs(5)).build().unwrap();
    let repo = repo(&client, &registry);
    let started = Instant::now();
    for _ in 0..20 {
        repo.manifest(&tag("x")).await.unwrap();
    }
    let waited = started.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

/// Hours are not waited for: the registry says so itself when it has had enough.
#[tokio::test]
async fn a_limit_that_is_renewed_much_later_stops_nobody() {
    let registry =
        FaultRegistry::start(|_| manifest().header("ratelimit", "limit=9, remaining=0, reset=3600")).await;
    let client = client();
    let repo = repo(&client, &registry);
    let started = Instant::now();
    for _ in 0..3 {
        repo.manifest(&tag("x")).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(client.rate_limits()[0].limit.is_low());
}

/// A retry loop inside a retry loop once asked 16 times.
#[tokio::test]
async fn attempts_are_not_multiplied() {
    let bytes = content(1_000);
    let registry = FaultRegistry::start(|r| match r.method.as_str() {
        "GET" => Reply::status(503),
        _ => Reply::status(500),
    })
    .await;
    let repo = repo(&client(), &registry);
    repo.open_blob(&blob(&bytes), 0).await.unwrap_err();
    assert_eq!(registry.requests().len(), 4);
    repo.push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    assert_eq!(registry.requests().len(), 8);
}

#[tokio::test]
async fn an_upload_that_always_fails_is_bounded() {
    let registry = FaultRegistry::start(|r| match r.method.as_str() {
        "POST" => Reply::status(202).header("location", "/v2/a/b/blobs/uploads/0"),
        _ => Reply::status(503),
    })
    .await;
    let bytes = content(1_000);
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    // Each of four attempts opens, sends, and asks what became of it, in two ways.
    assert!(registry.requests().len() <= 16, "{:#?}", registry.lines());
}
