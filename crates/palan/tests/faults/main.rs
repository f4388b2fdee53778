//! The fault matrix: what can go wrong between here and a registry, against everything that moves images.
//!
//! Every cell either succeeds with exactly the right bytes, or fails with an error that names the registry and the
//! reason, with nothing half-written and no tag moved.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod mirrors;
mod script;
mod verbs;

use std::time::Duration;

use script::Fault;
use verbs::Verb;

/// What a failure must say besides the registry's name; `None`: it must succeed.
type Expected = Option<&'static str>;

/// Pull, push, copy, rebase.
const TABLE: [(Fault, [Expected; 4]); 25] = {
    const OK: Expected = None;
    const ALL: [Expected; 4] = [OK; 4];
    const UNAVAILABLE: Expected = Some("503 Service Unavailable");
    const HTML: Expected = Some("HTML page");
    const DENIED: Expected = Some("cannot authenticate to");
    const DIGEST: Expected = Some("expected sha256:");
    const SIZE: Expected = Some("bytes");
    [
        (Fault::None, ALL),
        (Fault::TooManyRequests { retry_after: true }, ALL),
        (Fault::TooManyRequests { retry_after: false }, ALL),
        (Fault::ErrorOnce, ALL),
        (Fault::Unavailable, [UNAVAILABLE; 4]),
        (Fault::CutDownload(0), ALL),
        (Fault::CutDownload(1), ALL),
        (Fault::CutDownload(70_000), ALL),
        (Fault::CutUpload(0), ALL),
        (Fault::CutUpload(1), ALL),
        (Fault::CutUpload(70_000), ALL),
        (Fault::StallBody, ALL),
        (Fault::StallHead, ALL),
        (Fault::StallUpload, ALL),
        (Fault::WrongDigest, [DIGEST; 4]),
        (Fault::WrongSize, [SIZE, OK, SIZE, SIZE]),
        (Fault::Html(200), [HTML; 4]),
        (Fault::Html(404), [HTML; 4]),
        (Fault::Redirect, ALL),
        (Fault::ExpiredToken, ALL),
        (Fault::MalformedWarning, ALL),
        (Fault::MalformedChallenge { refuses: false }, ALL),
        (Fault::MalformedChallenge { refuses: true }, [DENIED; 4]),
        (Fault::ShortRange, ALL),
        (Fault::ChunksOnly, ALL),
    ]
};

/// No cell takes longer, however loaded the machine is: an endless loop is what this is against.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_against_every_verb() {
    let cells = TABLE.iter().flat_map(|(fault, row)| {
        Verb::ALL.into_iter().zip(row).map(move |(verb, expected)| async move {
            let outcome = tokio::time::timeout(LONG, verbs::run(verb, *fault, *expected)).await;
            let problem = outcome.unwrap_or_else(|_| Err("does not end".to_owned())).err();
            problem.map(|problem| format!("{fault:?}, {verb:?}: {problem}"))
        })
    });
    let problems: Vec<_> = futures_util::future::join_all(cells).await.into_iter().flatten().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
