//! The file, and what is read into it.

use palan::base::KnownBases;
use palan::base::{
    Pattern,
    known::{self, Change, Entry, Order, Watch},
};
use palan_core::{Digest, Platform, chain_ids};
use palan_testkit::image::{Attestation, ImageSpec, IndexSpec, layer};
use proptest::prelude::*;

use crate::{World, base_image, chain, lines, now, watch};

fn amd64() -> Platform {
    Platform::new("linux", "amd64")
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| e.name.tag().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_platforms_of_all_tags_are_read_and_no_attestations() {
    let world = World::new().await;
    let images = ["linux/amd64", "linux/arm64"]
        .map(|p| ImageSpec::new(p).layer(layer(&[("os", p.as_bytes())])).build());
    let index = IndexSpec::new().images(images.clone()).attest(Attestation::Legacy).build();
    world.put("base:1", &index.graph()).await;
    world.put("base:2", &base_image("two").graph()).await;
    world.put(&format!("base:sha256-{}.sig", "a".repeat(64)), &base_image("sig").graph()).await;
    let before = world.requests().len();
    let known = world.know("base").await;
    for line in world.requests().split_off(before) {
        for layer in images.iter().flat_map(|i| &i.layers) {
            assert!(!line.contains(&layer.digest.hex()), "{line}");
        }
    }
    let entries: Vec<Entry> = known.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 3);
    let found = known.longest(&images[1].diff_ids(), &images[1].platform).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].manifest, found[0].index), (images[1].digest(), Some(index.digest())));
    assert_eq!((found[0].layers, found[0].seen.as_str()), (1, "2023-11-14T22:13:20Z"));
    let kept: Vec<&String> = found[0].config.keys().collect();
    assert_eq!(kept, ["created", "config", "rootfs", "history"]);
    // The same layers for another platform are another base.
    assert!(known.longest(&images[1].diff_ids(), &amd64()).unwrap().is_empty());
    let lines = lines(&world.file());
    assert!(lines[0].starts_with("{\"bases\":1,"), "{}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.starts_with("{\"chain\":\"sha256:")));
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(lines, sorted, "the file is sorted as sort does it");
}

#[tokio::test]
async fn the_newest_tags_are_kept_by_time_or_by_name() {
    let world = World::new().await;
    for (tag, year) in [("1.9", 2025), ("1.10", 2023), ("1.2", 2024), ("other", 2026)] {
        let image = ImageSpec::new("linux/amd64").created(format!("{year}-01-01T01:00:00+01:00"));
        world
            .put(&format!("base:{tag}"), &image.layer(layer(&[("os", tag.as_bytes())])).build().graph())
            .await;
    }
    let cases = [(Order::Created, ["1.2", "1.9"]), (Order::Version, ["1.10", "1.9"])];
    for (order, expected) in cases {
        let watch = Watch { order, ..watch(&world.text("base:1.*"), 2) };
        let gathered = known::gather(&world.places, &watch, 2, now()).await.unwrap();
        let mut found = names(&gathered.entries);
        found.sort();
        assert_eq!((found, gathered.tags), (expected.map(str::to_owned).to_vec(), 2), "{order:?}");
    }
}

#[tokio::test]
async fn platforms_that_were_chosen_are_remembered() {
    let world = World::new().await;
    let images = ["linux/amd64", "linux/arm64"]
        .map(|p| ImageSpec::new(p).layer(layer(&[("os", p.as_bytes())])).build());
    world.put("base:1", &IndexSpec::new().images(images).build().graph()).await;
    let watch = Watch { platforms: vec!["linux/arm64".parse().unwrap()], ..watch(&world.text("base"), 9) };
    let gathered = known::gather(&world.places, &watch, 2, now()).await.unwrap();
    assert_eq!(gathered.entries.iter().map(|e| e.platform.to_string()).collect::<Vec<_>>(), ["linux/arm64"]);
    let change = Change { add: gathered.entries, watch: vec![watch.clone()], ..Change::default() };
    known::change(&world.file(), change).unwrap();
    assert_eq!(KnownBases::open(world.file()).unwrap().watched(), [watch]);
}

#[tokio::test]
async fn what_is_no_image_is_passed_over_and_a_named_tag_must_be_there() {
    let world = World::new().await;
    let base = base_image("one");
    world.put("base:1", &base.graph()).await;
    let chart = ImageSpec::new("linux/amd64")
        .manifest_field("/config/mediaType", "application/vnd.cncf.helm.config.v1+json")
        .build();
    world.put("base:chart", &chart.graph()).await;
    let gathered = known::gather(&world.places, &watch(&world.text("base"), 9), 2, now()).await.unwrap();
    assert_eq!(names(&gathered.entries), ["1"]);
    assert_eq!(gathered.skipped[0].0.to_string(), world.text("base:chart"));
    let missing = known::gather(&world.places, &watch(&world.text("base:9"), 9), 2, now()).await;
    assert!(missing.unwrap_err().is_not_found());
    let none = known::gather(&world.places, &watch(&world.text("base:9*"), 9), 2, now()).await.unwrap();
    assert_eq!((none.tags, none.entries.len()), (0, 0));
}

#[tokio::test]
async fn what_a_tag_stood_for_stays_until_it_is_removed() {
    let world = World::new().await;
    let (one, two) = (base_image("one"), base_image("two"));
    world.put("base:1", &one.graph()).await;
    world.know("base").await;
    let first = lines(&world.file());
    world.know("base").await;
    assert_eq!(lines(&world.file()), first, "nothing new changes nothing");
    world.put("base:1", &two.graph()).await;
    world.put("other:1", &base_image("other").graph()).await;
    world.know("base").await;
    let known = world.know("other").await;
    for image in [&one, &two] {
        let found = known.longest(&image.diff_ids(), &amd64()).unwrap();
        assert_eq!(found[0].manifest, image.digest());
        assert_eq!(found[0].chain, chain(image, 2));
    }
    assert_eq!(known.watched().len(), 2);
    let remove: Vec<Pattern> = vec![world.text("base").parse().unwrap()];
    let changed = known::change(&world.file(), Change { remove, ..Change::default() }).unwrap();
    assert_eq!((changed.removed, changed.added, changed.total), (2, 0, 1));
    let known = KnownBases::open(world.file()).unwrap();
    assert!(known.longest(&one.diff_ids(), &amd64()).unwrap().is_empty());
    assert_eq!(known.watched().len(), 1);
    let folder = world.file().parent().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "no temporary file is left");
}

#[tokio::test]
async fn a_file_goes_through_a_registry() {
    let world = World::new().await;
    world.put("base:1", &base_image("one").graph()).await;
    world.know("base").await;
    let options = palan::copy::Options::default();
    let target = world.at("team/bases:1");
    let digest = known::push(&world.places, &world.file(), &target, &options).await.unwrap();
    assert_eq!(known::push(&world.places, &world.file(), &target, &options).await.unwrap(), digest);
    let copy = world.file().with_file_name("pulled");
    let pulled = known::pull(&world.places, &target, &copy).await.unwrap();
    assert_eq!(lines(&copy), lines(&world.file()));
    assert_eq!(pulled.watched().len(), 1);
    let error = known::pull(&world.places, &world.at("base:1"), &copy).await.unwrap_err().to_string();
    assert!(error.contains("an index of known bases is needed"), "{error}");
    assert_eq!(lines(&copy), lines(&world.file()), "a failure leaves the file as it was");
}

#[test]
fn files_that_are_something_else_are_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bases");
    let header = "{\"bases\":1}\n";
    let entry = |n: u8| {
        let digest = Digest::sha256(&[n]);
        format!(
            "{{\"chain\":\"sha256:{}\",\"name\":\"a:1\",\"platform\":{{}},\"manifest\":\"{digest}\",\"layers\":1,\"seen\":\"\"}}\n",
            hex(n)
        )
    };
    fn hex(n: u8) -> String {
        format!("{n:02x}").repeat(32)
    }
    let cases = [
        (String::new(), "the first line"),
        ("{}\n".to_owned(), "the first line"),
        ("{\"bases\":2}\n".to_owned(), "version 2"),
        (format!("{header}{}{}", entry(2), entry(1)), "line 3 is not in order"),
        (format!("{header}{}{}", entry(1), entry(1)), "line 3 is not in order"),
        (format!("{header}{{}}\n"), "line 2"),
        (format!("{header}\n"), "line 2"),
    ];
    for (text, reason) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = match KnownBases::open(&path) {
            Err(e) => e.to_string(),
            Ok(known) => known.entries().unwrap().find_map(Result::err).unwrap().to_string(),
        };
        assert!(error.contains(reason) && error.contains("bases"), "{text}: {error}");
        assert!(known::change(&path, Change::default()).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a refused file stays as it is");
    }
    std::fs::write(&path, format!("{header}{}{}", entry(1), entry(2))).unwrap();
    assert_eq!(KnownBases::open(&path).unwrap().entries().unwrap().count(), 2);
}

/// Stacks over few layers, so that some are the beginning of others.
fn stack() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..6)
}

fn diff_ids(stack: &[u8]) -> Vec<Digest> {
    stack.iter().map(|n| Digest::sha256(&[*n])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_longest_known_beginning_is_found(bases in prop::collection::vec(stack(), 0..12), app in stack()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bases");
        let entries = bases.iter().enumerate().filter_map(|(n, base)| Some(Entry {
            chain: chain_ids(&diff_ids(base)).pop()?,
            name: format!("base:{n}").parse().unwrap(),
            platform: amd64(),
            manifest: Digest::sha256(format!("{base:?}").as_bytes()),
            index: None,
            layers: base.len(),
            seen: String::new(),
            config: Default::default(),
        }));
        known::change(&path, Change { add: entries.collect(), ..Change::default() }).unwrap();
        let found = KnownBases::open(&path).unwrap().longest(&diff_ids(&app), &amd64()).unwrap();
        let longest = bases.iter().filter(|base| !base.is_empty() && app.starts_with(base)).map(Vec::len).max();
        prop_assert_eq!(found.first().map(|e| e.layers), longest);
        let mut found = names(&found);
        found.sort();
        let mut expected: Vec<String> = bases.iter().enumerate()
            .filter(|(_, base)| Some(base.len()) == longest && app.starts_with(base))
            .map(|(n, _)| n.to_string())
            .collect();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}
