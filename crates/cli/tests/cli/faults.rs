//! Registries that misbehave, as people see it. The whole matrix is in the library's tests.

#[cfg(unix)]
use std::process::Command;

use bytes::Bytes;
use insta::assert_snapshot;
use palan_testkit::{
    fault::{FaultRegistry, Reply, Request, Store},
    image::{ImageSpec, LayerSpec},
};

use crate::{TestContext, context::Ran, family};

const LIMIT: [(&str, &str); 2] = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "3;w=21600")];

/// A registry with `app:v1`, and what it does to its answers.
fn faulty(
    context: &TestContext,
    fault: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> FaultRegistry {
    let store = Store::new();
    store.put("app", "v1", &family("linux/amd64").app.graph());
    let registry = context.faulty(move |request| fault(request, store.answer(request)));
    context.name(registry.host(), "FAULTY");
    registry
}

/// `@@` stands for the faulty registry.
fn run(context: &TestContext, registry: &FaultRegistry, words: &[&str]) -> Ran {
    let words: Vec<_> = words.iter().map(|w| w.replace("@@", &format!("{}/", registry.host()))).collect();
    context.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn is_blob(request: &Request) -> bool {
    request.path().contains("/blobs/sha256:")
}

#[test]
fn a_login_page_is_no_image() {
    let context = TestContext::new();
    for status in [200, 404] {
        let registry = faulty(&context, move |_, _| {
            Reply::status(status)
                .body("<html>log in</html>")
                .header("content-type", "text/html; charset=utf-8")
        });
        let ran = run(&context, &registry, &["pull", "@@app:v1", "app.tar"]);
        assert!(ran.code != Some(0) && ran.stderr.contains("HTML page"), "{ran}");
        assert!(context.left().is_empty(), "{:?}", context.left());
        if status == 200 {
            assert_snapshot!(run(&context, &registry, &["manifest", "@@app:v1"]), @"
            exit: 1
            --- stdout

            --- stderr
            error: http://[FAULTY]/v2/app/manifests/v1 answered an HTML page, is it a registry?
            ");
        }
    }
}

/// crane panics on the first of these.
#[test]
fn warnings_are_said_once_and_nonsense_is_not() {
    let context = TestContext::new();
    let registry = faulty(&context, |_, reply| {
        reply
            .header("warning", "299 - nope")
            .raw_header("warning", b"299 - \"\xff\"")
            .header("warning", r#"299 - "this registry moves in May""#)
    });
    assert_snapshot!(run(&context, &registry, &["digest", "@@app:v1"]), @"
    exit: 0
    --- stdout
    sha256:…

    --- stderr
    warning: this registry moves in May
    ");
    assert_snapshot!(run(&context, &registry, &["digest", "@@app:v2"]), @"
    exit: 3
    --- stdout

    --- stderr
    warning: this registry moves in May
    error: v2 was not found in [FAULTY]/app
    ");
}

#[test]
fn a_rate_limit_that_is_near_is_said() {
    let context = TestContext::new();
    let registry = faulty(&context, |_, reply| {
        LIMIT.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    });
    assert_snapshot!(run(&context, &registry, &["digest", "@@app:v1"]), @"
    exit: 0
    --- stdout
    sha256:…

    --- stderr
    warning: the rate limit of [FAULTY] is near: 3 of 100 requests per 6 h left
    ");
    let ran = run(&context, &registry, &["-v", "digest", "@@app:v1"]).ok();
    assert!(ran.stderr.contains("rate limit: 3 of 100 requests per 6 h left"), "{ran}");
}

#[test]
fn who_asks_too_much_hears_what_to_do() {
    let context = TestContext::new();
    let registry =
        faulty(&context, |_, _| Reply::error(429, "TOOMANYREQUESTS").header("retry-after", "21600"));
    assert_snapshot!(run(&context, &registry, &["--retries", "0", "manifest", "@@app:v1"]), @"
    exit: 9
    --- stdout

    --- stderr
    error: GET http://[FAULTY]/v2/app/manifests/v1 answered 429 Too Many Requests: TOOMANYREQUESTS: scripted (no credentials were found); it wants to be asked again in 6 h
    hint: palan auth login [FAULTY] may raise the limit
    ");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_retry_after_is_waited_for() {
    let context = TestContext::new();
    let registry = faulty(&context, |request, reply| match request.before {
        0 => Reply::status(429).header("retry-after", "0"),
        _ => reply,
    });
    run(&context, &registry, &["digest", "@@app:v1"]).ok();
    assert_eq!(registry.requests().len(), 2);
}

/// crane leaves a truncated file.
#[test]
fn a_pull_that_fails_leaves_nothing() {
    let context = TestContext::new();
    let registry = faulty(&context, |request, reply| {
        if !is_blob(request) {
            return reply;
        }
        let mut bytes = reply.bytes().to_vec();
        if let Some(byte) = bytes.first_mut() {
            *byte ^= 0x80;
        }
        reply.body(Bytes::from(bytes))
    });
    let ran = run(&context, &registry, &["pull", "@@app:v1", "app.tar"]);
    assert_eq!(ran.code, Some(7), "{ran}");
    assert!(ran.stderr.contains("is not what it should be"), "{ran}");
    assert!(context.left().is_empty(), "{:?}", context.left());
    run(&context, &registry, &["pull", "--format", "oci", "@@app:v1", "new"]);
    run(&context, &registry, &["copy", "@@app:v1", "oci:new/and/deep:v1"]);
    let ran = run(&context, &registry, &["flatten", "@@app:v1", "-t", "oci:flat:v1"]);
    assert_eq!(ran.code, Some(7), "{ran}");
    assert!(context.left().is_empty(), "{:?}", context.left());
    // What was there stays.
    std::fs::create_dir(context.path("empty")).unwrap();
    std::fs::create_dir_all(context.path("begun/blobs/sha256")).unwrap();
    context.write("begun/blobs/sha256/it", "x");
    context.push("other:1", &family("linux/amd64").old.graph());
    context.run(&["copy", &format!("{}/other:1", context.host()), "oci:full:1"]).ok();
    for folder in ["empty", "begun", "full"] {
        let ran = run(&context, &registry, &["copy", "@@app:v1", &format!("oci:{folder}:v1")]);
        assert_eq!(ran.code, Some(7), "{ran}");
    }
    assert_eq!(context.left(), ["begun", "empty", "full"]);
    assert_eq!(std::fs::read_dir(context.path("empty")).unwrap().count(), 0);
    assert!(context.path("begun/blobs/sha256/it").exists());
    context.run(&["validate", "oci:full:1"]).ok();
}

#[test]
fn a_pull_that_is_cut_goes_on() {
    let context = TestContext::new();
    let registry = faulty(&context, |request, reply| match is_blob(request) && request.same_before == 0 {
        true => reply.cut_after(20),
        false => reply,
    });
    run(&context, &registry, &["pull", "--format", "oci", "@@app:v1", "layout"]).ok();
    context.run(&["validate", "oci:layout"]).ok();
}

/// Only where nothing can be looked at, it is the registry's fault.
#[test]
fn a_layer_that_may_not_be_read_is_a_fault_among_others() {
    let context = TestContext::new();
    let image = family("linux/amd64").app;
    let layers = image.layers.iter().map(|layer| layer.digest.to_string());
    let [closed, gone] = [0, 1].map(|at| layers.clone().nth(at).unwrap());
    let (no, none) = (closed.clone(), gone.clone());
    let registry = faulty(&context, move |request, reply| match request.path() {
        path if path.ends_with(&no) => Reply::status(403),
        path if path.ends_with(&none) => Reply::status(404),
        _ => reply,
    });
    let ran = run(&context, &registry, &["validate", "@@app:v1"]);
    let stdout = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(ran.code == Some(7) && stdout.lines().count() == 2, "{ran}");
    assert!(stdout.contains(&format!("{closed} cannot be read: ")) || stdout.contains("403"), "{ran}");
    assert!(stdout.contains(&gone), "{ran}");
    let registry = faulty(&context, |_, _| Reply::status(403));
    assert_eq!(run(&context, &registry, &["validate", "@@app:v1"]).code, Some(4));
}

#[test]
fn blobs_go_in_pieces_where_that_was_asked_for() {
    let context = TestContext::new();
    let layer = LayerSpec::new().file("data", vec![7; 10_000]).compression(palan_core::Compression::None);
    context.push("large:1", &ImageSpec::new("linux/amd64").layer(layer.build()).build().graph());
    let registry = faulty(&context, |_, reply| reply);
    let source = format!("{}/large:1", context.host());
    run(&context, &registry, &["--chunk-size", "4K", "copy", &source, "@@large:1"]).ok();
    assert!(registry.requests().iter().all(|r| r.body.len() <= 4096));
    assert_eq!(registry.count("PATCH"), 3);
    run(&context, &registry, &["validate", "@@large:1"]).ok();
}

#[test]
fn a_proxy_that_lets_nothing_through_is_named() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    let registry = faulty(&context, |request, reply| match request.body.is_empty() {
        true => reply,
        false => Reply::status(413),
    });
    let source = format!("{}/app:1", context.host());
    assert_snapshot!(run(&context, &registry, &["--jobs", "1", "copy", &source, "@@new:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: PATCH http://[FAULTY]/v2/new/blobs/uploads/1?_state=*** answered 413 Payload Too Large
    hint: --chunk-size 1M uploads in smaller pieces
    ");
}

/// A folder of temporary files in which no file can be larger than a few KiB: nearly as good as one that is full.
#[cfg(unix)]
#[test]
fn a_full_folder_of_temporary_files_is_no_damage() {
    let context = TestContext::new();
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let data: Vec<u8> = (0..200_000).map(|_| noise()).collect();
    let layers = ["a", "b"].map(|name| LayerSpec::new().file(name, data.clone()).build());
    let image = layers.into_iter().fold(ImageSpec::new("linux/amd64"), ImageSpec::layer);
    context.push("large:1", &image.build().graph());
    context.run(&["pull", "@@large:1", "large.tar"]).ok();
    context.run(&["export", "@@large:1", "files.tar"]).ok();
    let packed = Command::new("gzip").arg(context.path("large.tar")).status().unwrap();
    assert!(packed.success());
    let commands: [&[&str]; 7] = [
        &["export", "@@large:1", "-"],
        &["export", "@@large:1", "--dir", "out"],
        &["flatten", "@@large:1", "-t", "@@flat:1"],
        &["flatten", "@@large:1", "-t", "@@flat:1", "--compression", "zstd"],
        &["convert", "@@large:1", "--compression", "zstd", "-t", "@@zstd:1"],
        &["append", "-f", "files.tar", "-t", "@@new:1"],
        &["push", "large.tar.gz", "@@new:1"],
    ];
    let before = context.left();
    for words in commands {
        let plain = context.command(words);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]).arg(plain.get_program());
        command.args(plain.get_args()).env_clear().current_dir(context.path(""));
        command.env("HOME", context.home("")).env("TMPDIR", context.home("")).env("PATH", "/bin:/usr/bin");
        let ran = context.show(command.output().unwrap());
        assert_eq!(ran.code, Some(1), "{words:?} {ran}");
        let error = format!("cannot write a temporary file in {}", context.home("").display());
        let shown = context.filter(&error);
        assert!(ran.stderr.contains(shown.trim_end_matches('/')), "{words:?} {shown} {ran}");
        assert!(ran.stderr.contains("File too large"), "{words:?} {ran}");
        assert!(ran.stderr.contains("hint: TMPDIR names another folder"), "{words:?} {ran}");
        assert_eq!(context.left(), before, "{words:?}");
    }
}
