//! Indexes, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{Attestation, Image, ImageSpec, Index, IndexSpec, layer};

use crate::{TestContext, families, family};

fn image(platform: &str, content: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("app", content.as_bytes())])).build()
}

fn index() -> Index {
    IndexSpec::new()
        .images([image("linux/amd64", "old"), image("linux/arm64", "old")])
        .attest(Attestation::Artifact)
        .build()
}

fn context() -> TestContext {
    let context = TestContext::new();
    let index = index();
    context.name(context.push("app:1", &index.graph()), "INDEX");
    context.name(context.push("new:1", &image("linux/amd64", "new").graph()), "NEW");
    context.name(index.images[0].digest(), "AMD");
    context.name(index.images[1].digest(), "ARM");
    context.name(index.attestations[0].manifest.digest(), "ABOUT-AMD");
    context.name(index.attestations[1].manifest.digest(), "ABOUT-ARM");
    context
}

#[test]
fn an_index_is_listed_as_crane_lists_it() {
    let context = context();
    let listed = context.run(&["index", "list", "@@app:1"]).ok();
    let index = index();
    let mut lines = format!("{:<70} {:<20} Platform\n", "Digest", "MediaType");
    for (digest, platform) in [
        (index.images[0].digest(), "linux/amd64"),
        (index.images[1].digest(), "linux/arm64"),
        (index.attestations[0].manifest.digest(), "unknown/unknown"),
        (index.attestations[1].manifest.digest(), "unknown/unknown"),
    ] {
        lines += &format!("{digest} application/vnd.oci.image.manifest.v1+json {platform}\n");
    }
    // A digest has 71 characters: one more than crane's column.
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), lines);

    let json = context.run(&["index", "list", "@@app:1", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[1]["platform"]["architecture"], "arm64");
    context.run(&["pull", "--format", "oci", "@@app:1", "dir"]).ok();
    assert_snapshot!(context.run(&["index", "list", "./dir"]), @"
    exit: 0
    --- stdout
    Digest                                                                 MediaType            Platform
    [INDEX] application/vnd.oci.image.index.v1+json -

    --- stderr
    note: ./dir is taken for oci:./dir, not for a reference into a registry
    ");
    assert_snapshot!(context.run(&["index", "list", "@@new:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [HOST]/new@[NEW] is a single image, an index is needed
    ");
}

#[test]
fn an_image_is_appended() {
    let context = context();
    assert_snapshot!(context.run(&["index", "append", "@@app:1", "-m", "@@new:1", "-t", "@@app:2"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: the entry [AMD] for linux/amd64 is replaced by [NEW]
    note: the entry [ABOUT-AMD] is about one that is replaced: left out
    appended 1 manifest to [HOST]/app:2: 2 blobs mounted or linked
    ");
    assert_snapshot!(context.run(&["index", "list", "@@app:2"]), @"
    exit: 0
    --- stdout
    Digest                                                                 MediaType            Platform
    [NEW] application/vnd.oci.image.manifest.v1+json linux/amd64
    [ARM] application/vnd.oci.image.manifest.v1+json linux/arm64
    [ABOUT-ARM] application/vnd.oci.image.manifest.v1+json unknown/unknown

    --- stderr
    ");
    assert_snapshot!(context.run(&["index", "append", "@@app:2", "@@new:1"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    nothing changed: [HOST]/app:2
    ");
    assert_snapshot!(context.run(&["index", "append", "-m", "@@new:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: an index to add to or --tag is needed
    ");
    let words = [
        "index",
        "append",
        "-m",
        "@@new:1,@@app:1",
        "-t",
        "@@made:1",
        "--docker-empty-base",
        "--flatten=false",
    ];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    [HOST]/made@sha256:…

    --- stderr
    note: no index to add to was given: starting from an empty one
    note: a Docker list that lists OCI manifests: some clients take one kind only
    appended 2 manifests to [HOST]/made:1: 8 blobs mounted or linked
    ");
    let made = context.run(&["manifest", "@@made:1"]).ok().text();
    assert!(made.contains("application/vnd.docker.distribution.manifest.list.v2+json"), "{made}");
    context.run(&["validate", "@@made:1"]).ok();
}

#[test]
fn a_digest_is_appended_to_without_a_tag() {
    let context = context();
    let base = format!("@@app@{}", index().digest());
    let done = context.run(&["index", "append", &base, "-m", "@@new:1", "--keep-existing"]).ok().text();
    let listed = context.run(&["index", "list", &done]).ok().text();
    assert_eq!(listed.lines().count(), 6);
    let tagged = context.run(&["digest", "@@app:1"]).ok().text();
    assert_eq!(tagged, index().digest().to_string(), "the tag was not moved");
}

#[test]
fn a_layout_is_appended_to_as_crane_does_it() {
    let context = context();
    assert_snapshot!(context.run(&["index", "append", "./dir", "@@new:1", "@@app:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    note: adding to what the layout ./dir lists
    appended 2 manifests to ./dir: 8 blobs moved (1.98 KiB)
    ");
    assert_snapshot!(context.run(&["index", "list", "oci:dir"]), @"
    exit: 0
    --- stdout
    Digest                                                                 MediaType            Platform
    [NEW] application/vnd.oci.image.manifest.v1+json linux/amd64
    [AMD] application/vnd.oci.image.manifest.v1+json linux/amd64
    [ARM] application/vnd.oci.image.manifest.v1+json linux/arm64
    [ABOUT-AMD] application/vnd.oci.image.manifest.v1+json unknown/unknown
    [ABOUT-ARM] application/vnd.oci.image.manifest.v1+json unknown/unknown

    --- stderr
    ");
    let archive = context.run(&["pull", "@@new:1", "new.tar"]);
    assert_eq!(archive.code, Some(0));
    assert_snapshot!(context.run(&["index", "append", "-m", "new.tar", "-t", "@@from-file:1"]), @"
    exit: 0
    --- stdout
    [HOST]/from-file@sha256:…

    --- stderr
    note: new.tar is taken for docker-archive:new.tar, not for a reference into a registry
    note: no index to add to was given: starting from an empty one
    appended 1 manifest to [HOST]/from-file:1: 2 blobs moved (535 B)
    ");
}

#[test]
fn an_index_is_filtered() {
    let context = context();
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "linux/arm64", "-t", "@@app:2"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: the entry [ABOUT-AMD] is about [AMD], which is left out: left out too
    filtered to [HOST]/app:2: everything was there
    ");
    let listed = context.run(&["index", "list", "@@app:2"]).ok().text();
    assert_eq!(listed.lines().count(), 3);
    assert_snapshot!(context.run(&["index", "filter", "@@app:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: no platform was chosen: everything would be removed
    hint: choose what stays, for example --platform linux/amd64,linux/arm64
    ");
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "all"]), @"
    exit: 0
    --- stdout
    [HOST]/app@[INDEX]

    --- stderr
    note: --platform all: every image stays
    nothing changed: [HOST]/app:1
    ");
    assert_snapshot!(context.run(&["index", "filter", "@@app:1", "--platform", "windows"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/app@[INDEX] has no image for windows (it has linux/amd64, linux/arm64)
    hint: choose one of them, for example --platform linux/amd64
    ");
    assert_eq!(context.run(&["index", "filter", "@@app:9", "--platform", "linux"]).code, Some(3));
    assert_eq!(context.run(&["digest", "@@app:1"]).ok().text(), index().digest().to_string());
}

/// crane takes names for paths where it appends and lists, not where it filters.
#[test]
fn a_folder_with_the_name_of_an_image_does_not_hide_it() {
    let context = context();
    let name = format!("{}/app:1", context.host());
    std::fs::create_dir_all(context.path(&name)).unwrap();
    assert_eq!(context.run(&["index", "filter", &name, "--platform", "linux"]).code, Some(0));
    assert_eq!(context.run(&["index", "list", &name]).code, Some(7));
    context.run(&["pull", "--format", "oci", "@@app:1", "dir"]).ok();
    let filtered = context.run(&["index", "filter", "./dir", "--platform", "linux/arm64"]).ok();
    assert_eq!(context.run(&["index", "list", &filtered.text()]).ok().text().lines().count(), 3);
}

#[test]
fn entries_are_removed() {
    let context = context();
    let digest = index().images[0].digest().to_string();
    assert_snapshot!(context.run(&["index", "remove", "@@app:1", "--digest", &digest, "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: the entry [ABOUT-AMD] is about [AMD], which is left out: left out too
    dry run: nothing was written: [HOST]/app:1
    ");
    assert_snapshot!(context.run(&["index", "remove", "@@app:1", "--platform", "linux"]), @"
    exit: 11
    --- stdout

    --- stderr
    error: nothing would be left of [HOST]/app:1
    ");
    assert_snapshot!(context.run(&["index", "remove", "@@app:1"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: nothing to remove: --digest or --platform is missing
    ");
    assert_eq!(context.run(&["index", "remove", "@@app:1", "--platform", "linux/arm64"]).code, Some(0));
}

/// One image for two platforms is two entries: each is kept, removed and changed on its own.
#[test]
fn one_image_may_be_listed_for_several_platforms() {
    let context = TestContext::new();
    let [image, other] = ["linux/amd64", "linux/riscv64"].map(|p| family(p).app);
    let arm64 = palan_core::Descriptor {
        platform: Some(palan_core::Platform::new("linux", "arm64")),
        ..image.descriptor()
    };
    let index = IndexSpec::new().image(image.clone()).image_as(image.clone(), arm64).image(other);
    context.push("both:1", &index.build().graph());
    let listed = |name: &str| {
        let text = context.run(&["index", "list", name]).ok().text();
        let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.map(|row| (row[2].to_owned(), row[0] == image.digest().to_string())).collect::<Vec<_>>()
    };
    let row = |platform: &str, same: bool| (platform.to_owned(), same);
    let filter = ["index", "filter", "@@both:1", "-t", "@@both:2", "--platform", "linux/amd64,linux/riscv64"];
    context.run(&filter).ok();
    assert_eq!(listed("@@both:2"), [row("linux/amd64", true), row("linux/riscv64", false)]);
    context.run(&["mutate", "@@both:1", "-t", "@@both:3", "--platform", "linux/arm64", "-l", "a=b"]).ok();
    let changed = [row("linux/amd64", true), row("linux/arm64", false), row("linux/riscv64", false)];
    assert_eq!(listed("@@both:3"), changed);
}

#[test]
fn one_image_may_be_appended_for_several_platforms() {
    let context = context();
    let append = |tag: &str, platform: &str| {
        let words = ["index", "append", tag, "-m", "@@new:1", "--set-platform", platform, "-a", "k=v"];
        context.run(&words).ok()
    };
    let count = || context.run(&["index", "list", "@@app:1"]).ok().text().lines().count() - 1;
    append("@@app:1", "linux/riscv64");
    append("@@app:1", "linux/s390x");
    assert_eq!(count(), 6);
    assert!(append("@@app:1", "linux/s390x").stderr.contains("nothing changed"));
    assert_snapshot!(append("@@app:1", "linux/arm64"), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: the entry [ARM] for linux/arm64 is replaced by [NEW]
    note: the entry [ABOUT-ARM] is about one that is replaced: left out
    appended 1 manifest to [HOST]/app:1: everything was there
    ");
    assert_eq!(count(), 5);
}

/// crane index append: a layout is the list that it is.
#[test]
fn all_images_of_a_layout_are_appended() {
    let context = context();
    context.run(&["copy", "@@new:1", "oci:dir:new"]).ok();
    context.run(&["copy", "@@app:1", "oci:dir:app"]).ok();
    context.run(&["index", "append", "-m", "./dir", "-t", "@@all:1"]).ok();
    let listed = context.run(&["index", "list", "@@all:1"]).ok().text();
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.lines().nth(1).unwrap().ends_with("linux/amd64"), "{listed}");
}

#[test]
fn an_index_does_not_become_one_image_without_a_word() {
    let context = TestContext::new();
    context.push("app:1", &families().app.graph());
    context.push("one:1", &family("linux/amd64").app.graph());
    let ran = context.run(&["mutate", "@@one:1", "-l", "a=b", "-t", "@@app:1"]).ok();
    assert!(ran.stderr.contains("was an index, sha256:…, and is one image now"), "{ran}");
    let ran = context.run(&["mutate", "@@one:1", "-l", "c=d", "-t", "@@app:1"]).ok();
    assert!(!ran.stderr.contains("was an index"), "{ran}");
}
