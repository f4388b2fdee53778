//! A registry with images in it, and rebases on it.

use std::collections::BTreeMap;

use palan::{
    Error, Places,
    client::{Client, Stats as ClientStats},
    copy::{self, Options},
    files,
    image::Image,
    place::{Location, Memory, PutAs, Source},
    rebase::{self, Check, FindingKind, OldBase, Outcome, Plan, Request},
    validate,
};
use palan_core::{Digest, Document, Selector, view};
use palan_layer::tree::Content;
use palan_server::{Registry, RequestKind, Server, Stats};
use palan_testkit::image::Graph;
use std::sync::Arc;

/// A registry in memory, listening, and a client.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) places: Places,
}

/// The kinds of requests that write.
const WRITES: [RequestKind; 8] = [
    RequestKind::ManifestPut,
    RequestKind::ManifestDelete,
    RequestKind::BlobMount,
    RequestKind::BlobDelete,
    RequestKind::UploadStart,
    RequestKind::UploadAppend,
    RequestKind::UploadFinish,
    RequestKind::UploadCancel,
];

pub(crate) fn writes(stats: &Stats) -> u64 {
    WRITES.iter().map(|kind| stats.of(*kind)).sum()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Places::new(Client::builder().build().unwrap())).await
    }

    /// Another registry for the same client.
    pub(crate) async fn beside(&self) -> Self {
        Self::with(self.places.clone()).await
    }

    async fn with(places: Places) -> Self {
        let server = Registry::memory().with_request_log().serve("127.0.0.1:0").await.unwrap();
        Self { server, places }
    }

    /// `repository:tag` or `repository@digest` in this registry.
    pub(crate) fn text(&self, name: &str) -> String {
        format!("{}/{name}", self.server.host())
    }

    pub(crate) fn at(&self, name: &str) -> Location {
        self.text(name).parse().unwrap()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.server.registry().stats()
    }

    pub(crate) fn client_stats(&self) -> ClientStats {
        self.places.client().stats()
    }

    pub(crate) async fn put(&self, name: &str, graph: &Graph) {
        put(&self.places, &self.at(name), graph).await;
    }

    pub(crate) async fn digest(&self, name: &str) -> Digest {
        self.document(name).await.digest()
    }

    pub(crate) async fn document(&self, name: &str) -> Document {
        document(&self.places, &self.at(name)).await
    }

    pub(crate) async fn image(&self, name: &str) -> Image {
        image(&self.places, &self.at(name)).await
    }

    pub(crate) async fn files(&self, name: &str) -> BTreeMap<String, Digest> {
        files_at(&self.places, &self.at(name)).await
    }

    /// The children of an index, in order, with their images where they are images.
    pub(crate) async fn children(&self, name: &str) -> Vec<(palan_core::Descriptor, Option<Image>)> {
        let opened = self.places.source(&self.at(name)).unwrap();
        let index: view::Index = self.document(name).await.view().unwrap();
        let mut out = Vec::new();
        for entry in index.manifests {
            let image = match opened.place.document(&entry.digest.into()).await {
                Ok(document) if !entry.is_attestation() => {
                    Image::load(opened.place.as_ref(), document).await.ok()
                }
                _ => None,
            };
            out.push((entry, image));
        }
        out
    }

    pub(crate) async fn assert_valid(&self, name: &str) {
        assert_valid(&self.places, &self.at(name)).await;
    }

    pub(crate) fn rebase(&self, image: &str) -> Rebase<'_> {
        Rebase::of(self, self.at(image))
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// A rebase to be done.
pub(crate) struct Rebase<'a> {
    world: &'a World,
    pub(crate) request: Request,
}

/// A rebase that was done.
pub(crate) struct Done {
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
}

impl Done {
    pub(crate) fn findings(&self, kind: FindingKind) -> Vec<&str> {
        findings(&self.plan, kind)
    }
}

pub(crate) fn findings(plan: &Plan, kind: FindingKind) -> Vec<&str> {
    plan.report().findings.iter().filter(|f| f.kind == kind).map(|f| f.text.as_str()).collect()
}

impl<'a> Rebase<'a> {
    pub(crate) fn of(world: &'a World, image: Location) -> Self {
        let mut request = Request::new(image);
        // What a check reads would count in the tests of requests; checks have tests of their own.
        request.policy.check = Check::None;
        Self { world, request }
    }

    pub(crate) fn bases(self, old: &str, new: &str) -> Self {
        self.old_base(old).new_base(new)
    }

    pub(crate) fn old_base(self, name: &str) -> Self {
        let at = self.world.at(name);
        self.old_base_at(at)
    }

    pub(crate) fn new_base(self, name: &str) -> Self {
        let at = self.world.at(name);
        self.new_base_at(at)
    }

    pub(crate) fn target(self, name: &str) -> Self {
        let at = self.world.at(name);
        self.target_at(at)
    }

    pub(crate) fn old_base_at(mut self, location: Location) -> Self {
        self.request.old_base = OldBase::Image(location);
        self
    }

    pub(crate) fn new_base_at(mut self, location: Location) -> Self {
        self.request.new_base = Some(location);
        self
    }

    pub(crate) fn target_at(mut self, location: Location) -> Self {
        self.request.target = Some(location);
        self
    }

    pub(crate) fn platform(mut self, pattern: &str) -> Self {
        self.request.platforms.push(pattern.parse().unwrap());
        self
    }

    pub(crate) async fn plan(&self) -> Result<Plan, Error> {
        rebase::plan(&self.world.places, &self.request).await
    }

    pub(crate) async fn run(self) -> Done {
        let plan = self.plan().await.unwrap_or_else(|e| panic!("{e}"));
        let outcome = self.apply(&plan).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(outcome.pushed, !plan.is_noop());
        assert_eq!(outcome.digest, plan.report().new_digest);
        Done { plan, outcome }
    }

    pub(crate) async fn apply(&self, plan: &Plan) -> Result<Outcome, Error> {
        rebase::apply(&self.world.places, plan, &Options::default()).await
    }

    /// Must fail, and write nothing.
    pub(crate) async fn refused(self) -> Error {
        let before = self.world.stats();
        let error = self.plan().await.unwrap_err();
        assert_eq!(writes(&self.world.stats().since(&before)), 0, "{error}");
        error
    }

    /// Must find that there is nothing to do, and write nothing.
    pub(crate) async fn changes_nothing(self) -> Plan {
        let world = self.world;
        let before = world.stats();
        let done = self.run().await;
        assert!(done.plan.is_noop(), "{:?}", done.plan);
        assert_eq!(done.plan.report().new_digest, done.plan.report().digest);
        assert_eq!(writes(&world.stats().since(&before)), 0);
        done.plan
    }
}

/// Puts a fixture somewhere.
pub(crate) async fn put(places: &Places, location: &Location, graph: &Graph) {
    let memory = Memory::new();
    for (descriptor, content) in &graph.blobs {
        memory.add_blob(descriptor.media_type.clone(), content.clone());
    }
    for document in &graph.documents {
        memory.add_document(document);
    }
    let source: Arc<dyn Source> = Arc::new(memory);
    let opened = places.target(location).unwrap();
    let role = location.selector().map_or(PutAs::Root, |s| PutAs::from_selector(&s));
    let roots = vec![(graph.root().clone(), role)];
    copy::copy(&source, &opened.place, roots, &Options::default()).await.unwrap();
    opened.place.finish().await.unwrap();
}

pub(crate) async fn document(places: &Places, location: &Location) -> Document {
    let opened = places.source(location).unwrap();
    opened.place.document(opened.chosen().unwrap()).await.unwrap()
}

pub(crate) async fn image(places: &Places, location: &Location) -> Image {
    let opened = places.source(location).unwrap();
    let manifest = opened.place.document(opened.chosen().unwrap()).await.unwrap();
    Image::load(opened.place.as_ref(), manifest).await.unwrap()
}

/// What a container would see: every file with the SHA-256 of its content.
pub(crate) async fn files_at(places: &Places, location: &Location) -> BTreeMap<String, Digest> {
    let image = image(places, location).await;
    let opened = places.source(location).unwrap();
    let tree = files(opened.place.as_ref(), &image, Content::Digest).await.unwrap();
    let file = |(path, node): (&[u8], &palan_layer::tree::Node)| {
        Some((String::from_utf8(path.to_vec()).unwrap(), node.digest()?))
    };
    tree.iter().filter_map(file).collect()
}

pub(crate) async fn assert_valid(places: &Places, location: &Location) {
    let opened = places.source(location).unwrap();
    let selector: &Selector = opened.chosen().unwrap();
    let report =
        validate::validate(opened.place.as_ref(), selector, &validate::Options::default()).await.unwrap();
    assert!(report.is_valid(), "{:?}", report.faults);
}
