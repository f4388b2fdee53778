//! A registry process that is killed at any moment loses nothing that it acknowledged.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, atomic::AtomicBool, atomic::AtomicUsize, atomic::Ordering::SeqCst},
    thread,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use palan_core::Digest;
use palan_server::{Durability, Registry};
use serde_json::json;

const FOLDER: &str = "PALAN_TEST_REGISTRY_FOLDER";
const ROUNDS: usize = 6;
const CLIENTS: usize = 3;

/// Not a test: the process that is killed.
#[test]
#[ignore = "started by the other test, which kills it"]
fn serve_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let registry = Registry::directory_with(folder, Durability::None).unwrap();
        let server = registry.serve("127.0.0.1:0").await.unwrap();
        println!("\nlistening on {}", server.host());
        std::future::pending::<()>().await;
    });
}

fn start(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "serve_until_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let host =
        lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
    (child, host.unwrap())
}

/// Whether the answer is 201; a connection that breaks is no answer.
fn created(host: &str, method: &str, target: &str, body: &[u8]) -> bool {
    let talk = || {
        let mut stream = TcpStream::connect(host)?;
        let length = body.len();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 201"))
    };
    talk().unwrap_or(false)
}

/// Pushes images until the server is gone; notes the targets that were acknowledged, with their digests.
fn push(host: &str, client: usize, round: usize, seen: &Mutex<Vec<(String, Digest)>>, count: &AtomicUsize) {
    for i in 0.. {
        let name = format!("client{client}/repository{}", i % 3);
        let layer = format!("{round} {client} {i} ").repeat(1 + (i * 7919) % 30_000);
        let config = Digest::sha256(b"{}");
        let digest = Digest::sha256(layer.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/x", "digest": digest, "size": layer.len()}],
        })
        .to_string();
        let uploads = format!("/v2/{name}/blobs/uploads/");
        let tag = format!("/v2/{name}/manifests/r{round}-{i}");
        let steps = [
            (
                "POST",
                format!("{uploads}?digest={config}"),
                "{}",
                format!("/v2/{name}/blobs/{config}"),
                config,
            ),
            (
                "POST",
                format!("{uploads}?digest={digest}"),
                &layer,
                format!("/v2/{name}/blobs/{digest}"),
                digest,
            ),
            ("PUT", tag.clone(), &manifest, tag, Digest::sha256(manifest.as_bytes())),
        ];
        for (method, target, body, place, digest) in steps {
            if !created(host, method, &target, body.as_bytes()) {
                return;
            }
            seen.lock().unwrap().push((place, digest));
            count.fetch_add(1, SeqCst);
        }
    }
}

async fn audit(folder: &Path, seen: &[(String, Digest)]) {
    let registry = Registry::directory_with(folder, Durability::None).unwrap();
    assert_eq!(registry.damage(), []);
    assert_eq!(registry.verify().await, []);
    for (target, digest) in seen {
        let request = Request::get(target).body(Empty::<Bytes>::new()).unwrap();
        let answer = registry.answer(request).await;
        assert_eq!(answer.status(), 200, "{target}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(Digest::sha256(&body), *digest, "{target}");
    }
    assert!(std::fs::read_dir(folder.join("tmp")).unwrap().next().is_none());
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Mutex::new(Vec::new());
    for round in 0..ROUNDS {
        let (mut child, host) = start(folder.path());
        let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (host, seen, count, over) = (&host, &seen, &count, &over);
                scope.spawn(move || {
                    push(host, client, round, seen, count);
                    over.store(true, SeqCst);
                });
            }
            // Each round dies at another point of its work.
            while count.load(SeqCst) < 10 + 13 * round && !over.load(SeqCst) {
                thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        });
        assert!(count.load(SeqCst) >= 10, "round {round} acknowledged {count:?}");
        let seen = seen.lock().unwrap().clone();
        audit(folder.path(), &seen).await;
    }
}
