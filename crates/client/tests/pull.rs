//! Pulling blobs from registries that break in every way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{LONGER, PATIENCE, blob, builder, client, collect, content, drain, repo};
use futures_util::StreamExt;
use palan_client::Error;
use palan_core::{Digest, Mismatch};
use palan_testkit::fault::{FaultRegistry, Reply, Request};
use proptest::prelude::*;

#[tokio::test]
async fn a_cut_is_resumed_where_it_was() {
    let bytes = content(10_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| match r.before {
        0 => Reply::ranged(r, &served).cut_after(3_000),
        _ => Reply::ranged(r, &served),
    })
    .await;
    let client = client();
    let stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes);
    let ranges: Vec<_> = registry.requests().iter().map(Request::range_start).collect();
    assert_eq!(ranges, [None, Some(3_000)]);
    assert_eq!(client.stats().retries, 1);
    assert_eq!(client.stats().bytes_received, 10_000);
}

#[tokio::test]
async fn silence_is_ended_and_resumed() {
    let bytes = content(5_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| match r.before {
        0 => Reply::ranged(r, &served).stall_after(1_000),
        1 => Reply::silence(),
        _ => Reply::ranged(r, &served),
    })
    .await;
    let client = builder().inactivity_timeout(PATIENCE).build().unwrap();
    let stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes);
    assert_eq!(registry.requests()[2].range_start(), Some(1_000));
}

/// A slow consumer is not a silent registry.
#[tokio::test]
async fn the_time_the_consumer_takes_does_not_count() {
    let bytes = content(600_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| Reply::ranged(r, &served)).await;
    let client = builder().inactivity_timeout(PATIENCE).build().unwrap();
    let mut stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    let mut length = stream.next().await.unwrap().unwrap().len();
    tokio::time::sleep(LONGER).await;
    while let Some(chunk) = stream.next().await {
        length += chunk.unwrap().len();
    }
    assert_eq!((length, registry.requests().len()), (bytes.len(), 1));
}

#[tokio::test]
async fn attempts_without_progress_are_limited() {
    let bytes = content(1_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| match r.before {
        0 => Reply::ranged(r, &served).cut_after(500),
        _ => Reply::ranged(r, &served).cut_after(0),
    })
    .await;
    let client = builder().retries(2).build().unwrap();
    let stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    let (got, error) = drain(stream).await;
    assert_eq!(got, bytes[..500]);
    assert!(matches!(error, Some(Error::Transport { .. })), "{error:?}");
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn progress_renews_the_attempts() {
    let bytes = content(1_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| Reply::ranged(r, &served).cut_after(50)).await;
    let client = builder().retries(1).build().unwrap();
    let stream = repo(&client, &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes);
    assert_eq!(registry.requests().len(), 20);
}

#[tokio::test]
async fn an_offset_is_asked_for_by_range() {
    let bytes = content(100);
    for (ignores_range, offset) in [(false, 0), (false, 1), (false, 99), (false, 100), (true, 1), (true, 99)]
    {
        let served = bytes.clone();
        let registry = FaultRegistry::start(move |r| match ignores_range {
            true => Reply::ok(served.clone()),
            false => Reply::ranged(r, &served),
        })
        .await;
        let stream = repo(&client(), &registry).open_blob(&blob(&bytes), offset).await.unwrap();
        assert_eq!(collect(stream).await.unwrap(), bytes.slice(offset as usize..), "{offset}");
    }
}

#[tokio::test]
async fn an_offset_beyond_the_end_is_refused() {
    let bytes = content(10);
    let registry = FaultRegistry::start(|_| Reply::status(200)).await;
    let error = repo(&client(), &registry).open_blob(&blob(&bytes), 11).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert_eq!(registry.requests().len(), 0);
}

#[tokio::test]
async fn empty_blobs_are_verified_too() {
    let registry = FaultRegistry::start(|_| Reply::status(200)).await;
    let repo = repo(&client(), &registry);
    let good = repo.open_blob(&blob(&Bytes::new()), 0).await.unwrap();
    assert_eq!(collect(good).await.unwrap(), Bytes::new());
    let mut descriptor = blob(&Bytes::new());
    descriptor.digest = Digest::sha256(b"something");
    let bad = repo.open_blob(&descriptor, 0).await.unwrap();
    assert!(matches!(collect(bad).await, Err(Error::Mismatch { source: Mismatch::Digest { .. }, .. })));
}

#[tokio::test]
async fn wrong_content_is_an_error() {
    type Serve = fn(&Bytes) -> Reply;
    type Expected = fn(&Error) -> bool;
    let cases: [(&str, Serve, Expected); 7] = [
        (
            "other bytes",
            |b| Reply::ok(b.iter().map(|b| b ^ 1).collect::<Bytes>()),
            |e| matches!(e, Error::Mismatch { source: Mismatch::Digest { .. }, .. }),
        ),
        (
            "announced too short",
            |b| Reply::ok(b.slice(1..)),
            |e| matches!(e, Error::Mismatch { source: Mismatch::Size { found: 99, expected: 100, .. }, .. }),
        ),
        (
            "announced too long",
            |b| Reply::ok([b.as_ref(), b"x"].concat()),
            |e| matches!(e, Error::Mismatch { source: Mismatch::Size { found: 101, .. }, .. }),
        ),
        (
            "too short",
            |b| Reply::ok(b.slice(1..)).unannounced(),
            |e| matches!(e, Error::Mismatch { source: Mismatch::Size { found: 99, .. }, .. }),
        ),
        (
            "too long",
            |b| Reply::ok([b.as_ref(), b"x"].concat()).unannounced(),
            |e| matches!(e, Error::Mismatch { source: Mismatch::TooLong { .. }, .. }),
        ),
        (
            "a web page",
            |_| Reply::ok("<html>").header("content-type", "text/html; charset=utf-8"),
            |e| matches!(e, Error::Html { .. }),
        ),
        ("missing", |_| Reply::error(404, "BLOB_UNKNOWN"), Error::is_not_found),
    ];
    for (name, serve, expected) in cases {
        let bytes = content(100);
        let served = bytes.clone();
        // Ranges are ignored: whoever comes back for the rest of too short a blob gets it again from the start.
        let registry = FaultRegistry::start(move |_| serve(&served)).await;
        let repo = repo(&client(), &registry);
        let error = match repo.open_blob(&blob(&bytes), 0).await {
            Ok(stream) => drain(stream).await.1.unwrap_or_else(|| panic!("{name}: no error")),
            Err(error) => error,
        };
        assert!(expected(&error), "{name}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&registry.host()), "{name}: {text}");
    }
}

#[tokio::test]
async fn partial_answers_that_do_not_fit_are_refused() {
    for range in [None, Some("bytes 60-99/100"), Some("bytes 50-99/101"), Some("nonsense")] {
        let bytes = content(100);
        let served = bytes.clone();
        let registry = FaultRegistry::start(move |_| {
            let reply = Reply::status(206).body(served.slice(50..));
            range.map_or(reply.clone(), |r| reply.header("content-range", r))
        })
        .await;
        let error = repo(&client(), &registry).open_blob(&blob(&bytes), 50).await.unwrap_err();
        assert!(matches!(error, Error::Answer { .. } | Error::Mismatch { .. }), "{range:?}: {error}");
    }
}

/// Some stores cannot do ranges, and say so with an error.
#[tokio::test]
async fn without_ranges_a_cut_blob_is_read_again() {
    for nonsense in [
        Reply::status(416),
        Reply::status(206),
        Reply::status(206).header("content-range", "bytes 9000-9999/10000"),
    ] {
        let bytes = content(10_000);
        let served = bytes.clone();
        let registry = FaultRegistry::start(move |r| match (r.before, r.range_start()) {
            (0, _) => Reply::ok(served.clone()).cut_after(3_000),
            (_, Some(_)) => nonsense.clone(),
            _ => Reply::ok(served.clone()),
        })
        .await;
        let stream = repo(&client(), &registry).open_blob(&blob(&bytes), 0).await.unwrap();
        assert_eq!(collect(stream).await.unwrap(), bytes);
        let ranges: Vec<_> = registry.requests().iter().map(Request::range_start).collect();
        assert_eq!(ranges, [None, Some(3_000), None]);
    }
}

/// Proxies cut long ranges into parts.
#[tokio::test]
async fn parts_that_are_shorter_than_asked_are_put_together() {
    let bytes = content(10_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| {
        let start = r.range_start().unwrap_or_default();
        let end = served.len().min(start + 900);
        let range = format!("bytes {start}-{}/{}", end - 1, served.len());
        Reply::status(206).body(served.slice(start..end)).header("content-range", &range)
    })
    .await;
    let stream = repo(&client(), &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes);
    assert_eq!(registry.requests().len(), 12);
}

#[tokio::test]
async fn a_byte_at_a_time_comes_to_an_end() {
    let bytes = content(5_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| {
        let start = r.range_start().unwrap_or_default();
        let range = format!("bytes {start}-{start}/{}", served.len());
        Reply::status(206).body(served.slice(start..=start)).header("content-range", &range)
    })
    .await;
    let stream = repo(&client(), &registry).open_blob(&blob(&bytes), 0).await.unwrap();
    let (got, error) = drain(stream).await;
    assert_eq!(got, bytes[..got.len()]);
    assert!(matches!(error, Some(Error::Mismatch { source: Mismatch::Size { .. }, .. })), "{error:?}");
    assert!(registry.requests().len() <= 1_001, "{}", registry.requests().len());
}

#[tokio::test]
async fn a_partial_answer_may_begin_earlier() {
    let bytes = content(100);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |_| {
        Reply::status(206).body(served.slice(30..)).header("content-range", "bytes 30-99/100")
    })
    .await;
    let stream = repo(&client(), &registry).open_blob(&blob(&bytes), 50).await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), bytes.slice(50..));
}

#[tokio::test]
async fn small_blobs_come_as_a_whole_within_a_limit() {
    let bytes = content(1_000);
    let served = bytes.clone();
    let registry = FaultRegistry::start(move |r| Reply::ranged(r, &served)).await;
    let repo = repo(&client(), &registry);
    assert_eq!(repo.blob_bytes(&blob(&bytes), 1_000).await.unwrap(), bytes);
    let error = repo.blob_bytes(&blob(&bytes), 999).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 1_000, limit: 999, .. }), "{error}");
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn has_blob_follows_the_status_and_the_size() {
    for (status, length, expected) in [
        (200, "7", Some(true)),
        (200, "0", Some(true)),
        (200, "6", Some(false)),
        (404, "7", Some(false)),
        (403, "7", None),
    ] {
        let registry =
            FaultRegistry::start(move |_| Reply::status(status).header("content-length", length)).await;
        let found = repo(&client(), &registry).has_blob(&blob(&content(7))).await;
        assert_eq!(found.ok(), expected, "{status} {length}");
    }
}

/// A server that cuts at scripted places, and sometimes ignores `Range`, never makes wrong bytes of right ones.
#[derive(Clone, Debug)]
struct Script {
    length: usize,
    cuts: Vec<usize>,
    ignores_range: Vec<bool>,
    corrupts: Option<usize>,
}

fn script() -> impl Strategy<Value = Script> {
    let cuts = prop::collection::vec(0..3_000_usize, 0..6);
    let ignores_range = prop::collection::vec(any::<bool>(), 8);
    (0..3_000_usize, cuts, ignores_range, prop::option::weighted(0.3, 0..3_000_usize)).prop_map(
        |(length, cuts, ignores_range, corrupts)| Script {
            length,
            cuts,
            ignores_range,
            corrupts: corrupts.filter(|at| *at < length),
        },
    )
}

impl Script {
    fn reply(&self, request: &Request, bytes: &Bytes) -> Reply {
        let ignores = self.ignores_range.get(request.before).copied().unwrap_or(false);
        let reply = if ignores { Reply::ok(bytes.clone()) } else { Reply::ranged(request, bytes) };
        match self.cuts.get(request.before) {
            Some(at) => reply.cut_after(*at),
            None => reply,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_cuts_never_give_wrong_bytes(script in script()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let right = content(script.length);
            let mut served = right.to_vec();
            if let Some(at) = script.corrupts {
                served[at] ^= 0x80;
            }
            let (served, replies) = (Bytes::from(served), script.clone());
            let registry = FaultRegistry::start(move |r| replies.reply(r, &served)).await;
            let client = builder().retries(10).build().unwrap();
            let stream = repo(&client, &registry).open_blob(&blob(&right), 0).await.unwrap();
            match (collect(stream).await, script.corrupts) {
                (Ok(bytes), None) => prop_assert_eq!(bytes, right),
                (Err(Error::Mismatch { .. }), Some(_)) => {}
                (outcome, _) => prop_assert!(false, "{:?}", outcome.map(|b| b.len())),
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn an_answer_that_never_begins_is_an_error() {
    let registry = FaultRegistry::start(|_| Reply::silence()).await;
    let client = builder().inactivity_timeout(Duration::from_millis(50)).retries(1).build().unwrap();
    let error = repo(&client, &registry).open_blob(&blob(&content(1)), 0).await.unwrap_err();
    assert!(error.to_string().contains("nothing was received for 50ms"), "{error}");
    assert_eq!(registry.requests().len(), 2);
}
