//! Extracting to a directory: what is refused before anything is read, and that nothing is left of what was given up.
//! The trees themselves are compared in `export.rs`, with those of other tools.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, future::poll_fn, path::Path, task::Poll};

use common::{chain, memory};
use palan::{
    Error,
    copy::Options,
    extract::{Extracted, extract},
};
use palan_core::MediaType;
use palan_layer::extract::{Options as How, Owners};
use palan_testkit::image::{Graph, ImageSpec, LayerSpec};

async fn try_extract(graph: &Graph, dir: &Path) -> Result<Extracted, Error> {
    let source = memory(graph).await;
    extract(source.as_ref(), graph.root(), dir, &How::new(Owners::Own), &Options::default()).await
}

fn image() -> Graph {
    let layer = |seed| LayerSpec::new().noise(format!("d{seed}/noise"), seed, 2_000_000).build();
    ImageSpec::new("linux/amd64").layers([layer(1), layer(2)]).build().graph()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_layers_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let extracted = try_extract(&image(), &folder.path().join("x")).await.unwrap();
    assert_eq!((extracted.layers, extracted.report.entries, extracted.report.size), (2, 2, 4_000_000));
    assert_eq!(extracted.written.entries, 2);
    assert_eq!(fs::metadata(folder.path().join("x/d2/noise")).unwrap().len(), 2_000_000);
    let error = try_extract(&image(), &folder.path().join("x")).await.unwrap_err();
    assert!(chain(&error).ends_with("x is not empty"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_of_one_blob_has_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let blob = LayerSpec::new().file("a", "1").build().with_media_type(MediaType::new("application/x-thing"));
    let graph = ImageSpec::new("linux/amd64").layer(blob).build().graph();
    let error = try_extract(&graph, &folder.path().join("x")).await.unwrap_err();
    assert!(chain(&error).contains("is an artifact of one blob, a container image is needed"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Layers that do not fit together are noticed when they are merged, when there is a directory already.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_merged_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let layer = LayerSpec::new().file("a", "1").hard_link("b", "missing").build();
    let graph = ImageSpec::new("linux/amd64").layer(layer).build().graph();
    let error = try_extract(&graph, &folder.path().join("x")).await.unwrap_err();
    assert!(matches!(error, Error::NoFileSystem { .. }), "{}", chain(&error));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// As Ctrl-C does.
#[test]
fn what_is_given_up_leaves_nothing() {
    for polls in [1, 2, 3, 5, 8] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("x");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let graph = image();
            let mut extracting = Box::pin(try_extract(&graph, &dir));
            let mut left = polls;
            poll_fn(|context| {
                left -= 1;
                let is_over = extracting.as_mut().poll(context).is_ready() || left == 0;
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        // Waits for its threads.
        drop(runtime);
        match dir.exists() {
            // It was faster.
            true => assert_eq!(fs::metadata(dir.join("d2/noise")).unwrap().len(), 2_000_000),
            false => assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "after {polls}"),
        }
    }
}
