//! Bad input: an error that names the thing, and nothing written.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc};

use common::{Kind, chain, copy, memory, places, server, store};
use palan::{
    Error, Location, image, inspect,
    place::{Layout, Memory, PutAs, Source, Target},
    tree, validate,
};
use palan_core::{Descriptor, Digest, Document, Family, MediaType, Selector};
use palan_testkit::{
    fault::{FaultRegistry, Reply},
    image::{Graph, Image, ImageSpec, IndexSpec, layer},
};
use serde_json::json;

fn fixture() -> Image {
    ImageSpec::new("linux/amd64").layer(layer(&[("a", b"1")])).layer(layer(&[("b", b"2")])).build()
}

fn layout_at(path: &Path) -> Location {
    format!("oci:{}", path.display()).parse().unwrap()
}

/// Why a location cannot be read.
async fn refusal(location: &Location) -> String {
    let opened = match places().source(location) {
        Ok(opened) => opened,
        Err(e) => return chain(&e),
    };
    chain(&opened.place.document(opened.chosen().unwrap()).await.expect_err("it was accepted"))
}

async fn layout(path: &Path, image: &Image) -> Layout {
    let layout = Layout::create(path).unwrap();
    store(&layout, &image.graph(), PutAs::Tag("v1".into())).await.unwrap();
    layout
}

#[tokio::test]
async fn directories_that_are_no_layouts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::create_dir(path("other")).unwrap();
    std::fs::write(path("other/precious"), "x").unwrap();
    std::fs::write(path("file"), "x").unwrap();
    for (name, reason) in [
        ("none", "none/oci-layout: No such file"),
        ("empty", "is not an OCI layout: the file oci-layout is missing"),
        ("other", "is not an OCI layout: the file oci-layout is missing"),
        ("file", "file/oci-layout: Not a directory"),
    ] {
        let text = refusal(&layout_at(&path(name))).await;
        assert!(text.contains(reason), "{name}: {text}");
        assert!(text.contains(&path(name).display().to_string()), "{name}: {text}");
    }
    // As targets: what is not ours is left alone.
    for (name, reason) in [("other", "is a directory with other files in it"), ("file", "Not a directory")] {
        let text = chain(&places().target(&layout_at(&path(name))).err().expect("it was accepted"));
        assert!(text.contains(reason), "{name}: {text}");
    }
    assert_eq!(std::fs::read_dir(path("other")).unwrap().count(), 1);
    assert_eq!(std::fs::read(path("file")).unwrap(), b"x");
    // What was begun by an empty directory or a lone `blobs` folder may be used.
    std::fs::create_dir_all(path("begun/blobs")).unwrap();
    let image = fixture();
    for name in ["empty", "begun", "new"] {
        let target = places().target(&layout_at(&path(name))).unwrap().place;
        store(target.as_ref(), &image.graph(), PutAs::Tag("v1".into())).await.unwrap();
        assert_eq!(Layout::open(path(name)).unwrap().tags().await.unwrap(), ["v1"], "{name}");
    }
}

#[tokio::test]
async fn layouts_with_bad_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture();
    let digest = image.digest();
    let entry = |extra: &str| {
        let (kind, size) = (image.manifest.media_type(), image.manifest.size());
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{extra}}}"#)
    };
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("oci-layout", b"{}".to_vec(), "oci-layout is malformed"),
        ("oci-layout", b"<html>".to_vec(), "oci-layout is malformed"),
        ("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec(), "OCI layout version 2.0.0"),
        ("index.json", b"".to_vec(), "index.json in oci:"),
        ("index.json", b"<!DOCTYPE html>".to_vec(), "an HTML page"),
        ("index.json", br#"{"manifests":[],"manifests":[]}"#.to_vec(), "\"manifests\""),
        ("index.json", vec![b' '; 5 << 20], "4 MiB"),
        ("index.json", index(&entry("").replace("sha256:", "sha256:zz")).into(), "index.json in oci:"),
        ("index.json", index(&entry(r#","size":7"#)).into(), "\"size\""),
        ("index.json", index("").into(), "holds no image"),
        (
            "index.json",
            index(&entry("").replace(&image.manifest.size().to_string(), "7")).into(),
            "longer than the 7 bytes",
        ),
    ];
    for (n, (file, content, reason)) in cases.into_iter().enumerate() {
        let path = folder.path().join(n.to_string());
        layout(&path, &image).await;
        std::fs::write(path.join(file), &content).unwrap();
        let text = refusal(&layout_at(&path)).await;
        assert!(text.contains(reason), "{n} {file}: {text}");
        assert!(text.contains(&path.display().to_string()), "{n} {file}: {text}");
        // A writer does not make it worse: what it cannot read it does not replace.
        let before = std::fs::read(path.join(file)).unwrap();
        let other = ImageSpec::new("linux/arm64").layer(layer(&[("c", b"3")])).build();
        if !reason.contains("7 bytes") && !reason.contains("no image") {
            let put = async {
                let layout = Layout::create(&path)?;
                store(&layout, &other.graph(), PutAs::Tag("v2".into())).await
            };
            assert!(put.await.is_err(), "{n} {file}");
            assert!(std::fs::read(path.join(file)).unwrap() == before, "{n} {file}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_stands_for_two_images_is_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture();
    let other = ImageSpec::new("linux/arm64").layer(layer(&[("c", b"3")])).build();
    let layout = layout(folder.path(), &image).await;
    store(&layout, &other.graph(), PutAs::Tag("v2".into())).await.unwrap();
    let path = folder.path().join("index.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"v2\"", "\"v1\"");
    std::fs::write(&path, text).unwrap();
    let error = layout.resolve(&Selector::Tag("v1".into())).await.unwrap_err();
    let name = layout.name();
    let choices = format!("{}, {}", image.digest(), other.digest());
    assert_eq!(error.to_string(), format!("v1 in {name} holds 2 images, choose one: {choices}"));
    let replace = PutAs::Replace { tag: "v1".into(), expected: image.digest() };
    assert!(layout.put_document(&image.manifest, &replace).await.is_err());
    // Nor is one of them chosen to be replaced, and the other lost. Both can be named.
    assert!(layout.put_document(&other.manifest, &PutAs::Tag("v1".into())).await.is_err());
    for image in [&image, &other] {
        layout.resolve(&image.digest().into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_with_missing_or_damaged_blobs_copy_nothing() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let image = fixture();
    let blobs = image.graph().blobs.into_iter().map(|(d, _)| d.digest).chain([image.digest()]);
    for (n, victim) in blobs.enumerate() {
        for (how, reason) in [("missing", "was not found in oci:"), ("damaged", "is damaged: ")] {
            let layout = layout(&folder.path().join(format!("{n}-{how}")), &image).await;
            let path = layout.blob_path(victim);
            if how == "missing" {
                std::fs::remove_file(path).unwrap();
            } else {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[0] ^= 1;
                std::fs::write(path, bytes).unwrap();
            }
            for kind in Kind::ALL {
                let name = format!("{n}-{how}-{kind:?}").to_lowercase();
                let source: Arc<dyn Source> = Arc::new(layout.clone());
                let target = kind.create(folder.path(), &server, &name);
                let result = async {
                    let root = source.document(&Selector::Tag("v1".into())).await?;
                    copy(&source, &target, &root, PutAs::Tag("app:v1".replace("app:", ""))).await
                };
                let error = result.await.unwrap_err();
                let text = chain(&error);
                assert!(text.contains(reason) && text.contains(&victim.to_string()), "{name}: {text}");
                assert!(text.contains(&layout.path().display().to_string()), "{name}: {text}");
                assert!(target.resolve(&Selector::Tag("v1".into())).await.is_err(), "{name}");
            }
        }
    }
    server.stop().await;
}

/// A registry with one image of which one answer is another one.
async fn lying(image: &Image, path: String, reply: Reply) -> FaultRegistry {
    let graph = image.graph();
    FaultRegistry::start(move |request| {
        let at = request.path().to_owned();
        if at == path {
            return reply.clone();
        }
        let name = at.rsplit('/').next().unwrap_or_default();
        let document = |d: &&Document| name == "v1" || d.digest().to_string() == name;
        if let Some(document) = graph.documents.iter().find(document).filter(|_| at.contains("/manifests/")) {
            return Reply::ok(document.bytes().clone())
                .header("content-type", document.media_type().as_str());
        }
        match graph.blobs.iter().find(|(d, _)| d.digest.to_string() == name) {
            Some((_, bytes)) => Reply::ranged(request, bytes),
            None => Reply::error(404, "BLOB_UNKNOWN"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_lie_are_found_out() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let image = fixture();
    let manifest = "/v2/app/manifests/v1".to_owned();
    let config = format!("/v2/app/blobs/{}", image.config.digest());
    let top = format!("/v2/app/blobs/{}", image.layers[1].digest);
    let oci =
        |text: &str| Reply::ok(text.to_owned()).header("content-type", MediaType::OCI_MANIFEST.as_str());
    let twice = std::str::from_utf8(image.manifest.bytes()).unwrap().replacen('{', r#"{"config":{},"#, 1);
    let html = || Reply::ok("<!DOCTYPE html><html>login</html>").header("content-type", "text/html");
    let mut flipped = image.layers[1].bytes.to_vec();
    flipped[20] ^= 1;
    let digest = Digest::sha256(b"other").to_string();
    let cases: Vec<(&str, &String, Reply, &str)> = vec![
        ("duplicate keys", &manifest, oci(&twice), "\"config\""),
        ("over 4 MiB", &manifest, oci(&format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20))), "4194304"),
        ("HTML", &manifest, html(), "HTML"),
        ("not JSON", &manifest, oci("oops"), "not valid"),
        ("both kinds", &manifest, oci(r#"{"manifests":[],"layers":[]}"#), "both"),
        (
            "schema 1",
            &manifest,
            Reply::ok("{}")
                .header("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "schema 1",
        ),
        (
            "other digest",
            &manifest,
            Reply::ok(image.manifest.bytes().clone()).header("docker-content-digest", &digest),
            "has digest",
        ),
        ("config HTML", &config, html(), "HTML"),
        ("config", &config, Reply::ok("{}"), &config[15..]),
        ("flipped layer", &top, Reply::ok(flipped), "has digest"),
        ("long layer", &top, Reply::ok([&image.layers[1].bytes[..], b"x"].concat()), "its descriptor states"),
        ("lost layer", &top, Reply::error(404, "BLOB_UNKNOWN"), "was not found in"),
    ];
    for (n, (name, path, reply, reason)) in cases.into_iter().enumerate() {
        let registry = lying(&image, path.clone(), reply).await;
        let location: Location = format!("{}/app:v1", registry.host()).parse().unwrap();
        for (target, file) in [
            (format!("oci:{}:v1", folder.path().join(format!("layout{n}")).display()), "layout"),
            (format!("oci-archive:{}", folder.path().join("a.tar").display()), "a.tar"),
            (format!("docker-archive:{}:a:b", folder.path().join("d.tar").display()), "d.tar"),
            (format!("{}/copy{n}:v1", server.host()), "-"),
        ] {
            let opened = places().source(&location).unwrap();
            let target = places().target(&target.parse().unwrap()).unwrap();
            let role = target.selector.as_ref().map_or(PutAs::Root, PutAs::from_selector);
            let result = async {
                let root = opened.place.document(opened.chosen()?).await?;
                copy(&opened.place, &target.place, &root, role).await
            };
            let text = chain(&result.await.unwrap_err());
            assert!(text.contains(reason), "{name}: {text}");
            assert!(text.contains(&registry.host()), "{name} does not name the registry: {text}");
            let tags = target.place.tags().await;
            assert!(tags.is_ok_and(|t| t.is_empty()) || file == "-", "{name}");
            assert!(target.place.resolve(&Selector::Tag("v1".into())).await.is_err(), "{name}");
            drop(target);
            assert!(file == "layout" || !folder.path().join(file).exists(), "{name}");
        }
    }
    server.stop().await;
    // No layout came to be; what stays for the next try is right.
    for n in 0..12 {
        let layout = folder.path().join(format!("layout{n}"));
        assert!(!layout.join("oci-layout").exists() && !layout.join("index.json").exists(), "{n}");
        for entry in std::fs::read_dir(layout.join("blobs/sha256")).into_iter().flatten() {
            let entry = entry.unwrap();
            let digest = Digest::sha256(&std::fs::read(entry.path()).unwrap());
            assert_eq!(entry.file_name().to_string_lossy(), digest.hex());
        }
    }
}

#[tokio::test]
async fn a_failed_copy_leaves_no_layout_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture();
    let lost = layout(&folder.path().join("lost"), &image).await;
    std::fs::remove_file(lost.blob_path(image.layers[1].digest)).unwrap();
    let path = folder.path().join("new");
    let target: Arc<dyn Target> = Arc::new(Layout::create(&path).unwrap());
    assert!(!path.exists(), "nothing is made before there is something to keep");
    let lost: Arc<dyn Source> = Arc::new(lost);
    copy(&lost, &target, &image.manifest, PutAs::Tag("v1".into())).await.unwrap_err();
    assert!(Layout::open(&path).is_err());
    let whole: Arc<dyn Source> = Arc::new(layout(&folder.path().join("whole"), &image).await);
    copy(&whole, &target, &image.manifest, PutAs::Tag("v1".into())).await.unwrap();
    assert_eq!(Layout::open(&path).unwrap().tags().await.unwrap(), ["v1"]);
}

/// Indexes in indexes, without end: refused where it would otherwise cost the stack.
#[tokio::test(flavor = "multi_thread")]
async fn bottomless_indexes_are_refused() {
    let mut graph = fixture().graph();
    let mut child = Descriptor { platform: None, ..graph.root().descriptor() };
    for n in 0..20 {
        let index = IndexSpec::new().entry(json!(child), &Graph::default()).field("/n", n).build();
        child = index.document.descriptor();
        graph.documents.push(index.document);
    }
    let source = memory(&graph).await;
    let target: Arc<dyn Target> = Arc::new(Memory::new());
    let root: Selector = graph.root().digest().into();
    let text = "nested more than 16 levels deep";
    let error = copy(&source, &target, graph.root(), PutAs::Tag("v1".into())).await.unwrap_err();
    assert!(chain(&error).contains(text), "{}", chain(&error));
    assert!(target.tags().await.unwrap().is_empty());
    let error = tree::tree(source.as_ref(), &root).await.unwrap_err();
    assert!(chain(&error).contains(text), "{}", chain(&error));
    let report = validate::validate(source.as_ref(), &root, &validate::Options::default()).await.unwrap();
    assert!(report.faults[0].text.contains(text), "{:?}", report.faults);
    // Seven levels are odd, but work.
    let seven: Selector = graph.documents[7].digest().into();
    copy(&source, &target, &graph.documents[7], PutAs::Root).await.unwrap();
    tree::tree(source.as_ref(), &seven).await.unwrap();
    let report = validate::validate(source.as_ref(), &seven, &validate::Options::default()).await.unwrap();
    assert_eq!(report.faults, []);
}

#[tokio::test]
async fn choosing_and_inspecting_say_what_there_is() {
    let of = |platform: &str| ImageSpec::new(platform).layer(layer(&[("p", platform.as_bytes())])).build();
    let index = IndexSpec::new().image(of("linux/arm64")).image(of("linux/s390x")).build();
    let v7 = of("linux/arm/v7");
    let mut graph = index.graph();
    graph.extend(&v7.graph());
    let source = memory(&graph).await;
    let pattern = |text: &str| Some(text.parse().unwrap());
    let (index, single): (Selector, Selector) = (index.digest().into(), v7.digest().into());
    for (selector, wanted, reason) in [
        (&index, None, "has no image for linux/amd64 (it has linux/arm64, linux/s390x)"),
        (&index, pattern("linux/amd64"), "has no image for linux/amd64 (it has linux/arm64, linux/s390x)"),
        (&single, pattern("linux/amd64"), "is an image for linux/arm/v7, not for linux/amd64"),
    ] {
        let error = image::choose(&source, selector, wanted.as_ref()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let wanted = pattern("linux/amd64");
    let error = inspect::inspect(source.as_ref(), &index, wanted.as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("(it has linux/arm64, linux/s390x)"), "{error}");
    let error = inspect::inspect(source.as_ref(), &single, wanted.as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("linux/arm/v7"), "{error}");
    let found = image::choose(&source, &index, pattern("linux/arm64").as_ref()).await.unwrap();
    let report = inspect::inspect(source.as_ref(), &index, None).await.unwrap();
    assert_eq!(report.images[0].digest, found.digest());
    assert_eq!(report.images.len(), 2);
}

#[tokio::test]
async fn images_that_contradict_themselves_are_named() {
    let short =
        ImageSpec::new("linux/amd64").layer(layer(&[("a", b"")])).config_field("/rootfs/diff_ids", json!([]));
    let bad = ImageSpec::new("linux/amd64").config_field("/rootfs", json!("none"));
    let config = |size: u64| {
        let descriptor = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(b"big"), size);
        ImageSpec::new("linux/amd64").family(Family::Oci).manifest_field("/config", json!(descriptor))
    };
    for (name, spec, reason) in [
        ("short", short, "the manifest lists 1 layers, the config 0 diff IDs"),
        ("bad", bad, "is not usable"),
        ("big", config(5 << 20), "4 MiB"),
        ("lost", config(3), "was not found in memory"),
    ] {
        let image = spec.build();
        let source = memory(&image.graph()).await;
        let error = inspect::inspect(source.as_ref(), &image.digest().into(), None).await.unwrap_err();
        assert!(chain(&error).contains(reason), "{name}: {}", chain(&error));
        assert!(!matches!(error, Error::Cancelled));
    }
}
