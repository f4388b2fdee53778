//! The library: serving, stopping, counting, embedding.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use palan_core::Digest;
use palan_server::{Registry, RequestKind, Server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_service::Service as _;

async fn talk(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const PING: &str = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn three_lines_embed_a_registry() {
    let registry = Registry::memory();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    assert!(talk(&server, PING).await.starts_with("HTTP/1.1 200 OK"));
    assert_ne!(server.addr().port(), 0);
    assert_eq!(server.url(), format!("http://{}", server.host()));
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let server = Registry::memory().serve("127.0.0.1:0").await.unwrap();
    let error = Registry::memory().serve(server.host()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", server.host()));
}

#[tokio::test]
async fn stopping_lets_a_push_finish_and_closes_the_idle() {
    let registry = Registry::memory();
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let address = server.addr();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    let digest = Digest::sha256(b"0123456789");
    let mut push = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    push.write_all(head.as_bytes()).await.unwrap();
    // "100 Continue" says that the request is under way.
    let mut going_on = [0; 25];
    push.read_exact(&mut going_on).await.unwrap();
    let stop = tokio::spawn(server.stop());
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    push.write_all(b"0123456789").await.unwrap();
    let mut answer = String::new();
    push.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    stop.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(registry.stats().blob_bytes_in, 10);
}

#[tokio::test]
async fn dropping_a_server_stops_it() {
    let server = Registry::memory().serve("127.0.0.1:0").await.unwrap();
    let address = server.addr();
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    open.read_exact(&mut first).await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    // Closed or reset: it ends.
    let _ = open.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn it_is_a_service_over_any_body() {
    let mut registry = Registry::memory();
    let digest = Digest::sha256(b"hello");
    let pieces = ["he", "ll", "o"].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let push = Request::post(format!("/v2/a/blobs/uploads/?digest={digest}")).body(body).unwrap();
    assert_eq!(registry.call(push).await.unwrap().status(), StatusCode::CREATED);
    let pull = Request::get(format!("/v2/a/blobs/{digest}")).body(Empty::<Bytes>::new()).unwrap();
    let answer = registry.call(pull).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let registry = Registry::memory().with_request_log();
    let other = registry.clone();
    let ask = |method: &str, target: String, body: &'static str| {
        let request = Request::builder().method(method).uri(target).body(Full::new(Bytes::from(body)));
        registry.answer(request.unwrap())
    };
    let digest = Digest::sha256(b"0123456789");
    ask("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), "0123456789").await;
    let before = registry.stats();
    ask("POST", format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), "").await;
    ask("POST", format!("/v2/b/blobs/uploads/?mount={digest}&from=none"), "").await;
    ask("HEAD", format!("/v2/b/blobs/{digest}"), "").await;
    ask("GET", "/nowhere".to_owned(), "").await;
    let since = other.stats().since(&before);
    assert_eq!((since.requests, since.failed, since.mounted), (4, 1, 1));
    assert_eq!((since.blob_bytes_in, since.blob_bytes_out), (0, 0));
    assert_eq!(since.of(RequestKind::BlobMount), 2);
    assert_eq!(since.of(RequestKind::BlobHead), 1);
    assert_eq!(since.of(RequestKind::Refused), 1);
    assert_eq!(since.of(RequestKind::UploadStart), 0);
    assert_eq!(before.of(RequestKind::UploadStart), 1);
    assert_eq!(before.blob_bytes_in, 10);
    ask("GET", format!("/v2/b/blobs/{digest}"), "").await.into_body().collect().await.unwrap();
    assert_eq!(registry.stats().blob_bytes_out, 10);
    let log = registry.logged();
    let line = |i: usize| format!("{} {} {}", log[i].method, log[i].target, log[i].status);
    assert_eq!(log.len(), 6);
    assert_eq!(line(3), format!("HEAD /v2/b/blobs/{digest} 200"));
    assert_eq!(line(4), "GET /nowhere 404");
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_added_to_every_request() {
    let registry = Registry::memory();
    let slow = registry.clone().with_delay(Duration::from_millis(40));
    let ping = || Request::get("/v2/").body(Empty::<Bytes>::new()).unwrap();
    let start = tokio::time::Instant::now();
    registry.answer(ping()).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    slow.answer(ping()).await;
    assert_eq!(start.elapsed(), Duration::from_millis(40));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_arriving_is_given_up() {
    let registry = Registry::memory();
    let digest = Digest::sha256(b"x");
    let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let push = Request::post(format!("/v2/a/blobs/uploads/?digest={digest}")).body(never).unwrap();
    assert_eq!(registry.answer(push).await.status(), StatusCode::REQUEST_TIMEOUT);
}
