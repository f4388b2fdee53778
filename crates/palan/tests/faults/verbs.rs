//! What is done while something goes wrong, and what must be true afterwards.

use std::{
    error::Error as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue};
use palan::{
    Error, Places,
    client::Client,
    copy::{self, Options},
    place::{Layout, Memory, PutAs, Registry, Source, Target},
    rebase::{self, OldBase, Request},
    validate,
};
use palan_core::{Digest, Document, Selector};
use palan_testkit::image::{Graph, Image, ImageSpec, IndexSpec, LayerSpec};

use crate::script::{Fault, PRIVATE, Site};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Pull,
    Push,
    Copy,
    Rebase,
}

impl Verb {
    pub(crate) const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Copy, Self::Rebase];
}

/// One cell of the matrix. The error says what is wrong with it.
pub(crate) async fn run(verb: Verb, fault: Fault, expected: Option<&str>) -> Result<(), String> {
    let (site, other) = (Site::start(fault).await, Site::start(fault).await);
    match verb {
        Verb::Pull => pull(&site, expected).await,
        Verb::Push => push(&site, expected).await,
        Verb::Copy => copy(&site, &other, expected).await,
        Verb::Rebase => rebase(&site, expected).await,
    }?;
    match (site.hits() + other.hits(), fault.concerns(verb)) {
        (0, true) => Err("nothing went wrong".into()),
        (1.., false) => Err("something went wrong".into()),
        _ => Ok(()),
    }
}

async fn pull(site: &Site, expected: Option<&str>) -> Result<(), String> {
    let image = app(&base(1));
    site.store.put("app", "v1", &graph(&image));
    let folder = tempfile::tempdir().unwrap();
    let target: Arc<dyn Target> = Arc::new(Layout::create(folder.path()).unwrap());
    let source = repository(&client(), site, "app");
    let outcome = transfer(source, &target).await;
    target.finish().await.unwrap();
    drop(target);
    site.check()?;
    // Other blobs' transfers are given up on threads of their own; a command waits for these before it ends.
    let deadline = Instant::now() + Duration::from_secs(20);
    while files_are_whole(folder.path()).is_err() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    files_are_whole(folder.path())?;
    let tag = Selector::Tag("v1".into());
    judge(outcome, expected, site)?;
    match (Layout::open(folder.path()), expected) {
        (layout, None) => {
            let layout = layout.unwrap();
            same(layout.resolve(&tag).await.unwrap().digest, root(&image))?;
            valid(&layout, &tag).await
        }
        (Ok(layout), Some(_)) => {
            layout.resolve(&tag).await.err().map(drop).ok_or("there is a tag".to_owned())
        }
        // Nothing was written at all.
        (Err(_), Some(_)) => Ok(()),
    }
}

async fn push(site: &Site, expected: Option<&str>) -> Result<(), String> {
    let image = app(&base(1));
    let memory = Memory::new();
    let graph = graph(&image);
    for (blob, content) in &graph.blobs {
        memory.add_blob(blob.media_type.clone(), content.clone());
    }
    for document in &graph.documents {
        memory.add_document(document);
    }
    memory.put_document(graph.root(), &PutAs::Tag("v1".into())).await.unwrap();
    let target: Arc<dyn Target> = repository(&client(), site, "app");
    let outcome = transfer(Arc::new(memory), &target).await;
    judge(outcome, expected, site)?;
    pushed(site, &graph, expected)
}

async fn copy(from: &Site, to: &Site, expected: Option<&str>) -> Result<(), String> {
    let graph = graph(&app(&base(1)));
    from.store.put("app", "v1", &graph);
    let client = client();
    let target: Arc<dyn Target> = repository(&client, to, "app");
    let outcome = transfer(repository(&client, from, "app"), &target).await;
    from.check()?;
    judge(outcome, expected, from)?;
    pushed(to, &graph, expected)
}

async fn rebase(site: &Site, expected: Option<&str>) -> Result<(), String> {
    let image = app(&base(1));
    site.store.put("old", "v1", &base(1).graph());
    site.store.put("new", "v1", &base(2).graph());
    site.store.put("app", "v1", &graph(&image));
    let places = Places::new(client());
    let at = |name: &str| format!("{}/{name}", site.registry.host()).parse().unwrap();
    let mut request = Request::new(at("app:v1"));
    request.old_base = OldBase::Image(at("old:v1"));
    request.new_base = Some(at("new:v1"));
    let outcome = async {
        let plan = rebase::plan(&places, &request).await?;
        rebase::apply(&places, &plan, &options()).await
    };
    let outcome = outcome.await;
    let digest = outcome.as_ref().ok().map(|o| o.digest);
    site.check()?;
    judge(outcome, expected, site)?;
    let now = site.store.tag("app", "v1").unwrap();
    let Some(digest) = digest else { return same(now, root(&image)) };
    if digest == root(&image) {
        return Err("nothing was rebased".into());
    }
    same(now, digest)?;
    // As a client sees it to which nothing happens.
    let clear = Site::start_with(Fault::None, site.store.clone()).await;
    let place = repository(&client(), &clear, "app");
    valid(place.as_ref(), &digest.into()).await
}

/// Copies the tag `v1`.
async fn transfer(source: Arc<dyn Source>, target: &Arc<dyn Target>) -> Result<(), Error> {
    let root: Document = source.document(&Selector::Tag("v1".into())).await?;
    copy::copy(&source, target, vec![(root, PutAs::Tag("v1".into()))], &options()).await.map(drop)
}

/// One at a time, so that what a script counts is the same each time.
fn options() -> Options {
    Options { jobs: 1, ..Options::default() }
}

/// Patient enough for a loaded machine, and not slow.
fn client() -> Client {
    let private = HeaderMap::from_iter([(PRIVATE.parse().unwrap(), HeaderValue::from_static("secret"))]);
    Client::builder()
        .backoff(Duration::from_millis(1))
        .longest_retry_after(Duration::from_millis(5))
        .inactivity_timeout(Duration::from_millis(400))
        .common_headers(private)
        .build()
        .unwrap()
}

fn repository(client: &Client, site: &Site, name: &str) -> Arc<Registry> {
    let name = format!("{}/{name}", site.registry.host()).parse().unwrap();
    Arc::new(Registry::new(client.repository(&name)))
}

/// A layer that cannot be compressed, larger than what is cut, and one that is small.
fn base(version: u8) -> Image {
    let mut random = fastrand::Rng::with_seed(version.into());
    let data: Vec<u8> = (0..150_000).map(|_| random.u8(..)).collect();
    let large = LayerSpec::new().file("usr/share/data", data).build();
    let small = LayerSpec::new().file("etc/os-release", format!("ID=test\nVERSION_ID={version}\n")).build();
    ImageSpec::new("linux/amd64").layer(large).layer(small).build()
}

fn app(base: &Image) -> Image {
    let layer = LayerSpec::new().file("app/run", "#!/bin/sh\n").build();
    ImageSpec::new("linux/amd64").on(base).layer(layer).build()
}

fn graph(image: &Image) -> Graph {
    IndexSpec::new().image(image.clone()).build().graph()
}

fn root(image: &Image) -> Digest {
    graph(image).root().digest()
}

/// Whether the outcome is the expected one; an error names the registry and the reason.
fn judge<T>(outcome: Result<T, Error>, expected: Option<&str>, site: &Site) -> Result<(), String> {
    match (outcome, expected) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(_)) => Err("succeeds".into()),
        (Err(error), None) => Err(chain(&error)),
        (Err(error), Some(reason)) => {
            let text = chain(&error);
            let clear = text.contains(reason) && text.contains(&site.registry.host());
            if clear { Ok(()) } else { Err(format!("the error does not say \"{reason}\": {text}")) }
        }
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn pushed(site: &Site, graph: &Graph, expected: Option<&str>) -> Result<(), String> {
    site.check()?;
    match (site.store.tag("app", "v1"), expected) {
        (None, Some(_)) => Ok(()),
        (Some(digest), None) => {
            same(digest, graph.root().digest())?;
            site.store.missing("app", graph).map_or(Ok(()), |digest| Err(format!("{digest} is missing")))
        }
        (tag, _) => Err(format!("the tag stands for {tag:?}")),
    }
}

fn same(found: Digest, expected: Digest) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("the tag stands for {found}")) }
}

async fn valid(place: &dyn Source, selector: &Selector) -> Result<(), String> {
    let report = validate::validate(place, selector, &validate::Options::default()).await.unwrap();
    if report.is_valid() { Ok(()) } else { Err(format!("{:?}", report.faults)) }
}

/// Every file below a layout's blobs is what its name says, and there is nothing else.
fn files_are_whole(folder: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["blobs", "index.json", "oci-layout"].contains(&name.as_str()) {
            return Err(format!("{name} is left behind"));
        }
    }
    let Ok(blobs) = std::fs::read_dir(folder.join("blobs/sha256")) else { return Ok(()) };
    for entry in blobs {
        let path = entry.unwrap().path();
        // What was dropped on its way is taken away by its thread, perhaps only now.
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        if Digest::sha256(&bytes).hex() != name {
            return Err(format!("{name} is half-written"));
        }
    }
    Ok(())
}
