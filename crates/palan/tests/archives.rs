//! Archives in the shapes found in the wild, and damaged ones.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{assert_holds, chain, copy, memory, places, store};
use palan::{
    Error, Location,
    place::{Archive, ArchiveWriter, Format, Layout, Memory, PutAs, Source, Target},
    validate,
};
use palan_core::{Compression, Digest, Family, Selector, view};
use palan_layer::Builder;
use palan_testkit::image::{Attestation, Graph, Image, ImageSpec, IndexSpec, Layer, LayerSpec, layer};
use serde_json::{Value, json};

/// Three layers, the first and the last of them the same.
fn image(compression: Compression) -> Image {
    let of = |name: &str| LayerSpec::new().file(name, name.repeat(300)).compression(compression).build();
    let spec = ImageSpec::new("linux/amd64").layers([of("one"), of("two"), of("one")]);
    let family = if compression == Compression::Zstd { Family::Oci } else { Family::Docker };
    spec.family(family).build()
}

/// What goes into a `docker save` of old: the config, and a folder for each layer.
fn docker_save(mut tar: Builder, image: &Image, tags: &Value, entries: &mut Vec<Value>) -> Builder {
    let config = format!("{}.json", image.config.digest().hex());
    tar = tar.file(&config, image.config.bytes());
    let mut names: Vec<String> = Vec::new();
    for (n, layer) in image.layers.iter().enumerate() {
        let name = format!("{}-{n}/layer.tar", image.digest().hex());
        let twin = image.layers[..n].iter().position(|l| l.digest == layer.digest);
        tar = tar.dir(name.trim_end_matches("/layer.tar"));
        tar = match twin {
            Some(twin) => tar.symlink(&name, format!("../{}", names[twin])),
            None => tar.file(&name, &layer.bytes),
        };
        names.push(name);
    }
    entries.push(json!({"Config": config, "RepoTags": tags, "Layers": names}));
    tar
}

fn write(folder: &Path, name: &str, tar: Builder) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, tar.tar().unwrap()).unwrap();
    path
}

fn open(path: &Path) -> Result<Arc<dyn Source>, Error> {
    Ok(Arc::new(Archive::open(path, Format::Docker)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_save_of_old_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let image = image(compression);
        let other = ImageSpec::new("linux/arm64").layer(layer(&[("x", b"y")])).build();
        let mut entries = Vec::new();
        let tags = json!(["app:v1", "localhost:5000/team/app:v1"]);
        let tar = docker_save(Builder::new(), &image, &tags, &mut entries);
        let tar = docker_save(tar, &other, &Value::Null, &mut entries);
        let tar = tar.file("manifest.json", json!(entries).to_string()).file("repositories", "{}");
        let archive = open(&write(folder.path(), "old.tar", tar)).unwrap();

        assert_eq!(archive.tags().await.unwrap(), ["app:v1", "localhost:5000/team/app:v1"]);
        let names = ["app:v1", "docker.io/library/app:v1", "localhost:5000/team/app:v1"];
        for name in names {
            let selector = Selector::Tag(name.into());
            let document = archive.document(&selector).await.unwrap();
            // Media types are in the fixture's manifest as they are made here: it is the very same document.
            let manifest: view::Manifest = document.view().unwrap();
            let expected: view::Manifest = image.manifest.view().unwrap();
            assert_eq!((manifest.config, manifest.layers), (expected.config, expected.layers), "{name}");
            let options = validate::Options::default();
            let report = validate::validate(archive.as_ref(), &selector, &options).await.unwrap();
            assert!(report.is_valid() && report.faults.is_empty(), "{:?}", report.faults);
            assert_eq!(report.blobs, 3, "two layers and a config");
        }
        let mut graph = image.graph();
        graph.documents = vec![archive.document(&Selector::Tag("app:v1".into())).await.unwrap()];
        let target: Arc<dyn Target> = Arc::new(Memory::new());
        copy(&archive, &target, graph.root(), PutAs::Root).await.unwrap();
        assert_holds(target.as_ref(), &graph).await;
        let missing = archive.document(&Selector::Tag("team/app:v1".into())).await.unwrap_err();
        assert!(missing.is_not_found());
    }
}

#[tokio::test]
async fn crane_and_hard_links_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(Compression::Gzip);
    let config = format!("sha256:{}", image.config.digest().hex());
    let member = |l: &Layer| format!("{}.tar.gz", l.digest.hex());
    let names: Vec<String> = image.layers.iter().map(member).collect();
    let tar = Builder::new().file(&config, image.config.bytes()).file(&names[0], &image.layers[0].bytes);
    let tar =
        tar.hard_link("hard", &names[0]).symlink("soft", "hard").file(&names[1], &image.layers[1].bytes);
    let entries = json!([{"Config": config, "RepoTags": ["a:b"], "Layers": ["soft", names[1], "hard"]}]);
    let path = write(folder.path(), "crane.tar", tar.file("manifest.json", entries.to_string()));
    let archive = open(&path).unwrap();
    let found = archive.document(&Selector::Tag("a:b".into())).await.unwrap();
    let mut graph = image.graph();
    graph.documents = vec![found];
    assert_holds(archive.as_ref(), &graph).await;
}

#[test]
fn faults_of_docker_archives_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(Compression::None);
    let with = |manifest: &str| Builder::new().file("manifest.json", manifest);
    let entry = |config: &str, layer: &str| json!([{"Config": config, "Layers": [layer]}]).to_string();
    let config = Builder::new().file("c.json", image.config.bytes());
    let layered = |layer: &[u8]| {
        let tar = Builder::new().file("c.json", image.config.bytes()).file("l", layer);
        tar.file("manifest.json", entry("c.json", "l"))
    };
    let cases: Vec<(&str, Builder, &str)> = vec![
        ("empty", Builder::new(), "it is not a docker archive"),
        ("null", with("null"), "manifest.json is null: it holds no image"),
        ("none", with("[]"), "holds no image"),
        ("text", with("<html>"), "manifest.json is not valid: expected value at line 1"),
        ("no-config", with(r#"[{"Layers": []}]"#), "missing field `Config`"),
        ("config", with(&entry("c.json", "l")), "c.json is missing"),
        ("layer", config.file("manifest.json", entry("c.json", "l")), "layer l is missing"),
        ("loop", with(&entry("x", "l")).symlink("x", "y").symlink("y", "x"), "x is missing"),
        ("dir", with(&entry("x", "l")).dir("x"), "x is missing"),
        ("bzip2", layered(b"BZh91AY&SY and so on"), "the layer l is compressed with bzip2"),
        (
            "no-tar",
            layered(&[b'x'; 2000]),
            "the layer l is neither a tar archive nor compressed with gzip or zstd",
        ),
        ("big", Builder::new().file("manifest.json", vec![b' '; 5 << 20]), "4 MiB are allowed"),
    ];
    for (name, tar, reason) in cases {
        let path = write(folder.path(), name, tar);
        let location: Location = format!("docker-archive:{}", path.display()).parse().unwrap();
        let error = places().source(&location).err().unwrap_or_else(|| panic!("{name} was accepted"));
        let text = chain(&error);
        assert!(text.contains(reason), "{name}: {text}");
        assert!(text.starts_with(&format!("docker-archive:{}", path.display())), "{name}: {text}");
    }
}

#[test]
fn what_is_no_archive_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let cases: [(&[u8], &str); 6] = [
        (&[0x1f, 0x8b, 8, 0, 0, 0], "cannot be decompressed: the gzip stream is cut off"),
        (b"BZh91AY", "is compressed with bzip2; decompress it first"),
        (&[b'x'; 2000], "is no tar archive"),
        (&[b'x'; 200], "is truncated: the tar ends at byte 200 inside a header"),
        (b"", "is truncated: the tar ends at byte 0"),
        (&[0; 1024], "it is not"),
    ];
    for (bytes, reason) in cases {
        std::fs::write(&path, bytes).unwrap();
        for format in [Format::Oci, Format::Docker] {
            let text = chain(&Archive::open(&path, format).unwrap_err());
            assert!(text.contains(reason), "{text}");
            assert!(text.contains(&path.display().to_string()), "{text}");
        }
    }
    let text = chain(&Archive::open(folder.path().join("none.tar"), Format::Oci).unwrap_err());
    assert!(text.starts_with("cannot read") && text.contains("none.tar"), "{text}");
    let text = chain(&Archive::open(folder.path(), Format::Oci).unwrap_err());
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
}

/// The files of a layout with this image, packed as `tar -C DIR -cf FILE .` does.
async fn packed_layout(folder: &Path, graph: &Graph, roles: &[PutAs], edit: impl Fn(&mut Value)) -> Builder {
    let layout = Layout::create(folder).unwrap();
    for role in roles {
        store(&layout, graph, role.clone()).await.unwrap();
    }
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    edit(&mut index);
    let mut tar = Builder::new().dir("./").file("./index.json", index.to_string());
    tar = tar.file("./oci-layout", std::fs::read(folder.join("oci-layout")).unwrap()).dir("./blobs/sha256");
    for entry in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("./blobs/sha256/{}", entry.file_name().to_string_lossy());
        tar = tar.file(name, std::fs::read(entry.path()).unwrap());
    }
    tar
}

#[tokio::test]
async fn docker_25_and_containerd_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let graph = image(Compression::Gzip).graph();
    let names = [("docker.io/library/app:v1", "v1"), ("localhost:5000/team/app:v2", "v2")];
    let tags: Vec<PutAs> = names.iter().map(|(_, tag)| PutAs::Tag((*tag).into())).collect();
    let layout = folder.path().join("layout");
    let tar = packed_layout(&layout, &graph, &tags, |index| {
        for (entry, (full, _)) in index["manifests"].as_array_mut().unwrap().iter_mut().zip(names) {
            entry["annotations"]["io.containerd.image.name"] = json!(full);
        }
    });
    let tar = tar.await.file("manifest.json", "null");
    let path = write(folder.path(), "docker25.tar", tar);
    for (format, listed) in [
        (Format::Docker, ["docker.io/library/app:v1", "localhost:5000/team/app:v2"]),
        (Format::Oci, ["v1", "v2"]),
    ] {
        let archive = Archive::open(&path, format).unwrap();
        assert_eq!(archive.tags().await.unwrap(), listed);
        for name in ["v1", "v2", "app:v1", "docker.io/library/app:v1", "localhost:5000/team/app:v2"] {
            let found = archive.resolve(&Selector::Tag(name.into())).await.unwrap();
            assert_eq!(found, graph.root().descriptor(), "{name}");
        }
        assert_holds(&archive, &graph).await;
        // One image with two names is one image.
        let location: Location = format!("{}:{}", format.scheme(), path.display()).parse().unwrap();
        assert_eq!(places().source(&location).unwrap().selector, Some(graph.root().digest().into()));
        let named: Location =
            format!("{}:{}:localhost:5000/team/app:v2", format.scheme(), path.display()).parse().unwrap();
        let opened = places().source(&named).unwrap();
        let found = opened.place.resolve(opened.chosen().unwrap()).await.unwrap();
        assert_eq!(found.digest, graph.root().digest());
    }
}

#[tokio::test]
async fn several_images_are_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let image = |n: &str| ImageSpec::new("linux/amd64").layer(layer(&[("n", n.as_bytes())])).build().graph();
    let (a, b, c) = (image("a"), image("b"), image("c"));
    let path = folder.path().join("several.tar");
    let writer = ArchiveWriter::create(&path, Format::Docker).unwrap();
    for (graph, name) in [(&a, "team/app:v1"), (&b, "localhost:5000/app:v1"), (&b, "app"), (&c, "")] {
        let role = if name.is_empty() { PutAs::Root } else { PutAs::Tag(name.into()) };
        store(&writer, graph, role).await.unwrap();
    }
    writer.finish().await.unwrap();

    let archive = open(&path).unwrap();
    let names = ["docker.io/team/app:v1", "localhost:5000/app:v1", "docker.io/library/app:latest"];
    assert_eq!(archive.tags().await.unwrap(), names);
    for (name, graph) in [("team/app:v1", &a), ("localhost:5000/app:v1", &b), ("app", &b), ("app:latest", &b)]
    {
        let found = archive.resolve(&Selector::Tag(name.into())).await.unwrap();
        assert_eq!(found.digest, graph.root().digest(), "{name}");
    }
    let location: Location = format!("docker-archive:{}", path.display()).parse().unwrap();
    let error = places().source(&location).err().unwrap();
    let choices = format!("v1, localhost:5000/app:v1, latest, {}", c.root().digest());
    let text = format!("docker-archive:{} holds 4 images, choose one: {choices}", path.display());
    assert_eq!(error.to_string(), text);
    // The tag alone stands for two of them.
    let error = archive.resolve(&Selector::Tag("v1".into())).await.unwrap_err();
    assert!(matches!(&error, Error::ChooseOne { choices, .. } if choices == &names[..2]), "{error}");
}

#[tokio::test]
async fn docker_gets_names_and_lists_that_it_loads() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(Compression::Gzip);
    let path = folder.path().join("app.tar");
    let writer = ArchiveWriter::create(&path, Format::Docker).unwrap();
    for name in ["team/app", "ghcr.io/team/app:v1"] {
        store(&writer, &image.graph(), PutAs::Tag(name.into())).await.unwrap();
    }
    for bad in ["UPPER:v1", "a b", ""] {
        let error = store(&writer, &image.graph(), PutAs::Tag(bad.into())).await.unwrap_err();
        assert!(error.to_string().contains(&format!("\"{bad}\" cannot be an image's name")), "{error}");
    }
    writer.finish().await.unwrap();
    let finished = writer.finish().await.unwrap_err();
    assert!(finished.to_string().contains("after it was finished"), "{finished}");

    let members = members(&path);
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let list: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
    let layers: Vec<String> = image.layers.iter().map(|l| blob(l.digest)).collect();
    let tags = ["docker.io/team/app:latest", "ghcr.io/team/app:v1"];
    let config = blob(image.config.digest());
    assert_eq!(list, json!([{"Config": config, "RepoTags": tags, "Layers": layers}]));
    assert!(layers.iter().all(|l| members.contains_key(l)) && members.contains_key(&config));
    let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    let annotations: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|e| &e["annotations"]).collect();
    assert_eq!(annotations[0]["io.containerd.image.name"], tags[0]);
    assert_eq!(annotations[0]["org.opencontainers.image.ref.name"], "latest");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

fn members(path: &Path) -> std::collections::HashMap<String, Vec<u8>> {
    let file = std::fs::File::open(path).unwrap();
    let mut archive = palan_layer::tar::Archive::new(file);
    let mut members = std::collections::HashMap::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        members.insert(String::from_utf8(entry.path().to_vec()).unwrap(), content);
    }
    members
}

mod damaged {
    //! However an archive is cut or damaged: an error, or the very same image, and never a panic.

    use proptest::prelude::*;

    use super::*;

    struct Sample {
        name: &'static str,
        format: Format,
        bytes: Vec<u8>,
        /// With digests for everything; the old docker format has none.
        digests: bool,
        graph: Graph,
    }

    async fn samples(folder: &Path) -> Vec<Sample> {
        let image = image(Compression::Gzip);
        let index = IndexSpec::new().image(image.clone()).attest(Attestation::Artifact).build();
        let mut samples = Vec::new();
        for (name, format, graph) in
            [("oci", Format::Oci, index.graph()), ("docker25", Format::Docker, image.graph())]
        {
            let path = folder.join(name);
            let writer = ArchiveWriter::create(&path, format).unwrap();
            store(&writer, &graph, PutAs::Tag("app:v1".into())).await.unwrap();
            writer.finish().await.unwrap();
            let bytes = std::fs::read(path).unwrap();
            samples.push(Sample { name, format, bytes, digests: true, graph });
        }
        // With the index in front, as `tar` and skopeo have it: what is cut off then are blobs.
        let tag = [PutAs::Tag("app:v1".into())];
        let tar = packed_layout(&folder.join("layout"), &index.graph(), &tag, |_| ()).await;
        let (bytes, graph) = (tar.tar().unwrap(), index.graph());
        samples.push(Sample { name: "packed", format: Format::Oci, bytes, digests: true, graph });
        let mut entries = Vec::new();
        let tar = docker_save(Builder::new(), &image, &json!(["app:v1"]), &mut entries);
        let bytes = tar.file("manifest.json", json!(entries).to_string()).tar().unwrap();
        let mut graph = image.graph();
        let path = folder.join("old");
        std::fs::write(&path, &bytes).unwrap();
        graph.documents = vec![open(&path).unwrap().document(&Selector::Tag("app:v1".into())).await.unwrap()];
        samples.push(Sample { name: "old", format: Format::Docker, bytes, digests: false, graph });
        samples
    }

    /// Reads everything; `None` when that failed.
    async fn read_all(path: &Path, bytes: &[u8], sample: &Sample) -> Option<Digest> {
        std::fs::write(path, bytes).unwrap();
        let archive: Arc<dyn Source> = Arc::new(Archive::open(path, sample.format).ok()?);
        let root = archive.document(&Selector::Tag("app:v1".into())).await.ok()?;
        let target: Arc<dyn Target> = Arc::new(Memory::new());
        let copied = copy(&archive, &target, &root, PutAs::Tag("v1".into())).await;
        assert_eq!(copied.is_ok(), target.tags().await.unwrap() == ["v1"], "{}", sample.name);
        copied.ok().map(|_| root.digest())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn archives_cut_anywhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.tar");
        for sample in samples(folder.path()).await {
            let whole = Some(sample.graph.root().digest());
            assert_eq!(read_all(&path, &sample.bytes, &sample).await, whole, "{}", sample.name);
            let end = sample.bytes.len() - 1024;
            assert!(sample.bytes[end..].iter().all(|b| *b == 0));
            for cut in (0..end).step_by(512).chain((1..end).step_by(509)) {
                let found = read_all(&path, &sample.bytes[..cut], &sample).await;
                assert_eq!(found, None, "{} cut at {cut} of {}", sample.name, sample.bytes.len());
            }
            // Writers that leave out the end marker, or half of it.
            for cut in [end, end + 512] {
                assert_eq!(read_all(&path, &sample.bytes[..cut], &sample).await, whole, "{}", sample.name);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_archives_are_refused_or_whole(
            which in 0usize..4,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let sample = samples(folder.path()).await.swap_remove(which);
                let mut bytes = sample.bytes.clone();
                for (position, value) in damage {
                    let position = position.index(bytes.len());
                    bytes[position] = value;
                }
                let found = read_all(&folder.path().join("damaged.tar"), &bytes, &sample).await;
                if sample.digests {
                    let whole = sample.graph.root().digest();
                    assert!(found.is_none_or(|d| d == whole), "{}: another image", sample.name);
                }
            });
        }
    }
}

#[tokio::test]
async fn memory_is_a_source_for_archives_of_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(Compression::Gzip);
    let source = memory(&image.graph()).await;
    for format in [Format::Oci, Format::Docker] {
        let path = folder.path().join(format.scheme());
        let target: Arc<dyn Target> = Arc::new(ArchiveWriter::create(&path, format).unwrap());
        copy(&source, &target, &image.manifest, PutAs::Root).await.unwrap();
        target.finish().await.unwrap();
        let archive = Archive::open(&path, format).unwrap();
        assert!(archive.tags().await.unwrap().is_empty());
        assert_holds(&archive, &image.graph()).await;
    }
}
