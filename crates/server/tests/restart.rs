//! A registry in a directory: what was acknowledged survives, what was not leaves nothing, damage is not served.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use palan_core::{Algorithm, Digest};
use palan_server::{Error, Registry};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

type Answer = Response<Bytes>;

async fn call(
    registry: &Registry,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body));
    let (parts, body) = registry.answer(request.body(body).unwrap()).await.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

async fn get(registry: &Registry, target: &str) -> Answer {
    call(registry, "GET", target, &[], b"").await
}

async fn push_blob(registry: &Registry, name: &str, content: &[u8], algorithm: Algorithm) -> Digest {
    let digest = algorithm.digest(content);
    let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    assert_eq!(call(registry, "POST", &target, &[], content).await.status(), 201);
    digest
}

async fn push_manifest(registry: &Registry, name: &str, reference: &str, kind: &str, json: &Value) -> Digest {
    let text = json.to_string();
    let target = format!("/v2/{name}/manifests/{reference}");
    let answer = call(registry, "PUT", &target, &[("content-type", kind)], text.as_bytes()).await;
    assert_eq!(answer.status(), 201, "{:?}", answer.body());
    Digest::sha256(text.as_bytes())
}

/// An image with one layer.
async fn push_image(registry: &Registry, name: &str, tag: &str, layer: &[u8]) -> (Digest, Digest) {
    let config = push_blob(registry, name, b"{}", Algorithm::Sha256).await;
    let digest = push_blob(registry, name, layer, Algorithm::Sha256).await;
    let json = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/octet-stream", "digest": digest, "size": layer.len()}],
    });
    (push_manifest(registry, name, tag, MANIFEST, &json).await, digest)
}

/// Everything that a client can see.
async fn everything(registry: &Registry, blobs: &[(&str, Digest)]) -> Vec<String> {
    let mut seen = Vec::new();
    let catalog = get(registry, "/v2/_catalog").await;
    let names: Value = serde_json::from_slice(catalog.body()).unwrap();
    seen.push(names.to_string());
    for name in names["repositories"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        let tags = get(registry, &format!("/v2/{name}/tags/list")).await;
        let tags: Value = serde_json::from_slice(tags.body()).unwrap();
        seen.push(tags.to_string());
        for tag in tags["tags"].as_array().unwrap() {
            let answer = get(registry, &format!("/v2/{name}/manifests/{}", tag.as_str().unwrap())).await;
            seen.push(format!("{:?} {:?}", answer.headers(), answer.body()));
            let digest = answer.headers()["docker-content-digest"].to_str().unwrap().to_owned();
            let answer = get(registry, &format!("/v2/{name}/referrers/{digest}")).await;
            seen.push(format!("{:?}", answer.body()));
        }
    }
    for (name, digest) in blobs {
        let answer = get(registry, &format!("/v2/{name}/blobs/{digest}")).await;
        seen.push(format!("{} {:?} {}", answer.status(), answer.headers(), Digest::sha256(answer.body())));
    }
    seen
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::directory(folder.path()).unwrap();
    let mut blobs = Vec::new();
    for (name, tag) in [("a", "latest"), ("a", "Latest"), ("a/b", "v1"), ("a-b/c.d/e__f", "V1.0-RC1")] {
        let layer = format!("layer of {name}:{tag}").repeat(5_000);
        let (manifest, layer) = push_image(&registry, name, tag, layer.as_bytes()).await;
        blobs.push((name, layer));
        let subject = json!({"mediaType": MANIFEST, "digest": manifest, "size": 7});
        let child = get(&registry, &format!("/v2/{name}/manifests/{manifest}")).await;
        let child = json!({"mediaType": MANIFEST, "digest": manifest, "size": child.body().len()});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "artifactType": "a/b",
            "manifests": [child], "subject": subject, "annotations": {"tag": tag}});
        push_manifest(&registry, name, &format!("{tag}-index"), INDEX, &index).await;
    }
    blobs.push(("a", push_blob(&registry, "a", b"sha512", Algorithm::Sha512).await));
    let mount = format!("/v2/mounted/blobs/uploads/?mount={}&from=a", blobs[0].1);
    assert_eq!(call(&registry, "POST", &mount, &[], b"").await.status(), 201);
    blobs.push(("mounted", blobs[0].1));
    blobs.push(("a/b", blobs[0].1));
    let (doomed, layer) = push_image(&registry, "doomed", "t", b"doomed").await;
    for target in [format!("manifests/{doomed}"), format!("blobs/{layer}")] {
        let answer = call(&registry, "DELETE", &format!("/v2/doomed/{target}"), &[], b"").await;
        assert_eq!(answer.status(), 202);
    }
    blobs.push(("doomed", layer));

    let before = everything(&registry, &blobs).await;
    assert!(before.len() > 25, "{before:#?}");
    drop(registry);
    for _ in 0..2 {
        let registry = Registry::directory(folder.path()).unwrap();
        assert_eq!(everything(&registry, &blobs).await, before);
        assert_eq!(registry.damage(), []);
        assert_eq!(registry.verify().await, []);
    }
    assert!(fs::read_dir(folder.path().join("tmp")).unwrap().next().is_none());
}

#[tokio::test]
async fn an_unfinished_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let content = b"0123456789".repeat(600);
    for algorithm in Algorithm::ALL {
        let registry = Registry::directory(folder.path()).unwrap();
        let start = call(&registry, "POST", "/v2/a/b/blobs/uploads/", &[], b"").await;
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let answer =
            call(&registry, "PATCH", &location, &[("content-range", "0-3999")], &content[..4_000]).await;
        assert_eq!(answer.status(), 202);
        drop(registry);

        let registry = Registry::directory(folder.path()).unwrap();
        let status = get(&registry, &location).await;
        assert_eq!((status.status().as_u16(), &status.headers()["range"]), (204, &"0-3999".parse().unwrap()));
        let foreign = location.replacen("/a/b/", "/a/", 1);
        assert_eq!(get(&registry, &foreign).await.status(), 404);
        let digest = algorithm.digest(&content);
        let finish = format!("{location}?digest={digest}");
        let answer =
            call(&registry, "PUT", &finish, &[("content-range", "4000-5999")], &content[4_000..]).await;
        assert_eq!(answer.status(), 201, "{:?}", answer.body());
        assert_eq!(get(&registry, &format!("/v2/a/b/blobs/{digest}")).await.body(), &content);
        assert!(fs::read_dir(folder.path().join("uploads")).unwrap().next().is_none());
    }
}

#[tokio::test]
async fn a_wrong_end_after_a_restart_is_still_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::directory(folder.path()).unwrap();
    let start = call(&registry, "POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let location = start.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(call(&registry, "PATCH", &location, &[], b"abc").await.status(), 202);
    drop(registry);
    let registry = Registry::directory(folder.path()).unwrap();
    let digest = Digest::sha256(b"abX");
    let answer = call(&registry, "PUT", &format!("{location}?digest={digest}"), &[], b"").await;
    assert_eq!(answer.status(), 400);
    assert_eq!(get(&registry, &format!("/v2/a/blobs/{digest}")).await.status(), 404);
    assert_eq!(get(&registry, &location).await.status(), 404);
}

#[tokio::test]
async fn orphans_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    drop(Registry::directory(folder.path()).unwrap());
    let (tmp, uploads) = (folder.path().join("tmp"), folder.path().join("uploads"));
    let record = r#"{"repository":"a","algorithm":"sha256"}"#;
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    write(&tmp.join("17"), "half a blob");
    write(&uploads.join("data-without-record"), "x");
    write(&uploads.join("record-without-data.json"), record);
    write(&uploads.join("half-a-record"), "x");
    write(&uploads.join("half-a-record.json"), "{\"repos");
    write(&uploads.join("outside"), "x");
    write(&uploads.join("outside.json"), r#"{"repository":"../a","algorithm":"sha256"}"#);
    write(&uploads.join("stale"), "x");
    write(&uploads.join("stale.json"), record);
    let old = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    File::options().write(true).open(uploads.join("stale")).unwrap().set_modified(old).unwrap();
    write(&uploads.join("fresh"), "x");
    write(&uploads.join("fresh.json"), record);

    drop(Registry::directory(folder.path()).unwrap());
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&tmp), [""; 0]);
    assert_eq!(names(&uploads), ["fresh", "fresh.json"]);
}

fn content_path(folder: &Path, digest: &Digest) -> std::path::PathBuf {
    folder.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

#[tokio::test]
async fn a_truncated_blob_is_not_served_and_can_be_pushed_again() {
    let folder = tempfile::tempdir().unwrap();
    let layer = b"layer".repeat(1_000);
    let registry = Registry::directory(folder.path()).unwrap();
    let (_, digest) = push_image(&registry, "a", "v1", &layer).await;
    let target = format!("/v2/a/blobs/{digest}");
    drop(registry);
    File::options().write(true).open(content_path(folder.path(), &digest)).unwrap().set_len(100).unwrap();

    let registry = Registry::directory(folder.path()).unwrap();
    assert_eq!(registry.damage().iter().map(|d| d.digest).collect::<Vec<_>>(), [digest]);
    assert_eq!(get(&registry, &target).await.status(), 404);
    assert_eq!(call(&registry, "HEAD", &target, &[], b"").await.status(), 404);
    assert_eq!(get(&registry, "/v2/a/manifests/v1").await.status(), 200);
    push_blob(&registry, "a", &layer, Algorithm::Sha256).await;
    assert_eq!(get(&registry, &target).await.body(), &layer);

    // While it runs: never with a promise that cannot be kept.
    File::options().write(true).open(content_path(folder.path(), &digest)).unwrap().set_len(100).unwrap();
    assert_eq!(get(&registry, &target).await.status(), 500);
    assert_eq!(get(&registry, &target).await.status(), 404);
    push_blob(&registry, "a", &layer, Algorithm::Sha256).await;
    drop(registry);
    let registry = Registry::directory(folder.path()).unwrap();
    assert_eq!(get(&registry, &target).await.body(), &layer);
    assert_eq!(registry.damage(), []);
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_verify() {
    let folder = tempfile::tempdir().unwrap();
    let layer = b"layer".repeat(1_000);
    let registry = Registry::directory(folder.path()).unwrap();
    let (_, digest) = push_image(&registry, "a", "v1", &layer).await;
    assert_eq!(registry.verify().await, []);
    let mut flipped = layer.clone();
    flipped[2_000] ^= 1;
    fs::write(content_path(folder.path(), &digest), &flipped).unwrap();
    let damage = registry.verify().await;
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].digest, digest);
    assert!(damage[0].reason.contains(&Digest::sha256(&flipped).to_string()), "{damage:?}");
    assert_eq!(get(&registry, &format!("/v2/a/blobs/{digest}")).await.status(), 404);
    assert!(fs::read_dir(folder.path().join("damaged")).unwrap().next().is_some());
    push_blob(&registry, "a", &layer, Algorithm::Sha256).await;
    assert_eq!(registry.verify().await, []);
}

#[tokio::test]
async fn a_damaged_or_missing_manifest_is_not_served() {
    for change in [&(|path: &Path| fs::write(path, b"{}").unwrap()) as &dyn Fn(&Path), &|path| {
        fs::remove_file(path).unwrap();
    }] {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::directory(folder.path()).unwrap();
        let (digest, _) = push_image(&registry, "a", "v1", b"one").await;
        let (other, _) = push_image(&registry, "a", "v2", b"two").await;
        drop(registry);
        change(&content_path(folder.path(), &digest));
        let registry = Registry::directory(folder.path()).unwrap();
        assert_eq!(registry.damage().iter().map(|d| d.digest).collect::<Vec<_>>(), [digest]);
        assert_eq!(get(&registry, "/v2/a/manifests/v1").await.status(), 404);
        assert_eq!(get(&registry, &format!("/v2/a/manifests/{other}")).await.status(), 200);
        let tags = get(&registry, "/v2/a/tags/list").await;
        assert_eq!(tags.body(), r#"{"name":"a","tags":["v2"]}"#);
        assert_eq!(push_image(&registry, "a", "v1", b"one").await.0, digest);
        assert_eq!(get(&registry, "/v2/a/manifests/v1").await.status(), 200);
    }
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::directory(folder.path()).unwrap();
    push_image(&registry, "a", "v1", b"one").await;
    let before = everything(&registry, &[]).await;
    drop(registry);
    let foreign = [
        "notes.txt",
        "repositories/notes.txt",
        "repositories/UPPER/_tags/v1",
        "repositories/a/_tags/.swp",
        "repositories/a/_tags/v9",
        "repositories/a/_blobs/x",
        "repositories/a/_manifests/sha256-00",
        "repositories/.git/config",
        "blobs/sha256/notes.txt",
    ];
    for path in foreign {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "what is this").unwrap();
    }
    let registry = Registry::directory(folder.path()).unwrap();
    assert_eq!(everything(&registry, &[]).await, before);
    for path in foreign {
        assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), "what is this");
    }
}

#[tokio::test]
async fn a_directory_has_one_registry_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Registry::directory(folder.path()).unwrap().serve("127.0.0.1:0").await.unwrap();
    let error = Registry::directory(folder.path()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    server.stop().await;
    Registry::directory(folder.path()).unwrap();
}

#[tokio::test]
async fn a_directory_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("palan-registry"), "palan registry directory, version 99\n").unwrap();
    let error = Registry::directory(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Format { found, .. } if found.ends_with("99")), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Registry::directory(file.join("below")).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[tokio::test]
async fn a_version_file_that_a_power_cut_emptied_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::directory(folder.path()).unwrap();
    push_image(&registry, "a", "v1", b"one").await;
    let before = everything(&registry, &[]).await;
    drop(registry);
    let version = folder.path().join("palan-registry");
    let text = fs::read_to_string(&version).unwrap();
    for left in ["", "\0\0\0\0"] {
        fs::write(&version, left).unwrap();
        let registry = Registry::directory(folder.path()).unwrap();
        assert_eq!(everything(&registry, &[]).await, before);
        assert_eq!(fs::read_to_string(&version).unwrap(), text);
        assert!(!folder.path().join("palan-registry.new").exists());
    }
}

#[tokio::test]
async fn an_orphan_does_not_swallow_a_push() {
    let (blob, size) = (b"layer".repeat(1_000), 5_000);
    let digest = Digest::sha256(&blob);
    for orphan in [Vec::new(), b"short".to_vec(), vec![0; size]] {
        let folder = tempfile::tempdir().unwrap();
        drop(Registry::directory(folder.path()).unwrap());
        fs::write(content_path(folder.path(), &digest), &orphan).unwrap();
        let registry = Registry::directory(folder.path()).unwrap();
        push_image(&registry, "a", "v1", &blob).await;
        let target = format!("/v2/a/blobs/{digest}");
        assert_eq!(get(&registry, &target).await.body(), &blob);
        drop(registry);
        let registry = Registry::directory(folder.path()).unwrap();
        assert_eq!(registry.damage(), []);
        assert_eq!(get(&registry, &target).await.body(), &blob);
    }
}

#[tokio::test]
async fn a_push_replaces_what_others_hold_with_another_size() {
    let folder = tempfile::tempdir().unwrap();
    let blob = b"layer".repeat(1_000);
    let registry = Registry::directory(folder.path()).unwrap();
    let (_, digest) = push_image(&registry, "a", "v1", &blob).await;
    drop(registry);
    // File and fact agree with each other, but not with the digest.
    let fact = folder.path().join(format!("repositories/a/_blobs/sha256-{}", digest.hex()));
    fs::write(content_path(folder.path(), &digest), "").unwrap();
    fs::write(fact, "0").unwrap();

    let registry = Registry::directory(folder.path()).unwrap();
    push_image(&registry, "b", "v1", &blob).await;
    let in_b = format!("/v2/b/blobs/{digest}");
    assert_eq!(get(&registry, &in_b).await.body(), &blob);
    assert_eq!(get(&registry, &format!("/v2/a/blobs/{digest}")).await.status(), 404);
    assert_eq!(registry.damage().iter().map(|d| d.digest).collect::<Vec<_>>(), [digest]);
    drop(registry);
    let registry = Registry::directory(folder.path()).unwrap();
    assert_eq!(registry.damage(), []);
    assert_eq!(get(&registry, &in_b).await.body(), &blob);
}
