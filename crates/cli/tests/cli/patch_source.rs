//! Sources are put on another base.

use insta::assert_snapshot;

use crate::{TestContext, family};

const SWAP: [&str; 4] = ["--old-base", "debian:12", "--new-base", "debian:13"];

fn context() -> TestContext {
    let context = TestContext::new();
    std::fs::create_dir_all(context.path("src/chart")).unwrap();
    context.write("src/Dockerfile", "ARG V=12\r\nFROM debian:$V AS build\r\nFROM debian:12\r\nRUN x");
    context.write("src/chart/values.yaml", "image:\n  repository: debian\n  tag: \"12\" # keep\n");
    context.write("src/chart/pod.yaml", "image: {{ .Values.image }}\n");
    context.write("src/binary.yml", b"image: debian:12\0");
    context.write("src/latin.yml", b"# \xe9\nimage: debian:12\n");
    context
}

fn patch<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["base", "patch-source"], &SWAP[..], more].concat()
}

#[test]
fn a_diff_is_printed_and_nothing_written() {
    let context = context();
    let ran = context.run(&patch(&["./src"]));
    assert_snapshot!(ran, @r#"
    exit: 0
    --- stdout
    --- a/src/Dockerfile
    +++ b/src/Dockerfile
    @@ -1,4 +1,4 @@
    -ARG V=12
    +ARG V=13
     FROM debian:$V AS build
    -FROM debian:12
    +FROM debian:13
     RUN x
    \ No newline at end of file
    --- a/src/chart/values.yaml
    +++ b/src/chart/values.yaml
    @@ -1,3 +1,3 @@
     image:
       repository: debian
    -  tag: "12" # keep
    +  tag: "13" # keep

    --- stderr
    note: src/binary.yml is not text, left alone
    note: src/latin.yml is not UTF-8, left alone
    note: 1 image in templates left alone; --format json names them
    would change 3 images in 2 files; --write does it
    "#);
    assert_eq!(ran.code, Some(0));
    let before = std::fs::read(context.path("src/Dockerfile")).unwrap();
    assert!(before.starts_with(b"ARG V=12\r\n"));
    let ran = context.run(&patch(&["--check", "src"]));
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(!ran.stdout.is_empty() && !ran.stderr.contains("error"), "{ran}");
}

#[test]
fn files_are_written_and_then_done() {
    let context = context();
    assert_snapshot!(context.run(&patch(&["--write", "src", "src/Dockerfile"])), @"
    exit: 0
    --- stdout
    src/Dockerfile
    src/chart/values.yaml

    --- stderr
    note: src/binary.yml is not text, left alone
    note: src/latin.yml is not UTF-8, left alone
    note: 1 image in templates left alone; --format json names them
    changed 3 images in 2 files
    ");
    let after = std::fs::read_to_string(context.path("src/Dockerfile")).unwrap();
    assert_eq!(after, "ARG V=13\r\nFROM debian:$V AS build\r\nFROM debian:13\r\nRUN x");
    let ran = context.run(&patch(&["--write", "src/Dockerfile", "src/chart/values.yaml"]));
    assert_snapshot!(ran, @"
    exit: 0
    --- stdout

    --- stderr
    nothing to change: index.docker.io/library/debian:12 was not found where it can be replaced
    ");
    assert_eq!(context.run(&patch(&["--check", "src"])).code, Some(0));
    let mut left = std::fs::read_dir(context.path("src")).unwrap().count();
    left += std::fs::read_dir(context.path("src/chart")).unwrap().count();
    assert_eq!(left, 6, "no temporary file is left");
}

#[cfg(unix)]
#[test]
fn permissions_and_links_that_were_named_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let context = TestContext::new();
    let file = context.write("Dockerfile", "FROM debian:12\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o751)).unwrap();
    symlink("Dockerfile", context.path("link")).unwrap();
    context.run(&patch(&["--write", "link"])).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "FROM debian:13\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o751);
    assert!(std::fs::symlink_metadata(context.path("link")).unwrap().is_symlink());
}

#[test]
fn json_says_every_place() {
    let context = context();
    let ran = context.run(&patch(&["--format", "json", "src/Dockerfile", "src/binary.yml"])).ok();
    assert_snapshot!(ran, @r#"
    exit: 0
    --- stdout
    {
      "old_base": "index.docker.io/library/debian:12",
      "new_base": "index.docker.io/library/debian:13",
      "written": false,
      "files": [
        {
          "path": "src/Dockerfile",
          "kind": "dockerfile",
          "changed": true,
          "images": [
            {
              "line": 2,
              "what": "FROM",
              "written": "debian:$V",
              "was": "debian:12",
              "becomes": "debian:13",
              "edits": [
                {
                  "span": {
                    "start": 6,
                    "end": 8
                  },
                  "text": "13"
                }
              ]
            },
            {
              "line": 3,
              "what": "FROM",
              "written": "debian:12",
              "was": "debian:12",
              "becomes": "debian:13",
              "edits": [
                {
                  "span": {
                    "start": 47,
                    "end": 49
                  },
                  "text": "13"
                }
              ]
            }
          ]
        },
        {
          "path": "src/binary.yml",
          "kind": "yaml",
          "changed": false,
          "skipped": "is not text",
          "images": []
        }
      ]
    }

    --- stderr
    "#);
}

#[test]
fn the_registry_is_asked_for_the_digest() {
    let context = TestContext::new();
    let digest = context.push("base:2", &family("linux/amd64").new.graph());
    context.name(digest, "BASE");
    let from = format!("FROM {}/base:1\n", context.host());
    context.write("Dockerfile", from);
    let words = ["base", "patch-source", "--old_base", "@@base:1", "--new_base", "@@base:2", "--pin", "."];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    --- a/Dockerfile
    +++ b/Dockerfile
    @@ -1 +1 @@
    -FROM [HOST]/base:1
    +FROM [HOST]/base:2@[BASE]

    --- stderr
    would change 1 image in 1 file; --write does it
    ");
    let words =
        ["base", "patch-source", "--old-base", "@@base:1", "--new-base", "@@base:3", "--pin", "--write", "."];
    assert_eq!(context.run(&words).code, Some(3));
    assert!(std::fs::read_to_string(context.path("Dockerfile")).unwrap().ends_with("/base:1\n"));
}

#[test]
fn wrong_words() {
    let context = TestContext::new();
    assert_eq!(context.run(&["base", "patch-source", "."]).code, Some(2));
    assert_eq!(context.run(&patch(&["--write", "--check", "."])).code, Some(2));
    assert_snapshot!(context.run(&patch(&["gone"])), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read gone
      caused by: No such file or directory (os error 2)
    ");
}
