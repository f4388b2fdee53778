//! `flatten`, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{Attestation, Image, ImageSpec, IndexSpec, LayerSpec};

use crate::{TestContext, family};

fn app(platform: &str) -> Image {
    let lower = LayerSpec::new().file("a", "old").file("gone", "1").created_by("COPY a").build();
    let upper = LayerSpec::new().file("a", platform).whiteout("gone").created_by("RUN rm gone").build();
    let top = LayerSpec::new().file("b", platform).created_by("COPY b").build();
    ImageSpec::new(platform).layers([lower, upper, top]).build()
}

fn config(context: &TestContext, image: &str) -> serde_json::Value {
    serde_json::from_slice(&context.run(&["config", image]).ok().stdout).unwrap()
}

#[test]
fn an_image_becomes_one_layer_in_its_place() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let before = context.run(&["export", "@@app:1"]).ok().stdout;
    let flat = context.run(&["flatten", "@@app:1"]).ok();
    assert_snapshot!(flat, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    flattened [HOST]/app:1: 2 blobs moved (766 B)
    ");
    assert_eq!(context.run(&["digest", "--full-ref", "@@app:1"]).ok().text(), flat.text());
    context.run(&["validate", "@@app:1"]).ok();
    assert_eq!(context.run(&["export", "@@app:1"]).ok().stdout, before);
    let config = config(&context, "@@app:1");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    assert_snapshot!(config["history"], @r#"[{"created":"2025-01-01T00:00:00Z","created_by":"palan flatten","comment":"[{\"created\":\"2025-01-01T00:00:00Z\",\"created_by\":\"COPY a\"},{\"created\":\"2025-01-01T00:00:00Z\",\"created_by\":\"RUN rm gone\"},{\"created\":\"2025-01-01T00:00:00Z\",\"created_by\":\"COPY b\"},{\"created\":\"2025-01-01T00:00:00Z\",\"created_by\":\"ENV PATH=/usr/bin:/bin\",\"empty_layer\":true}]"}]"#);
    assert_snapshot!(context.run(&["flatten", "@@app:1"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: linux/amd64: there is nothing to flatten, the image has one layer
    nothing changed: [HOST]/app:1
    ");
}

/// crane's result depends on the time and on the number of cores.
#[test]
fn the_result_is_the_same_each_time() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let flat = |tag: &str, epoch: &str| {
        context
            .run_with(&["flatten", "@@app:1", "-t", tag], &[("SOURCE_DATE_EPOCH", epoch.as_ref())])
            .ok()
            .text()
    };
    assert_eq!(flat("@@app:2", ""), flat("@@app:3", ""));
    assert_ne!(flat("@@app:4", "1"), flat("@@app:2", ""));
    let config = config(&context, "@@app:4");
    assert_eq!(
        (&config["created"], &config["history"][0]["created"]),
        (&"1970-01-01T00:00:01Z".into(), &"1970-01-01T00:00:01Z".into())
    );
}

#[test]
fn an_index_stays_one() {
    let context = TestContext::new();
    let index =
        IndexSpec::new().images(["linux/amd64", "linux/arm64"].map(app)).attest(Attestation::Artifact);
    context.push("app:1", &index.build().graph());
    let words = ["flatten", "@@app:1", "-t", "@@app:2"];
    assert_snapshot!(context.run(&[&words[..], &["--dry-run"]].concat()), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: the attestation sha256:… is about sha256:…, which is replaced: kept, and marked as such
    note: the attestation sha256:… is about sha256:…, which is replaced: kept, and marked as such
    dry run: nothing was written: [HOST]/app:2
    ");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, Some(3));
    context.run(&words).ok();
    context.run(&["validate", "@@app:2"]).ok();
    for platform in ["linux/amd64", "linux/arm64"] {
        let layers = |image: &str| {
            let manifest = context.run(&["manifest", image, "--platform", platform]).ok().stdout;
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            manifest["layers"].as_array().unwrap().len()
        };
        assert_eq!((layers("@@app:1"), layers("@@app:2")), (3, 1));
        let files = |image: &str| context.run(&["export", image, "--platform", platform]).ok().stdout;
        assert!(files("@@app:1") == files("@@app:2"), "{platform}");
    }
}

#[test]
fn lower_layers_may_stay() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let expected = context.run(&["export", "@@app:1"]).ok().stdout;
    let layers = |image: &str| config(&context, image)["rootfs"]["diff_ids"].as_array().unwrap().len();
    for (flag, number, count) in
        [("--last", "2", 2), ("--keep-base=1", "", 2), ("--keep_base=0", "", 1), ("--last", "9", 1)]
    {
        let words: Vec<&str> = ["flatten", "@@app:1", "-t", "@@app:2", flag, number]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        context.run(&words).ok();
        assert_eq!(layers("@@app:2"), count, "{flag} {number}");
        assert!(context.run(&["export", "@@app:2"]).ok().stdout == expected, "{flag} {number}");
    }
    assert_snapshot!(context.run(&["flatten", "@@app:1", "--keep-base"]), @"
    exit: 6
    --- stdout

    --- stderr
    error: the current base of [HOST]/app:1 (linux/amd64) is not known: nothing that is written about it could be compared with its layers
    hint: say how many layers it has, --keep-base=N, or name it: --onto-base BASE
    ");
    let bases = family("linux/amd64");
    context.push("base:1", &bases.old.graph());
    let extra = LayerSpec::new().file("extra", "1").build();
    let app = ImageSpec::new("linux/amd64").on(&bases.app).layer(extra);
    let app = app.annotation("org.opencontainers.image.base.name", format!("{}/base:1", context.host()));
    context.push("based:1", &app.build().graph());
    assert_snapshot!(context.run(&["flatten", "@@app:1", "--onto-base", "@@base:1", "-t", "@@app:3"]), @"
    exit: 6
    --- stdout

    --- stderr
    error: the current base of [HOST]/app@sha256:… is not known: its lowest layers are not those of [HOST]/base:1
    hint: say how many layers it has, --keep-base=N, or name it: --onto-base BASE
    ");
    context.run(&["flatten", "@@based:1", "--onto-base", "@@base:1", "-t", "@@based:2"]).ok();
    assert_eq!(layers("@@based:2"), 3, "two layers of the base stay, two others become one");
    context.run(&["flatten", "@@based:1", "--keep-base"]).ok();
    assert_eq!(layers("@@based:1"), 3, "two layers of the base stay, two others become one");
}

#[test]
fn compression_is_a_choice() {
    let context = TestContext::new();
    context.push("app:1", &app("linux/amd64").graph());
    let docker = ImageSpec::new("linux/amd64").family(palan_core::Family::Docker).on(&app("linux/amd64"));
    context.push("docker:1", &docker.build().graph());
    for (kind, suffix) in [("zstd", "tar+zstd"), ("none", "layer.v1.tar"), ("gzip", "tar+gzip")] {
        context.run(&["flatten", "@@app:1", "-t", "@@app:2", "--compression", kind]).ok();
        let manifest = context.run(&["manifest", "@@app:2"]).ok().text();
        assert!(manifest.contains(&format!("{suffix}\"")), "{manifest}");
        context.run(&["validate", "@@app:2"]).ok();
    }
    let sizes = ["0", "9"].map(|level| {
        context.run(&["flatten", "@@app:1", "-t", "@@app:2", "--level", level]).ok();
        let manifest: serde_json::Value =
            serde_json::from_slice(&context.run(&["manifest", "@@app:2"]).ok().stdout).unwrap();
        manifest["layers"][0]["size"].as_u64().unwrap()
    });
    assert!(sizes[0] > sizes[1]);
    assert_snapshot!(context.run(&["flatten", "@@app:1", "--level", "13"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: gzip has no level 13; levels are 0 to 12
    ");
    assert_snapshot!(context.run(&["flatten", "@@docker:1", "--compression", "zstd"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: the flattened layer of [HOST]/docker@sha256:… cannot be stored: there is no media type for zstd layers in Docker images
    hint: --compression gzip stores it as gzip
    ");
    context.run(&["flatten", "@@docker:1"]).ok();
    let manifest = context.run(&["manifest", "@@docker:1"]).ok().text();
    assert!(!manifest.contains("oci") && manifest.contains("diff.tar.gzip"), "{manifest}");
}
