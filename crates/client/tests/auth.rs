//! Authentication, against a registry that is its own token service.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{MANIFEST, MANIFEST_TYPE, blob, builder, client, content, named, repo, tag};
use futures_util::future::join_all;
use palan_client::{Client, CredentialProvider, Credentials, Error, Precondition, Secret};
use palan_core::Document;
use palan_testkit::fault::{FaultRegistry, Reply, Request};

fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.into(), password: Secret::new(password) }
}

fn with(credentials: Credentials) -> Client {
    builder().credentials(Arc::new(credentials)).build().unwrap()
}

fn content_reply(request: &Request) -> Reply {
    match request.method.as_str() {
        "GET" if request.path() == "/v2/" => Reply::json("{}"),
        "GET" => Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE),
        "POST" => Reply::status(201),
        _ => Reply::status(201),
    }
}

fn challenge(request: &Request, scope: &str) -> Reply {
    let realm = format!("http://{}/token?keep=1", request.header("host"));
    let scope = if scope.is_empty() { String::new() } else { format!(r#",scope="{scope}""#) };
    Reply::error(401, "UNAUTHORIZED")
        .header("www-authenticate", &format!(r#"Bearer realm="{realm}",service="the registry"{scope}"#))
}

/// The scopes of a token request, in order.
fn scopes(request: &Request) -> Vec<String> {
    let query = request.target.split('?').nth(1).unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(k, _)| k == "scope").map(|(_, v)| v.into_owned()).collect()
}

/// Wants a token for everything; a token is the scopes it was asked for.
fn bearer(request: &Request) -> Reply {
    if request.path() == "/token" {
        return Reply::json(format!(r#"{{"token":"{}"}}"#, scopes(request).join("+")));
    }
    let repository = request.path().strip_prefix("/v2/").and_then(|p| p.split("/manifests").next());
    let repository = repository.unwrap_or_default().split("/blobs").next().unwrap_or_default();
    let action = if request.method == "GET" { "pull" } else { "push" };
    let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let allowed = token.split('+').any(|scope| {
        let (resource, actions) = scope.rsplit_once(':').unwrap_or_default();
        resource == format!("repository:{repository}") && actions.split(',').any(|a| a == action)
    });
    if allowed {
        content_reply(request)
    } else {
        challenge(request, &format!("repository:{repository}:{action}"))
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_for_all() {
    let registry = FaultRegistry::start(bearer).await;
    let client = client();
    let repo = repo(&client, &registry);
    let selector = tag("x");
    for outcome in join_all((0..30).map(|_| repo.manifest(&selector))).await {
        outcome.unwrap();
    }
    assert_eq!(registry.count("GET /token"), 1);
    // One request found out what is wanted; the others waited for it.
    assert_eq!(registry.requests().len(), 30 + 2);
    assert_eq!((client.stats().token_requests, client.stats().pings), (1, 0));
    let token = registry.requests().into_iter().find(|r| r.path() == "/token").unwrap();
    assert_eq!(token.target, "/token?keep=1&service=the+registry&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(token.header("authorization"), "");
}

#[tokio::test]
async fn a_token_allows_what_the_call_needs_and_no_more_is_fetched_than_needed() {
    let registry = FaultRegistry::start(bearer).await;
    let client = client();
    let repo = repo(&client, &registry);
    let document = Document::parse(MANIFEST, None).unwrap();
    repo.manifest(&tag("x")).await.unwrap();
    repo.put_manifest(&document, &tag("x"), Precondition::None).await.unwrap();
    repo.manifest(&tag("x")).await.unwrap();
    let from = named(&client, &registry, "base");
    assert!(repo.mount_blob(&blob(&content(1)), from.name()).await.unwrap());
    from.manifest(&tag("x")).await.unwrap();
    let asked: Vec<_> =
        registry.requests().iter().filter(|r| r.path() == "/token").map(|r| scopes(r).join(" ")).collect();
    assert_eq!(
        asked,
        ["repository:a/b:pull", "repository:a/b:pull,push", "repository:a/b:pull,push repository:base:pull"]
    );
    // Only the very first request went out without a token.
    assert_eq!(registry.requests().iter().filter(|r| r.header("authorization").is_empty()).count(), 1 + 3);
}

#[tokio::test]
async fn credentials_go_to_the_token_service_as_they_should() {
    let encoded = BASE64_STANDARD.encode("me:p:w");
    let registry = FaultRegistry::start(bearer).await;
    repo(&with(basic("me", "p:w")), &registry).manifest(&tag("x")).await.unwrap();
    let requests = registry.requests();
    assert_eq!(requests[1].header("authorization"), format!("Basic {encoded}"));
    assert!(requests[2].header("authorization").starts_with("Bearer "));
}

#[tokio::test]
async fn identity_tokens_are_posted_and_renewed() {
    let registry = FaultRegistry::start(|r| match (r.path(), r.same_before) {
        ("/token", _) if r.method != "POST" => Reply::status(500),
        ("/token", n) => Reply::json(format!(
            r#"{{"access_token":"T{n}","expires_in":{},"refresh_token":"next{n}"}}"#,
            if n == 0 { 0.001 } else { 1_000.0 }
        )),
        _ if r.header("authorization").starts_with("Bearer T") => content_reply(r),
        _ => challenge(r, ""),
    })
    .await;
    let client = with(Credentials::IdentityToken(Secret::new("the first")));
    let repo = repo(&client, &registry);
    repo.manifest(&tag("x")).await.unwrap();
    repo.manifest(&tag("x")).await.unwrap();
    let posted: Vec<HashMap<String, String>> = registry
        .requests()
        .iter()
        .filter(|r| r.path() == "/token")
        .map(|r| url::form_urlencoded::parse(&r.body).into_owned().collect())
        .collect();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0]["grant_type"], "refresh_token");
    assert_eq!(posted[0]["service"], "the registry");
    assert_eq!(posted[0]["scope"], "repository:a/b:pull");
    assert_eq!(posted[0]["refresh_token"], "the first");
    assert_eq!(posted[1]["refresh_token"], "next0");
}

#[tokio::test]
async fn services_without_oauth_get_the_identity_token_as_password() {
    let registry = FaultRegistry::start(|r| match r.path() {
        "/token" if r.method == "POST" => Reply::status(404),
        "/token" => Reply::json(r#"{"token":"T"}"#),
        _ if r.header("authorization") == "Bearer T" => content_reply(r),
        _ => challenge(r, ""),
    })
    .await;
    let client = with(Credentials::IdentityToken(Secret::new("identity")));
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    let get = registry.requests().into_iter().find(|r| r.line().starts_with("GET /token")).unwrap();
    assert_eq!(get.header("authorization"), format!("Basic {}", BASE64_STANDARD.encode("<token>:identity")));
}

#[tokio::test]
async fn registry_tokens_are_sent_as_they_are() {
    let registry = FaultRegistry::start(|r| match r.header("authorization") {
        "Bearer mine" => content_reply(r),
        _ => challenge(r, ""),
    })
    .await;
    let client = with(Credentials::RegistryToken(Secret::new("mine")));
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_no_longer_accepted_is_replaced_once() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let issued = tokens.clone();
    // Each token is good for one request.
    let registry = FaultRegistry::start(move |r| {
        if r.path() == "/token" {
            return Reply::json(format!(r#"{{"token":"T{}"}}"#, issued.fetch_add(1, Relaxed)));
        }
        let used = r.before > 3 && r.header("authorization") == "Bearer T0";
        let good = r.header("authorization").starts_with("Bearer T") && !used;
        if good { content_reply(r) } else { challenge(r, "") }
    })
    .await;
    let client = client();
    let repo = repo(&client, &registry);
    for _ in 0..4 {
        repo.manifest(&tag("x")).await.unwrap();
    }
    assert_eq!(tokens.load(Relaxed), 2);
}

#[tokio::test]
async fn tokens_are_not_used_after_they_expire() {
    let registry = FaultRegistry::start(|r| match r.path() {
        "/token" => Reply::json(r#"{"token":"T","expires_in":0.001}"#),
        _ if r.header("authorization") == "Bearer T" => content_reply(r),
        _ => challenge(r, ""),
    })
    .await;
    let client = client();
    let repo = repo(&client, &registry);
    for _ in 0..3 {
        repo.manifest(&tag("x")).await.unwrap();
    }
    assert_eq!(registry.count("GET /token"), 3);
}

#[tokio::test]
async fn what_the_challenge_asks_for_is_asked_for() {
    let registry = FaultRegistry::start(|r| match r.path() {
        "/token" => Reply::json(format!(r#"{{"token":"{}"}}"#, scopes(r).len())),
        _ if r.header("authorization") == "Bearer 2" => content_reply(r),
        _ => challenge(r, "repository:a/b:pull extra:thing:use"),
    })
    .await;
    repo(&client(), &registry).manifest(&tag("x")).await.unwrap();
    let token = &registry.requests()[1];
    assert_eq!(scopes(token), ["extra:thing:use", "repository:a/b:pull"]);
}

#[tokio::test]
async fn basic_authentication_is_remembered() {
    let expected = format!("Basic {}", BASE64_STANDARD.encode("me:pw"));
    let registry = FaultRegistry::start(move |r| {
        if r.header("authorization") == expected {
            return content_reply(r);
        }
        Reply::status(401).header("www-authenticate", r#"Negotiate, Basic realm="here, there""#)
    })
    .await;
    let repo = repo(&with(basic("me", "pw")), &registry);
    repo.manifest(&tag("x")).await.unwrap();
    repo.manifest(&tag("x")).await.unwrap();
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn who_is_not_let_in_hears_why_and_no_secret_is_shown() {
    let no_entry = |r: &Request| match r.path() {
        "/token" => Reply::error(401, "UNAUTHORIZED"),
        _ => challenge(r, ""),
    };
    let only_basic = |_: &Request| Reply::status(401).header("www-authenticate", "Basic");
    let token_without_use = |r: &Request| match r.path() {
        "/token" => Reply::json(r#"{"token":"hunter2"}"#),
        _ => challenge(r, "repository:a/b:pull"),
    };
    let no_token = |r: &Request| match r.path() {
        "/token" => Reply::json(r#"{"hunter2":"hunter2"}"#),
        _ => challenge(r, ""),
    };
    type Handler = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
    let cases: [(&str, Handler, usize, Credentials, &str); 6] = [
        ("the service refuses", Box::new(no_entry), 2, basic("me", "hunter2"), "401 Unauthorized"),
        ("wrong password", Box::new(only_basic), 2, basic("me", "hunter2"), "401 Unauthorized"),
        ("no password", Box::new(only_basic), 1, Credentials::Anonymous, "(no credentials were found)"),
        ("the token is refused", Box::new(token_without_use), 3, basic("me", "hunter2"), "401 Unauthorized"),
        ("no token", Box::new(no_token), 2, basic("me", "hunter2"), "the answer holds no token"),
        (
            "nothing is offered",
            Box::new(|_: &Request| Reply::status(401)),
            1,
            basic("me", "hunter2"),
            "401 Unauthorized",
        ),
    ];
    for (name, handler, requests, credentials, expected) in cases {
        let registry = FaultRegistry::start(handler).await;
        let error = repo(&with(credentials), &registry).manifest(&tag("x")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{name}: {text}");
        assert!(!text.contains("hunter2"), "{name}: {text}");
        let nobody = text.contains("no credentials were found");
        assert_eq!(nobody, name == "no password", "{name}: {text}");
        assert_eq!(registry.requests().len(), requests, "{name}: {:?}", registry.lines());
        assert!(error.is_unauthorized() || name == "no token", "{name}");
    }
}

#[tokio::test]
async fn malformed_challenges_are_errors() {
    for value in [
        "Bearer",
        "Bearer realm",
        r#"Bearer realm="not a url""#,
        r#"Bearer realm="ftp://example/""#,
        r#"Bearer realm="http://user:pw@127.0.0.1/""#,
        r#"Bearer realm="http://169.254.169.254/latest/meta-data/""#,
        r#"Bearer realm="http://[fe80::1]/""#,
        r#"Bearer realm="http://0xa9fea9fe/""#,
        r#"="",,Bearer "#,
    ] {
        let value = value.to_owned();
        let shown = value.clone();
        let registry =
            FaultRegistry::start(move |_| Reply::status(401).header("www-authenticate", &value)).await;
        let error = repo(&with(basic("me", "hunter2")), &registry).manifest(&tag("x")).await.unwrap_err();
        assert!(matches!(error, Error::Challenge { .. }), "{shown}: {error:?}");
        assert_eq!(registry.requests().len(), 1, "{shown}");
    }
}

/// Some registries hide what the anonymous may not see.
#[tokio::test]
async fn whoever_has_credentials_asks_how_to_use_them() {
    let hides = |r: &Request| match r.path() {
        "/token" => Reply::json(r#"{"token":"T"}"#),
        _ if r.header("authorization") == "Bearer T" => content_reply(r),
        "/v2/" => challenge(r, ""),
        _ => Reply::error(404, "NAME_UNKNOWN"),
    };
    let registry = FaultRegistry::start(hides).await;
    let client = with(basic("me", "pw"));
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    assert_eq!(client.stats().pings, 1);
    let registry = FaultRegistry::start(hides).await;
    let error = repo(&common::client(), &registry).manifest(&tag("x")).await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn credentials_are_checked_for_logging_in() {
    let good = format!("Basic {}", BASE64_STANDARD.encode("me:right"));
    let by_token = {
        let good = good.clone();
        move |r: &Request| match (r.path(), r.header("authorization")) {
            ("/token", a) if a == good => Reply::json(r#"{"token":"T"}"#),
            ("/token", _) => Reply::error(401, "UNAUTHORIZED"),
            (_, "Bearer T") => content_reply(r),
            _ => challenge(r, ""),
        }
    };
    let by_password = {
        let good = good.clone();
        move |r: &Request| match r.header("authorization") == good {
            true => content_reply(r),
            false => Reply::status(401).header("www-authenticate", "Basic realm=x"),
        }
    };
    // Asks for nothing, but does not like wrong passwords.
    let polite = move |r: &Request| match r.header("authorization") {
        "" => content_reply(r),
        a if a == good => content_reply(r),
        _ => Reply::status(401),
    };
    type Handler = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
    let handlers: [(&str, Handler); 3] =
        [("token", Box::new(by_token)), ("password", Box::new(by_password)), ("polite", Box::new(polite))];
    for (name, handler) in handlers {
        let registry = FaultRegistry::start(handler).await;
        with(basic("me", "right")).check_credentials(&registry.host()).await.unwrap();
        let error = with(basic("me", "wrong")).check_credentials(&registry.host()).await.unwrap_err();
        assert!(error.is_unauthorized(), "{name}: {error}");
    }
    let registry = FaultRegistry::start(|_| Reply::ok("<html>").header("content-type", "text/html")).await;
    let error = with(basic("me", "right")).check_credentials(&registry.host()).await.unwrap_err();
    assert!(matches!(error, Error::Html { .. }), "{error}");
}

struct PerRepository(AtomicUsize);

impl CredentialProvider for PerRepository {
    fn credentials<'a>(
        &'a self,
        _registry: &'a str,
        repository: &'a str,
    ) -> palan_client::BoxFuture<'a, Result<Credentials, Error>> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(async move { Ok(basic(repository, "pw")) })
    }
}

#[tokio::test]
async fn each_repository_has_its_own_credentials_asked_for_once() {
    let registry = FaultRegistry::start(bearer).await;
    let provider = Arc::new(PerRepository(AtomicUsize::new(0)));
    let client = builder().credentials(provider.clone()).build().unwrap();
    for name in ["a/b", "c", "a/b", "c"] {
        named(&client, &registry, name).manifest(&tag("x")).await.unwrap();
    }
    let shown: Vec<_> = registry
        .requests()
        .iter()
        .filter(|r| r.path() == "/token")
        .map(|r| r.header("authorization").to_owned())
        .collect();
    let expected = ["a/b:pw", "c:pw"].map(|u| format!("Basic {}", BASE64_STANDARD.encode(u)));
    assert_eq!(shown, expected);
    assert_eq!(provider.0.load(Relaxed), 2);
}

#[tokio::test]
async fn a_token_service_that_fails_for_a_moment_is_asked_again() {
    let registry = FaultRegistry::start(|r| match (r.path(), r.same_before) {
        ("/token", 0) => Reply::status(503),
        ("/token", 1) => Reply::abort(),
        _ => bearer(r),
    })
    .await;
    let client = builder().inactivity_timeout(Duration::from_secs(5)).build().unwrap();
    repo(&client, &registry).manifest(&tag("x")).await.unwrap();
    assert_eq!(registry.count("GET /token"), 3);
}

/// #16 of the reference: servers that answer only `access_token` got an empty header.
#[tokio::test]
async fn tokens_can_be_had_by_themselves() {
    for (answer, json) in [
        (r#"{"token":"T","expires_in":300}"#, r#"{"token":"T","expires_in":300}"#),
        (r#"{"access_token":"T","x":1}"#, r#"{"token":"T","access_token":"T","x":1}"#),
        (r#"{"token":"","access_token":"T"}"#, r#"{"token":"T","access_token":"T"}"#),
    ] {
        let registry = FaultRegistry::start(move |r| match r.path() {
            "/token" => Reply::json(answer),
            _ => challenge(r, ""),
        })
        .await;
        let client = with(basic("me", "pw"));
        let mount = format!("{}/base", registry.host()).parse().unwrap();
        let token = repo(&client, &registry).token(true, &[mount]).await.unwrap();
        assert_eq!(token.token().expose(), "T", "{answer}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(token.json().expose()), value(json), "{answer}");
        assert!(!format!("{token:?}").contains("\"T"), "tokens are secrets");
        let asked = &registry.requests()[1];
        assert_eq!(scopes(asked), ["repository:a/b:pull,push", "repository:base:pull"]);
        assert_eq!(asked.header("authorization"), format!("Basic {}", BASE64_STANDARD.encode("me:pw")));
    }
}

#[tokio::test]
async fn registries_without_tokens_say_so() {
    for (header, status, reason) in [
        ("Basic realm=x", 401, "it asks for a user name and a password (Basic), there are no tokens"),
        ("Negotiate", 401, "it asks for neither a token nor a password"),
        ("", 200, "it asks for no token"),
    ] {
        let registry = FaultRegistry::start(move |_| {
            let reply = Reply::status(status);
            if header.is_empty() { reply } else { reply.header("www-authenticate", header) }
        })
        .await;
        let error = repo(&client(), &registry).token(false, &[]).await.unwrap_err();
        assert!(matches!(error, Error::Challenge { .. }), "{error:?}");
        assert!(error.to_string().ends_with(reason), "{error}");
        assert_eq!(registry.requests().len(), 1);
    }
    let registry = FaultRegistry::start(|_| Reply::status(200)).await;
    let client = with(Credentials::RegistryToken(Secret::new("mine")));
    let token = repo(&client, &registry).token(false, &[]).await.unwrap();
    assert_eq!(token.json().expose(), r#"{"token":"mine"}"#);
}

/// `GITHUB_TOKEN` may be there for something else: what everybody may read must stay readable.
#[tokio::test]
async fn tentative_credentials_that_are_refused_are_left_out() {
    let tentative = || Credentials::Tentative { username: "me".into(), password: Secret::new("pw") };
    let good = format!("Basic {}", BASE64_STANDARD.encode("me:pw"));
    for (accepted, refusal, asked) in [(true, 403, 1), (false, 403, 2), (false, 401, 2)] {
        let good = good.clone();
        let registry = FaultRegistry::start(move |r| match (r.path(), r.header("authorization")) {
            ("/token", "") => Reply::json(r#"{"token":"T"}"#),
            ("/token", a) if a == good && accepted => Reply::json(r#"{"token":"T"}"#),
            ("/token", _) => Reply::error(refusal, "DENIED"),
            (_, "Bearer T") => content_reply(r),
            _ => challenge(r, ""),
        })
        .await;
        repo(&with(tentative()), &registry).manifest(&tag("x")).await.unwrap();
        assert_eq!(registry.count("GET /token"), asked, "{accepted} {refusal}");
    }
    // A password that is only a guess is not sent where nobody asked for a token.
    let registry =
        FaultRegistry::start(|_| Reply::status(401).header("www-authenticate", "Basic realm=x")).await;
    let error = repo(&with(tentative()), &registry).manifest(&tag("x")).await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    assert!(registry.requests().iter().all(|r| r.header("authorization").is_empty()));
}

/// A registry behind a proxy that wants a header: so is its token service, unless it is another host.
#[tokio::test]
async fn a_token_service_of_the_registry_gets_its_headers() {
    let service = FaultRegistry::start(|_| Reply::json(r#"{"token":"T"}"#)).await;
    let elsewhere = format!("Bearer realm=\"{}\"", service.url("/token"));
    for own in [true, false] {
        let elsewhere = elsewhere.clone();
        let registry = FaultRegistry::start(move |r| match (r.path(), r.header("authorization")) {
            ("/token", _) => Reply::json(r#"{"token":"T"}"#),
            (_, "Bearer T") => content_reply(r),
            _ if own => challenge(r, ""),
            _ => Reply::status(401).header("www-authenticate", &elsewhere),
        })
        .await;
        let headers = [("x-proxy", "1"), ("accept", "x/y"), ("host", "evil"), ("content-length", "7")];
        let headers = headers.into_iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()));
        let client = builder().common_headers(headers.collect()).build().unwrap();
        repo(&client, &registry).manifest(&tag("x")).await.unwrap();
        let asked = if own { registry.requests() } else { service.requests() };
        let token = asked.iter().find(|r| r.path() == "/token").unwrap();
        assert_eq!(token.header("x-proxy"), if own { "1" } else { "" });
        let last = registry.requests().pop().unwrap();
        // Replaced, not added; and what says what the request is stays.
        let accepted: Vec<_> = last.headers.get_all("accept").iter().collect();
        assert_eq!(accepted, ["x/y"]);
        assert_eq!((last.header("host"), last.header("content-length")), (&*registry.host(), ""));
    }
}

/// A `GITHUB_TOKEN` of another organisation gets a token, and the registry refuses it.
#[tokio::test]
async fn tentative_credentials_that_the_registry_refuses_are_left_out() {
    let tentative = || Credentials::Tentative { username: "me".into(), password: Secret::new("pw") };
    for (refusal, public) in [(403, true), (401, true), (403, false), (401, false)] {
        let registry = FaultRegistry::start(move |r| match (r.path(), r.header("authorization")) {
            ("/token", "") => Reply::json(r#"{"token":"nobody"}"#),
            ("/token", _) => Reply::json(r#"{"token":"mine"}"#),
            (_, "Bearer nobody") if public => content_reply(r),
            (_, "") => challenge(r, ""),
            _ => Reply::error(refusal, "DENIED"),
        })
        .await;
        let outcome = repo(&with(tentative()), &registry).manifest(&tag("x")).await;
        assert_eq!(outcome.is_ok(), public, "{refusal} {public}: {outcome:?}");
        assert_eq!(registry.count("GET /token"), 2, "{refusal} {public}: {:?}", registry.lines());
        if let Err(error) = outcome {
            assert_eq!(error.status().map(|s| s.as_u16()), Some(refusal), "{error}");
        }
    }
}

/// A retry loop inside a retry loop once asked 16 times.
#[tokio::test]
async fn a_token_service_that_always_fails_is_asked_four_times() {
    for reply in [Reply::abort(), Reply::status(503)] {
        let shown = format!("{reply:?}");
        let registry = FaultRegistry::start(move |r| match r.path() {
            "/token" => reply.clone(),
            _ => challenge(r, ""),
        })
        .await;
        repo(&client(), &registry).manifest(&tag("x")).await.unwrap_err();
        assert_eq!(registry.count("GET /token"), 4, "{shown}");
    }
}
