//! Editing, on the command line: without a terminal, the text comes from standard input.

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, LayerSpec};
use serde_json::{Value, json};

use crate::{TestContext, families, family};

fn json_of(context: &TestContext, words: &[&str]) -> Value {
    serde_json::from_slice(&context.run(words).ok().stdout).unwrap()
}

#[test]
fn a_config_comes_from_standard_input() {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    let arm = ["--platform", "linux/arm64"];
    let mut config = json_of(&context, &[&["config", "@@app:1"], arm.as_slice()].concat());
    config["config"]["User"] = json!("me");
    let text = config.to_string();
    let ran = context.run_input(&[&["edit", "config", "@@app:1"], arm.as_slice()].concat(), text.as_bytes());
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app:1

    --- stderr
    edited the config of [HOST]/app:1: 1 blob moved (903 B), 3 blobs already there
    ");
    assert_eq!(ran.text(), format!("{}/app:1", context.host()));
    assert_eq!(context.run(&[&["config", "@@app:1"], arm.as_slice()].concat()).ok().text(), text);
    let ran = context.run_input(&[&["edit", "config", "@@app:1"], arm.as_slice()].concat(), text.as_bytes());
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app:1

    --- stderr
    nothing changed: [HOST]/app:1
    ");
    // Without a choice it is said which image is meant.
    assert_snapshot!(context.run_input(&["edit", "config", "@@app:1"], b"{}"), @"
    exit: 1
    --- stdout

    --- stderr
    note: chose linux/amd64 of 2 platforms
    error: [HOST]/app@sha256:… cannot be changed so: the new config is not usable: not valid: missing field `rootfs` at line 1 column 2
    ");
    assert_snapshot!(context.run(&["edit", "config", "@@app:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    note: chose linux/amd64 of 2 platforms
    error: nothing came from standard input
    ");
    assert_snapshot!(context.run_input(&["edit", "config", "@@app:1", "-t", "@@app:2"], text.as_bytes()), @"
    exit: 0
    --- stdout
    [HOST]/app:2

    --- stderr
    note: chose linux/amd64 of 2 platforms
    note: the config is for linux/arm64 now, the index still lists it for linux/amd64
    edited the config of [HOST]/app:2: 1 blob moved (903 B), 3 blobs already there
    ");
}

#[test]
fn a_manifest_comes_from_standard_input() {
    let context = TestContext::new();
    let app = family("linux/amd64").app;
    context.name(context.push("app:1", &app.graph()), "APP");
    let mut manifest = json_of(&context, &["manifest", "@@app:1"]);
    manifest["annotations"] = json!({"a": "b"});
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    let ran = context.run_input(&["edit", "manifest", "@@app:1", "-t", "@@app:2"], text.as_bytes());
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app:2

    --- stderr
    edited the manifest of [HOST]/app:2: 4 blobs already there
    ");
    assert_eq!(context.run(&["manifest", "@@app:2"]).ok().text(), text, "as it was given");
    context.run(&["validate", "@@app:2"]).ok();
    manifest["layers"][0]["digest"] = json!(palan_core::Digest::sha256(b"nowhere"));
    let ran = context.run_input(&["edit", "manifest", "@@app:1"], manifest.to_string().as_bytes());
    assert_snapshot!(ran, @"
    exit: 3
    --- stdout

    --- stderr
    error: sha256:… (application/vnd.oci.image.layer.v1.tar+gzip), which the new manifest names, was not found in [HOST]/app
    ");
    let docker =
        ["edit", "manifest", "@@app:1", "-m", "application/vnd.docker.distribution.manifest.v2+json"];
    assert_snapshot!(context.run_input(&docker, text.as_bytes()), @"
    exit: 0
    --- stdout
    [HOST]/app:1

    --- stderr
    note: the manifest says now that its type is application/vnd.docker.distribution.manifest.v2+json
    edited the manifest of [HOST]/app:1: 4 blobs already there
    ");
    // crane writes what it was given, with a header that says something else.
    assert_eq!(json_of(&context, &["manifest", "@@app:1"])["mediaType"], docker[4]);
}

/// bug 20: mode 0555, and the owner lost.
#[test]
fn a_file_comes_from_standard_input() {
    let context = TestContext::new();
    let meta = palan_layer::tar::Meta::FILE.mode(0o600).owner(7, 8).mtime(99);
    let spec = LayerSpec::new().raw(|tar| tar.bytes("etc/motd", &meta, b"hello")).symlink("conf", "etc");
    context.push("app:1", &ImageSpec::new("linux/amd64").layer(spec.build()).build().graph());
    let edit =
        |path: &str, content: &[u8]| context.run_input(&["edit", "fs", "@@app:1", "-f", path], content);
    assert_snapshot!(edit("/conf/motd", b"hello"), @"
    exit: 0
    --- stdout
    [HOST]/app:1

    --- stderr
    nothing changed: [HOST]/app:1
    ");
    let ran = edit("/conf/motd", b"good bye");
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app:1

    --- stderr
    edited a file of [HOST]/app:1: 2 blobs moved (657 B), 1 blob already there
    ");
    assert_eq!(ran.text(), format!("{}/app:1", context.host()));
    context.run(&["validate", "@@app:1"]).ok();
    let config = json_of(&context, &["config", "@@app:1"]);
    assert_eq!(
        config["history"].as_array().unwrap().last().unwrap()["created_by"],
        "palan edit fs /etc/motd"
    );
    let manifest = json_of(&context, &["manifest", "@@app:1"]);
    let blob = format!("@@app@{}", manifest["layers"][1]["digest"].as_str().unwrap());
    let blob = context.run(&["blob", &blob]).ok().stdout;
    let mut archive = palan_layer::tar::Archive::new(palan_layer::Decoder::new(blob.as_slice()).unwrap());
    let entry = archive.next_entry().unwrap().unwrap();
    assert_eq!(
        (entry.path(), entry.mode, entry.uid, entry.gid, entry.mtime),
        (b"etc/motd".as_slice(), 0o600, 7, 8, 99)
    );
    assert!(archive.next_entry().unwrap().is_none());
    assert_snapshot!(edit("/etc", b""), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/app@sha256:… cannot be changed so: /etc is no regular file
    ");
    assert_snapshot!(context.run_input(&["edit", "fs", "@@app:1"], b""), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      --filename <PATH>

    Usage: palan edit fs --filename <PATH> <IMAGE>

    For more information, try '--help'.
    ");
}

#[test]
fn one_image_of_an_index_gets_the_file() {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    let ran = context.run_input(&["edit", "fs", "@@app:1", "-f", "etc/new", "-t", "@@app:2"], b"new");
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout
    [HOST]/app:2

    --- stderr
    note: chose linux/amd64 of 2 platforms
    edited a file of [HOST]/app:2: 2 blobs moved (1.07 KiB), 3 blobs already there
    ");
    let digest =
        |name: &str, platform: &str| context.run(&["digest", name, "--platform", platform]).ok().text();
    assert_eq!(digest("@@app:2", "linux/arm64"), digest("@@app:1", "linux/arm64"));
    assert_ne!(digest("@@app:2", "linux/amd64"), digest("@@app:1", "linux/amd64"));
}

/// `script` of util-linux gives a command a terminal.
#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_there_is_an_editor() {
    use std::process::{Command, Stdio};

    let script = std::path::Path::new("/usr/bin/script");
    if !script.exists() {
        palan_testkit::peer::skip(&format!("{} is not installed", script.display()));
        return;
    }
    let context = TestContext::new();
    let spec = LayerSpec::new().file("etc/motd", "old text").build();
    let image = ImageSpec::new("linux/amd64").layer(spec).label("a", "old text").build();
    let digest = context.push("app:1", &image.graph());
    let edit = |editor: &str, words: &str| {
        let line = format!("{} edit {words}", env!("CARGO_BIN_EXE_palan"))
            .replace("@@", &format!("{}/", context.host()));
        let mut command = Command::new(script);
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
        command.env("HOME", context.home("")).env("SHELL", "/bin/sh").env("EDITOR", editor);
        command.current_dir(context.path("")).output().unwrap().status.code()
    };
    let now = || context.run(&["digest", "@@app:1"]).ok().text();
    assert_eq!(edit("true", "config @@app:1"), Some(0));
    assert_eq!(edit("true", "manifest @@app:1"), Some(0));
    assert_eq!(edit("true", "fs @@app:1 -f etc/motd"), Some(0));
    assert_eq!(edit("sed -i s/old/new/; false", "config @@app:1"), Some(1));
    assert_eq!(edit("/nowhere/editor", "config @@app:1"), Some(1));
    assert_eq!(now(), digest.to_string(), "nothing was changed so far");
    assert_eq!(edit("sed -i 's/old text/new text/'", "config @@app:1"), Some(0));
    let config = context.run(&["config", "@@app:1"]).ok().text();
    let old = String::from_utf8(image.config.bytes().to_vec()).unwrap();
    assert_eq!(config, old.replace("old text", "new text"), "written as it was before");
    assert_eq!(edit("sed -i 's/old text/new text/'", "fs @@app:1 -f etc/motd"), Some(0));
    let found =
        context.run_input(&["edit", "fs", "@@app:1", "-f", "etc/motd", "--dry-run"], b"new text").ok();
    assert!(found.stderr.contains("nothing would change"), "{found}");
}
