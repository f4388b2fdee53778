//! How long lookups in an index of known bases take: `cargo run --release -p palan --example known_bases [BASES…]`.
//!
//! Makes an index of so many synthetic bases (default: 10,000 and 100,000), with configs of the size that real ones
//! have, and looks up images of up to 40 layers: half of them are built on one of the bases.

#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{error::Error, fs, time::Instant};

use palan::base::{
    KnownBases,
    known::{Change, Entry, change},
};
use palan_core::{Digest, Platform, chain_ids};
use serde_json::json;

const LOOKUPS: usize = 1000;

fn diff_ids(base: usize) -> Vec<Digest> {
    (0..1 + base % 12).map(|layer| Digest::sha256(format!("{base} {layer}").as_bytes())).collect()
}

fn entry(base: usize) -> Result<Entry, Box<dyn Error>> {
    let diff_ids = diff_ids(base);
    let made = |n: usize| json!({"created": "2025-01-01T00:00:00Z", "created_by": format!("RUN /bin/sh -c step {n} of the base number {base} # buildkit")});
    let history: Vec<_> = (0..2 * diff_ids.len()).map(made).collect();
    let config = json!({
        "created": "2025-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]},
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Ok(Entry {
        chain: chain_ids(&diff_ids).pop().ok_or("a base has layers")?,
        name: format!("registry.example/base-{}:{base}", base % 50).parse()?,
        platform: Platform::new("linux", "amd64"),
        manifest: Digest::sha256(&base.to_le_bytes()),
        index: Some(Digest::sha256(b"index")),
        layers: diff_ids.len(),
        seen: "2025-01-01T00:00:00Z".to_owned(),
        config: config.as_object().cloned().unwrap_or_default(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Vec<usize> = std::env::args().skip(1).map(|n| n.parse()).collect::<Result<_, _>>()?;
    let counts = if asked.is_empty() { vec![10_000, 100_000] } else { asked };
    let folder = tempfile::tempdir()?;
    println!("{:>8}  {:>10}  {:>10}  {:>10}  {:>10}", "BASES", "FILE", "WRITE", "MEDIAN", "SLOWEST");
    for bases in counts {
        let path = folder.path().join(format!("{bases}.jsonl"));
        let add = (0..bases).map(entry).collect::<Result<_, _>>()?;
        let start = Instant::now();
        change(&path, Change { add, ..Change::default() })?;
        let written = start.elapsed();
        let mut times = Vec::with_capacity(LOOKUPS);
        for n in 0..LOOKUPS {
            let base = n * 7919 % bases;
            let mut image = if n % 2 == 0 { diff_ids(base) } else { Vec::new() };
            let own = 40 - image.len();
            image.extend((0..own).map(|layer| Digest::sha256(format!("own {n} {layer}").as_bytes())));
            let start = Instant::now();
            let found = KnownBases::open(&path)?.longest(&image, &Platform::new("linux", "amd64"))?;
            times.push(start.elapsed());
            assert_eq!(found.first().map(|e| e.layers), (n % 2 == 0).then(|| diff_ids(base).len()));
        }
        times.sort();
        let (size, median, slowest) = (fs::metadata(&path)?.len(), times[LOOKUPS / 2], times[LOOKUPS - 1]);
        let size = format!("{} MiB", size >> 20);
        println!("{bases:>8}  {size:>10}  {written:>10.1?}  {median:>10.2?}  {slowest:>10.2?}");
    }
    Ok(())
}
