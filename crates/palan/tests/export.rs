//! Exporting: what a container sees, in one archive. The cases in which other tools lose data, each by name, and the trees
//! that other people's tools make of the archive.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use common::{chain, memory, places, store};
use palan::{
    Error, Event, Location, Observer,
    copy::Options,
    export::{Exported, export},
    flatten::{Keep, Request, plan},
    place::{Layout, PutAs, Source},
    rewrite::{self, Subject},
};
use palan_core::{Compression, Family, MediaType};
use palan_layer::{
    Level,
    extract::{self, Owners},
    tar::{Archive, Kind, Meta},
};
use palan_testkit::{
    image::{Graph, ImageSpec, Layer, LayerSpec},
    peer::are_installed,
};
use serde_json::json;

/// Collects what is written, and fails when there is more than it has room for.
#[derive(Clone, Default)]
struct Sink {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: Option<usize>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.bytes.lock().unwrap();
        if self.room.is_some_and(|room| all.len() + bytes.len() > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn try_export(graph: &Graph, sink: Sink) -> Result<Exported, Error> {
    let source: Arc<dyn Source> = memory(graph).await;
    export(source.as_ref(), graph.root(), sink, &Options::default()).await
}

async fn exported(layers: Vec<LayerSpec>) -> (Vec<u8>, Exported) {
    let layers = layers.into_iter().map(LayerSpec::build);
    let graph = ImageSpec::new("linux/amd64").layers(layers).build().graph();
    let sink = Sink::default();
    let exported = try_export(&graph, sink.clone()).await.unwrap();
    let bytes = sink.bytes.lock().unwrap().clone();
    (bytes, exported)
}

/// `path`, `path: content`, `path -> target`, `path = target`.
fn entries(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar);
    let mut out = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let path = String::from_utf8_lossy(entry.path()).into_owned();
        let link = String::from_utf8_lossy(entry.link()).into_owned();
        out.push(match entry.kind {
            Kind::File => format!("{path}: {}", io::read_to_string(&mut entry).unwrap()),
            Kind::Symlink => format!("{path} -> {link}"),
            Kind::HardLink => format!("{path} = {link}"),
            _ => path,
        });
    }
    out
}

fn new() -> LayerSpec {
    LayerSpec::new()
}

/// crane #2002.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_links_old_content_stays_when_its_target_is_overwritten() {
    let lower = new().file("t1", "old").hard_link("t2", "t1").hard_link("t3", "t1");
    let (tar, _) = exported(vec![lower, new().file("t1", "new")]).await;
    assert_eq!(entries(&tar), ["t1: new", "t2: old", "t3 = t2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_to_a_file_of_a_lower_layer_comes_after_it() {
    let (tar, _) = exported(vec![new().file("b", "1"), new().hard_link("a", "b").hard_link("c", "b")]).await;
    assert_eq!(entries(&tar), ["a: 1", "b = a", "c = b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whiteout_spares_what_its_own_layer_adds() {
    for upper in [new().whiteout("d").file("d/new", "2"), new().file("d/new", "2").whiteout("d")] {
        let (tar, _) = exported(vec![new().dir("d").file("d/old", "1"), upper]).await;
        assert_eq!(entries(&tar), ["d/new: 2"]);
    }
    for upper in [new().opaque("d").file("d/new", "2"), new().file("d/new", "2").opaque("d")] {
        let (tar, _) = exported(vec![new().dir("d").file("d/old", "1"), upper]).await;
        assert_eq!(entries(&tar), ["d/", "d/new: 2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_equal_names_in_a_layer_counts() {
    let (tar, _) = exported(vec![new().file("a", "1").file("./a", "2").dir("b").file("b", "3")]).await;
    assert_eq!(entries(&tar), ["a: 2", "b: 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_come_before_what_is_inside() {
    let (tar, _) =
        exported(vec![new().dir("d").file("d/x", "1"), new().file("d/e/y", "2").dir("d/e").dir("d")]).await;
    assert_eq!(entries(&tar), ["d/", "d/e/", "d/e/y: 2", "d/x: 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_only_windows_would_refuse_are_kept() {
    let (tar, _) = exported(vec![new().dir(".").file("a:b", "1").file(r"c\d", "2").file(r"\e", "3")]).await;
    assert_eq!(entries(&tar), ["./", r"\e: 3", "a:b: 1", r"c\d: 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_out_of_the_root_are_kept_and_told() {
    let layer = new()
        .symlink("d/link", "../../etc/passwd")
        .symlink("absolute", "/etc/passwd")
        .file("../file", "1")
        .hard_link("hard", "../file");
    let (tar, exported) = exported(vec![layer]).await;
    let expected = ["../file: 1", "absolute -> /etc/passwd", "d/link -> ../../etc/passwd", "hard = ../file"];
    assert_eq!(entries(&tar), expected);
    let Exported::Files { written, layers: 1 } = exported else { panic!("{exported:?}") };
    let told: Vec<_> = written.escaping_names.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["\"../file\"", "\"d/link\"", "\"hard\""]);
}

/// The half of it that the library sees: who writes is told that it was the output. The other half is in the CLI's tests.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_mid_stream_is_an_error() {
    let image = ImageSpec::new("linux/amd64").layer(new().noise("noise", 1, 300_000).build()).build();
    let full = Sink { room: Some(200_000), ..Sink::default() };
    let error = try_export(&image.graph(), full).await.unwrap_err();
    assert!(
        matches!(&error, Error::Output(e) if e.kind() == io::ErrorKind::StorageFull),
        "{}",
        chain(&error)
    );
    let lying = ImageSpec::new("linux/amd64")
        .layer(new().file("a", "1").build())
        .config_field("/rootfs/diff_ids", json!([palan_core::Digest::sha256(b"other")]))
        .build();
    let sink = Sink::default();
    let error = try_export(&lying.graph(), sink.clone()).await.unwrap_err();
    assert!(chain(&error).contains("diff ID"), "{}", chain(&error));
    assert!(sink.bytes.lock().unwrap().is_empty(), "nothing is written before everything is checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_every_compression_and_family() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layers = ["a", "b"].map(|name| new().file(name, name).compression(compression));
        assert_eq!(entries(&exported(layers.into()).await.0), ["a: a", "b: b"]);
    }
    let layer = new().file("a", "1").build();
    // The same layer twice is read once.
    let docker = ImageSpec::new("linux/amd64").family(Family::Docker).layers([layer.clone(), layer]).build();
    let sink = Sink::default();
    try_export(&docker.graph(), sink.clone()).await.unwrap();
    assert_eq!(entries(&sink.bytes.lock().unwrap()), ["a: 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_of_one_blob_is_that_blob() {
    let mut layer = new().build();
    layer.bytes = (&b"just bytes"[..]).into();
    layer.digest = palan_core::Digest::sha256(b"just bytes");
    let blob = || layer.clone().with_media_type(MediaType::new("application/x-thing"));
    let artifact = |layers: Vec<Layer>| {
        let spec = ImageSpec::new("linux/amd64").layers(layers);
        spec.manifest_field("/config/mediaType", "application/x-config").build().graph()
    };
    let sink = Sink::default();
    let exported = try_export(&artifact(vec![blob()]), sink.clone()).await.unwrap();
    assert!(matches!(exported, Exported::Blob { .. }), "{exported:?}");
    assert_eq!(*sink.bytes.lock().unwrap(), b"just bytes");
    let error = try_export(&artifact(vec![blob(), blob()]), Sink::default()).await.unwrap_err();
    assert!(chain(&error).contains("is an artifact of 2 blobs"), "{}", chain(&error));
    // Layers of files need no config to be exported.
    let sink = Sink::default();
    try_export(&artifact(vec![new().file("a", "1").build()]), sink.clone()).await.unwrap();
    assert_eq!(entries(&sink.bytes.lock().unwrap()), ["a: 1"]);
}

/// What is at the paths of an unpacked image, with all names of files that have several. umoci changes the times of
/// directories while it applies layers.
fn tree(root: &Path, dir_times: bool) -> BTreeMap<Vec<u8>, String> {
    let (mut out, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        let mut inside: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        for path in inside {
            use std::os::unix::ffi::OsStrExt as _;
            let found = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            // Who is not root is not given the owner, and palan gives no set-user-ID bits without it.
            let (mode, owner) = match is_root() {
                true => (found.mode(), (found.uid(), found.gid())),
                false => (found.mode() & !0o6000, (0, 0)),
            };
            let mut what = format!("{mode:o} {owner:?} {}", found.mtime());
            if found.is_symlink() {
                what = format!("link {owner:?} {}", fs::read_link(&path).unwrap().display());
            } else if found.is_file() {
                what += &format!(" {}", palan_core::Digest::sha256(&fs::read(&path).unwrap()));
            } else if found.is_dir() {
                if !dir_times {
                    what = format!("{mode:o} {owner:?}");
                }
                pending.push(path);
            }
            if found.nlink() > 1 && !found.is_dir() {
                names.entry(found.ino()).or_insert_with(Vec::new).push(name.clone());
            }
            out.insert(name, what);
        }
    }
    for mut group in names.into_values() {
        group.sort();
        let all = group.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(" ");
        group.iter().for_each(|name| *out.get_mut(name).unwrap() += &format!(" {all}"));
    }
    out
}

fn is_root() -> bool {
    Owners::usual() == Owners::Archive
}

#[track_caller]
fn run(folder: &Path, words: &[&str]) {
    let output =
        Command::new(words[0]).args(&words[1..]).current_dir(folder).env("HOME", folder).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A layer as GNU tar writes it: with a sparse file, long names, and times of its own.
fn written_by_gnu_tar(folder: &Path, format: &[&str]) -> Layer {
    let root = folder.join("gnu");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("s").join("d".repeat(130))).unwrap();
    let sparse = fs::File::create(root.join("s/sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 1_500_000).unwrap();
    fs::hard_link(root.join("s/sparse"), root.join("s/linked")).unwrap();
    fs::write(root.join("s").join("d".repeat(130)).join("f".repeat(120)), "deep").unwrap();
    let mut tar = Command::new("tar");
    tar.args(format).args(["--sparse", "--sort=name", "-cf", "-", "."]);
    let tar = tar.current_dir(&root).output().unwrap();
    assert!(tar.status.success());
    Layer::of_tar(tar.stdout, Compression::Gzip, Level::DEFAULT)
}

/// Everything that is hard to get right, in four layers.
fn hard_image(folder: &Path, format: &[&str]) -> Graph {
    let meta = Meta::FILE.mode(0o4755).mtime(1_234_567_890);
    let first = new()
        .dir("etc")
        .dir("usr")
        .dir("usr/lib")
        .dir("opaque")
        .dir("gone")
        .file("etc/os-release", "ID=x\n")
        .raw(|tar| tar.bytes("etc/program", &Meta::FILE.mode(0o4755).mtime(1_234_567_890), b"program"))
        .hard_link("etc/linked", "etc/program")
        .symlink("lib", "usr/lib")
        .file("opaque/old", "1")
        .file("gone/file", "1")
        .file("becomes-dir", "1")
        .file("becomes-file/inside", "1")
        .raw(|tar| tar.bytes(b"latin-\xe9", &Meta::FILE.mtime(7).owner(12, 34), b"1"))
        .file("n".repeat(180), "long");
    let second = new()
        .raw(move |tar| tar.bytes("etc/program", &meta, b"other"))
        .opaque("opaque")
        .file("opaque/new", "2")
        .whiteout("gone")
        .dir("becomes-dir")
        .file("becomes-dir/inside", "2")
        .file("becomes-file", "2")
        .hard_link("a-link", "usr/lib/deep")
        .raw(|tar| tar.special("pipe", Kind::Fifo, &Meta::FILE));
    let second_files = new().file("usr/lib/deep", "3").file("gone2/x", "1");
    let third = new().whiteout("s/sparse").whiteout("gone2").dir("usr/lib");
    let layers = [
        first.build(),
        second_files.build(),
        second.build(),
        written_by_gnu_tar(folder, format),
        third.build(),
    ];
    ImageSpec::new("linux/amd64").layers(layers).build().graph()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tools_make_the_same_tree_of_it() {
    if !are_installed(&["tar"]) {
        return;
    }
    // Asked for once: what is missing counts once.
    let [bsdtar, umoci] = ["bsdtar", "umoci"].map(|tool| are_installed(&[tool]));
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=oldgnu"],
    ];
    for format in formats {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let graph = hard_image(folder, format);
        let sink = Sink::default();
        try_export(&graph, sink.clone()).await.unwrap();
        fs::write(folder.join("x.tar"), &*sink.bytes.lock().unwrap()).unwrap();
        fs::create_dir(folder.join("tar")).unwrap();
        run(folder, &["tar", "-xpf", "x.tar", "-C", "tar"]);
        let read = |path: &str| fs::read_to_string(folder.join("tar").join(path)).unwrap();
        assert_eq!((read("etc/linked"), read("etc/program")), ("program".into(), "other".into()));
        assert_eq!((read("a-link"), read("usr/lib/deep")), ("3".into(), "3".into()));
        assert_eq!(fs::metadata(folder.join("tar/s/linked")).unwrap().len(), 3_000_000);
        let source: Arc<dyn Source> = memory(&graph).await;
        let how = extract::Options::new(Owners::usual());
        let (dir, options) = (folder.join("palan"), Options::default());
        let extracted = palan::extract::extract(source.as_ref(), graph.root(), &dir, &how, &options);
        let extracted = extracted.await.unwrap();
        let losses = extracted.report.losses();
        assert_eq!(extracted.report.entries, extracted.written.entries);
        assert!(!is_root() || losses.is_empty(), "{losses:?}");
        let both = ["tar", "palan"].map(|tool| tree(&folder.join(tool), true));
        assert_eq!(both[0], both[1], "{format:?}");
        if bsdtar {
            fs::create_dir(folder.join("bsdtar")).unwrap();
            run(folder, &["bsdtar", "-xpf", "x.tar", "-C", "bsdtar"]);
            let both = ["tar", "bsdtar"].map(|tool| tree(&folder.join(tool), true));
            assert_eq!(both[0], both[1], "{format:?}");
        }
        // umoci does not know GNU's own sparse files.
        if format[0] == "--format=posix" && umoci {
            let layout = Layout::create(folder.join("layout")).unwrap();
            store(&layout, &graph, PutAs::Tag("v1".into())).await.unwrap();
            flatten(folder).await;
            for tag in ["v1", "flat"] {
                let image = format!("layout:{tag}");
                let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
                run(folder, &[&["umoci", "unpack", "--image", &image], rootless, &[tag]].concat());
                let unpacked = tree(&folder.join(tag).join("rootfs"), false);
                assert_eq!(tree(&folder.join("tar"), false), unpacked, "{format:?} {tag}");
            }
        }
    }
}

async fn flatten(folder: &Path) {
    let location =
        |tag: &str| -> Location { format!("oci:{}:{tag}", folder.join("layout").display()).parse().unwrap() };
    let request = Request {
        subject: Subject { target: Some(location("flat")), ..Subject::new(location("v1")) },
        keep: Keep::Nothing,
        compression: Compression::Gzip,
        level: Level::DEFAULT,
        created: None,
        ahead: false,
    };
    let plan = plan(&places(), &request, None, &Options::default()).await.unwrap();
    rewrite::apply(&places(), &plan, &Options::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_called_something_else_is_read_and_noted() {
    let zstd = LayerSpec::new().file("a", "1").compression(Compression::Zstd).build();
    let layer = zstd.clone().with_media_type(MediaType::OCI_LAYER_GZIP);
    let graph = ImageSpec::new("linux/amd64").layer(layer).build().graph();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let observer = Observer::new(move |event| {
        if let Event::Note { text } = event {
            heard.lock().unwrap().push(text.clone());
        }
    });
    let source = memory(&graph).await;
    let options = Options { observer, ..Options::default() };
    let root = source.document(&graph.root().digest().into()).await.unwrap();
    export(source.as_ref(), &root, std::io::sink(), &options).await.unwrap();
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    for part in
        [&*zstd.digest.to_string(), "says compression gzip, the content has zstd", "read all the same"]
    {
        assert!(notes[0].contains(part), "{notes:?}");
    }
}
