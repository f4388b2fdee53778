//! What a planned result is worth, and what becomes of what was said about the old image.

use std::sync::Arc;

use palan::{
    Error,
    listings::{DirectoryCache, Listings},
    rebase::{Check, FindingKind, Knowledge, OldAttestations, PREDICATE_TYPE, Refuse, Verdict},
    verdict::Grade,
};
use palan_core::{Bytes, Digest, Document, MediaType, annotation, view};
use palan_testkit::image::{Attestation, Graph, Image, IndexSpec};
use serde_json::{Value, json};

use crate::{
    fixture::{Files, NEW, OLD, app, base, layers, new_base, old_base},
    world::{World, put},
};

/// An application of one layer on the old base, with everything in one registry.
async fn world(own: Files<'_>) -> (World, [Image; 3]) {
    let (old, new) = (old_base(), new_base());
    let image = palan_testkit::image::ImageSpec::new("linux/amd64").on(&old).layers(layers(&[own])).build();
    let world = World::new().await;
    for (name, image) in [("base:old", &old), ("base:new", &new), ("app:v1", &image)] {
        world.put(name, &image.graph()).await;
    }
    (world, [old, new, image])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_comes_before_anything_is_written() {
    let cases: [(Files<'_>, Grade); 3] = [
        (&[("app/bin", Some("app"))], Grade::Clean),
        (&[("usr/lib/libssl.so", Some("own build"))], Grade::Shadowed),
        // A library of the old base, baked into the application.
        (&[("app/copy", Some("ssl 1.0"))], Grade::Shadowed),
    ];
    for (own, grade) in cases {
        let (world, _) = world(own).await;
        let before = world.stats();
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
        rebase.request.policy.check = Check::Content;
        let plan = rebase.plan().await.unwrap();
        assert_eq!(plan.report().verdict, Verdict::Assessed(grade), "{own:?} {plan:?}");
        assert_eq!(crate::world::writes(&world.stats().since(&before)), 0);
        // In one registry, each layer was read once: two of each base, and the image's own.
        assert_eq!(rebase.request.knowledge.listings.read().layers, 5);

        let mut strict = world.rebase("app:v1").bases("base:old", "base:new");
        strict.request.policy.check = Check::Content;
        strict.request.policy.refuse = Refuse(Some(Grade::Shadowed));
        let plan = strict.plan().await.unwrap();
        assert_eq!(plan.is_refused(), grade >= Grade::Shadowed);
        let applied = strict.apply(&plan).await;
        match grade {
            Grade::Clean => assert!(applied.unwrap().pushed),
            _ => {
                let error = applied.unwrap_err();
                assert!(matches!(error, Error::Refused { .. }), "{error}");
                assert!(error.to_string().contains(grade.as_str()), "{error}");
                assert_eq!(crate::world::writes(&world.stats().since(&before)), 0);
            }
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_is_refused_unless_it_is_accepted() {
    let (old, new) = (old_base(), new_base());
    let link = palan_testkit::image::LayerSpec::new().symlink("app/lib", "/usr/share/obsolete").build();
    let image = palan_testkit::image::ImageSpec::new("linux/amd64").on(&old).layer(link).build();
    let world = World::new().await;
    for (name, image) in [("base:old", &old), ("base:new", &new), ("app:v1", &image)] {
        world.put(name, &image.graph()).await;
    }
    for (refuse, pushed) in [(Refuse::default(), false), (Refuse(None), true)] {
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
        rebase.request.policy.check = Check::Content;
        rebase.request.policy.refuse = refuse;
        let plan = rebase.plan().await.unwrap();
        assert_eq!(plan.report().verdict, Verdict::Assessed(Grade::Broken), "{plan:?}");
        let finding = &plan.report().platforms[0].assessment.as_ref().unwrap().findings[0];
        assert!(finding.text.contains("/app/lib"), "{finding:?}");
        assert_eq!(rebase.apply(&plan).await.is_ok(), pushed);
    }
    world.stop().await;
}

/// A second image on the same bases costs its own layers only; a second run costs none.
#[tokio::test(flavor = "multi_thread")]
async fn layers_are_read_once_for_all_images_and_never_again_with_a_cache() {
    let (world, [old, ..]) = world(&[("app/bin", Some("app"))]).await;
    let other = app(&old).build();
    world.put("other:v1", &other.graph()).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = || Arc::new(DirectoryCache::new(folder.path().to_owned()));
    let listings = || Arc::new(Listings::new(Some(cache()), palan::Observer::default()));
    let plan = async |name: &str, listings: &Arc<Listings>| {
        let mut rebase = world.rebase(name).bases("base:old", "base:new");
        rebase.request.policy.check = Check::Content;
        rebase.request.knowledge = Knowledge { listings: Arc::clone(listings), ..Knowledge::default() };
        rebase.plan().await.unwrap();
        let read = listings.read();
        (read.layers, read.cached)
    };
    let first = listings();
    assert_eq!(plan("app:v1", &first).await, (5, 0));
    assert_eq!(plan("other:v1", &first).await, (7, 0));
    let second = listings();
    assert_eq!(plan("other:v1", &second).await, (0, 6));
    world.stop().await;
}

#[tokio::test]
async fn without_a_look_there_is_no_verdict_and_no_layer_is_read() {
    let (world, _) = world(&[("usr/lib/libssl.so", Some("own build"))]).await;
    for check in [Check::None, Check::Metadata] {
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
        rebase.request.policy.check = check;
        let plan = rebase.plan().await.unwrap();
        assert_eq!(plan.report().verdict, Verdict::NotAssessed);
        assert_eq!(rebase.request.knowledge.listings.read().layers, 0);
        assert!(!plan.is_refused());
    }
    world.stop().await;
}

fn attested() -> (Image, Image, Image, Graph) {
    let old = base("linux/amd64", &OLD).build();
    let new = base("linux/amd64", &NEW).build();
    let image = app(&old).build();
    let index = IndexSpec::new().image(image.clone()).attest(Attestation::Legacy).build();
    (old, new, image, index.graph())
}

/// 3.3.3, 3.3.4, 4.11.
#[tokio::test]
async fn attestations_of_an_index_are_dropped_kept_or_carried_as_asked() {
    let (old, new, image, graph) = attested();
    let index: view::Index = graph.root().view().unwrap();
    let attestation = index.manifests[1].digest;
    let manifest: view::Manifest = graph.document(attestation).unwrap().view().unwrap();
    let kind = manifest.layers[0].annotation("in-toto.io/predicate-type").unwrap().to_owned();
    let cases = [
        ("drop".to_owned(), FindingKind::AttestationDropped, 1),
        ("keep-old".to_owned(), FindingKind::AttestationDropped, 2),
        (format!("carry={kind}"), FindingKind::AttestationCarried, 2),
        ("carry=https://example.com/other".to_owned(), FindingKind::AttestationDropped, 1),
    ];
    for (policy, finding, entries) in cases {
        let world = World::new().await;
        world.put("base:old", &old.graph()).await;
        world.put("base:new", &new.graph()).await;
        world.put("app:v1", &graph).await;
        let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
        rebase.request.policy.attestations = policy.parse().unwrap();
        let done = rebase.run().await;
        assert_eq!(done.findings(finding).len(), 1, "{policy}: {:?}", done.plan.report().findings);
        let result: view::Index = world.document("app:v1").await.view().unwrap();
        assert_eq!(result.manifests.len(), entries, "{policy}");
        let about = |n: usize| result.manifests[n].attested_digest();
        let made_about = |n: usize| result.manifests[n].annotation(annotation::MADE_ABOUT);
        if policy == "keep-old" {
            assert_eq!((result.manifests[1].digest, about(1)), (attestation, Some(image.digest())));
            assert_eq!(made_about(1), Some(image.digest().to_string().as_str()));
        } else if entries == 2 {
            assert_eq!(about(1), Some(result.manifests[0].digest), "{policy}");
            assert_eq!(made_about(1), Some(image.digest().to_string().as_str()));
        }
        world.assert_valid("app:v1").await;
        world.stop().await;
    }
}

fn referrer(subject: &Document, kind: &str) -> Graph {
    let content = Bytes::from(format!("about {}", subject.digest()));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": MediaType::OCI_EMPTY, "digest": Digest::sha256(b"{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": Digest::sha256(&content), "size": content.len()}],
        "subject": subject.descriptor(),
    });
    let mut graph = Graph::default();
    for bytes in [Bytes::from_static(b"{}"), content] {
        let kind = MediaType::new("text/plain");
        graph
            .blobs
            .push((palan_core::Descriptor::new(kind, Digest::sha256(&bytes), bytes.len() as u64), bytes));
    }
    graph.documents.push(Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap());
    graph
}

/// 3.7.1, 3.7.2.
#[tokio::test]
async fn referrers_and_digest_tags_stay_with_the_old_image_unless_they_are_carried() {
    let (world, [_, _, image]) = world(&[("app/bin", Some("app"))]).await;
    for kind in ["application/spdx+json", "application/vnd.dev.cosign.artifact.sig.v1+json"] {
        let graph = referrer(&image.manifest, kind);
        let location = world.at(&format!("app@{}", graph.root().digest()));
        put(&world.places, &location, &graph).await;
    }
    let signature = referrer(&image.manifest, "old");
    world.put(&format!("app:sha256-{}.sig", image.digest().hex()), &signature).await;
    let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
    rebase.request.policy.check = Check::Metadata;
    rebase.request.policy.attestations = OldAttestations::Carry(["application/spdx+json".to_owned()].into());
    let done = rebase.run().await;
    assert_eq!(done.findings(FindingKind::AttestationCarried).len(), 1);
    let stay = done.findings(FindingKind::ReferrersStay);
    assert!(stay.len() == 1 && stay[0].contains("cosign") && stay[0].contains(".sig"), "{stay:?}");
    let source = world.places.source(&world.at("app:v1")).unwrap().place;
    let found = source.referrers(done.outcome.digest, None).await.unwrap();
    assert_eq!(found.len(), 1);
    let carried = source.document(&found[0].digest.into()).await.unwrap();
    assert_eq!(carried.object().unwrap()["annotations"][annotation::MADE_ABOUT], json!(image.digest()));
    assert_eq!(source.referrers(image.digest(), None).await.unwrap().len(), 3, "the old image keeps its own");
    world.stop().await;
}

#[tokio::test]
async fn a_statement_is_attached_when_asked_for() {
    let (world, [old, new, image]) = world(&[("app/bin", Some("app"))]).await;
    let mut rebase = world.rebase("app:v1").bases("base:old", "base:new");
    rebase.request.attest = true;
    let done = rebase.run().await;
    let source = world.places.source(&world.at("app:v1")).unwrap().place;
    let found = source.referrers(done.outcome.digest, Some("application/vnd.in-toto+json")).await.unwrap();
    assert_eq!(found.len(), 1);
    let manifest: view::Manifest = source.document(&found[0].digest.into()).await.unwrap().view().unwrap();
    let mut content = source.open(&manifest.layers[0], 0).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = futures_util::StreamExt::next(&mut content).await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(bytes, done.plan.statement().into_bytes());
    let statement: Value = serde_json::from_slice(&bytes).unwrap();
    let digest = |pointer: &str| statement.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    assert_eq!(digest("/predicateType"), PREDICATE_TYPE);
    assert_eq!(digest("/subject/0/digest/sha256"), done.outcome.digest.hex());
    assert_eq!(digest("/predicate/image/digest/sha256"), image.digest().hex());
    assert_eq!(digest("/predicate/platforms/0/oldBase/digest/sha256"), old.digest().hex());
    assert_eq!(digest("/predicate/platforms/0/newBase/digest/sha256"), new.digest().hex());
    assert_eq!(digest("/predicate/verdict"), "not-assessed");
    assert_eq!(statement["predicate"]["platforms"][0]["boundary"], 2);
    world.stop().await;
}

#[test]
fn policies_are_read_and_written_alike() {
    for text in ["drop", "keep-old", "carry=a,b"] {
        assert_eq!(text.parse::<OldAttestations>().unwrap().to_string(), text);
    }
    for text in ["", "carry", "carry=", "carry=a,", "keep"] {
        assert!(text.parse::<OldAttestations>().is_err(), "{text}");
    }
}

/// What a rebuild would have made otherwise is not clean, however the files are.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_a_rebuild_would_not_make_is_not_clean() {
    let env = |stack: &[Files<'_>], value: &str| {
        base("linux/amd64", stack).config_field("/config/Env", json!([format!("V={value}")])).build()
    };
    let (old, new) = (env(&OLD, "1"), env(&NEW, "2"));
    // The same layers, and another config.
    let twin = env(&OLD, "2");
    let own = |spec: palan_testkit::image::ImageSpec, value: &str| {
        spec.config_field("/config/Env", json!([format!("V={value}")])).build()
    };
    let (plain, conflicting) = (own(app(&old), "1"), own(app(&old), "mine"));
    let world = World::new().await;
    for (name, image) in [("base:old", &old), ("base:new", &new), ("base:twin", &twin)] {
        world.put(name, &image.graph()).await;
    }
    world.put("app:plain", &plain.graph()).await;
    world.put("app:conflicting", &conflicting.graph()).await;
    let verdict = async |image: &str, new: &str, change: &dyn Fn(&mut palan::rebase::Request)| {
        let mut rebase = world.rebase(image).bases("base:old", new);
        rebase.request.policy.check = Check::Content;
        change(&mut rebase.request);
        rebase.plan().await.unwrap().report().verdict
    };
    use palan::rebase::{ConfigPolicy, OldBase, OnConflict};
    let (clean, shadowed) = (Verdict::Assessed(Grade::Clean), Verdict::Assessed(Grade::Shadowed));
    assert_eq!(verdict("app:plain", "base:new", &|_| {}).await, clean);
    assert_eq!(verdict("app:conflicting", "base:new", &|_| {}).await, clean, "its own value is its own");
    assert_eq!(verdict("app:plain", "base:new", &|r| r.policy.config = ConfigPolicy::Keep).await, shadowed);
    let overruled = &|r: &mut palan::rebase::Request| r.policy.on_conflict = OnConflict::Base;
    assert_eq!(verdict("app:conflicting", "base:new", overruled).await, shadowed);
    let replace = &|r: &mut palan::rebase::Request| r.old_base = OldBase::Layers("2".parse().unwrap());
    assert_eq!(verdict("app:plain", "base:new", replace).await, shadowed);
    assert_eq!(verdict("app:plain", "base:twin", &|_| {}).await, clean);
    assert_eq!(verdict("app:plain", "base:twin", &|r| r.policy.config = ConfigPolicy::Keep).await, shadowed);
    world.stop().await;
}
