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

/// A program with an owner and rights of its own, a device, and plain files.
#[cfg(target_os = "linux")]
fn demanding() -> palan_testkit::image::Image {
    use palan_layer::tar::{Kind, Meta};
    let mut program = Meta::FILE.mode(0o4755).owner(12_345, 12_345);
    program.xattrs = vec![(b"security.capability".to_vec(), b"odd".to_vec())];
    let lower = LayerSpec::new()
        .raw(move |tar| tar.bytes("bin/su", &program, b"program"))
        .raw(|tar| tar.special("dev/null", Kind::CharDevice(1, 3), &Meta::FILE.mode(0o666)))
        .raw(|tar| tar.dir("closed", &Meta::DIR.mode(0o555)))
        .file("closed/a", "old");
    let upper = LayerSpec::new().file("closed/a", "new").symlink("etc", "/etc").hard_link("b", "closed/a");
    ImageSpec::new("linux/amd64").layers([lower, upper].map(LayerSpec::build)).build()
}

#[cfg(target_os = "linux")]
mod dir {
    use std::{
        fs,
        os::unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            process::CommandExt as _,
        },
        path::Path,
    };

    use palan_layer::extract::Owners;

    use super::*;

    fn is_root() -> bool {
        Owners::usual() == Owners::Archive
    }

    #[test]
    fn files_go_to_a_directory() {
        let context = TestContext::new();
        context.push("app:1", &app("linux/amd64").graph());
        fs::create_dir(context.path("from-before")).unwrap();
        context.write("from-before/file", "mine");
        let words = ["export", "@@app:1", "--dir", "x", "--same-owner"];
        if is_root() {
            assert_snapshot!(context.run(&words), @"
            exit: 0
            --- stdout

            --- stderr
            extracted 2 layers of [HOST]/app:1 to x: 2 entries, 14 B
            ");
        }
        let extracted = context.run(&["export", "@@app:1", "--dir", "y"]).ok();
        assert_eq!(extracted.stdout, b"");
        assert_eq!(fs::read_to_string(context.path("y/a")).unwrap(), "linux/amd64");
        assert_eq!(fs::read_to_string(context.path("y/b")).unwrap(), "old");
        assert_snapshot!(context.run(&["export", "@@app:1", "--dir", "from-before"]), @"
        exit: 1
        --- stdout

        --- stderr
        error: [HOST]/app@sha256:… cannot be extracted to from-before
          caused by: the directory from-before is not empty
        hint: name a directory that is empty, or does not exist yet
        ");
        assert_snapshot!(context.run(&["export", "@@app:1", "--dir", "no/such"]), @"
        exit: 3
        --- stdout

        --- stderr
        error: [HOST]/app@sha256:… cannot be extracted to no/such
          caused by: cannot create the directory no/such
          caused by: No such file or directory (os error 2)
        ");
        assert_snapshot!(context.run(&["export", "@@app:1", "z.tar", "--dir", "z"]), @"
        exit: 2
        --- stdout

        --- stderr
        error: the argument '[TARBALL]' cannot be used with '--dir <DIR>'

        Usage: palan export <IMAGE> <TARBALL>

        For more information, try '--help'.
        ");
        assert_snapshot!(context.run(&["export", "@@app:1", "--same-owner"]), @"
        exit: 2
        --- stdout

        --- stderr
        error: the following required arguments were not provided:
          --dir <DIR>

        Usage: palan export --dir <DIR> --same-owner <IMAGE> [TARBALL]

        For more information, try '--help'.
        ");
        fs::create_dir(context.path("empty")).unwrap();
        context.run(&["export", "@@app:1", "--dir", "empty"]).ok();
        assert_eq!(fs::read_to_string(context.path("empty/b")).unwrap(), "old");
        let left = context.left().into_iter().filter(|name| name != "x");
        assert_eq!(left.collect::<Vec<_>>(), ["empty", "from-before", "y"]);
        assert_eq!(fs::read_dir(context.path("from-before")).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_restored_is_told() {
        let context = TestContext::new();
        context.push("app:1", &demanding().graph());
        if is_root() {
            assert_snapshot!(context.run(&["export", "@@app:1", "--dir", "root"]), @r#"
            exit: 0
            --- stdout

            --- stderr
            note: not restored: capabilities of 1 entry: "bin/su"
            extracted 2 layers of [HOST]/app:1 to root: 6 entries, 10 B
            "#);
            let found = fs::metadata(context.path("root/bin/su")).unwrap();
            assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o4755, 12_345, 12_345));
        }
        // The last of the two counts.
        let words = ["export", "@@app:1", "--dir", "mine", "--same-owner", "--no-same-owner"];
        let told = context.run(&words).ok().stderr;
        for loss in [
            "the owner of",
            "set-user-ID and set-group-ID bits of 1 entry: \"bin/su\"",
            "capabilities of 1 entry",
        ] {
            assert!(told.contains(&format!("note: not restored: {loss}")), "{told}");
        }
        assert_eq!(fs::metadata(context.path("mine/bin/su")).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(context.path("mine/closed")).unwrap().mode() & 0o7777, 0o555);
        assert_eq!(fs::metadata(context.path("mine/b")).unwrap().nlink(), 2);
        assert_eq!(fs::read_link(context.path("mine/etc")).unwrap(), Path::new("/etc"));
        open_up(&context.path("mine"));
    }

    /// So that others than root can remove it.
    fn open_up(dir: &Path) {
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// As somebody who is not root, which only root can become.
    #[test]
    fn without_root_files_are_ones_own() {
        let context = TestContext::new();
        context.push("app:1", &demanding().graph());
        let home = context.path("");
        let mut command = context.command(&["export", "@@app:1", "--dir", "mine"]);
        if is_root() {
            for dir in home.ancestors().take_while(|dir| *dir != std::env::temp_dir()) {
                fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
            }
            command.uid(54_321).gid(54_321);
        }
        let Ok(output) = command.output() else {
            eprintln!("SKIPPED: the binary is where only root may go");
            return;
        };
        assert_snapshot!(context.show(output), @r#"
        exit: 0
        --- stdout

        --- stderr
        note: not restored: the owner of 4 entries: "b", "bin/su", "etc", and 1 more
        note: not restored: set-user-ID and set-group-ID bits of 1 entry: "bin/su"
        note: not restored: capabilities of 1 entry: "bin/su"
        note: not restored: devices, which only root may create, of 1 entry: "dev/null"
        extracted 2 layers of [HOST]/app:1 to mine: 5 entries, 10 B
        "#);
        let found = fs::metadata(context.path("mine/closed/a")).unwrap();
        assert_eq!((found.uid() == 54_321, found.nlink()), (is_root(), 2));
        assert_eq!(fs::metadata(context.path("mine/bin/su")).unwrap().mode() & 0o7777, 0o755);
        assert!(!context.path("mine/dev/null").exists());
        let mut command = context.command(&["export", "@@app:1", "--dir", "theirs", "--same-owner"]);
        if is_root() {
            command.uid(54_321).gid(54_321);
        }
        assert_snapshot!(context.show(command.output().unwrap()), @r#"
        exit: 1
        --- stdout

        --- stderr
        error: [HOST]/app@sha256:… cannot be extracted to theirs
          caused by: cannot set the owner of "b"
          caused by: Operation not permitted (os error 1)
        hint: --no-same-owner makes all files your own
        "#);
        // An empty directory, with a read-only one to be moved into it.
        fs::create_dir(context.path("empty")).unwrap();
        fs::set_permissions(context.path("empty"), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = context.command(&["export", "@@app:1", "--dir", "empty"]);
        if is_root() {
            command.uid(54_321).gid(54_321);
        }
        context.show(command.output().unwrap()).ok();
        assert_eq!(fs::metadata(context.path("empty/closed")).unwrap().mode() & 0o7777, 0o555);
        assert_eq!(fs::read_to_string(context.path("empty/closed/a")).unwrap(), "new");
        assert_eq!(context.left(), ["empty", "mine"]);
        ["mine", "empty"].iter().for_each(|dir| open_up(&context.path(dir)));
    }

    #[test]
    fn what_leads_out_of_the_directory_is_refused_and_leaves_nothing() {
        let context = TestContext::new();
        let image = |layer: LayerSpec| ImageSpec::new("linux/amd64").layer(layer.build()).build().graph();
        context.push("up:1", &image(LayerSpec::new().file("fine", "").file("../up", "1")));
        let links = LayerSpec::new().symlink("d/out", "../../x").symlink("etc", "/etc").hard_link("e", "etc");
        context.push("links:1", &image(links));
        assert_snapshot!(context.run(&["export", "@@up:1", "--dir", "x", "--no-same-owner"]), @r#"
        exit: 7
        --- stdout

        --- stderr
        error: [HOST]/up@sha256:… cannot be extracted to x
          caused by: tar entry "../up": it has '..' on its way, and nothing is extracted to where that leads
        "#);
        // Links may lead anywhere, as they are not followed.
        let linked = context.run(&["export", "@@links:1", "--dir", "links"]).ok();
        assert!(linked.stderr.starts_with(
            "warning: 1 entry with names or links that lead out of the root are in the directory as they are: \"d/out\"\n"
        ));
        assert_eq!(fs::read_link(context.path("links/d/out")).unwrap(), Path::new("../../x"));
        assert_eq!(fs::read_link(context.path("links/e")).unwrap(), Path::new("/etc"));
        assert_eq!(context.left(), ["links"]);
    }

    #[test]
    fn damaged_layers_leave_nothing() {
        let context = TestContext::new();
        let noise = |seed| LayerSpec::new().noise("noise", seed, 400_000).build();
        let image = ImageSpec::new("linux/amd64").layers([noise(1), noise(2)]).build();
        context.push("app:1", &image.graph());
        context.run(&["copy", "@@app:1", "oci:layout"]).ok();
        let blob = context.path("layout/blobs/sha256").join(image.layers[1].digest.hex());
        let bytes = fs::read(&blob).unwrap();
        fs::write(&blob, &bytes[..100_000]).unwrap();
        fs::create_dir(context.path("empty")).unwrap();
        for dir in ["x", "empty"] {
            let printed = context.run(&["export", "oci:layout", "--dir", dir]);
            assert_eq!(printed.code, Some(7), "{}", printed.stderr);
        }
        assert_eq!(context.left(), ["empty", "layout"]);
        assert_eq!(fs::read_dir(context.path("empty")).unwrap().count(), 0);
    }
}
