//! 3.6: what images say of their base, before and after.

use palan::{Error, rebase::FindingKind};
use palan_core::{
    Digest,
    annotation::{BASE_DIGEST, BASE_NAME},
};
use palan_testkit::image::{Image, ImageSpec, IndexSpec};
use serde_json::{Value, json};

use crate::{
    fixture::{NEW, OLD, app, assert_stacked, base, field, new_base, old_base},
    world::World,
};

const NEWEST: [crate::fixture::Files<'static>; 1] = [&[("etc/os-release", Some("newest"))]];

/// `base:1` is the old base, at first also `base:latest`; then that moves to the new one.
async fn world() -> (World, Image, Image) {
    let world = World::new().await;
    let (old, new) = (old_base(), new_base());
    world.put("base:1", &old.graph()).await;
    world.put("base:latest", &new.graph()).await;
    (world, old, new)
}

fn said(document: &palan_core::Document, at: &str) -> [Option<Value>; 2] {
    [BASE_NAME, BASE_DIGEST].map(|key| field(document, at)?.get(key).cloned())
}

fn hinted(spec: ImageSpec, name: &str, digest: Digest) -> ImageSpec {
    spec.annotation(BASE_NAME, name).annotation(BASE_DIGEST, digest.to_string())
}

#[tokio::test]
async fn c3_6_1_hints_are_enough_and_rebasing_again_and_again_works() {
    let (world, old, new) = world().await;
    let name = world.text("base:latest");
    let image = hinted(app(&old), &name, old.digest()).build();
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").run().await;
    let first = world.image("app:v1").await;
    assert_stacked(&first, &new, &image, 2);
    assert_eq!(said(&first.manifest, "/annotations"), [Some(json!(name)), Some(json!(new.digest()))]);
    world.rebase("app:v1").changes_nothing().await;

    let newest = base("linux/amd64", &NEWEST).build();
    world.put("base:latest", &newest.graph()).await;
    world.rebase("app:v1").run().await;
    let second = world.image("app:v1").await;
    assert_stacked(&second, &newest, &image, 2);
    assert_eq!(said(&second.manifest, "/annotations")[1], Some(json!(newest.digest())));
    world.stop().await;
}

#[tokio::test]
async fn c3_6_2_hints_in_labels_are_read_and_kept_true() {
    let (world, old, new) = world().await;
    let name = world.text("base:latest");
    let image = app(&old)
        .label("a", "first")
        .label(BASE_NAME, name.clone())
        .label(BASE_DIGEST, old.digest().to_string())
        .label("z", "last")
        .build();
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").run().await;
    let result = world.image("app:v1").await;
    assert_stacked(&result, &new, &image, 2);
    let expected = [Some(json!(name)), Some(json!(new.digest()))];
    assert_eq!(said(&result.config, "/config/Labels"), expected);
    assert_eq!(said(&result.manifest, "/annotations"), expected, "always on the manifest");
    let keys =
        |d| field(d, "/config/Labels").unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&result.config), keys(&image.config));
    world.rebase("app:v1").changes_nothing().await;
    world.stop().await;
}

#[tokio::test]
async fn hints_are_written_where_they_were_and_on_manifests_and_oci_indexes() {
    let (world, old, new) = world().await;
    let name = world.text("base:latest");
    let image = app(&old).label("a", "b").build();
    let note = [(BASE_NAME, name.as_str()), (BASE_DIGEST, &old.digest().to_string()), ("x", "y")];
    let plain = base("linux/arm64", &OLD).build();
    let index = IndexSpec::new()
        .annotated_image(image.clone(), &note)
        .annotated_image(app(&plain).build(), &[("x", "y")])
        .build();
    let both = |tag: &'static str, images: [Image; 2]| (tag, IndexSpec::new().images(images).build());
    let bases = [
        both("base:1", [old.clone(), plain.clone()]),
        both("base:latest", [new.clone(), base("linux/arm64", &NEW).build()]),
    ];
    for (tag, base) in &bases {
        world.put(tag, &base.graph()).await;
    }
    world.put("app:v1", &index.graph()).await;
    world.rebase("app:v1").old_base("base:1").run().await;
    let root = world.document("app:v1").await;
    let name = Some(json!(name));
    let child = Some(json!(new.digest()));
    assert_eq!(said(&root, "/annotations"), [name.clone(), Some(json!(bases[1].1.digest()))]);
    assert_eq!(said(&root, "/manifests/0/annotations"), [name.clone(), child.clone()]);
    assert_eq!(field(&root, "/manifests/0/annotations/x"), Some(json!("y")));
    assert_eq!(field(&root, "/manifests/1/annotations"), Some(json!({"x": "y"})));
    let children = world.children("app:v1").await;
    let first = children[0].1.as_ref().unwrap();
    assert_eq!(said(&first.manifest, "/annotations"), [name, child]);
    assert_eq!(field(&first.config, "/config/Labels"), Some(json!({"a": "b"})), "no label where none was");
    world.stop().await;
}

#[tokio::test]
async fn c3_6_3_a_new_base_given_by_digest_keeps_the_name_of_its_repository() {
    let (world, old, new) = world().await;
    let name = world.text("base:stable");
    let image = hinted(app(&old), &name, old.digest()).build();
    world.put("app:v1", &image.graph()).await;
    let by_digest = format!("base@{}", new.digest());
    world.rebase("app:v1").new_base(&by_digest).run().await;
    let result = world.image("app:v1").await.manifest;
    assert_eq!(said(&result, "/annotations"), [Some(json!(name)), Some(json!(new.digest()))]);

    // From another repository there is no name to keep, and a digest is none.
    world.put("app:v1", &image.graph()).await;
    world.put("other:1", &new.graph()).await;
    let done = world.rebase("app:v1").new_base(&format!("other@{}", new.digest())).run().await;
    let result = world.image("app:v1").await.manifest;
    assert_eq!(said(&result, "/annotations"), [None, Some(json!(new.digest()))]);
    assert_eq!(done.findings(FindingKind::BaseUnnamed).len(), 1);

    // A tag beside the digest is a name.
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").new_base(&format!("other:1@{}", new.digest())).run().await;
    let result = world.image("app:v1").await.manifest;
    assert_eq!(said(&result, "/annotations")[0], Some(json!(world.text("other:1"))));
    world.stop().await;
}

#[tokio::test]
async fn c3_6_4_the_name_is_written_in_full() {
    let (world, old, new) = world().await;
    world.put("app:v1", &app(&old).build().graph()).await;
    world.rebase("app:v1").bases("base:1", "base").run().await;
    let result = world.image("app:v1").await.manifest;
    assert_eq!(said(&result, "/annotations")[0], Some(json!(world.text("base:latest"))));
    assert_eq!(said(&result, "/annotations")[1], Some(json!(new.digest())));
    world.stop().await;
}

#[tokio::test]
async fn c3_6_5_what_is_missing_or_nonsense_is_said() {
    let (world, old, _) = world().await;
    let name = world.text("base:latest");
    let cases: [(ImageSpec, &str, &[&str]); 6] = [
        (app(&old), "new", &["no org.opencontainers.image.base.name"]),
        (app(&old).annotation(BASE_NAME, name.clone()), "old", &["no org.opencontainers.image.base.digest"]),
        (
            app(&old).annotation(BASE_NAME, name.clone()).annotation(BASE_DIGEST, "sha256:nonsense"),
            "old",
            &["no org.opencontainers.image.base.digest"],
        ),
        (app(&old).annotation(BASE_NAME, "scratch"), "new", &["\"scratch\""]),
        (app(&old).annotation(BASE_NAME, "Not A Name"), "new", &["\"Not A Name\""]),
        (hinted(app(&old), &name, Digest::sha256(b"gone")), "old", &["is not in", "/base", "sha256:"]),
    ];
    for (spec, which, parts) in cases {
        let image = spec.build();
        world.put("app:v1", &image.graph()).await;
        let error = world.rebase("app:v1").refused().await;
        assert!(matches!(error, Error::BaseUnknown { which: w, .. } if w == which), "{error}");
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(text.contains(&image.digest().to_string()), "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn c3_6_6_digests_of_indexes_and_of_platforms_both_name_the_old_base() {
    let (world, old, new) = world().await;
    let index = IndexSpec::new().image(base("linux/arm64", &OLD).build()).image(old.clone()).build();
    world.put("base:1", &index.graph()).await;
    let news = IndexSpec::new().image(base("linux/arm64", &NEW).build()).image(new.clone()).build();
    world.put("base:latest", &news.graph()).await;
    for digest in [index.digest(), old.digest()] {
        let image = hinted(app(&old), &world.text("base:latest"), digest).build();
        world.put("app:v1", &image.graph()).await;
        world.rebase("app:v1").run().await;
        let result = world.image("app:v1").await;
        assert_stacked(&result, &new, &image, 2);
        // The platform's manifest on a manifest.
        assert_eq!(said(&result.manifest, "/annotations")[1], Some(json!(new.digest())));
        world.rebase("app:v1").changes_nothing().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn c3_2_4_the_old_base_is_looked_for_under_its_name_and_then_where_the_new_one_is() {
    let (world, old, new) = world().await;
    world.put("mirror:1", &new.graph()).await;
    for old_repository in ["base", "mirror"] {
        world.put(&format!("{old_repository}:old"), &old.graph()).await;
        let image = hinted(app(&old), &world.text("base:latest"), old.digest()).build();
        world.put("app:v1", &image.graph()).await;
        world.rebase("app:v1").new_base("mirror:1").run().await;
        assert_stacked(&world.image("app:v1").await, &new, &image, 2);
    }

    // Only beside the new base: the name's repository has never had it.
    let gone = base("linux/amd64", &NEWEST).build();
    world.put("mirror:gone", &gone.graph()).await;
    let image = hinted(app(&gone), &world.text("base:latest"), gone.digest()).build();
    world.put("app:v2", &image.graph()).await;
    world.rebase("app:v2").new_base("mirror:1").run().await;
    assert_stacked(&world.image("app:v2").await, &new, &image, 1);

    let image = hinted(app(&old), &world.text("base:latest"), Digest::sha256(b"nowhere")).build();
    world.put("app:v3", &image.graph()).await;
    let text = world.rebase("app:v3").new_base("mirror:1").refused().await.to_string();
    assert!(text.contains(&world.text("base or ")) && text.ends_with("/mirror"), "{text}");
    world.stop().await;
}

#[tokio::test]
async fn annotations_count_before_labels_which_may_be_inherited() {
    let (world, old, new) = world().await;
    // The label is the base's own: what the base was built on.
    let parent = base("linux/amd64", &OLD[..1]).build();
    world.put("parent:latest", &base("linux/amd64", &NEWEST).build().graph()).await;
    world.put("parent:1", &parent.graph()).await;
    let labels = |spec: ImageSpec| {
        spec.label(BASE_NAME, world.text("parent:latest")).label(BASE_DIGEST, parent.digest().to_string())
    };
    let image = labels(hinted(app(&old), &world.text("base:latest"), old.digest())).build();
    world.put("app:v1", &image.graph()).await;
    world.rebase("app:v1").run().await;
    let result = world.image("app:v1").await;
    assert_stacked(&result, &new, &image, 2);
    assert_eq!(said(&result.config, "/config/Labels"), said(&result.manifest, "/annotations"));

    // A name without its digest is not completed by the digest of another base.
    let image = labels(app(&old).annotation(BASE_NAME, world.text("base:latest"))).build();
    world.put("app:v2", &image.graph()).await;
    let error = world.rebase("app:v2").refused().await;
    assert!(matches!(error, Error::BaseUnknown { which: "old", .. }), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn manifest_before_descriptor_before_index_before_labels() {
    let (world, old, new) = world().await;
    let right = [world.text("base:latest"), old.digest().to_string()];
    let wrong = ["example.com/wrong:1".to_owned(), Digest::sha256(b"wrong").to_string()];
    for first in 0..4 {
        let said = |place: usize| if place == first { &right } else { &wrong };
        let mut spec = app(&old);
        if first == 0 {
            spec = spec.annotation(BASE_NAME, &right[0]).annotation(BASE_DIGEST, &right[1]);
        }
        let labels = said(3);
        let image = spec.label(BASE_NAME, &labels[0]).label(BASE_DIGEST, &labels[1]).build();
        let descriptor = said(1);
        let note = [(BASE_NAME, descriptor[0].as_str()), (BASE_DIGEST, descriptor[1].as_str())];
        let mut index = match first {
            0 | 1 => IndexSpec::new().annotated_image(image.clone(), &note),
            _ => IndexSpec::new().image(image.clone()),
        };
        if first < 3 {
            index = index.annotation(BASE_NAME, &said(2)[0]).annotation(BASE_DIGEST, &said(2)[1]);
        }
        world.put("app:v1", &index.build().graph()).await;
        world.rebase("app:v1").run().await;
        let children = world.children("app:v1").await;
        assert_stacked(children[0].1.as_ref().unwrap(), &new, &image, 2);
        world.rebase("app:v1").changes_nothing().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn each_base_given_is_taken_and_the_other_comes_from_hints() {
    let (world, old, new) = world().await;
    world.put("other:1", &new.graph()).await;
    let image = hinted(app(&old), &world.text("base:latest"), Digest::sha256(b"wrong")).build();
    world.put("app:v1", &image.graph()).await;
    let done = world.rebase("app:v1").old_base("base:1").run().await;
    assert_stacked(&world.image("app:v1").await, &new, &image, 2);
    let report = &done.plan.report().platforms[0];
    assert_eq!((&report.old_base.name, report.old_base.digest), (&world.text("base:1"), Some(old.digest())));
    assert_eq!(
        (&report.new_base.name, report.new_base.digest),
        (&world.text("base:latest"), Some(new.digest()))
    );
    world.stop().await;
}
