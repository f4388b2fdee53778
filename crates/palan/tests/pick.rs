//! Picking: chosen layers of one image on another, for single images and indexes, and what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc};

use common::{chain, places, repository, server, store};
use palan::{
    Error, Location,
    copy::Options,
    files,
    image::{self, Image},
    listings::Listings,
    pick::{self, Plan, Request},
    place::{Layout, PutAs, Source},
    rebase::{Check, FindingKind, Refuse, Verdict},
    validate,
    verdict::Grade,
};
use palan_core::{Compression, Digest, Family, Kind, MediaType, Selector};
use palan_layer::tree::Content;
use palan_testkit::image::{
    Attestation, Graph, History, Image as Fixture, ImageSpec, IndexSpec, Layer, LayerSpec,
};
use serde_json::json;

fn location(folder: &Path, name: &str) -> Location {
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, name)
}

fn step(name: &str) -> Layer {
    LayerSpec::new().file(name, name.as_bytes()).created_by(format!("COPY {name}")).build()
}

/// Layers `base`, `one`, `two`, `three`, whose files have these names.
fn source(platform: &str, family: Family) -> Fixture {
    let name = |n: &str| format!("{n}-{}", platform.replace('/', "-"));
    let layers = ["base", "one", "two", "three"].map(|n| step(&name(n)));
    ImageSpec::new(platform).family(family).layers(layers).build()
}

fn target(platform: &str, family: Family) -> Fixture {
    ImageSpec::new(platform)
        .family(family)
        .layers([step("a"), step("b")])
        .label("keep", "me")
        .config_field("/x-unknown", json!({"n": 1.50}))
        .manifest_field("/x-unknown", json!([null]))
        .build()
}

fn request(source: Location, layers: &[&str], onto: Location, target: Location) -> Request {
    let layers = layers.iter().map(|text| text.parse().unwrap()).collect();
    Request::new(source, layers, onto, target)
}

async fn run(request: &Request) -> Result<(Plan, Digest), Error> {
    let places = places();
    let plan = pick::plan(&places, request).await?;
    let outcome = pick::apply(&places, &plan, &Options::default()).await?;
    assert_eq!(plan.report().new_digest, outcome.digest);
    Ok((plan, outcome.digest))
}

/// Checks the result as a whole, and gives its images.
async fn images(source: &dyn Source, digest: Digest) -> Vec<Image> {
    let report = validate::validate(source, &digest.into(), &validate::Options::default()).await.unwrap();
    assert_eq!(report.faults, []);
    let root = source.document(&digest.into()).await.unwrap();
    if root.kind() != Kind::Index {
        return vec![Image::load(source, root).await.unwrap()];
    }
    let mut images = Vec::new();
    for (entry, _) in image::platforms(source, &root).await.unwrap() {
        let manifest = source.document(&entry.digest.into()).await.unwrap();
        images.push(Image::load(source, manifest).await.unwrap());
    }
    images
}

async fn names(source: &dyn Source, image: &Image) -> Vec<String> {
    let tree = files(source, image, Content::Digest).await.unwrap();
    let all = ["a", "b", "base", "one", "two", "three"];
    let platform = image.platform().to_string().replace('/', "-");
    let all = all.iter().flat_map(|n| [(*n).to_owned(), format!("{n}-{platform}")]);
    all.filter(|name| tree.get(name).is_some()).collect()
}

/// What the history says of the layers.
fn steps(image: &Image) -> Vec<String> {
    let steps = image.config_view.history.iter().filter(|h| !h.empty_layer);
    steps.filter_map(|h| h.created_by.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_come_with_their_history_in_the_order_named() {
    let folder = tempfile::tempdir().unwrap();
    for from in [Family::Oci, Family::Docker] {
        for onto in [Family::Oci, Family::Docker] {
            let id = |n: &str| format!("{from}-{onto}-{n}");
            let (src, dst) = (source("linux/amd64", from), target("linux/amd64", onto));
            let digest = src.diff_ids()[1].to_string();
            let src_at = publish(folder.path(), &id("src"), &src.graph()).await;
            let dst_at = publish(folder.path(), &id("dst"), &dst.graph()).await;
            let out = location(folder.path(), &id("out"));
            let (plan, result) = run(&request(src_at, &["3..4", &digest], dst_at, out)).await.unwrap();
            let layout = Layout::open(folder.path().join(id("out"))).unwrap();
            let image = &images(&layout, result).await[0];
            let ids =
                [dst.diff_ids(), vec![src.diff_ids()[2], src.diff_ids()[3], src.diff_ids()[1]]].concat();
            assert_eq!(image.config_view.rootfs.diff_ids, ids);
            let of = |n: &str| format!("COPY {n}-linux-amd64");
            assert_eq!(steps(image), ["COPY a".into(), "COPY b".into(), of("two"), of("three"), of("one")]);
            assert_eq!(image.manifest.family(), onto);
            assert!(image.manifest_view.layers.iter().all(|l| l.media_type.family() == Some(onto)));
            let expected = ["a", "b", "one-linux-amd64", "two-linux-amd64", "three-linux-amd64"];
            assert_eq!(names(&layout, image).await, expected);
            assert_eq!(image.manifest.object().unwrap()["x-unknown"], json!([null]));
            assert_eq!(image.config.object().unwrap()["x-unknown"].to_string(), r#"{"n":1.5}"#);
            let report = plan.report();
            assert_eq!(report.findings, []);
            let picked: Vec<_> =
                report.platforms[0].layers.iter().map(|l| (l.number, l.created_by.clone())).collect();
            assert_eq!(picked, [(3, Some(of("two"))), (4, Some(of("three"))), (2, Some(of("one")))]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_gets_its_own_layers() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["linux/amd64", "linux/arm64"];
    let src = IndexSpec::new().images(all.map(|p| source(p, Family::Oci))).build();
    let dst = all.map(|p| target(p, Family::Oci));
    let index = IndexSpec::new().images(dst.clone()).attest(Attestation::Legacy).build();
    let src_at = publish(folder.path(), "src", &src.graph()).await;
    let dst_at = publish(folder.path(), "dst", &index.graph()).await;
    let ask = request(src_at, &["COPY three"], dst_at, location(folder.path(), "out"));
    let (plan, digest) = run(&ask).await.unwrap();
    let layout = Layout::open(folder.path().join("out")).unwrap();
    let results = images(&layout, digest).await;
    for (image, platform) in results.iter().zip(all) {
        let three = format!("three-{}", platform.replace('/', "-"));
        assert_eq!(names(&layout, image).await, ["a", "b", three.as_str()]);
    }
    assert!(plan.report().findings.iter().all(|f| f.kind == FindingKind::AttestationDropped));
    assert_eq!(plan.report().findings.len(), 2);
    let news: Vec<_> = plan.report().platforms.iter().map(|p| p.new_digest).collect();
    assert_eq!(news, results.iter().map(|i| i.manifest.digest()).collect::<Vec<_>>());

    let arm = Request {
        platforms: vec!["linux/arm64".parse().unwrap()],
        target: location(folder.path(), "arm"),
        ..ask
    };
    let (plan, digest) = run(&arm).await.unwrap();
    let layout = Layout::open(folder.path().join("arm")).unwrap();
    let results = images(&layout, digest).await;
    assert_eq!(results[0].manifest.digest(), dst[0].digest(), "the other stays inside the index");
    assert_eq!(results[1].manifest_view.layers.len(), 3);
    assert_eq!(plan.report().platforms.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_worth_knowing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let of =
        |history, layers: Vec<Layer>| ImageSpec::new("linux/amd64").layers(layers).history(history).build();
    let foreign = step("f")
        .with_media_type(MediaType::new("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
    let src = of(History::None, vec![step("x"), step("a")]);
    let mut dst = of(History::None, vec![step("a")]);
    let src_at = publish(folder.path(), "src", &src.graph()).await;
    let dst_at = publish(folder.path(), "dst", &dst.graph()).await;
    let (plan, digest) =
        run(&request(src_at.clone(), &["1", "2"], dst_at, location(folder.path(), "out"))).await.unwrap();
    let kinds: Vec<_> = plan.report().findings.iter().map(|f| (f.kind, f.platform.as_deref())).collect();
    let on = Some("linux/amd64");
    assert_eq!(
        kinds,
        [(FindingKind::History, on), (FindingKind::History, on), (FindingKind::LayerRepeated, on)]
    );
    let layout = Layout::open(folder.path().join("out")).unwrap();
    let image = &images(&layout, digest).await[0];
    assert!(
        !image.config.object().unwrap().contains_key("history"),
        "a history that is not whole is not continued"
    );

    dst = of(History::Full, vec![step("a")]);
    let dst_at = publish(folder.path(), "dst2", &dst.graph()).await;
    let (_, digest) =
        run(&request(src_at, &["1"], dst_at.clone(), location(folder.path(), "out2"))).await.unwrap();
    let layout = Layout::open(folder.path().join("out2")).unwrap();
    let made = format!("palan layers pick {}", src.diff_ids()[0]);
    assert_eq!(steps(&images(&layout, digest).await[0]), ["COPY a".to_owned(), made]);

    let src_at = publish(folder.path(), "foreign", &of(History::Full, vec![foreign]).graph()).await;
    let plan = pick::plan(&places(), &request(src_at, &["1"], dst_at, location(folder.path(), "none")))
        .await
        .unwrap();
    assert_eq!(plan.report().findings[0].kind, FindingKind::Foreign);
    assert!(!folder.path().join("none").exists(), "a plan writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_picked_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let zstd = LayerSpec::new().file("z", b"z").compression(Compression::Zstd).build();
    let graphs = [
        ("amd64", source("linux/amd64", Family::Oci).graph()),
        ("arm64", source("linux/arm64", Family::Oci).graph()),
        ("index", IndexSpec::new().image(source("linux/arm64", Family::Oci)).build().graph()),
        ("zstd", ImageSpec::new("linux/amd64").layer(zstd).build().graph()),
        ("docker", target("linux/amd64", Family::Docker).graph()),
        ("dst", target("linux/amd64", Family::Oci).graph()),
    ];
    for (name, graph) in graphs {
        publish(folder.path(), name, &graph).await;
    }
    let cases: [(&str, &[&str], &str, &str); 8] = [
        ("amd64", &["5"], "dst", "there is no layer 5, the image has 4"),
        ("amd64", &["COPY"], "dst", "\"COPY\" is 4 layers: layer 1 (COPY base-linux-amd64), layer 2"),
        ("amd64", &["RUN"], "dst", "no layer is \"RUN\""),
        ("amd64", &["2..4", "3"], "dst", "layer 3 is named twice"),
        ("arm64", &["1"], "dst", "is an image for linux/arm64, not for linux/amd64"),
        ("index", &["1"], "dst", "has no image for linux/amd64 (it has linux/arm64)"),
        ("zstd", &["1"], "docker", "cannot hold the layer"),
        ("amd64", &["1"], "nowhere", "nowhere"),
    ];
    for (source, layers, onto, expected) in cases {
        let at = |name: &str| location(folder.path(), name);
        let error = run(&request(at(source), layers, at(onto), at("out"))).await.map(|_| ()).unwrap_err();
        assert!(chain(&error).contains(expected), "{source} {layers:?}: {}", chain(&error));
        assert!(!folder.path().join("out").exists());
    }
    let at = |name: &str| location(folder.path(), name);
    let any = Request { any_platform: true, ..request(at("arm64"), &["2"], at("dst"), at("any")) };
    let (plan, _) = run(&any).await.unwrap();
    assert_eq!(plan.report().findings[0].kind, FindingKind::OtherPlatform);
}

/// Inside one registry layers are mounted; the image's own tag is replaced only if nobody else moved it.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_registry_no_layer_moves() {
    let server = server().await;
    let (src, dst) = (source("linux/amd64", Family::Oci), target("linux/amd64", Family::Oci));
    for (name, image) in [("src", &src), ("dst", &dst)] {
        store(repository(&server, name).as_ref(), &image.graph(), PutAs::Tag("v1".into())).await.unwrap();
    }
    let at = |text: &str| format!("{}/{text}", server.host()).parse::<Location>().unwrap();
    let ask = request(at("src:v1"), &["2"], at("dst:v1"), at("dst:v1"));
    let places = places();
    let [plan, late] = [pick::plan(&places, &ask).await.unwrap(), pick::plan(&places, &ask).await.unwrap()];
    let outcome = pick::apply(&places, &plan, &Options::default()).await.unwrap();
    assert_eq!(
        (outcome.summary.blobs_moved, outcome.summary.blobs_adopted),
        (1, 1),
        "the config, and the layer"
    );
    assert_eq!(
        ask.listings.read().layers,
        4,
        "once each: the target's two, the picked one and the one beneath it"
    );
    let place = repository(&server, "dst");
    let tagged = place.resolve(&Selector::Tag("v1".into())).await.unwrap().digest;
    assert_eq!(tagged, outcome.digest);
    images(place.as_ref(), tagged).await;
    let again = pick::plan(&places, &ask).await.unwrap();
    pick::apply(&places, &again, &Options::default()).await.unwrap();
    let error = pick::apply(&places, &late, &Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{}", chain(&error));
    server.stop().await;
}

/// What a layer does, file by file.
type Files<'a> = &'a [(&'a str, &'a str)];
type Stack<'a> = &'a [Files<'a>];

fn files_layer(files: Files<'_>) -> Layer {
    files.iter().fold(LayerSpec::new(), |spec, (path, content)| spec.file(path, content.as_bytes())).build()
}

fn image_of(layers: Stack<'_>) -> Fixture {
    ImageSpec::new("linux/amd64").layers(layers.iter().map(|files| files_layer(files))).build()
}

async fn verdict(folder: &Path, src: &Fixture, layers: &[&str], onto: &Fixture, name: &str) -> Plan {
    let src_at = publish(folder, &format!("{name}-src"), &src.graph()).await;
    let onto_at = publish(folder, &format!("{name}-onto"), &onto.graph()).await;
    let ask = request(src_at, layers, onto_at, location(folder, &format!("{name}-out")));
    pick::plan(&places(), &ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_compares_what_layers_were_made_on_with_what_they_go_onto() {
    const BASE: Files<'_> = &[("usr/lib/ssl", "1.0"), ("usr/lib/c", "c 1.0")];
    const PATCHED: Files<'_> = &[("usr/lib/ssl", "1.1"), ("usr/lib/c", "c 1.0")];
    const TOOL: Files<'_> = &[("opt/tool", "tool")];
    type Case = (&'static str, Stack<'static>, &'static str, Stack<'static>, Grade, &'static str);
    let cases: [Case; 6] = [
        ("own", &[BASE, TOOL], "2", &[PATCHED], Grade::Clean, ""),
        // What the target has at the same path is another file than what was there when the layer was made.
        ("hides", &[BASE, &[("usr/lib/ssl", "own")]], "2", &[PATCHED], Grade::Shadowed, "usr/lib/ssl"),
        ("same", &[BASE, &[("usr/lib/c", "own")]], "2", &[PATCHED], Grade::Clean, ""),
        ("copy", &[BASE, &[("opt/ssl", "1.0")]], "2", &[PATCHED], Grade::Shadowed, "opt/ssl"),
        // The layer in between stays behind: what it changed is part of what was there.
        ("between", &[BASE, PATCHED, &[("usr/lib/ssl", "own")]], "3", &[PATCHED], Grade::Clean, ""),
        // Layers above the picked ones were not there yet.
        ("above", &[BASE, &[("usr/lib/ssl", "own")], PATCHED], "2", &[BASE], Grade::Clean, ""),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, src, layer, onto, grade, path) in cases {
        let plan = verdict(folder.path(), &image_of(src), &[layer], &image_of(onto), name).await;
        let report = plan.report();
        assert_eq!(report.verdict, Verdict::Assessed(grade), "{name}: {report:#?}");
        assert_eq!(report.platforms[0].verdict, report.verdict);
        let findings = &report.platforms[0].assessment.as_ref().unwrap().findings;
        let graded: Vec<&str> = findings.iter().filter(|f| f.grade.is_some()).map(|f| &*f.path).collect();
        assert_eq!(graded.first().copied().unwrap_or_default(), path, "{name}");
        assert!(!plan.is_refused());
    }
}

/// The history tells what made a layer, and the images what that would read now.
#[tokio::test(flavor = "multi_thread")]
async fn what_made_the_picked_layers_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let base = files_layer(&[("etc/tool.conf", "1"), ("srv/in", "x")]);
    let onto = image_of(&[&[("etc/tool.conf", "2"), ("srv/in", "y")]]);
    let cases = [
        ("plain", "RUN /bin/sh -c echo hello > /opt/out", Grade::Clean),
        ("named", "RUN /bin/sh -c cat /etc/tool.conf > /opt/out", Grade::Shadowed),
        ("relative", "RUN /bin/sh -c cat in > /opt/out", Grade::Shadowed),
    ];
    for (name, command, grade) in cases {
        let there = LayerSpec::new().file("srv/.keep", b"").created_by("WORKDIR /srv").build();
        let made = LayerSpec::new().file("opt/out", b"made").created_by(command).build();
        let src = ImageSpec::new("linux/amd64").layers([base.clone(), there, made]).build();
        let plan = verdict(folder.path(), &src, &["3"], &onto, name).await;
        assert_eq!(plan.report().verdict, Verdict::Assessed(grade), "{name}: {:#?}", plan.report());
    }
}

/// The result starts what the image starts, whatever the layers' image does.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_image_starts_is_broken_only_by_the_layers() {
    let folder = tempfile::tempdir().unwrap();
    let starting = |layers: Vec<Layer>, program: &str| {
        let spec = ImageSpec::new("linux/amd64").layers(layers);
        spec.config_field("/config/Cmd", json!([program])).build()
    };
    let tool = LayerSpec::new().file("opt/tool", b"tool").whiteout("bin/app").build();
    let app = files_layer(&[("bin/app", "app")]);
    let src = starting(vec![app.clone(), tool], "/opt/tool");
    let cases = [("removed", vec![app], Grade::Broken), ("missing", vec![step("a")], Grade::Clean)];
    for (name, layers, grade) in cases {
        let plan = verdict(folder.path(), &src, &["2"], &starting(layers, "/bin/app"), name).await;
        assert_eq!(plan.report().verdict, Verdict::Assessed(grade), "{name}: {:#?}", plan.report());
    }
}

/// A layer that stays behind links to a file of one that is picked.
#[tokio::test(flavor = "multi_thread")]
async fn layers_that_need_picked_ones_beneath_are_judged_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let link = LayerSpec::new().hard_link("b", "a").build();
    let layers = [files_layer(&[("base", "")]), files_layer(&[("a", "a")]), link, files_layer(&[("c", "c")])];
    let src = ImageSpec::new("linux/amd64").layers(layers).build();
    let plan = verdict(folder.path(), &src, &["2", "4"], &image_of(&[&[("base", "")]]), "gap").await;
    assert_eq!(plan.report().verdict, Verdict::Assessed(Grade::Shadowed), "not certain, so not clean");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bad_enough_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let broken = LayerSpec::new().symlink("opt/lib", "/usr/lib/ssl").build();
    let base = files_layer(&[("usr/lib/ssl", "1.0")]);
    let src = ImageSpec::new("linux/amd64").layers([base, broken]).build();
    let src_at = publish(folder.path(), "src", &src.graph()).await;
    let onto_at = publish(folder.path(), "onto", &image_of(&[&[("etc/x", "x")]]).graph()).await;
    let out = location(folder.path(), "out");
    let ask = request(src_at, &["2"], onto_at, out.clone());
    let plan = pick::plan(&places(), &ask).await.unwrap();
    assert_eq!(plan.report().verdict, Verdict::Assessed(Grade::Broken), "{:#?}", plan.report());
    assert!(plan.is_refused());
    let error = pick::apply(&places(), &plan, &Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{}", chain(&error));
    assert!(!folder.path().join("out").exists());

    let accepted = Request { refuse: Refuse(None), ..ask.clone() };
    assert_eq!(run(&accepted).await.unwrap().0.report().verdict, Verdict::Assessed(Grade::Broken));
    let listings = Arc::new(Listings::default());
    for check in [Check::None, Check::Metadata] {
        let unseen = Request { check, listings: Arc::clone(&listings), ..ask.clone() };
        let plan = pick::plan(&places(), &unseen).await.unwrap();
        assert_eq!(plan.report().verdict, Verdict::NotAssessed);
        assert!(!plan.is_refused());
    }
    assert_eq!(listings.read().layers, 0);
}

/// Files that are no programs fit every machine, programs do not.
#[tokio::test(flavor = "multi_thread")]
async fn layers_for_another_machine_are_judged_by_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    elf.resize(16, 0);
    elf.extend([2, 0, 0xb7, 0, 1, 0, 0, 0]);
    elf.resize(52, 0);
    elf.extend([64, 0, 56, 0, 0, 0, 64, 0, 0, 0, 0, 0]);
    let cases: [(&str, &[u8], Grade); 2] =
        [("text", b"words", Grade::Clean), ("program", &elf, Grade::Broken)];
    for (name, content, grade) in cases {
        let layer = LayerSpec::new().file("opt/file", content).build();
        let src = ImageSpec::new("linux/arm64").layer(layer).build();
        let src_at = publish(folder.path(), &format!("{name}-src"), &src.graph()).await;
        let onto = image_of(&[&[("etc/x", "x")]]);
        let onto_at = publish(folder.path(), &format!("{name}-onto"), &onto.graph()).await;
        let ask = request(src_at, &["1"], onto_at, location(folder.path(), "out"));
        let plan = pick::plan(&places(), &Request { any_platform: true, ..ask }).await.unwrap();
        assert_eq!(plan.report().verdict, Verdict::Assessed(grade), "{name}: {:#?}", plan.report());
    }
}
