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
    assert_snapshot!(picked, @"");
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
    assert_snapshot!(context.run(&["config", "@@app:2", "--platform", "linux/arm64"]).ok().text(), @"");
}

#[test]
fn a_dry_run_says_what_would_be_picked() {
    let context = context();
    let words = ["layers", "pick", "@@tools:1", "2..3", "--onto", "@@app:1", "-t", "@@app:2", "--dry-run"];
    assert_snapshot!(context.run(&words), @"");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, 3);
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
    assert_snapshot!(pick("@@tools:1", "COPY"), @"");
    assert_snapshot!(pick("@@tools:1", "7"), @"");
    assert_snapshot!(pick("@@tools:1", "0"), @"");
    assert_snapshot!(pick("@@arm:1", "1"), @"");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, 3);
    let any = ["layers", "pick", "@@arm:1", "1", "--onto", "@@app:1", "-t", "@@app:2", "--any-platform"];
    assert_snapshot!(context.run(&any), @"");
}
