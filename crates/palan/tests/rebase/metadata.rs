//! 3.4: media types and metadata.

use palan::{Error, rebase::FindingKind};
use palan_core::{Compression, Digest, Document, Family, MediaType};
use palan_testkit::image::{Graph, Image, ImageSpec};
use serde_json::{Value, json};

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, field, layer, layers, new_base, old_base},
    world::World,
};

async fn world(old: &Image, new: &Image, app: &Graph) -> World {
    let world = World::new().await;
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    world.put("app:v1", app).await;
    world
}

/// An image with a bit of everything that other tools lose.
fn rich(old: &Image) -> ImageSpec {
    app(old)
        .annotation("org.example.keepme", "yes")
        .created("2024-02-29T12:00:00.123456789Z")
        .config_field("/author", "somebody")
        .config_field("/os.features", json!(["a", "b"]))
        .config_field("/x-custom", json!({"z": [1, {"b": null, "a": 1.5}], "a": "ü\u{2028}"}))
        .config_field("/config/Healthcheck", json!({"Test": ["CMD", "x"], "StartInterval": 5_000_000_000u64}))
        .config_field("/config/ArgsEscaped", true)
        .manifest_field("/x-manifest", json!({"deep": [1, 2, {"k": "v"}]}))
        .manifest_field("/artifactType", "application/x-thing")
}

fn without<'a>(document: &Document, keys: impl IntoIterator<Item = &'a str>) -> String {
    let mut object = document.object().unwrap();
    for key in keys {
        let (parent, last) = key.rsplit_once('/').unwrap();
        if parent.is_empty() {
            object.shift_remove(last);
        } else if let Some(inner) = object.get_mut(&parent[1..]).and_then(Value::as_object_mut) {
            inner.shift_remove(last);
        }
    }
    Value::Object(object).to_string()
}

#[tokio::test]
async fn c3_4_2_and_c3_4_3_all_metadata_is_kept_in_its_order() {
    let old = old_base();
    let spec = rich(&old).build();
    let world = world(&old, &new_base(), &spec.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    let changed = ["/rootfs/diff_ids", "/history"];
    assert_eq!(without(&result.config, changed), without(&spec.config, changed));
    let changed = [
        "/config/digest",
        "/config/size",
        "/layers",
        "/annotations/org.opencontainers.image.base.name",
        "/annotations/org.opencontainers.image.base.digest",
    ];
    assert_eq!(without(&result.manifest, changed), without(&spec.manifest, changed));
    world.stop().await;
}

#[tokio::test]
async fn indentation_and_the_final_newline_of_a_config_survive() {
    let old = old_base();
    let image = app(&old).build();
    let pretty = format!("{}\n", serde_json::to_string_pretty(&image.config.object().unwrap()).unwrap());
    let config = Document::parse(pretty, Some(MediaType::OCI_CONFIG)).unwrap();
    let manifest = image
        .manifest
        .edit(|json| json["config"] = serde_json::to_value(config.descriptor()).unwrap())
        .unwrap();
    let mut graph = image.graph();
    graph.blobs.push((config.descriptor(), config.bytes().clone()));
    graph.documents = vec![manifest];
    let world = world(&old, &new_base(), &graph).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    let text = std::str::from_utf8(result.config.bytes()).unwrap();
    assert!(text.starts_with("{\n  \"") && text.ends_with("}\n"), "{text}");
    assert_stacked(&result, &new_base(), &image, 2);
    world.stop().await;
}

#[tokio::test]
async fn c3_4_1_the_family_is_the_apps_and_the_new_bases_layers_are_translated() {
    for (family, base_family) in [
        (Family::Oci, Family::Oci),
        (Family::Oci, Family::Docker),
        (Family::Docker, Family::Oci),
        (Family::Docker, Family::Docker),
    ] {
        let old = base("linux/amd64", &OLD).family(base_family).build();
        let new = base("linux/amd64", &NEW)
            .layer(layer(&[("plain", Some("plain"))], Compression::None))
            .family(base_family)
            .build();
        let app = app(&old).family(family).build();
        let world = world(&old, &new, &app.graph()).await;
        world.rebase("app:v1").bases("base:old", "base:new").run().await;
        let result = world.image("app:v1").await;
        assert_stacked(&result, &new, &app, 2);
        let types = [result.manifest.media_type(), &result.manifest_view.config.media_type];
        let layers = result.manifest_view.layers.iter().map(|l| &l.media_type);
        for media_type in types.into_iter().chain(layers) {
            assert_eq!(media_type.family(), Some(family), "{media_type}");
        }
        let plain = MediaType::layer(family, Compression::None).unwrap();
        assert_eq!(result.manifest_view.layers[2].media_type, plain);
        world.assert_valid("app:v1").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_mixed_image_is_mended_where_it_can_be_and_its_configs_type_stays() {
    let old = old_base();
    let image = app(&old).build();
    let manifest = image
        .manifest
        .edit(|json| {
            json["config"]["mediaType"] = json!(MediaType::DOCKER_CONFIG);
            for layer in json["layers"].as_array_mut().unwrap() {
                layer["mediaType"] = json!(MediaType::DOCKER_LAYER_GZIP);
            }
        })
        .unwrap();
    let graph = Graph { documents: vec![manifest], ..image.graph() };
    let world = world(&old, &new_base(), &graph).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    assert_eq!(result.manifest_view.config.media_type, MediaType::DOCKER_CONFIG);
    assert!(result.manifest_view.layers.iter().all(|l| l.media_type == MediaType::OCI_LAYER_GZIP));
    assert_stacked(&result, &new_base(), &image, 2);
    world.stop().await;
}

#[tokio::test]
async fn c3_4_4_foreign_layers_are_carried_as_descriptors() {
    let old = old_base();
    let foreign = layer(&[("Files/kernel", Some("k"))], Compression::Gzip);
    let foreign = foreign.with_media_type(MediaType::OCI_FOREIGN_LAYER_GZIP);
    let new = base("linux/amd64", &NEW).layer(foreign.clone()).build();
    let urls = json!(["https://example.com/kernel"]);
    let manifest = new
        .manifest
        .edit(|json| {
            json["layers"][2]["urls"] = urls.clone();
            json["layers"][2]["x-more"] = json!(1);
        })
        .unwrap();
    let image = app(&old).family(Family::Docker).build();
    let world = world(&old, &new, &image.graph()).await;
    let mut graph = Graph { documents: vec![manifest], ..new.graph() };
    graph.blobs.retain(|(d, _)| d.digest != foreign.digest);
    world.put("base:new", &graph).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let carried = field(&world.image("app:v1").await.manifest, "/layers/2").unwrap();
    assert_eq!(carried["urls"], urls);
    assert_eq!(carried["x-more"], json!(1));
    assert_eq!(carried["mediaType"], json!(MediaType::DOCKER_FOREIGN_LAYER_GZIP));
    assert_eq!(done.findings(FindingKind::Foreign).len(), 1);
    assert_eq!(done.outcome.summary.blobs_skipped, 1);
    world.stop().await;
}

#[tokio::test]
async fn c3_4_5_zstd_into_a_docker_image_is_refused_with_that_reason() {
    let old = old_base();
    let zstd: Vec<_> = layers(&NEW).iter().map(|l| l.recompressed(Compression::Zstd)).collect();
    let new = ImageSpec::new("linux/amd64").layers(zstd).build();
    let image = app(&old).family(Family::Docker).build();
    let docker = world(&old, &new, &image.graph()).await;
    let error = docker.rebase("app:v1").bases("base:old", "base:new").refused().await;
    let Error::Family { family, layer, media_type, .. } = &error else { panic!("{error}") };
    assert_eq!((*family, *layer), (Family::Docker, new.layers[0].digest));
    assert!(media_type.ends_with("+zstd"), "{error}");
    docker.stop().await;

    let image = app(&old).build();
    let oci = world(&old, &new, &image.graph()).await;
    oci.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_stacked(&oci.image("app:v1").await, &new, &image, 2);
    oci.stop().await;
}

#[tokio::test]
async fn layer_descriptors_are_carried_whole() {
    let (old, new) = (old_base(), new_base());
    let mark = |document: &Document, name: &str| {
        let mark = |json: &mut serde_json::Map<String, Value>| {
            for (i, layer) in json["layers"].as_array_mut().unwrap().iter_mut().enumerate() {
                layer["annotations"] = json!({"from": format!("{name} {i}")});
                layer["x-unknown"] = json!({"b": 1, "a": 2});
            }
            json["config"]["data"] = json!("e30=");
        };
        document.edit(mark).unwrap()
    };
    let image = app(&old).build();
    let marked =
        |image: &Image, name| Graph { documents: vec![mark(&image.manifest, name)], ..image.graph() };
    let world = world(&old, &new, &marked(&image, "app")).await;
    world.put("base:new", &marked(&new, "new")).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    for (i, from) in ["new 0", "new 1", "app 2", "app 3"].into_iter().enumerate() {
        let layer = field(&result.manifest, &format!("/layers/{i}")).unwrap();
        assert_eq!(layer["annotations"], json!({"from": from}));
        assert_eq!(layer["x-unknown"].to_string(), r#"{"b":1,"a":2}"#);
    }
    assert_eq!(field(&result.manifest, "/config/data"), None, "it was the old config's");
    world.stop().await;
}

#[tokio::test]
async fn a_subject_is_kept_and_reported() {
    let old = old_base();
    let subject = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::sha256(b"x"), "size": 1});
    let image = app(&old).manifest_field("/subject", subject.clone()).build();
    let world = world(&old, &new_base(), &image.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(field(&world.image("app:v1").await.manifest, "/subject"), Some(subject));
    assert_eq!(done.findings(FindingKind::Subject).len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_number_that_cannot_be_kept_is_refused_before_anything_is_written() {
    let old = old_base();
    let image = app(&old).build();
    let text = String::from_utf8(image.config.bytes().to_vec()).unwrap();
    let config = text.replacen('{', r#"{"x-number":1e400,"#, 1).replace("1e400", "12345678901234567890123");
    let config = Document::parse(config, Some(MediaType::OCI_CONFIG)).unwrap();
    let manifest =
        image.manifest.edit(|j| j["config"] = serde_json::to_value(config.descriptor()).unwrap()).unwrap();
    let mut graph = Graph { documents: vec![manifest], ..image.graph() };
    graph.blobs.push((config.descriptor(), config.bytes().clone()));
    let world = world(&old, &new_base(), &graph).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("12345678901234567890123"), "{cause}");
    world.stop().await;
}

#[tokio::test]
async fn the_verdict_is_that_nobody_looked() {
    let old = old_base();
    let world = world(&old, &new_base(), &app(&old).build().graph()).await;
    let plan = world.rebase("app:v1").bases("base:old", "base:new").plan().await.unwrap();
    let report = serde_json::to_value(plan.report()).unwrap();
    assert_eq!(report["verdict"], json!("not-assessed"));
    assert_eq!(report["platforms"][0]["own_layers"], json!(APP.len()));
    world.stop().await;
}
