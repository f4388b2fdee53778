//! What each verb asks of a registry: how much, and in which order. More requests are slower, and count against limits.

use insta::assert_snapshot;
use palan_testkit::fault::{Reply, Request, Store};

use crate::{TestContext, families, family};

/// A registry with `single:1` and the index `app:1`, whose digests have names.
fn context() -> TestContext {
    let context = TestContext::new();
    let image = family("linux/amd64").app;
    let all = families();
    for (i, layer) in image.layers.iter().enumerate() {
        context.name(layer.digest, &format!("LAYER-{}", i + 1));
    }
    context.name(image.config.digest(), "CONFIG");
    context.name(image.digest(), "IMAGE");
    context.name(all.app.document.digest(), "INDEX");
    context.push("single:1", &image.graph());
    context.push("app:1", &all.app.graph());
    context
}

/// What one command asked, one line for each request. Blobs come in any order, so these are sorted.
fn asked(context: &TestContext, words: &[&str]) -> String {
    let before = context.requests().len();
    let words: Vec<_> = ["--jobs", "1"].iter().chain(words).copied().collect();
    context.run(&words).ok();
    let lines = context.requests().split_off(before);
    let shown = lines.iter().map(|line| {
        let line = line.replace("/v2/", "");
        // Upload sessions have names of their own.
        match line.split_once("/blobs/uploads/") {
            Some((start, rest)) if !rest.is_empty() && !rest.starts_with('?') => {
                let digest = rest.split_once("digest=").map_or("", |(_, digest)| digest);
                format!("{start}/blobs/uploads/[ID] {}", digest.replace("%3A", ":"))
            }
            _ => line,
        }
    });
    let named: Vec<_> = shown.map(|line| context.filter(&line)).collect();
    let mut runs: Vec<Vec<String>> = Vec::new();
    for run in named.chunk_by(|a, b| a.contains("/blobs/") && b.contains("/blobs/")) {
        runs.push(run.to_vec());
    }
    runs.iter_mut().for_each(|run| run.sort());
    runs.concat().join("\n")
}

#[test]
fn reading_asks_for_no_more_than_what_is_printed() {
    let context = context();
    assert_snapshot!(asked(&context, &["digest", "@@app:1"]), @"
    HEAD app/manifests/1
    ");
    assert_snapshot!(asked(&context, &["digest", "@@app:1", "--platform", "linux/amd64"]), @"
    GET app/manifests/1
    GET app/manifests/[IMAGE]
    ");
    assert_snapshot!(asked(&context, &["manifest", "@@app:1"]), @"
    GET app/manifests/1
    ");
    assert_snapshot!(asked(&context, &["config", "@@single:1"]), @"
    GET single/manifests/1
    GET single/blobs/[CONFIG]
    ");
    assert_snapshot!(asked(&context, &["ls", "@@app"]), @"
    GET app/tags/list?n=1000
    ");
}

/// crane asks anew how to authenticate, and for a token, for each step of a command.
#[test]
fn a_command_asks_once_how_to_authenticate_and_once_for_each_token() {
    let context = TestContext::new();
    let store = Store::new();
    store.put("app", "v1", &families().app.graph());
    let registry = context.faulty(move |request| {
        if request.path() == "/token" {
            return Reply::json(r#"{"token":"t","expires_in":300}"#);
        }
        if request.header("authorization").is_empty() {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host"));
            return Reply::error(401, "UNAUTHORIZED").header("www-authenticate", &realm);
        }
        store.answer(request)
    });
    let host = registry.host();
    let scopes = |lines: &[String]| {
        let tokens = lines.iter().filter_map(|line| line.strip_prefix("GET /token?service=s&scope="));
        let mut tokens: Vec<_> = tokens.map(|t| t.replace("%3A", ":").replace("%2C", ",")).collect();
        tokens.sort();
        tokens.join(" ")
    };
    for (words, expected) in [
        (["digest", "@@app:v1", "--full-ref"], "repository:app:pull"),
        (["pull", "@@app:v1", "app.tar"], "repository:app:pull"),
        (
            ["copy", "@@app:v1", "@@other:v1"],
            "repository:app:pull repository:app:pull&scope=repository:other:pull,push repository:other:pull",
        ),
    ] {
        let before = registry.requests().len();
        context.run(&words.map(|w| w.replace("@@", &format!("{host}/"))).each_ref().map(String::as_str)).ok();
        let asked = registry.requests().split_off(before);
        let lines: Vec<_> = asked.iter().map(Request::line).collect();
        assert_eq!(scopes(&lines), expected, "{words:?}: {lines:#?}");
        let open = asked.iter().filter(|r| r.path() != "/token" && r.header("authorization").is_empty());
        assert_eq!(open.count(), 1, "{words:?}: {lines:#?}");
    }
}

/// Whoever sends such a log to somebody gives no credentials away.
#[test]
fn verbose_shows_headers_and_documents_but_no_secrets() {
    let context = TestContext::new();
    let store = Store::new();
    let app = family("linux/amd64").app;
    store.put("app", "v1", &app.graph());
    let registry = context.faulty(move |request| {
        let host = request.header("host").to_owned();
        if request.path() == "/token" {
            return Reply::json(
                r#"{"token":"s3cr3t-1","access_token":"s3cr3t-2","refresh_token":"s3cr3t-3"}"#,
            )
            .header("set-cookie", "session=s3cr3t-4");
        }
        if request.header("authorization").is_empty() {
            let realm = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            return Reply::error(401, "UNAUTHORIZED").header("www-authenticate", &realm);
        }
        match request.target.strip_prefix("/v2/app/blobs/") {
            Some(digest) if !request.target.contains("sig=") => {
                let to = format!("http://{host}/v2/app/blobs/{digest}?X-Amz-Signature=s3cr3t-5&sig=s3cr3t-6");
                Reply::status(307).header("location", &to)
            }
            _ => store.answer(request),
        }
    });
    let host = registry.host();
    context.name(&host, "OTHER");
    let config = format!(
        r#"{{"auths": {{"{host}": {{"auth": "YW5uOnMzY3IzdC03"}}}}, "HttpHeaders": {{"X-Key": "s3cr3t-8"}}}}"#
    );
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), config).unwrap();
    let ran = context.run(&["-v", "config", &format!("{host}/app:v1")]).ok();
    let log = ran.stderr.as_str();
    for secret in ["s3cr3t", "YW5u"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let shown = [
        "asking exchange=1 method=GET url=http://[OTHER]/v2/app/manifests/v1\n",
        "  user-agent: palan/",
        "  x-key: ***\n",
        "  authorization: ***\n",
        "  www-authenticate: Bearer realm=\"http://[OTHER]/token\",service=\"s\"\n",
        "  {\"errors\":[{\"code\":\"UNAUTHORIZED\"",
        "  {\"token\":\"***\",\"access_token\":\"***\",\"refresh_token\":\"***\"}\n",
        "  set-cookie: ***\n",
        "  {\"schemaVersion\":2,",
        "?X-Amz-Signature=***&sig=***\n",
    ];
    for text in shown {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert!(!log.contains("\"rootfs\""), "blobs are not shown: {log}");
    let ids: Vec<usize> = ["asking exchange=2 ", "answered exchange=2 ", "read exchange=2 "]
        .iter()
        .map(|text| log.find(text).unwrap_or_else(|| panic!("{text}: {log}")))
        .collect();
    assert!(ids.is_sorted());
    // What is sent, too; and nothing of it without being asked for.
    context.run(&["pull", "--format", "oci", &format!("{host}/app:v1"), "layout"]).ok();
    let pushed = context.run(&["-v", "push", "layout", "@@new:1"]).ok();
    let put = format!("method=PUT url=http://{}/v2/new/manifests/1\n", "[HOST]");
    let after = pushed.stderr.split_once(&put).unwrap_or_else(|| panic!("{pushed}")).1;
    assert!(after.split("debug:").next().unwrap().contains("  {\"schemaVersion\":2,"), "{after}");
    assert_eq!(context.run(&["digest", &format!("{host}/app:v1")]).ok().stderr, "");
}

#[test]
fn pulling_reads_everything_once() {
    let context = context();
    assert_snapshot!(asked(&context, &["pull", "@@single:1", "app.tar"]), @"
    GET single/manifests/1
    GET single/blobs/[CONFIG]
    GET single/blobs/[LAYER-1]
    GET single/blobs/[LAYER-2]
    GET single/blobs/[LAYER-3]
    ");
    assert_snapshot!(asked(&context, &["pull", "--format", "oci", "@@single:1", "layout"]), @"
    GET single/manifests/1
    GET single/blobs/[CONFIG]
    GET single/blobs/[LAYER-1]
    GET single/blobs/[LAYER-2]
    GET single/blobs/[LAYER-3]
    ");
    assert_snapshot!(asked(&context, &["pull", "--format", "oci", "@@single:1", "layout"]), @"
    GET single/manifests/1
    ");
}

#[test]
fn pushing_writes_everything_once_and_only_what_is_missing() {
    let context = context();
    context.run(&["pull", "--format", "oci", "@@single:1", "layout"]).ok();
    assert_snapshot!(asked(&context, &["push", "layout", "@@pushed:1"]), @"
    HEAD pushed/manifests/[IMAGE]
    HEAD pushed/blobs/[CONFIG]
    HEAD pushed/blobs/[LAYER-1]
    HEAD pushed/blobs/[LAYER-2]
    HEAD pushed/blobs/[LAYER-3]
    POST pushed/blobs/uploads/?digest=[CONFIG]
    POST pushed/blobs/uploads/?digest=[LAYER-1]
    POST pushed/blobs/uploads/?digest=[LAYER-2]
    POST pushed/blobs/uploads/?digest=[LAYER-3]
    PUT pushed/manifests/1
    ");
    assert_snapshot!(asked(&context, &["push", "layout", "@@pushed:1"]), @"
    HEAD pushed/manifests/[IMAGE]
    PUT pushed/manifests/1
    ");
}

#[test]
fn copying_inside_a_registry_moves_nothing() {
    let context = context();
    assert_snapshot!(asked(&context, &["copy", "@@single:1", "@@other:1"]), @"
    GET single/manifests/1
    HEAD other/manifests/[IMAGE]
    POST other/blobs/uploads/?mount=[CONFIG]&from=single
    POST other/blobs/uploads/?mount=[LAYER-1]&from=single
    POST other/blobs/uploads/?mount=[LAYER-2]&from=single
    POST other/blobs/uploads/?mount=[LAYER-3]&from=single
    PUT other/manifests/1
    ");
    assert_snapshot!(asked(&context, &["copy", "@@single:1", "@@other:1"]), @"
    GET single/manifests/1
    HEAD other/manifests/[IMAGE]
    PUT other/manifests/1
    ");
    assert_snapshot!(asked(&context, &["tag", "@@single:1", "2"]), @"
    GET single/manifests/1
    PUT single/manifests/2
    ");
    assert_snapshot!(asked(&context, &["tag", "@@app:1", "2"]), @"
    GET app/manifests/1
    PUT app/manifests/2
    ");
}
