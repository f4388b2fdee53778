//! What others send or leave lying about: each a clear error that names the thing, and nothing half-written.

use bytes::Bytes;
use insta::assert_snapshot;
use palan_core::MediaType;
use palan_testkit::fault::{FaultRegistry, Reply, Request};

use crate::{TestContext, family};

fn registry(
    context: &TestContext,
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> FaultRegistry {
    let registry = context.faulty(move |request| match request.path() {
        "/v2/" => Reply::status(200),
        _ => answer(request),
    });
    context.name(registry.host(), "FAULTY");
    registry
}

fn manifest(bytes: impl Into<Bytes>) -> Reply {
    Reply::ok(bytes).header("Content-Type", MediaType::OCI_MANIFEST.as_str())
}

/// Runs a pull against a registry that answers so; nothing may be left.
fn pull(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let context = TestContext::new();
    let registry = registry(&context, answer);
    let ran = context.run(&["pull", &format!("{}/app:1", registry.host()), "x.tar"]);
    assert_ne!(ran.code, Some(0));
    assert!(context.left().is_empty(), "{:?}", context.left());
    ran.to_string()
}

#[test]
fn malformed_references_say_where() {
    let context = TestContext::new();
    for (text, part) in [
        ("UPPER/case", "position 0"),
        ("a//b", "position 2"),
        ("a:b:c/d", "registry"),
        ("app:ta g", "position 6"),
        ("app@sha256:12", "sha256 needs 64"),
        ("[::1/a", "bracket"),
        ("", "is empty"),
    ] {
        let ran = context.run(&["digest", text]);
        assert_eq!(ran.code, Some(2), "{text}: {ran}");
        assert!(ran.stderr.contains(part), "{text}: {ran}");
    }
}

#[test]
fn a_registry_that_answers_html() {
    let html = || Reply::ok("<!DOCTYPE html><html>hello</html>").header("Content-Type", "text/html");
    assert_snapshot!(pull(move |_| html()), @"
    exit: 1
    --- stdout

    --- stderr
    error: http://[FAULTY]/v2/app/manifests/1 answered an HTML page, is it a registry?
    ");
}

#[test]
fn a_manifest_with_duplicate_keys() {
    assert_snapshot!(pull(|_| manifest(r#"{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}"#)), @r#"
    exit: 7
    --- stdout

    --- stderr
    error: cannot read [FAULTY]/app:1
      caused by: not valid: duplicate key "schemaVersion" at line 1 column 36
    "#);
}

#[test]
fn a_manifest_that_is_too_large() {
    assert_snapshot!(pull(|_| manifest(vec![b' '; 5 << 20])), @"
    exit: 7
    --- stdout

    --- stderr
    error: [FAULTY]/app:1 has 5242880 bytes, 4194304 are allowed
    ");
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says() {
    let context = TestContext::new();
    let registry = registry(&context, |_| manifest(r#"{"schemaVersion":2,"config":{},"layers":[]}"#));
    let digest = palan_core::Digest::sha256(b"other");
    assert_snapshot!(context.run(&["manifest", &format!("{}/app@{digest}", registry.host())]), @"
    exit: 7
    --- stdout

    --- stderr
    error: [FAULTY]/app@sha256:… is not what it should be
      caused by: the content has digest sha256:…, expected sha256:…
    ");
}

/// A registry that has the image, with each blob changed by `change`.
fn damaged(change: fn(&Bytes) -> Reply) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let app = family("linux/amd64").app;
    let graph = app.graph();
    move |request| {
        if request.path().contains("/manifests/") {
            return manifest(app.manifest.bytes().clone());
        }
        match graph.blobs.iter().find(|(d, _)| request.path().ends_with(&d.digest.to_string())) {
            Some((_, content)) if content.starts_with(b"{") => Reply::ok(content.clone()),
            Some((_, content)) => change(content),
            None => Reply::error(404, "BLOB_UNKNOWN"),
        }
    }
}

#[test]
fn a_layer_with_other_bytes() {
    let shown = pull(damaged(|content| Reply::ok(content.iter().map(|b| !b).collect::<Vec<u8>>())));
    assert!(shown.starts_with("exit: 7") && shown.contains("expected sha256:…"), "{shown}");
}

#[test]
fn a_layer_of_another_size() {
    let shown = pull(damaged(|content| Reply::ok([content, b"more".as_slice()].concat())));
    assert!(shown.starts_with("exit: 7") && shown.contains("its descriptor states"), "{shown}");
}

#[test]
fn a_registry_that_is_not_there() {
    let context = TestContext::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    context.name(port, "PORT");
    let ran = context.run(&["digest", &format!("127.0.0.1:{port}/app:1"), "--timeout", "1s"]);
    assert_snapshot!(ran, @"
    exit: 9
    --- stdout

    --- stderr
    error: HEAD http://127.0.0.1:[PORT]/v2/app/manifests/1: client error (Connect): tcp connect error: Connection refused (os error 111)
    ");
}

#[test]
fn a_truncated_archive() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    context.run(&["pull", "@@app:1", "whole.tar"]).ok();
    let whole = std::fs::read(context.path("whole.tar")).unwrap();
    context.write("cut.tar", &whole[..520]);
    context.write("empty.tar", "");
    context.write("text.tar", "hello".repeat(500));
    assert_snapshot!(context.run(&["push", "cut.tar", "@@cut:1"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: docker-archive:cut.tar: is truncated inside blobs/sha256/…
    ");
    assert_snapshot!(context.run(&["digest", "oci-archive:empty.tar"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: oci-archive:empty.tar: is truncated: the tar ends at byte 0 inside a header
    ");
    assert_snapshot!(context.run(&["digest", "docker-archive:text.tar"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: docker-archive:text.tar: is no tar archive
    ");
    assert_eq!(context.run(&["digest", "@@cut:1"]).code, Some(3));
}

#[test]
fn a_layout_with_missing_blobs() {
    let context = TestContext::new();
    let app = family("linux/amd64").app;
    context.name(context.push("app:1", &app.graph()), "APP");
    context.run(&["copy", "@@app:1", "oci:layout"]).ok();
    let layer = app.manifest.view::<palan_core::view::Manifest>().unwrap().layers[2].digest;
    context.name(layer, "LAYER");
    std::fs::remove_file(context.path("layout/blobs/sha256").join(layer.hex())).unwrap();
    assert_snapshot!(context.run(&["copy", "oci:layout", "@@copy:1"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [LAYER] was not found in oci:layout
    ");
    assert_snapshot!(context.run(&["validate", "oci:layout"]), @"
    exit: 7
    --- stdout
    FAIL: oci:layout: [LAYER] was not found in oci:layout

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "oci:nothing"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read nothing/oci-layout
      caused by: No such file or directory (os error 2)
    ");
    assert_eq!(context.run(&["digest", "@@copy:1"]).code, Some(3));
}

#[test]
fn a_damaged_layer_in_a_layout() {
    let context = TestContext::new();
    let app = family("linux/amd64").app;
    context.push("app:1", &app.graph());
    context.run(&["copy", "@@app:1", "oci:layout"]).ok();
    let layer = app.manifest.view::<palan_core::view::Manifest>().unwrap().layers[2].digest;
    context.name(layer, "LAYER");
    let path = context.path("layout/blobs/sha256").join(layer.hex());
    let mut content = std::fs::read(&path).unwrap();
    content[20] ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_snapshot!(context.run(&["validate", "oci:layout"]), @"
    exit: 7
    --- stdout
    FAIL: oci:layout: [LAYER] in oci:layout is damaged: the content has digest sha256:…, expected [LAYER]

    --- stderr
    ");
    let report = context.run(&["validate", "oci:layout", "--format", "json"]);
    assert_eq!(report.code, Some(7));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report[0]["faults"][0]["severity"], "error");
    let ran = context.run(&["copy", "oci:layout", "@@copy:1"]);
    assert_eq!(ran.code, Some(7), "{ran}");
}

#[test]
fn an_unreadable_credential_file() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), "{\"auths\": [").unwrap();
    let registry = registry(&context, |_| {
        Reply::error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"test\"")
    });
    assert_snapshot!(context.run(&["digest", &format!("{}/app:1", registry.host())]), @"
    exit: 1
    --- stdout

    --- stderr
    error: credential file home/.docker/config.json: is not valid JSON (line 1, column 11)
    ");
    assert_snapshot!(context.run(&["auth", "get", "example.com"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: credential file home/.docker/config.json: is not valid JSON (line 1, column 11)
    ");
}

#[test]
fn warnings_of_a_registry_are_shown() {
    let context = TestContext::new();
    let registry = registry(&context, |_| {
        Reply::error(404, "MANIFEST_UNKNOWN").header("Warning", "299 - \"moving to a new home\"")
    });
    assert_snapshot!(context.run(&["digest", &format!("{}/app:1", registry.host())]), @"
    exit: 3
    --- stdout

    --- stderr
    warning: moving to a new home
    error: 1 was not found in [FAULTY]/app
    ");
}
