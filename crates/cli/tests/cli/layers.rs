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
    looked into 8 layers: 846 B read
    picked 2 layers of [HOST]/tools:1 onto [HOST]/app:1 for 2 platforms (clean): 2 blobs moved (1.39 KiB), 4 blobs mounted or linked, 2 blobs already there
    ");
    let layers: Vec<String> = ["linux/amd64", "linux/arm64"]
        .iter()
        .flat_map(|p| tools(p).graph().blobs)
        .map(|(d, _)| d.digest.hex().to_string())
        .collect();
    let asked = context.requests().split_off(before);
    let got =
        asked.iter().filter(|line| line.starts_with("GET ") && layers.iter().any(|hex| line.contains(hex)));
    assert_eq!(got.count(), 8, "two configs, and six layers once each for the verdict");
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
    assert_snapshot!(context.run(&words), @r#"
    exit: 0
    --- stdout
    image:   [HOST]/app:1 is [APP]
    layers:  [HOST]/tools:1 is [TOOLS]
    result:  [HOST]/app:2 would be sha256:…
    verdict: clean

    linux/amd64: clean
      on top of 1 layer:
        2  sha256:…  108 B  COPY curl /
        3  sha256:…  107 B  COPY jq /
      manifest: sha256:… becomes sha256:…
      - not assessed: distribution: the bases have no os-release
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the config starts "/bin/sh", which the result does not have

    linux/arm64: clean
      on top of 1 layer:
        2  sha256:…  107 B  COPY curl /
        3  sha256:…  106 B  COPY jq /
      manifest: sha256:… becomes sha256:…
      - not assessed: distribution: the bases have no os-release
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the config starts "/bin/sh", which the result does not have

    --- stderr
    looked into 8 layers: 846 B read
    "#);
    assert_eq!(context.run(&["digest", "@@app:2"]).code, Some(3));
    let plan = context.run(&[words.as_slice(), &["--format", "json"]].concat()).ok();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["platforms"][1]["layers"][0]["number"], 2);
    assert_eq!(plan["verdict"], "clean");
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
    looked into 3 layers: 310 B read
    note: linux/amd64: the layers were made for linux/arm64
    picked 1 layer of [HOST]/arm:1 onto [HOST]/app:1 for 2 platforms (clean): 2 blobs moved (1.13 KiB), 1 blob mounted or linked, 2 blobs already there
    ");
}

/// `tools:1` has a library that `app:1` has in another version, and a link into the base it was made on.
fn graded() -> TestContext {
    let context = TestContext::new();
    let step = |spec: LayerSpec, name: &str| spec.created_by(format!("COPY {name} /")).build();
    let tools = ImageSpec::new("linux/amd64").layers([
        step(LayerSpec::new().file("usr/lib/ssl", "1.0").file("usr/lib/z", "1"), "base"),
        step(LayerSpec::new().file("opt/tool", "tool"), "tool"),
        step(LayerSpec::new().file("usr/lib/ssl", "built with a patch"), "ssl"),
        step(LayerSpec::new().symlink("opt/z", "/usr/lib/z"), "z"),
    ]);
    context.push("tools:1", &tools.build().graph());
    let app = ImageSpec::new("linux/amd64").layer(layer(&[("usr/lib/ssl", b"1.1")]));
    context.push("app:1", &app.build().graph());
    context
}

#[test]
fn the_verdict_on_picked_layers_is_explained() {
    let context = graded();
    let pick = |layer: &str, more: &[&str]| {
        let words = ["layers", "pick", "@@tools:1", layer, "--onto", "@@app:1", "-t", "@@app:2"];
        context.run(&[words.as_slice(), more].concat())
    };
    assert_snapshot!(pick("COPY ssl", &["--explain"]), @r#"
    exit: 0
    --- stdout
    image:   [HOST]/app:1 is sha256:…
    layers:  [HOST]/tools:1 is sha256:…
    result:  [HOST]/app:2 would be sha256:…
    verdict: shadowed

    linux/amd64: shadowed
      on top of 1 layer:
        3  sha256:…  111 B  COPY ssl /
      manifest: sha256:… becomes sha256:…
      - shadowed: /usr/lib/ssl is the application's, and the new base changed its own
      - not assessed: distribution: the bases have no os-release
      - not assessed: packages: the bases have no package database that could be read
      - not assessed: accounts: there is no etc/passwd
      - note: the config starts "/bin/sh", which the result does not have
      shadow        warn          1 finding, the worst is shadowed
      reach         pass          no build step depends on what the new base changed elsewhere
      stale-copies  pass          no own file is a copy of one that the new base changed
      build-steps   pass          no build step names what the new base changed
      elf           pass          0 own ELF files find what they found before
      entrypoint    pass          what the config names is there, or was not there before either
      runtime       pass          no language runtime was found
      distribution  not assessed  the bases have no os-release
      libc          pass          the bases have no C library
      platform      pass          both are for amd64/v1
      packages      not assessed  the bases have no package database that could be read
      accounts      not assessed  there is no etc/passwd

    --- stderr
    looked into 4 layers: 426 B read
    "#);
    assert_snapshot!(pick("COPY ssl", &["--fail-on", "shadowed"]), @"
    exit: 11
    --- stdout

    --- stderr
    looked into 4 layers, all known from before
    warning: linux/amd64: shadowed
      shadowed: /usr/lib/ssl is the application's, and the new base changed its own
    error: the result for [HOST]/app:1 is refused: it would be shadowed
    hint: look at what was found (--explain), or accept it by name: --accept shadowed
    ");
    assert_eq!(pick("COPY ssl", &["--fail-on", "shadowed", "--dry-run"]).code, Some(11));
    assert_snapshot!(pick("COPY z", &[]), @r#"
    exit: 11
    --- stdout

    --- stderr
    looked into 5 layers: 97 B read, 4 known from before
    warning: linux/amd64: broken
      broken: /opt/z is a link to "/usr/lib/z", which the new base does not have
      shadowed: the new base no longer has /opt, in which the application has files
    error: the result for [HOST]/app:1 is refused: it would be broken
    hint: look at what was found (--explain), or accept it by name: --accept broken
    "#);
    assert_snapshot!(pick("COPY tool", &["--fail-on", "shadowed", "--check", "metadata"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: --accept and --fail-on need --check content: without it there is no verdict
    ");
    assert_eq!(context.run(&["digest", "@@app:2"]).code, Some(3), "nothing was written");
    assert_snapshot!(pick("COPY z", &["--accept", "broken"]), @r#"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    looked into 5 layers, all known from before
    warning: linux/amd64: broken
      broken: /opt/z is a link to "/usr/lib/z", which the new base does not have
      shadowed: the new base no longer has /opt, in which the application has files
    picked 1 layer of [HOST]/tools:1 onto [HOST]/app:1 for 1 platform (broken): 1 blob moved (575 B), 1 blob mounted or linked, 1 blob already there
    "#);
    assert_snapshot!(pick("COPY tool", &["--check", "none"]), @"
    exit: 0
    --- stdout
    [HOST]/app@sha256:…

    --- stderr
    picked 1 layer of [HOST]/tools:1 onto [HOST]/app:1 for 1 platform (not assessed): 1 blob moved (578 B), 1 blob mounted or linked, 1 blob already there
    ");
    context.run(&["validate", "@@app:2"]).ok();
}
