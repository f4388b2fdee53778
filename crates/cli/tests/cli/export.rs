//! `export`, on the command line.

use insta::assert_snapshot;
use palan_testkit::{
    fault::Reply,
    image::{ImageSpec, IndexSpec, LayerSpec, layer},
};

use crate::TestContext;

fn app(platform: &str) -> palan_testkit::image::Image {
    let lower = LayerSpec::new().file("a", "old").file("gone", "1").hard_link("b", "a").build();
    let upper = LayerSpec::new().file("a", platform).whiteout("gone").build();
    ImageSpec::new(platform).layers([lower, upper]).build()
}

/// Names and content of files.
fn files(tar: &[u8]) -> Vec<String> {
    let mut archive = palan_layer::tar::Archive::new(tar);
    let mut out = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let content = std::io::read_to_string(&mut entry).unwrap();
        out.push(format!("{}: {content}", String::from_utf8_lossy(entry.path())));
    }
    out
}

#[test]
fn an_archive_goes_to_stdout_or_into_a_file() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let printed = context.run(&["export", "@@app:1"]).ok();
    assert_eq!(files(&printed.stdout), ["a: linux/amd64", "b: old"]);
    assert_snapshot!(printed.stderr, @"exported 2 layers of [HOST]/app:1: 2 entries, 3.00 KiB");
    assert_eq!(context.run(&["export", "@@app:1", "-"]).ok().stdout, printed.stdout);
    assert_snapshot!(context.run(&["export", "@@app:1", "x.tar"]), @"
    exit: 0
    --- stdout

    --- stderr
    exported 2 layers of [HOST]/app:1: 2 entries, 3.00 KiB
    ");
    assert_eq!(std::fs::read(context.path("x.tar")).unwrap(), printed.stdout);
    let requests = context.requests();
    let layers = app("linux/amd64").graph().blobs.into_iter().take(2);
    for (layer, _) in layers {
        let hex = layer.digest.hex();
        let got = requests.iter().filter(|line| line.starts_with("GET ") && line.contains(&hex)).count();
        assert_eq!(got, 3, "each export reads each layer once");
    }
}

#[test]
fn one_image_of_an_index() {
    let context = TestContext::new();
    let index = IndexSpec::new().images(["linux/amd64", "linux/arm64"].map(app)).build();
    context.push("app:1", &index.graph());
    let chosen = context.run(&["export", "@@app:1"]).ok();
    assert_eq!(files(&chosen.stdout)[0], "a: linux/amd64");
    assert_snapshot!(chosen.stderr, @"
    note: chose linux/amd64 of 2 platforms
    exported 2 layers of [HOST]/app:1: 2 entries, 3.00 KiB
    ");
    let arm = context.run(&["export", "@@app:1", "--platform", "linux/arm64"]).ok();
    assert_eq!(files(&arm.stdout)[0], "a: linux/arm64");
    assert_snapshot!(context.run(&["export", "@@app:1", "x", "--platform", "linux/arm64,linux/amd64"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --platform was given 2 times, this command works on one image
    ");
}

#[test]
fn archives_come_from_stdin_and_images_from_every_place() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let expected = context.run(&["export", "@@app:1"]).ok().stdout;
    for (place, file) in
        [("docker-archive:d.tar", "d.tar"), ("oci-archive:o.tar", "o.tar"), ("oci:layout", "")]
    {
        context.run(&["copy", "@@app:1", place]).ok();
        assert!(context.run(&["export", place]).ok().stdout == expected, "{place}");
        if !file.is_empty() {
            let input = std::fs::read(context.path(file)).unwrap();
            assert!(context.run_input(&["export", "-"], &input).ok().stdout == expected, "{place}");
        }
    }
    assert_eq!(context.run_input(&["export", "-"], b"no archive").code, Some(7));
}

/// What crane leaves behind is a part of the archive.
#[test]
fn a_failure_leaves_no_file_and_is_an_exit_code() {
    let context = TestContext::new();
    let noise = |seed| LayerSpec::new().noise("noise", seed, 400_000).build();
    let image = ImageSpec::new("linux/amd64").layers([noise(1), noise(2)]).build();
    context.push("app:1", &image.graph());
    context.run(&["copy", "@@app:1", "oci:layout"]).ok();
    let blob = context.path("layout/blobs/sha256").join(image.layers[1].digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes.truncate(100_000);
    std::fs::write(&blob, bytes).unwrap();
    context.write("x.tar", "from before");
    assert_eq!(context.run(&["export", "oci:layout", "x.tar"]).code, Some(7));
    assert_eq!(context.run(&["export", "oci:layout", "y.tar"]).code, Some(7));
    assert_eq!(context.left(), ["layout", "x.tar"]);
    assert_eq!(std::fs::read(context.path("x.tar")).unwrap(), b"from before");
    let printed = context.run(&["export", "oci:layout"]);
    assert_eq!((printed.code, printed.stdout.len()), (Some(7), 0));
    assert_eq!(context.run(&["export", "@@app:1", "no/such/folder.tar"]).code, Some(3));
    if cfg!(target_os = "linux") {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = context.command(&["export", "@@app:1"]).stdout(full).output().unwrap();
        assert_snapshot!(context.show(output), @"
        exit: 1
        --- stdout

        --- stderr
        error: the output cannot be written
          caused by: No space left on device (os error 28)
        ");
        // What is no file is written to, not replaced.
        context.run(&["export", "@@app:1", "/dev/null"]).ok();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}

#[test]
fn what_leads_out_of_the_root_is_told() {
    let context = TestContext::new();
    let odd = LayerSpec::new().file("../up", "1").symlink("d/out", "../../x").file("a:b", "2").build();
    context.push("odd:1", &ImageSpec::new("linux/amd64").layer(odd).build().graph());
    let exported = context.run(&["export", "@@odd:1"]).ok();
    assert_eq!(files(&exported.stdout), ["../up: 1", "a:b: 2", "d/out: "]);
    assert_snapshot!(exported.stderr, @r#"
    warning: 2 entries with names or links that lead out of the root are in the archive as they are: "../up", "d/out"
    exported 1 layer of [HOST]/odd:1: 3 entries, 3.50 KiB
    "#);
}

#[test]
fn an_artifact_of_one_blob_is_that_blob() {
    let context = TestContext::new();
    let mut blob = layer(&[("a", b"1")]);
    blob.bytes = (&b"just bytes"[..]).into();
    blob.digest = palan_core::Digest::sha256(b"just bytes");
    let blob = blob.with_media_type(palan_core::MediaType::new("application/x-thing"));
    let artifact = ImageSpec::new("linux/amd64").layer(blob);
    let artifact = artifact.manifest_field("/config/mediaType", "application/x-config").build();
    context.push("thing:1", &artifact.graph());
    assert_snapshot!(context.run(&["export", "@@thing:1"]), @"
    exit: 0
    --- stdout
    just bytes
    --- stderr
    exported the only blob of [HOST]/thing:1, which is no archive of files: application/x-thing, 10 B
    ");
}

#[test]
fn schema_1_is_refused_by_name() {
    let context = TestContext::new();
    let manifest =
        r#"{"schemaVersion":1,"name":"old","tag":"1","architecture":"amd64","fsLayers":[],"history":[]}"#;
    let registry = context.faulty(move |request| match request.path().contains("/manifests/") {
        true => Reply::status(200)
            .header("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
            .body(manifest),
        false => Reply::status(200),
    });
    let image = format!("{}/old:1", registry.host());
    let result = context.run(&["export", &image]);
    assert!(result.stderr.contains("schema 1"), "{result}");
    assert_ne!(result.code, Some(0));
}
