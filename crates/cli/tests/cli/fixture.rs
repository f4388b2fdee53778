//! Images to work on: made by the test kit, put into the registry of a test.

use std::sync::Arc;

use palan::{
    copy,
    place::{Memory, Places, PutAs, Source},
};
use palan_core::Digest;
use palan_testkit::image::{Graph, Image, ImageSpec, Index, IndexSpec, layer};

use crate::context::TestContext;

impl TestContext {
    /// Puts a fixture under `name:tag` of the test's registry.
    pub(crate) fn push(&self, name: &str, graph: &Graph) -> Digest {
        let (memory, root) = (Memory::new(), graph.root().clone());
        for (blob, content) in &graph.blobs {
            memory.add_blob(blob.media_type.clone(), content.clone());
        }
        for document in &graph.documents {
            memory.add_document(document);
        }
        let location = format!("{}/{name}", self.host()).parse().unwrap();
        self.runtime().block_on(async {
            let target =
                Places::new(palan_client::Client::builder().build().unwrap()).target(&location).unwrap();
            let source: Arc<dyn Source> = Arc::new(memory);
            let role = PutAs::from_selector(target.selector.as_ref().unwrap());
            let options = copy::Options { foreign: copy::Foreign::WherePresent, ..copy::Options::default() };
            copy::copy(&source, &target.place, vec![(root.clone(), role)], &options).await.unwrap();
        });
        root.digest()
    }
}

/// A base of two layers in two versions, and an application on the old one, for one platform.
pub(crate) struct Family {
    pub(crate) old: Image,
    pub(crate) new: Image,
    pub(crate) app: Image,
}

pub(crate) fn family(platform: &str) -> Family {
    let release = |id: &str| layer(&[("etc/os-release", format!("ID={id}\n").as_bytes())]);
    let runtime =
        |id: &str| layer(&[("usr/lib/runtime", format!("runtime {id} for {platform}\n").as_bytes())]);
    let base = |id: &str| ImageSpec::new(platform).layer(release(id)).layer(runtime(id)).build();
    let (old, new) = (base("old"), base("new"));
    let app =
        ImageSpec::new(platform).on(&old).layer(layer(&[("app/run", b"#!/bin/sh\n")])).label("team", "blue");
    let app = app.config_field("/config/Entrypoint", vec!["/app/run"]).build();
    Family { old, new, app }
}

/// The same for amd64 and arm64, as indexes.
pub(crate) struct Families {
    pub(crate) old: Index,
    pub(crate) new: Index,
    pub(crate) app: Index,
}

pub(crate) fn families() -> Families {
    let all = ["linux/amd64", "linux/arm64"].map(family);
    let index = |of: fn(&Family) -> &Image| IndexSpec::new().images(all.iter().map(of).cloned()).build();
    Families { old: index(|f| &f.old), new: index(|f| &f.new), app: index(|f| &f.app) }
}
