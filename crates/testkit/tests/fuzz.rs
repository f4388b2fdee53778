//! The fuzz targets, with the seeds and a bounded number of changes of them: what a fuzzer would do first.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use palan_testkit::fuzz::{codec, seeds, tar, whiteouts};
use proptest::{prelude::*, test_runner::TestRunner};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 3] = [("tar", tar), ("codec", codec), ("whiteouts", whiteouts)];

/// The header's checksum made right, so that a change is not refused for that alone.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    bytes
}

#[test]
fn seeds_and_changes_of_them_keep_every_promise() {
    for (name, target) in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, bytes)| bytes).collect();
        assert!(seeds.len() >= 3);
        seeds.iter().for_each(|seed| target(seed));
        let change = (any::<prop::sample::Index>(), any::<u8>());
        let changes = proptest::collection::vec(change, 1..6);
        let case = (prop::sample::select(seeds), changes, any::<prop::sample::Index>(), any::<bool>());
        let mut runner = TestRunner::new(ProptestConfig::with_cases(800));
        let run = |(mut bytes, changes, cut, mend): (Vec<u8>, Vec<_>, prop::sample::Index, bool)| {
            for (at, value) in &changes {
                let at: &prop::sample::Index = at;
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if changes.len() == 1 {
                bytes.truncate(cut.index(bytes.len()).max(1));
            }
            target(&if mend && name == "tar" { mended(bytes) } else { bytes });
            Ok(())
        };
        runner.run(&case, run).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn any_bytes_at_all() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(500));
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let run = |bytes: Vec<u8>| {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
        Ok(())
    };
    runner.run(&bytes, run).unwrap();
}

/// `PALAN_SEEDS=write` writes them.
#[test]
fn the_seeds_in_the_repository_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let write = std::env::var_os("PALAN_SEEDS").is_some_and(|value| value == "write");
    for (name, _) in TARGETS {
        let folder = folder.join(name);
        let mut expected = Vec::new();
        for (seed, bytes) in seeds(name) {
            if write {
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(&seed), &bytes).unwrap();
            }
            assert!(
                fs::read(folder.join(&seed)).unwrap() == bytes,
                "{name}/{seed}: PALAN_SEEDS=write writes it"
            );
            expected.push(seed);
        }
        let mut found: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}
