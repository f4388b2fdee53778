//! `palan pull`: formats, the cache, and what is left when it fails.

use insta::assert_snapshot;
use palan_core::MediaType;
use palan_server::RequestKind;
use palan_testkit::{
    fault::Reply,
    image::{ImageSpec, layer},
};

use crate::{TestContext, families, family};

fn context() -> TestContext {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    context.name(context.push("single:1", &family("linux/arm64").app.graph()), "SINGLE");
    context
}

fn digest(context: &TestContext, location: &str) -> String {
    context.run(&["digest", location]).ok().text()
}

#[test]
fn every_format_is_pushed_again() {
    let context = context();
    for (format, keeps) in [("tarball", true), ("legacy", false), ("oci", true), ("oci-archive", true)] {
        let ran = context.run(&["pull", "@@single:1", format, "--format", format]).ok();
        assert!(ran.stdout.is_empty(), "{ran}");
        let target = format!("@@back:{format}");
        context.run(&["push", format, &target]).ok();
        context.run(&["validate", "--remote", &target]).ok();
        assert_eq!(digest(&context, &target) == digest(&context, "@@single:1"), keeps, "{format}");
        assert_eq!(
            context.run(&["config", &target]).ok().stdout,
            context.run(&["config", "@@single:1"]).ok().stdout,
            "{format}"
        );
    }
}

#[test]
fn stdout_has_the_archive_and_nothing_else() {
    let context = context();
    for format in ["tarball", "legacy", "oci-archive"] {
        let ran = context.run(&["pull", "--format", format, "@@single:1", "-"]).ok();
        context.run(&["pull", "--format", format, "@@single:1", "x.tar"]).ok();
        assert!(ran.stdout == std::fs::read(context.path("x.tar")).unwrap(), "{format}");
    }
}

#[test]
fn an_unknown_format_is_noticed_before_anything_is_asked() {
    let context = context();
    let before = context.requests().len();
    let ran = context.run(&["pull", "--format", "zip", "@@app:1", "x"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert_eq!(context.requests().len(), before);
}

/// crane-cli.md bug 13.
#[test]
fn the_same_reference_twice_is_one_entry() {
    let context = context();
    for flags in [&["--annotate-ref"][..], &[]] {
        for _ in 0..2 {
            let words = [&["pull", "--format", "oci", "@@app:1", "layout"][..], flags].concat();
            context.run(&words).ok();
        }
    }
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(context.path("layout/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(context.run(&["ls", "oci:layout"]).ok().text(), format!("{}/app:1", context.host()));
}

/// crane-cli.md bug 8.
#[test]
fn a_download_that_is_cut_leaves_no_file() {
    let context = context();
    let app = family("linux/amd64").app;
    let (manifest, graph) = (app.manifest.clone(), app.graph());
    let registry = context.faulty(move |request| {
        if request.path().contains("/manifests/") {
            return Reply::ok(manifest.bytes().clone())
                .header("content-type", manifest.media_type().as_str());
        }
        match graph.blobs.iter().find(|(d, _)| request.path().ends_with(&d.digest.to_string())) {
            // Every attempt ends early, and a part is never answered.
            Some((d, content)) if d.size > 10 => Reply::ok(content.clone()).cut_after(5),
            Some((_, content)) => Reply::ok(content.clone()),
            None => Reply::error(404, "BLOB_UNKNOWN"),
        }
    });
    let image = format!("{}/app:1", registry.host());
    context.write("old.tar", "old");
    for format in ["tarball", "legacy", "oci-archive"] {
        let ran = context.run(&["pull", "--format", format, &image, "old.tar", "-c", "cache"]);
        assert_eq!(ran.code, Some(9), "{ran}");
        assert_eq!(std::fs::read(context.path("old.tar")).unwrap(), b"old");
        let ran = context.run(&["pull", "--format", format, &image, "new.tar"]);
        assert!(ran.code == Some(9) && ran.stdout.is_empty(), "{ran}");
        let ran = context.run(&["pull", "--format", format, &image, "-"]);
        assert!(ran.code == Some(9) && ran.stdout.is_empty(), "{ran}");
    }
    assert_eq!(context.left(), ["cache", "old.tar"]);
}

/// crane-cli.md bug 12.
#[test]
fn a_warm_cache_asks_for_no_layer() {
    let context = context();
    context.run(&["pull", "@@single:1", "one.tar", "--cache_path", "cache"]).ok();
    for (format, path) in [("tarball", "two.tar"), ("oci", "layout"), ("legacy", "three.tar")] {
        let before = context.registry().stats();
        context.run(&["pull", "@@single:1", path, "-c", "cache", "--format", format]).ok();
        let asked = context.registry().stats().since(&before);
        assert_eq!(asked.of(RequestKind::BlobGet), 0, "{format}");
        let location = if format == "oci" { "oci:layout" } else { &format!("docker-archive:{path}") };
        context.run(&["validate", location]).ok();
    }
}

#[test]
fn several_images_have_their_names() {
    let context = context();
    context.run(&["pull", "--platform", "linux/arm64", "@@app:1", "@@single:1", "two.tar"]).ok();
    assert_snapshot!(context.run(&["ls", "docker-archive:two.tar"]), @"
    exit: 0
    --- stdout
    [HOST]/app:1
    [HOST]/single:1

    --- stderr
    ");
    context
        .run(&["pull", "--platform", "linux/arm64", "@@app:1", "@@single:1", "--format=legacy", "two.tar"])
        .ok();
    assert_eq!(context.run(&["ls", "docker-archive:two.tar"]).ok().text().lines().count(), 2);
}

/// Issue 1399.
#[test]
fn several_platforms_are_an_index_of_these() {
    let context = TestContext::new();
    let image = |platform: &str| family(platform).app;
    let all = ["linux/amd64", "linux/arm64", "linux/s390x"].map(image);
    context.push("app:1", &palan_testkit::image::IndexSpec::new().images(all).build().graph());
    let words = ["pull", "--format", "oci", "--platform", "linux/amd64,linux/arm64", "@@app:1", "layout"];
    context.run(&words).ok();
    let index: serde_json::Value =
        serde_json::from_slice(&context.run(&["manifest", "oci:layout"]).ok().stdout).unwrap();
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    context.run(&["validate", "oci:layout"]).ok();
    let words = ["pull", "--platform", "linux/amd64,linux/arm64", "@@app:1", "x.tar"];
    assert_eq!(context.run(&words).code, Some(2), "a docker archive holds single images");
}

/// As crane does: what is not distributable goes into files too, where it can be had.
#[test]
fn non_distributable_layers_are_in_what_is_pulled() {
    let context = TestContext::new();
    let foreign = layer(&[("windows", b"base")]).with_media_type(MediaType::OCI_FOREIGN_LAYER_GZIP);
    let digest = foreign.digest;
    context.name(digest, "FOREIGN");
    let image = ImageSpec::new("windows/amd64").layer(foreign).layer(layer(&[("app", b"1")])).build();
    let mut graph = image.graph();
    context.push("here:1", &graph);
    graph.blobs.retain(|(blob, _)| blob.digest != digest);
    context.push("gone:1", &graph);
    for format in ["tarball", "legacy", "oci-archive", "oci"] {
        context.run(&["pull", "--format", format, "@@here:1", format]).ok();
        let scheme = match format {
            "oci" | "oci-archive" => format,
            _ => "docker-archive",
        };
        let validated = context.run(&["validate", &format!("{scheme}:{format}")]).ok();
        assert!(!validated.to_string().contains("FOREIGN"), "{validated}");
    }
    context.run(&["mutate", "--label", "a=b", "@@here:1", "-o", "mutated.tar"]).ok();
    context.run(&["validate", "docker-archive:mutated.tar"]).ok();
    for format in ["tarball", "legacy"] {
        let ran = context.run(&["pull", "--format", format, "@@gone:1", "gone.tar"]);
        assert!(ran.code != Some(0) && ran.to_string().contains("[FOREIGN]"), "{ran}");
        assert!(!context.path("gone.tar").exists());
    }
    let ran = context.run(&["pull", "--format", "oci", "@@gone:1", "gone"]).ok();
    assert!(ran.to_string().contains("the layer [FOREIGN] is not distributable"), "{ran}");
}

#[test]
fn a_name_that_moves_leaves_the_older_image_without_one() {
    let context = context();
    let one = context.push("x:1", &family("linux/amd64").app.graph());
    let two = context.push("x:2", &family("linux/amd64").old.graph());
    context.name(one, "ONE");
    context.name(two, "TWO");
    let images = [one, two].map(|digest| format!("@@x:1@{digest}"));
    for format in ["tarball", "legacy"] {
        let ran = context.run(&["pull", "--format", format, &images[0], &images[1], format]).ok();
        let text = ran.to_string();
        assert!(text.contains("/x:1 is [TWO] now, and [ONE] has no name"), "{ran}");
        assert!(text.contains("pulled 2 images"), "{ran}");
        assert_eq!(entries(&context, format), [0, 1], "{format}");
    }
    let ran = context.run(&["pull", &images[0], &images[0], "same.tar"]).ok();
    assert!(ran.to_string().contains("pulled 1 image "), "{ran}");
}

/// How many names each image of a docker archive has.
fn entries(context: &TestContext, file: &str) -> Vec<usize> {
    let mut archive = palan_layer::tar::Archive::new(std::fs::File::open(context.path(file)).unwrap());
    while let Some(mut entry) = archive.next_entry().unwrap() {
        if entry.path() != b"manifest.json" {
            continue;
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
        let images: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let names = images.as_array().unwrap().iter().map(|i| i["RepoTags"].as_array().unwrap().len());
        return names.collect();
    }
    panic!("{file} has no manifest.json");
}

#[test]
fn a_cached_file_that_rotted_is_not_linked() {
    let context = context();
    context.run(&["pull", "--format", "oci", "@@single:1", "one", "-c", "cache"]).ok();
    let blobs = context.path("cache/blobs/sha256");
    let mut files: Vec<_> = std::fs::read_dir(&blobs).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut content = std::fs::read(&files[0]).unwrap();
    content[0] ^= 1;
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[0], content).unwrap();
    let words = ["pull", "--format", "oci", "@@single:1", "two", "-c", "cache"];
    let ran = context.run(&words);
    assert!(ran.code == Some(7) && ran.stderr.contains("the cache ("), "{ran}");
    context.run(&words).ok();
    context.run(&["validate", "oci:two"]).ok();
}

/// The mode is that of every new file, or of the file that is replaced.
#[cfg(unix)]
#[test]
fn files_have_the_mode_that_was_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let context = context();
    let mode = |name: &str| std::fs::metadata(context.path(name)).unwrap().permissions().mode() & 0o777;
    let run = |umask: &str, words: &[&str]| {
        let palan = context.command(words);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(palan.get_program());
        shell.args(palan.get_args()).current_dir(context.path("")).env("HOME", context.home(""));
        context.show(shell.output().unwrap()).ok();
    };
    for (umask, expected) in [("077", 0o600), ("027", 0o640), ("022", 0o644)] {
        for format in ["tarball", "legacy", "oci-archive", "oci"] {
            let name = format!("{format}{umask}");
            run(umask, &["pull", "--format", format, "@@single:1", &name, "-c", &format!("cache{umask}")]);
            let file = if format == "oci" { format!("{name}/index.json") } else { name };
            assert_eq!(mode(&file), expected, "{file}");
        }
        let name = format!("files{umask}");
        run(umask, &["export", "@@single:1", &name]);
        assert_eq!(mode(&name), expected, "{name}");
    }
    for format in ["tarball", "legacy", "oci-archive"] {
        run("022", &["pull", "--format", format, "@@single:1", "tarball077"]);
        assert_eq!(mode("tarball077"), 0o600, "{format}");
    }
    run("022", &["export", "@@single:1", "files077"]);
    assert_eq!(mode("files077"), 0o600);
}

/// As crane does; in a shell, `>(docker load)` is such a file.
#[cfg(unix)]
#[test]
fn archives_are_written_to_pipes_and_devices() {
    let context = context();
    for format in ["tarball", "legacy", "oci-archive"] {
        let ran = context.run(&["pull", "--format", format, "@@single:1", "/dev/stdout"]).ok();
        context.run(&["pull", "--format", format, "@@single:1", "x.tar"]).ok();
        assert!(ran.stdout == std::fs::read(context.path("x.tar")).unwrap(), "{format}");
        context.run(&["pull", "--format", format, "@@single:1", "/dev/null"]).ok();
    }
    let ran = context.run(&["mutate", "--label", "a=b", "@@single:1", "-o", "/dev/stdout"]).ok();
    context.write("mutated.tar", &ran.stdout);
    context.run(&["validate", "docker-archive:mutated.tar"]).ok();
    let ran = context.run(&["push", "--image-refs", "/dev/stdout", "x.tar", "@@pushed:1"]).ok();
    let names = ran.text();
    let (first, second) = names.split_at(names.len() / 2);
    assert_eq!(first, second, "{ran}");
    assert_eq!(context.left(), ["mutated.tar", "x.tar"]);
}

/// As crane does: a docker archive holds single images.
#[test]
fn one_image_of_an_index_goes_into_a_docker_archive() {
    let context = context();
    context.write("layer.tar", [0; 1024]);
    let verbs = [
        vec!["mutate", "--label", "a=b", "@@app:1", "-o", "out.tar"],
        vec!["append", "-b", "@@app:1", "-f", "layer.tar", "-t", "@@new:1", "-o", "out.tar"],
    ];
    for words in verbs {
        for (platform, architecture) in [(None, "amd64"), (Some("linux/arm64"), "arm64")] {
            let mut words = words.clone();
            words.extend(platform.iter().flat_map(|platform| ["--platform", platform]));
            let ran = context.run(&words).ok();
            let is_noted = ran.stderr.contains("chose linux/amd64 of 2 platforms");
            assert_eq!(is_noted, platform.is_none(), "{ran}");
            let config = context.run(&["config", "docker-archive:out.tar"]).ok().text();
            assert!(config.contains(&format!("\"architecture\":\"{architecture}\"")), "{config}");
        }
    }
}
