//! The invariants of a rebase, in memory.

mod matrix;
mod properties;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use palan_client::Client;
use palan_core::{Compression, Digest, Document};
use palan_layer::tree::Content;
use palan_testkit::image::{Graph, Layer, LayerSpec};

use super::{
    base::{Base, Images},
    bases::Bases,
    plan::Request,
    policy::Check,
    rebased::{Rebased, rebase},
    tree::Tree,
};
use crate::{
    Error, Places, files,
    image::Image,
    place::{Memory, Opened, Source},
};

/// Where all content of a case is, and results go.
#[derive(Default)]
struct Bed(Arc<Memory>);

impl Bed {
    fn with<'a>(graphs: impl IntoIterator<Item = &'a Graph>) -> Self {
        let bed = Self::default();
        for graph in graphs {
            graph.documents.iter().for_each(|document| bed.0.add_document(document));
            for (descriptor, content) in &graph.blobs {
                bed.0.add_blob(descriptor.media_type.clone(), content.clone());
            }
        }
        bed
    }

    fn opened(&self, document: &Document) -> Opened<dyn Source> {
        let place: Arc<dyn Source> = self.0.clone();
        Opened { place, selector: Some(document.digest().into()) }
    }

    async fn try_rebase(&self, app: &Document, old: &Document, new: &Document) -> Result<Rebased, Error> {
        static PLACES: OnceLock<Places> = OnceLock::new();
        let places = PLACES.get_or_init(|| Places::new(Client::builder().build().unwrap()));
        let images = Images::default();
        let base = async |document| {
            Ok::<_, Error>(Arc::new(Base::read(&self.opened(document), None, images.clone()).await?))
        };
        let (old, new) = (base(old).await?, base(new).await?);
        let mut request = Request::new("localhost/app".parse().unwrap());
        request.policy.check = Check::None;
        let bases = Bases::of_read(places, old, new);
        let rebased = rebase(Tree::read(&self.opened(app), &[]).await?, &bases, &request).await?;
        rebased.documents.iter().for_each(|document| self.0.add_document(document));
        rebased.configs.iter().for_each(|config| self.0.add_document_blob(config));
        Ok(rebased)
    }

    async fn rebase(&self, app: &Document, old: &Document, new: &Document) -> Rebased {
        self.try_rebase(app, old, new).await.unwrap_or_else(|e| panic!("{e}"))
    }

    async fn image(&self, manifest: &Document) -> Image {
        Image::load(self.0.as_ref(), manifest.clone()).await.unwrap()
    }

    async fn files(&self, manifest: &Document) -> BTreeMap<String, Digest> {
        let image = self.image(manifest).await;
        let tree = files(self.0.as_ref(), &image, Content::Digest).await.unwrap();
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        tree.iter().filter_map(|(path, node)| Some((text(path), node.digest()?))).collect()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a layer does: files with their content; `None` hides a path and what is below it.
type Files = BTreeMap<&'static str, Option<String>>;

/// A layer; packed once, since the same few are in thousands of cases.
fn layer(files: &Files, compression: Compression) -> Layer {
    static KNOWN: Mutex<BTreeMap<(Files, String), Layer>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let key = (files.clone(), compression.to_string());
    known.entry(key).or_insert_with(|| pack(files, compression)).clone()
}

fn pack(files: &Files, compression: Compression) -> Layer {
    let spec = LayerSpec::new().compression(compression);
    let add = |spec: LayerSpec, (path, content): (&&str, &Option<String>)| match content {
        Some(content) => spec.file(path, content),
        None => spec.whiteout(path),
    };
    files.iter().fold(spec, add).build()
}

/// The files that a stack of layers amounts to: what the merged tree must be.
fn model<'a>(stack: impl IntoIterator<Item = &'a Files>) -> BTreeMap<String, Digest> {
    let mut out: BTreeMap<String, Digest> = BTreeMap::new();
    for layer in stack {
        for hidden in layer.iter().filter(|(_, content)| content.is_none()).map(|(path, _)| *path) {
            out.retain(|path, _| path != hidden && !path.starts_with(&format!("{hidden}/")));
        }
        let added = layer.iter().filter_map(|(path, content)| Some((path, content.as_ref()?)));
        out.extend(added.map(|(path, content)| ((*path).to_owned(), Digest::sha256(content.as_bytes()))));
    }
    out
}

fn assert_history_is_none_or_whole(image: &Image, what: &str) {
    let history = &image.config_view.history;
    let filled = history.iter().filter(|h| !h.empty_layer).count();
    assert!(history.is_empty() || filled == image.manifest_view.layers.len(), "{what}: {history:?}");
}
