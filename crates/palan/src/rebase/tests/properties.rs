//! Properties that hold for any layers and any history.

use palan_core::{Compression, Descriptor, Digest, Document, Family, annotation, view};
use palan_testkit::image::{Attestation, Graph, History, Image as Fixture, ImageSpec, IndexSpec};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{Bed, Files, assert_history_is_none_or_whole, block_on, layer, model};
use crate::place::Source as _;

/// Few paths and contents, so that layers hide, replace and repeat each other.
fn files() -> impl Strategy<Value = Files> {
    let path = select(vec!["a", "b", "d", "d/x", "d/y", "etc/c"]);
    let content = option::of(select(vec!["0", "1"]));
    vec((path, content), 1..4).prop_map(|entries| {
        // "d" is a directory: it can only be hidden.
        let content = |path, content: Option<&str>| content.filter(|_| path != "d").map(str::to_owned);
        entries.into_iter().map(|(path, c)| (path, content(path, c))).collect()
    })
}

fn history() -> impl Strategy<Value = Option<Value>> {
    let entry = select(vec![
        json!({"created_by": "x"}),
        json!({"created": null, "created_by": "x", "x-mine": {"b": 1, "a": 2}}),
        json!({"created_by": "e", "empty_layer": true}),
        json!({}),
    ]);
    option::of(vec(entry, 0..6).prop_map(Value::from))
}

fn unknown() -> impl Strategy<Value = Value> {
    select(vec![json!(null), json!(1.5), json!("ü\"\\"), json!([1, [], {}]), json!({"z": {"y": 1}, "a": 0})])
}

/// An old base, a new base, an image on the old one.
#[derive(Debug)]
struct Case {
    stacks: [Vec<Files>; 3],
    images: [Fixture; 3],
}

fn stacks() -> impl Strategy<Value = [Vec<Files>; 3]> {
    [vec(files(), 0..4), vec(files(), 0..4), vec(files(), 0..4)]
}

prop_compose! {
    fn case()(
        stacks in stacks(),
        shared in 0usize..3,
        histories in [history(), history(), history()],
        styles in select(vec![History::Full, History::None, History::OwnOnly, History::Padded, History::NullCreated]),
        docker in any::<[bool; 2]>(),
        compressions in vec(select(vec![Compression::Gzip, Compression::Zstd, Compression::None]), 3),
        extra in [unknown(), unknown()],
    ) -> Case {
        let [old_files, mut new_files, own] = stacks;
        // Bases often have their lower layers in common.
        let shared = shared.min(old_files.len()).min(new_files.len());
        new_files[..shared].clone_from_slice(&old_files[..shared]);
        let zstd = !docker.contains(&true);
        let compressed = |i: usize| if zstd { compressions[i] } else { Compression::Gzip };
        let family = |docker: bool| if docker { Family::Docker } else { Family::Oci };
        let with_history = |spec: ImageSpec, history: &Option<Value>| match history {
            Some(history) => spec.config_field("/history", history.clone()),
            None => spec,
        };
        let base = |files: &[Files], i: usize| {
            let layers = files.iter().map(|f| layer(f, compressed(i)));
            with_history(ImageSpec::new("linux/amd64").layers(layers).family(family(docker[0])), &histories[i])
        };
        let (old, new) = (base(&old_files, 0).build(), base(&new_files, 1).build());
        let app = ImageSpec::new("linux/amd64")
            .family(family(docker[1]))
            .on(&old)
            .recompress_base(compressed(2))
            .layers(own.iter().map(|f| layer(f, compressed(2))))
            .history(styles)
            .label("l", "1")
            .annotation("org.example.a", "b")
            .config_field("/x-config", extra[0].clone())
            .config_field("/config/x-deep", extra[1].clone())
            .manifest_field("/x-manifest", extra[1].clone());
        let app = with_history(app, &histories[2]).build();
        Case { stacks: [old_files, new_files, own], images: [old, new, app] }
    }
}

/// A document without what a rebase changes.
fn rest(document: &Document, changed: &[&str]) -> String {
    let mut object = document.object().unwrap();
    for key in changed {
        object.shift_remove(*key);
    }
    if let Some(annotations) = object.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(annotation::BASE_NAME);
        annotations.shift_remove(annotation::BASE_DIGEST);
    }
    Value::Object(object).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Invariants 1, 4, 5 and 6, and what history may be.
    #[test]
    fn no_layer_is_lost_and_the_files_are_the_new_bases_and_the_images(case in case()) {
        let Case { stacks: [_, new_files, own], images: [old, new, app] } = &case;
        block_on(async {
            let bed = Bed::with([&old.graph(), &new.graph(), &app.graph()]);
            let rebased = bed.rebase(&app.manifest, &old.manifest, &new.manifest).await;
            let result = bed.image(&rebased.root).await;
            let boundary = rebased.platforms[0].boundary;

            let expected: Vec<Digest> =
                new.layers.iter().chain(&app.layers[boundary..]).map(|l| l.diff_id).collect();
            assert_eq!(result.config_view.rootfs.diff_ids, expected);
            let moved = expected != app.diff_ids();
            if moved {
                assert_eq!(boundary, old.layers.len());
                assert_history_is_none_or_whole(&result, "");
            }
            assert_eq!(bed.files(&rebased.root).await, model(new_files.iter().chain(own)));

            assert_eq!(result.manifest.media_type(), app.manifest.media_type());
            let family = app.manifest.family();
            for layer in &result.manifest_view.layers {
                assert_eq!(layer.media_type.family(), Some(family));
            }
            let changed = ["rootfs", "history"];
            assert_eq!(rest(&result.config, &changed), rest(&app.config, &changed));
            let changed = ["config", "layers"];
            assert_eq!(rest(&result.manifest, &changed), rest(&app.manifest, &changed));

            let again = bed.rebase(&app.manifest, &old.manifest, &new.manifest).await;
            assert_eq!(again.root.bytes(), rebased.root.bytes());
            for base in [&old.manifest, &new.manifest] {
                let twice = bed.try_rebase(&rebased.root, base, &new.manifest).await.unwrap();
                assert_eq!(twice.root.bytes(), rebased.root.bytes());
                assert!(twice.documents.is_empty() && twice.configs.is_empty());
            }
        });
    }

    /// Invariant 2, for any history.
    #[test]
    fn onto_its_own_base_an_image_with_true_hints_stays(case in case()) {
        let Case { images: [old, _, app], .. } = &case;
        block_on(async {
            let hint = json!(old.digest());
            let manifest = app.manifest.edit(|json| json["annotations"][annotation::BASE_DIGEST] = hint).unwrap();
            let graph = Graph { documents: vec![manifest.clone()], ..app.graph() };
            let bed = Bed::with([&old.graph(), &graph]);
            let rebased = bed.rebase(&manifest, &old.manifest, &old.manifest).await;
            assert_eq!(rebased.root.bytes(), manifest.bytes());
        });
    }

    /// Invariant 3: with histories that are what they should be, back is where it was.
    #[test]
    fn there_and_back_again(stacks in stacks(), shared in 0usize..3) {
        let [mut old, mut new, own] = stacks;
        let shared = shared.min(old.len()).min(new.len());
        new[..shared].clone_from_slice(&old[..shared]);
        // What a rebase cannot tell apart is not its fault: every layer has a name of its own.
        for (stack, name) in [(&mut old, "old"), (&mut new, "new")] {
            for (i, files) in stack.iter_mut().enumerate() {
                files.insert("name", Some(if i < shared { format!("shared {i}") } else { format!("{name} {i}") }));
            }
            stack.insert(0, Files::from([("root", Some(String::new()))]));
        }
        let build = |spec: ImageSpec, stack: &[Files]| {
            spec.layers(stack.iter().map(|f| layer(f, Compression::Gzip))).build()
        };
        let base = |stack| build(ImageSpec::new("linux/amd64"), stack);
        let (a, b) = (base(&old), base(&new));
        let own: Vec<Files> = own.into_iter().enumerate().map(|(i, mut files)| {
            files.insert("own", Some(i.to_string()));
            files
        }).collect();
        let app = build(ImageSpec::new("linux/amd64").on(&a), &own);
        block_on(async {
            let bed = Bed::with([&a.graph(), &b.graph(), &app.graph()]);
            let there = bed.rebase(&app.manifest, &a.manifest, &b.manifest).await;
            let back = bed.rebase(&there.root, &b.manifest, &a.manifest).await;
            let back = bed.image(&back.root).await;
            assert_eq!(back.config_view.rootfs.diff_ids, app.diff_ids());
            let text = |document: &Document| String::from_utf8(document.bytes().to_vec()).unwrap();
            assert_eq!(text(&back.config), text(&app.config));
        });
    }
}

/// An entry of a random index.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Image(usize),
    Platformless(usize),
    Nested(usize),
    Attestation(usize, Attestation),
    Other,
}

fn entry() -> impl Strategy<Value = Entry> {
    let form = select(vec![Attestation::Legacy, Attestation::Artifact]);
    prop_oneof![
        3 => (0usize..3).prop_map(Entry::Image),
        1 => (0usize..3).prop_map(Entry::Platformless),
        1 => (0usize..3).prop_map(Entry::Nested),
        2 => (0usize..3, form).prop_map(|(i, form)| Entry::Attestation(i, form)),
        1 => Just(Entry::Other),
    ]
}

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

fn entries(index: &Document) -> Vec<Descriptor> {
    index.view::<view::Index>().unwrap().manifests
}

fn index_of(apps: &[Fixture], layout: &[Entry]) -> palan_testkit::image::Index {
    let mut spec = IndexSpec::new().field("/x-index", json!({"b": 1, "a": [null]}));
    for entry in layout {
        spec = match *entry {
            Entry::Image(i) => spec.image(apps[i].clone()),
            Entry::Platformless(i) => spec.image_without_platform(apps[i].clone()),
            Entry::Nested(i) => spec.nested(&IndexSpec::new().image(apps[i].clone()).build()),
            Entry::Attestation(i, form) => {
                let made = form.about(&apps[i]);
                let graph = Graph { blobs: made.blobs, documents: vec![made.manifest] };
                spec.entry(serde_json::to_value(made.descriptor).unwrap(), &graph)
            }
            Entry::Other => {
                let other = json!({"mediaType": "x/y", "digest": Digest::sha256(b"x"), "size": 1, "x-k": 1});
                spec.entry(other, &Graph::default())
            }
        };
    }
    spec.build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Invariant 7: number, order and descriptors of an index.
    #[test]
    fn an_index_keeps_its_entries_and_tells_the_truth_about_them(
        layout in vec(entry(), 1..7), moved in any::<[bool; 3]>(),
    ) {
        let named = |name: &str, platform: &str| {
            layer(&Files::from([("l", Some(format!("{name} {platform}")))]), Compression::Gzip)
        };
        let base = |name: &str, p: &str| ImageSpec::new(p).layer(named(name, p)).build();
        let old = PLATFORMS.map(|p| base("old", p));
        let new: Vec<_> =
            PLATFORMS.iter().zip(moved).map(|(p, moved)| base(if moved { "new" } else { "old" }, p)).collect();
        // Images of bases that did not move say so, and stay as they are.
        let apps: Vec<_> = old.iter().map(|old| {
            ImageSpec::for_platform(old.platform.clone())
                .on(old)
                .layer(named("own", "x"))
                .annotation(annotation::BASE_DIGEST, old.digest().to_string())
                .build()
        }).collect();
        let listed = |images: &[Fixture]| IndexSpec::new().images(images.to_vec()).build();
        let (old, new, index) = (listed(&old), listed(&new), index_of(&apps, &layout));
        let has_image = layout.iter().any(|e| !matches!(e, Entry::Attestation(..) | Entry::Other));
        let is_listed = |i: usize| layout.iter().any(|e| {
            matches!(e, Entry::Image(j) | Entry::Platformless(j) | Entry::Nested(j) if *j == i)
        });
        block_on(async {
            let bed = Bed::with([&old.graph(), &new.graph(), &index.graph()]);
            let result = bed.try_rebase(&index.document, &old.document, &new.document).await;
            if !has_image {
                assert!(result.is_err());
                return;
            }
            let rebased = result.unwrap();
            let kept: Vec<_> = layout.iter().zip(entries(&index.document)).filter(|(entry, _)| {
                !matches!(entry, Entry::Attestation(i, _) if moved[*i] && is_listed(*i))
            }).collect();
            let found = entries(&rebased.root);
            assert_eq!(found.len(), kept.len());
            for ((layout, before), after) in kept.into_iter().zip(&found) {
                assert_eq!((&after.platform, &after.media_type), (&before.platform, &before.media_type));
                match *layout {
                    Entry::Image(i) | Entry::Platformless(i) => {
                        assert_eq!(after.digest != before.digest, moved[i]);
                        let document = bed.0.document(&after.digest.into()).await.unwrap();
                        assert_eq!(document.size(), after.size);
                        let image = bed.image(&document).await;
                        assert_eq!(image.config_view.rootfs.diff_ids[0], new.images[i].layers[0].diff_id);
                    }
                    Entry::Nested(i) => {
                        let inner = bed.0.document(&after.digest.into()).await.unwrap();
                        assert_eq!(inner.size(), after.size);
                        assert_eq!(entries(&inner)[0].digest != apps[i].digest(), moved[i]);
                    }
                    Entry::Attestation(..) | Entry::Other => assert_eq!(after, &before),
                }
            }
            let unknown = |document: &Document| document.object().unwrap()["x-index"].to_string();
            assert_eq!(unknown(&rebased.root), unknown(&index.document));
            let twice = bed.rebase(&rebased.root, &old.document, &new.document).await;
            assert_eq!(twice.root.bytes(), rebased.root.bytes());
        });
    }
}
