//! Single layers, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{Image, ImageSpec, IndexSpec, LayerSpec, layer};

use crate::TestContext;

fn tools(platform: &str) -> Image {
    let step = |name: &str| {
        LayerSpec::new()
            .file(name, format!("{name} for {platform}"))
            .created_by(format!("COPY {name} /"))
            .build()
    };
    ImageSpec::new(platform).layers(["base", "curl", "jq"].map(step)).build()
}

fn app(platform: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("app", platform.as_bytes())])).build()
}

/// `tools:1` and `app:1`, for two platforms, and `arm:1`, for one.
fn context() -> TestContext {
    let context = TestContext::new();
    let index =
        |of: fn(&str) -> Image| IndexSpec::new().images(["linux/amd64", "linux/arm64"].map(of)).build();
    context.name(context.push("tools:1", &index(tools).graph()), "TOOLS");
    context.name(context.push("app:1", &index(app).graph()), "APP");
    context.name(context.push("arm:1", &tools("linux/arm64").graph()), "ARM");
    context
}

#[test]
fn layers_are_picked_for_every_platform() {
    let context = context();
    let words = ["layers", "pick", "@@tools:1", "3", "COPY curl", "--onto", "@@app:1", "-t", "@@app:2"];
    let before = context.requests().len();
    let picked = context.run(&words).ok();
    assert_snapshot!(picked, @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    picked 2 layers of [HOST]/tools:1 onto [HOST]/app:1 for 2 platforms: 2 blobs moved (1.39 KiB), 4 blobs mounted or linked, 2 blobs already there
    ");
    let layers: Vec<String> = ["linux/amd64", "linux/arm64"]
        .iter()
        .flat_map(|p| tools(p).graph().blobs)
        .map(|(d, _)| d.digest.hex().to_string())
        .collect();
    let asked = context.requests().split_off(before);
    let got =
        asked.iter().filter(|line| line.starts_with("GET ") && layers.iter().any(|hex| line.contains(hex)));
    assert_eq!(got.count(), 2, "the two configs are read, and no layer");
    assert_eq!(context.run(&["digest", "--full-ref", "@@app:2"]).ok().text(), picked.text());
    context.run(&["validate", "@@app:2"]).ok();
    let config = context.run(&["config", "@@app:2", "--platform", "linux/arm64"]).ok();
    let config: serde_json::Value = serde_json::from_slice(&config.stdout).unwrap();
    let commands: Vec<_> = config["history"].as_array().unwrap().iter().map(|h| &h["created_by"]).collect();
    assert_eq!(commands[2..], ["COPY jq /", "COPY curl /"]);
}

#[test]
fn a_dry_run_says_what_would_be_picked() {
    let context = context();
    let words = ["layers", "pick", "@@tools:1", "2..3", "--onto", "@@app:1", "-t", "@@app:2", "--dry-run"];
    assert_snapshot!(context.run(&words), @"
    exit: 0
    --- stdout
    image:  [HOST]/app:1 is [APP]
    layers: [HOST]/tools:1 is [TOOLS]
    result: [HOST]/app:2 would be sha256:…

    linux/amd64
      on top of 1 layer:
        2  sha256:…  108 B  COPY curl /
        3  sha256:…  107 B  COPY jq /
      manifest: sha256:… becomes sha256:…

    linux/arm64
      on top of 1 layer:
        2  sha256:…  107 B  COPY curl /
        3  sha256:…  106 B  COPY jq /
      manifest: sha256:… becomes sha256:…

    --- stderr
    ");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, Some(3));
    let plan = context.run(&[words.as_slice(), &["--format", "json"]].concat()).ok();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["platforms"][1]["layers"][0]["number"], 2);
    assert_eq!(plan["verdict"], "not assessed");
    let done = context.run(&[&words[..8], &["--format", "json"]].concat()).ok();
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["new_digest"], plan["new_digest"]);
    assert_eq!(done["outcome"]["digest"], plan["new_digest"]);
}

#[test]
fn what_names_no_single_layer_is_explained() {
    let context = context();
    let pick = |source: &str, layer: &str| {
        context.run(&["layers", "pick", source, layer, "--onto", "@@app:1", "-t", "@@app:2"])
    };
    assert_snapshot!(pick("@@tools:1", "COPY"), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: [HOST]/tools@sha256:…: "COPY" is 3 layers: layer 1 (COPY base /), layer 2 (COPY curl /), layer 3 (COPY jq /)
    hint: palan inspect [HOST]/tools@sha256:… shows the layers; they are counted from 1
    "#);
    assert_snapshot!(pick("@@tools:1", "7"), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/tools@sha256:…: there is no layer 7, the image has 3
    hint: palan inspect [HOST]/tools@sha256:… shows the layers; they are counted from 1
    ");
    assert_snapshot!(pick("@@tools:1", "0"), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value '0' for '<LAYER>...': "0" names no layers: they are counted from 1, and a range goes up

    For more information, try '--help'.
    "#);
    assert_snapshot!(pick("@@arm:1", "1"), @"
    exit: 3
    --- stdout

    --- stderr
    error: [HOST]/arm:1 is an image for linux/arm64, not for linux/amd64
    ");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, Some(3));
    let any = ["layers", "pick", "@@arm:1", "1", "--onto", "@@app:1", "-t", "@@app:2", "--any-platform"];
    assert_snapshot!(context.run(&any), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    note: linux/amd64: the layers were made for linux/arm64
    picked 1 layer of [HOST]/arm:1 onto [HOST]/app:1 for 2 platforms: 2 blobs moved (1.13 KiB), 1 blob mounted or linked, 2 blobs already there
    ");
}
