//! Putting images into indexes and taking them out: what stays, what goes with what, what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{chain, places, repository, server, store};
use palan::{
    Error, Location,
    copy::Options,
    index::{
        append::{self, Entries, Existing},
        filter::{self, Selection},
        list,
    },
    place::{Layout, PutAs, Source},
    rewrite, validate,
};
use palan_core::{Descriptor, Digest, Document, Family, MediaType, Selector};
use palan_testkit::image::{Attestation, Graph, Image, ImageSpec, IndexSpec, layer, platform};
use proptest::prelude::*;
use serde_json::json;

fn image(platform: &str, content: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("app", content.as_bytes())])).build()
}

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    location(folder, name)
}

fn location(folder: &Path, name: &str) -> Location {
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

fn append(base: Option<&Location>, manifests: &[&Location], target: &Location) -> append::Request {
    append::Request {
        base: base.cloned(),
        manifests: manifests.iter().map(|l| (*l).clone()).collect(),
        target: Some(target.clone()),
        family: Family::Oci,
        entries: Entries::default(),
        existing: Existing::default(),
        artifact_type: None,
    }
}

/// Applies, checks that the result is whole, and gives what it lists.
async fn run(request: append::Request) -> Result<(Vec<Descriptor>, Vec<String>), Error> {
    let target = request.target.clone().unwrap();
    finish(append::plan(&places(), request).await?, &target).await
}

async fn select(
    index: &Location,
    selection: Selection,
    target: &Location,
) -> Result<(Vec<Descriptor>, Vec<String>), Error> {
    let request = filter::Request { index: index.clone(), selection, target: Some(target.clone()) };
    finish(filter::plan(&places(), request).await?, target).await
}

async fn finish(plan: rewrite::Plan, target: &Location) -> Result<(Vec<Descriptor>, Vec<String>), Error> {
    let notes = plan.notes().to_vec();
    let outcome = rewrite::apply(&places(), &plan, &Options::default()).await?;
    let place = places().source(target)?.place;
    let selector = Selector::Digest(outcome.digest);
    let report = validate::validate(place.as_ref(), &selector, &validate::Options::default()).await?;
    assert!(report.is_valid(), "{:?}", report.faults);
    Ok((list(place.as_ref(), &selector).await?, notes))
}

fn digests(entries: &[Descriptor]) -> Vec<Digest> {
    entries.iter().map(|e| e.digest).collect()
}

#[tokio::test]
async fn an_index_is_made_of_images_of_several_places() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let (amd, arm) = (image("linux/amd64", "a"), image("linux/arm64/v8", "b"));
    let from = publish(folder.path(), "amd", &amd.graph()).await;
    store(repository(&server, "arm").as_ref(), &arm.graph(), PutAs::Tag("1".into())).await.unwrap();
    let remote: Location = format!("{}/arm:1", server.host()).parse().unwrap();
    let target: Location = format!("{}/all:1", server.host()).parse().unwrap();
    for family in [Family::Oci, Family::Docker] {
        let request = append::Request { family, ..append(None, &[&from, &remote], &target) };
        let (entries, notes) = run(request).await.unwrap();
        let stated = entries.iter().map(|e| e.platform.clone().unwrap().to_string()).collect::<Vec<_>>();
        assert_eq!(digests(&entries), [amd.digest(), arm.digest()]);
        assert_eq!(stated, ["linux/amd64", "linux/arm64/v8"]);
        let root = places().source(&target).unwrap().place.resolve(&Selector::Tag("1".into())).await.unwrap();
        assert_eq!(root.media_type.family(), Some(family));
        assert_eq!(notes.len(), usize::from(family == Family::Docker), "{notes:?}");
    }
}

#[tokio::test]
async fn a_new_image_takes_the_place_of_the_one_for_its_platform() {
    let folder = tempfile::tempdir().unwrap();
    let (amd, arm, new) = (image("linux/amd64", "a"), image("linux/arm64", "b"), image("linux/amd64", "new"));
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let old =
            IndexSpec::new().images([amd.clone(), arm.clone()]).attest(form).field("/x-unknown", json!([1]));
        let old = old.build();
        let base = publish(folder.path(), "base", &old.graph()).await;
        let added = publish(folder.path(), "new", &new.graph()).await;
        let target = location(folder.path(), "target");
        let (entries, notes) = run(append(Some(&base), &[&added], &target)).await.unwrap();
        assert_eq!(digests(&entries), [new.digest(), arm.digest(), old.attestations[1].manifest.digest()]);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains(&amd.digest().to_string()) && notes[0].contains("linux/amd64"));
        let root =
            Layout::open(folder.path().join("target")).unwrap().document(&Selector::Tag("v1".into())).await;
        assert_eq!(root.unwrap().object().unwrap()["x-unknown"], json!([1]));

        let keep = append::Request { existing: Existing::Keep, ..append(Some(&base), &[&added], &target) };
        let (entries, notes) = run(keep).await.unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!((entries[4].digest, notes.len()), (new.digest(), 0));
    }
}

#[tokio::test]
async fn appending_what_is_there_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSpec::new().images([image("linux/amd64", "a"), image("linux/arm64", "b")]);
    let index = index.attest(Attestation::Artifact).build();
    let base = publish(folder.path(), "base", &index.graph()).await;
    let one = publish(folder.path(), "one", &index.images[1].graph()).await;
    for manifests in [vec![], vec![&one], vec![&base], vec![&one, &base]] {
        let request = append::Request { target: None, ..append(Some(&base), &manifests, &base) };
        let plan = append::plan(&places(), request).await.unwrap();
        assert!(plan.is_noop(), "{manifests:?}");
        assert_eq!(plan.root().bytes(), index.document.bytes());
    }
}

#[tokio::test]
async fn indexes_are_flattened_one_level_or_nested() {
    let folder = tempfile::tempdir().unwrap();
    let inner = IndexSpec::new().image(image("linux/s390x", "z")).build();
    let outer = IndexSpec::new().images([image("linux/amd64", "a"), image("linux/arm64", "b")]);
    let outer = outer.nested(&inner).attest(Attestation::Legacy).build();
    let from = publish(folder.path(), "from", &outer.graph()).await;
    let target = location(folder.path(), "target");
    let (entries, _) = run(append(None, &[&from], &target)).await.unwrap();
    let all = [outer.images[0].digest(), outer.images[1].digest(), inner.digest()];
    let attestations = outer.attestations.iter().map(|a| a.manifest.digest());
    assert_eq!(digests(&entries), all.into_iter().chain(attestations).collect::<Vec<_>>());

    let with = |entries| append::Request { entries, ..append(None, &[&from], &target) };
    let (entries, _) = run(with(Entries { flatten: false, ..Entries::default() })).await.unwrap();
    assert_eq!(digests(&entries), [outer.digest()]);

    let platforms = vec!["linux/arm64".parse().unwrap()];
    let (entries, _) = run(with(Entries { platforms, ..Entries::default() })).await.unwrap();
    let expected = [outer.images[1].digest(), inner.digest(), outer.attestations[1].manifest.digest()];
    assert_eq!(digests(&entries), expected);
    let platforms = vec!["windows".parse().unwrap()];
    let error = run(with(Entries { platforms, ..Entries::default() })).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn entries_say_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let one = publish(folder.path(), "one", &image("linux/amd64", "a").graph()).await;
    let other = publish(folder.path(), "other", &image("linux/arm64", "a").graph()).await;
    let target = location(folder.path(), "target");
    let annotations = BTreeMap::from([("k".to_owned(), String::new())]);
    let asked = Entries { platform: Some(platform("linux/amd64/v3")), annotations, ..Entries::default() };
    let with = |manifests: &[&Location], family| append::Request {
        entries: asked.clone(),
        artifact_type: Some("text/x".into()),
        family,
        ..append(None, manifests, &target)
    };
    // Not written: the config says otherwise, and `validate` would complain.
    let plan = append::plan(&places(), with(&[&one], Family::Oci)).await.unwrap();
    let root = plan.root().object().unwrap();
    let platform = json!({"os": "linux", "architecture": "amd64", "variant": "v3"});
    assert_eq!((&root["manifests"][0]["platform"], &root["artifactType"]), (&platform, &json!("text/x")));
    assert_eq!(root["manifests"][0]["annotations"], json!({"k": ""}));
    let error = run(with(&[&one, &other], Family::Oci)).await.unwrap_err();
    assert!(error.to_string().ends_with("is 2 images, one image for the one platform is needed"), "{error}");
    let Error::Inexpressible { what, .. } = run(with(&[&one], Family::Docker)).await.unwrap_err() else {
        panic!()
    };
    assert_eq!(what.len(), 2);
    let error = run(append(Some(&one), &[&other], &target)).await.unwrap_err();
    assert!(matches!(error, Error::WrongKind { wanted: "an index", .. }), "{error}");
}

#[tokio::test]
async fn a_layout_s_own_list_is_added_to_once() {
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSpec::new().images([image("linux/amd64", "a"), image("linux/arm64", "b")]);
    let index = index.attest(Attestation::Artifact).build();
    let from = publish(folder.path(), "from", &index.graph()).await;
    let path = folder.path().join("to");
    for _ in 0..2 {
        let entries = Entries::default();
        append::into_layout(&places(), &path, std::slice::from_ref(&from), &entries, &Options::default())
            .await
            .unwrap();
        let layout = Layout::open(&path).unwrap();
        let listed = layout.entries().unwrap();
        assert_eq!(listed.len(), 4);
        assert_eq!(listed[0].platform, Some(platform("linux/amd64")));
        for entry in listed {
            let report =
                validate::validate(&layout, &entry.digest.into(), &validate::Options::default()).await;
            assert!(report.unwrap().is_valid());
        }
    }
}

/// A signature of an attestation goes with it, however the images are chosen.
#[tokio::test]
async fn signatures_of_attestations_go_with_them_in_every_selection() {
    let folder = tempfile::tempdir().unwrap();
    let images = [image("linux/amd64", "a"), image("linux/arm64", "b")];
    let spec = IndexSpec::new().images(images.clone()).attest(Attestation::Artifact);
    let about = spec.clone().build().attestations[1].manifest.descriptor();
    let empty = Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(b"{}"), 2);
    let signature = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/x",
        "config": empty, "layers": [empty], "subject": about,
    });
    let signature = Document::from_value(&signature, MediaType::OCI_MANIFEST).unwrap();
    let graph = Graph { blobs: vec![(empty, "{}".into())], documents: vec![signature.clone()] };
    let index = spec.entry(json!(signature.descriptor()), &graph).build();
    let at = publish(folder.path(), "index", &index.graph()).await;
    let new = publish(folder.path(), "new", &image("linux/arm64", "new").graph()).await;
    let target = location(folder.path(), "target");
    let platforms = vec!["linux/amd64".parse().unwrap()];
    let entries = Entries { platforms, ..Entries::default() };
    let flattened = run(append::Request { entries, ..append(None, &[&at], &target) }).await.unwrap().0;
    let filtered = select(&at, keep(&["linux/amd64"]), &target).await.unwrap().0;
    let replaced = run(append(Some(&at), &[&new], &target)).await.unwrap().0;
    let attestation = index.attestations[0].manifest.digest();
    assert_eq!(digests(&flattened), [images[0].digest(), attestation]);
    assert_eq!(digests(&filtered), digests(&flattened));
    assert_eq!(replaced.len(), 3);
    assert!(!digests(&replaced).contains(&signature.digest()));
}

fn keep(patterns: &[&str]) -> Selection {
    Selection::Keep(patterns.iter().map(|p| p.parse().unwrap()).collect())
}

#[tokio::test]
async fn attestations_go_where_their_images_go() {
    let folder = tempfile::tempdir().unwrap();
    let (amd, arm, win) = (image("linux/amd64", "a"), image("linux/arm64", "b"), image("windows/amd64", "c"));
    let artifact = ImageSpec::new("linux/amd64").manifest_field("/config/mediaType", "application/x").build();
    let bare = artifact.manifest.descriptor();
    let target = location(folder.path(), "target");
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let index =
            IndexSpec::new().image(amd.clone()).image_without_platform(arm.clone()).image(win.clone());
        let index = index.entry(json!(bare), &artifact.graph()).attest(form).build();
        let at = publish(folder.path(), "index", &index.graph()).await;
        let about = |i: usize| index.attestations[i].manifest.digest();
        let (other, cases) = (
            bare.digest,
            [
                (vec!["linux"], vec![amd.digest(), arm.digest(), bare.digest, about(0), about(1)]),
                (vec!["linux/arm64/v8"], vec![arm.digest(), bare.digest, about(1)]),
                (
                    vec!["linux/arm64", "windows"],
                    vec![arm.digest(), win.digest(), bare.digest, about(1), about(2)],
                ),
            ],
        );
        for (patterns, expected) in cases {
            let (entries, notes) = select(&at, keep(&patterns), &target).await.unwrap();
            assert_eq!(digests(&entries), expected, "{patterns:?}");
            assert!(notes.contains(&format!("the entry {other} is for no platform: kept")), "{notes:?}");
            let left_out = notes.iter().filter(|n| n.ends_with("left out too")).count();
            assert_eq!(left_out, 7 - expected.len() - (3 - (expected.len() - 1) / 2), "{notes:?}");
        }
        let remove =
            Selection::Remove { digests: vec![amd.digest()], platforms: vec!["windows".parse().unwrap()] };
        let (entries, _) = select(&at, remove, &target).await.unwrap();
        assert_eq!(digests(&entries), [arm.digest(), bare.digest, about(1)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is appended and removed again leaves the index as it was, to the byte; however its text is laid out.
    #[test]
    fn appending_and_removing_are_inverse(
        platforms in prop::collection::btree_set(prop::sample::select(vec!["linux/amd64", "linux/arm64/v8", "windows/amd64"]), 1..4),
        attested in any::<bool>(),
        indented in any::<bool>(),
        by_platform in any::<bool>(),
        field in "x-[a-z]{1,8}",
    ) {
        let spec = IndexSpec::new().images(platforms.iter().map(|p| image(p, p))).field(format!("/{field}"), json!([1, {}]));
        let spec = if attested { spec.attest(Attestation::Artifact) } else { spec };
        let mut graph = spec.build().graph();
        if indented {
            let text = serde_json::to_string_pretty(&graph.root().object().unwrap()).unwrap();
            let root = Document::parse(text.into_bytes(), Some(MediaType::OCI_INDEX)).unwrap();
            *graph.documents.last_mut().unwrap() = root;
        }
        let new = image("linux/s390x", "new");
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let base = publish(folder.path(), "base", &graph).await;
            let added = publish(folder.path(), "new", &new.graph()).await;
            let (more, less) = (location(folder.path(), "more"), location(folder.path(), "less"));
            run(append(Some(&base), &[&added], &more)).await.unwrap();
            let remove = match by_platform {
                true => Selection::Remove { digests: vec![], platforms: vec!["linux/s390x".parse().unwrap()] },
                false => Selection::Remove { digests: vec![new.digest()], platforms: vec![] },
            };
            select(&more, remove, &less).await.unwrap();
            let left = Layout::open(folder.path().join("less")).unwrap().document(&Selector::Tag("v1".into())).await;
            assert_eq!(left.unwrap().bytes(), graph.root().bytes());
        });
    }
}

#[tokio::test]
async fn inner_indexes_are_filtered_too() {
    let folder = tempfile::tempdir().unwrap();
    let inner = IndexSpec::new().images([image("linux/amd64", "a"), image("linux/arm64", "b")]).build();
    let gone = IndexSpec::new().image(image("windows/amd64", "w")).build();
    let outer = IndexSpec::new().nested(&inner).nested(&gone).image(image("linux/s390x", "c")).build();
    let at = publish(folder.path(), "index", &outer.graph()).await;
    let target = location(folder.path(), "target");
    let (entries, notes) = select(&at, keep(&["linux/arm64", "linux/riscv64"]), &target).await.unwrap();
    assert_eq!(notes, ["there is no image for linux/riscv64"]);
    assert_eq!(entries.len(), 1);
    let layout = Layout::open(folder.path().join("target")).unwrap();
    let inner_now = list(&layout, &entries[0].digest.into()).await.unwrap();
    assert_eq!(digests(&inner_now), [inner.images[1].digest()]);
    let (entries, _) = select(&at, keep(&["linux"]), &target).await.unwrap();
    assert_eq!(
        digests(&entries),
        [inner.digest(), outer.images[0].digest()],
        "what loses nothing stays as it is"
    );
}

#[tokio::test]
async fn what_is_about_an_inner_index_is_told_of_its_change() {
    let folder = tempfile::tempdir().unwrap();
    let inner = IndexSpec::new().images([image("linux/amd64", "a"), image("linux/arm64", "b")]).build();
    let about = ImageSpec::new("linux/amd64").manifest_field("/config/mediaType", "application/x");
    let about = about.manifest_field("/subject", json!(inner.document.descriptor())).build();
    let outer =
        IndexSpec::new().nested(&inner).entry(json!(about.manifest.descriptor()), &about.graph()).build();
    let at = publish(folder.path(), "index", &outer.graph()).await;
    let target = location(folder.path(), "target");
    let (entries, notes) = select(&at, keep(&["linux/arm64"]), &target).await.unwrap();
    assert_eq!(entries[1].digest, about.digest());
    let (entry, subject) = (about.digest(), inner.digest());
    assert_eq!(notes, [format!("the entry {entry} is about {subject}, which changes: kept")]);
}

/// crane index filter: the index is emptied, where nothing is chosen or nothing matches.
#[tokio::test]
async fn an_index_is_never_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSpec::new().image(image("linux/amd64", "a")).attest(Attestation::Legacy).build();
    let at = publish(folder.path(), "index", &index.graph()).await;
    let single = publish(folder.path(), "single", &index.images[0].graph()).await;
    let remove = |digests: Vec<Digest>, platforms: &[&str]| Selection::Remove {
        digests,
        platforms: platforms.iter().map(|p| p.parse().unwrap()).collect(),
    };
    let cases = [
        (&at, keep(&["linux/arm64"]), "has no image for linux/arm64 (it has linux/amd64)"),
        (&at, remove(vec![], &["linux"]), "nothing would be left of"),
        (&at, remove(vec![index.digest()], &[]), "was not found in"),
        (&at, remove(vec![], &["linux/arm64"]), "has no image for linux/arm64"),
        (&single, keep(&["linux"]), "is a single image, an index is needed"),
    ];
    for (index, selection, expected) in cases {
        let error = select(index, selection, index).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let left = Layout::open(folder.path().join("index")).unwrap().resolve(&Selector::Tag("v1".into())).await;
    assert_eq!(left.unwrap().digest, index.digest());
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSpec::new().image_without_platform(image("linux/amd64", "a")).build();
    let at = publish(folder.path(), "index", &index.graph()).await;
    let config =
        Layout::open(folder.path().join("index")).unwrap().blob_path(index.images[0].config.digest());
    std::fs::remove_file(config).unwrap();
    let error = select(&at, keep(&["linux"]), &at).await.unwrap_err();
    assert!(error.is_not_found(), "{}", chain(&error));
    let listed =
        list(places().source(&at).unwrap().place.as_ref(), &Selector::Tag("v1".into())).await.unwrap();
    assert_eq!(listed[0].media_type, MediaType::OCI_MANIFEST, "listing reads the index only");
}
