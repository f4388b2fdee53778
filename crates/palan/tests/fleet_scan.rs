//! What the images of a fleet stand on, and where they are named.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::places;
use palan::{
    Observer, Places,
    base::{
        KnownBases,
        known::{self, Change, Order, Watch},
    },
    copy,
    fleet::{self, Images, Inventory, Member, Settings},
    place::{Location, Memory, PutAs, Source},
};
use palan_core::Reference;
use palan_server::{Registry, Server};
use palan_testkit::image::{Graph, Image, ImageSpec, IndexSpec, layer};

const NAME: &str = "org.opencontainers.image.base.name";
const DIGEST: &str = "org.opencontainers.image.base.digest";

struct World {
    server: Server,
    places: Places,
}

impl World {
    async fn new() -> Self {
        Self {
            server: Registry::memory().with_request_log().serve("127.0.0.1:0").await.unwrap(),
            places: places(),
        }
    }

    fn text(&self, name: &str) -> String {
        format!("{}/{name}", self.server.host())
    }

    fn reference(&self, name: &str) -> Reference {
        self.text(name).parse().unwrap()
    }

    async fn put(&self, name: &str, graph: &Graph) {
        let (memory, root) = (Memory::new(), graph.root().clone());
        for (blob, content) in &graph.blobs {
            memory.add_blob(blob.media_type.clone(), content.clone());
        }
        for document in &graph.documents {
            memory.add_document(document);
        }
        let location: Location = self.text(name).parse().unwrap();
        let target = self.places.target(&location).unwrap();
        let role = PutAs::from_selector(target.selector.as_ref().unwrap());
        let source: Arc<dyn Source> = Arc::new(memory);
        copy::copy(&source, &target.place, vec![(root, role)], &copy::Options::default()).await.unwrap();
    }

    async fn scan(&self, images: Images, known: Option<&KnownBases>) -> Inventory {
        let settings = Settings { images, ..Settings::default() };
        fleet::scan(&self.places, &settings, known, 4, &Observer::default()).await.unwrap()
    }

    async fn scan_all(&self, names: &[&str]) -> Inventory {
        let references = names.iter().map(|name| self.reference(name)).collect();
        self.scan(Images { references, ..Images::default() }, None).await
    }

    /// Names without the registry, and reasons.
    fn missed(&self, inventory: &Inventory) -> Vec<(String, String)> {
        let short = |text: &str| text.replace(&format!("{}/", self.server.host()), "");
        inventory.missed.iter().map(|missed| (short(&missed.image), short(&missed.reason))).collect()
    }

    fn names(&self, inventory: &Inventory) -> Vec<String> {
        let short = |m: &Member| m.image.to_string().replace(&format!("{}/", self.server.host()), "");
        inventory.images.iter().map(short).collect()
    }
}

fn base(platform: &str, id: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("etc/os-release", id.as_bytes())])).build()
}

fn on(base: &Image, file: &str) -> ImageSpec {
    ImageSpec::for_platform(base.platform.clone()).on(base).layer(layer(&[(file, b"1")]))
}

fn member<'a>(inventory: &'a Inventory, name: &str) -> &'a Member {
    inventory.images.iter().find(|m| m.image.to_string().ends_with(name)).unwrap()
}

/// `base:1`; `mid:1` on it by annotation; `app:1` on `mid:1`, with what it was handed down; `other:1` on the base.
async fn chain() -> (World, Image, Image) {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    world.put("base:1", &os.graph()).await;
    let name = world.text("base:1");
    let mid = on(&os, "usr/lib/runtime").annotation(NAME, &name).label(NAME, &name).build();
    world.put("mid:1", &mid.graph()).await;
    let app = on(&mid, "app/run").label(NAME, &name).created("2026-01-02T03:04:05Z");
    world.put("app:1", &app.build().graph()).await;
    let other = on(&os, "app/run").annotation(NAME, &name).annotation(DIGEST, os.digest().to_string());
    world.put("other:1", &other.build().graph()).await;
    (world, os, mid)
}

#[tokio::test]
async fn a_base_of_the_fleet_is_seen_as_such() {
    let (world, os, mid) = chain().await;
    let inventory = world.scan_all(&["other:1", "app:1", "mid:1"]).await;
    assert_eq!(world.names(&inventory), ["app:1", "mid:1", "other:1"]);
    assert!(inventory.missed.is_empty());
    let below: Vec<usize> = inventory.images.iter().map(|member| member.below).collect();
    assert_eq!(below, [0, 1, 0]);
    let app = member(&inventory, "app:1");
    assert_eq!(app.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    let platform = &app.platforms[0];
    assert_eq!(platform.base, Some(world.reference("mid:1")));
    assert_eq!((platform.base_digest, platform.base_now), (Some(mid.digest()), Some(mid.digest())));
    assert_eq!((platform.evidence.as_deref(), platform.boundary), (Some("fleet"), Some(2)));
    assert_eq!(platform.status, "current");
    let platform = &member(&inventory, "mid:1").platforms[0];
    assert_eq!(platform.base, Some(world.reference("base:1")));
    assert_eq!(platform.evidence.as_deref(), Some("manifest-annotation"));

    // Without the one between, what was handed down is all that is known.
    let inventory = world.scan_all(&["app:1"]).await;
    let platform = &inventory.images[0].platforms[0];
    assert_eq!((platform.base.clone(), platform.boundary), (Some(world.reference("base:1")), Some(1)));
    assert_eq!((platform.evidence.as_deref(), platform.base_digest), (Some("label"), Some(os.digest())));
}

#[tokio::test]
async fn who_is_on_a_base_includes_what_stands_on_that() {
    let (world, os, _) = chain().await;
    let inventory = world.scan_all(&["other:1", "app:1", "mid:1"]).await;
    let standing = |base: &str| -> Vec<String> {
        let found = inventory.standing_on(&world.reference(base));
        found.into_iter().map(|m| m.image.repository().path().to_owned()).collect()
    };
    assert_eq!(standing("base:1"), ["app", "mid", "other"]);
    assert_eq!(standing(&format!("base:1@{}", os.digest())), ["app", "mid", "other"]);
    assert_eq!(standing(&format!("base@{}", os.digest())), ["app", "mid", "other"]);
    assert_eq!(standing("mid:1"), ["app"]);
    assert!(standing("base:2").is_empty());
    assert!(standing(&format!("base:1@sha256:{}", "0".repeat(64))).is_empty());
    let groups = inventory.by_base();
    let groups: Vec<_> = groups.iter().map(|(base, members)| (base.unwrap().tag(), members.len())).collect();
    assert_eq!(groups, [(Some("1"), 2), (Some("1"), 1)]);
}

/// `silent:1` on `base:1` says nothing; `app:1` on `lib:1` on `rt:1` on `base:1`, of which the fleet has only the first.
#[tokio::test]
async fn who_is_on_a_base_is_not_denied_for_want_of_a_mention() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    world.put("base:1", &os.graph()).await;
    let hinted = |base: &Image, name: &str, file: &str| {
        let image = on(base, file).annotation(NAME, world.text(name));
        image.annotation(DIGEST, base.digest().to_string()).build()
    };
    let rt = hinted(&os, "base:1", "usr/rt");
    world.put("rt:1", &rt.graph()).await;
    let lib = hinted(&rt, "rt:1", "usr/lib");
    world.put("lib:1", &lib.graph()).await;
    world.put("app:1", &hinted(&lib, "lib:1", "app/run").graph()).await;
    world.put("silent:1", &on(&os, "app/silent").build().graph()).await;
    let other = base("linux/amd64", "two");
    world.put("other:1", &other.graph()).await;
    let asked = async |name: &str| {
        let references = ["app:1", "silent:1"].map(|name| world.reference(name)).into();
        let settings = Settings { images: Images { references, ..Images::default() }, ..Settings::default() };
        let (on, observer) = (world.reference(name), Observer::default());
        let found = fleet::scan_on(&world.places, &settings, None, &on, 4, &observer).await.unwrap();
        let unsure: Vec<_> =
            found.inventory.unsure.iter().map(|m| m.repository().path().to_owned()).collect();
        (world.names(&found.inventory), unsure, found.unread.is_some())
    };
    let (all, none) = (vec!["app:1".to_owned(), "silent:1".to_owned()], Vec::<String>::new());
    let by_digest = format!("base@{}", os.digest());
    for name in ["base:1", &by_digest] {
        assert_eq!(asked(name).await, (all.clone(), none.clone(), false), "{name}");
    }
    assert_eq!(asked("rt:1").await, (vec!["app:1".to_owned()], vec!["silent".to_owned()], false));
    // What the tag stood for earlier is told by names alone; a digest decides.
    world.put("base:1", &other.graph()).await;
    assert_eq!(asked("base:1").await, (vec!["app:1".to_owned()], vec!["silent".to_owned()], false));
    assert_eq!(asked(&by_digest).await, (all, none.clone(), false));
    assert_eq!(asked(&format!("other@{}", other.digest())).await, (none.clone(), none.clone(), false));
    assert_eq!(asked("gone:1").await, (none, vec!["silent".to_owned()], true));
}

#[tokio::test]
async fn status_and_newer_tags_are_told_of_every_platform() {
    let world = World::new().await;
    let bases = ["linux/amd64", "linux/arm64"].map(|platform| base(platform, "one"));
    let index = |images: &[Image]| IndexSpec::new().images(images.to_vec()).build();
    let os = index(&bases);
    world.put("base:12", &os.graph()).await;
    world.put("base:13", &base("linux/amd64", "13").graph()).await;
    let hinted = |base: &Image| {
        let app = on(base, "app/run").annotation(NAME, world.text("base:12"));
        app.annotation(DIGEST, os.digest().to_string()).build()
    };
    world.put("app:1", &index(&bases.each_ref().map(hinted)).graph()).await;
    let moved = index(&[bases[0].clone(), base("linux/arm64", "two")]);
    world.put("base:12", &moved.graph()).await;
    let inventory = world.scan_all(&["app:1"]).await;
    let told: Vec<_> = inventory.images[0]
        .platforms
        .iter()
        .map(|p| (p.platform.as_str(), p.status.as_str(), p.versions_behind, p.newest.as_deref()))
        .collect();
    let expected = [("linux/amd64", "newer-tag", 1, Some("13")), ("linux/arm64", "moved", 1, Some("13"))];
    assert_eq!(told, expected);
    // The index that the image was built from is known by its digest.
    let by_index = world.reference(&format!("base@{}", os.digest()));
    assert_eq!(inventory.standing_on(&by_index).len(), 1);
}

#[tokio::test]
async fn known_bases_are_recognised_and_read_once() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    world.put("base:1", &os.graph()).await;
    for n in 0..8 {
        world.put(&format!("app{n}:1"), &on(&os, &format!("app/{n}")).build().graph()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bases.jsonl");
    let watch = Watch {
        tags: world.text("base").parse().unwrap(),
        newest: 9,
        order: Order::Version,
        platforms: vec![],
    };
    let gathered = known::gather(&world.places, &watch, 2, std::time::SystemTime::UNIX_EPOCH).await.unwrap();
    known::change(&file, Change { add: gathered.entries, watch: vec![watch], ..Change::default() }).unwrap();
    let known = KnownBases::open(&file).unwrap();
    let before = world.server.registry().logged().len();
    let images = Images { repositories: vec![world.text("app?:*")], ..Images::default() };
    let inventory = world.scan(images, Some(&known)).await;
    let evidence = |m: &Member| m.platforms[0].evidence.clone();
    assert_eq!(inventory.images.len(), 8);
    assert!(inventory.images.iter().all(|m| evidence(m).as_deref() == Some("known-base")));
    let logged = world.server.registry().logged();
    let about_base = logged[before..].iter().filter(|r| r.target.contains("/base/")).count();
    // Its manifest, config and tags, and what is said of its own base.
    assert!(about_base <= 5, "{about_base} requests");
}

#[tokio::test]
async fn a_base_that_cannot_be_asked_for_is_no_failure() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    let app = on(&os, "app/run").annotation(NAME, "127.0.0.1:1/base:1").build();
    world.put("app:1", &app.graph()).await;
    let inventory = world.scan_all(&["app:1"]).await;
    let platform = &inventory.images[0].platforms[0];
    assert_eq!((platform.status.as_str(), platform.boundary), ("unknown", None));
    assert!(platform.reason.as_deref().unwrap().contains("127.0.0.1:1"), "{platform:?}");
    assert_eq!(platform.base.as_ref().unwrap().to_string(), "127.0.0.1:1/base:1");
}

#[tokio::test]
async fn images_are_taken_from_everywhere_each_once() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    let digest = os.digest();
    for name in ["team/a:1", "team/b:1", "team/b:2", "team/c:1", "team/c/d:1", "other/e:1"] {
        world.put(name, &os.graph()).await;
    }
    // Of an earlier run, and of one of its results; of the last the image is gone.
    for name in ["team/a:1-palan-0123456789ab", "team/a:1-before-0123456789ab", "team/a:9-palan-0123456789ab"]
    {
        world.put(name, &os.graph()).await;
    }
    let artifact = ImageSpec::new("linux/amd64").manifest_field("/config/mediaType", "application/x.chart");
    world.put("team/chart:1", &artifact.build().graph()).await;

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("deploy")).unwrap();
    let host = world.server.host();
    let list = format!("# ours\n{host}/team/a:1 {host}/team/b@{digest}\nNOT:ONE\n{host}/team/gone:1\n");
    std::fs::write(folder.path().join("list"), list).unwrap();
    let pod =
        format!("spec:\n  containers:\n  - image: {host}/team/a:1@{digest}\n  - image: {host}/other/e:1\n");
    std::fs::write(folder.path().join("deploy/pod.yaml"), pod).unwrap();
    std::fs::write(folder.path().join("deploy/Dockerfile"), "FROM debian:12\n").unwrap();
    let json = format!(r#"{{"items":[{{"spec":{{"containers":[{{"image":"{host}/team/b:2"}}]}}}}]}}"#);
    std::fs::write(folder.path().join("pods"), json).unwrap();

    let settings = format!(
        "[images]\nfiles = [\"./list\", \"pods\"]\nmanifests = [\"deploy\"]\n\
         repositories = [\"{host}/team/*:*\"]\nexclude = [\"{host}/team/c\"]\n\
         references = [\"{host}/team/a:1-palan-0123456789ab\", \"{host}/team/chart:1\"]\n"
    );
    let settings = Settings::parse(&settings).unwrap().in_folder(folder.path());
    let found = fleet::scan(&world.places, &settings, None, 2, &Observer::default()).await.unwrap();
    assert_eq!(world.names(&found), ["other/e:1", "team/a:1", "team/b:1", "team/b:2", "team/c/d:1"]);
    let shown = folder.path().display().to_string();
    let named: Vec<String> = member(&found, "team/a:1")
        .named_in
        .iter()
        .map(|p| p.replace(&shown, "").replace(&host, ""))
        .collect();
    assert_eq!(named, ["/list:2", "/deploy/pod.yaml:3 (by digest)", "/team/*:*"]);
    let missed = world.missed(&found);
    let expected = [
        ("NOT:ONE", "invalid reference"),
        ("team/a:1-palan-0123456789ab", "its tag is that of a candidate or backup"),
        (&format!("team/b@{digest}"), "named by its digest alone"),
        ("team/chart:1", "an artifact"),
        ("team/gone:1", "1 was not found in team/gone"),
    ];
    assert_eq!(missed.len(), expected.len(), "{missed:#?}");
    for (name, reason) in expected {
        assert!(missed.iter().any(|(n, r)| n == name && r.contains(reason)), "{name}: {missed:#?}");
    }
}

#[tokio::test]
async fn tags_of_other_templates_than_now_are_left_out_and_those_of_own_ones_are_said() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    for name in
        ["a:1", "a:1-before-0123456789ab", "a:1-palan-0123456789ab", "b:9-before-0123456789ab", "v:stable"]
    {
        world.put(&format!("team/{name}"), &os.graph()).await;
    }
    let settings = format!(
        "[images]\nrepositories = [\"{}\"]\n[tags]\ncandidate = \"stable\"\nbackup = \"{{tag}}-old-{{new}}\"\n",
        world.text("team/*")
    );
    let settings = Settings::parse(&settings).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&said);
    let observer = Observer::new(move |event| {
        if let palan::Event::Note { text } = event {
            notes.lock().unwrap().push(text.to_string());
        }
    });
    let found = fleet::scan(&world.places, &settings, None, 2, &observer).await.unwrap();
    assert_eq!(world.names(&found), ["team/a:1"]);
    assert!(found.missed.is_empty());
    let said = said.lock().unwrap().join("\n");
    let expected = format!(
        "{} is left out: its tag is one that the template \"stable\" gives",
        world.text("team/v:stable")
    );
    assert_eq!(said, expected);
}

#[tokio::test]
async fn what_cannot_be_listed_is_missed_and_what_cannot_be_read_fails() {
    let world = World::new().await;
    let repositories = vec!["127.0.0.1:1/a/*".to_owned(), world.text("gone:*"), world.text("none/*")];
    let found = world.scan(Images { repositories, ..Images::default() }, None).await;
    let missed = world.missed(&found);
    assert_eq!(missed.len(), 2, "{missed:?}");
    assert!(missed[0].1.starts_with("the catalog cannot be read: "), "{missed:?}");
    assert_eq!(missed[1].0, "gone");
    let settings = Settings {
        images: Images { files: vec!["/no/list".to_owned()], ..Images::default() },
        ..Settings::default()
    };
    let error = fleet::scan(&world.places, &settings, None, 1, &Observer::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read /no/list");
}

#[tokio::test]
async fn what_names_no_image_is_said() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    world.put("team/a:1", &os.graph()).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let files = vec![write("list", "# none\n"), write("foo", "{\"foo\": 1}\n")];
    let manifests =
        vec![write("empty.yaml", "a: b\n"), write("a.yaml", &format!("image: {}\n", world.text("team/a:1")))];
    let repositories = vec![world.text("nope/*"), world.text("team/*")];
    let exclude = vec![world.text("tem/*")];
    let images = Images { files, manifests, repositories, exclude, ..Images::default() };
    let found = world.scan(images, None).await;
    assert!(found.missed.is_empty(), "{:?}", found.missed);
    let shown = format!("{}/", folder.path().display());
    let host = format!("{}/", world.server.host());
    let unfit: Vec<String> = found.unfit.iter().map(|s| s.replace(&shown, "").replace(&host, "")).collect();
    let expected = [
        "list names no image",
        "foo names no image",
        "empty.yaml names no image",
        "no image fits nope/*",
        "no image fits tem/*, which is to be left out",
    ];
    assert_eq!(unfit, expected);
}

#[tokio::test]
async fn what_cannot_be_read_to_its_end_is_missed() {
    let (world, os) = (World::new().await, base("linux/amd64", "one"));
    world.put("team/a:1", &os.graph()).await;
    let image = world.text("team/a:1");
    let folder = tempfile::tempdir().unwrap();
    let whole = format!(r#"{{"items":[{{"spec":{{"containers":[{{"image":"{image}"}}]}}}},{{"a":1}}]}}"#);
    let cut = whole[..whole.len() - 8].to_owned();
    let cases = [
        (true, "pods", whole, None),
        (true, "pods", cut, Some("it is no JSON that could be read to its end")),
        (true, "pod.yaml", format!("image: {image}\n"), None),
        (true, "dump", format!("---\nimage: {image}\n"), None),
        (
            false,
            "pod.yaml",
            format!("spec:\n\tcontainers:\n\t- image: {image}\n"),
            Some("it is indented by tabs"),
        ),
        (false, "pod.yaml", format!("# one\n\t# two\n\nimage: {image}\n"), None),
    ];
    for (is_list, name, text, reason) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).unwrap();
        let named = vec![path.display().to_string()];
        let images = match is_list {
            true => Images { files: named, ..Images::default() },
            false => Images { manifests: named, ..Images::default() },
        };
        let found = world.scan(images, None).await;
        let missed: Vec<_> = found.missed.iter().map(|missed| missed.reason.as_str()).collect();
        match reason {
            None => assert!(
                missed.is_empty() && found.images.len() == 1 && found.unfit.is_empty(),
                "{text}: {missed:?}"
            ),
            Some(reason) => assert!(missed.len() == 1 && missed[0].starts_with(reason), "{text}: {missed:?}"),
        }
    }
}

#[test]
fn an_inventory_says_what_it_is() {
    let inventory = Inventory { unfit: vec!["no image fits x".to_owned()], ..Inventory::default() };
    let text = inventory.to_text();
    assert!(text.starts_with("{\n  \"schema\": \"palan.fleet.inventory/v1\",\n"), "{text}");
    assert_eq!(Inventory::parse(&text).unwrap(), inventory);
    assert_eq!(Inventory::parse("{\"images\": []}").unwrap(), Inventory::default());
    let error = Inventory::parse("{\"schema\": \"palan.fleet.plan/v1\", \"images\": []}").unwrap_err();
    assert_eq!(error.to_string(), "its schema is \"palan.fleet.plan/v1\", not \"palan.fleet.inventory/v1\"");
    assert!(Inventory::parse("[]").is_err());
}
