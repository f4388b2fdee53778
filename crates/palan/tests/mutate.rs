//! Mutating: every edit on every kind of image, what survives, and what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{chain, places, repository, server, store};
use palan::{
    Error, Location,
    append::{LayerContent, LayerSource},
    copy::Options,
    image::Image,
    mutate::{Created, Edits, Healthcheck, Keys, Pairs, Request, mutate, plan},
    place::{Layout, PutAs, Source},
    rewrite::{self, Attestations, Plan, Subject},
    validate,
};
use palan_core::{
    Descriptor, Digest, Document, Family, Kind, MediaType, Platform, Selector, annotation, view,
};
use palan_testkit::image::{
    Attestation, AttestationEntry, Graph, Image as Fixture, ImageSpec, Index, IndexSpec, LayerSpec, layer,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn location(folder: &Path, name: &str) -> Location {
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, name)
}

/// What real configs have: fields that no specification names, a health check, numbers.
fn spec(platform: &str) -> ImageSpec {
    ImageSpec::new(platform)
        .layer(layer(&[("etc/os-release", b"ID=x\n")]))
        .label("keep", "me")
        .annotation("org.example/a", "old")
        .config_field("/config/Env", json!(["PATH=/bin", "A=1", "B=2"]))
        .config_field("/config/Entrypoint", json!(["/entry"]))
        .config_field("/config/ExposedPorts", json!({"80/tcp": {"x": 1}}))
        .config_field("/config/Volumes", json!({"/data": {}}))
        .config_field("/config/Healthcheck", json!({"Test": ["CMD", "x"], "StartInterval": 5, "Odd": [1]}))
        .config_field("/x-unknown", json!({"n": 1.5, "z": null}))
        .manifest_field("/x-unknown", json!([null]))
}

fn set(key: &str, value: &str) -> Pairs {
    vec![(key.into(), Some(value.into()))]
}

fn unset(key: &str) -> Pairs {
    vec![(key.into(), None)]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn add(keys: &[&str]) -> Keys {
    Keys { add: words(keys), ..Keys::default() }
}

fn take(keys: &[&str]) -> Keys {
    Keys { remove: words(keys), ..Keys::default() }
}

fn check(test: Option<&[&str]>, interval: Option<i64>) -> Option<Healthcheck> {
    let (timeout, start_period, start_interval, retries) = (None, None, None, None);
    let test = test.map(words);
    Some(Healthcheck::Change { test, interval, timeout, start_period, start_interval, retries })
}

/// A change of an image's config: the edits, and what is then at which places; all else stays.
type Case = (&'static str, Edits, Vec<(&'static str, Value)>);

const GONE: Value = Value::Null;

fn cases() -> Vec<Case> {
    let none = Edits::default;
    vec![
        (
            "label",
            Edits { labels: set("l", "v"), ..none() },
            vec![("/config/Labels", json!({"keep": "me", "l": "v"}))],
        ),
        (
            "empty label (#2376)",
            Edits { labels: set("l", ""), ..none() },
            vec![("/config/Labels/l", json!(""))],
        ),
        (
            "label, replaced",
            Edits { labels: set("keep", "you"), ..none() },
            vec![("/config/Labels/keep", json!("you"))],
        ),
        ("label, removed (#1288)", Edits { labels: unset("keep"), ..none() }, vec![("/config/Labels", GONE)]),
        (
            "env keeps its place",
            Edits { env: set("A", "9"), ..none() },
            vec![("/config/Env", json!(["PATH=/bin", "A=9", "B=2"]))],
        ),
        (
            "env, new",
            Edits { env: set("C", ""), ..none() },
            vec![("/config/Env", json!(["PATH=/bin", "A=1", "B=2", "C="]))],
        ),
        (
            "env, removed",
            Edits { env: unset("A"), ..none() },
            vec![("/config/Env", json!(["PATH=/bin", "B=2"]))],
        ),
        (
            "entrypoint clears the command (#2041)",
            Edits { entrypoint: Some(words(&["/a", "b,c"])), ..none() },
            vec![("/config/Entrypoint", json!(["/a", "b,c"])), ("/config/Cmd", GONE)],
        ),
        (
            "entrypoint, literally",
            Edits { entrypoint: Some(words(&["/a"])), keep_cmd: true, ..none() },
            vec![("/config/Entrypoint", json!(["/a"]))],
        ),
        (
            "no entrypoint (#2022)",
            Edits { entrypoint: Some(vec![]), ..none() },
            vec![("/config/Entrypoint", GONE), ("/config/Cmd", GONE)],
        ),
        (
            "entrypoint and command",
            Edits { entrypoint: Some(words(&["/a"])), cmd: Some(words(&["c"])), ..none() },
            vec![("/config/Entrypoint", json!(["/a"])), ("/config/Cmd", json!(["c"]))],
        ),
        ("command", Edits { cmd: Some(words(&["c"])), ..none() }, vec![("/config/Cmd", json!(["c"]))]),
        ("no command", Edits { cmd: Some(vec![]), ..none() }, vec![("/config/Cmd", GONE)]),
        (
            "shell",
            Edits { shell: Some(words(&["/bin/ash", "-c"])), ..none() },
            vec![("/config/Shell", json!(["/bin/ash", "-c"]))],
        ),
        (
            "ports, replaced",
            Edits {
                exposed_ports: Keys { replace: Some(words(&["8080", "53/udp"])), ..Keys::default() },
                ..none()
            },
            vec![("/config/ExposedPorts", json!({"8080": {}, "53/udp": {}}))],
        ),
        (
            "port, added",
            Edits { exposed_ports: add(&["81/tcp", "80/tcp"]), ..none() },
            vec![("/config/ExposedPorts", json!({"80/tcp": {"x": 1}, "81/tcp": {}}))],
        ),
        (
            "port, removed",
            Edits { exposed_ports: take(&["80/tcp"]), ..none() },
            vec![("/config/ExposedPorts", GONE)],
        ),
        (
            "volume, added",
            Edits { volumes: add(&["/v"]), ..none() },
            vec![("/config/Volumes", json!({"/data": {}, "/v": {}}))],
        ),
        ("volume, removed", Edits { volumes: take(&["/data"]), ..none() }, vec![("/config/Volumes", GONE)]),
        ("user", Edits { user: Some("app:1".into()), ..none() }, vec![("/config/User", json!("app:1"))]),
        (
            "workdir",
            Edits { working_dir: Some("/srv".into()), ..none() },
            vec![("/config/WorkingDir", json!("/srv"))],
        ),
        (
            "no workdir",
            Edits { working_dir: Some(String::new()), ..none() },
            vec![("/config/WorkingDir", GONE)],
        ),
        (
            "stop signal",
            Edits { stop_signal: Some("SIGINT".into()), ..none() },
            vec![("/config/StopSignal", json!("SIGINT"))],
        ),
        (
            "health check (#2112), and what is unknown of it (#1930)",
            Edits { healthcheck: check(Some(&["CMD-SHELL", "y"]), Some(7)), ..none() },
            vec![(
                "/config/Healthcheck",
                json!({"Test": ["CMD-SHELL", "y"], "StartInterval": 5, "Odd": [1], "Interval": 7}),
            )],
        ),
        (
            "health check, times only",
            Edits { healthcheck: check(None, Some(7)), ..none() },
            vec![("/config/Healthcheck/Interval", json!(7))],
        ),
        (
            "health check, removed",
            Edits { healthcheck: Some(Healthcheck::Remove), ..none() },
            vec![("/config/Healthcheck", GONE)],
        ),
        (
            "created",
            Edits { created: Some(Created::At("2001-02-03T04:05:06Z".into())), ..none() },
            vec![("/created", json!("2001-02-03T04:05:06Z"))],
        ),
        (
            "platform",
            Edits {
                platform: Some(Platform { variant: Some("v9".into()), ..Platform::new("linux", "arm64") }),
                ..none()
            },
            vec![("/architecture", json!("arm64")), ("/variant", json!("v9"))],
        ),
    ]
}

/// `after` with the places of `changes` as they were `before`.
fn undone(before: &Value, after: &Value, changes: &[(&str, Value)]) -> Value {
    let mut after = after.clone();
    for (pointer, _) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let old = before.pointer(pointer).cloned();
        let parent = after.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match old {
            Some(old) => drop(parent.insert(key.to_owned(), old)),
            None => drop(parent.shift_remove(key)),
        }
    }
    after
}

fn value(document: &Document) -> Value {
    Value::Object(document.object().unwrap())
}

struct Subjects {
    name: &'static str,
    graph: Graph,
    images: usize,
}

fn subjects() -> Vec<Subjects> {
    let of = |family| spec("linux/amd64").family(family).build();
    let both = |family| [of(family), spec("linux/s390x").family(family).build()];
    let inner = IndexSpec::new().images(both(Family::Oci)).build();
    let bare = IndexSpec::new().image_without_platform(of(Family::Oci)).annotation("k", "v").build();
    let attested = |form| IndexSpec::new().images(both(Family::Oci)).attest(form).build();
    let all: Vec<(&'static str, Graph, usize)> = vec![
        ("oci", of(Family::Oci).graph(), 1),
        ("docker", of(Family::Docker).graph(), 1),
        ("index", inner.graph(), 2),
        (
            "docker list",
            IndexSpec::new().family(Family::Docker).images(both(Family::Docker)).build().graph(),
            2,
        ),
        ("nested", IndexSpec::new().nested(&inner).build().graph(), 2),
        ("attested", attested(Attestation::Legacy).graph(), 2),
        ("attested by artifacts", attested(Attestation::Artifact).graph(), 2),
        ("no platform", bare.graph(), 1),
    ];
    all.into_iter().map(|(name, graph, images)| Subjects { name, graph, images }).collect()
}

/// A plan for all of an image.
async fn planned(image: &Location, edits: Edits) -> Result<Plan, Error> {
    plan(&places(), Request::new(Subject::new(image.clone()), edits)).await
}

async fn applied(plan: &Plan, image: &Location) -> Layout {
    rewrite::apply(&places(), plan, &Options::default()).await.unwrap_or_else(|e| panic!("{}", chain(&e)));
    let Location::Layout { path, .. } = image else { panic!("{image}") };
    Layout::open(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_on_every_kind_of_image() {
    let folder = tempfile::tempdir().unwrap();
    for Subjects { name: kind, graph, images } in subjects() {
        for (number, (name, edits, changes)) in cases().into_iter().enumerate() {
            if edits.platform.is_some() && images > 1 {
                continue;
            }
            let id = format!("{name} on {kind}");
            let image = publish(folder.path(), &format!("{kind}-{number}"), &graph).await;
            let plan = planned(&image, edits).await.unwrap_or_else(|e| panic!("{id}: {}", chain(&e)));
            let layout = applied(&plan, &image).await;
            assert_eq!(
                layout.resolve(&Selector::Tag("v1".into())).await.unwrap().digest,
                plan.digest(),
                "{id}"
            );
            assert_eq!(plan.images().len(), images, "{id}");
            for (old, new) in plan.images() {
                let load = async |digest: &Digest| {
                    let manifest = layout.document(&(*digest).into()).await.unwrap();
                    Image::load(&layout, manifest).await.unwrap()
                };
                let (old, new) = (load(old).await, load(new).await);
                let (before, after) = (value(&old.config), value(&new.config));
                for (pointer, expected) in &changes {
                    let found = after.pointer(pointer).cloned().unwrap_or(GONE);
                    assert_eq!(found, *expected, "{id}: {pointer}");
                }
                assert_eq!(undone(&before, &after, &changes), before, "{id}: only what was asked for");
                let config = [("/config/digest", GONE), ("/config/size", GONE)];
                let (before, after) = (value(&old.manifest), value(&new.manifest));
                assert_eq!(undone(&before, &after, &config), before, "{id}: the manifest");
            }
            let options = validate::Options::default();
            let faults = validate::validate(&layout, &plan.digest().into(), &options).await.unwrap().faults;
            assert!(faults.iter().all(|f| f.severity == validate::Severity::Warning), "{id}: {faults:?}");
        }
    }
}

/// bug 2, #1518: an index stays one, with everything in it that is no image.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_keeps_all_that_was_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|p| spec(p).build());
    let index = IndexSpec::new()
        .annotated_image(images[0].clone(), &[("x", "1")])
        .image_without_platform(images[1].clone())
        .attest(Attestation::Legacy)
        .annotation("of", "the index")
        .field("/x-unknown", json!([1.5]))
        .build();
    let image = publish(folder.path(), "index", &index.graph()).await;
    let mut request =
        Request::new(Subject::new(image.clone()), Edits { labels: set("a", "b"), ..Edits::default() });
    request.subject.platforms = vec!["linux/arm64".parse().unwrap()];
    let plan = plan(&places(), request).await.unwrap();
    assert_eq!(plan.images().len(), 1);
    let (before, after) = (value(&index.document), value(plan.root()));
    assert_eq!(after["annotations"], before["annotations"]);
    assert_eq!(after["x-unknown"], before["x-unknown"]);
    let (before, after) = (before["manifests"].as_array().unwrap(), after["manifests"].as_array().unwrap());
    assert_eq!(after.len(), 4);
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]), "not asked for");
    assert_eq!(after[1].get("platform"), None);
    assert_eq!(after[1]["digest"], json!(plan.images()[0].1));
    assert_eq!(after[3]["digest"], before[3]["digest"]);
    assert_eq!(after[3]["platform"], before[3]["platform"]);
    assert_eq!(plan.notes().len(), 1, "{:?}", plan.notes());
    let dropped = Edits { labels: set("a", "b"), ..Edits::default() };
    let mut request = Request::new(Subject::new(image), dropped);
    request.subject.attestations = Attestations::Drop;
    let plan = palan::mutate::plan(&places(), request).await.unwrap();
    assert_eq!(plan.root().view::<view::Index>().unwrap().manifests.len(), 2);
}

/// An SBOM or signature as artifact.
fn artifact_about(subject: &Descriptor) -> Graph {
    let config = Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(b"{}"), 2);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/spdx+json",
        "config": config, "layers": [config], "subject": subject,
    });
    let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap();
    Graph { blobs: vec![(config, "{}".into())], documents: vec![manifest] }
}

fn labels(image: &Location, label: &str, attestations: Attestations) -> Request {
    let edits = Edits { labels: set("a", label), ..Edits::default() };
    let mut request = Request::new(Subject::new(image.clone()), edits);
    request.subject.attestations = attestations;
    request
}

/// What an earlier change kept is about nothing that this one replaces.
#[tokio::test(flavor = "multi_thread")]
async fn attestations_that_an_earlier_change_kept_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    for (name, form) in [("legacy", Attestation::Legacy), ("artifact", Attestation::Artifact)] {
        let images = ["linux/amd64", "linux/arm64"].map(|p| spec(p).build());
        let inner = IndexSpec::new().image(spec("linux/s390x").build()).attest(form).build();
        let index = IndexSpec::new().images(images).nested(&inner).attest(form).build();
        let image = publish(folder.path(), name, &index.graph()).await;
        let entries = |plan: &Plan| value(plan.root())["manifests"].as_array().unwrap().clone();
        let mutated = async |label: &str, attestations| {
            let plan = plan(&places(), labels(&image, label, attestations)).await.unwrap();
            applied(&plan, &image).await;
            plan
        };
        let first = mutated("1", Attestations::Keep).await;
        assert_eq!((entries(&first).len(), first.notes().len()), (5, 3), "{name}: {:?}", first.notes());
        let second = mutated("2", Attestations::Keep).await;
        assert_eq!(entries(&second)[3..], entries(&first)[3..], "{name}: they stay as they are");
        assert_eq!(second.notes(), [""; 0], "{name}");
        // Nothing is replaced here but the index inside, for what it lists.
        let third = mutated("2", Attestations::Drop).await;
        assert_eq!(entries(&third).len(), 3, "{name}");
        assert_eq!(third.notes().len(), 3, "{name}: {:?}", third.notes());
        assert!(third.notes().iter().all(|n| n.contains("which the index does not list: left out")));
        let again = mutated("2", Attestations::Drop).await;
        assert!(again.is_noop(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_about_a_replaced_image_are_marked_or_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|p| spec(p).build());
    let sbom = artifact_about(&images[0].manifest.descriptor());
    let signature = artifact_about(&sbom.root().descriptor());
    let other = artifact_about(&images[1].manifest.descriptor());
    let index = [&sbom, &signature, &other]
        .into_iter()
        .fold(IndexSpec::new().images(images.clone()), |spec, a| spec.entry(json!(a.root().descriptor()), a));
    let image = publish(folder.path(), "index", &index.build().graph()).await;
    let planned = async |attestations| {
        let mut request = labels(&image, "1", attestations);
        request.subject.platforms = vec!["linux/amd64".parse().unwrap()];
        plan(&places(), request).await.unwrap()
    };
    let kept = planned(Attestations::Keep).await;
    let entries = kept.root().view::<view::Index>().unwrap().manifests;
    let made_about: Vec<_> = entries.iter().map(|e| e.annotation(annotation::MADE_ABOUT)).collect();
    let old = images[0].digest().to_string();
    assert_eq!(made_about, [None, None, Some(old.as_str()), None, None]);
    assert_eq!(kept.notes().len(), 1, "{:?}", kept.notes());
    let dropped = planned(Attestations::Drop).await;
    let left = dropped.root().view::<view::Index>().unwrap().manifests;
    assert_eq!(left.len(), 3);
    assert_eq!(left[2].digest, other.root().digest());
    assert_eq!(dropped.notes().len(), 2, "{:?}", dropped.notes());
}

/// What an attestation needs, and its entry as if it was about this digest.
fn attested(attestation: &AttestationEntry, about: Digest) -> (Value, Graph) {
    let mut entry = json!(attestation.descriptor);
    entry["annotations"][annotation::DOCKER_REFERENCE_DIGEST] = json!(about);
    let (blobs, documents) = (attestation.blobs.clone(), vec![attestation.manifest.clone()]);
    (entry, Graph { blobs, documents })
}

/// One attestation may be listed for two images, in an index that is before the one that lists these.
#[tokio::test]
async fn attestations_beside_and_before_their_images_follow_them() {
    let folder = tempfile::tempdir().unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|p| spec(p).build());
    let both = Attestation::Legacy.about(&images[0]);
    let said = images.iter().map(|image| attested(&both, image.digest()));
    let about_inner = |inner: &Index| artifact_about(&inner.document.descriptor());
    let inner = IndexSpec::new().images(images.clone()).build();
    let sbom = about_inner(&inner);
    let first = said.fold(IndexSpec::new(), |index, (entry, graph)| index.entry(entry, &graph));
    let first = first.entry(json!(sbom.root().descriptor()), &sbom).build();
    let index = IndexSpec::new().nested(&first).nested(&inner).build();
    let image = publish(folder.path(), "index", &index.graph()).await;
    let listed = async |platform: &str, attestations| {
        let mut request = labels(&image, "1", attestations);
        request.subject.platforms = vec![platform.parse().unwrap()];
        let plan = plan(&places(), request).await.unwrap();
        let first = plan.root().view::<view::Index>().unwrap().manifests[0].digest;
        let first = plan.result().document(&first.into()).await.unwrap();
        let entries = first.view::<view::Index>().unwrap().manifests;
        let made_about = |e: &Descriptor| e.annotation(annotation::MADE_ABOUT).map(str::to_owned);
        entries.iter().map(|e| (e.digest, made_about(e))).collect::<Vec<_>>()
    };
    let [amd, arm] = images.each_ref().map(|image| Some(image.digest().to_string()));
    let (both, sbom, inner) =
        (both.manifest.digest(), sbom.root().digest(), Some(inner.digest().to_string()));
    let kept = listed("linux", Attestations::Keep).await;
    assert_eq!(kept, [(both, amd.clone()), (both, arm.clone()), (sbom, inner.clone())]);
    let kept = listed("linux/arm64", Attestations::Keep).await;
    assert_eq!(kept, [(both, None), (both, arm), (sbom, inner)]);
    assert_eq!(listed("linux/amd64", Attestations::Drop).await, [(both, None)]);
    assert_eq!(listed("linux", Attestations::Drop).await, []);
}

/// Entries for one platform could not be told from each other.
#[tokio::test]
async fn an_image_of_several_platforms_is_not_put_on_one() {
    let folder = tempfile::tempdir().unwrap();
    let image = spec("linux/amd64").build();
    let arm = Descriptor { platform: Some(Platform::new("linux", "arm64")), ..image.descriptor() };
    let index = IndexSpec::new().image(image.clone()).image_as(image.clone(), arm).build();
    let at = publish(folder.path(), "index", &index.graph()).await;
    let edits = Edits { platform: Some(Platform::new("linux", "s390x")), ..Edits::default() };
    let error = planned(&at, edits.clone()).await.err().unwrap();
    assert!(chain(&error).contains("2 images of it would be for one platform"), "{}", chain(&error));
    let mut request = Request::new(Subject::new(at), edits);
    request.subject.platforms = vec!["linux/arm64".parse().unwrap()];
    let entries = plan(&places(), request).await.unwrap().root().view::<view::Index>().unwrap().manifests;
    let stated: Vec<_> = entries.into_iter().map(|e| e.platform.unwrap().to_string()).collect();
    assert_eq!(stated, ["linux/amd64", "linux/s390x"]);
}

/// What is about an image that stays for another platform stays true.
#[tokio::test]
async fn an_image_that_changes_for_one_of_its_platforms() {
    let folder = tempfile::tempdir().unwrap();
    let image = spec("linux/amd64").build();
    let arm = Descriptor { platform: Some(Platform::new("linux", "arm64")), ..image.descriptor() };
    let (entry, graph) = attested(&Attestation::Legacy.about(&image), image.digest());
    let index = IndexSpec::new().image(image.clone()).image_as(image.clone(), arm).entry(entry, &graph);
    let at = publish(folder.path(), "index", &index.build().graph()).await;
    for attestations in [Attestations::Keep, Attestations::Drop] {
        let planned = async |platforms: &[&str]| {
            let mut request = labels(&at, "1", attestations);
            request.subject.platforms = platforms.iter().map(|p| p.parse().unwrap()).collect();
            plan(&places(), request).await.unwrap()
        };
        let changed = planned(&["linux/arm64"]).await;
        let entries = changed.root().view::<view::Index>().unwrap().manifests;
        let stays: Vec<bool> = entries.iter().map(|e| e.digest == image.digest()).collect();
        assert_eq!(stays, [true, false, false]);
        assert_eq!((entries[2].annotation(annotation::MADE_ABOUT), changed.notes().len()), (None, 0));
        let changed = planned(&["linux/arm64", "linux/amd64"]).await;
        assert_eq!((changed.images().len(), changed.notes().len()), (1, 1));
    }
}

fn indexed() -> Index {
    let images = ["linux/amd64", "linux/arm64"].map(|p| spec(p).build());
    IndexSpec::new().images(images).attest(Attestation::Artifact).annotation("old", "1").build()
}

/// #1745
#[tokio::test(flavor = "multi_thread")]
async fn annotations_go_to_manifests_index_and_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let index = indexed();
    let image = publish(folder.path(), "index", &index.graph()).await;
    let edits = Edits {
        annotations: [unset("org.example/a"), set("m", "1,2")].concat(),
        index_annotations: [unset("old"), set("i", ""), unset("none")].concat(),
        descriptor_annotations: set("d", "3"),
        ..Edits::default()
    };
    let plan = planned(&image, edits).await.unwrap();
    assert_eq!(plan.notes().iter().filter(|n| n.contains("the index has no annotation none")).count(), 1);
    let root = value(plan.root());
    assert_eq!(root["annotations"], json!({"i": ""}));
    assert_eq!(root["manifests"][0]["annotations"], json!({"d": "3"}));
    assert_eq!(root["manifests"][1]["annotations"], json!({"d": "3"}));
    assert_eq!(root["manifests"][2]["annotations"].get("d"), None, "an attestation");
    let layout = applied(&plan, &image).await;
    for ((_, digest), old) in plan.images().iter().zip(&index.images) {
        let manifest = layout.document(&(*digest).into()).await.unwrap();
        assert_eq!(value(&manifest)["annotations"], json!({"m": "1,2"}));
        assert_eq!(value(&manifest)["config"], value(&old.manifest)["config"]);
    }
    let attestation = index.attestations[0].manifest.digest();
    assert!(layout.document(&attestation.into()).await.is_ok(), "it survives as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_set_in_the_config_and_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Some(Platform { os_version: Some("10.0.1".into()), ..Platform::new("windows", "amd64") });
    let edits = Edits { platform, ..Edits::default() };
    let expected = json!({"architecture": "amd64", "os": "windows", "os.version": "10.0.1"});
    for (name, with_platform) in [("with", true), ("without", false)] {
        let image = spec("linux/arm/v7").build();
        let index = match with_platform {
            true => IndexSpec::new().image(image),
            false => IndexSpec::new().image_without_platform(image),
        };
        let image = publish(folder.path(), name, &index.build().graph()).await;
        let plan = planned(&image, edits.clone()).await.unwrap();
        assert_eq!(value(plan.root())["manifests"][0]["platform"], expected, "{name}");
        let layout = applied(&plan, &image).await;
        let manifest = layout.document(&plan.images()[0].1.into()).await.unwrap();
        let image = Image::load(&layout, manifest).await.unwrap();
        assert_eq!(image.platform().to_string(), "windows/amd64:10.0.1", "{name}");
    }
    let both = publish(folder.path(), "both", &indexed().graph()).await;
    let error = chain(&planned(&both, edits).await.err().unwrap());
    assert!(error.contains("2 images of it would be for one platform"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_windows_have_no_case() {
    let folder = tempfile::tempdir().unwrap();
    let spec =
        ImageSpec::new("windows/amd64").config_field("/config/Env", json!(["Path=C:\\", "x=1", "X=2"]));
    let image = publish(folder.path(), "windows", &spec.build().graph()).await;
    let edits =
        Edits { env: [set("path", "D:\\"), set("new", "1"), unset("x")].concat(), ..Edits::default() };
    let plan = planned(&image, edits).await.unwrap();
    let layout = applied(&plan, &image).await;
    let image = Image::load(&layout, plan.root().clone()).await.unwrap();
    assert_eq!(image.config_view.config.unwrap().env.unwrap(), ["PATH=D:\\", "NEW=1"]);
}

/// A variable that is there twice would keep its old value in one of the places.
#[tokio::test(flavor = "multi_thread")]
async fn every_occurrence_of_a_variable_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let spec = ImageSpec::new("linux/amd64").config_field("/config/Env", json!(["A=1", "odd", "A=2"]));
    let image = publish(folder.path(), "twice", &spec.build().graph()).await;
    let plan = planned(&image, Edits { env: set("A", "3"), ..Edits::default() }).await.unwrap();
    let layout = applied(&plan, &image).await;
    let image = Image::load(&layout, plan.root().clone()).await.unwrap();
    assert_eq!(image.config_view.config.unwrap().env.unwrap(), ["A=3", "odd", "A=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_layer_says_when_an_image_was_created() {
    let folder = tempfile::tempdir().unwrap();
    let history = json!([
        {"created": "2020-01-01T00:00:00Z"},
        {"created": "2021-01-01T00:00:00+02:00"},
        {"created": "2024-01-01T00:00:00Z", "empty_layer": true},
        {"created": null},
    ]);
    let layers = ["a", "b", "c"].map(|name| layer(&[(name, b"")]));
    let spec =
        |history| ImageSpec::new("linux/amd64").layers(layers.clone()).config_field("/history", history);
    let image = publish(folder.path(), "told", &spec(history).build().graph()).await;
    let newest = Edits { created: Some(Created::Newest), ..Edits::default() };
    let plan = planned(&image, newest.clone()).await.unwrap();
    let layout = applied(&plan, &image).await;
    let image = Image::load(&layout, plan.root().clone()).await.unwrap();
    assert_eq!(image.config_view.created.as_deref(), Some("2021-01-01T00:00:00+02:00"));
    let image = publish(folder.path(), "untold", &spec(json!([])).build().graph()).await;
    let error = chain(&planned(&image, newest).await.err().unwrap());
    assert!(error.contains("does not tell when its layers were made"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_appended_before_the_config_is_edited() {
    let folder = tempfile::tempdir().unwrap();
    let added = LayerSpec::new().file("app/run", b"x").build();
    for Subjects { name, graph, images } in subjects() {
        let image = publish(folder.path(), name, &graph).await;
        let content = LayerContent::Stream(Box::new(std::io::Cursor::new(added.bytes.to_vec())));
        let layers = vec![LayerSource { name: "run.tar".into(), content }];
        let edits = Edits { cmd: Some(words(&["/app/run"])), ..Edits::default() };
        let request = Request { layers, ..Request::new(Subject::new(image.clone()), edits) };
        let plan = plan(&places(), request).await.unwrap();
        let layout = applied(&plan, &image).await;
        assert_eq!(plan.images().len(), images, "{name}");
        for (_, digest) in plan.images() {
            let manifest = layout.document(&(*digest).into()).await.unwrap();
            let image = Image::load(&layout, manifest).await.unwrap();
            assert_eq!(image.config_view.rootfs.diff_ids.last(), Some(&added.diff_id), "{name}");
            assert_eq!(image.config_view.config.unwrap().cmd.unwrap(), ["/app/run"], "{name}");
        }
    }
}

/// #2286: the config of an artifact is nobody's to change.
#[tokio::test(flavor = "multi_thread")]
async fn artifacts_get_annotations_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let entry = Attestation::Artifact.about(&spec("linux/amd64").build());
    let graph = Graph { blobs: entry.blobs, documents: vec![entry.manifest.clone()] };
    let image = publish(folder.path(), "artifact", &graph).await;
    let plan = planned(&image, Edits { annotations: set("a", "b"), ..Edits::default() }).await.unwrap();
    let (before, after) = (value(&entry.manifest), value(plan.root()));
    assert_eq!(after["annotations"]["a"], "b");
    assert_eq!((&after["config"], &after["subject"]), (&before["config"], &before["subject"]));
    applied(&plan, &image).await;
    let error =
        chain(&planned(&image, Edits { labels: set("a", "b"), ..Edits::default() }).await.err().unwrap());
    assert!(error.contains("it is an artifact (its config is application/vnd.oci.empty.v1+json)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let none = Edits::default;
    let single = publish(folder.path(), "single", &ImageSpec::new("linux/amd64").build().graph()).await;
    let docker = [spec("linux/amd64").family(Family::Docker).build()];
    let list = IndexSpec::new().family(Family::Docker).images(docker).build();
    let list = publish(folder.path(), "list", &list.graph()).await;
    let cases = [
        (&single, Edits { index_annotations: set("a", "b"), ..none() }, "it is no index"),
        (&single, Edits { descriptor_annotations: set("a", "b"), ..none() }, "it is no index"),
        (
            &list,
            Edits { index_annotations: set("a", "b"), ..none() },
            "a Docker manifest list, which has no annotations",
        ),
        (&list, Edits { descriptor_annotations: unset("a"), ..none() }, "a Docker manifest list"),
        (&single, Edits { healthcheck: check(None, Some(1)), ..none() }, "it has no health check"),
        (&single, Edits { env: set("a=b", "c"), ..none() }, "no name of an environment variable"),
        (&single, Edits { env: set("", "c"), ..none() }, "no name of an environment variable"),
        (&single, Edits { exposed_ports: add(&[""]), ..none() }, "is no port"),
        (&single, Edits { volumes: add(&[""]), ..none() }, "no path of a volume"),
        (&single, Edits { created: Some(Created::At("now".into())), ..none() }, "no time as RFC 3339"),
    ];
    for (image, edits, text) in cases {
        let error = planned(image, edits).await.err().unwrap();
        assert!(matches!(error, Error::Inapplicable { .. }), "{text}: {error:?}");
        assert!(chain(&error).contains(text), "{text}: {}", chain(&error));
    }
}

#[tokio::test]
async fn what_looks_like_a_mistake_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let single = publish(folder.path(), "single", &spec("linux/amd64").build().graph()).await;
    let nowhere = Platform::new("linux", "");
    let cases = [
        (Edits { labels: set("", "b"), ..Edits::default() }, "a label has no name"),
        (Edits { annotations: set("", "b"), ..Edits::default() }, "an annotation has no name"),
        (Edits { exposed_ports: add(&["http"]), ..Edits::default() }, "\"http\" is no port"),
        (Edits { exposed_ports: add(&["70000"]), ..Edits::default() }, "\"70000\" is no port"),
        (Edits { platform: Some(nowhere), ..Edits::default() }, "no architecture was given"),
        (Edits { exposed_ports: add(&["53/udp", "1-9"]), ..Edits::default() }, ""),
    ];
    for (edits, text) in cases {
        let plan = planned(&single, edits).await.unwrap();
        match text {
            "" => assert_eq!(plan.notes(), [""; 0]),
            text => assert!(plan.notes().len() == 1 && plan.notes()[0].contains(text), "{:?}", plan.notes()),
        }
        assert_ne!(Some(plan.digest()), plan.old_digest());
    }
}

/// A no-op keeps the digest, and pushes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_already_changes_nothing() {
    let none = Edits::default;
    let cases = [
        none(),
        Edits { labels: set("keep", "me"), ..none() },
        Edits { labels: unset("other"), annotations: unset("other"), env: unset("Z"), ..none() },
        Edits { env: set("A", "1"), ..none() },
        Edits { exposed_ports: Keys { replace: Some(words(&["80/tcp"])), ..Keys::default() }, ..none() },
        Edits { entrypoint: Some(words(&["/entry"])), keep_cmd: true, ..none() },
        Edits { user: Some(String::new()), stop_signal: Some(String::new()), ..none() },
        Edits { shell: Some(vec![]), volumes: take(&["/other"]), ..none() },
    ];
    let server = server().await;
    for Subjects { name, graph, .. } in subjects() {
        store(repository(&server, "app").as_ref(), &graph, PutAs::Tag("v1".into())).await.unwrap();
        let image: Location = format!("{}/app:v1", server.host()).parse().unwrap();
        for (number, edits) in cases.iter().enumerate() {
            let writes = |s: &palan_server::Server| {
                s.registry().logged().iter().filter(|r| !matches!(r.method.as_str(), "GET" | "HEAD")).count()
            };
            let before = writes(&server);
            let request = Request::new(Subject::new(image.clone()), edits.clone());
            let outcome = mutate(&places(), request, &Options::default()).await.unwrap();
            assert_eq!(outcome.digest, graph.root().digest(), "{name} {number}");
            assert!(!outcome.pushed, "{name} {number}");
            assert_eq!(writes(&server), before, "{name} {number}");
        }
    }
    server.stop().await;
}

/// #2055: indentation, key order and the final newline are the document's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_layout_of_the_text_stays() {
    let image = spec("linux/amd64").build();
    let config = format!("{}\n", serde_json::to_string_pretty(&value(&image.config)).unwrap());
    let config = Document::parse(config, Some(palan_core::MediaType::OCI_CONFIG)).unwrap();
    let config = config.with_media_type(palan_core::MediaType::OCI_CONFIG);
    let manifest = image.manifest.edit(|json| json["config"] = json!(config.descriptor())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut blobs = image.blobs.clone();
    blobs.push((config.descriptor(), config.bytes().clone()));
    let graph = Graph { blobs, documents: vec![manifest] };
    let image = publish(folder.path(), "pretty", &graph).await;
    let edits = Edits { labels: set("keep", "you"), ..Edits::default() };
    let plan = planned(&image, edits).await.unwrap();
    let layout = applied(&plan, &image).await;
    let new = Image::load(&layout, plan.root().clone()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text(new.config.bytes()), text(config.bytes()).replace("\"me\"", "\"you\""));
}

/// Edits, and what undoes them.
fn pair(what: u8, key: u8, value: &str) -> (Edits, Edits) {
    let none = Edits::default;
    let (key, value) = (format!("k{key}"), value.to_owned());
    let (on, off): (Pairs, Pairs) = (vec![(key.clone(), Some(value.clone()))], vec![(key.clone(), None)]);
    let path = format!("/{key}");
    match what {
        0 => (Edits { labels: on, ..none() }, Edits { labels: off, ..none() }),
        1 => (Edits { annotations: on, ..none() }, Edits { annotations: off, ..none() }),
        2 => (Edits { env: on, ..none() }, Edits { env: off, ..none() }),
        3 => (Edits { volumes: add(&[&path]), ..none() }, Edits { volumes: take(&[&path]), ..none() }),
        4 => (
            Edits { user: Some(format!("u{value}")), ..none() },
            Edits { user: Some(String::new()), ..none() },
        ),
        5 => (
            Edits { exposed_ports: add(&["9/udp"]), ..none() },
            Edits { exposed_ports: take(&["9/udp"]), ..none() },
        ),
        6 => (Edits { shell: Some(vec![value]), ..none() }, Edits { shell: Some(vec![]), ..none() }),
        _ => (
            Edits { created: Some(Created::At("1999-01-01T00:00:00Z".into())), ..none() },
            Edits { created: Some(Created::At("2024-01-02T03:04:05Z".into())), ..none() },
        ),
    }
}

fn fixture(with_own: bool) -> Fixture {
    let spec = ImageSpec::new("linux/amd64").created("2024-01-02T03:04:05Z");
    let spec = spec.layer(layer(&[("a", b"")])).config_field("/x", json!({"b": [1.5, null], "a": ""}));
    match with_own {
        true => {
            spec.label("own", "1").annotation("own", "2").config_field("/config/Volumes", json!({"/own": {}}))
        }
        false => spec,
    }
    .build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random edits, then what undoes them, give the document that was there before, to the byte where no key moved.
    #[test]
    fn what_is_done_can_be_undone(
        with_own: bool,
        edits in proptest::collection::vec((0u8..8, 0u8..3, "[a-z=, ]{0,5}"), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = fixture(with_own);
            let folder = tempfile::tempdir().unwrap();
            let image = publish(folder.path(), "image", &fixture.graph()).await;
            let pairs: Vec<_> = edits.iter().map(|(what, key, value)| pair(*what, *key, value)).collect();
            let (on, off): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            for edits in on.into_iter().chain(off) {
                let request = Request::new(Subject::new(image.clone()), edits);
                mutate(&places(), request, &Options::default()).await.unwrap();
            }
            let layout = Layout::open(folder.path().join("image")).unwrap();
            let manifest = layout.document(&Selector::Tag("v1".into())).await.unwrap();
            let image = Image::load(&layout, manifest).await.unwrap();
            assert_eq!(value(&image.config), value(&fixture.config));
            let (mut new, mut old) = (value(&image.manifest), value(&fixture.manifest));
            for manifest in [&mut new, &mut old] {
                manifest["config"] = GONE;
            }
            assert_eq!(new, old);
        });
    }
}

/// What plans hold is a value: nothing of it depends on where the image is.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_edits_give_the_same_bytes_everywhere() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let graph = indexed().graph();
    store(repository(&server, "app").as_ref(), &graph, PutAs::Tag("v1".into())).await.unwrap();
    let remote: Location = format!("{}/app:v1", server.host()).parse().unwrap();
    let local = publish(folder.path(), "app", &graph).await;
    let edits = Edits { labels: set("a", "b"), index_annotations: set("c", "d"), ..Edits::default() };
    let (remote_plan, local_plan) =
        (planned(&remote, edits.clone()).await.unwrap(), planned(&local, edits.clone()).await.unwrap());
    assert_eq!(remote_plan.digest(), local_plan.digest());
    assert_eq!(remote_plan.root().kind(), Kind::Index);
    // By digest, into the repository, the tag left alone.
    let by_digest: Location = format!("{}/app@{}", server.host(), graph.root().digest()).parse().unwrap();
    let plan = planned(&by_digest, edits).await.unwrap().untagged();
    rewrite::apply(&places(), &plan, &Options::default()).await.unwrap();
    let place = repository(&server, "app");
    assert_eq!(place.resolve(&Selector::Tag("v1".into())).await.unwrap().digest, graph.root().digest());
    assert!(place.document(&plan.digest().into()).await.is_ok());
    server.stop().await;
}
