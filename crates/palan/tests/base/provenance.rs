//! Provenance in all the forms and places it is stored in; every image it names is compared with the layers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use palan::base::{Confidence, Evidence};
use palan_core::{Descriptor, Digest, Document, MediaType, annotation};
use palan_testkit::image::{Graph, Image, IndexSpec};
use serde_json::{Value, json};

use crate::{World, app_on, base_image};

const IN_TOTO: &str = "application/vnd.in-toto+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A material as BuildKit writes it.
fn material(world: &World, name: &str, digest: Digest) -> Value {
    let host = world.server.host().replace(':', "%3A");
    json!({
        "uri": format!("pkg:docker/{host}/{name}?platform=linux%2Famd64"),
        "digest": {"sha256": digest.hex()},
    })
}

fn v02(materials: &[Value]) -> Value {
    let predicate = json!({"builder": {"id": ""}, "materials": materials});
    json!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2", "predicate": predicate})
}

fn v1(dependencies: &[Value]) -> Value {
    let predicate = json!({"buildDefinition": {"resolvedDependencies": dependencies}, "runDetails": {}});
    json!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v1", "predicate": predicate})
}

fn envelope(statement: &Value) -> Value {
    json!({"payloadType": IN_TOTO, "payload": STANDARD.encode(statement.to_string()), "signatures": [{"sig": ""}]})
}

fn bundle(statement: &Value) -> Value {
    json!({"mediaType": BUNDLE, "verificationMaterial": {}, "dsseEnvelope": envelope(statement)})
}

/// A manifest with one document as its layer, and what it needs.
fn attestation(media_type: &str, document: &Value, subject: Option<&Image>) -> Graph {
    let blob = |media_type: &str, bytes: String| {
        let descriptor = Descriptor::new(
            MediaType::new(media_type.to_owned()),
            Digest::sha256(bytes.as_bytes()),
            bytes.len() as u64,
        );
        (descriptor, bytes.into())
    };
    let (layer, config) =
        (blob(media_type, document.to_string()), blob(MediaType::OCI_EMPTY.as_str(), "{}".to_owned()));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": media_type,
        "config": config.0,
        "layers": [layer.0],
    });
    if let Some(image) = subject {
        manifest["subject"] = json!(image.manifest.descriptor());
    }
    let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap();
    Graph { blobs: vec![layer, config], documents: vec![manifest] }
}

/// An index of one image with an attestation about it.
fn attested(app: &Image, graph: &Graph) -> Graph {
    let entry = json!({
        "mediaType": MediaType::OCI_MANIFEST,
        "digest": graph.root().digest(),
        "size": graph.root().size(),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            annotation::DOCKER_REFERENCE_TYPE: annotation::ATTESTATION_MANIFEST,
            annotation::DOCKER_REFERENCE_DIGEST: app.digest(),
        },
    });
    IndexSpec::new().image(app.clone()).entry(entry, graph).build().graph()
}

async fn world() -> (World, Image, Image) {
    let (world, base) = (World::new().await, base_image("one"));
    world.put("base:1", &base.graph()).await;
    world.put("builder:1", &base_image("builder").graph()).await;
    let app = app_on(&base).build();
    (world, base, app)
}

#[tokio::test]
async fn the_base_is_found_among_the_images_of_all_stages() {
    for statement in [v02, v1] {
        let (world, base, app) = world().await;
        let used = [
            json!({"uri": "https://github.com/org/app.git", "digest": {"sha1": "0"}}),
            material(&world, "builder@1", base_image("builder").digest()),
            material(&world, "gone@1", base_image("gone").digest()),
            material(&world, "base@1", base.digest()),
        ];
        world.put("app:1", &attested(&app, &attestation(IN_TOTO, &statement(&used), None))).await;
        let found = world.base_of("app:1", None).await;
        assert_eq!(found.conflicts, [], "other stages are no conflict");
        let found = found.base.unwrap();
        assert_eq!((found.evidence, found.confidence), (Evidence::Provenance, Confidence::Verified));
        assert_eq!(found.name.unwrap().to_string(), world.text("base:1"));
        assert_eq!((found.digest, found.boundary), (Some(base.digest()), Some(2)));
    }
}

#[tokio::test]
async fn every_form_and_place_is_read() {
    type Wrap = fn(&Value) -> Value;
    let forms: [(&str, Wrap); 3] = [(IN_TOTO, Value::clone), (DSSE, envelope), (BUNDLE, bundle)];
    for (media_type, wrap) in forms {
        let (world, base, app) = world().await;
        let document = wrap(&v1(&[material(&world, "base@1", base.digest())]));
        world.put("indexed:1", &attested(&app, &attestation(media_type, &document, None))).await;
        world.put("referred:1", &app.graph()).await;
        let referrer = attestation(media_type, &document, Some(&app));
        world.put(&format!("referred@{}", referrer.root().digest()), &referrer).await;
        world.put("tagged:1", &app.graph()).await;
        let tag = format!("tagged:sha256-{}.att", app.digest().hex());
        world.put(&tag, &attestation(media_type, &document, None)).await;
        for name in ["indexed:1", "referred:1", "tagged:1"] {
            let found = world.base_of(name, None).await.base;
            assert_eq!(found.and_then(|f| f.digest), Some(base.digest()), "{name} {media_type}");
        }
    }
}

#[tokio::test]
async fn images_for_other_platforms_are_passed_over() {
    let (world, base, app) = world().await;
    let mut used = material(&world, "base@1", base.digest());
    used["uri"] = json!(used["uri"].as_str().unwrap().replace("amd64", "arm64"));
    world.put("app:1", &attested(&app, &attestation(IN_TOTO, &v1(&[used]), None))).await;
    assert!(world.base_of("app:1", None).await.is_unknown());
}

#[tokio::test]
async fn the_only_image_counts_where_it_cannot_be_read() {
    let (world, _, app) = world().await;
    let gone = material(&world, "gone@1", base_image("gone").digest());
    let other = material(&world, "gone@2", base_image("other").digest());
    world.put("app:1", &attested(&app, &attestation(IN_TOTO, &v1(std::slice::from_ref(&gone)), None))).await;
    let found = world.base_of("app:1", None).await.base.unwrap();
    assert_eq!((found.confidence, found.boundary), (Confidence::Stated, None));
    world.put("app:2", &attested(&app, &attestation(IN_TOTO, &v1(&[gone, other]), None))).await;
    assert!(world.base_of("app:2", None).await.is_unknown());
}

#[tokio::test]
async fn nonsense_says_nothing() {
    let (world, base, app) = world().await;
    let used = material(&world, "base@1", base.digest());
    let cases = [
        json!([]),
        json!({"payload": "not base64", "payloadType": IN_TOTO}),
        json!({"payload": STANDARD.encode("not JSON")}),
        json!({"predicate": {"materials": {"uri": used["uri"]}}}),
        json!({"predicate": {"materials": [1, {}, {"uri": 1}, {"uri": "pkg:docker/"}]}}),
    ];
    for case in cases {
        world.put("app:1", &attested(&app, &attestation(IN_TOTO, &case, None))).await;
        assert!(world.base_of("app:1", None).await.is_unknown(), "{case}");
    }
    // Many images, and a statement larger than any document may be, are read in part or not at all.
    let many: Vec<Value> =
        (0..500).map(|n| json!({"uri": format!("pkg:docker/a/b@{n}?platform=windows%2Famd64")})).collect();
    world.put("app:2", &attested(&app, &attestation(IN_TOTO, &v1(&many), None))).await;
    assert!(world.base_of("app:2", None).await.is_unknown());
    let mut large = v1(&[used]);
    large["padding"] = json!(" ".repeat(5 << 20));
    world.put("app:3", &attested(&app, &attestation(IN_TOTO, &large, None))).await;
    let before = world.requests().len();
    assert!(world.base_of("app:3", None).await.is_unknown());
    let blob = Digest::sha256(large.to_string().as_bytes()).hex();
    assert!(!world.requests().split_off(before).iter().any(|line| line.contains(&blob)));
}
