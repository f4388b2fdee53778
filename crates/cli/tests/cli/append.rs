//! `palan append`: what may be a layer, how it is packed, and what the result says about it.

use std::{ffi::OsStr, fs};

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, LayerSpec, layer};
use serde_json::Value;

use crate::{TestContext, family};

fn context() -> TestContext {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    context
}

fn config(context: &TestContext, image: &str) -> Value {
    serde_json::from_slice(&context.run(&["config", image]).ok().stdout).unwrap()
}

/// The entries of an image's topmost layer, and its media type.
fn top(context: &TestContext, image: &str) -> (String, Vec<Entry>) {
    let manifest: Value = serde_json::from_slice(&context.run(&["manifest", image]).ok().stdout).unwrap();
    let layer = manifest["layers"].as_array().unwrap().last().unwrap().clone();
    let repository = image.rsplit_once(':').unwrap().0;
    let blob = context.run(&["blob", &format!("{repository}@{}", layer["digest"].as_str().unwrap())]).ok();
    let decoder = palan_layer::Decoder::new(blob.stdout.as_slice()).unwrap();
    let mut archive = palan_layer::tar::Archive::new(decoder);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let path = String::from_utf8(entry.path().to_vec()).unwrap();
        entries.push((path, entry.mode, entry.uid, entry.gid, entry.mtime));
    }
    (layer["mediaType"].as_str().unwrap().to_owned(), entries)
}

/// Path, mode, owner, group, time.
type Entry = (String, u32, u64, u64, i64);

fn files(context: &TestContext) {
    use std::os::unix::fs::PermissionsExt as _;
    let set = |path: &str, mode| {
        fs::set_permissions(context.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(context.path("tree/bin")).unwrap();
    context.write("tree/bin/run", "#!/bin/sh\n");
    context.write("tree/readme", "hello\n");
    set("tree/bin", 0o700);
    set("tree/bin/run", 0o711);
    set("tree/readme", 0o600);
}

#[test]
fn directories_are_packed_reproducibly() {
    let context = context();
    files(&context);
    let entry = |path: &str, mode, mtime| (path.to_owned(), mode, 0, 0, mtime);
    context.run(&["append", "-b", "@@app:1", "-f", "tree", "-t", "@@one:1"]).ok();
    let plain = [entry("bin/", 0o700, 0), entry("bin/run", 0o711, 0), entry("readme", 0o600, 0)];
    assert_eq!(top(&context, "@@one:1").1, plain);
    // Other times and another machine's habits change nothing.
    context.write("tree/readme", "hello\n");
    context.run(&["append", "-b", "@@app:1", "-f", "tree", "-t", "@@two:1"]).ok();
    assert_eq!(context.run(&["digest", "@@one:1"]).text(), context.run(&["digest", "@@two:1"]).text());

    let words = ["append", "-b", "@@app:1", "-f", "tree", "-t", "@@three:1", "--prefix", "/opt/app/"];
    let flags = ["--mode", "normal", "--owner", "7:8", "--mtime", "2026-01-31T00:00:00Z"];
    context.run(&[&words[..], &flags].concat()).ok();
    let entry = |path: &str, mode| (path.to_owned(), mode, 7, 8, 1_769_817_600);
    let expected =
        [entry("opt/app/bin/", 0o755), entry("opt/app/bin/run", 0o755), entry("opt/app/readme", 0o644)];
    assert_eq!(top(&context, "@@three:1").1, expected);
    context.run(&["validate", "--remote", "@@three:1"]).ok();

    let words = [
        "append",
        "-b",
        "@@app:1",
        "-f",
        "tree/bin/run:/usr/bin/",
        "-f",
        "tree/readme:motd",
        "-t",
        "@@four:1",
    ];
    context.run(&words).ok();
    assert_eq!(top(&context, "@@four:1").1, [(String::from("motd"), 0o600, 0, 0, 0)]);
    assert_eq!(config(&context, "@@four:1")["rootfs"]["diff_ids"].as_array().unwrap().len(), 5);
    assert_snapshot!(context.run(&["append", "-b", "@@app:1", "-f", "tree:../x", "-t", "@@five:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: ../x leads out of the image
    ");
}

/// Issues 1819 and 1703.
#[test]
fn the_history_says_what_was_asked_for() {
    let context = context();
    files(&context);
    let before = config(&context, "@@app:1");
    context.run(&["append", "-b", "@@app:1", "-f", "tree", "-t", "@@plain:1"]).ok();
    let plain = config(&context, "@@plain:1");
    assert_eq!(
        plain["history"].as_array().unwrap().last().unwrap(),
        &serde_json::json!({"created_by": "palan append"})
    );
    assert_eq!(plain["created"], before["created"]);
    let words =
        ["append", "-b", "@@app:1", "-f", "tree", "-t", "@@told:1", "--history", "make x", "--comment", "y"];
    context.run_with(&words, &[("SOURCE_DATE_EPOCH", OsStr::new("86400"))]).ok();
    let told = config(&context, "@@told:1");
    let created = "1970-01-02T00:00:00Z";
    let expected = serde_json::json!({"created": created, "created_by": "make x", "comment": "y"});
    assert_eq!(told["history"].as_array().unwrap().last().unwrap(), &expected);
    assert_eq!(told["created"], created);
    assert_eq!(top(&context, "@@told:1").1[0].4, 86400);
}

/// crane-cli.md bug 15.
#[test]
fn docker_images_have_no_zstd_layers() {
    let context = context();
    let docker =
        ImageSpec::new("linux/amd64").family(palan_core::Family::Docker).layer(layer(&[("a", b"b")]));
    context.push("docker:1", &docker.build().graph());
    let zstd = LayerSpec::new().file("x", "y").compression(palan_core::Compression::Zstd).build();
    context.write("x.tar.zst", &zstd.bytes);
    assert_snapshot!(context.run(&["append", "-b", "@@docker:1", "-f", "x.tar.zst", "-t", "@@x:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: x.tar.zst cannot be stored: there is no media type for zstd layers in Docker images
    hint: --compression gzip stores it as gzip
    ");
    context
        .run(&["append", "-b", "@@docker:1", "-f", "x.tar.zst", "-t", "@@x:1", "--compression", "gzip"])
        .ok();
    assert_eq!(top(&context, "@@x:1").0, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    context.run(&["append", "-b", "@@app:1", "-f", "x.tar.zst", "-t", "@@y:1"]).ok();
    assert_eq!(top(&context, "@@y:1").0, "application/vnd.oci.image.layer.v1.tar+zstd");
}

#[test]
fn levels_are_those_of_the_codec() {
    let context = context();
    context.write("x.tar", LayerSpec::new().file("x", "abc".repeat(50_000)).build().tar);
    let size = |tag: &str, level: &str, compression: &str| {
        let target = format!("@@{tag}");
        let words = ["append", "-b", "@@app:1", "-f", "x.tar", "-t", &target, "--compression", compression];
        context.run(&[&words[..], &["--level", level]].concat()).ok();
        let manifest: Value =
            serde_json::from_slice(&context.run(&["manifest", &target]).ok().stdout).unwrap();
        manifest["layers"].as_array().unwrap().last().unwrap()["size"].as_u64().unwrap()
    };
    assert!(size("g:1", "1", "gzip") > size("g:9", "9", "gzip"));
    assert!(size("z:1", "19", "zstd") > 0);
    let words = ["append", "-b", "@@app:1", "-f", "x.tar", "-t", "@@x:1", "--level", "99"];
    let before = context.requests().len();
    assert_snapshot!(context.run(&words), @"
    exit: 2
    --- stdout

    --- stderr
    error: gzip has no level 99; levels are 0 to 12
    ");
    assert_eq!(context.requests().len(), before, "nothing is read");
}

#[test]
fn a_pipe_is_a_layer_like_a_file() {
    let context = context();
    let tar = LayerSpec::new().file("x", "y").build().tar;
    context.write("x.tar", &tar);
    context.run(&["append", "-b", "@@app:1", "-f", "x.tar", "-t", "@@file:1", "--history", "x"]).ok();
    context
        .run_input(&["append", "-b", "@@app:1", "-f", "-", "-t", "@@stdin:1", "--history", "x"], &tar)
        .ok();
    assert!(std::process::Command::new("mkfifo").arg(context.path("fifo")).status().unwrap().success());
    let fifo = context.path("fifo");
    let writer = std::thread::spawn(move || fs::write(fifo, &tar).unwrap());
    context.run(&["append", "-b", "@@app:1", "-f", "fifo", "-t", "@@fifo:1", "--history", "x"]).ok();
    writer.join().unwrap();
    let digest = |image: &str| context.run(&["digest", image]).ok().text();
    assert_eq!(digest("@@stdin:1"), digest("@@file:1"));
    assert_eq!(digest("@@fifo:1"), digest("@@file:1"));
    let ran = context.run(&["append", "-b", "@@app:1", "-f", "-", "-f", "-", "-t", "@@x:1"]);
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn what_is_no_tar_is_said_so() {
    let context = context();
    context.write("text", "hello ".repeat(500));
    assert_snapshot!(context.run(&["append", "-b", "@@app:1", "-f", "text", "-t", "@@x:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: the layer text cannot be appended
      caused by: it is no tar archive
    ");
}

/// Issue 1909: `Files` is put before once, and not again.
#[test]
fn layers_for_windows_are_below_files() {
    let context = TestContext::new();
    let windows = ImageSpec::new("windows/amd64").layer(layer(&[("Files/x", b"1")]));
    context.push("windows:1", &windows.build().graph());
    let tar = LayerSpec::new().dir("app").file("app/run.exe", "x").hard_link("app/copy.exe", "app/run.exe");
    context.write("x.tar", tar.build().tar);
    context.run(&["append", "-b", "@@windows:1", "-f", "x.tar", "-t", "@@windows:2"]).ok();
    context.run(&["validate", "--remote", "@@windows:2"]).ok();
    let paths = |image: &str| top(&context, image).1.into_iter().map(|entry| entry.0).collect::<Vec<_>>();
    let expected = ["Files/", "Hives/", "Files/app/", "Files/app/run.exe", "Files/app/copy.exe"];
    assert_eq!(paths("@@windows:2"), expected);
    let in_form = LayerSpec::new().dir("Files").file("Files/a", "1").dir("Hives").build();
    context.write("form.tar", in_form.tar);
    context.run(&["append", "-b", "@@windows:1", "-f", "form.tar", "-t", "@@windows:3"]).ok();
    assert_eq!(paths("@@windows:3"), ["Files/", "Files/a", "Hives/"]);
}

#[test]
fn the_platform_of_an_empty_image_is_one() {
    let context = context();
    context.write("x.tar", LayerSpec::new().file("x", "y").build().tar);
    let words = ["append", "-f", "x.tar", "-t", "@@x:1", "--platform"];
    let run = |platform: &str| context.run(&[&words[..], &[platform]].concat());
    for (platform, said) in
        [("linux/amd64,linux/arm64", "works on one image"), ("linux", "an architecture is missing")]
    {
        let ran = run(platform);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains(said), "{ran}");
    }
    run("linux/x86_64").ok();
    assert_eq!(config(&context, "@@x:1")["architecture"], "amd64");
    // With a base, patterns choose.
    let images = ["linux/amd64", "linux/arm64"].map(|p| family(p).app);
    context.push("index:1", &palan_testkit::image::IndexSpec::new().images(images).build().graph());
    for platform in ["linux", "linux/amd64,linux/arm64"] {
        let words = ["append", "-b", "@@index:1", "-f", "x.tar", "-t", "@@x:2", "--platform", platform];
        context.run(&words).ok();
    }
}
