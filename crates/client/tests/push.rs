//! Pushing and mounting blobs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{LONGER, PATIENCE, blob, builder, client, content, named, repo};
use futures_util::{StreamExt, stream};
use palan_client::{BlobOpener, BoxError, BoxFuture, ByteStream, Error, Fault, GrowingBlob};
use palan_core::{Descriptor, Digest};
use palan_testkit::fault::{FaultRegistry, Reply, Request, Store};
use proptest::prelude::*;

/// An upload session as a registry keeps it, with faults.
#[derive(Default)]
struct Uploads {
    sessions: Vec<Vec<u8>>,
    blobs: Vec<Bytes>,
    chunk_min_length: Option<u64>,
    largest_body: Option<usize>,
    forgets: bool,
}

type Shared = Arc<Mutex<Uploads>>;

impl Uploads {
    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path().to_owned();
        let session = path.strip_prefix("/v2/a/b/blobs/uploads/").unwrap_or_default();
        if self.largest_body.is_some_and(|most| request.body.len() > most) {
            return Reply::status(413);
        }
        match (request.method.as_str(), session.parse::<usize>()) {
            ("POST", _) => self.open(),
            ("GET", Ok(id)) if !self.forgets => self.status(id, 204),
            ("PATCH", Ok(id)) => self.append(id, request),
            ("PUT", Ok(id)) if id < self.sessions.len() => self.close(id, request),
            ("HEAD", _) => {
                let known = |b: &&Bytes| path.ends_with(&Digest::sha256(b).to_string());
                Reply::status(if self.blobs.iter().any(|b| known(&b)) { 200 } else { 404 })
            }
            _ => Reply::error(404, "BLOB_UPLOAD_UNKNOWN"),
        }
    }

    fn open(&mut self) -> Reply {
        self.sessions.push(Vec::new());
        let location = format!("/v2/a/b/blobs/uploads/{}?_state=s%2F0", self.sessions.len() - 1);
        let reply = Reply::status(202).header("location", &location);
        match self.chunk_min_length {
            Some(length) => reply.header("oci-chunk-min-length", &length.to_string()),
            None => reply,
        }
    }

    fn status(&self, id: usize, status: u16) -> Reply {
        let length = self.sessions[id].len();
        Reply::status(status)
            .header("location", &format!("/v2/a/b/blobs/uploads/{id}?_state=s{length}"))
            .header("range", &format!("0-{}", length.max(1) - 1))
    }

    fn append(&mut self, id: usize, request: &Request) -> Reply {
        let start = match request.header("content-range") {
            // Of unknown length: all that there is.
            "" => 0,
            range => range.split('-').next().unwrap().parse().unwrap(),
        };
        if start != self.sessions[id].len() {
            return self.status(id, 416);
        }
        self.sessions[id].extend_from_slice(&request.body);
        self.status(id, 202)
    }

    fn close(&mut self, id: usize, request: &Request) -> Reply {
        self.sessions[id].extend_from_slice(&request.body);
        if request.cut {
            return Reply::abort();
        }
        let bytes = Bytes::from(self.sessions[id].clone());
        if !request.target.ends_with(&format!("digest={}", Digest::sha256(&bytes)).replace(':', "%3A")) {
            return Reply::error(400, "DIGEST_INVALID");
        }
        assert!(request.target.contains("_state=s"), "the location's query is lost: {}", request.target);
        self.blobs.push(bytes);
        Reply::status(201)
    }
}

fn scripted(uploads: &Shared) -> impl Fn(&Request) -> Reply + Send + Sync + use<> {
    let uploads = uploads.clone();
    move |request| uploads.lock().unwrap().answer(request)
}

#[tokio::test]
async fn a_blob_takes_two_requests() {
    let uploads = Shared::default();
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let (client, bytes) = (client(), content(100_000));
    repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, std::slice::from_ref(&bytes));
    let requests = registry.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("content-length"), "0");
    assert_eq!(requests[1].header("content-length"), "100000");
    assert_eq!(requests[1].header("transfer-encoding"), "");
    assert_eq!(requests[1].header("content-range"), "");
    assert_eq!(requests[1].header("content-type"), "application/octet-stream");
    assert_eq!(client.stats().bytes_sent, 100_000);
}

#[tokio::test]
async fn an_empty_blob_is_pushed() {
    let uploads = Shared::default();
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let bytes = Bytes::new();
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
}

#[tokio::test]
async fn a_failed_upload_starts_again_where_nothing_arrived() {
    for status in [500, 503, 429] {
        let uploads = Shared::default();
        let answer = scripted(&uploads);
        let registry = FaultRegistry::start(move |r| match (r.method.as_str(), r.same_before) {
            ("PUT", 0) if r.path().ends_with("/0") => Reply::status(status),
            _ => answer(r),
        })
        .await;
        let (client, bytes) = (client(), content(10_000));
        repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
        assert_eq!(uploads.lock().unwrap().blobs, [bytes], "{status}");
        assert_eq!(registry.count("POST"), 2, "{status}");
    }
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_the_registry_got_to() {
    let uploads = Shared::default();
    let cut = |parts: &http::request::Parts| {
        let whole = parts.headers.get("content-length").is_some_and(|l| l == "300000");
        (parts.method == http::Method::PUT && whole).then_some(120_000)
    };
    let registry = FaultRegistry::start_cutting(cut, scripted(&uploads)).await;
    let bytes = content(300_000);
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, std::slice::from_ref(&bytes));
    let last = registry.requests().pop().unwrap();
    assert_eq!(last.header("content-range"), "120000-299999");
    assert_eq!(last.body, bytes.slice(120_000..));
    assert_eq!(registry.count("POST"), 1);
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again() {
    let uploads = Arc::new(Mutex::new(Uploads { forgets: true, ..Uploads::default() }));
    let answer = scripted(&uploads);
    let registry = FaultRegistry::start(move |r| match (r.method.as_str(), r.before) {
        ("PUT", 1) => Reply::error(404, "BLOB_UPLOAD_UNKNOWN"),
        _ => answer(r),
    })
    .await;
    let bytes = content(1_000);
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
    assert_eq!(registry.count("POST"), 2);
}

/// The registry stored the blob, but its answer was lost.
#[tokio::test]
async fn a_blob_that_arrived_after_all_is_not_sent_again() {
    let uploads = Arc::new(Mutex::new(Uploads { forgets: true, ..Uploads::default() }));
    let answer = scripted(&uploads);
    let registry = FaultRegistry::start(move |r| {
        let reply = answer(r);
        if r.method == "PUT" { Reply::abort() } else { reply }
    })
    .await;
    let bytes = content(1_000);
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!((registry.count("POST"), registry.count("PUT")), (1, 1));
}

#[tokio::test]
async fn a_proxy_that_refuses_large_bodies_gets_pieces() {
    for (chunk_min_length, pieces) in [(None, 4), (Some(40_000), 3)] {
        let uploads = Arc::new(Mutex::new(Uploads {
            chunk_min_length,
            largest_body: Some(50_000),
            ..Uploads::default()
        }));
        let registry = FaultRegistry::start(scripted(&uploads)).await;
        let client = builder().chunk_size(30_000).build().unwrap();
        let bytes = content(100_000);
        repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
        assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
        assert_eq!(registry.count("PATCH"), pieces, "{chunk_min_length:?}");
    }
}

#[tokio::test]
async fn pieces_become_smaller_until_they_are_let_through() {
    let uploads = Arc::new(Mutex::new(Uploads { largest_body: Some(70_000), ..Uploads::default() }));
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let bytes = content(400_000);
    repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
    // 400,000, 200,000 and 100,000 were refused; the smallest piece is 64 KiB.
    assert_eq!((registry.count("POST"), registry.count("PATCH")), (4, 9));
}

#[tokio::test]
async fn a_limit_that_nothing_fits_into_is_an_error() {
    let uploads = Arc::new(Mutex::new(Uploads { largest_body: Some(1_000), ..Uploads::default() }));
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let bytes = content(400_000);
    let error = repo(&client(), &registry).push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    assert_eq!(error.status().map(|s| s.as_u16()), Some(413), "{error}");
    assert!(registry.requests().len() < 20, "{:?}", registry.lines());
}

#[tokio::test]
async fn large_blobs_go_in_pieces_where_that_was_asked_for() {
    for (size, pieces) in [(30_000, 0), (30_001, 2), (90_000, 3)] {
        let uploads = Shared::default();
        let registry = FaultRegistry::start(scripted(&uploads)).await;
        let client = builder().largest_upload(30_000).build().unwrap();
        let bytes = content(size);
        repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
        assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
        assert_eq!(registry.count("PATCH"), pieces, "{size}");
    }
}

/// Some proxies do not say that a body is too large, they break the connection.
#[tokio::test]
async fn a_connection_that_breaks_each_time_leads_to_pieces() {
    let uploads = Shared::default();
    let answer = scripted(&uploads);
    let too_large = |parts: &http::request::Parts| {
        let length = parts.headers.get("content-length")?.to_str().ok()?.parse::<usize>().ok()?;
        (length > 50_000).then_some(0)
    };
    let registry = FaultRegistry::start_cutting(too_large, answer).await;
    let client = builder().chunk_size(40_000).build().unwrap();
    let bytes = content(100_000);
    repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
    assert_eq!(registry.count("PATCH"), 3);
}

#[tokio::test]
async fn a_cut_piece_goes_on_where_the_registry_got_to() {
    let uploads = Arc::new(Mutex::new(Uploads { largest_body: Some(50_000), ..Uploads::default() }));
    let cut = |parts: &http::request::Parts| {
        let second =
            parts.headers.get("content-range").is_some_and(|r| r.as_bytes().starts_with(b"30000-59"));
        second.then_some(10_000)
    };
    let registry = FaultRegistry::start_cutting(cut, scripted(&uploads)).await;
    let client = builder().chunk_size(30_000).build().unwrap();
    let bytes = content(100_000);
    repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
    let ranges: Vec<_> = registry.requests().iter().map(|r| r.header("content-range").to_owned()).collect();
    assert!(ranges.contains(&"40000-69999".to_owned()), "{ranges:?}");
}

/// A registry that says it has more than it was sent must not make us leave bytes out.
#[tokio::test]
async fn bytes_that_were_never_sent_are_not_skipped() {
    let bytes = content(300_000);
    // In the answer to a piece, and when asked after a cut.
    for cuts in [false, true] {
        let uploads = Shared::default();
        let shared = uploads.clone();
        let registry = FaultRegistry::start(move |request| {
            let begins = request.header("content-range").starts_with("0-");
            if cuts && begins && request.before < 3 {
                return Reply::abort();
            }
            let reply = shared.lock().unwrap().answer(request);
            let asked = matches!(request.method.as_str(), "GET" | "PATCH");
            if asked { reply.header("range", "0-299999") } else { reply }
        })
        .await;
        let client = builder().largest_upload(100_000).build().unwrap();
        repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
        assert_eq!(uploads.lock().unwrap().blobs, std::slice::from_ref(&bytes), "{cuts}");
    }
}

#[tokio::test]
async fn failures_without_end_are_an_error() {
    let uploads = Shared::default();
    let answer = scripted(&uploads);
    let registry = FaultRegistry::start(move |r| match r.method.as_str() {
        "PUT" => Reply::error(500, "UNKNOWN"),
        _ => answer(r),
    })
    .await;
    let client = builder().retries(2).build().unwrap();
    let bytes = content(10);
    let error = repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    assert_eq!(error.status().map(|s| s.as_u16()), Some(500), "{error}");
    assert_eq!(registry.count("PUT"), 3);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let uploads = Shared::default();
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let (bytes, mut descriptor) = (content(10), blob(&content(10)));
    descriptor.digest = Digest::sha256(b"something else");
    let error = repo(&client(), &registry).push_blob(&descriptor, &bytes).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert!(!error.to_string().contains("_state=s"), "{error}");
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_registry_that_stops_reading_is_noticed() {
    let registry = FaultRegistry::start(|r| match r.method.as_str() {
        "POST" => Reply::status(202).header("location", "/v2/a/b/blobs/uploads/0"),
        _ => Reply::silence(),
    })
    .await;
    let client = builder().retries(0).inactivity_timeout(Duration::from_millis(50)).build().unwrap();
    let bytes = content(10);
    let error = repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap_err();
    assert!(matches!(error, Error::Transport { fault: Fault::Inactive, .. }), "{error:?}");
}

/// Registries hash and move large blobs before they answer.
#[tokio::test]
async fn the_end_of_an_upload_may_take_longer() {
    let registry = FaultRegistry::start(|r| match r.method.as_str() {
        "POST" => Reply::status(202).header("location", "/v2/a/b/blobs/uploads/0"),
        _ => Reply::status(201).delay(LONGER),
    })
    .await;
    let client = builder().retries(0).inactivity_timeout(PATIENCE).build().unwrap();
    let bytes = content(10);
    repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
}

/// Gives some bytes, waits, and then fails or ends.
struct Odd {
    bytes: Bytes,
    wait: Duration,
    error: Option<&'static str>,
}

impl BlobOpener for Odd {
    fn open(&self, _offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        let (bytes, wait, error) = (self.bytes.clone(), self.wait, self.error);
        Box::pin(async move {
            let end = stream::once(async move {
                tokio::time::sleep(wait).await;
                error.map_or_else(|| Ok(Bytes::new()), |e| Err(BoxError::from(e)))
            });
            Ok(stream::iter([Ok(bytes)]).chain(end).boxed())
        })
    }
}

#[tokio::test]
async fn the_sources_failure_is_the_sources() {
    let cases = [(Some("disk on fire"), "disk on fire"), (None, "ends 69990 bytes too early")];
    for (error, expected) in cases {
        let registry = FaultRegistry::start(scripted(&Shared::default())).await;
        let source = Odd { bytes: content(10), wait: Duration::ZERO, error };
        let error = repo(&client(), &registry).push_blob(&blob(&content(70_000)), &source).await.unwrap_err();
        let Error::Source { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(expected), "{source}");
        // Nobody will finish it.
        let last = registry.lines().pop().unwrap();
        assert!(last.starts_with("DELETE /v2/a/b/blobs/uploads/0?"), "{last}");
    }
}

/// A blob that is made piece by piece.
struct Made {
    bytes: Bytes,
    error: Option<&'static str>,
    made: Option<Descriptor>,
}

impl BlobOpener for Made {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        let rest = self.bytes.slice(usize::try_from(offset).unwrap()..);
        let error = self.error.map(|error| Err(BoxError::from(error)));
        let pieces: Vec<_> = rest.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let pieces = stream::iter(pieces).then(|piece| async move {
            tokio::task::yield_now().await;
            piece
        });
        Box::pin(async move { Ok(pieces.chain(stream::iter(error)).boxed()) })
    }
}

impl GrowingBlob for Made {
    fn made(&self) -> BoxFuture<'_, Option<Descriptor>> {
        Box::pin(async move { self.made.clone() })
    }
}

#[tokio::test]
async fn a_blob_is_sent_while_it_is_made() {
    let uploads = Shared::default();
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let (client, bytes) = (client(), content(300_000));
    let made = Made { bytes: bytes.clone(), error: None, made: Some(blob(&bytes)) };
    let pushed = repo(&client, &registry).push_growing(&made).await.unwrap();
    assert_eq!(pushed, Some(blob(&bytes)));
    assert_eq!(uploads.lock().unwrap().blobs, std::slice::from_ref(&bytes));
    assert_eq!(kinds(&registry), ["POST", "PATCH", "PUT"]);
    let patch = &registry.requests()[1];
    assert_eq!((patch.header("content-length"), patch.header("transfer-encoding")), ("", "chunked"));
    assert_eq!(client.stats().bytes_sent, 300_000);
}

/// Whatever goes wrong: one attempt, and the registry need not keep what it has of it.
#[tokio::test]
async fn what_is_never_made_is_not_stored() {
    let bytes = content(300_000);
    let whole = || Made { bytes: bytes.clone(), error: None, made: Some(blob(&bytes)) };
    let cases = [
        ("never made", Made { made: None, ..whole() }, None, Some(false)),
        ("cut off", Made { error: Some("disk on fire"), ..whole() }, None, None),
        ("another one", Made { made: Some(blob(&content(300_001))), ..whole() }, None, None),
        ("refused", whole(), Some("PATCH"), None),
        ("not stored", whole(), Some("PUT"), None),
    ];
    for (name, made, refused, expected) in cases {
        let uploads = Shared::default();
        let answer = scripted(&uploads);
        let registry = FaultRegistry::start(move |request| match Some(request.method.as_str()) == refused {
            true => Reply::error(503, "UNAVAILABLE"),
            false => answer(request),
        })
        .await;
        let pushed = repo(&client(), &registry).push_growing(&made).await;
        assert_eq!(pushed.ok().map(|pushed| pushed.is_some()), expected, "{name}");
        assert!(uploads.lock().unwrap().blobs.is_empty(), "{name}");
        let kinds = kinds(&registry);
        assert!(kinds.len() <= 4 && kinds.last().unwrap() == "DELETE", "{name}: {kinds:?}");
    }
    let registry = FaultRegistry::start(scripted(&Shared::default())).await;
    let client = builder().largest_upload(100_000).build().unwrap();
    assert_eq!(repo(&client, &registry).push_growing(&whole()).await.unwrap(), None);
    assert!(registry.requests().is_empty());
}

/// The kinds of requests, `POST with` being one with the blob in it.
fn kinds(registry: &FaultRegistry) -> Vec<String> {
    let kind = |request: Request| match (request.method.as_str(), request.body.len()) {
        ("POST", 1..) => "POST with".to_owned(),
        (method, _) => method.to_owned(),
    };
    registry.requests().into_iter().map(kind).collect()
}

#[tokio::test]
async fn a_small_blob_takes_one_request() {
    let store = Store::new();
    let (answers, client) = (store.clone(), client());
    let registry = FaultRegistry::start(move |request| answers.answer(request)).await;
    for (size, expected) in
        [(1, &["POST with"][..]), (65_536, &["POST with"]), (65_537, &["POST", "PUT"]), (0, &["POST", "PUT"])]
    {
        let (bytes, before) = (content(size), registry.requests().len());
        repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
        assert_eq!(kinds(&registry)[before..], *expected, "{size}");
        assert_eq!(store.blob("a/b", Digest::sha256(&bytes)), Some(bytes), "{size}");
    }
    let first = &registry.requests()[0];
    assert_eq!(first.header("content-type"), "application/octet-stream");
    assert_eq!((first.header("content-length"), first.header("transfer-encoding")), ("1", ""));
    let small = builder().largest_upload(10).build().unwrap();
    let (bytes, before) = (content(11), registry.requests().len());
    repo(&small, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
    assert_eq!(kinds(&registry)[before], "POST", "it was asked for smaller requests");
}

/// What registries answer that do not take a blob in one request: the blob arrives all the same, and the next one is not
/// sent so.
#[tokio::test]
async fn a_registry_that_takes_no_blob_in_one_request_is_tried_once() {
    let opens = |range: &'static str| {
        Reply::status(202).header("location", "/v2/a/b/blobs/uploads/0?_state=s").header("range", range)
    };
    let (next, again) = (&["POST with", "PUT"][..], &["POST with", "POST", "PUT"][..]);
    let refusals = [400, 403, 404, 405, 411, 413, 415, 422, 500, 501, 503]
        .map(|status| (Reply::error(status, "UNSUPPORTED"), again));
    let opened =
        [(opens("0-0"), next), (opens("0-49"), again), (Reply::abort(), again), (Reply::silence(), again)];
    for (reply, expected) in refusals.into_iter().chain(opened) {
        let (uploads, shown) = (Shared::default(), reply.code());
        let inner = scripted(&uploads);
        let registry = FaultRegistry::start(move |request| {
            let (is_post, has_body) = (request.method == "POST", !request.body.is_empty());
            if !(is_post && has_body) {
                return inner(request);
            }
            if reply.code() == 202 {
                inner(request);
            }
            reply.clone()
        })
        .await;
        let client = builder().inactivity_timeout(PATIENCE).build().unwrap();
        for size in [50, 60] {
            let bytes = content(size);
            repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await.unwrap();
            assert_eq!(uploads.lock().unwrap().blobs.last(), Some(&bytes), "{shown}");
        }
        let all: Vec<_> = expected.iter().chain(&["POST", "PUT"]).map(|kind| (*kind).to_owned()).collect();
        assert_eq!(kinds(&registry), all, "{shown}");
    }
}

/// Somebody who asks too much would have been told so in any case, and a source that fails is not the registry.
#[tokio::test]
async fn what_says_nothing_of_blobs_in_one_request_is_not_held_against_it() {
    let store = Store::new();
    let (answers, refused) = (store.clone(), AtomicUsize::new(0));
    let registry = FaultRegistry::start(move |request| match refused.fetch_add(1, Relaxed) {
        0 => Reply::error(429, "TOOMANYREQUESTS"),
        _ => answers.answer(request),
    })
    .await;
    let (client, bytes) = (client(), content(50));
    let odd = Odd { bytes: content(10), wait: Duration::ZERO, error: None };
    let pushed =
        async |opener: &dyn BlobOpener| repo(&client, &registry).push_blob(&blob(&bytes), opener).await;
    pushed(&bytes).await.unwrap();
    assert!(matches!(pushed(&odd).await, Err(Error::Source { .. })));
    pushed(&bytes).await.unwrap();
    assert!(kinds(&registry).iter().all(|kind| kind == "POST with"), "{:?}", kinds(&registry));
}

/// A source that takes its time is not a registry that stopped listening.
#[tokio::test]
async fn the_time_the_source_takes_does_not_count() {
    let uploads = Shared::default();
    let registry = FaultRegistry::start(scripted(&uploads)).await;
    let client = builder().retries(0).inactivity_timeout(PATIENCE).build().unwrap();
    let bytes = content(10);
    let slow = SlowStart { bytes: bytes.clone(), wait: LONGER };
    repo(&client, &registry).push_blob(&blob(&bytes), &slow).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
}

struct SlowStart {
    bytes: Bytes,
    wait: Duration,
}

impl BlobOpener for SlowStart {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        let (rest, wait) = (self.bytes.slice(offset as usize..), self.wait);
        Box::pin(async move {
            Ok(stream::once(async move {
                tokio::time::sleep(wait).await;
                Ok(rest)
            })
            .boxed())
        })
    }
}

#[tokio::test]
async fn copying_from_registry_to_registry_streams() {
    let bytes = content(200_000);
    let served = bytes.clone();
    let source = FaultRegistry::start(move |r| Reply::ranged(r, &served).cut_after(90_000)).await;
    let uploads = Shared::default();
    let target = FaultRegistry::start(scripted(&uploads)).await;
    let client = client();
    let opener = repo(&client, &source).blob_opener(&blob(&bytes));
    repo(&client, &target).push_blob(&blob(&bytes), &opener).await.unwrap();
    assert_eq!(uploads.lock().unwrap().blobs, [bytes]);
    assert_eq!(source.requests().len(), 3);
}

#[tokio::test]
async fn mounting_follows_the_registrys_answer() {
    let digest = blob(&content(7)).digest;
    for (reply, expected, requests) in [
        (Reply::status(201), Some(true), 1),
        (Reply::status(202).header("location", "/v2/a/b/blobs/uploads/9"), Some(false), 2),
        (Reply::status(202), Some(false), 1),
        (Reply::status(404), Some(false), 1),
        (Reply::status(405), Some(false), 1),
        (Reply::status(500), Some(false), 4),
        (Reply::abort(), None, 5),
    ] {
        let shown = format!("{reply:?}");
        let registry = FaultRegistry::start(move |r| match r.method.as_str() {
            "POST" => reply.clone(),
            _ => Reply::status(204),
        })
        .await;
        let client = client();
        let other = named(&client, &registry, "base/image");
        let mounted = repo(&client, &registry).mount_blob(&blob(&content(7)), other.name()).await;
        assert_eq!(mounted.ok(), expected, "{shown}");
        let lines = registry.lines();
        assert_eq!(lines[0], format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=base/image"));
        // A connection that breaks at once may be TLS: that costs a request, but only the first time.
        assert!(lines.len() <= requests, "{shown}: {lines:?}");
        if requests == 2 {
            assert_eq!(lines[1], "DELETE /v2/a/b/blobs/uploads/9");
        }
    }
}

#[tokio::test]
async fn nothing_is_mounted_from_another_registry() {
    let registry = FaultRegistry::start(|_| Reply::status(201)).await;
    let elsewhere = "ghcr.io/a/b".parse().unwrap();
    let mounted = repo(&client(), &registry).mount_blob(&blob(&content(7)), &elsewhere).await;
    assert!(!mounted.unwrap());
    assert_eq!(registry.requests().len(), 0);
}

/// A web server that answers everything with a page has stored nothing.
#[tokio::test]
async fn a_web_page_is_no_success() {
    let registry = FaultRegistry::start(|r| {
        let reply = Reply::ok("<html>").header("content-type", "text/html");
        if r.method == "POST" { Reply::status(202).header("location", "/upload") } else { reply }
    })
    .await;
    let (client, bytes) = (client(), content(100));
    let repo = repo(&client, &registry);
    let document = palan_core::Document::parse(common::MANIFEST, None).unwrap();
    for outcome in [
        repo.has_blob(&blob(&bytes)).await.map(drop),
        repo.push_blob(&blob(&bytes), &bytes).await,
        repo.put_manifest(&document, &common::tag("x"), palan_client::Precondition::None).await,
        repo.delete_manifest(&common::tag("x")).await,
        client.ping(&registry.host()).await,
    ] {
        assert!(matches!(outcome, Err(Error::Html { .. })), "{outcome:?}");
    }
}

/// What is cut where, and how large bodies may be.
#[derive(Clone, Debug)]
struct Script {
    length: usize,
    /// One for each body sent.
    cuts: Vec<Option<usize>>,
    forgets: bool,
    largest_body: Option<usize>,
}

fn script() -> impl Strategy<Value = Script> {
    let cuts = prop::collection::vec(prop::option::of(0..200_000_usize), 0..4);
    let largest_body = prop::option::of(70_000..200_000_usize);
    (0..300_000_usize, cuts, any::<bool>(), largest_body)
        .prop_map(|(length, cuts, forgets, largest_body)| Script { length, cuts, forgets, largest_body })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is cut, what the registry has in the end is what was sent.
    #[test]
    fn random_cuts_never_store_wrong_bytes(script in script()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bytes = content(script.length);
            let (largest_body, forgets) = (script.largest_body, script.forgets);
            let uploads = Arc::new(Mutex::new(Uploads { largest_body, forgets, ..Uploads::default() }));
            let (cuts, sent) = (script.cuts.clone(), AtomicUsize::new(0));
            let cut = move |parts: &http::request::Parts| match parts.method.as_str() {
                "PUT" | "PATCH" => *cuts.get(sent.fetch_add(1, Relaxed))?,
                _ => None,
            };
            let registry = FaultRegistry::start_cutting(cut, scripted(&uploads)).await;
            let client = builder().retries(6).build().unwrap();
            let pushed = repo(&client, &registry).push_blob(&blob(&bytes), &bytes).await;
            prop_assert!(pushed.is_ok(), "{:?} {:#?}", pushed, registry.lines());
            prop_assert_eq!(&uploads.lock().unwrap().blobs[..], &[bytes]);
            Ok(())
        })?;
    }
}
