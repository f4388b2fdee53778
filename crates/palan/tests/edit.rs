//! Editing: configs, manifests and files of images, alone and inside indexes.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{chain, places, store};
use palan::{
    Error, Location,
    copy::Options,
    edit::{self, Found, Text},
    files,
    image::Image,
    listings::Listings,
    place::{Layout, PutAs, Source},
    rewrite::{self, Plan, Subject},
    validate,
};
use palan_core::{Digest, Document, Family, Kind, MediaType, view};
use palan_layer::{
    tar::Meta,
    tree::{Content, NodeKind, Tree},
};
use palan_testkit::image::{Attestation, Graph, Image as Fixture, ImageSpec, IndexSpec, LayerSpec, layer};
use serde_json::{Value, json};

async fn publish(folder: &Path, name: &str, graph: &Graph) -> Location {
    let layout = Layout::create(folder.join(name)).unwrap();
    store(&layout, graph, PutAs::Tag("v1".into())).await.unwrap();
    format!("oci:{}:v1", folder.join(name).display()).parse().unwrap()
}

fn opened(image: &Location) -> Layout {
    let Location::Layout { path, .. } = image else { panic!("{image}") };
    Layout::open(path).unwrap()
}

/// Writes a plan; what it made must be sound.
async fn applied(plan: &Plan, image: &Location) -> Layout {
    rewrite::apply(&places(), plan, &Options::default()).await.unwrap_or_else(|e| panic!("{}", chain(&e)));
    let layout = opened(image);
    let options = validate::Options::default();
    let faults = validate::validate(&layout, &plan.digest().into(), &options).await.unwrap().faults;
    assert!(faults.iter().all(|f| f.severity == validate::Severity::Warning), "{faults:?}");
    layout
}

fn value(document: &Document) -> Value {
    Value::Object(document.object().unwrap())
}

fn exact(text: &str) -> Text<'_> {
    Text { bytes: text.as_bytes(), exact: true }
}

fn edited(text: &str) -> Text<'_> {
    Text { bytes: text.as_bytes(), exact: false }
}

fn plain(platform: &str) -> Fixture {
    ImageSpec::new(platform).layer(layer(&[("a", platform.as_bytes())])).build()
}

async fn config(image: &Location, of: &Fixture, text: Text<'_>) -> Result<Plan, Error> {
    edit::config(&places(), &Subject::new(image.clone()), of.digest(), text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_replaced_inside_its_index() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Oci, Family::Docker] {
        let images = ["linux/amd64", "linux/arm64"]
            .map(|p| ImageSpec::new(p).family(family).layer(layer(&[("a", p.as_bytes())])).build());
        let inner = IndexSpec::new().family(family).images(images.clone()).build();
        let outer = IndexSpec::new().family(family).nested(&inner).build();
        for (name, graph) in
            [("single", images[1].graph()), ("index", inner.graph()), ("nested", outer.graph())]
        {
            let id = format!("{name}-{family}");
            let image = publish(folder.path(), &id, &graph).await;
            let mut json = value(&images[1].config);
            json["config"]["User"] = json!("me");
            let text = serde_json::to_string_pretty(&json).unwrap() + "\n";
            let plan = config(&image, &images[1], exact(&text)).await.unwrap();
            assert_eq!(plan.root().kind(), graph.root().kind(), "{id}");
            assert_eq!(plan.images().len(), 1, "{id}");
            let layout = applied(&plan, &image).await;
            let new = layout.document(&plan.images()[0].1.into()).await.unwrap();
            let new = Image::load(&layout, new).await.unwrap();
            assert_eq!(new.config.bytes(), text.as_bytes(), "{id}: as it was given");
            assert_eq!(new.config.media_type(), images[1].config.media_type(), "{id}");
            // From an editor: written as the old one was.
            let image = publish(folder.path(), &id, &graph).await;
            let plan = config(&image, &images[1], edited(&text)).await.unwrap();
            let layout = applied(&plan, &image).await;
            let new = layout.document(&plan.images()[0].1.into()).await.unwrap();
            let new = Image::load(&layout, new).await.unwrap();
            assert_eq!(new.config.bytes(), json.to_string().as_bytes(), "{id}");
            json["architecture"] = json!("s390x");
            let image = publish(folder.path(), &id, &graph).await;
            let plan = config(&image, &images[1], edited(&json.to_string())).await.unwrap();
            let note = "the config is for linux/s390x now, the index still lists it for linux/arm64";
            assert_eq!(plan.notes().contains(&note.to_owned()), name != "single", "{id}");
            let same = serde_json::to_string_pretty(&value(&images[1].config)).unwrap();
            assert!(config(&image, &images[1], edited(&same)).await.unwrap().is_noop(), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_no_config_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = plain("linux/amd64");
    let image = publish(folder.path(), "image", &fixture.graph()).await;
    let mut fewer = value(&fixture.config);
    fewer["rootfs"]["diff_ids"] = json!([]);
    let cases = [
        ("{}", "rootfs"),
        ("", "the new config is not usable: not valid"),
        ("[]", "a JSON object is expected"),
        (r#"{"a":1,"a":2}"#, "duplicate"),
        (&fewer.to_string(), "the image has 1 layers, the new config 0 diff IDs"),
    ];
    for (text, expected) in cases {
        for text in [exact(text), edited(text)] {
            let error = chain(&config(&image, &fixture, text).await.err().unwrap());
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
    let other = plain("linux/arm64");
    let error = config(&image, &other, exact(&value(&other.config).to_string())).await.err().unwrap();
    assert!(error.is_not_found(), "moved meanwhile: {}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_stored_as_given_if_they_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (plain("linux/amd64"), plain("linux/arm64"));
    let index = IndexSpec::new().image(one.clone()).attest(Attestation::Legacy).build();
    let image = publish(folder.path(), "index", &index.graph()).await;
    let subject = Subject::new(image.clone());
    let run = async |of: Digest, media_type: Option<MediaType>, text: &str| {
        edit::manifest(&places(), &subject, of, media_type, exact(text)).await
    };

    // The index itself, with one entry less and another key order.
    let mut json = value(&index.document);
    json["manifests"].as_array_mut().unwrap().pop();
    let text = serde_json::to_string_pretty(&json).unwrap();
    let plan = run(index.digest(), None, &text).await.unwrap();
    assert_eq!(plan.root().bytes(), text.as_bytes());

    // An image inside it.
    let mut json = value(&one.manifest);
    json["annotations"] = json!({"a": "b"});
    let plan = run(one.digest(), None, &json.to_string()).await.unwrap();
    assert_eq!(plan.root().kind(), Kind::Index);
    assert_eq!(plan.images(), [(one.digest(), Digest::sha256(json.to_string().as_bytes()))]);
    json["mediaType"] = json!(MediaType::DOCKER_MANIFEST);
    let error = chain(&run(one.digest(), None, &json.to_string()).await.err().unwrap());
    assert!(error.contains("inside an index, a manifest keeps its media type"), "{error}");
    applied(&plan, &image).await;

    // What it names must be there.
    let image = publish(folder.path(), "single", &one.graph()).await;
    let subject = Subject::new(image.clone());
    let run = async |media_type: Option<MediaType>, text: &str| {
        edit::manifest(&places(), &subject, one.digest(), media_type, exact(text)).await
    };
    let error = run(None, &value(&two.manifest).to_string()).await.err().unwrap();
    assert!(
        error.is_not_found() && chain(&error).contains("which the new manifest names"),
        "{}",
        chain(&error)
    );
    let list =
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [one.descriptor()]});
    let plan = run(None, &list.to_string()).await.unwrap();
    assert_eq!(plan.root().kind(), Kind::Index, "another kind of document");
    let list =
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [two.descriptor()]});
    assert!(run(None, &list.to_string()).await.err().unwrap().is_not_found());

    let old = value(&one.manifest).to_string().replace("\"schemaVersion\":2", "\"schemaVersion\":1");
    assert!(chain(&run(None, &old).await.err().unwrap()).contains("schemaVersion is not 2"));

    // Media type: flag, document, original.
    let mut json = value(&one.manifest);
    let docker = Some(MediaType::DOCKER_MANIFEST);
    let plan = run(docker.clone(), &json.to_string()).await.unwrap();
    assert_eq!(*plan.root().media_type(), MediaType::DOCKER_MANIFEST);
    assert_eq!(value(plan.root())["mediaType"], json!(MediaType::DOCKER_MANIFEST), "both say the same");
    assert!(plan.notes()[0].contains("says now that its type is"), "{:?}", plan.notes());
    let error = run(Some(MediaType::OCI_INDEX), &json.to_string()).await.err().unwrap();
    assert!(chain(&error).contains("the content is not a"), "{}", chain(&error));
    json["mediaType"] = json!(MediaType::DOCKER_MANIFEST);
    assert_eq!(*run(None, &json.to_string()).await.unwrap().root().media_type(), MediaType::DOCKER_MANIFEST);
    json.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(*run(None, &json.to_string()).await.unwrap().root().media_type(), MediaType::OCI_MANIFEST);
    assert_eq!(
        *run(docker, &json.to_string()).await.unwrap().root().media_type(),
        MediaType::DOCKER_MANIFEST
    );
    assert!(run(None, &value(&one.manifest).to_string()).await.unwrap().is_noop());
}

/// A root file system with links, owners and attributes.
fn rooted(platform: &str, family: Family) -> Fixture {
    let meta = Meta::FILE.mode(0o4750).owner(7, 8).mtime(1_234_567);
    let meta = Meta { xattrs: vec![(b"user.x".to_vec(), b"\0y".to_vec())], ..meta };
    let below = LayerSpec::new()
        .raw(|tar| tar.bytes("etc/app.conf", &meta, b"blue"))
        .hard_link("etc/other.conf", "etc/app.conf")
        .symlink("conf", "/etc")
        .symlink("etc/link", "../srv/./real")
        .file("srv/real", "through the link")
        .symlink("loop", "loop")
        .file("gone", "x");
    let above = LayerSpec::new().whiteout("gone").file("etc/app.sh", platform);
    ImageSpec::new(platform).family(family).layers([below.build(), above.build()]).build()
}

async fn find(image: &Location, fixture: &Fixture, path: &str) -> Result<(Image, Found), Error> {
    let layout = opened(image);
    let loaded = Image::load(&layout, fixture.manifest.clone()).await?;
    let found = edit::find(&layout, &loaded, path.as_bytes(), &Listings::default()).await?;
    Ok((loaded, found))
}

async fn put(image: &Location, fixture: &Fixture, path: &str, content: &[u8], time: Option<i64>) -> Plan {
    let (loaded, found) =
        find(image, fixture, path).await.unwrap_or_else(|e| panic!("{path}: {}", chain(&e)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let file = edit::File { content: file.path(), time };
    edit::file(&places(), &Subject::new(image.clone()), &loaded, &found, file).await.unwrap()
}

async fn tree(layout: &Layout, plan: &Plan) -> (Image, Tree) {
    let manifest = layout.document(&plan.images()[0].1.into()).await.unwrap();
    let image = Image::load(layout, manifest).await.unwrap();
    let tree = files(layout, &image, Content::Digest).await.unwrap();
    (image, tree)
}

/// bug 20: mode, owner and attributes were lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_keeps_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Oci, Family::Docker] {
        let fixture = rooted("linux/amd64", family);
        let index =
            IndexSpec::new().family(family).image(fixture.clone()).image(plain("linux/arm64")).build();
        for (name, graph) in [("single", fixture.graph()), ("index", index.graph())] {
            let id = format!("{name}-{family}");
            let image = publish(folder.path(), &id, &graph).await;
            let plan = put(&image, &fixture, "/conf/app.conf", b"green", Some(99)).await;
            assert_eq!(
                plan.notes(),
                ["/etc/other.conf is another name of the old file, and keeps its content"]
            );
            let layout = applied(&plan, &image).await;
            assert_eq!(plan.root().kind(), graph.root().kind(), "{id}");
            let (new, tree) = tree(&layout, &plan).await;
            let node = tree.get("etc/app.conf").unwrap();
            assert_eq!(node.digest(), Some(Digest::sha256(b"green")), "{id}");
            assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4750, 7, 8, 1_234_567), "{id}");
            assert_eq!(node.xattrs, [(b"user.x".to_vec(), b"\0y".to_vec())], "{id}");
            assert_eq!(tree.get("etc/other.conf").unwrap().digest(), Some(Digest::sha256(b"blue")), "{id}");
            assert!(matches!(tree.get("conf").unwrap().kind, NodeKind::Symlink(_)), "{id}");
            let top = new.manifest_view.layers.last().unwrap();
            let expected = MediaType::OCI_LAYER_GZIP.in_family(family).unwrap();
            assert_eq!(top.media_type, expected, "{id}");
            let history = new.config_view.history.last().unwrap();
            assert_eq!(history.created_by.as_deref(), Some("palan edit fs /etc/app.conf"), "{id}");
            assert_eq!(history.created.as_deref(), Some("1970-01-01T00:01:39Z"), "{id}");
            // One entry, and no parents.
            let layers = new.manifest_view.layers.len();
            let own: Vec<_> = tree.iter().filter(|(_, node)| node.layer == layers - 1).collect();
            assert_eq!(own.len(), 1, "{id}: {own:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = rooted("linux/amd64", Family::Oci);
    let cases = [
        ("etc/new", "etc/new", Some(5), 5),
        ("/conf/deep/er/new", "etc/deep/er/new", None, 0),
        ("etc/link", "srv/real", None, 1_735_689_600),
        ("etc/../etc/./link", "srv/real", None, 1_735_689_600),
        ("gone", "gone", None, 0),
        ("//srv//real2", "srv/real2", None, 0),
    ];
    for (number, (path, expected, time, mtime)) in cases.into_iter().enumerate() {
        let image = publish(folder.path(), &number.to_string(), &fixture.graph()).await;
        let plan = put(&image, &fixture, path, b"new content", time).await;
        let layout = applied(&plan, &image).await;
        let (_, tree) = tree(&layout, &plan).await;
        let node = tree.get(expected).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(node.digest(), Some(Digest::sha256(b"new content")), "{path}");
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o644, 0, 0, mtime), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_file_can_be_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = rooted("linux/amd64", Family::Oci);
    let image = publish(folder.path(), "image", &fixture.graph()).await;
    let cases = [
        ("/", "is a directory"),
        ("", "is a directory"),
        ("etc", "/etc is no regular file"),
        ("conf", "/etc is no regular file"),
        ("etc/new/", "is a directory"),
        ("srv/real/x", "/srv/real is no directory"),
        ("loop", "too many links"),
        ("etc/.wh.x", "would be a whiteout"),
    ];
    for (path, expected) in cases {
        let error = chain(&find(&image, &fixture, path).await.err().unwrap());
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_read_through_every_kind_of_link() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = rooted("linux/amd64", Family::Oci);
    let image = publish(folder.path(), "image", &fixture.graph()).await;
    let cases = [
        ("etc/app.conf", "blue"),
        ("etc/other.conf", "blue"),
        ("etc/link", "through the link"),
        ("etc/app.sh", "linux/amd64"),
        ("etc/new", ""),
        ("gone", ""),
    ];
    for (path, expected) in cases {
        let (loaded, found) = find(&image, &fixture, path).await.unwrap();
        let out = tempfile::NamedTempFile::new().unwrap();
        edit::read(&opened(&image), &loaded, &found, out.reopen().unwrap()).await.unwrap();
        assert_eq!(std::fs::read_to_string(out.path()).unwrap(), expected, "{path}");
        let size = (!matches!(path, "etc/new" | "gone")).then_some(expected.len() as u64);
        assert_eq!(found.size(), size, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = rooted("linux/amd64", Family::Oci);
    let image = publish(folder.path(), "image", &fixture.graph()).await;
    let plan = put(&image, &fixture, "etc/app.conf", b"blue", Some(3)).await;
    assert!(plan.is_noop() && plan.notes().is_empty());
    assert_eq!(plan.root().view::<view::Manifest>().unwrap().layers.len(), 2);
    // An empty file is not the same as none.
    assert!(!put(&image, &fixture, "etc/new", b"", None).await.is_noop());
}
