use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use palan_core::Selector;
use palan_testkit::image::{Attestation, Image, ImageSpec, Index, IndexSpec, layer};
use serde_json::json;

use super::*;
use crate::{
    index::chosen::Chosen,
    place::{BlobStream, Memory, Origin},
};

/// Counts how many documents are read at the same time.
#[derive(Default)]
struct Counted {
    memory: Memory,
    now: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
}

impl Counted {
    fn of(index: &Index) -> Arc<Self> {
        let counted = Self::default();
        let graph = index.graph();
        graph.documents.iter().for_each(|document| counted.memory.add_document(document));
        for (_, content) in &graph.blobs {
            if let Ok(blob) = Document::parse(content.clone(), None) {
                counted.memory.add_document_blob(&blob);
            }
        }
        Arc::new(counted)
    }
}

#[async_trait]
impl Source for Counted {
    fn name(&self) -> String {
        self.memory.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.memory.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.reads.fetch_add(1, SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::task::yield_now().await;
        let document = self.memory.document(selector).await;
        self.now.fetch_sub(1, SeqCst);
        document
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.memory.open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.memory.has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.memory.tags().await
    }

    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        self.memory.referrers(digest, artifact_type).await
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.memory.origin(digest)
    }
}

fn images(count: usize) -> Vec<Image> {
    let image = |n: usize| ImageSpec::new("linux/amd64").layer(layer(&[("n", n.to_string().as_bytes())]));
    (0..count).map(|n| image(n).build()).collect()
}

#[tokio::test]
async fn images_are_read_several_at_a_time_and_stay_in_order() {
    let images = images(30);
    let inner = IndexSpec::new().images(images[10..20].to_vec()).build();
    let index = IndexSpec::new().images(images[..10].to_vec()).nested(&inner);
    let index = index.images(images[15..].to_vec()).nested(&inner).attest(Attestation::Legacy).build();
    let source = Counted::of(&index);
    let chosen = Chosen::read(source.as_ref(), &index.document, &[]).await.unwrap();
    let found: Vec<Digest> = chosen.images.iter().map(|found| found.image.manifest.digest()).collect();
    assert_eq!(found, images.iter().map(Image::digest).collect::<Vec<_>>());
    assert_eq!(source.most.load(SeqCst), AT_ONCE);
    assert_eq!(source.reads.load(SeqCst), 31, "each once, and no attestation that says what it is about");
}

#[tokio::test]
async fn indexes_come_after_what_they_list_and_speak_of() {
    let images = images(2);
    let inner = IndexSpec::new().image(images[0].clone()).build();
    let about = ImageSpec::new("linux/amd64").manifest_field("/config/mediaType", "application/x");
    let about = about.manifest_field("/subject", json!(inner.document.descriptor())).build();
    let first = IndexSpec::new().entry(json!(about.manifest.descriptor()), &about.graph()).build();
    let middle = IndexSpec::new().nested(&inner).image(images[1].clone()).build();
    let index = IndexSpec::new().nested(&first).nested(&inner).nested(&middle).build();
    let source = Counted::of(&index);
    let chosen = Chosen::read(source.as_ref(), &index.document, &[]).await.unwrap();
    let levels = &chosen.tree.levels;
    let order = chosen.tree.inside_out(&chosen.abouts);
    let order: Vec<Digest> = order.into_iter().map(|level| levels[level].document.digest()).collect();
    let at = |index: &Index| order.iter().position(|digest| *digest == index.digest()).unwrap();
    assert_eq!(order.len(), 4);
    assert!(at(&inner) < at(&first) && at(&inner) < at(&middle) && at(&index) == 3);
}
