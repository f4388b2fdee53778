//! Validation finds every fault, lists all of them, and reads everything once.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use common::{
    Kind, memory,
    recorder::{Call, Recorder},
    server, store,
};
use palan::{
    Error, Event, Observer,
    place::{BlobStream, Layout, Origin, PutAs, Source},
    validate::{Options, Report, Severity, validate},
};
use palan_core::{
    Bytes, Compression, Descriptor, Digest, Document, Family, MediaType, Platform, PlatformPattern, Selector,
    annotation,
};
use palan_testkit::{
    conformance::place::{Fault, Feed},
    image::{Attestation, Graph, History, Image, ImageSpec, IndexSpec, Layer, LayerSpec, layer},
};
use serde_json::json;

async fn check_with(source: &dyn Source, root: Digest, options: &Options) -> Report {
    validate(source, &root.into(), options).await.unwrap()
}

async fn check(graph: &Graph, source: &dyn Source) -> Report {
    check_with(source, graph.root().digest(), &Options::default()).await
}

fn os() -> Layer {
    layer(&[("etc/os-release", b"ID=x\n")])
}

fn spec() -> ImageSpec {
    ImageSpec::new("linux/amd64").layer(os()).layer(layer(&[("app", b"1")]))
}

/// A layer whose blob is these bytes, whatever they are; digests of the blob are true, the diff ID is that of `like`.
fn blob(bytes: impl Into<Bytes>, like: &Layer) -> Layer {
    let bytes = bytes.into();
    Layer { digest: Digest::sha256(&bytes), bytes, ..like.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_images_have_no_faults() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let of = |compression| LayerSpec::new().noise("data", 1, 100_000).compression(compression).build();
    let all = [Compression::Gzip, Compression::Zstd, Compression::None].map(of);
    let oci = ImageSpec::new("linux/amd64").layers(all).layer(os()).layer(os()).build();
    let docker =
        ImageSpec::new("linux/arm64").family(Family::Docker).layer(os()).history(History::None).build();
    let inner = IndexSpec::new().image(ImageSpec::new("linux/riscv64").layer(os()).build()).build();
    let index = IndexSpec::new().image(oci).image_without_platform(docker.clone()).nested(&inner);
    for (name, graph, documents) in [
        ("legacy", index.clone().attest(Attestation::Legacy).build().graph(), 7),
        ("artifact", index.attest(Attestation::Artifact).build().graph(), 7),
        ("docker", docker.graph(), 1),
    ] {
        for kind in Kind::ALL {
            if kind == Kind::DockerArchive && name != "docker" {
                continue;
            }
            let id = format!("{name}-{kind:?}").to_lowercase();
            let target = kind.create(folder.path(), &server, &id);
            store(target.as_ref(), &graph, PutAs::Root).await.unwrap();
            target.finish().await.unwrap();
            let source = kind.reopen(folder.path(), &server, &id, &target);
            let report = check(&graph, source.as_ref()).await;
            assert_eq!(report.faults, [], "{id}");
            assert!(report.is_valid(), "{id}");
            assert_eq!(report.digest, Some(graph.root().digest()), "{id}");
            assert_eq!((report.documents, report.blobs), (documents, graph.blobs.len()), "{id}");
        }
    }
    server.stop().await;
}

/// The targets of hard links may be in any layer up to theirs, come later, or be behind a symbolic link; above a layer
/// that could not be read to its end, nothing is said.
#[tokio::test(flavor = "multi_thread")]
async fn hard_links_lead_into_lower_layers() {
    let lowest = LayerSpec::new().dir("usr").dir("usr/lib").file("usr/lib/x", "1").symlink("lib", "usr/lib");
    let links: &[(&str, &str, bool)] = &[
        ("a", "usr/lib/x", true),
        ("b", "./usr//lib/x", true),
        ("c", "lib/x", true),
        ("d", "a", true),
        ("e", "later", true),
        ("f", "lib", true),
        ("g", "usr/lib", false),
        ("h", "usr/lib/y", false),
        ("i", "above", false),
    ];
    let mut layer = LayerSpec::new();
    for (name, target, _) in links {
        layer = layer.hard_link(*name, *target);
    }
    let (layer, above) = (layer.file("later", "2").build(), LayerSpec::new().file("above", "3").build());
    let image = ImageSpec::new("linux/amd64")
        .layer(lowest.build())
        .layer(layer.clone())
        .layer(above.clone())
        .build()
        .graph();
    let report = check(&image, memory(&image).await.as_ref()).await;
    let expected: Vec<(Option<Digest>, String)> = links
        .iter()
        .filter(|(_, _, is_there)| !is_there)
        .map(|(name, target, _)| {
            (
                Some(layer.digest),
                format!("the hard link {name:?} leads to {target:?}, where no layer up to it has a file"),
            )
        })
        .collect();
    let found: Vec<_> = report.faults.into_iter().map(|fault| (fault.digest, fault.text)).collect();
    assert_eq!(found, expected);

    let cut = Layer::of_tar(above.tar.clone(), Compression::None, palan_layer::Level::DEFAULT);
    let cut = blob(cut.bytes.slice(..512), &cut);
    let image = ImageSpec::new("linux/amd64").layer(cut.clone()).layer(layer).build().graph();
    let report = check(&image, memory(&image).await.as_ref()).await;
    let about: HashSet<_> = report.faults.iter().map(|fault| fault.digest).collect();
    assert_eq!(about, HashSet::from([Some(cut.digest)]));
}

/// Faults that lie in the documents or in the content: what is built, and what must be said about which digest.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found() {
    use Severity::{Error, Warning};
    let (one, two) = (os(), layer(&[("app", b"1")]));
    let cut_gzip = blob(two.bytes.slice(..two.bytes.len() - 9), &two);
    let cut_tar = Layer::of_tar(two.tar.clone(), Compression::None, palan_layer::Level::DEFAULT);
    let cut_tar = blob(cut_tar.bytes.slice(..512), &cut_tar);
    let no_tar = Layer { compression: Compression::None, ..blob(vec![b'x'; 1024], &two) };
    let garbage = blob([&two.bytes[..], b"garbage"].concat(), &two);
    let unpacked = Layer { compression: Compression::Gzip, ..blob(two.tar.clone(), &two) };
    let as_zstd = two.clone().with_media_type(MediaType::OCI_LAYER_ZSTD);
    let docker = two.clone().with_media_type(MediaType::DOCKER_LAYER_GZIP);
    let foreign = two.clone().with_media_type(MediaType::OCI_FOREIGN_LAYER_GZIP);
    let with = |layer: &Layer| ImageSpec::new("linux/amd64").layer(one.clone()).layer(layer.clone());
    let good = spec().build();
    let resized = |delta: u64| {
        let mut layers = [&one, &two].map(|l| l.descriptor(Family::Oci));
        layers[1].size += delta;
        spec().manifest_field("/layers", json!(layers))
    };
    let diff_ids = |ids: &[Digest]| spec().config_field("/rootfs/diff_ids", json!(ids));
    let wrong_id = Digest::sha256(b"wrong");
    let config_of = |spec: &ImageSpec| spec.clone().build().config.digest();
    let manifest_of = |spec: &ImageSpec| spec.clone().build().digest();
    let (short_list, kind) = (diff_ids(&[one.diff_id]), spec().config_field("/rootfs/type", "squash"));
    let text_config = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(b"not JSON"), 8);
    let no_json = spec().manifest_field("/config", json!(text_config));
    let docker_config = Descriptor { media_type: MediaType::DOCKER_CONFIG, ..good.config.descriptor() };
    let mixed_config = spec().manifest_field("/config", json!(docker_config));
    let history = spec().config_field("/history", json!([{"created_by": "x"}]));
    let twice = LayerSpec::new().dir("a").dir("a").file("a/b", "1").file("./a/b", "2").build();
    let whiteout = LayerSpec::new().file("d/.wh.", "").file("x", "1").file(".wh...", "").build();
    let dangling = LayerSpec::new().file("a", "1").hard_link("b", "gone").build();
    let mut unknown = two.tar.to_vec();
    unknown[156] = b'Z';
    checksum(&mut unknown);
    let unknown = Layer::of_tar(unknown, Compression::Gzip, palan_layer::Level::DEFAULT);
    let hinted = |which: &str| match which {
        "name" => spec().annotation(annotation::BASE_NAME, "No Name").build().digest(),
        _ => spec().annotation(annotation::BASE_DIGEST, "none").build().digest(),
    };

    let cases: Vec<(&str, ImageSpec, Severity, Digest, &str)> = vec![
        ("size too big", resized(1), Error, two.digest, "bytes, its descriptor states"),
        ("diff ID", diff_ids(&[one.diff_id, wrong_id]), Error, two.digest, "the config states sha256:"),
        (
            "too few IDs",
            short_list.clone(),
            Error,
            manifest_of(&short_list),
            "layers: 2, diff IDs in its config: 1",
        ),
        ("rootfs type", kind.clone(), Error, config_of(&kind), "rootfs.type is \"squash\""),
        ("config", no_json, Error, text_config.digest, "the config: "),
        ("cut gzip", with(&cut_gzip), Error, cut_gzip.digest, "gzip"),
        ("cut tar", with(&cut_tar), Error, cut_tar.digest, "the tar archive is cut off at byte 512"),
        ("no tar", with(&no_tar), Error, no_tar.digest, "tar"),
        ("garbage", with(&garbage), Error, garbage.digest, "gzip"),
        (
            "not compressed",
            with(&unpacked),
            Error,
            unpacked.digest,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        ("not zstd", with(&as_zstd), Error, two.digest, "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("mixed layer", with(&docker), Error, two.digest, "in a manifest of the OCI family"),
        ("mixed config", mixed_config, Error, good.config.digest(), "in a manifest of the OCI family"),
        (
            "history",
            history.clone(),
            Warning,
            config_of(&history),
            "layers that the history describes: 1, layers: 2",
        ),
        ("foreign", with(&foreign), Warning, two.digest, "non-distributable layer that is not here"),
        ("two entries", with(&twice), Warning, twice.digest, "has two entries for \"a/b\""),
        (
            "whiteouts",
            with(&whiteout),
            Error,
            whiteout.digest,
            "tar entry \"d/.wh.\" at byte 0: a whiteout that hides no name",
        ),
        (
            "hard link",
            with(&dangling),
            Error,
            dangling.digest,
            "the hard link \"b\" leads to \"gone\", where no layer up to it has a file",
        ),
        ("unknown", with(&unknown), Warning, unknown.digest, "the entry \"app\" is of type 'Z'"),
        (
            "base name",
            spec().annotation(annotation::BASE_NAME, "No Name"),
            Warning,
            hinted("name"),
            "which is no reference",
        ),
        (
            "base digest",
            spec().annotation(annotation::BASE_DIGEST, "none"),
            Warning,
            hinted("digest"),
            "which is none",
        ),
    ];
    for (name, spec, severity, digest, text) in cases {
        let mut graph = spec.build().graph();
        graph.blobs.push((text_config.clone(), "not JSON".into()));
        if name == "foreign" {
            graph.blobs.retain(|(d, _)| d.digest != two.digest);
        }
        // The true size, for places that look for themselves.
        for (descriptor, bytes) in &mut graph.blobs {
            descriptor.size = bytes.len() as u64;
        }
        for source in [memory(&graph).await, Arc::new(Feed::of(&graph))] {
            let report = check(&graph, source.as_ref()).await;
            let found: Vec<_> = report.faults.iter().map(|f| (f.severity, f.digest)).collect();
            // There are two of them, or the archive is not the one that the config names either.
            let expected = if ["whiteouts", "cut tar", "no tar"].contains(&name) { 2 } else { 1 };
            assert_eq!(found, vec![(severity, Some(digest)); expected], "{name}: {:?}", report.faults);
            assert!(report.faults[0].text.contains(text), "{name}: {}", report.faults[0].text);
            assert_eq!(report.is_valid(), severity == Warning, "{name}");
        }
    }
}

/// The checksum of an archive's first header.
fn checksum(tar: &mut [u8]) {
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|b| u32::from(*b)).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder =
        palan_layer::Encoder::new(Vec::new(), Compression::Zstd, palan_layer::Level::DEFAULT).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// A damaged archive does not hide that it is not the one that the config names, nor a compression that is not the one
/// that the manifest names.
#[tokio::test(flavor = "multi_thread")]
async fn one_fault_of_a_layer_does_not_hide_another() {
    let good = layer(&[("a", b"1"), ("b", b"2")]);
    let mut tar = good.tar.to_vec();
    tar[1024 + 3] ^= 1;
    let (diff_id, bytes) = (Digest::sha256(&tar), zstd(&tar));
    let damaged = Layer { diff_id, ..blob(bytes, &good) }.with_media_type(MediaType::OCI_LAYER_GZIP);
    let wrong = Digest::sha256(b"wrong");
    let image = ImageSpec::new("linux/amd64").layer(damaged.clone());
    let graph = image.config_field("/rootfs/diff_ids", json!([wrong])).build().graph();
    let report = check(&graph, memory(&graph).await.as_ref()).await;
    let texts: Vec<_> = report.faults.iter().map(|f| (f.digest, f.text.as_str())).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    for text in [
        "bad tar header at byte 1024, after entry \"a\": ",
        "says compression gzip, the content has zstd",
        &format!("its uncompressed content has digest {}, the config states {wrong}", damaged.diff_id),
    ] {
        let tells = |(digest, told): &(_, &str)| *digest == Some(damaged.digest) && told.contains(text);
        assert!(texts.iter().any(tells), "{text}: {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_checked() {
    let image = spec().build();
    let about = |subject: Descriptor| {
        ImageSpec::new("linux/amd64").manifest_field("/subject", json!(subject)).build()
    };
    let plain = Descriptor::new(image.manifest.media_type().clone(), image.digest(), image.manifest.size());
    let (good, gone) =
        (about(plain.clone()), about(Descriptor { digest: Digest::sha256(b"gone"), ..plain.clone() }));
    let resized = about(Descriptor { size: 1, ..plain.clone() });
    let retyped = about(Descriptor { media_type: MediaType::OCI_INDEX, ..plain });
    let mut graph = image.graph();
    for other in [&good, &gone, &resized, &retyped] {
        let other = other.graph();
        graph.blobs.extend(other.blobs);
        graph.documents.extend(other.documents);
    }
    let source = memory(&graph).await;
    use Severity::{Error, Warning};
    for (name, referrer, expected) in [
        ("good", &good, None),
        ("gone", &gone, Some((Warning, "is not here"))),
        (
            "resized",
            &resized,
            Some((Error, "bytes, it states type application/vnd.oci.image.manifest.v1+json and 1 bytes")),
        ),
        ("retyped", &retyped, Some((Error, "it states type application/vnd.oci.image.index.v1+json and"))),
    ] {
        let report = check_with(source.as_ref(), referrer.digest(), &Options::default()).await;
        let found: Vec<_> = report.faults.iter().map(|f| (f.severity, f.digest)).collect();
        let wanted: Vec<_> =
            expected.iter().map(|(severity, _)| (*severity, Some(referrer.digest()))).collect();
        assert_eq!(found, wanted, "{name}: {:?}", report.faults);
        assert!(expected.is_none_or(|(_, text)| report.faults[0].text.contains(text)), "{:?}", report.faults);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_not_what_they_should_be_are_found() {
    let image = spec().build();
    let graph = image.graph();
    for (victim, _) in &graph.blobs {
        for (fault, text) in [
            (Fault::Flipped, "the content has digest"),
            (Fault::Short, "bytes, its descriptor states"),
            (Fault::Long, "is longer than the"),
            (Fault::Missing, "was not found in feed"),
        ] {
            let mut feed = Feed::of(&graph);
            feed.fault(victim.digest, Some(fault));
            let report = check(&graph, &feed).await;
            assert_eq!(report.faults.len(), 1, "{fault:?}: {:?}", report.faults);
            assert_eq!(report.faults[0].digest, Some(victim.digest), "{fault:?}");
            assert!(report.faults[0].text.contains(text), "{fault:?}: {}", report.faults[0].text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_indexes_are_found() {
    let image = |platform: &str| ImageSpec::new(platform).layer(os()).build();
    let amd64 = image("linux/amd64");
    let mistaken = Descriptor { platform: image("linux/arm64").descriptor().platform, ..amd64.descriptor() };
    let resized = Descriptor { size: 1, ..amd64.descriptor() };
    let retyped = Descriptor { media_type: MediaType::OCI_INDEX, ..amd64.descriptor() };
    let about_none = Attestation::Artifact.about(&image("linux/s390x"));
    let attestation = Graph { blobs: about_none.blobs.clone(), documents: vec![about_none.manifest.clone()] };
    let entry = serde_json::to_value(&about_none.descriptor).unwrap();
    let gone = serde_json::to_value(image("linux/arm/v7").descriptor()).unwrap();
    let other = Document::from_value(&json!({"a": 1}), MediaType::new("application/json")).unwrap();

    let arm = image("linux/arm/v7");
    let variant = Descriptor { platform: image("linux/arm/v6").descriptor().platform, ..arm.descriptor() };
    let windows = ImageSpec::new("windows/amd64").layer(os()).config_field("/os.version", "10.0.2").build();
    let version = Platform { os_version: Some("10.0.1".into()), ..Platform::new("windows", "amd64") };
    let version = Descriptor { platform: Some(version), ..windows.descriptor() };

    let cases: Vec<(&str, IndexSpec, Digest, &str)> = vec![
        (
            "variant",
            IndexSpec::new().image_as(arm.clone(), variant),
            arm.digest(),
            "is for linux/arm/v7, the index states linux/arm/v6",
        ),
        (
            "version",
            IndexSpec::new().image_as(windows.clone(), version),
            windows.digest(),
            "is for version 10.0.2 of its system, the index states 10.0.1",
        ),
        (
            "platform",
            IndexSpec::new().image_as(amd64.clone(), mistaken),
            amd64.digest(),
            "is for linux/amd64, the index states linux/arm64",
        ),
        ("size", IndexSpec::new().image_as(amd64.clone(), resized), amd64.digest(), "the index states 1"),
        ("type", IndexSpec::new().image_as(amd64.clone(), retyped), amd64.digest(), "the index states appl"),
        (
            "dangling attestation",
            IndexSpec::new().image(amd64.clone()).entry(entry, &attestation),
            about_none.manifest.digest(),
            "which the index does not list",
        ),
        (
            "missing child",
            IndexSpec::new().image(amd64.clone()).entry(gone, &Graph::default()),
            image("linux/arm/v7").digest(),
            "was not found in",
        ),
    ];
    for (name, spec, digest, text) in cases {
        let graph = spec.build().graph();
        let report = check(&graph, memory(&graph).await.as_ref()).await;
        assert!(
            matches!(report.faults.as_slice(), [f] if f.digest == Some(digest) && f.text.contains(text)),
            "{name}: {:?}",
            report.faults
        );
        assert!(!report.is_valid());
    }
    let graph = Graph { blobs: Vec::new(), documents: vec![other] };
    let report = check(&graph, memory(&graph).await.as_ref()).await;
    assert!(report.faults[0].text.contains("is neither a manifest nor an index"), "{:?}", report.faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_may_stand_in_another_index_than_its_image() {
    let image = ImageSpec::new("linux/amd64").layer(os()).build();
    let about = Attestation::Artifact.about(&image);
    let attestation = Graph { blobs: about.blobs.clone(), documents: vec![about.manifest.clone()] };
    let entry = serde_json::to_value(&about.descriptor).unwrap();
    let inner = IndexSpec::new().image(image).build();
    // Before the index that the image is in.
    let graph = IndexSpec::new().entry(entry, &attestation).nested(&inner).build().graph();
    let report = check(&graph, memory(&graph).await.as_ref()).await;
    assert_eq!(report.faults, [], "{:?}", report.faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_are_listed_worst_first() {
    let wrong =
        ImageSpec::new("linux/amd64").layer(os()).config_field("/rootfs/diff_ids", json!([os().digest]));
    let odd = ImageSpec::new("linux/arm64").layer(os()).config_field("/history", json!([{}, {}, {}]));
    let lost = ImageSpec::new("linux/s390x").layer(layer(&[("lost", b"")])).build();
    let index = IndexSpec::new().image(odd.build()).image(wrong.build()).image(lost.clone()).build();
    let mut graph = index.graph();
    graph.blobs.retain(|(d, _)| d.digest != lost.layers[0].digest);
    let source = memory(&graph).await;
    let report = check(&graph, source.as_ref()).await;
    let severities: Vec<_> = report.faults.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Error, Severity::Warning], "{:?}", report.faults);
    // One platform alone: only its faults.
    let platform: PlatformPattern = "linux/arm64".parse().unwrap();
    let options = Options { platform: Some(platform), ..Options::default() };
    let report = check_with(source.as_ref(), graph.root().digest(), &options).await;
    assert!(report.is_valid() && report.faults.len() == 1, "{:?}", report.faults);
    // Fast: only what is not there.
    let options = Options { fast: true, ..Options::default() };
    let report = check_with(source.as_ref(), graph.root().digest(), &options).await;
    let errors: Vec<_> = report.faults.iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(matches!(errors.as_slice(), [f] if f.text == "is missing"), "{:?}", report.faults);
}

/// A layer of two images that disagree about its diff ID and its media type, too.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_exactly_once() {
    let shared = os();
    let image = |platform: &str| ImageSpec::new(platform).layer(shared.clone()).layer(shared.clone());
    let retyped = shared.clone().with_media_type(MediaType::OCI_LAYER);
    let odd =
        ImageSpec::new("linux/s390x").layer(retyped).config_field("/rootfs/diff_ids", json!([shared.digest]));
    let index = IndexSpec::new()
        .image(image("linux/amd64").build())
        .image(image("linux/arm64").build())
        .image(odd.build())
        .attest(Attestation::Artifact)
        .build();
    let graph = index.graph();
    let recorder = Recorder::new(memory(&graph).await);
    let heard = Arc::new(AtomicU64::new(0));
    let hear = Arc::clone(&heard);
    let observer = Observer::new(move |event| {
        if let Event::BlobProgress { bytes, .. } = event {
            hear.fetch_add(*bytes, SeqCst);
        }
    });
    let options = Options { observer, ..Options::default() };
    let report = check_with(recorder.as_ref(), graph.root().digest(), &options).await;
    let mut opened: HashMap<Digest, usize> = HashMap::new();
    for call in recorder.calls() {
        if let Call::Open(digest) = call {
            *opened.entry(digest).or_default() += 1;
        }
    }
    for (blob, _) in &graph.blobs {
        assert_eq!(opened.get(&blob.digest), Some(&1), "{}", blob.digest);
    }
    let texts: Vec<_> = report.faults.iter().map(|f| f.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts.iter().any(|t| t.contains("the config states")), "{texts:?}");
    assert!(texts.iter().any(|t| t.contains(MediaType::OCI_LAYER.as_str())), "{texts:?}");
    let configs: Vec<Digest> = index.images.iter().map(|i: &Image| i.config.digest()).collect();
    let read = graph.blobs.iter().filter(|(d, _)| !configs.contains(&d.digest)).map(|(d, _)| d.size);
    assert_eq!(heard.load(SeqCst), read.sum::<u64>(), "every byte is told, but configs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_that_rotted_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let graph = spec().build().graph();
    let layout = Layout::create(folder.path().join("l")).unwrap();
    store(&layout, &graph, PutAs::Tag("v1".into())).await.unwrap();
    let victim = graph.blobs[0].0.clone();
    let path = layout.blob_path(victim.digest);
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let tag = Selector::Tag("v1".into());
    for (content, text) in [
        (Some(bad.as_slice()), "the content has digest"),
        (Some(&good[..10]), "has 10 bytes, its descriptor states"),
        (Some(&[&good[..], b"x"].concat()), "is longer than"),
        (None, "was not found in oci:"),
    ] {
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let report = validate(&layout, &tag, &Options::default()).await.unwrap();
        let matches = |f: &palan::validate::Fault| f.digest == Some(victim.digest) && f.text.contains(text);
        assert!(matches!(report.faults.as_slice(), [f] if matches(f)), "{text}: {:?}", report.faults);
    }
    // The manifest itself.
    std::fs::write(layout.blob_path(graph.root().digest()), "{}").unwrap();
    let report = validate(&layout, &tag, &Options::default()).await.unwrap();
    assert!(report.digest.is_none() && report.faults[0].text.contains("is damaged"), "{:?}", report.faults);
    let report = validate(&layout, &Selector::Tag("v2".into()), &Options::default()).await.unwrap();
    assert!(report.faults[0].text.starts_with("v2 was not found in oci:"), "{:?}", report.faults);
}

/// A place that notes what it is asked for, whose list of referrers is wrong or missing, and that cannot read everything.
struct Place {
    inner: Arc<dyn Source>,
    about: Digest,
    listed: Option<Vec<Descriptor>>,
    fails: HashMap<Digest, fn() -> Error>,
    asked: Mutex<Vec<Digest>>,
}

impl Place {
    async fn of(graph: &Graph) -> Self {
        let (about, inner) = (graph.root().digest(), memory(graph).await);
        Self { inner, about, listed: Some(Vec::new()), fails: HashMap::new(), asked: Mutex::default() }
    }

    fn ask(&self, digest: Digest) -> Result<(), Error> {
        self.asked.lock().unwrap().push(digest);
        self.fails.get(&digest).map_or(Ok(()), |fail| Err(fail()))
    }

    /// What was asked for more than once.
    fn twice(&self) -> Vec<Digest> {
        let (asked, mut seen) = (self.asked.lock().unwrap(), HashSet::new());
        asked.iter().copied().filter(|digest| !seen.insert(*digest)).collect()
    }
}

#[async_trait::async_trait]
impl Source for Place {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.inner.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        match selector {
            Selector::Digest(digest) => self.ask(*digest)?,
            Selector::Tag(_) => {}
        }
        self.inner.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.ask(blob.digest)?;
        self.inner.open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.inner.has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.inner.tags().await
    }

    async fn referrers(&self, digest: Digest, _: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        match &self.listed {
            Some(listed) if digest == self.about => Ok(listed.clone()),
            Some(_) => Ok(Vec::new()),
            None => Err(Error::Unsupported("listing".into())),
        }
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.inner.origin(digest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_referrers_are_checked() {
    use Severity::{Error, Warning};
    let (image, other) = (spec().build(), ImageSpec::new("linux/arm64").layer(os()).build());
    let subject = |of: &Image| json!(of.manifest.descriptor());
    let about = |of: &Image| ImageSpec::new("linux/amd64").manifest_field("/subject", subject(of)).build();
    let (good, stray) = (about(&image), about(&other));
    let mut graph = image.graph();
    for more in [&other, &good, &stray] {
        let more = more.graph();
        graph.blobs.extend(more.blobs);
        graph.documents.extend(more.documents);
    }
    let entry = |image: &Image| image.manifest.descriptor();
    let gone = Descriptor { digest: Digest::sha256(b"gone"), ..entry(&good) };
    let resized = Descriptor { size: 1, ..entry(&good) };
    let strays = format!("is listed as a referrer of {}, its subject is {}", image.digest(), other.digest());
    let cases = [
        (Some(vec![entry(&good)]), None),
        (Some(vec![entry(&stray)]), Some((Error, stray.digest(), strays.as_str()))),
        (Some(vec![entry(&other)]), Some((Error, other.digest(), "it has no subject"))),
        (Some(vec![gone.clone()]), Some((Error, gone.digest, "was not found in"))),
        (Some(vec![resized]), Some((Error, good.digest(), "the list of referrers states 1"))),
        (None, Some((Warning, image.digest(), "its referrers cannot be listed: not supported yet: listing"))),
    ];
    for (listed, expected) in cases {
        let source = Place { about: image.digest(), listed, ..Place::of(&graph).await };
        let report = check_with(&source, image.digest(), &Options::default()).await;
        let found: Vec<_> = report.faults.iter().map(|f| (f.severity, f.digest)).collect();
        let wanted: Vec<_> =
            expected.iter().map(|(severity, digest, _)| (*severity, Some(*digest))).collect();
        assert_eq!(found, wanted, "{:?}", report.faults);
        assert!(
            expected.is_none_or(|(.., text)| report.faults[0].text.contains(text)),
            "{:?}",
            report.faults
        );
    }
}

fn cut(layer: &Layer) -> Layer {
    blob(layer.bytes.slice(..layer.bytes.len() - 9), layer)
}

fn digests(report: &Report) -> HashSet<Option<Digest>> {
    report.faults.iter().map(|fault| fault.digest).collect()
}

/// One layer is cut, one is missing: that is told, too.
#[tokio::test(flavor = "multi_thread")]
async fn layers_are_checked_whatever_the_config_is() {
    let (bad, lost) = (cut(&layer(&[("a", b"1")])), layer(&[("lost", b"1")]));
    let ids = |ids: &str| {
        format!(r#"{{"os":"x","architecture":"y","rootfs":{{"type":"layers","diff_ids":{ids}}}}}"#)
    };
    for (name, content, size) in [
        ("missing", None, 7),
        ("no JSON", Some("not JSON".to_owned()), 8),
        ("null", Some("null".to_owned()), 4),
        ("size", Some("{}".to_owned()), 3),
        ("no rootfs", Some("{}".to_owned()), 2),
        ("ID", Some(ids(r#"["sha256:zz"]"#)), ids(r#"["sha256:zz"]"#).len() as u64),
        ("null ID", Some(ids("[null]")), ids("[null]").len() as u64),
        ("IDs", Some(ids("null")), ids("null").len() as u64),
    ] {
        let digest = Digest::sha256(content.as_deref().unwrap_or_default().as_bytes());
        let config = Descriptor::new(MediaType::OCI_CONFIG, digest, size);
        let image = ImageSpec::new("linux/amd64").layer(os()).layer(bad.clone()).layer(lost.clone());
        let image = image.manifest_field("/config", json!(config)).build();
        let mut graph = image.graph();
        graph.blobs.retain(|(d, _)| ![lost.digest, image.config.digest()].contains(&d.digest));
        if let Some(content) = content {
            let config = Descriptor { size: content.len() as u64, ..config };
            graph.blobs.push((config, content.into()));
        }
        let report = check(&graph, memory(&graph).await.as_ref()).await;
        // One that can be used but for its missing IDs contradicts the manifest.
        let about = if name == "IDs" { image.digest() } else { digest };
        let expected = HashSet::from([about, bad.digest, lost.digest].map(Some));
        assert_eq!((digests(&report), report.faults.len()), (expected, 3), "{name}: {:?}", report.faults);
        let options = Options { platform: Some("linux/s390x".parse().unwrap()), ..Options::default() };
        let report = check_with(memory(&graph).await.as_ref(), image.digest(), &options).await;
        assert_eq!(
            report.faults.len(),
            if name == "IDs" { 4 } else { 3 },
            "{name}: its platform is not known"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_cannot_be_read_hides_no_fault_of_the_others() {
    let (first, bad) = (layer(&[("first", b"1")]), cut(&layer(&[("a", b"1")])));
    let image = ImageSpec::new("linux/amd64").layer(first.clone()).layer(bad.clone()).build();
    let (other, more) = (cut(&layer(&[("b", b"1")])), ImageSpec::new("linux/s390x").layer(os()).build());
    let arm = ImageSpec::new("linux/arm64").layer(other.clone()).build();
    let graph = IndexSpec::new().images([more.clone(), image, arm.clone()]).build().graph();
    for fast in [false, true] {
        let mut place = Place::of(&graph).await;
        for digest in [first.digest, more.digest(), arm.config.digest()] {
            place.fails.insert(digest, || Error::Unsupported("reading".into()));
        }
        let options = Options { fast, ..Options::default() };
        let report = check_with(&place, graph.root().digest(), &options).await;
        let mut expected = HashSet::from([more.digest(), arm.config.digest()].map(Some));
        if !fast {
            expected.extend([first.digest, bad.digest, other.digest].map(Some));
        }
        assert_eq!(digests(&report), expected, "{:?}", report.faults);
        let text = "cannot be read: not supported yet: reading";
        let told = report.faults.iter().filter(|fault| fault.text.ends_with(text)).count();
        assert_eq!(told, if fast { 2 } else { 3 }, "{:?}", report.faults);
    }
    // But for the root, and where nobody waits any more.
    for (digest, fail) in [
        (graph.root().digest(), (|| Error::Unsupported("reading".into())) as fn() -> Error),
        (first.digest, || Error::Cancelled),
        (more.digest(), || Error::Cancelled),
        (arm.config.digest(), || Error::Cancelled),
    ] {
        let mut place = Place::of(&graph).await;
        place.fails.insert(digest, fail);
        let failed = validate(&place, &graph.root().digest().into(), &Options::default()).await;
        assert_eq!(failed.unwrap_err().to_string(), fail().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_entry_states_is_checked() {
    let amd64 = ImageSpec::new("linux/amd64").layer(os()).build();
    let (good, size) = (amd64.descriptor(), amd64.manifest.size());
    let entries = [
        good.clone(),
        Descriptor { size: 77, ..good.clone() },
        good.clone(),
        Descriptor { platform: Some(Platform::new("linux", "arm64")), ..good.clone() },
        Descriptor { size: 77, ..good.clone() },
    ];
    let index = entries.iter().fold(IndexSpec::new(), |index, entry| {
        index.entry(serde_json::to_value(entry).unwrap(), &amd64.graph())
    });
    let graph = index.build().graph();
    let place = Place::of(&graph).await;
    let report = check(&graph, &place).await;
    let texts: Vec<_> = report.faults.iter().map(|fault| fault.text.clone()).collect();
    assert_eq!(
        texts,
        [
            format!("has {size} bytes, the index states 77"),
            "is for linux/amd64, the index states linux/arm64".to_owned()
        ]
    );
    assert_eq!((report.documents, place.twice()), (2, Vec::new()));
}

/// Images that share a config, and a subject that is not in the index; a list of referrers that repeats itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_several_documents_share_is_read_once() {
    let (subject, config) = (ImageSpec::new("linux/arm64").layer(os()).build(), b"{}");
    let broken = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(config), config.len() as u64);
    let image = |n: usize| {
        let image = ImageSpec::new("linux/amd64").layer(os()).annotation("n", n.to_string());
        image.manifest_field("/subject", json!(subject.manifest.descriptor()))
    };
    let images = (0..4).map(|n| image(n).build());
    let unusable = (4..8).map(|n| image(n).manifest_field("/config", json!(broken)).build());
    let mut graph = IndexSpec::new().images(images).images(unusable).build().graph();
    let (root, referrer) =
        (graph.root().clone(), image(9).manifest_field("/subject", json!(graph.root().descriptor())));
    let referrer = referrer.build();
    graph.blobs.push((broken.clone(), Bytes::from_static(config)));
    let mut all = subject.graph();
    all.extend(&referrer.graph());
    all.extend(&graph);
    let listed = vec![referrer.manifest.descriptor(); 3];
    let place = Place { about: root.digest(), listed: Some(listed), ..Place::of(&all).await };
    let report = check_with(&place, root.digest(), &Options::default()).await;
    assert_eq!(place.twice(), []);
    assert_eq!(digests(&report), HashSet::from([Some(broken.digest)]), "{:?}", report.faults);
    assert_eq!((report.faults.len(), report.documents), (1, 10), "{:?}", report.faults);
}

/// A layer that is listed again and again counts once, and lists that are cut tell by how much.
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_cut_say_so() {
    let mut odd = LayerSpec::new();
    for n in 0..103 {
        odd = odd.hard_link(format!("l{n}"), format!("gone{n}")).file(format!("d{n}/.wh."), "");
    }
    let odd = odd.file("first", "").file("first", "").file("first", "").build();
    let image = ImageSpec::new("linux/amd64").layers(vec![odd.clone(); 300]);
    let graph = image.build().graph();
    let report = check(&graph, memory(&graph).await.as_ref()).await;
    let texts: Vec<_> = report.faults.iter().map(|fault| fault.text.as_str()).collect();
    let told = |text: &str| texts.iter().filter(|told| told.contains(text)).count();
    assert_eq!(texts.len(), 204, "{texts:?}");
    assert_eq!((told("a whiteout that hides no name"), told("where no layer up to it")), (100, 100));
    for text in [
        "more entries that no layer may have: 3",
        "more hard links that lead nowhere: 3",
        "has two entries for \"first\"",
        "more entries of paths that have one already: 1",
    ] {
        assert_eq!(told(text), 1, "{text}: {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_documents_must_state_is_looked_for() {
    use Severity::{Error, Warning};
    let spec = || ImageSpec::new("linux/amd64").layer(os());
    let empty = Document::from_value(&json!({"schemaVersion": 2}), MediaType::OCI_INDEX).unwrap();
    for (graph, severity, text) in [
        (
            spec().manifest_field("/schemaVersion", 1).build().graph(),
            Error,
            "states a schemaVersion that is not 2",
        ),
        (
            spec().manifest_field("/schemaVersion", json!(null)).build().graph(),
            Warning,
            "states no schemaVersion, it must be 2",
        ),
        (spec().config_field("/os", "").build().graph(), Warning, "the config: it states no os"),
        (
            spec().config_field("/architecture", "").build().graph(),
            Warning,
            "the config: it states no architecture",
        ),
        (
            Graph { blobs: Vec::new(), documents: vec![empty] },
            Warning,
            "is an index without a list of manifests",
        ),
    ] {
        let report = check(&graph, memory(&graph).await.as_ref()).await;
        let found: Vec<_> = report.faults.iter().map(|f| (f.severity, f.text.as_str())).collect();
        assert_eq!(found, [(severity, text)]);
    }
}
