//! With the programs of others: skopeo, umoci, Debian's docker-registry. What palan writes they read, what they write
//! palan reads, with the same digests. What is not installed is skipped, loudly and counted.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "interop/peer.rs"]
mod peer;

use std::{path::Path, sync::Arc};

use common::{assert_holds, chain, places, server, store};
use palan::{
    Error, Location,
    companions::{Finder, Which},
    copy, delete,
    image::Image,
    place::{Archive, ArchiveWriter, Format, Layout, PutAs, Registry, Source, Target},
    rebase, validate,
};
use palan_core::{Compression, Digest, Document, Family, Repository, Selector, annotation};
use palan_layer::tree::Content;
use palan_server::Server;
use palan_testkit::{
    conformance::place::{Place, run as conformance},
    image::{Attestation, Graph, Image as Fixture, ImageSpec, Index, IndexSpec, LayerSpec, layer},
};
use peer::{DockerRegistry, installed, run, say};

#[tokio::test(flavor = "multi_thread")]
async fn interop() {
    let mut count = Count::default();
    count.case("layouts are read by skopeo", &["skopeo"], layouts_are_read_by_skopeo).await;
    count.case("layouts are unpacked by umoci", &["umoci"], layouts_are_unpacked_by_umoci).await;
    count.case("layouts of umoci are read", &["umoci"], layouts_of_umoci_are_read).await;
    count.case("archives are read by skopeo", &["skopeo"], archives_are_read_by_skopeo).await;
    count.case("archives of skopeo are read", &["skopeo"], archives_of_skopeo_are_read).await;
    count.case("skopeo pushes to and pulls from the registry", &["skopeo"], skopeo_and_the_registry).await;
    count.case("docker-registry as a place", &["docker-registry"], docker_registry_is_a_place).await;
    count.case("docker-registry conforms", &["docker-registry"], docker_registry_conforms).await;
    count.case("rebase in docker-registry", &["docker-registry"], docker_registry_rebase).await;
    count.case("untag in docker-registry", &["docker-registry"], docker_registry_untag).await;
    count.case("referrers in docker-registry", &["docker-registry"], docker_registry_referrers).await;
    say(&format!("interop: {} run, {} skipped", count.run, count.skipped));
}

#[derive(Default)]
struct Count {
    run: usize,
    skipped: usize,
}

impl Count {
    async fn case(&mut self, name: &str, programs: &[&str], run: impl AsyncFnOnce(&Path)) {
        if let Some(missing) = programs.iter().find(|p| !installed(p)) {
            say(&format!("SKIPPED: {name}: {missing} is not installed"));
            self.skipped += 1;
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        run(folder.path()).await;
        self.run += 1;
    }
}

fn single(family: Family) -> Fixture {
    let program =
        LayerSpec::new().dir("app").program("app/run", "#!/bin/sh\n").symlink("app/link", "run").build();
    let base =
        ImageSpec::new("linux/amd64").family(family).layer(layer(&[("etc/os-release", b"ID=x\n")])).build();
    ImageSpec::new("linux/amd64").family(family).on(&base).layer(program).label("a", "b").build()
}

fn index() -> Index {
    let zstd = LayerSpec::new().noise("data", 1, 10_000).compression(Compression::Zstd).build();
    let arm = ImageSpec::new("linux/arm64").layer(zstd).build();
    IndexSpec::new().image(single(Family::Oci)).image(arm).attest(Attestation::Artifact).build()
}

async fn layout(folder: &Path, graph: &Graph) -> String {
    let layout = Layout::create(folder).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    format!("oci:{}:v1", folder.display())
}

fn skopeo(home: &Path, arguments: &[&str]) -> String {
    run(home, "skopeo", &[&["--insecure-policy"], arguments].concat())
}

/// What skopeo says about an image: digest, and config through `--config --raw`.
fn inspected(home: &Path, location: &str) -> (Digest, Digest) {
    let flag = "--tls-verify=false";
    let manifest = skopeo(home, &["inspect", flag, "--raw", location]);
    let config = skopeo(home, &["inspect", flag, "--config", "--raw", location]);
    (Digest::sha256(manifest.as_bytes()), Digest::sha256(config.trim_end_matches('\n').as_bytes()))
}

async fn open(text: &str) -> (Arc<dyn Source>, Document) {
    let location: Location = text.parse().unwrap();
    let opened = places().source(&location).unwrap_or_else(|e| panic!("{text}: {}", chain(&e)));
    let document = opened.place.document(opened.chosen().unwrap()).await;
    let document = document.unwrap_or_else(|e| panic!("{text}: {}", chain(&e)));
    (opened.place, document)
}

async fn assert_valid(source: &dyn Source, root: &Document) {
    let report =
        validate::validate(source, &root.digest().into(), &validate::Options::default()).await.unwrap();
    assert_eq!(report.faults, [], "{}", source.name());
}

async fn layouts_are_read_by_skopeo(folder: &Path) {
    // In layouts, skopeo 1.9 only looks for OCI media types.
    let image = single(Family::Oci);
    let name = layout(&folder.join("layout"), &image.graph()).await;
    assert_eq!(inspected(folder, &name), (image.digest(), image.config.digest()));
    let inspect = skopeo(folder, &["inspect", &name]);
    for layer in &image.layers {
        assert!(inspect.contains(&layer.digest.to_string()), "{inspect}");
    }
    skopeo(
        folder,
        &["copy", &name, &format!("docker-archive:{}:example.com/a/b:v1", folder.join("a.tar").display())],
    );
    let index = index();
    let name = layout(&folder.join("index"), &index.graph()).await;
    let copied = format!("oci:{}:v2", folder.join("copied").display());
    skopeo(folder, &["copy", "--all", &name, &copied]);
    let (source, root) = open(&copied).await;
    assert_eq!(root.digest(), index.digest());
    assert_holds(source.as_ref(), &index.graph()).await;
}

async fn layouts_are_unpacked_by_umoci(folder: &Path) {
    let image = single(Family::Oci);
    layout(&folder.join("layout"), &image.graph()).await;
    let (name, bundle) = (format!("{}:v1", folder.join("layout").display()), folder.join("bundle"));
    run(folder, "umoci", &["unpack", "--rootless", "--image", &name, bundle.to_str().unwrap()]);
    let read = |path: &str| std::fs::read_to_string(bundle.join("rootfs").join(path)).unwrap();
    assert_eq!(read("etc/os-release"), "ID=x\n");
    assert_eq!(read("app/run"), "#!/bin/sh\n");
    assert_eq!(std::fs::read_link(bundle.join("rootfs/app/link")).unwrap(), Path::new("run"));
    // umoci tags and collects garbage in the same layout, and palan goes on with it.
    run(folder, "umoci", &["tag", "--image", &name, "v2"]);
    run(folder, "umoci", &["gc", "--layout", folder.join("layout").to_str().unwrap()]);
    let layout = Layout::create(folder.join("layout")).unwrap();
    assert_eq!(layout.tags().await.unwrap(), ["v1", "v2"]);
    assert_holds(&layout, &image.graph()).await;
    store(&layout, &single(Family::Docker).graph(), PutAs::Tag("v2".into())).await.unwrap();
    let listed = run(folder, "umoci", &["list", "--layout", folder.join("layout").to_str().unwrap()]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["v1", "v2"]);
}

async fn layouts_of_umoci_are_read(folder: &Path) {
    let path = folder.join("layout");
    let (path, image) = (path.to_str().unwrap(), format!("{}:v1", path.display()));
    run(folder, "umoci", &["init", "--layout", path]);
    run(folder, "umoci", &["new", "--image", &image]);
    // umoci 0.4 does not pad the last member; a whole block needs no padding.
    std::fs::write(folder.join("file"), [b'x'; 512]).unwrap();
    let file = folder.join("file");
    run(folder, "umoci", &["insert", "--rootless", "--image", &image, file.to_str().unwrap(), "/etc/file"]);
    run(folder, "umoci", &["config", "--image", &image, "--config.label", "a=b"]);
    let (source, root) = open(&format!("oci:{path}")).await;
    assert_valid(source.as_ref(), &root).await;
    let image = Image::load(source.as_ref(), root.clone()).await.unwrap();
    let tree = palan::files(source.as_ref(), &image, Content::Digest).await.unwrap();
    assert!(tree.get("etc/file").is_some());
    let target: Arc<dyn Target> = Arc::new(ArchiveWriter::create(folder.join("a.tar"), Format::Oci).unwrap());
    common::copy(&source, &target, &root, PutAs::Tag("v1".into())).await.unwrap();
    target.finish().await.unwrap();
    let archive = Archive::open(folder.join("a.tar"), Format::Oci).unwrap();
    assert_eq!(archive.resolve(&Selector::Tag("v1".into())).await.unwrap(), root.descriptor());
}

async fn archives_are_read_by_skopeo(folder: &Path) {
    for (format, family) in
        [(Format::Oci, Family::Oci), (Format::Docker, Family::Docker), (Format::Docker, Family::Oci)]
    {
        let image = single(family);
        let path = folder.join(format!("{}-{family}.tar", format.scheme()));
        let writer = ArchiveWriter::create(&path, format).unwrap();
        let tag = if format == Format::Docker { "localhost:5000/team/app:v1" } else { "v1" };
        store(&writer, &image.graph(), PutAs::Tag(tag.into())).await.unwrap();
        writer.finish().await.unwrap();
        let name = format!("{}:{}:{tag}", format.scheme(), path.display());
        let (manifest, config) = inspected(folder, &name);
        assert_eq!(config, image.config.digest(), "{name}");
        if format == Format::Oci {
            assert_eq!(manifest, image.digest(), "{name}");
        }
        let copied = format!("oci:{}-copy:v1", path.display());
        skopeo(folder, &["copy", &name, &copied]);
        let (source, root) = open(&copied).await;
        assert_valid(source.as_ref(), &root).await;
        let copied = Image::load(source.as_ref(), root).await.unwrap();
        assert_eq!(copied.config_view.rootfs.diff_ids, image.diff_ids(), "{name}");
    }
    // Two images in one archive.
    let path = folder.join("two.tar");
    let writer = ArchiveWriter::create(&path, Format::Docker).unwrap();
    for (tag, family) in [("a:v1", Family::Oci), ("b:v1", Family::Docker)] {
        store(&writer, &single(family).graph(), PutAs::Tag(tag.into())).await.unwrap();
    }
    writer.finish().await.unwrap();
    for (tag, family) in [("a:v1", Family::Oci), ("b:v1", Family::Docker)] {
        let (_, config) = inspected(folder, &format!("docker-archive:{}:{tag}", path.display()));
        assert_eq!(config, single(family).config.digest());
    }
}

async fn archives_of_skopeo_are_read(folder: &Path) {
    let image = single(Family::Oci);
    let name = layout(&folder.join("layout"), &image.graph()).await;
    let oci = format!("oci-archive:{}:v1", folder.join("oci.tar").display());
    skopeo(folder, &["copy", &name, &oci]);
    let (source, root) = open(&oci).await;
    assert_eq!(root.digest(), image.digest());
    assert_holds(source.as_ref(), &image.graph()).await;

    let docker = format!("docker-archive:{}:localhost:5000/team/app:v1", folder.join("docker.tar").display());
    skopeo(folder, &["copy", &name, &docker]);
    for name in [docker.clone(), format!("docker-archive:{}", folder.join("docker.tar").display())] {
        let (source, root) = open(&name).await;
        assert_valid(source.as_ref(), &root).await;
        let read = Image::load(source.as_ref(), root.clone()).await.unwrap();
        assert_eq!(read.config.digest(), image.config.digest());
        assert_eq!(read.config_view.rootfs.diff_ids, image.diff_ids());
        // And what palan makes of it, skopeo reads.
        let path = folder.join("again.tar");
        let target: Arc<dyn Target> = Arc::new(ArchiveWriter::create(&path, Format::Docker).unwrap());
        common::copy(&source, &target, &root, PutAs::Tag("again:v1".into())).await.unwrap();
        target.finish().await.unwrap();
        let (_, config) = inspected(folder, &format!("docker-archive:{}:again:v1", path.display()));
        assert_eq!(config, image.config.digest());
    }
}

async fn skopeo_and_the_registry(folder: &Path) {
    let server = server().await;
    for (name, graph) in [
        ("oci", single(Family::Oci).graph()),
        ("docker", single(Family::Docker).graph()),
        ("index", index().graph()),
    ] {
        // From the registry, because skopeo finds no Docker images in layouts.
        let from = common::repository(&server, &format!("from/{name}"));
        store(from.as_ref(), &graph, PutAs::Tag("v1".into())).await.unwrap();
        let from = format!("docker://{}/from/{name}:v1", server.host());
        let remote = format!("docker://{}/{name}:v1", server.host());
        let flags = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
        skopeo(folder, &[&flags[..], &["--dest-tls-verify=false", &from, &remote]].concat());
        let (source, root) = open(&format!("{}/{name}:v1", server.host())).await;
        assert_eq!(root.digest(), graph.root().digest(), "{name}");
        assert_holds(source.as_ref(), &graph).await;
        if name != "docker" {
            let back = format!("oci:{}:v1", folder.join(name).display());
            skopeo(folder, &[&flags[..], &[&remote, &back]].concat());
            let (source, root) = open(&back).await;
            assert_eq!(root.digest(), graph.root().digest(), "{name}");
            assert_holds(source.as_ref(), &graph).await;
        }
    }
    let tags =
        skopeo(folder, &["list-tags", "--tls-verify=false", &format!("docker://{}/oci", server.host())]);
    assert!(tags.contains("\"v1\""), "{tags}");
    server.stop().await;
}

fn repository(host: &str, name: &str) -> Arc<Registry> {
    let repository: Repository = format!("{host}/{name}").parse().unwrap();
    Arc::new(Registry::new(common::client().repository(&repository)))
}

/// It cannot delete a tag alone: the other tags of the image must survive.
async fn docker_registry_untag(folder: &Path) {
    let registry = DockerRegistry::start(folder);
    for (name, image) in [("oci", single(Family::Oci)), ("docker", single(Family::Docker))] {
        let place: Arc<dyn Target> = repository(&registry.host, name);
        for tag in ["a", "b"] {
            store(place.as_ref(), &image.graph(), PutAs::Tag(tag.into())).await.unwrap();
        }
        let location: Location = format!("{}/{name}:a", registry.host).parse().unwrap();
        let options = delete::Options { untag: true };
        match delete::delete(&places(), &location, delete::Options::default()).await {
            Ok(done) => assert_eq!(done, delete::Deleted::Tag { emulated: false }),
            Err(error) => {
                assert!(matches!(error, Error::NoTagDelete { .. }), "{}", chain(&error));
                let done = delete::delete(&places(), &location, options).await.unwrap();
                assert_eq!(done, delete::Deleted::Tag { emulated: true }, "{name}");
            }
        }
        assert_eq!(place.tags().await.unwrap(), ["b"], "{name}");
        assert_holds(place.as_ref(), &image.graph()).await;
        let error = delete::delete(&places(), &location, options).await.unwrap_err();
        assert!(error.is_not_found(), "{}", chain(&error));
    }
}

/// It has no list of referrers: they are found, and kept, by the fallback tag.
async fn docker_registry_referrers(folder: &Path) {
    let registry = DockerRegistry::start(folder);
    let (embedded, index) = (server().await, index());
    let shape = copy::Shape { attestations: copy::AttestationForm::Referrers, ..copy::Shape::default() };
    let amd64 = index.image("linux/amd64").unwrap().digest();
    let mut source: Arc<dyn Source> = common::memory(&index.graph()).await;
    let way: [Arc<dyn Target>; 3] = [
        repository(&registry.host, "first"),
        common::repository(&embedded, "second"),
        repository(&registry.host, "third"),
    ];
    let mut root = index.document.clone();
    for target in way {
        let shaped = copy::shape(source.as_ref(), root, &shape).await.unwrap();
        let which = Which { referrers: true, digest_tags: true };
        let found = Finder::new(source.as_ref(), which).find(&shaped).await.unwrap();
        let copier = copy::Copier::new(&source, &target, &copy::Options::default());
        copier.shaped(&shaped, &found.companions, PutAs::Tag("v1".into())).await.unwrap();
        let about = target.referrers(amd64, None).await.unwrap();
        assert_eq!(about.len(), 1, "{}: {about:?}", target.name());
        root = target.document(&Selector::Tag("v1".into())).await.unwrap();
        source = target;
    }
    embedded.stop().await;
}

async fn docker_registry_is_a_place(folder: &Path) {
    let registry = DockerRegistry::start(folder);
    let embedded: Server = server().await;
    for (name, graph) in [
        ("oci", single(Family::Oci).graph()),
        ("docker", single(Family::Docker).graph()),
        ("index", index().graph()),
    ] {
        let source: Arc<dyn Source> = common::memory(&graph).await;
        let first: Arc<dyn Target> = repository(&registry.host, name);
        let summary = common::copy(&source, &first, graph.root(), PutAs::Tag("v1".into())).await.unwrap();
        assert_eq!(summary.blobs_moved as usize, graph.blobs.len(), "{name}");
        assert_holds(first.as_ref(), &graph).await;
        assert_valid(first.as_ref(), graph.root()).await;
        // Again: nothing. Into another repository: mounted. To the embedded registry and back: the same.
        let summary = common::copy(&source, &first, graph.root(), PutAs::Tag("v1".into())).await.unwrap();
        assert_eq!((summary.blobs_moved, summary.blobs_adopted), (0, 0), "{name}");
        let here: Arc<dyn Source> = repository(&registry.host, name);
        let second: Arc<dyn Target> = repository(&registry.host, &format!("{name}/mounted"));
        let summary = common::copy(&here, &second, graph.root(), PutAs::Tag("v1".into())).await.unwrap();
        assert_eq!((summary.blobs_moved, summary.blobs_adopted as usize), (0, graph.blobs.len()), "{name}");
        assert_holds(second.as_ref(), &graph).await;
        let other: Arc<dyn Target> = common::repository(&embedded, name);
        common::copy(&here, &other, graph.root(), PutAs::Tag("v1".into())).await.unwrap();
        assert_holds(other.as_ref(), &graph).await;
        let other: Arc<dyn Source> = common::repository(&embedded, name);
        let back: Arc<dyn Target> = repository(&registry.host, &format!("{name}/back"));
        common::copy(&other, &back, graph.root(), PutAs::Tag("v1".into())).await.unwrap();
        assert_eq!(back.resolve(&Selector::Tag("v1".into())).await.unwrap(), graph.root().descriptor());
    }
    embedded.stop().await;
}

struct InDockerRegistry(DockerRegistry);

impl Place for InDockerRegistry {
    fn name(&self) -> String {
        "docker-registry".into()
    }

    fn create(&self, id: &str) -> Arc<dyn Target> {
        repository(&self.0.host, &format!("places/{id}"))
    }

    fn reopen(&self, id: &str) -> Arc<dyn Source> {
        repository(&self.0.host, &format!("places/{id}"))
    }

    fn only_sha256_documents(&self) -> bool {
        true
    }

    /// Version 2.8 writes its link files in place: who reads one at that moment is told that the blob is unknown.
    fn many_writers(&self) -> bool {
        false
    }
}

async fn docker_registry_conforms(folder: &Path) {
    conformance(&InDockerRegistry(DockerRegistry::start(folder))).await;
}

async fn docker_registry_rebase(folder: &Path) {
    let registry = DockerRegistry::start(folder);
    let base = |release: &str| {
        let file = format!("ID={release}\n");
        ImageSpec::new("linux/amd64").layer(layer(&[("etc/os-release", file.as_bytes())])).build()
    };
    let (old, new) = (base("old"), base("new"));
    let app = ImageSpec::new("linux/amd64").on(&old).layer(layer(&[("app", b"1")]));
    let app = app.annotation(annotation::BASE_NAME, format!("{}/base:old", registry.host)).build();
    for (name, tag, image) in [("base", "old", &old), ("base", "new", &new), ("app", "v1", &app)] {
        let repository = repository(&registry.host, name);
        store(repository.as_ref(), &image.graph(), PutAs::Tag(tag.into())).await.unwrap();
    }
    let at = |text: &str| -> Location { format!("{}/{text}", registry.host).parse().unwrap() };
    let request = rebase::Request {
        old_base: rebase::OldBase::Image(at("base:old")),
        new_base: Some(at("base:new")),
        target: Some(at("app:v2")),
        ..rebase::Request::new(at("app:v1"))
    };
    let places = places();
    let plan = rebase::plan(&places, &request).await.unwrap_or_else(|e| panic!("{}", chain(&e)));
    let outcome = rebase::apply(&places, &plan, &palan::copy::Options::default()).await.unwrap();
    assert_eq!(outcome.summary.blobs_adopted, 1, "the new base's layer is mounted: {:?}", outcome.summary);
    let (source, root) = open(&format!("{}/app:v2", registry.host)).await;
    assert_eq!(root.digest(), outcome.digest);
    assert_valid(source.as_ref(), &root).await;
    let image = Image::load(source.as_ref(), root).await.unwrap();
    let tree = palan::files(source.as_ref(), &image, Content::Digest).await.unwrap();
    assert!(tree.get("app").is_some());
    assert_eq!(image.config_view.rootfs.diff_ids, [new.diff_ids()[0], app.diff_ids()[1]]);
}
