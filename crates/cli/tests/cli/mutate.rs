//! Mutating, on the command line.

use std::ffi::OsStr;

use insta::assert_snapshot;
use palan_core::Family;
use palan_testkit::image::{Attestation, ImageSpec, IndexSpec, layer};
use serde_json::Value;

use crate::{TestContext, families, family};

fn image(context: &TestContext) {
    let app = family("linux/amd64").app;
    context.name(context.push("app:1", &app.graph()), "APP");
}

fn config(context: &TestContext, name: &str) -> Value {
    serde_json::from_slice(&context.run(&["config", name]).ok().stdout).unwrap()
}

#[test]
fn flags_of_crane_mean_what_they_mean_there() {
    let context = TestContext::new();
    image(&context);
    let layer = context.write("layer.tar", layer(&[("added", b"x")]).tar);
    let other = context.write("other.tar", palan_testkit::image::layer(&[("more", b"x")]).tar);
    let files = format!("{},{}", layer.display(), other.display());
    #[rustfmt::skip]
    let words = [
        "mutate", "@@app:1", "-a", "note=a,b", "-l", "a=1,b=2", "-e", "PATH=/x", "-e", "NEW=1", "--entrypoint", "/run,-v",
        "--cmd", "[\"a,b\",\"c\"]", "--exposed-ports", "80,53/udp", "--append", &files, "-u", "me", "-w", "/srv",
        "--set-platform", "linux/arm64/v8", "-t", "@@app:2",
    ];
    let ran = context.run(&words).ok();
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    mutated [HOST]/app:2: 3 blobs moved (1.35 KiB), 3 blobs already there
    ");
    assert_snapshot!(serde_json::to_string_pretty(&config(&context, "@@app:2")["config"]).unwrap(), @r#"
    {
      "Env": [
        "PATH=/x",
        "NEW=1"
      ],
      "Cmd": [
        "a,b",
        "c"
      ],
      "WorkingDir": "/srv",
      "Labels": {
        "team": "blue",
        "a": "1",
        "b": "2"
      },
      "Entrypoint": [
        "/run",
        "-v"
      ],
      "User": "me",
      "ExposedPorts": {
        "80": {},
        "53/udp": {}
      }
    }
    "#);
    let manifest = context.run(&["manifest", "@@app:2"]).ok();
    let manifest: Value = serde_json::from_slice(&manifest.stdout).unwrap();
    assert_eq!(manifest["annotations"]["note"], "a,b");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 5);
    assert_eq!(config(&context, "@@app:2")["variant"], "v8");
    assert_eq!(context.run(&["digest", "--full-ref", "@@app:2"]).ok().text(), ran.text());
    context.run(&["validate", "@@app:2"]).ok();
}

/// bug 2: crane takes linux/amd64 and overwrites the tag with one image.
#[test]
fn an_index_stays_an_index() {
    let context = TestContext::new();
    let app = families().app;
    context.name(context.push("app:1", &app.graph()), "APP");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-l", "a=", "--platform", "linux/amd64", "-t", "@@app:2"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    mutated [HOST]/app:2: 1 blob moved (898 B), 3 blobs already there
    ");
    let arm = |name: &str| context.run(&["digest", name, "--platform", "linux/arm64"]).ok().text();
    assert_eq!(arm("@@app:2"), arm("@@app:1"), "not asked for");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-l", "a=", "--platform", "linux/arm/v7"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app@[APP] has no image for linux/arm/v7 (it has linux/amd64, linux/arm64)
    hint: choose one of them, for example --platform linux/amd64
    ");
    context
        .run(&[
            "mutate",
            "@@app:1",
            "-l",
            "a=b",
            "--index-annotation",
            "i=1",
            "--descriptor-annotation",
            "d=2",
        ])
        .ok();
    let index: Value = serde_json::from_slice(&context.run(&["manifest", "@@app:1"]).ok().stdout).unwrap();
    assert_eq!(index["annotations"]["i"], "1");
    assert_eq!(index["manifests"][1]["annotations"]["d"], "2");
    for platform in ["linux/amd64", "linux/arm64"] {
        let config = context.run(&["config", "@@app:1", "--platform", platform]).ok();
        assert!(config.text().contains(r#""a":"b""#), "{platform}");
    }
}

#[test]
fn what_changes_nothing_pushes_nothing() {
    let context = TestContext::new();
    image(&context);
    let before = context.requests().len();
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-l", "team=blue", "--remove-label", "none", "--remove-env", "NONE"]), @"
    exit: 0
    --- stdout
    [HOST]/app@[APP]

    --- stderr
    note: there is no environment variable NONE
    note: there is no label none
    nothing changed: [HOST]/app:1
    ");
    let asked = context.requests().split_off(before);
    assert!(asked.iter().all(|line| line.starts_with("GET ") || line.starts_with("HEAD ")), "{asked:?}");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-l", "team=red", "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    dry run: nothing was written: [HOST]/app:1
    ");
    assert_eq!(config(&context, "@@app:1")["config"]["Labels"]["team"], "blue");
}

#[test]
fn results_go_to_a_repository_by_digest_or_to_a_file() {
    let context = TestContext::new();
    image(&context);
    let ran = context.run(&["mutate", "@@app:1", "-u", "me", "--repo", "@@other/place"]).ok();
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/other/place@sha256:…

    --- stderr
    mutated [HOST]/other/place@sha256:…: 1 blob moved (903 B), 3 blobs mounted or linked
    ");
    context.run(&["validate", &ran.text()]).ok();
    assert_eq!(context.run(&["ls", "@@other/place"]).text(), "");
    let both = context.run(&["mutate", "@@app:1", "-u", "me", "--repo", "@@other/place", "-t", "@@app:2"]);
    assert_snapshot!(both, @"
    exit: 2
    --- stdout

    --- stderr
    error: the argument '--repo <REPOSITORY>' cannot be used with '--tag <IMAGE>'

    Usage: palan mutate --user <USER> --repo <REPOSITORY> <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-u", "me", "-o", "out.tar"]), @"
    exit: 0
    --- stdout

    --- stderr
    mutated docker-archive:out.tar:[HOST]/app:1: 4 blobs moved (1.21 KiB)
    ");
    let mutated = context.run(&["config", "docker-archive:out.tar"]).ok();
    assert!(mutated.text().contains(r#""User":"me""#), "{mutated}");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-u", "me", "-t", "@@app:2", "-o", "oci:out"]), @"
    exit: 0
    --- stdout
    oci:out@sha256:…

    --- stderr
    mutated oci:out: 4 blobs moved (1.21 KiB)
    ");
    // By digest: the tag stays.
    let digest = context.run(&["digest", "--full-ref", "@@app:1"]).ok().text();
    let by_digest = context.run(&["mutate", &digest, "-u", "me"]).ok();
    assert_eq!(by_digest.text(), ran.text().replace("other/place", "app"));
    assert_eq!(context.run(&["digest", "--full-ref", "@@app:1"]).ok().text(), digest);
}

#[test]
fn health_checks_times_and_removals() {
    let context = TestContext::new();
    let spec = ImageSpec::new("linux/amd64").layer(layer(&[("a", b"")])).label("l", "1");
    let spec =
        spec.config_field("/config/Healthcheck", serde_json::json!({"Test": ["NONE"], "StartInterval": 1}));
    context.push("app:1", &spec.build().graph());
    let run = |words: &[&str]| {
        let epoch: (&str, &OsStr) = ("SOURCE_DATE_EPOCH", "86400".as_ref());
        context.run_with(&[&["mutate", "@@app:1", "-t", "@@app:2"], words].concat(), &[epoch]).ok();
        config(&context, "@@app:2")
    };
    let check = run(&[
        "--healthcheck",
        "curl -f localhost",
        "--healthcheck-interval",
        "1m30s",
        "--healthcheck-retries",
        "3",
    ]);
    assert_snapshot!(check["config"]["Healthcheck"], @r#"{"Test":["CMD-SHELL","curl -f localhost"],"StartInterval":1,"Interval":90000000000,"Retries":3}"#);
    assert_eq!(run(&["--remove-healthcheck"])["config"].get("Healthcheck"), None);
    assert_eq!(run(&["--remove-label", "l"])["config"].get("Labels"), None);
    assert_eq!(run(&["--created", "epoch"])["created"], "1970-01-02T00:00:00Z");
    assert_eq!(run(&["--created", "0"])["created"], "1970-01-01T00:00:00Z");
    assert_eq!(run(&["--created", "base"])["created"], "2025-01-01T00:00:00Z");
    let unset = run(&["--unset", "entrypoint"]);
    assert_eq!((unset["config"].get("Entrypoint"), unset["config"].get("Cmd")), (None, None));
    assert_eq!(run(&["--unset", "entrypoint", "--keep-cmd"])["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(run(&["--entrypoint", "[]"])["config"].get("Entrypoint"), None);
    assert_eq!(run(&["-u", "me", "--unset", "workdir,exposed-ports"])["config"]["User"], "me");
    assert_eq!(context.run(&["mutate", "@@app:1", "-u", "me", "--unset", "user"]).code, Some(2));
    assert_eq!(context.run(&["mutate", "@@app:1", "--keep-cmd"]).code, Some(2));
    assert_eq!(run(&["--entrypoint", "/x", "--keep-cmd"])["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(run(&["--volume", "/v", "--stop-signal", "SIGINT"])["config"]["StopSignal"], "SIGINT");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "--created", "epoch"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --created epoch needs SOURCE_DATE_EPOCH, which is not set
    ");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "--created", "yesterday"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: --created yesterday: a time as RFC 3339 writes it, seconds since 1970, "epoch" or "base" is expected
    "#);
}

#[test]
fn what_cannot_be_is_explained() {
    let context = TestContext::new();
    image(&context);
    let docker = ImageSpec::new("linux/amd64").family(Family::Docker).layer(layer(&[("a", b"")])).build();
    context.push("list:1", &IndexSpec::new().family(Family::Docker).image(docker.clone()).build().graph());
    context.push("docker:1", &docker.graph());
    context.push("both:1", &families().app.graph());
    context.push(
        "attested:1",
        &IndexSpec::new().images(families().app.images).attest(Attestation::Legacy).build().graph(),
    );
    assert_snapshot!(context.run(&["mutate", "@@app:1", "-l", "a"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: "a" is not KEY=VALUE (KEY= sets it to nothing, --remove-… removes it)
    "#);
    assert_snapshot!(context.run(&["mutate", "@@app:1", "--index-annotation", "a=b"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/app:1 cannot be changed so: it is no index, only indexes and their entries have such annotations
    ");
    assert_snapshot!(context.run(&["mutate", "@@list:1", "--index-annotation", "a=b"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/list:1 cannot be changed so: it is a Docker manifest list, which has no annotations
    ");
    assert_snapshot!(context.run(&["mutate", "@@docker:1", "-a", "a=b"]), @"
    exit: 0
    --- stdout
    [HOST]/docker@sha256:…

    --- stderr
    note: annotations of Docker manifests are not specified, many tools ignore them
    mutated [HOST]/docker:1: 2 blobs already there
    ");
    assert_snapshot!(context.run(&["mutate", "@@both:1", "--set-platform", "linux/s390x"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/both:1 cannot be changed so: 2 images of it would be for one platform, choose one of them
    ");
    assert_snapshot!(context.run(&["mutate", "@@both:1", "--set-platform", "linux"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/both:1 cannot be changed so: 2 images of it would be for one platform, choose one of them
    ");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "--append", "none.tar"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.tar
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(context.run(&["mutate", "@@attested:1", "-l", "a=b", "--attestations", "drop"]), @"
    exit: 0
    --- stdout
    [HOST]/attested@sha256:…

    --- stderr
    note: the attestation sha256:… is about [APP], which is replaced: left out of the new index (the old index still lists it)
    note: the attestation sha256:… is about sha256:…, which is replaced: left out of the new index (the old index still lists it)
    mutated [HOST]/attested:1: 2 blobs moved (1.76 KiB), 4 blobs already there
    ");
    assert_snapshot!(context.run(&["mutate", "@@app:1", "--exposed-ports", "http"]), @r#"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: "http" is no port (PORT[-PORT][/tcp|/udp|/sctp]), it is written as it was given
    mutated [HOST]/app:1: 1 blob moved (918 B), 3 blobs already there
    "#);
}

/// The flags that could help are those of other verbs.
#[test]
fn hints_name_flags_of_the_verb_only() {
    let context = TestContext::new();
    let docker = ImageSpec::new("linux/amd64").family(palan_core::Family::Docker).build();
    context.push("docker:1", &docker.graph());
    let zstd =
        palan_testkit::image::LayerSpec::new().file("x", "y").compression(palan_core::Compression::Zstd);
    context.write("x.tar.zst", zstd.build().bytes);
    let ran = context.run(&["mutate", "@@docker:1", "--append", "x.tar.zst"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("no media type for zstd layers in Docker images"), "{ran}");
    assert!(!ran.stderr.contains("hint:"), "{ran}");
}
