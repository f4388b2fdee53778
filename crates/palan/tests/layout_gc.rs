//! Garbage collection of layouts: what stays, what goes, and who may be at work meanwhile.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use common::{assert_holds, store};
use palan::{
    Error,
    place::{Layout, Memory, PutAs, Source, Target},
};
use palan_core::{Descriptor, Digest, Document, MediaType};
use palan_testkit::image::{Attestation, Graph, ImageSpec, IndexSpec, layer};
use proptest::prelude::*;
use serde_json::json;

fn image(platform: &str, content: &str) -> ImageSpec {
    ImageSpec::new(platform).layer(layer(&[("app", content.as_bytes())]))
}

/// A layout that lists nothing, to write to.
fn empty(folder: &Path) -> Layout {
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Layout::create(folder).unwrap()
}

/// A layout with the graphs that are listed and those that are not.
async fn layout(folder: &Path, listed: &[&Graph], unlisted: &[&Graph]) -> Layout {
    let writer = empty(folder);
    for (i, graph) in listed.iter().enumerate() {
        store(&writer, graph, PutAs::Tag(format!("v{i}"))).await.unwrap();
    }
    for graph in unlisted {
        store(&writer, graph, PutAs::Child).await.unwrap();
    }
    Layout::open(folder).unwrap()
}

fn digests(graph: &Graph) -> Vec<Digest> {
    let blobs = graph.blobs.iter().map(|(d, _)| d.digest);
    blobs.chain(graph.documents.iter().map(Document::digest)).collect()
}

#[tokio::test]
async fn what_nothing_leads_to_goes() {
    let folder = tempfile::tempdir().unwrap();
    let inner = IndexSpec::new().image(image("linux/arm64", "a").build()).build();
    let index = IndexSpec::new().image(image("linux/amd64", "a").build()).nested(&inner);
    let kept = index.attest(Attestation::Artifact).build().graph();
    // Shares its layer with what is kept.
    let gone = image("linux/s390x", "a").layer(layer(&[("more", b"x")])).build().graph();
    let layout = layout(folder.path(), &[&kept], &[&gone]).await;
    let exclusive: Vec<Digest> = digests(&gone).into_iter().filter(|d| !digests(&kept).contains(d)).collect();
    assert_eq!(exclusive.len(), 3);

    let asked = layout.collect_garbage(true).unwrap();
    assert_holds(&layout, &kept).await;
    assert_holds(&layout, &gone).await;
    let done = layout.collect_garbage(false).unwrap();
    assert_eq!(asked, done);
    assert_eq!(
        done.blobs.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        exclusive.into_iter().collect()
    );
    assert_eq!((done.kept, done.bytes), (digests(&kept).len(), done.blobs.values().sum()));
    assert_holds(&layout, &kept).await;
    assert!(done.blobs.keys().all(|digest| !layout.blob_path(*digest).exists()));
    assert_eq!(layout.collect_garbage(false).unwrap().blobs.len(), 0);
}

#[tokio::test]
async fn what_is_about_something_stays_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let subject = image("linux/amd64", "kept").build();
    let about = |subject: &Document, name: &str| {
        let config = json!({"x": name}).to_string();
        let spec = ImageSpec::new("linux/amd64").config_field("/x", config);
        spec.manifest_field("/subject", json!(subject.descriptor())).build()
    };
    let signature = about(&subject.manifest, "signature");
    let of_signature = about(&signature.manifest, "of signature");
    let stray = about(&image("linux/amd64", "nowhere").build().manifest, "stray");
    let unlisted = [&signature, &of_signature, &stray].map(palan_testkit::image::Image::graph);
    let layout = layout(folder.path(), &[&subject.graph()], &unlisted.each_ref()).await;
    let garbage = layout.collect_garbage(false).unwrap();
    assert_eq!(
        garbage.blobs.keys().copied().collect::<Vec<_>>().len(),
        2,
        "the stray manifest and its config"
    );
    assert!(garbage.blobs.contains_key(&stray.digest()));
    for graph in [&subject.graph(), &unlisted[0], &unlisted[1]] {
        assert_holds(&layout, graph).await;
    }
}

#[tokio::test]
async fn unknown_types_keep_what_they_might_lead_to() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, writer) = (Memory::new(), empty(folder.path()));
    let add = |media_type: &str, content: Vec<u8>| memory.add_blob(MediaType::new(media_type), content);
    let (blob, other) = (add("text/plain", b"held".to_vec()), add("text/plain", b"not held".to_vec()));
    let unknown = add("application/x", json!({"deep": [{"in": blob.digest}]}).to_string().into_bytes());
    let binary = add("application/x", b"\x00\xff".to_vec());
    for blob in [&blob, &other, &unknown, &binary] {
        writer.put_blob(blob, &memory).await.unwrap();
    }
    drop(writer);
    let entries =
        [&unknown, &binary, &Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256(b"absent"), 1)];
    let index = json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let garbage = layout.collect_garbage(false).unwrap();
    assert_eq!(garbage.blobs.into_keys().collect::<Vec<_>>(), [other.digest]);
}

#[tokio::test]
async fn nothing_goes_when_a_document_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, gone) = (image("linux/amd64", "a").build(), image("linux/amd64", "b").build().graph());
    let layout = layout(folder.path(), &[&kept.graph()], &[&gone]).await;
    let path = layout.blob_path(kept.digest());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(layout.collect_garbage(false), Err(Error::Damaged { .. })));
    assert_holds(&layout, &gone).await;
}

#[tokio::test]
async fn writers_are_not_hurt() {
    let folder = tempfile::tempdir().unwrap();
    let first = image("linux/amd64", "a").build().graph();
    let layout = layout(folder.path(), &[&first], &[]).await;
    let writer = Layout::create(folder.path()).unwrap();
    let coming = image("linux/amd64", "b").build().graph();
    store(&writer, &coming, PutAs::Child).await.unwrap();
    assert!(matches!(layout.collect_garbage(false), Err(Error::Busy { .. })));
    assert_eq!(layout.collect_garbage(true).unwrap().blobs.len(), 3, "asking is harmless");
    store(&writer, &coming, PutAs::Tag("v2".into())).await.unwrap();
    drop(writer);
    assert_eq!(layout.collect_garbage(false).unwrap().blobs.len(), 0);
    assert_holds(&layout, &coming).await;
    assert_eq!(layout.tags().await.unwrap(), ["v0", "v2"]);
}

#[tokio::test]
async fn only_what_interrupted_writes_left_long_ago_goes() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path(), &[&image("linux/amd64", "a").build().graph()], &[]).await;
    let file = |path: &str, age: u64| {
        let path = folder.path().join(path);
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        path
    };
    let old = [file(".palan-abc", 7200), file("blobs/sha256/.palan-def", 7200)];
    let stay = [file("blobs/sha256/.palan-new", 60), file("blobs/sha256/notes", 7200), file("README", 7200)];
    let garbage = layout.collect_garbage(false).unwrap();
    assert_eq!(garbage.temporary, old.into_iter().collect());
    assert!(garbage.temporary.iter().all(|path| !path.exists()));
    assert!(stay.iter().all(|path| path.exists()));
    assert_eq!(garbage.blobs.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Of any images that share layers, those that are listed are whole afterwards, and nothing else is left.
    #[test]
    fn exactly_what_is_listed_is_left(images in prop::collection::vec((prop::collection::vec(0u8..6, 0..4), any::<bool>()), 1..5)) {
        let folder = tempfile::tempdir().unwrap();
        let graphs: Vec<(Graph, bool)> = images.iter().map(|(layers, listed)| {
            let layers = layers.iter().map(|n| layer(&[("f", &[*n])]));
            (ImageSpec::new("linux/amd64").layers(layers).build().graph(), *listed)
        }).collect();
        let of = |wanted: bool| graphs.iter().filter(|(_, listed)| *listed == wanted).map(|(g, _)| g).collect::<Vec<_>>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let layout = layout(folder.path(), &of(true), &of(false)).await;
            let garbage = layout.collect_garbage(false).unwrap();
            let kept: std::collections::HashSet<Digest> = of(true).into_iter().flat_map(digests).collect();
            assert_eq!(garbage.kept, kept.len());
            for graph in of(true) {
                assert_holds(&layout, graph).await;
            }
        });
    }
}
