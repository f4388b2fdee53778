//! A small fleet on a registry: bases, images on them and images on those, each for two platforms.

use std::sync::Arc;

use palan::{
    Places,
    client::Client,
    copy::{self, Options},
    place::{Location, Memory, PutAs, Source},
};
use palan_core::{
    Digest, Reference,
    annotation::{BASE_DIGEST, BASE_NAME},
};

use crate::image::{Graph, Image, ImageSpec, Index, IndexSpec, LayerSpec};

/// The platforms of every image.
pub const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Where the fleet is built. It panics where the registry does not do what it should.
pub struct Yard {
    /// How the registry is reached.
    pub places: Places,
    /// Host and port.
    pub host: String,
}

impl Yard {
    /// A yard on this registry, with a client of its own.
    pub fn new(host: String) -> Self {
        Self { places: Places::new(Client::builder().build().expect("a client")), host }
    }

    /// The full name of `team/app:1`.
    pub fn name(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().expect("a reference")
    }

    /// Pushes a graph.
    pub async fn put(&self, name: &str, graph: &Graph) {
        let memory = Memory::new();
        for (descriptor, content) in &graph.blobs {
            memory.add_blob(descriptor.media_type.clone(), content.clone());
        }
        graph.documents.iter().for_each(|document| memory.add_document(document));
        let source: Arc<dyn Source> = Arc::new(memory);
        let name = self.name(name);
        let target = self.places.target(&Location::Registry(name.clone())).expect("a registry").place;
        let role = PutAs::from_selector(&name.selector());
        let roots = vec![(graph.root().clone(), role)];
        copy::copy(&source, &target, roots, &Options::default()).await.expect("pushed");
    }

    /// What a tag stands for.
    pub async fn standing(&self, name: &Reference) -> Option<Digest> {
        let opened = self.places.standing(&Location::Registry(name.clone())).expect("a registry");
        opened.place.resolve(&name.selector()).await.ok().map(|found| found.digest)
    }

    /// An index of both platforms, of one layer, tagged; a base.
    pub async fn base(&self, name: &str, content: &str) -> Index {
        let image = |platform: &&str| {
            let layer = LayerSpec::new().file("etc/platform", platform).file("etc/base", content).build();
            ImageSpec::new(platform).layer(layer).build()
        };
        let index = PLATFORMS.iter().map(image).fold(IndexSpec::new(), IndexSpec::image).build();
        self.put(name, &index.graph()).await;
        index
    }

    /// An image with one layer of its own, which says what it stands on.
    pub async fn on(&self, name: &str, base: (&str, &Index)) -> Index {
        let image = |platform: &&str| {
            let below: &Image = base.1.image(platform).expect("a base of this platform");
            let layer = LayerSpec::new().file(format!("app/{}", name.replace([':', '/'], "-")), name).build();
            ImageSpec::new(platform)
                .on(below)
                .layer(layer)
                .annotation(BASE_NAME, self.name(base.0).to_string())
                .annotation(BASE_DIGEST, below.digest().to_string())
                .label("team", name.split('/').next().unwrap_or_default())
                .build()
        };
        let index = PLATFORMS.iter().map(image).fold(IndexSpec::new(), IndexSpec::image).build();
        self.put(name, &index.graph()).await;
        index
    }
}
