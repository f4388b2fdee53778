//! `registries.conf`: mirrors, other locations, what is blocked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{MANIFEST, MANIFEST_TYPE, blob, builder, content, tag};
use palan_client::{
    Client, CredentialProvider, Credentials, Error, Precondition, RegistriesConf, Repo, Secret,
};
use palan_core::{Digest, Document, Selector};
use palan_testkit::fault::{FaultRegistry, Reply, Request};

const PRIMARY: &str = "primary.test/team";

fn conf(text: &str) -> RegistriesConf {
    RegistriesConf::parse("test.conf".as_ref(), text).unwrap()
}

fn repo(client: &Client, path: &str) -> Repo {
    client.repository(&format!("{PRIMARY}/{path}").parse().unwrap())
}

/// `primary.test/team` is at `primary`, and these are its mirrors.
fn mirrored(primary: &FaultRegistry, mirrors: &[(&str, &str)]) -> RegistriesConf {
    let mut text = format!("[[registry]]\nprefix = \"{PRIMARY}\"\nlocation = \"{}/real\"\n", primary.host());
    for (location, pulls) in mirrors {
        text.push_str(&format!(
            "[[registry.mirror]]\nlocation = \"{location}\"\npull-from-mirror = \"{pulls}\"\n"
        ));
    }
    conf(&text)
}

fn client(conf: RegistriesConf) -> Client {
    builder().registries_conf(conf).build().unwrap()
}

fn manifest() -> Reply {
    Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE)
}

fn by_digest() -> Selector {
    Digest::sha256(MANIFEST.as_bytes()).into()
}

/// Has everything.
fn full(request: &Request) -> Reply {
    match request.path() {
        p if p.contains("/manifests/") => manifest(),
        p if p.contains("/blobs/sha256") => Reply::ranged(request, &content(1000)),
        _ => Reply::json(r#"{"tags":["x"]}"#),
    }
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_the_registry_at_last() {
    let primary = FaultRegistry::start(full).await;
    let empty = FaultRegistry::start(|_| Reply::error(404, "NAME_UNKNOWN")).await;
    let good = FaultRegistry::start(full).await;
    let (first, second) = (format!("{}/cache", empty.host()), good.host());
    let client = client(mirrored(&primary, &[(&first, "all"), (&second, "all")]));
    let repo = repo(&client, "app");
    let document = repo.manifest(&tag("x")).await.unwrap();
    assert_eq!(document.bytes(), MANIFEST);
    let bytes = content(1000);
    assert_eq!(repo.blob_bytes(&blob(&bytes), 1000).await.unwrap(), bytes);
    let blob = blob(&bytes).digest;
    assert_eq!(
        empty.lines(),
        ["GET /v2/cache/app/manifests/x".into(), format!("GET /v2/cache/app/blobs/{blob}")]
    );
    assert_eq!(good.lines(), ["GET /v2/app/manifests/x".into(), format!("GET /v2/app/blobs/{blob}")]);
    assert_eq!(primary.requests().len(), 0);
    // Names stay what they were.
    assert_eq!(repo.name().to_string(), "primary.test/team/app");
    assert_eq!(client.warnings(), [""; 0]);
}

/// It may have asked to be left alone for long: nobody waits for that.
#[tokio::test]
async fn a_mirror_that_has_had_enough_is_left_alone() {
    let primary = FaultRegistry::start(full).await;
    let mirror = FaultRegistry::start(|_| Reply::status(429).header("retry-after", "3600")).await;
    let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
    for _ in 0..3 {
        repo(&client, "app").manifest(&tag("x")).await.unwrap();
    }
    assert_eq!((mirror.requests().len(), primary.requests().len()), (1, 3));
    assert!(client.warnings()[0].contains("429"), "{:?}", client.warnings());
}

/// Whatever a mirror does, what is read is right, and the registry itself answers where it does not.
#[tokio::test]
async fn a_mirror_that_fails_is_passed_over() {
    let other = MANIFEST.replace("layers", "levels");
    type Handler = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
    let cases: Vec<(&str, Handler)> = vec![
        ("missing", Box::new(|_| Reply::error(404, "MANIFEST_UNKNOWN"))),
        ("denied", Box::new(|_| Reply::error(403, "DENIED"))),
        ("wants credentials", Box::new(|_| Reply::status(401).header("www-authenticate", "Basic"))),
        ("names no token service", Box::new(|_| Reply::status(401).header("www-authenticate", "Bearer"))),
        ("broken", Box::new(|_| Reply::status(500))),
        ("busy", Box::new(|_| Reply::status(429).header("retry-after", "3600"))),
        ("a web page", Box::new(|_| Reply::ok("<html>").header("content-type", "text/html"))),
        ("wrong content", Box::new(move |_| Reply::ok(other.clone()).header("content-type", MANIFEST_TYPE))),
        ("cut", Box::new(|_| manifest().cut_after(10))),
        (
            "another digest stated",
            Box::new(|_| manifest().header("docker-content-digest", &Digest::sha256(b"x").to_string())),
        ),
        ("aborts", Box::new(|_| Reply::abort())),
    ];
    for (name, handler) in cases {
        let primary = FaultRegistry::start(full).await;
        let mirror = FaultRegistry::start(handler).await;
        let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
        let document = repo(&client, "app").manifest(&by_digest()).await.unwrap();
        assert_eq!(document.bytes(), MANIFEST, "{name}");
        assert!(!mirror.requests().is_empty(), "{name}");
        assert_eq!(primary.lines(), [format!("GET /v2/real/app/manifests/{}", by_digest())], "{name}");
    }
}

/// By tag, only the mirror's own words can be held against it.
#[tokio::test]
async fn a_mirror_that_contradicts_itself_is_passed_over() {
    for (name, reply) in [
        ("digest", manifest().header("docker-content-digest", &Digest::sha256(b"x").to_string())),
        ("no document", Reply::ok("{").header("content-type", MANIFEST_TYPE)),
    ] {
        let primary = FaultRegistry::start(full).await;
        let mirror = FaultRegistry::start(move |_| reply.clone()).await;
        let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
        let document = repo(&client, "app").manifest(&tag("x")).await.unwrap();
        assert_eq!(document.bytes(), MANIFEST, "{name}");
        assert_eq!((mirror.requests().len(), primary.requests().len()), (1, 1), "{name}");
    }
}

/// A cache that broke a blob once made the pull fail, though the registry had it whole.
#[tokio::test]
async fn a_mirror_that_breaks_a_blob_is_left_for_the_registry() {
    let bytes = content(1_000);
    let mut wrong = bytes.to_vec();
    wrong[500] ^= 1;
    let longer = [&bytes[..], b"more"].concat();
    let stated = Digest::sha256(b"x").to_string();
    for (name, reply, from) in [
        ("cut", Reply::ok(bytes.clone()).cut_after(400), Some(400)),
        ("cut at once", Reply::ok(bytes.clone()).cut_after(0), None),
        ("shorter", Reply::ok(bytes.slice(..400)), None),
        ("shorter, unannounced", Reply::ok(bytes.slice(..400)).unannounced(), Some(400)),
        ("longer", Reply::ok(longer.clone()), None),
        ("longer, unannounced", Reply::ok(longer).unannounced(), None),
        ("other bytes", Reply::ok(wrong), None),
        ("another digest", Reply::ok(bytes.clone()).header("docker-content-digest", &stated), None),
    ] {
        let primary = FaultRegistry::start(full).await;
        let mirror = FaultRegistry::start(move |_| reply.clone()).await;
        let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
        let read = repo(&client, "app").blob_bytes(&blob(&bytes), 1_000).await;
        assert_eq!(read.unwrap_or_else(|e| panic!("{name}: {e}")), bytes, "{name}");
        assert_eq!(mirror.requests().len(), 1, "{name}");
        let asked = primary.requests();
        assert_eq!((asked.len(), asked[0].range_start()), (1, from), "{name}");
        let warned = client.warnings().iter().any(|w| w.contains(&mirror.host()));
        assert_eq!(warned, name != "another digest", "{name}: {:?}", client.warnings());
    }
}

/// Wrong bytes that were handed out already cannot be taken back, but it is said whose they are.
#[tokio::test]
async fn wrong_bytes_of_a_mirror_are_named_after_it() {
    let bytes = content(1_000);
    let mut wrong = bytes.to_vec();
    wrong[10] ^= 1;
    let reply = Reply::ok(wrong).cut_after(400);
    let primary = FaultRegistry::start(full).await;
    let mirror = FaultRegistry::start(move |_| reply.clone()).await;
    let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
    let stream = repo(&client, "app").open_blob(&blob(&bytes), 0).await.unwrap();
    let (_, error) = common::drain(stream).await;
    let error = error.unwrap().to_string();
    assert!(error.contains(&format!("the mirror {}", mirror.host())), "{error}");
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_is_asked_once() {
    let primary = FaultRegistry::start(full).await;
    let mirror = FaultRegistry::start(|_| Reply::abort()).await;
    let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
    for _ in 0..3 {
        repo(&client, "app").manifest(&tag("x")).await.unwrap();
    }
    // Http, and https because it may speak that instead.
    assert_eq!(mirror.requests().len(), 1);
    assert_eq!(primary.requests().len(), 3);
    let warnings = client.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(&mirror.host()), "{warnings:?}");
}

#[tokio::test]
async fn what_nobody_has_is_missed_at_the_registry_itself() {
    let primary = FaultRegistry::start(|_| Reply::error(404, "MANIFEST_UNKNOWN")).await;
    let mirror = FaultRegistry::start(|_| Reply::error(403, "DENIED")).await;
    let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
    let error = repo(&client, "app").manifest(&tag("x")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains(&primary.host()), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_for_what_they_are_for() {
    for (pulls, by_tag, digest, blobs) in [("all", 1, 1, 1), ("digest-only", 0, 1, 1), ("tag-only", 1, 0, 1)]
    {
        let primary = FaultRegistry::start(full).await;
        let mirror = FaultRegistry::start(full).await;
        let client = client(mirrored(&primary, &[(&mirror.host(), pulls)]));
        let repo = repo(&client, "app");
        repo.manifest(&tag("x")).await.unwrap();
        assert_eq!(mirror.requests().len(), by_tag, "{pulls}: tag");
        repo.manifest(&by_digest()).await.unwrap();
        assert_eq!(mirror.requests().len(), by_tag + digest, "{pulls}: digest");
        repo.blob_bytes(&blob(&content(1000)), 1000).await.unwrap();
        assert_eq!(mirror.requests().len(), by_tag + digest + blobs, "{pulls}: blob");
        // Lists are the registry's own.
        repo.tags().await.unwrap();
        assert_eq!(mirror.requests().len(), by_tag + digest + blobs, "{pulls}: tags");
    }
}

#[tokio::test]
async fn writing_goes_to_the_registry_itself() {
    let primary = FaultRegistry::start(|r| match r.method.as_str() {
        "HEAD" => Reply::error(404, "BLOB_UNKNOWN"),
        "POST" => Reply::status(202).header("location", "/v2/real/app/blobs/uploads/1"),
        _ => Reply::status(201),
    })
    .await;
    let mirror = FaultRegistry::start(full).await;
    let client = client(mirrored(&primary, &[(&mirror.host(), "all")]));
    let repo = repo(&client, "app").primary();
    assert!(!repo.has_blob(&blob(&content(1000))).await.unwrap());
    repo.push_blob(&blob(&content(1000)), &content(1000)).await.unwrap();
    let document = Document::parse(MANIFEST, None).unwrap();
    repo.put_manifest(&document, &tag("x"), Precondition::None).await.unwrap();
    assert_eq!(mirror.requests().len(), 0);
    assert!(primary.lines().iter().all(|l| l.contains("/v2/real/app/")), "{:?}", primary.lines());
    assert_eq!(primary.count("PUT /v2/real/app/manifests/x"), 1);
}

#[tokio::test]
async fn mounts_name_repositories_as_their_registry_knows_them() {
    let primary = FaultRegistry::start(|_| Reply::status(201)).await;
    let client = client(mirrored(&primary, &[]));
    let blob = blob(&content(1));
    let (to, from) = (repo(&client, "app"), repo(&client, "base"));
    assert!(to.mount_blob(&blob, from.name()).await.unwrap());
    let expected = format!("POST /v2/real/app/blobs/uploads/?mount={}&from=real/base", blob.digest);
    assert_eq!(primary.lines(), [expected]);
    // The same registry by name, but not where it really is.
    let elsewhere = "primary.test/other/base".parse().unwrap();
    assert!(!to.mount_blob(&blob, &elsewhere).await.unwrap());
    assert_eq!(primary.requests().len(), 1);
}

struct ByRegistry;

impl CredentialProvider for ByRegistry {
    fn credentials<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> palan_client::BoxFuture<'a, Result<Credentials, Error>> {
        let (username, password) = (format!("{registry}/{repository}"), Secret::new("pw"));
        Box::pin(async move { Ok(Credentials::Basic { username, password }) })
    }
}

#[tokio::test]
async fn each_mirror_gets_its_own_credentials() {
    let guarded = |r: &Request| match r.header("authorization") {
        "" => Reply::status(401).header("www-authenticate", "Basic"),
        _ if r.header("host").is_empty() => Reply::status(500),
        _ => Reply::error(404, "MANIFEST_UNKNOWN"),
    };
    let (primary, mirror) = (FaultRegistry::start(guarded).await, FaultRegistry::start(guarded).await);
    let client = builder()
        .registries_conf(mirrored(&primary, &[(&format!("{}/m", mirror.host()), "all")]))
        .credentials(Arc::new(ByRegistry))
        .build()
        .unwrap();
    repo(&client, "app").manifest(&tag("x")).await.unwrap_err();
    for (registry, path) in [(&mirror, "m/app"), (&primary, "real/app")] {
        let user = format!("{}/{path}:pw", registry.host());
        let expected = format!("Basic {}", BASE64_STANDARD.encode(user));
        assert_eq!(registry.requests().last().unwrap().header("authorization"), expected, "{path}");
    }
}

#[tokio::test]
async fn what_is_blocked_is_not_asked() {
    let registry = FaultRegistry::start(full).await;
    let text = format!("[[registry]]\nprefix = \"{}/evil\"\nblocked = true", registry.host());
    let client = client(conf(&text));
    let named = |path: &str| client.repository(&format!("{}/{path}", registry.host()).parse().unwrap());
    let evil = named("evil/app");
    let document = Document::parse(MANIFEST, None).unwrap();
    for outcome in [
        evil.manifest(&tag("x")).await.map(drop),
        evil.put_manifest(&document, &tag("x"), Precondition::None).await,
        evil.tags().await.map(drop),
        evil.token(false, &[]).await.map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Blocked { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("{}/evil/app is blocked", registry.host())), "{error}");
    }
    assert_eq!(registry.requests().len(), 0);
    named("good/app").manifest(&tag("x")).await.unwrap();
}
