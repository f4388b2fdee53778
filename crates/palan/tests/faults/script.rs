//! What goes wrong, as a registry that does it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::verbs::Verb;
use bytes::Bytes;
use palan_core::Digest;
use palan_testkit::fault::{FaultRegistry, Reply, Request, Store};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The first request of each kind and path.
    TooManyRequests {
        retry_after: bool,
    },
    /// 500, the first time.
    ErrorOnce,
    /// 503, always.
    Unavailable,
    /// After so many bytes, the first time.
    CutDownload(usize),
    CutUpload(usize),
    /// Silence in the middle of a body, before an answer, after an upload; the first time.
    StallBody,
    StallHead,
    StallUpload,
    /// Other content than the digest promises.
    WrongDigest,
    /// Less content than the descriptor promises; `HEAD` tells of blobs that are too short.
    WrongSize,
    /// A web page with this status.
    Html(u16),
    /// Blobs are elsewhere, uploads go elsewhere.
    Redirect,
    /// Each scope's first token is good for three requests.
    ExpiredToken,
    MalformedWarning,
    /// With a 401, or just so.
    MalformedChallenge {
        refuses: bool,
    },
    /// No more than 30,000 bytes at once.
    ShortRange,
    /// Bodies above 80,000 bytes are refused; pieces below 40,000 are, too.
    ChunksOnly,
}

impl Fault {
    /// Whether it can happen to this verb. Pulling uploads nothing, pushing downloads nothing, and inside one registry
    /// a rebase moves nothing that is large.
    pub(crate) fn concerns(self, verb: Verb) -> bool {
        match self {
            Self::None => false,
            Self::CutDownload(_) | Self::StallBody | Self::StallHead | Self::ShortRange => {
                !matches!(verb, Verb::Push)
            }
            Self::CutUpload(70_000..) | Self::ChunksOnly => matches!(verb, Verb::Push | Verb::Copy),
            Self::CutUpload(_) | Self::StallUpload => !matches!(verb, Verb::Pull),
            _ => true,
        }
    }
}

/// A registry with a fault.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) registry: FaultRegistry,
    /// Where it redirects.
    elsewhere: FaultRegistry,
    hits: Arc<AtomicUsize>,
}

/// Headers that go to registries, and nowhere else.
pub(crate) const PRIVATE: &str = "x-private";

impl Site {
    pub(crate) async fn start(fault: Fault) -> Self {
        let store = match fault {
            Fault::ChunksOnly => Store::new().with_body_limits(40_000, 80_000),
            _ => Store::new(),
        };
        Self::start_with(fault, store).await
    }

    /// In front of what is there already.
    pub(crate) async fn start_with(fault: Fault, store: Store) -> Self {
        let other = store.clone();
        let elsewhere = FaultRegistry::start(move |request| other.answer(request)).await;
        let (script, at) = (store.clone(), elsewhere.url(""));
        let (tokens, seen, cut) = (Tokens::default(), Seen::default(), Seen::default());
        let hits = Arc::<AtomicUsize>::default();
        let count = hits.clone();
        let registry = FaultRegistry::start_cutting(
            move |parts| {
                let Fault::CutUpload(bytes) = fault else { return None };
                let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
                let uploads = carries_blob(parts.method.as_str(), target);
                (uploads && cut.is_first(parts.method.as_str(), target)).then_some(bytes)
            },
            move |request| {
                let (reply, hit) = answer(fault, &script, (&tokens, &seen), &at, request);
                count.fetch_add(usize::from(hit), Relaxed);
                reply
            },
        )
        .await;
        Self { store, registry, elsewhere, hits }
    }

    /// How often it went wrong.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Relaxed)
    }

    /// What must hold whatever happened.
    pub(crate) fn check(&self) -> Result<(), String> {
        let damaged = self.store.damaged();
        if !damaged.is_empty() {
            return Err(format!("wrong bytes are stored: {damaged:?}"));
        }
        let leaked = self.elsewhere.requests().iter().any(|r| r.headers.contains_key(PRIVATE));
        if leaked { Err("a private header went to another host".into()) } else { Ok(()) }
    }
}

fn answer(
    fault: Fault,
    store: &Store,
    (tokens, seen): (&Tokens, &Seen),
    elsewhere: &str,
    request: &Request,
) -> (Reply, bool) {
    let first = seen.is_first(request.method.as_str(), &request.target);
    let (blob, upload) = (is_blob(request), carries_blob(request.method.as_str(), &request.target));
    let reads = request.method == http::Method::GET;
    let good = || store.answer(request);
    let reply = match fault {
        Fault::CutUpload(_) => return (good(), request.cut),
        Fault::ChunksOnly => {
            let reply = good();
            let hit = reply.code() == 413;
            return (reply, hit);
        }
        Fault::TooManyRequests { retry_after: true } if first => {
            Reply::status(429).header("retry-after", "1")
        }
        Fault::TooManyRequests { retry_after: false } if first => Reply::error(429, "TOOMANYREQUESTS"),
        Fault::ErrorOnce if first => Reply::status(500),
        Fault::Unavailable => Reply::error(503, "UNAVAILABLE"),
        Fault::CutDownload(bytes) if reads && first => good().cut_after(bytes),
        Fault::StallBody if reads && blob && first => good().stall_after(1_000),
        Fault::StallHead if !blob && reads && first => Reply::silence(),
        // Patience after an upload is great, so this happens once in all.
        Fault::StallUpload if upload && seen.is_first("", "upload") => Reply::silence(),
        Fault::WrongDigest => wrong_digest(request, good),
        Fault::WrongSize => wrong_size(request, good),
        Fault::Html(status) => Reply::status(status)
            .body("<!doctype html><title>log in</title>")
            .header("content-type", "text/html"),
        Fault::Redirect if blob || upload => {
            Reply::status(307).header("location", &format!("{elsewhere}{}", request.target))
        }
        Fault::ExpiredToken => return tokens.answer(request, good),
        Fault::MalformedWarning => malformed("warning", good()),
        Fault::MalformedChallenge { refuses: false } => malformed("www-authenticate", good()),
        Fault::MalformedChallenge { refuses: true } => malformed("www-authenticate", Reply::status(401)),
        Fault::ShortRange if reads && blob => short(request, good()),
        _ => return (good(), false),
    };
    (reply, true)
}

/// What was asked already.
#[derive(Default)]
struct Seen(Mutex<HashSet<String>>);

impl Seen {
    /// Of an upload what counts is the blob: each attempt has a path of its own.
    fn is_first(&self, method: &str, target: &str) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let what = query.rsplit_once("digest=").map_or(path, |(_, digest)| digest);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{method} {what}"))
    }
}

/// Whether a request ends an upload: one with a blob in it, or with its last piece.
fn carries_blob(method: &str, target: &str) -> bool {
    target.contains("/blobs/uploads/") && target.contains("digest=") && matches!(method, "POST" | "PUT")
}

fn is_blob(request: &Request) -> bool {
    request.path().contains("/blobs/sha256:")
}

fn wrong_digest(request: &Request, good: impl Fn() -> Reply) -> Reply {
    match request.method.as_str() {
        "GET" => {
            let reply = good();
            let mut bytes = reply.bytes().to_vec();
            if reply.code() == 200
                && let Some(last) = bytes.last_mut()
            {
                // Still JSON, where it was.
                *last = if *last == b'}' { b' ' } else { *last ^ 1 };
            }
            reply.body(bytes)
        }
        // It stored something else than what was sent.
        "PUT" if request.path().contains("/manifests/") => {
            Reply::status(201).header("docker-content-digest", &Digest::sha256(b"other").to_string())
        }
        _ => good(),
    }
}

fn wrong_size(request: &Request, good: impl Fn() -> Reply) -> Reply {
    let reply = match request.method.as_str() {
        "HEAD" if is_blob(request) => Reply::ok(Bytes::from_static(b"short")),
        _ => good(),
    };
    if request.method == http::Method::GET && is_blob(request) && reply.code() == 200 {
        let bytes = reply.bytes().clone();
        return reply.body(bytes.slice(..bytes.len() - 1));
    }
    reply
}

/// Everything that must not bring anybody down.
fn malformed(name: &str, reply: Reply) -> Reply {
    let values: [&[u8]; 9] = [
        b"299 - nope",
        b"299 - \"",
        b"299",
        b"Bearer",
        b"Bearer realm=",
        b"Bearer realm=\"http",
        b"Basic realm=\"\\",
        b"\xff\xfe, ,,=\"=",
        b",",
    ];
    values.iter().fold(reply, |reply, value| reply.raw_header(name, value))
}

fn short(request: &Request, whole: Reply) -> Reply {
    let start = request.range_start().unwrap_or_default();
    let bytes = whole.bytes().clone();
    if bytes.is_empty() {
        return whole;
    }
    // The rest of a part is what `bytes` holds already.
    let total = start + bytes.len();
    let end = bytes.len().min(30_000);
    let range = format!("bytes {start}-{}/{total}", start + end - 1);
    Reply::status(206).body(bytes.slice(..end)).header("content-range", &range)
}

/// A token service that also knows how often its tokens were used.
#[derive(Default)]
struct Tokens(Mutex<HashMap<String, usize>>);

impl Tokens {
    /// The answer, and whether a token had expired.
    fn answer(&self, request: &Request, good: impl Fn() -> Reply) -> (Reply, bool) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if request.path() == "/token" {
            let scope = request.target.split_once('?').map_or("", |(_, query)| query);
            let of_scope = format!("{}-", Digest::sha256(scope.as_bytes()).hex());
            let number = uses.keys().filter(|token| token.starts_with(&of_scope)).count();
            let token = format!("{of_scope}{number}");
            uses.insert(token.clone(), 0);
            return (Reply::json(format!(r#"{{"token":"{token}","expires_in":3600}}"#)), false);
        }
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if let Some(used) = uses.get_mut(token) {
            *used += 1;
            if *used <= 3 || !token.ends_with("-0") {
                return (good(), false);
            }
        }
        let expired = uses.contains_key(token);
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host"));
        (Reply::error(401, "UNAUTHORIZED").header("www-authenticate", &realm), expired)
    }
}
