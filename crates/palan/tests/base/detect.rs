//! What hints, labels and known bases say, and what is made of it.

use palan::{
    base::{Confidence, Evidence},
    image::Image as Loaded,
};
use palan_core::{Compression, view};
use palan_testkit::image::{Attestation, Image, ImageSpec, IndexSpec, layer};
use serde_json::json;

use crate::{DIGEST, NAME, World, app_on, base_image, chain};

fn runtime(config: &palan_core::Document) -> view::Config {
    config.view().unwrap()
}

/// Puts a base under `base:1` and what `make` gives under `app:1`.
async fn world(make: impl FnOnce(&World, &Image) -> palan_testkit::image::Graph) -> (World, Image) {
    let (world, base) = (World::new().await, base_image("one"));
    world.put("base:1", &base.graph()).await;
    let app = make(&world, &base);
    world.put("app:1", &app).await;
    (world, base)
}

#[tokio::test]
async fn each_place_of_the_hints_is_evidence_of_its_own() {
    type Make = fn(ImageSpec, [(&str, &str); 2]) -> palan_testkit::image::Graph;
    let cases: [(Evidence, Make); 4] = [
        (Evidence::ManifestAnnotation, |app, hints| app.annotations(hints).build().graph()),
        (Evidence::Label, |app, hints| app.labels(hints).build().graph()),
        (Evidence::DescriptorAnnotation, |app, hints| {
            IndexSpec::new().annotated_image(app.build(), &hints).build().graph()
        }),
        (Evidence::IndexAnnotation, |app, hints| {
            let index = IndexSpec::new().image(app.build()).annotation(NAME, hints[0].1);
            index.annotation(DIGEST, hints[1].1).build().graph()
        }),
    ];
    for (evidence, make) in cases {
        let (world, base) = world(|world, base| {
            let (name, digest) = (world.text("base:1"), base.digest().to_string());
            make(app_on(base), [(NAME, &name), (DIGEST, &digest)])
        })
        .await;
        let found = world.base_of("app:1", None).await;
        assert_eq!((found.layers, found.platform.as_str()), (3, "linux/amd64"));
        assert_eq!(found.conflicts, []);
        let found = found.base.unwrap();
        assert_eq!((found.evidence, found.confidence), (evidence, Confidence::Verified));
        assert_eq!(found.name.as_ref().unwrap().to_string(), world.text("base:1"));
        assert_eq!(found.digest, Some(base.digest()));
        assert_eq!((found.boundary, found.chain_id), (Some(2), Some(chain(&base, 2))));
        assert_eq!(runtime(&found.config.unwrap()).rootfs.diff_ids, base.diff_ids());
    }
}

#[tokio::test]
async fn the_digest_of_an_index_stands_for_each_platform() {
    let world = World::new().await;
    let bases = ["linux/amd64", "linux/arm64"]
        .map(|p| ImageSpec::new(p).layer(layer(&[("os", p.as_bytes())])).build());
    let index = IndexSpec::new().images(bases.clone()).attest(Attestation::Legacy).build();
    world.put("base:1", &index.graph()).await;
    let hint = index.digest().to_string();
    let apps = bases
        .each_ref()
        .map(|base| app_on(base).annotation(NAME, world.text("base:1")).annotation(DIGEST, &hint));
    world
        .put(
            "app:1",
            &IndexSpec::new()
                .images(apps.map(ImageSpec::build))
                .attest(Attestation::Artifact)
                .build()
                .graph(),
        )
        .await;
    let found = world.detect("app:1", None).await;
    assert_eq!(found.platforms.len(), 2);
    for (found, base) in found.platforms.iter().zip(&bases) {
        let found = found.base.as_ref().unwrap();
        assert_eq!((found.confidence, found.digest), (Confidence::Verified, Some(base.digest())));
        assert_eq!(found.index_digest, Some(index.digest()));
    }
    let one =
        palan::base::detect(&world.places, &world.at("app:1"), None, &["linux/arm64".parse().unwrap()]).await;
    assert_eq!(one.unwrap().platforms[0].platform, "linux/arm64");
    let none =
        palan::base::detect(&world.places, &world.at("app:1"), None, &["linux/s390x".parse().unwrap()]).await;
    let error = none.unwrap_err().to_string();
    assert!(error.contains("linux/s390x") && error.contains("linux/arm64"), "{error}");
}

#[tokio::test]
async fn c3_2_1_a_recompressed_base_is_recognised() {
    let (world, base) = world(|world, base| {
        let app = app_on(base).recompress_base(Compression::Zstd).annotation(NAME, world.text("base:1"));
        app.build().graph()
    })
    .await;
    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.digest), (Confidence::Verified, Some(base.digest())));
}

#[tokio::test]
async fn c3_6_5_a_name_without_a_digest_counts_where_its_tag_has_not_moved() {
    let (world, _) =
        world(|world, base| app_on(base).annotation(NAME, world.text("base:1")).build().graph()).await;
    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.boundary), (Confidence::Verified, Some(2)));
    world.put("base:1", &base_image("two").graph()).await;
    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.boundary, found.digest), (Confidence::Stated, None, None));
    assert!(found.reason.unwrap().contains("layer 1"));
}

#[tokio::test]
async fn a_base_that_is_gone_is_only_stated_unless_it_is_known() {
    let world = World::new().await;
    let old = base_image("old");
    world.put("base:1", &old.graph()).await;
    let known = world.know("base").await;
    // Another registry, which never had the old base: as if it had been deleted.
    let elsewhere = World::new().await;
    elsewhere.put("base:1", &base_image("new").graph()).await;
    let app = app_on(&old)
        .annotation(NAME, elsewhere.text("base:1"))
        .annotation(DIGEST, old.digest().to_string())
        .build();
    elsewhere.put("app:1", &app.graph()).await;

    let found = elsewhere.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.boundary), (Confidence::Stated, None));
    assert_eq!(found.digest, Some(old.digest()));
    assert!(found.config.is_none() && found.reason.unwrap().contains("not found"));

    let found = elsewhere.base_of("app:1", Some(&known)).await;
    assert_eq!(found.conflicts, []);
    let found = found.base.unwrap();
    assert_eq!((found.evidence, found.confidence), (Evidence::ManifestAnnotation, Confidence::Verified));
    assert_eq!((found.boundary, found.digest), (Some(2), Some(old.digest())));
    let (kept, real) = (runtime(&found.config.unwrap()), runtime(&old.config));
    assert_eq!(kept.rootfs.diff_ids, real.rootfs.diff_ids);
    assert_eq!(kept.config.unwrap().env, real.config.unwrap().env);
    assert_eq!(kept.history.len(), real.history.len());
    assert_eq!((kept.os, kept.architecture), (real.os, real.architecture));
}

#[tokio::test]
async fn an_image_that_says_nothing_is_recognised_by_its_layers() {
    let (world, base) = world(|_, base| app_on(base).build().graph()).await;
    assert!(world.base_of("app:1", None).await.is_unknown());
    world.put("base:latest", &base.graph()).await;
    world.put("base:2", &base_image("two").graph()).await;
    // The base's own base is known too: the longer stack counts.
    let below = ImageSpec::new("linux/amd64").layers(base.layers[..1].to_vec()).build();
    world.put("os:1", &below.graph()).await;
    world.know("os").await;
    let known = world.know("base").await;
    let found = world.base_of("app:1", Some(&known)).await.base.unwrap();
    assert_eq!((found.evidence, found.confidence), (Evidence::KnownBase, Confidence::Verified));
    assert_eq!(found.name.unwrap().to_string(), world.text("base:1"));
    assert_eq!(found.also.iter().map(ToString::to_string).collect::<Vec<_>>(), [world.text("base:latest")]);
    assert_eq!((found.boundary, found.digest), (Some(2), Some(base.digest())));
    // A known base is built on the next one below, and not on itself.
    let found = world.base_of("base:1", Some(&known)).await.base.unwrap();
    assert_eq!((found.name.unwrap().to_string(), found.boundary), (world.text("os:1"), Some(1)));
}

#[tokio::test]
async fn a_label_that_was_handed_down_yields_to_the_longer_stack() {
    let (world, base) = (World::new().await, base_image("one"));
    let below = ImageSpec::new("linux/amd64").layers(base.layers[..1].to_vec()).build();
    world.put("os:1", &below.graph()).await;
    world.put("base:1", &base.graph()).await;
    let labels = [(NAME, world.text("os:1")), (DIGEST, below.digest().to_string())];
    world.put("app:1", &app_on(&base).labels(labels.clone()).build().graph()).await;
    let known = world.know("base").await;
    let found = world.base_of("app:1", Some(&known)).await;
    assert_eq!(found.base.unwrap().name.unwrap().to_string(), world.text("base:1"));
    let [conflict] = found.conflicts.as_slice() else { panic!("{:?}", found.conflicts) };
    assert_eq!((conflict.evidence, conflict.base.as_str()), (Evidence::Label, world.text("os:1").as_str()));
    // An annotation of the manifest was not handed down.
    world.put("app:2", &app_on(&base).annotations(labels).build().graph()).await;
    let found = world.base_of("app:2", Some(&known)).await;
    assert_eq!(found.base.unwrap().name.unwrap().to_string(), world.text("os:1"));
    assert_eq!(found.conflicts[0].evidence, Evidence::KnownBase);
}

#[tokio::test]
async fn what_the_layers_refute_is_reported_and_not_believed() {
    let (world, base) = world(|world, base| {
        let other = base_image("other");
        app_on(base)
            .annotation(NAME, world.text("other:1"))
            .annotation(DIGEST, other.digest().to_string())
            .build()
            .graph()
    })
    .await;
    world.put("other:1", &base_image("other").graph()).await;
    let found = world.base_of("app:1", None).await;
    assert!(found.is_unknown());
    assert_eq!(found.conflicts[0].evidence, Evidence::ManifestAnnotation);
    assert!(found.conflicts[0].reason.contains("layer 1 of the image"), "{:?}", found.conflicts);
    let known = world.know("base").await;
    let found = world.base_of("app:1", Some(&known)).await;
    assert_eq!(found.base.unwrap().digest, Some(base.digest()));
    assert_eq!(found.conflicts.len(), 1);
}

#[tokio::test]
async fn the_lifecycle_label_ends_the_base_without_the_base() {
    let (world, base) = (World::new().await, base_image("run"));
    let label = |top: &str| {
        json!({"runImage": {
            "topLayer": top,
            "reference": format!("{}@{}", world.text("run"), base.digest()),
            "image": world.text("run:1"),
        }})
        .to_string()
    };
    let key = "io.buildpacks.lifecycle.metadata";
    let app = |top: &str| app_on(&base).label(key, label(top)).build();
    world.put("app:1", &app(&base.diff_ids()[1].to_string()).graph()).await;

    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.evidence, found.confidence), (Evidence::LifecycleLabel, Confidence::Bounded));
    assert_eq!((found.boundary, found.chain_id), (Some(2), Some(chain(&base, 2))));
    assert_eq!(found.name.as_ref().unwrap().to_string(), world.text("run:1"));

    world.put("elsewhere:1", &base.graph()).await;
    let known = world.know("elsewhere").await;
    let found = world.base_of("app:1", Some(&known)).await.base.unwrap();
    assert_eq!((found.evidence, found.confidence), (Evidence::LifecycleLabel, Confidence::Verified));
    assert!(found.config.is_some());

    world.put("run:1", &base.graph()).await;
    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.digest), (Confidence::Verified, Some(base.digest())));

    let stranger = format!("sha256:{}", "0".repeat(64));
    world.put("app:2", &app(&stranger).graph()).await;
    let found = world.base_of("app:2", None).await;
    assert!(found.is_unknown() && found.conflicts[0].reason.contains(&stranger), "{found:?}");
    for nonsense in ["", "[]", "{\"runImage\":1}", "{\"runImage\":{\"topLayer\":\"x\"}}"] {
        world.put("app:3", &app_on(&base).label(key, nonsense).build().graph()).await;
        assert!(world.base_of("app:3", None).await.is_unknown(), "{nonsense}");
    }
}

#[tokio::test]
async fn scratch_is_an_answer_unless_it_was_handed_down() {
    let (world, base) = (World::new().await, base_image("one"));
    world
        .put("base:1", &IndexSpec::new().annotated_image(base.clone(), &[(NAME, "scratch")]).build().graph())
        .await;
    let found = world.base_of("base:1", None).await;
    assert!(found.scratch && found.base.is_none() && !found.is_unknown());
    world.put("app:1", &app_on(&base).label(NAME, "scratch").build().graph()).await;
    assert!(world.base_of("app:1", None).await.is_unknown());
}

#[tokio::test]
async fn one_loaded_image_is_enough() {
    let (world, base) = world(|_, base| app_on(base).build().graph()).await;
    let known = world.know("base").await;
    let opened = world.places.source(&world.at("app:1")).unwrap();
    let manifest = opened.place.document(opened.chosen().unwrap()).await.unwrap();
    let image = Loaded::load(opened.place.as_ref(), manifest).await.unwrap();
    let platform = image.platform();
    let subject = palan::base::Subject::new(image.into(), platform);
    let detector = palan::base::Detector::new(&world.places, Some(&known));
    let found = detector.image(opened.place.as_ref(), &subject).await.unwrap();
    assert_eq!(found.base.unwrap().digest, Some(base.digest()));
}

#[tokio::test]
async fn no_layer_is_read_and_no_base_twice() {
    let world = World::new().await;
    let base = base_image("one");
    world.put("base:1", &base.graph()).await;
    let app =
        |n: &str| app_on(&base).layer(layer(&[("n", n.as_bytes())])).annotation(NAME, world.text("base:1"));
    world.put("app:1", &IndexSpec::new().images([app("1").build(), app("2").build()]).build().graph()).await;
    let before = world.requests().len();
    world.detect("app:1", None).await;
    let asked = world.requests().split_off(before);
    for layer in &base.layers {
        assert!(!asked.iter().any(|line| line.contains(&layer.digest.hex())), "{asked:#?}");
    }
    assert_eq!(asked.iter().filter(|line| line.contains("/v2/base/manifests/")).count(), 1, "{asked:#?}");
}
