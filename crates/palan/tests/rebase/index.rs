//! 3.3: indexes.

use palan::{Error, rebase::FindingKind};
use palan_core::{Descriptor, Digest, Family, MediaType, annotation};
use palan_testkit::image::{Attestation, Graph, Image, Index, IndexSpec};
use serde_json::json;

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, field, merged},
    world::{World, findings},
};

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

/// The old and the new base and the images on the old one, for three platforms.
struct Family3 {
    old: Vec<Image>,
    new: Vec<Image>,
    apps: Vec<Image>,
}

fn three() -> Family3 {
    let old: Vec<_> = PLATFORMS.iter().map(|p| base(p, &OLD).build()).collect();
    let new = PLATFORMS.iter().map(|p| base(p, &NEW).build()).collect();
    let apps = old.iter().map(|base| app(base).build()).collect();
    Family3 { old, new, apps }
}

impl Family3 {
    /// A registry with the bases as indexes.
    async fn world(&self) -> World {
        let world = World::new().await;
        let index = |images: &[Image]| IndexSpec::new().images(images.to_vec()).build().graph();
        world.put("base:old", &index(&self.old)).await;
        world.put("base:new", &index(&self.new)).await;
        world
    }

    fn index(&self) -> IndexSpec {
        IndexSpec::new().images(self.apps.clone())
    }
}

fn entries(index: &Index) -> Vec<Descriptor> {
    index.document.view::<palan_core::view::Index>().unwrap().manifests
}

#[tokio::test]
async fn c3_3_1_every_platform_in_one_index_and_in_order() {
    let three = three();
    let world = three.world().await;
    let index = three
        .index()
        .annotation("org.example.keepme", "yes")
        .field("/x-custom", json!({"b": 1, "a": 2}))
        .build();
    world.put("app:v1", &index.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;

    let children = world.children("app:v1").await;
    assert_eq!(children.len(), 3);
    for (i, (entry, image)) in children.iter().enumerate() {
        let image = image.as_ref().unwrap();
        assert_stacked(image, &three.new[i], &three.apps[i], 2);
        assert_eq!(entry.platform, entries(&index)[i].platform);
        assert_eq!(entry.size, image.manifest.size());
    }
    let root = world.document("app:v1").await;
    assert_eq!(root.media_type(), index.document.media_type());
    assert_eq!(field(&root, "/annotations/org.example.keepme"), Some(json!("yes")));
    assert_eq!(field(&root, "/x-custom").unwrap().to_string(), r#"{"b":1,"a":2}"#);
    assert_eq!(done.plan.report().platforms.len(), 3);
    world.assert_valid("app:v1").await;
    for (platform, (_, image)) in PLATFORMS.iter().zip(&children) {
        let name = format!("app@{}", image.as_ref().unwrap().manifest.digest());
        assert_eq!(world.files(&name).await, merged(platform, &[&NEW, &APP]));
    }
    world.stop().await;
}

#[tokio::test]
async fn c3_3_2_a_platform_is_replaced_inside_the_index() {
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let three = three();
        let world = three.world().await;
        let index = three.index().attest(form).build();
        world.put("app:v1", &index.graph()).await;
        let done = world.rebase("app:v1").bases("base:old", "base:new").platform("linux/arm64").run().await;

        let before = entries(&index);
        let children = world.children("app:v1").await;
        let digests: Vec<Digest> = children.iter().map(|(e, _)| e.digest).collect();
        // Three images, and the attestations of the two that stay.
        assert_eq!(digests.len(), 5, "{form:?}");
        assert_eq!((digests[0], digests[2]), (before[0].digest, before[2].digest));
        assert_stacked(children[1].1.as_ref().unwrap(), &three.new[1], &three.apps[1], 2);
        assert_eq!((digests[3], digests[4]), (before[3].digest, before[5].digest));
        let dropped = done.findings(FindingKind::AttestationDropped);
        assert_eq!(dropped.len(), 1);
        assert!(dropped[0].contains(&before[4].digest.to_string()), "{dropped:?}");
        world.assert_valid("app:v1").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_rebase_of_some_platforms_does_not_make_the_index_speak_for_the_others() {
    let three = three();
    let world = three.world().await;
    let old = world.digest("base:old").await;
    let index = three
        .index()
        .annotation(annotation::BASE_NAME, world.text("base:new"))
        .annotation(annotation::BASE_DIGEST, old.to_string())
        .build();
    world.put("app:v1", &index.graph()).await;
    world.rebase("app:v1").platform("linux/arm64").run().await;
    let said = field(&world.document("app:v1").await, "/annotations").unwrap();
    assert_eq!(said[annotation::BASE_DIGEST], json!(old));

    // By hints alone: the others follow, the one that was rebased stays as it is.
    let first = world.children("app:v1").await[1].0.digest;
    let done = world.rebase("app:v1").run().await;
    let children = world.children("app:v1").await;
    assert_eq!(children[1].0.digest, first);
    for (i, (_, image)) in children.iter().enumerate() {
        assert_stacked(image.as_ref().unwrap(), &three.new[i], &three.apps[i], 2);
    }
    let said = field(&world.document("app:v1").await, "/annotations").unwrap();
    assert_eq!(said[annotation::BASE_DIGEST], json!(world.digest("base:new").await));
    assert_eq!(done.outcome.summary.documents, 3, "two images and the index, not the third image");
    world.rebase("app:v1").changes_nothing().await;
    world.stop().await;
}

#[tokio::test]
async fn c3_3_3_and_c3_3_4_attestations_of_replaced_images_are_left_out_and_that_is_said() {
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let three = three();
        let world = three.world().await;
        let index = three.index().attest(form).build();
        world.put("app:v1", &index.graph()).await;
        let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
        let children = world.children("app:v1").await;
        assert_eq!(children.len(), 3, "{form:?}");
        assert!(children.iter().all(|(entry, image)| !entry.is_attestation() && image.is_some()));
        let dropped = done.findings(FindingKind::AttestationDropped);
        for attestation in &index.attestations {
            let text = dropped.iter().find(|t| t.contains(&attestation.manifest.digest().to_string()));
            assert!(text.unwrap().contains(&attestation.about.to_string()));
        }
        assert_eq!(dropped.len(), 3);
        // Onto the same base again: nothing more to drop.
        world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
        world.stop().await;
    }
}

#[tokio::test]
async fn attestations_that_say_only_by_subject_or_not_at_all_what_they_are_about() {
    let three = three();
    let world = three.world().await;
    let image = &three.apps[0];
    let artifact = Attestation::Artifact.about(image);
    let legacy = Attestation::Legacy.about(image);
    let other = Attestation::Legacy.about(&three.apps[1]);
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let bare = |d: &Descriptor, extra: serde_json::Value| {
        let mut entry = json!({"mediaType": d.media_type, "digest": d.digest, "size": d.size});
        entry.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        entry
    };
    let graph = |a: &palan_testkit::image::AttestationEntry| Graph {
        blobs: a.blobs.clone(),
        documents: vec![a.manifest.clone()],
    };
    let marked = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let index = IndexSpec::new()
        .image(image.clone())
        .entry(bare(&artifact.descriptor, json!({"platform": unknown})), &graph(&artifact))
        .entry(bare(&artifact.descriptor, json!({"artifactType": "x/y"})), &graph(&artifact))
        .entry(bare(&legacy.descriptor, json!({"annotations": marked})), &graph(&legacy))
        .entry(bare(&other.descriptor, json!({"platform": unknown})), &graph(&other))
        .build();
    world.put("app:v1", &index.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let left: Vec<_> = world.children("app:v1").await.into_iter().map(|(e, _)| e).collect();
    // The last one does not call itself an attestation and points at nothing that is gone.
    assert_eq!(left.len(), 2);
    assert_eq!(left[1].digest, other.descriptor.digest);
    assert_eq!(done.findings(FindingKind::AttestationDropped).len(), 3);
    assert_eq!(done.findings(FindingKind::EntryKept).len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn c3_3_5_hints_on_the_children_only_and_of_each_child() {
    let three = three();
    let world = three.world().await;
    let apps = three.old.iter().map(|old| {
        app(old)
            .annotation(annotation::BASE_NAME, world.text("base:new"))
            .annotation(annotation::BASE_DIGEST, old.digest().to_string())
            .build()
    });
    world.put("app:v1", &IndexSpec::new().images(apps).build().graph()).await;
    world.rebase("app:v1").run().await;
    for (i, (_, image)) in world.children("app:v1").await.iter().enumerate() {
        assert_stacked(image.as_ref().unwrap(), &three.new[i], &three.apps[i], 2);
    }
    world.stop().await;
}

#[tokio::test]
async fn children_of_different_bases_go_each_onto_its_own() {
    let world = World::new().await;
    let mut apps = Vec::new();
    for (name, platform) in [("one", "linux/amd64"), ("two", "linux/arm64")] {
        let (old, new) = (base(platform, &OLD).build(), base(platform, &NEW).build());
        world.put(&format!("{name}:old"), &old.graph()).await;
        world.put(&format!("{name}:new"), &new.graph()).await;
        let app = app(&old)
            .annotation(annotation::BASE_NAME, world.text(&format!("{name}:new")))
            .annotation(annotation::BASE_DIGEST, old.digest().to_string());
        apps.push((app.build(), new));
    }
    let index = IndexSpec::new()
        .images(apps.iter().map(|(app, _)| app.clone()))
        .annotation(annotation::BASE_NAME, "example.com/wrong:1")
        .annotation(annotation::BASE_DIGEST, Digest::sha256(b"wrong").to_string())
        .build();
    world.put("app:v1", &index.graph()).await;
    world.rebase("app:v1").run().await;
    for ((_, image), (app, new)) in world.children("app:v1").await.iter().zip(&apps) {
        assert_stacked(image.as_ref().unwrap(), new, app, 2);
    }
    let annotations = field(&world.document("app:v1").await, "/annotations").unwrap();
    assert_eq!(annotations, json!({}), "the index cannot name one base for both");
    world.stop().await;
}

#[tokio::test]
async fn c3_3_7_a_platform_that_the_new_base_lacks_is_refused_by_name() {
    let three = three();
    let world = three.world().await;
    let two = IndexSpec::new().images(three.new[..2].to_vec()).build();
    world.put("base:new", &two.graph()).await;
    world.put("app:v1", &three.index().build().graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("linux/arm/v7") && text.contains(&world.text("base:new")), "{text}");

    // The platforms that it has can be rebased by name.
    let some = world.rebase("app:v1").bases("base:old", "base:new");
    some.platform("linux/amd64").platform("linux/arm64").run().await;
    let children = world.children("app:v1").await;
    assert_eq!(children[2].0.digest, three.apps[2].digest());
    world.stop().await;
}

#[tokio::test]
async fn a_platform_that_the_image_lacks_is_refused_by_name() {
    let three = three();
    let world = three.world().await;
    world.put("app:v1", &three.index().build().graph()).await;
    let both = world.rebase("app:v1").bases("base:old", "base:new").platform("linux/amd64");
    let error = both.platform("linux/s390x").refused().await;
    let text = error.to_string();
    assert!(text.contains("linux/s390x") && text.contains("linux/arm/v7"), "{text}");
    world.stop().await;
}

#[tokio::test]
async fn c3_3_9_nested_indexes_unknown_entries_and_entries_without_platform() {
    let three = three();
    let world = three.world().await;
    let inner = IndexSpec::new()
        .image(three.apps[1].clone())
        .annotation(annotation::BASE_NAME, "example.com/x:1")
        .build();
    let blob = bytes::Bytes::from_static(b"not an image");
    let blob = (Descriptor::new("text/x-readme".into(), Digest::sha256(&blob), 12), blob);
    let readme = json!({
        "mediaType": "text/x-readme", "digest": blob.0.digest, "size": 12, "x-order": {"b": 1, "a": 2},
    });
    let index = IndexSpec::new()
        .entry(readme.clone(), &Graph { blobs: vec![blob], documents: Vec::new() })
        .nested(&inner)
        .image_without_platform(three.apps[0].clone())
        .image(three.apps[2].clone())
        .build();
    world.put("app:v1", &index.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;

    let root = world.document("app:v1").await;
    assert_eq!(field(&root, "/manifests/0").unwrap().to_string(), readme.to_string());
    let children = world.children("app:v1").await;
    assert_eq!(children[1].0.media_type, MediaType::OCI_INDEX);
    assert_stacked(children[2].1.as_ref().unwrap(), &three.new[0], &three.apps[0], 2);
    assert_eq!(children[2].0.platform, None);
    assert_stacked(children[3].1.as_ref().unwrap(), &three.new[2], &three.apps[2], 2);
    let nested = format!("app@{}", children[1].0.digest);
    let inside = world.children(&nested).await;
    assert_stacked(inside[0].1.as_ref().unwrap(), &three.new[1], &three.apps[1], 2);
    let hints = field(&world.document(&nested).await, "/annotations").unwrap();
    assert_eq!(hints[annotation::BASE_NAME], json!(world.text("base:new")));
    assert_eq!(findings(&done.plan, FindingKind::EntryKept).len(), 1);
    world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    world.stop().await;
}

#[tokio::test]
async fn indexes_that_share_an_inner_index_are_rewritten_from_the_inside() {
    let three = three();
    let world = three.world().await;
    let inner = IndexSpec::new().image(three.apps[1].clone()).build();
    let middle = IndexSpec::new().nested(&inner).image(three.apps[0].clone()).build();
    // The inner one comes first at the top, so that reading order and writing order differ.
    let index = IndexSpec::new().nested(&inner).nested(&middle).build();
    world.put("app:v1", &index.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(done.plan.report().platforms.len(), 2);
    let top = world.children("app:v1").await;
    let middle = world.children(&format!("app@{}", top[1].0.digest)).await;
    assert_eq!(middle[0].0.digest, top[0].0.digest);
    assert_ne!(top[0].0.digest, inner.digest());
    world.assert_valid("app:v1").await;
    world.stop().await;
}

#[tokio::test]
async fn a_child_that_is_listed_twice_is_rebased_once_and_replaced_twice() {
    let three = three();
    let world = three.world().await;
    let image = &three.apps[0];
    let note = [("org.example.alias", "second")];
    let index = IndexSpec::new().image(image.clone()).annotated_image(image.clone(), &note).build();
    world.put("app:v1", &index.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(done.plan.report().platforms.len(), 1);
    let children = world.children("app:v1").await;
    assert_eq!(children[0].0.digest, children[1].0.digest);
    assert_stacked(children[1].1.as_ref().unwrap(), &three.new[0], image, 2);
    assert_eq!(children[1].0.annotation("org.example.alias"), Some("second"));
    assert_eq!(done.outcome.summary.documents, 2);
    world.stop().await;
}

/// The entry of the platform that was not asked for stays, with the attestation of the image that it lists; where
/// attestations are carried, the new image gets one of its own.
#[tokio::test]
async fn a_child_that_is_listed_for_two_platforms_is_rebased_for_one() {
    let three = three();
    let image = &three.apps[0];
    let attestation = Attestation::Legacy.about(image);
    let graph = Graph { blobs: attestation.blobs.clone(), documents: vec![attestation.manifest.clone()] };
    let other = Descriptor { platform: Some("linux/riscv64".parse().unwrap()), ..image.descriptor() };
    let index = IndexSpec::new().image(image.clone()).image_as(image.clone(), other);
    let index = index.entry(json!(attestation.descriptor), &graph).build();
    for (policy, made) in [("drop", 0), ("carry=https://slsa.dev/provenance/v0.2", 1)] {
        let world = three.world().await;
        world.put("app:v1", &index.graph()).await;
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new").platform("linux/amd64");
        rebase.request.policy.attestations = policy.parse().unwrap();
        rebase.run().await;
        let root = world.document("app:v1").await;
        let entries = root.view::<palan_core::view::Index>().unwrap().manifests;
        let is_old: Vec<bool> = entries.iter().map(|e| e.digest == image.digest()).collect();
        assert_eq!(is_old[..2], [false, true], "{policy}");
        assert_eq!(entries.len(), 3 + made, "{policy}");
        assert_eq!(entries[2], attestation.descriptor, "{policy}");
        if let Some(new) = entries.get(3) {
            assert_eq!(new.attested_digest(), Some(entries[0].digest));
            assert_eq!(new.annotation(annotation::MADE_ABOUT), Some(image.digest().to_string().as_str()));
        }
        world.stop().await;
    }
}

/// One attestation that is listed for two images is carried to each.
#[tokio::test]
async fn an_attestation_of_two_images_is_carried_to_both() {
    let three = three();
    let world = three.world().await;
    let mut both = Attestation::Legacy.about(&three.apps[0]);
    let graph = Graph { blobs: both.blobs.clone(), documents: vec![both.manifest.clone()] };
    let mut index = IndexSpec::new().images(three.apps[..2].to_vec());
    for image in &three.apps[..2] {
        let annotations = both.descriptor.annotations.as_mut().unwrap();
        annotations.insert(annotation::DOCKER_REFERENCE_DIGEST.into(), image.digest().to_string());
        index = index.entry(json!(both.descriptor), &graph);
    }
    world.put("app:v1", &index.build().graph()).await;
    let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
    rebase.request.policy.attestations = "carry=https://slsa.dev/provenance/v0.2".parse().unwrap();
    rebase.run().await;
    let root = world.document("app:v1").await;
    let entries = root.view::<palan_core::view::Index>().unwrap().manifests;
    assert_eq!(entries.len(), 4);
    for number in 0..2 {
        let (image, about) = (&entries[number], &entries[number + 2]);
        assert_eq!(about.attested_digest(), Some(image.digest));
        let made_about = three.apps[number].digest().to_string();
        assert_eq!(about.annotation(annotation::MADE_ABOUT), Some(made_about.as_str()));
    }
    world.assert_valid("app:v1").await;
    world.stop().await;
}

#[tokio::test]
async fn embedded_content_of_a_replaced_child_leaves_and_other_fields_of_entries_stay() {
    let three = three();
    let world = three.world().await;
    let mut entry = serde_json::to_value(three.apps[0].descriptor()).unwrap();
    entry["data"] = json!("e30=");
    entry["x-note"] = json!({"z": 1, "a": [true]});
    let index = IndexSpec::new().entry(entry, &three.apps[0].graph()).build();
    world.put("app:v1", &index.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let root = world.document("app:v1").await;
    assert_eq!(field(&root, "/manifests/0/data"), None);
    assert_eq!(field(&root, "/manifests/0/x-note").unwrap().to_string(), r#"{"z":1,"a":[true]}"#);
    world.stop().await;
}

#[tokio::test]
async fn a_docker_manifest_list_stays_one() {
    let world = World::new().await;
    let (old, new) = (base("linux/amd64", &OLD).build(), base("linux/amd64", &NEW).build());
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    let app = app(&old).family(Family::Docker).build();
    let list = IndexSpec::new().family(Family::Docker).image(app.clone()).build();
    world.put("app:v1", &list.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let root = world.document("app:v1").await;
    assert_eq!(*root.media_type(), MediaType::DOCKER_INDEX);
    assert_eq!(field(&root, "/annotations"), None, "manifest lists have no annotations");
    let children = world.children("app:v1").await;
    assert_eq!(children[0].0.media_type, MediaType::DOCKER_MANIFEST);
    assert_stacked(children[0].1.as_ref().unwrap(), &new, &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn an_index_of_nothing_but_artifacts_is_refused() {
    let world = World::new().await;
    let three = three();
    world.put("base:old", &three.old[0].graph()).await;
    let artifact = Attestation::Artifact.about(&three.apps[0]);
    let graph = Graph { blobs: artifact.blobs.clone(), documents: vec![artifact.manifest.clone()] };
    let entry = serde_json::to_value(&artifact.descriptor).unwrap();
    world.put("app:v1", &IndexSpec::new().entry(entry, &graph).build().graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:old").refused().await;
    assert!(matches!(error, Error::WrongKind { .. }), "{error}");
    world.stop().await;
}
