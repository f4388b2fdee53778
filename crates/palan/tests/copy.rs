//! Graph copy between all places: identical digests, everything exactly once, in an order that registries accept.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use common::{
    Kind, assert_holds, chain, copy, memory,
    recorder::{Call, Recorder},
    server, store,
};
use palan::{
    Error, Event, Observer, Transfer,
    copy::{Options, Summary},
    place::{Memory, PutAs, Source, Target},
};
use palan_core::{Compression, Digest, Family, Kind as DocumentKind, MediaType, Selector, view};
use palan_testkit::{
    conformance::place::{Fault, Feed},
    image::{Attestation, Graph, Image, ImageSpec, Index, IndexSpec, LayerSpec, layer},
};

fn tag(text: &str) -> PutAs {
    PutAs::Tag(text.into())
}

fn image(platform: &str) -> Image {
    let base = ImageSpec::new(platform).layer(layer(&[("etc/os-release", b"ID=x")])).build();
    let zstd = LayerSpec::new().noise("data", 1, 300_000).compression(Compression::Zstd).build();
    ImageSpec::new(platform).on(&base).layer(zstd).layer(layer(&[("arch", platform.as_bytes())])).build()
}

/// Two images that share layers, attestations, and an index inside.
fn index() -> Index {
    let inner = IndexSpec::new().image(image("linux/riscv64")).build();
    IndexSpec::new()
        .image(image("linux/amd64"))
        .image(image("linux/arm64"))
        .nested(&inner)
        .attest(Attestation::Artifact)
        .build()
}

/// Blobs by name, as `put_blob` was called.
fn blobs(calls: &[Call]) -> Vec<Digest> {
    calls.iter().filter_map(|c| if let Call::Blob(d) = c { Some(*d) } else { None }).collect()
}

fn documents(calls: &[Call]) -> Vec<Digest> {
    calls.iter().filter_map(|c| if let Call::Document(d, _) = c { Some(*d) } else { None }).collect()
}

fn sorted(digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
    let mut digests: Vec<_> = digests.into_iter().collect();
    digests.sort();
    digests
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_to_every_place() {
    let (folder, from_server, to_server) = (tempfile::tempdir().unwrap(), server().await, server().await);
    let single = ImageSpec::new("linux/amd64").family(Family::Docker).layer(layer(&[("a", b"b")])).build();
    for (graph, name) in [(single.graph(), "single"), (index().graph(), "index")] {
        let kinds = Kind::ALL.into_iter().filter(|k| name == "single" || *k != Kind::DockerArchive);
        let kinds: Vec<Kind> = kinds.collect();
        for from in &kinds {
            let id = format!("{name}-{}-source", format!("{from:?}").to_lowercase());
            let filled = from.create(folder.path(), &from_server, &id);
            store(filled.as_ref(), &graph, tag("example.com/a/b:v1").for_kind(*from)).await.unwrap();
            filled.finish().await.unwrap();
            let source = from.reopen(folder.path(), &from_server, &id, &filled);
            for to in &kinds {
                let id = format!("{name}-{from:?}-{to:?}").to_lowercase();
                let target = to.create(folder.path(), &to_server, &id);
                let role = tag("example.com/a/b:v1").for_kind(*to);
                let selector = Selector::Tag(role.tag().unwrap().to_owned());
                let summary = copy(&source, &target, graph.root(), role).await;
                let summary = summary.unwrap_or_else(|e| panic!("{id}: {}", chain(&e)));
                target.finish().await.unwrap();
                let result = to.reopen(folder.path(), &to_server, &id, &target);
                assert_eq!(result.resolve(&selector).await.unwrap(), graph.root().descriptor(), "{id}");
                assert_holds(result.as_ref(), &graph).await;
                assert_eq!(summary.blobs_moved as usize, graph.blobs.len(), "{id}");
                assert_eq!(summary.documents as usize, graph.documents.len(), "{id}");
                let bytes: u64 = graph.blobs.iter().map(|(d, _)| d.size).sum();
                assert_eq!(summary.bytes_moved, bytes, "{id}");
            }
        }
    }
    from_server.stop().await;
    to_server.stop().await;
}

trait ForKind {
    fn for_kind(self, kind: Kind) -> Self;
}

impl ForKind for PutAs {
    /// Only docker archives have full names as tags.
    fn for_kind(self, kind: Kind) -> Self {
        if kind == Kind::DockerArchive { self } else { Self::Tag("v1".into()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_exactly_once_and_in_order() {
    let index = index();
    let graph = index.graph();
    let source = memory(&graph).await;
    let recorder = Recorder::new(Arc::new(Memory::new()));
    let target: Arc<dyn Target> = recorder.clone();
    let options = Options { jobs: 3, ..Options::default() };
    let summary = palan::copy::copy(&source, &target, vec![(graph.root().clone(), tag("v1"))], &options);
    let summary = summary.await.unwrap();

    let calls = recorder.calls();
    assert_eq!(sorted(blobs(&calls)), sorted(graph.blobs.iter().map(|(d, _)| d.digest)));
    assert_eq!(sorted(documents(&calls)), sorted(graph.documents.iter().map(palan_core::Document::digest)));
    assert_eq!(summary.documents as usize, graph.documents.len());
    assert!(recorder.most_at_once() <= 3, "{} at once, 3 allowed", recorder.most_at_once());
    assert!(recorder.most_at_once() > 1, "one after the other");
    assert_eq!(calls.last(), Some(&Call::Document(index.digest(), tag("v1"))), "the tag comes last");

    let order: HashMap<Digest, usize> = calls
        .iter()
        .enumerate()
        .filter_map(|(i, call)| match call {
            Call::Blob(digest) | Call::Document(digest, _) => Some((*digest, i)),
            _ => None,
        })
        .collect();
    for document in &graph.documents {
        let own = order[&document.digest()];
        let named = match document.kind() {
            DocumentKind::Index => document.view::<view::Index>().unwrap().manifests,
            _ => {
                let manifest: view::Manifest = document.view().unwrap();
                // The subject, where there is one, must be there before, too.
                manifest.layers.into_iter().chain([manifest.config]).chain(manifest.subject).collect()
            }
        };
        assert!(named.iter().all(|d| order[&d.digest] < own), "{} before what it names", document.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_share_content_share_the_work() {
    let index = index();
    let mut graph = index.graph();
    let amd64 = index.image("linux/amd64").unwrap().manifest.clone();
    graph.extend(&index.graph());
    let source = memory(&graph).await;
    let recorder = Recorder::new(Arc::new(Memory::new()));
    let target: Arc<dyn Target> = recorder.clone();
    let roots = vec![
        (index.document.clone(), tag("v1")),
        (index.document.clone(), tag("latest")),
        (amd64.clone(), tag("amd64")),
    ];
    palan::copy::copy(&source, &target, roots, &Options::default()).await.unwrap();
    let calls = recorder.calls();
    assert_eq!(sorted(blobs(&calls)), sorted(graph.blobs.iter().map(|(d, _)| d.digest)));
    let puts = documents(&calls).into_iter().filter(|d| *d == index.digest()).count();
    assert_eq!(puts, 2, "once for each tag");
    for (name, digest) in [("v1", index.digest()), ("latest", index.digest()), ("amd64", amd64.digest())] {
        let found = target.resolve(&Selector::Tag(name.into())).await.unwrap();
        assert_eq!(found.digest, digest, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_moves_nothing() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let graph = index().graph();
    let source = memory(&graph).await;
    for kind in [Kind::Memory, Kind::Layout, Kind::Registry] {
        let target = kind.create(folder.path(), &server, "target");
        copy(&source, &target, graph.root(), tag("v1")).await.unwrap();
        let recorder = Recorder::new(Arc::clone(&target));
        let again: Arc<dyn Target> = recorder.clone();
        let before = server.registry().stats();
        let summary = copy(&source, &again, graph.root(), tag("v1")).await.unwrap();
        assert_eq!((summary.blobs_moved, summary.bytes_moved), (0, 0), "{kind:?}: {summary:?}");
        assert_eq!(blobs(&recorder.calls()), [], "{kind:?}");
        let moved = server.registry().stats().since(&before);
        assert_eq!((moved.blob_bytes_in, moved.blob_bytes_out), (0, 0), "{kind:?}");
        if kind == Kind::Registry {
            assert_eq!(recorder.calls(), [Call::Document(graph.root().digest(), tag("v1"))]);
            assert_eq!(moved.requests, 2, "one look, one tag: {moved:?}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_one_registry_no_bytes_move() {
    let server = server().await;
    let graph = index().graph();
    let from = common::repository(&server, "from");
    store(from.as_ref(), &graph, tag("v1")).await.unwrap();
    let before = server.registry().stats();
    let source: Arc<dyn Source> = from;
    let target: Arc<dyn Target> = common::repository(&server, "to");
    let summary = copy(&source, &target, graph.root(), tag("v1")).await.unwrap();
    let moved = server.registry().stats().since(&before);
    assert_eq!((moved.blob_bytes_in, moved.blob_bytes_out), (0, 0));
    assert_eq!(moved.mounted as usize, graph.blobs.len());
    let blobs = graph.blobs.len() as u64;
    let documents = graph.documents.len() as u64;
    assert_eq!(summary, Summary { blobs_adopted: blobs, documents, ..Summary::default() });
    assert_holds(target.as_ref(), &graph).await;

    // In the same repository there is nothing to do but the tag.
    let before = server.registry().stats();
    let home: Arc<dyn Target> = common::repository(&server, "from");
    copy(&source, &home, graph.root(), tag("v2")).await.unwrap();
    assert_eq!(server.registry().stats().since(&before).requests, 1);
    server.stop().await;
}

fn with_foreign_layer() -> (Graph, Digest) {
    let foreign = layer(&[("windows", b"base")]).with_media_type(MediaType::OCI_FOREIGN_LAYER_GZIP);
    let digest = foreign.digest;
    let image = ImageSpec::new("windows/amd64").layer(foreign).layer(layer(&[("app", b"1")])).build();
    (image.graph(), digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_layers_are_left_out_or_carried() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let (graph, foreign) = with_foreign_layer();
    let source = memory(&graph).await;
    let descriptor = graph.blobs.iter().find(|(d, _)| d.digest == foreign).unwrap().0.clone();
    for kind in [Kind::Memory, Kind::Layout, Kind::OciArchive, Kind::Registry] {
        let target = kind.create(folder.path(), &server, &format!("{kind:?}").to_lowercase());
        let summary = copy(&source, &target, graph.root(), tag("v1")).await.unwrap();
        assert_eq!((summary.blobs_skipped, summary.blobs_moved), (1, 2), "{kind:?}");
        assert!(!target.has(&descriptor).await.unwrap(), "{kind:?}");
        // Later with them: the document being there does not mean that they are.
        let options = Options { foreign: palan::copy::Foreign::Copy, ..Options::default() };
        let roots = vec![(graph.root().clone(), tag("v1"))];
        let summary = palan::copy::copy(&source, &target, roots, &options).await.unwrap();
        assert_eq!((summary.blobs_skipped, summary.blobs_moved), (0, 1), "{kind:?}");
        target.finish().await.unwrap();
        assert!(target.has(&descriptor).await.unwrap(), "{kind:?}");
    }
    server.stop().await;
}

/// For every way a blob can be wrong and every place: an error that names the blob, no tag, no file.
#[tokio::test(flavor = "multi_thread")]
async fn errors_in_the_middle_leave_no_tag_and_no_file() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let graph = image("linux/amd64").graph();
    for fault in [Fault::Flipped, Fault::Short, Fault::Broken, Fault::Missing] {
        for (position, (victim, _)) in graph.blobs.iter().enumerate() {
            for kind in Kind::ALL {
                let mut feed = Feed::of(&graph);
                feed.fault(victim.digest, Some(fault));
                let source: Arc<dyn Source> = Arc::new(feed);
                let name = format!("{kind:?}-{fault:?}-{position}").to_lowercase();
                let target = kind.create(folder.path(), &server, &name);
                let role = tag("example.com/a:v1").for_kind(kind);
                let selector = Selector::Tag(role.tag().unwrap().into());
                let error = copy(&source, &target, graph.root(), role).await.unwrap_err();
                let text = chain(&error);
                if fault == Fault::Missing {
                    assert!(matches!(error, Error::NotFound { .. }), "{name}: {text}");
                    assert!(text.contains("feed"), "{name} does not name the place: {text}");
                }
                if fault != Fault::Broken {
                    assert!(text.contains(&victim.digest.to_string()), "{name} does not name it: {text}");
                }
                let found = target.resolve(&selector).await.unwrap_err();
                assert!(found.is_not_found(), "{name}: {}", chain(&found));
                drop(target);
                if matches!(kind, Kind::OciArchive | Kind::DockerArchive) {
                    assert!(!folder.path().join(&name).exists(), "{name} is there");
                }
            }
        }
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    let left: Vec<_> = left.iter().filter(|n| n.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "temporary files stay behind: {left:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    std::fs::write(&path, "precious").unwrap();
    let graph = image("linux/amd64").graph();
    let mut feed = Feed::of(&graph);
    feed.fault(graph.blobs[1].0.digest, Some(Fault::Broken));
    let source: Arc<dyn Source> = Arc::new(feed);
    let writer = palan::place::ArchiveWriter::create(&path, palan::place::Format::Oci).unwrap();
    let target: Arc<dyn Target> = Arc::new(writer);
    copy(&source, &target, graph.root(), tag("v1")).await.unwrap_err();
    // Tasks that were aborted end when they are next looked at.
    while Arc::strong_count(&target) > 1 {
        tokio::task::yield_now().await;
    }
    drop(target);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_child_is_named() {
    let index = index();
    let child = index.images[1].digest();
    let mut graph = index.graph();
    graph.documents.retain(|d| d.digest() != child);
    let source: Arc<dyn Source> = Arc::new(Feed::of(&graph));
    let target: Arc<dyn Target> = Arc::new(Memory::new());
    let error = copy(&source, &target, graph.root(), tag("v1")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{child} was not found in feed"));
    assert!(target.tags().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_cannot_hold_is_refused_before_anything_moves() {
    let folder = tempfile::tempdir().unwrap();
    let graph = index().graph();
    let source = memory(&graph).await;
    let server = server().await;
    let recorder = Recorder::new(Kind::DockerArchive.create(folder.path(), &server, "a"));
    let target: Arc<dyn Target> = recorder.clone();
    let error = copy(&source, &target, graph.root(), tag("a:v1")).await.unwrap_err();
    let text = format!(
        "{} is an image index, one image (a docker archive holds single images: choose a platform, or use \
         oci-archive:) is needed",
        graph.root().digest()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(recorder.calls(), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_hear_of_every_byte_and_blob() {
    let graph = index().graph();
    let source = memory(&graph).await;
    let target: Arc<dyn Target> = Arc::new(Memory::new());
    let (bytes, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (heard_bytes, heard_done) = (Arc::clone(&bytes), Arc::clone(&done));
    let observer = Observer::new(move |event| match event {
        Event::BlobProgress { bytes: n, .. } => drop(heard_bytes.fetch_add(*n, SeqCst)),
        Event::BlobDone { how: Transfer::Moved, .. } | Event::DocumentDone { how: Transfer::Moved, .. } => {
            heard_done.fetch_add(1, SeqCst);
        }
        _ => {}
    });
    let options = Options { observer, ..Options::default() };
    let roots = vec![(graph.root().clone(), PutAs::Root)];
    let summary = palan::copy::copy(&source, &target, roots, &options).await.unwrap();
    assert_eq!(bytes.load(SeqCst), summary.bytes_moved);
    assert_eq!(done.load(SeqCst) as usize, graph.blobs.len() + graph.documents.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_may_list_a_blob() {
    let config = Feed::new(10).add(palan_core::Algorithm::Sha256, "a blob");
    let mut graph = Graph { blobs: vec![(config.clone(), "a blob".into())], documents: Vec::new() };
    let index = IndexSpec::new().entry(serde_json::to_value(&config).unwrap(), &graph).build();
    graph = index.graph();
    let source = memory(&graph).await;
    let target: Arc<dyn Target> = Arc::new(Memory::new());
    copy(&source, &target, graph.root(), tag("v1")).await.unwrap();
    assert_holds(target.as_ref(), &graph).await;
}

mod random {
    //! Whatever the graph: what can be reached is at the target afterwards, nothing else, and each thing was put once.

    use palan_core::Document;
    use palan_testkit::image::CREATED;
    use proptest::{collection::vec, prelude::*, sample::Index as Pick};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Debug)]
    enum Node {
        Image { layers: Vec<Pick>, subject: Option<Pick> },
        Index { entries: Vec<(Pick, bool)>, blob: Option<Pick> },
    }

    fn nodes() -> impl Strategy<Value = Vec<Node>> {
        let image = (vec(any::<Pick>(), 0..5), prop::option::of(any::<Pick>()))
            .prop_map(|(layers, subject)| Node::Image { layers, subject });
        let index = (vec(any::<(Pick, bool)>(), 0..5), prop::option::weighted(0.2, any::<Pick>()))
            .prop_map(|(entries, blob)| Node::Index { entries, blob });
        vec(prop_oneof![2 => image, 1 => index], 1..12)
    }

    fn build(nodes: &[Node]) -> Graph {
        let mut graph = Graph::default();
        let mut feed = Feed::new(3);
        let mut pool = Vec::new();
        for n in 0u8..6 {
            let content = vec![n; usize::from(n) * 10];
            pool.push(feed.add(palan_core::Algorithm::Sha256, content.clone()));
            graph.blobs.push((pool[usize::from(n)].clone(), content.into()));
        }
        let mut documents: Vec<Document> = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            let (value, media_type) = match node {
                Node::Image { layers, subject } => {
                    let layers: Vec<_> = layers.iter().map(|p| p.get(&pool)).collect();
                    let mut manifest = json!({
                        "schemaVersion": 2, "config": pool[n % pool.len()], "layers": layers,
                        "annotations": {"n": n.to_string(), "created": CREATED},
                    });
                    if let (Some(subject), false) = (subject, documents.is_empty()) {
                        manifest["subject"] = json!(subject.get(&documents).descriptor());
                    }
                    (manifest, MediaType::OCI_MANIFEST)
                }
                Node::Index { entries, blob } => {
                    let listed =
                        entries.iter().filter(|_| !documents.is_empty()).map(|(pick, attestation)| {
                            let mut entry = json!(pick.get(&documents).descriptor());
                            if *attestation {
                                entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
                            }
                            entry
                        });
                    let listed: Vec<Value> =
                        listed.chain(blob.iter().map(|pick| json!(pick.get(&pool)))).collect();
                    let index =
                        json!({"schemaVersion": 2, "manifests": listed, "annotations": {"n": n.to_string()}});
                    (index, MediaType::OCI_INDEX)
                }
            };
            documents.push(Document::from_value(&value, media_type).unwrap());
        }
        graph.documents = documents;
        graph
    }

    /// All digests below the root, by the JSON alone; a subject is not below.
    fn reachable(graph: &Graph) -> HashSet<String> {
        let mut seen = HashSet::new();
        let mut open = vec![graph.root().digest().to_string()];
        while let Some(digest) = open.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Some(document) = graph.documents.iter().find(|d| d.digest().to_string() == digest) else {
                continue;
            };
            let value: Value = serde_json::from_slice(document.bytes()).unwrap();
            for key in ["layers", "manifests"] {
                let listed = value[key].as_array().into_iter().flatten();
                open.extend(listed.map(|e| e["digest"].as_str().unwrap().to_owned()));
            }
            open.extend(value["config"]["digest"].as_str().map(str::to_owned));
        }
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn graphs_are_copied_whole_and_once(nodes in nodes(), jobs in 1usize..5) {
            let graph = build(&nodes);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            let calls = runtime.block_on(async {
                let source: Arc<dyn Source> = Arc::new(Feed::of(&graph));
                let recorder = Recorder::new(Arc::new(Memory::new()));
                let target: Arc<dyn Target> = recorder.clone();
                let options = Options { jobs, ..Options::default() };
                let roots = vec![(graph.root().clone(), tag("v1"))];
                palan::copy::copy(&source, &target, roots, &options).await.unwrap();
                recorder.calls()
            });
            let put = blobs(&calls).into_iter().chain(documents(&calls)).map(|d| d.to_string());
            let mut put: Vec<String> = put.collect();
            put.sort();
            let mut expected: Vec<String> = reachable(&graph).into_iter().collect();
            expected.sort();
            prop_assert_eq!(put, expected);
        }
    }
}
