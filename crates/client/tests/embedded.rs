//! Every operation against a registry that keeps its promises: palan's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::{blob, builder, client, collect, content, tag};
use palan_client::{Client, Precondition, Repo};
use palan_core::{Algorithm, Descriptor, Digest, Document, MediaType, Selector};
use palan_server::Server;
use serde_json::json;

async fn server() -> Server {
    palan_server::Registry::memory().serve("127.0.0.1:0").await.unwrap()
}

fn named(client: &Client, server: &Server, path: &str) -> Repo {
    client.repository(&format!("{}/{path}", server.host()).parse().unwrap())
}

/// Pushes config and layer, and gives their manifest.
async fn image(repo: &Repo, layer: &Bytes) -> Document {
    let config = Bytes::from_static(b"{}");
    let config_blob = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(&config), 2);
    repo.push_blob(&config_blob, &config).await.unwrap();
    repo.push_blob(&blob(layer), layer).await.unwrap();
    manifest(&config_blob, &[blob(layer)], None)
}

fn manifest(config: &Descriptor, layers: &[Descriptor], subject: Option<&Descriptor>) -> Document {
    let mut json = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST.as_str(), "config": config, "layers": layers,
    });
    if let Some(subject) = subject {
        json["subject"] = serde_json::to_value(subject).unwrap();
        json["artifactType"] = json!("text/sbom");
    }
    Document::from_value(&json, MediaType::OCI_MANIFEST).unwrap()
}

#[tokio::test]
async fn an_image_goes_there_and_comes_back() {
    let server = server().await;
    let client = client();
    let repo = named(&client, &server, "team/app");
    let layer = content(3_000_000);
    assert!(!repo.has_blob(&blob(&layer)).await.unwrap());
    let document = image(&repo, &layer).await;
    assert!(repo.has_blob(&blob(&layer)).await.unwrap());
    for name in ["1", "2"] {
        repo.put_manifest(&document, &tag(name), Precondition::None).await.unwrap();
    }
    assert_eq!(repo.head(&tag("1")).await.unwrap(), document.descriptor());
    let by_digest: Selector = document.digest().into();
    assert_eq!(repo.manifest(&by_digest).await.unwrap().bytes(), document.bytes());
    for offset in [0, 1, 2_999_999, 3_000_000] {
        let stream = repo.open_blob(&blob(&layer), offset).await.unwrap();
        assert_eq!(collect(stream).await.unwrap(), layer.slice(offset as usize..));
    }
    let paged = builder().page_size(1).build().unwrap();
    assert_eq!(named(&paged, &server, "team/app").tags().await.unwrap(), ["1", "2"]);
    assert_eq!(paged.catalog(&server.host(), None).await.unwrap(), ["team/app"]);
    assert_eq!(client.stats().pings, 0);
    client.ping(&server.host()).await.unwrap();
    client.check_credentials(&server.host()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn blobs_are_mounted_inside_the_registry() {
    let server = server().await;
    let client = client();
    let (from, to) = (named(&client, &server, "base"), named(&client, &server, "app"));
    let layer = content(1_000);
    assert!(!to.mount_blob(&blob(&layer), from.name()).await.unwrap());
    from.push_blob(&blob(&layer), &layer).await.unwrap();
    let sent = client.stats().bytes_sent;
    assert!(to.mount_blob(&blob(&layer), from.name()).await.unwrap());
    assert!(to.has_blob(&blob(&layer)).await.unwrap());
    assert_eq!(client.stats().bytes_sent, sent);
    server.stop().await;
}

#[tokio::test]
async fn conditions_protect_tags() {
    let server = server().await;
    let client = client();
    let repo = named(&client, &server, "app");
    let (one, two) = (image(&repo, &content(1)).await, image(&repo, &content(2)).await);
    let x = tag("x");
    repo.put_manifest(&one, &x, Precondition::IfAbsent).await.unwrap();
    let again = repo.put_manifest(&two, &x, Precondition::IfAbsent).await;
    assert!(again.unwrap_err().is_precondition_failed());
    let wrong = repo.put_manifest(&two, &x, Precondition::IfMatch(two.digest())).await;
    assert!(wrong.unwrap_err().is_precondition_failed());
    repo.put_manifest(&two, &x, Precondition::IfMatch(one.digest())).await.unwrap();
    assert_eq!(repo.head(&x).await.unwrap().digest, two.digest());
    server.stop().await;
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let server = server().await;
    let client = client();
    let repo = named(&client, &server, "app");
    let subject = image(&repo, &content(5)).await;
    repo.put_manifest(&subject, &tag("x"), Precondition::None).await.unwrap();
    let config = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(b"{}"), 2);
    let sbom = manifest(&config, &[], Some(&subject.descriptor()));
    repo.put_manifest(&sbom, &sbom.digest().into(), Precondition::None).await.unwrap();
    for (artifact_type, expected) in [(None, 1), (Some("text/sbom"), 1), (Some("text/other"), 0)] {
        let found = repo.referrers(subject.digest(), artifact_type).await.unwrap();
        assert_eq!(found.len(), expected, "{artifact_type:?}");
        assert!(found.iter().all(|d| d.digest == sbom.digest()));
    }
    // The registry lists them itself: no fallback tag.
    assert_eq!(repo.tags().await.unwrap(), ["x"]);
    server.stop().await;
}

#[tokio::test]
async fn sha512_is_a_digest_like_any_other() {
    let server = server().await;
    let client = client();
    let repo = named(&client, &server, "app");
    let layer = content(10_000);
    let digest = Algorithm::Sha512.digest(&layer);
    let descriptor = Descriptor::new(MediaType::OCI_LAYER, digest, 10_000);
    repo.push_blob(&descriptor, &layer).await.unwrap();
    assert_eq!(repo.blob_bytes(&descriptor, 10_000).await.unwrap(), layer);
    let document = image(&repo, &content(1)).await;
    let wide = Algorithm::Sha512.digest(document.bytes()).into();
    repo.put_manifest(&document, &wide, Precondition::None).await.unwrap();
    assert_eq!(repo.manifest(&wide).await.unwrap().bytes(), document.bytes());
    server.stop().await;
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let server = server().await;
    let client = client();
    let repo = named(&client, &server, "app");
    let layer = content(10);
    let document = image(&repo, &layer).await;
    repo.put_manifest(&document, &tag("x"), Precondition::None).await.unwrap();
    repo.delete_manifest(&tag("x")).await.unwrap();
    assert!(repo.head(&tag("x")).await.unwrap_err().is_not_found());
    repo.delete_manifest(&document.digest().into()).await.unwrap();
    assert!(repo.manifest(&document.digest().into()).await.unwrap_err().is_not_found());
    repo.delete_blob(blob(&layer).digest).await.unwrap();
    assert!(repo.open_blob(&blob(&layer), 0).await.unwrap_err().is_not_found());
    server.stop().await;
}
