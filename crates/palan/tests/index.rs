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

fn listed_for(image: &Image, text: &str) -> Descriptor {
    Descriptor { platform: Some(platform(text)), ..image.descriptor() }
}

/// `digest for platform`, an attestation: `digest about digest`.
fn rows(entries: &[Descriptor]) -> Vec<String> {
    let row = |e: &Descriptor| match (e.attested_digest(), &e.platform) {
        (Some(about), _) => format!("{} about {about}", e.digest),
        (None, Some(platform)) => format!("{} for {platform}", e.digest),
        (None, None) => e.digest.to_string(),
    };
    entries.iter().map(row).collect()
}

/// An entry is an image for a platform: the same image for another one is another entry.
#[tokio::test]
async fn one_image_for_another_platform_is_another_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (image("linux/amd64", "a"), image("linux/arm64", "b"));
    let index = IndexSpec::new().images([one.clone(), other.clone()]).attest(Attestation::Legacy).build();
    let base = publish(folder.path(), "base", &index.graph()).await;
    let again = publish(folder.path(), "again", &one.graph()).await;
    let target = location(folder.path(), "target");
    let about = |i: usize| {
        let attestation = &index.attestations[i];
        format!("{} about {}", attestation.manifest.digest(), attestation.about)
    };
    let with = |platform: &str, existing| {
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let entries =
            Entries { platform: Some(platform.parse().unwrap()), annotations, ..Entries::default() };
        append::Request { entries, existing, ..append(Some(&base), &[&again], &target) }
    };
    let on = |image: &Image, platform: &str| format!("{} for {platform}", image.digest());
    let planned = |request| async {
        let plan = append::plan(&places(), request).await.unwrap();
        let listed = list(plan.result().as_ref(), &Selector::Digest(plan.digest())).await.unwrap();
        (listed, plan.notes().to_vec())
    };

    let (entries, notes) = planned(with("linux/riscv64", Existing::Replace)).await;
    let old = [on(&one, "linux/amd64"), on(&other, "linux/arm64"), about(0), about(1)];
    assert_eq!(rows(&entries), [&old[..], &[on(&one, "linux/riscv64")]].concat());
    assert_eq!((entries[0].annotations.clone(), entries[4].annotation("k")), (None, Some("v")));
    assert!(notes.is_empty(), "{notes:?}");

    // What it replaces for that platform goes, with what is about it.
    let (entries, notes) = planned(with("linux/arm64", Existing::Replace)).await;
    assert_eq!(rows(&entries), [on(&one, "linux/amd64"), on(&one, "linux/arm64"), about(0)]);
    let replaced = format!("the entry {} for linux/arm64 is replaced by {}", other.digest(), one.digest());
    assert_eq!((notes[0].clone(), notes.len()), (replaced, 2));

    let (entries, _) = planned(with("linux/arm64", Existing::Keep)).await;
    assert_eq!(rows(&entries), [&old[..], &[on(&one, "linux/arm64")]].concat());

    // What is there already gets what was asked for.
    for existing in [Existing::Replace, Existing::Keep] {
        let (entries, notes) = planned(with("linux/amd64", existing)).await;
        assert_eq!(rows(&entries), old);
        assert_eq!((entries[0].annotation("k"), notes.len()), (Some("v"), 0));
    }
}

/// An image that is replaced for one platform is still there for the other, and so is what is about it.
#[tokio::test]
async fn what_is_about_an_image_stays_while_the_image_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (one, new) = (image("linux/amd64", "a"), image("linux/amd64", "new"));
    let attestation = Attestation::Legacy.about(&one);
    let graph = Graph { blobs: attestation.blobs.clone(), documents: vec![attestation.manifest.clone()] };
    let index = IndexSpec::new().image(one.clone()).image_as(one.clone(), listed_for(&one, "linux/arm64"));
    let index = index.entry(json!(attestation.descriptor), &graph).build();
    let base = publish(folder.path(), "base", &index.graph()).await;
    let added = publish(folder.path(), "new", &new.graph()).await;
    let target = location(folder.path(), "target");
    let plan = append::plan(&places(), append(Some(&base), &[&added], &target)).await.unwrap();
    let listed = list(plan.result().as_ref(), &Selector::Digest(plan.digest())).await.unwrap();
    assert_eq!(digests(&listed), [new.digest(), one.digest(), attestation.manifest.digest()]);
    assert_eq!(plan.notes().len(), 1, "{:?}", plan.notes());
}

/// What is said of an entry that is appended again stays: here it has annotations, and a field that nobody knows.
#[tokio::test]
async fn entries_that_are_appended_again_keep_what_is_said_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let one = image("linux/amd64", "a");
    let mut entry = json!(one.descriptor());
    entry["x-unknown"] = json!([1]);
    entry["annotations"] = json!({"own": "1", "k": "old"});
    let index = IndexSpec::new().entry(entry.clone(), &one.graph()).build();
    let base = publish(folder.path(), "base", &index.graph()).await;
    let again = publish(folder.path(), "again", &one.graph()).await;
    let target = location(folder.path(), "target");
    let annotations = BTreeMap::from([("k".to_owned(), "new".to_owned())]);
    let entries = Entries { annotations, ..Entries::default() };
    let request = append::Request { entries, ..append(Some(&base), &[&again], &target) };
    let plan = append::plan(&places(), request).await.unwrap();
    entry["annotations"]["k"] = json!("new");
    assert_eq!(plan.root().object().unwrap()["manifests"], json!([entry]));
}

/// crane index append: a layout is the list that it is.
#[tokio::test]
async fn a_layout_without_a_choice_is_appended_with_all_it_lists() {
    let folder = tempfile::tempdir().unwrap();
    let images = [image("linux/amd64", "a"), image("linux/arm64", "b")];
    let layout = Layout::create(folder.path().join("many")).unwrap();
    store(&layout, &images[0].graph(), PutAs::Tag("a".into())).await.unwrap();
    store(&layout, &images[1].graph(), PutAs::Tag("b".into())).await.unwrap();
    store(&layout, &images[1].graph(), PutAs::Tag("c".into())).await.unwrap();
    let nested = IndexSpec::new().image(image("linux/s390x", "z")).attest(Attestation::Artifact).build();
    store(&layout, &nested.graph(), PutAs::Tag("d".into())).await.unwrap();
    let from: Location = format!("oci:{}", folder.path().join("many").display()).parse().unwrap();
    let target = location(folder.path(), "target");
    let (entries, _) = run(append(None, &[&from], &target)).await.unwrap();
    let all = [images[0].digest(), images[1].digest(), nested.images[0].digest()];
    assert_eq!(digests(&entries)[..3], all);
    assert_eq!((entries.len(), entries[3].attested_digest()), (4, Some(all[2])));
    let stated: Vec<_> = entries.iter().map(|e| e.platform.clone().unwrap().to_string()).collect();
    assert_eq!(stated, ["linux/amd64", "linux/arm64", "linux/s390x", "unknown/unknown"]);
    assert!(entries[..3].iter().all(|entry| entry.annotations.is_none()), "{entries:?}");

    let with = |entries| append::Request { entries, ..append(None, &[&from], &target) };
    let (entries, _) = run(with(Entries { flatten: false, ..Entries::default() })).await.unwrap();
    assert_eq!(digests(&entries), [all[0], all[1], nested.digest()]);
    let platforms = vec!["linux/arm64".parse().unwrap()];
    let (entries, _) = run(with(Entries { platforms, ..Entries::default() })).await.unwrap();
    assert_eq!(digests(&entries), [all[1]]);
    let platforms = vec!["windows".parse().unwrap()];
    let error = run(with(Entries { platforms, ..Entries::default() })).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn a_layout_lists_one_image_for_two_platforms() {
    let folder = tempfile::tempdir().unwrap();
    let one = publish(folder.path(), "one", &image("linux/amd64", "a").graph()).await;
    let path = folder.path().join("to");
    let cases = [(None, "1"), (Some("linux/arm64"), "2"), (Some("linux/amd64"), "3"), (None, "4")];
    for (platform, value) in cases {
        let annotations = BTreeMap::from([("k".to_owned(), value.to_owned())]);
        let platform = platform.map(|p| p.parse().unwrap());
        let entries = Entries { platform, annotations, ..Entries::default() };
        let from = std::slice::from_ref(&one);
        append::into_layout(&places(), &path, from, &entries, &Options::default()).await.unwrap();
    }
    let listed = Layout::open(&path).unwrap().entries().unwrap();
    let stated: Vec<_> =
        listed.iter().map(|e| (e.platform.clone().unwrap().to_string(), e.annotation("k"))).collect();
    assert_eq!(stated, [("linux/amd64".to_owned(), Some("4")), ("linux/arm64".to_owned(), Some("2"))]);
    // And is appended as such.
    let (from, target) =
        (format!("oci:{}", path.display()).parse().unwrap(), location(folder.path(), "target"));
    let plan = append::plan(&places(), append(None, &[&from], &target)).await.unwrap();
    let all = list(plan.result().as_ref(), &Selector::Digest(plan.digest())).await.unwrap();
    assert_eq!(rows(&all), rows(&listed));
}

/// One attestation that is listed for two images, and one image that is listed for two platforms.
#[tokio::test]
async fn entries_of_one_digest_are_kept_and_removed_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (image("linux/amd64", "a"), image("linux/riscv64", "b"));
    let mut both = Attestation::Legacy.about(&one);
    let graph = Graph { blobs: both.blobs.clone(), documents: vec![both.manifest.clone()] };
    let mut index =
        IndexSpec::new().image(one.clone()).image_as(one.clone(), listed_for(&one, "linux/arm64"));
    index = index.image(other.clone());
    for about in [one.digest(), other.digest()] {
        let annotations = both.descriptor.annotations.as_mut().unwrap();
        annotations.insert("vnd.docker.reference.digest".into(), about.to_string());
        index = index.entry(json!(both.descriptor), &graph);
    }
    let index = index.build();
    let at = publish(folder.path(), "index", &index.graph()).await;
    let target = location(folder.path(), "target");
    let said = |image: &Image| format!("{} about {}", both.manifest.digest(), image.digest());
    let on = |image: &Image, platform: &str| format!("{} for {platform}", image.digest());
    let remove =
        |platform: &str| Selection::Remove { digests: vec![], platforms: vec![platform.parse().unwrap()] };
    let cases = [
        (keep(&["linux/arm64"]), vec![on(&one, "linux/arm64"), said(&one)]),
        (keep(&["linux/riscv64"]), vec![on(&other, "linux/riscv64"), said(&other)]),
        (
            remove("linux/amd64"),
            vec![on(&one, "linux/arm64"), on(&other, "linux/riscv64"), said(&one), said(&other)],
        ),
        (
            Selection::Remove { digests: vec![one.digest()], platforms: vec![] },
            vec![on(&other, "linux/riscv64"), said(&other)],
        ),
    ];
    for (selection, expected) in cases {
        let request = filter::Request { index: at.clone(), selection, target: Some(target.clone()) };
        let plan = filter::plan(&places(), request).await.unwrap();
        let listed = list(plan.result().as_ref(), &Selector::Digest(plan.digest())).await.unwrap();
        assert_eq!(rows(&listed), expected);
    }
}

/// What is about an image may be listed in an index before the one that lists the image.
#[tokio::test]
async fn attestations_in_an_index_beside_their_image_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (image("linux/amd64", "a"), image("linux/arm64", "b"));
    let about = |image: &Image| {
        let attestation = Attestation::Artifact.about(image);
        let graph = Graph { blobs: attestation.blobs.clone(), documents: vec![attestation.manifest.clone()] };
        (attestation.descriptor, graph)
    };
    let said = [about(&one), about(&other)];
    let first = said.iter().fold(IndexSpec::new(), |index, (entry, graph)| index.entry(json!(entry), graph));
    let outer = IndexSpec::new().nested(&first.build());
    let outer = outer.nested(&IndexSpec::new().images([one.clone(), other.clone()]).build()).build();
    let at = publish(folder.path(), "index", &outer.graph()).await;
    let target = location(folder.path(), "target");
    let request = filter::Request { index: at, selection: keep(&["linux/arm64"]), target: Some(target) };
    let plan = filter::plan(&places(), request).await.unwrap();
    let result = plan.result();
    let entries = list(result.as_ref(), &Selector::Digest(plan.digest())).await.unwrap();
    let first_now = list(result.as_ref(), &entries[0].digest.into()).await.unwrap();
    assert_eq!(digests(&first_now), [said[1].0.digest]);
    assert_eq!(plan.notes().len(), 1, "{:?}", plan.notes());
}
