//! Long lists of referrers.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use palan_core::Digest;
use palan_server::Registry;
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MIB: usize = 1024 * 1024;

async fn refer(registry: &Registry, subject: &Digest, artifact_type: &str, annotation: &str) -> String {
    let json = json!({
        "schemaVersion": 2, "mediaType": INDEX, "artifactType": artifact_type, "manifests": [],
        "subject": {"mediaType": INDEX, "digest": subject, "size": 1},
        "annotations": {"a": annotation},
    });
    let digest = Digest::sha256(json.to_string().as_bytes());
    let put = Request::put(format!("/v2/a/manifests/{digest}")).header("content-type", INDEX);
    let answer = registry.answer(put.body(Full::new(Bytes::from(json.to_string()))).unwrap()).await;
    assert_eq!(answer.status(), 201);
    digest.to_string()
}

/// All entries of all pages.
async fn pages(registry: &Registry, first: String) -> Vec<Vec<Value>> {
    let (mut pages, mut next) = (Vec::new(), Some(first));
    while let Some(target) = next {
        assert!(pages.len() < 100, "the list does not end");
        let answer = registry.answer(Request::get(target).body(Full::<Bytes>::default()).unwrap()).await;
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() <= 4 * MIB, "a page of {} bytes", body.len());
        let list: Value = serde_json::from_slice(&body).unwrap();
        pages.push(list["manifests"].as_array().unwrap().clone());
    }
    pages
}

#[tokio::test]
async fn one_that_fits_on_no_page_hides_no_other() {
    let registry = Registry::memory();
    let subject = Digest::sha256(b"subject");
    let huge = |i: usize| "x".repeat(4 * MIB - 1024 - i);
    let (mut all, mut long) = (Vec::new(), Vec::new());
    for i in 0..6 {
        all.push(refer(&registry, &subject, "a/b", &format!("short {i}")).await);
        all.push(refer(&registry, &subject, "a/b", &"y".repeat(2 * MIB + i)).await);
        long.push(refer(&registry, &subject, "a/b", &huge(i)).await);
        long.push(refer(&registry, &subject, &huge(i), "").await);
    }
    all.extend(long.clone());
    all.sort();

    let pages = pages(&registry, format!("/v2/a/referrers/{subject}")).await;
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
    let listed: Vec<_> = pages.iter().flatten().map(digest).collect();
    assert_eq!(listed, all);
    assert!(pages.iter().all(|page| !page.is_empty()));
    for entry in pages.iter().flatten() {
        let cut = long.contains(&digest(entry));
        let length = entry["annotations"]["a"].as_str().map_or(0, str::len);
        assert!(if cut { length == 0 } else { length > 0 }, "{}", digest(entry));
    }
}
