//! The same streams, compressed and decompressed by gzip, pigz and zstd.

#![allow(clippy::unwrap_used, reason = "helpers of tests are outside test functions")]

mod skip;

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use palan_core::Compression;
use palan_layer::{Decoder, Encoder, Level};
use skip::skip;

/// Runs a filter; `None`, and a line that says so, if it is not installed.
fn filter(test: &str, command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let (program, args) = command.split_first().unwrap();
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        skip(&format!("{test} with {program}: it is not installed"));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}");
    Some(output.stdout)
}

fn data() -> Vec<u8> {
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
    (0..3_000_000).map(|i| if i % 4096 < 2048 { b'a' } else { noise(i) }).collect()
}

#[test]
fn peers_read_what_is_encoded() {
    let peers = [
        (Compression::Gzip, &["gzip", "-dc"][..]),
        (Compression::Gzip, &["pigz", "-dc"]),
        (Compression::Zstd, &["zstd", "-dcq"]),
    ];
    for (compression, command) in peers {
        let mut encoder = Encoder::new(Vec::new(), compression, Level::DEFAULT).unwrap();
        encoder.write_all(&data()).unwrap();
        let blob = encoder.finish().unwrap();
        if let Some(out) = filter("peers_read_what_is_encoded", command, &blob) {
            assert!(out == data(), "{command:?}");
        }
    }
}

#[test]
fn what_peers_encode_is_read() {
    let peers = [
        (Compression::Gzip, &["gzip", "-c"][..]),
        (Compression::Gzip, &["pigz", "-c", "-p4"]),
        (Compression::Zstd, &["zstd", "-cq", "-T4"]),
        (Compression::Zstd, &["zstd", "-cq", "-19", "--long=27"]),
    ];
    for (compression, command) in peers {
        if let Some(blob) = filter("what_peers_encode_is_read", command, &data()) {
            let mut decoder = Decoder::new(&*blob).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            assert_eq!(decoder.compression(), compression);
            assert!(out == data(), "{command:?}");
        }
    }
}
