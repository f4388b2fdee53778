//! The verbs that only read.

use insta::assert_snapshot;
use palan_core::Digest;
use palan_testkit::image::{Attestation, IndexSpec};

use crate::{TestContext, families, family};

/// A registry with `app:1` (an index of two platforms) and `single:1`.
fn context() -> TestContext {
    let context = TestContext::new();
    let all = families();
    context.name(context.push("app:1", &all.app.graph()), "APP");
    context.name(all.app.image("linux/amd64").unwrap().digest(), "APP-AMD64");
    context.name(all.app.image("linux/arm64").unwrap().digest(), "APP-ARM64");
    context.name(context.push("single:1", &family("linux/arm64").app.graph()), "SINGLE");
    context
}

#[test]
fn manifest_and_config_are_printed_byte_for_byte() {
    let (context, all) = (context(), families());
    let amd64 = all.app.image("linux/amd64").unwrap();
    let arm64 = all.app.image("linux/arm64").unwrap();
    let cases: [(&[&str], &[u8]); 6] = [
        (&["manifest", "@@app:1"], all.app.document.bytes()),
        (&["manifest", "@@app:1", "--platform", "all"], all.app.document.bytes()),
        (&["manifest", "@@app:1", "--platform", "linux/arm64/v8"], arm64.manifest.bytes()),
        (&["config", "@@app:1"], amd64.config.bytes()),
        (&["config", "@@app:1", "--platform", "linux/arm64"], arm64.config.bytes()),
        (&["config", "@@single:1"], arm64.config.bytes()),
    ];
    for (words, expected) in cases {
        let ran = context.run(words).ok();
        assert!(ran.stdout == expected, "{words:?}: {ran}");
    }
    assert_eq!(context.run(&["config", "@@app:1"]).stderr, "note: chose linux/amd64 of 2 platforms\n");
    assert_eq!(context.run(&["config", "@@single:1"]).stderr, "");
}

#[test]
fn digests() {
    let context = context();
    assert_snapshot!(context.run(&["digest", "@@app:1"]), @"
    exit: 0
    --- stdout
    [APP]

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "@@app:1", "--full-ref"]), @"
    exit: 0
    --- stdout
    [HOST]/app@[APP]

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "@@app:1", "--platform", "linux/arm64"]), @"
    exit: 0
    --- stdout
    [APP-ARM64]

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "@@app:1", "--platform", "linux/s390x"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app@[APP] has no image for linux/s390x (it has linux/amd64, linux/arm64)
    hint: choose one of them, for example --platform linux/amd64
    ");
    assert_snapshot!(context.run(&["digest", "@@single:1", "--platform", "linux/amd64"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/single@[APP-ARM64] is an image for linux/arm64, not for linux/amd64
    ");
    assert_snapshot!(context.run(&["digest", "@@app:2"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: 2 was not found in [HOST]/app
    ");
    assert_snapshot!(context.run(&["digest", "@@none:1"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: 1 was not found in [HOST]/none
    ");
    assert_snapshot!(context.run(&["digest"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: an image reference is required without --tarball
    ");
}

#[test]
fn digests_of_files() {
    let context = context();
    context.run(&["pull", "@@single:1", "one.tar"]).ok();
    context.run(&["pull", "@@single:1", "@@app:1", "two.tar"]).ok();
    assert_snapshot!(context.run(&["digest", "--tarball", "one.tar"]), @"
    exit: 0
    --- stdout
    [APP-ARM64]

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "--tarball", "two.tar"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: docker-archive:two.tar holds 2 images, choose one: 1, [HOST]/app:1
    hint: name one of them, for example docker-archive:two.tar:1
    ");
    assert_snapshot!(context.run(&["digest", "--tarball", "two.tar", "@@single:1"]), @"
    exit: 0
    --- stdout
    [APP-ARM64]

    --- stderr
    ");
    assert_snapshot!(context.run(&["digest", "--tarball", "one.tar", "--full-ref"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the argument '--tarball <FILE>' cannot be used with '--full-ref'

    Usage: palan digest --tarball <FILE> [IMAGE]

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["digest", "--full-ref", "docker-archive:one.tar"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --full-ref needs an image in a registry, docker-archive:one.tar is not
    ");
    assert_snapshot!(context.run(&["digest", "--tarball", "none.tar"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.tar
      caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn tags_and_repositories() {
    let context = context();
    context.run(&["tag", "@@app:1", "2"]).ok();
    for digest_tag in [format!("sha256-{}", "a".repeat(64)), format!("sha512-{}.sig", "a".repeat(64))] {
        context.run(&["tag", "@@app:1", &digest_tag]).ok();
    }
    assert_snapshot!(context.run(&["ls", "@@app", "-O"]), @"
    exit: 0
    --- stdout
    1
    2

    --- stderr
    ");
    assert_snapshot!(context.run(&["ls", "@@app", "--omit-digest-tags", "--full-ref"]), @"
    exit: 0
    --- stdout
    [HOST]/app:1
    [HOST]/app:2

    --- stderr
    ");
    assert_eq!(context.run(&["ls", "@@app"]).ok().text().lines().count(), 4);
    assert_snapshot!(context.run(&["ls", "@@none"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: GET http://[HOST]/v2/none/tags/list?n=1000 answered 404 Not Found: NAME_UNKNOWN: repository none is not known
    ");
    assert_snapshot!(context.run(&["ls", "@@app:1"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid reference "[HOST]/app:1": tag (at position 19): a repository is wanted, without a tag
    "#);
    let host = context.host();
    assert_snapshot!(context.run(&["catalog", &host]), @"
    exit: 0
    --- stdout
    app
    single

    --- stderr
    ");
    assert_snapshot!(context.run(&["catalog", &host, "--full-ref"]), @"
    exit: 0
    --- stdout
    [HOST]/app
    [HOST]/single

    --- stderr
    ");
    assert_snapshot!(context.run(&["catalog", "http://x"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'http://x' for '<REGISTRY>': invalid reference "http://x": registry (at position 5): "//x" is not a port number

    For more information, try '--help'.
    "#);
}

#[test]
fn tags_of_files() {
    let context = context();
    context.run(&["copy", "@@app:1", "oci:layout:one"]).ok();
    context.run(&["copy", "@@app:1", "oci:layout:two"]).ok();
    assert_snapshot!(context.run(&["ls", "oci:layout"]), @"
    exit: 0
    --- stdout
    one
    two

    --- stderr
    ");
    assert_snapshot!(context.run(&["ls", "oci:layout", "--full-ref"]), @"
    exit: 0
    --- stdout
    oci:layout:one
    oci:layout:two

    --- stderr
    ");
    assert_snapshot!(context.run(&["ls", "oci:layout:one"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: oci:layout:one names one image, all images of a place are wanted
    ");
}

#[test]
fn blobs_are_printed_as_they_are_stored() {
    let context = context();
    let app = family("linux/arm64").app;
    let (blob, content) = app.graph().blobs[0].clone();
    let ran = context.run(&["blob", &format!("@@single@{}", blob.digest)]).ok();
    assert!(ran.stdout == content, "{ran}");
    context.run(&["copy", "@@single:1", "oci:layout"]).ok();
    let ran = context.run(&["blob", &format!("oci:layout@{}", blob.digest)]).ok();
    assert!(ran.stdout == content, "{ran}");
    assert_snapshot!(context.run(&["blob", "@@single:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: a blob is named by its digest, [HOST]/single:1 has none
    hint: REPO@sha256:…
    ");
    assert_snapshot!(context.run(&["blob", &format!("@@single@{}", Digest::sha256(b"none"))]), @"
    exit: 3
    --- stdout

    --- stderr
    error: GET http://[HOST]/v2/single/blobs/sha256:… answered 404 Not Found: BLOB_UNKNOWN: blob sha256:… is not in this repository
    ");
}

#[test]
fn inspect_for_people() {
    let context = context();
    assert_snapshot!(context.run(&["inspect", "@@app:1"]), @r#"
    exit: 0
    --- stdout
    [HOST]/app:1
      digest      [APP]
      type        application/vnd.oci.image.index.v1+json

    linux/amd64
      digest      [APP-AMD64]
      created     2025-01-01T00:00:00Z
      workdir     /
      entrypoint  "/app/run"
      cmd         "/bin/sh"
      env         PATH=/usr/bin:/bin
      label       team = blue
      layers      3, 336 B as stored
           SIZE   DIGEST                                                                   MADE BY
        1  110 B  sha256:…  RUN make sha256:c2b7ec2c0eba
        2  122 B  sha256:…  RUN make sha256:388178d27e44
        3  104 B  sha256:…  RUN make sha256:740f83353c3e

    linux/arm64
      digest      [APP-ARM64]
      created     2025-01-01T00:00:00Z
      workdir     /
      entrypoint  "/app/run"
      cmd         "/bin/sh"
      env         PATH=/usr/bin:/bin
      label       team = blue
      layers      3, 335 B as stored
           SIZE   DIGEST                                                                   MADE BY
        1  110 B  sha256:…  RUN make sha256:c2b7ec2c0eba
        2  121 B  sha256:…  RUN make sha256:92509857db36
        3  104 B  sha256:…  RUN make sha256:740f83353c3e

    --- stderr
    "#);
    assert_snapshot!(context.run(&["inspect", "@@app:1", "--platform", "linux/s390x"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app:1 has no image for linux/s390x (it has linux/amd64, linux/arm64)
    hint: choose one of them, for example --platform linux/amd64
    ");
}

#[test]
fn inspect_for_programs() {
    let context = context();
    let report = context.run(&["inspect", "@@single:1", "--format", "json"]).ok();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["images"][0]["platform"], "linux/arm64");
    assert_eq!(report["images"][0]["layers"].as_array().unwrap().len(), 3);
    assert_eq!(report["images"][0]["config"]["Labels"]["team"], "blue");
}

#[test]
fn the_tree_shows_attestations() {
    let context = TestContext::new();
    let app = family("linux/amd64").app;
    context.push("app:1", &IndexSpec::new().image(app).attest(Attestation::Artifact).build().graph());
    assert_snapshot!(context.run(&["tree", "@@app:1"]), @"
    exit: 0
    --- stdout
    index sha256:…  666 B
    ├─ manifest sha256:…  linux/amd64  709 B
    │  ├─ config sha256:…  891 B
    │  ├─ layer sha256:…  110 B
    │  ├─ layer sha256:…  122 B
    │  ├─ layer sha256:…  104 B
    │  └─ referrer sha256:…  application/vnd.docker.attestation.manifest.v1+json  688 B
    │     ├─ config sha256:…  2 B
    │     └─ layer sha256:…  257 B
    └─ attestation sha256:…  unknown/unknown  application/vnd.docker.attestation.manifest.v1+json  688 B
       ├─ config sha256:…  2 B
       └─ layer sha256:…  257 B

    --- stderr
    ");
    let tree = context.run(&["tree", "@@app:1", "--format", "json"]).ok();
    let tree: serde_json::Value = serde_json::from_slice(&tree.stdout).unwrap();
    assert_eq!(tree["role"], "index");
    assert_eq!(tree["children"][1]["role"], "attestation");
}

#[test]
fn validate_finds_nothing_wrong_with_good_images() {
    let context = context();
    context.run(&["pull", "@@single:1", "one.tar"]).ok();
    assert_snapshot!(context.run(&["validate", "--remote", "@@app:1", "--tarball", "one.tar"]), @"
    exit: 0
    --- stdout
    PASS: one.tar
    PASS: [HOST]/app:1

    --- stderr
    ");
    assert_snapshot!(context.run(&["validate", "--fast", "@@app:1", "@@single:1"]), @"
    exit: 0
    --- stdout
    PASS: [HOST]/app:1
    PASS: [HOST]/single:1

    --- stderr
    ");
    assert_snapshot!(context.run(&["validate"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      <IMAGE|--remote <IMAGE>|--tarball <FILE>>

    Usage: palan validate <IMAGE|--remote <IMAGE>|--tarball <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["validate", "@@none:1"]), @"
    exit: 3
    --- stdout
    FAIL: [HOST]/none:1: 1 was not found in [HOST]/none

    --- stderr
    ");
}
