use std::{io::Write as _, num::NonZeroUsize};

use flate2::{Compress, Compression as Zlib, FlushCompress, write::GzEncoder};
use libdeflater::{CompressionLvl, Compressor};
use palan_core::Compression;
use proptest::prelude::*;

use super::{super::blocks::WINDOW, *};
use crate::{Decoder, Encoder, Level, merge::Sink as _};

/// Words, noise and zeros, so that all kinds of block come up.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut out = Vec::with_capacity(size + 70_000);
    while out.len() < size {
        let length = 1000 + next() as usize % 60_000;
        match next() % 8 {
            0 => out.extend((0..length).map(|_| next() as u8)),
            1 => out.extend(std::iter::repeat_n(0, length)),
            _ => {
                let end = out.len() + length;
                while out.len() < end {
                    let word = next() % 500;
                    write!(out, "{word} of {}, ", word * 7919 % 1009).unwrap();
                }
            }
        }
    }
    out.truncate(size);
    out
}

/// Who made a blob.
#[derive(Clone, Copy, Debug)]
enum By {
    Ourselves,
    Zlib(u32),
    /// As pigz does: a boundary at whole bytes every so often.
    Flushing(usize),
    Libdeflate(i32),
    /// Members of this size.
    Members(usize),
}

fn blob(content: &[u8], by: By) -> Vec<u8> {
    let one = |content: &[u8], level: i32| {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
        let size = compressor.gzip_compress(content, &mut out).unwrap();
        out.truncate(size);
        out
    };
    match by {
        By::Ourselves => {
            let mut encoder = Encoder::new(Vec::new(), Compression::Gzip, Level::DEFAULT).unwrap();
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        By::Zlib(level) => {
            let mut encoder = GzEncoder::new(Vec::new(), Zlib::new(level));
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        By::Flushing(size) => {
            let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
            let mut compress = Compress::new(Zlib::new(6), false);
            out.reserve(content.len() * 2 + 1000);
            for chunk in content.chunks(size) {
                compress.compress_vec(chunk, &mut out, FlushCompress::Sync).unwrap();
            }
            compress.compress_vec(&[], &mut out, FlushCompress::Finish).unwrap();
            let mut crc = Crc::new();
            crc.update(content);
            out.extend_from_slice(&crc.sum().to_le_bytes());
            out.extend_from_slice(&(content.len() as u32).to_le_bytes());
            out
        }
        By::Libdeflate(level) => one(content, level),
        By::Members(size) => content.chunks(size).flat_map(|chunk| one(chunk, 6)).collect(),
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn blocks(content: &[u8], blob: &[u8]) -> Blocks {
    let mut decoder = Decoder::new(blob).unwrap();
    decoder.note_blocks();
    let mut out = Vec::new();
    decoder.read_to_end(&mut out).unwrap();
    assert!(out == content);
    decoder.blocks().unwrap()
}

fn original(content: &[u8], by: By) -> Option<Original> {
    let blob = blob(content, by);
    Some(Original { blocks: blocks(content, &blob), blob: file(&blob) })
}

fn decode(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Decoder::new(blob).unwrap().read_to_end(&mut out).unwrap();
    out
}

/// What is written: something new, or a range of a layer.
#[derive(Clone, Debug)]
enum Piece {
    New(usize),
    Copy(usize, Range<usize>),
}

fn put_together(
    layers: &[(Vec<u8>, By)],
    pieces: &[Piece],
    threads: usize,
    cut: usize,
) -> (Vec<u8>, Vec<u8>) {
    let threads = NonZeroUsize::new(threads).unwrap();
    let mut encoder = Encoder::with_threads(Vec::new(), Compression::Gzip, Level::DEFAULT, threads).unwrap();
    encoder.keep_of(layers.iter().map(|(content, by)| original(content, *by)).collect());
    let mut expected = Vec::new();
    for piece in pieces {
        match piece {
            Piece::New(size) => {
                let new = content(*size, *size as u64);
                new.chunks(cut).for_each(|chunk| encoder.write_all(chunk).unwrap());
                expected.extend(new);
            }
            Piece::Copy(layer, range) => {
                let (content, _) = &layers[*layer];
                let mut at = range.start;
                for chunk in content[range.clone()].chunks(cut) {
                    encoder.copy(*layer as u32, at as u64, chunk).unwrap();
                    at += chunk.len();
                }
                expected.extend_from_slice(&content[range.clone()]);
            }
        }
    }
    (encoder.finish().unwrap(), expected)
}

fn makers() -> impl Strategy<Value = By> {
    prop_oneof![
        Just(By::Ourselves),
        (0u32..10).prop_map(By::Zlib),
        (1000usize..200_000).prop_map(By::Flushing),
        (0i32..13).prop_map(By::Libdeflate),
        (500usize..400_000).prop_map(By::Members),
    ]
}

fn layers() -> impl Strategy<Value = Vec<(Vec<u8>, By)>> {
    let layer = (0usize..1_500_000, any::<u64>(), makers());
    let layer = layer.prop_map(|(size, seed, by)| (content(size, seed), by));
    proptest::collection::vec(layer, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_put_together_is_what_was_written_however_it_is_cut(
        layers in layers(),
        pieces in proptest::collection::vec((any::<bool>(), any::<usize>(), any::<usize>(), any::<usize>()), 1..8),
        cut in prop_oneof![700usize..5000, Just(131_072usize), Just(1usize << 24)],
        threads in 1usize..4,
    ) {
        let pieces: Vec<Piece> = pieces.into_iter().map(|(new, layer, a, b)| {
            let layer = layer % layers.len();
            let size = layers[layer].0.len() + 1;
            match new {
                true => Piece::New(a % 100_000),
                false => Piece::Copy(layer, (a % size).min(b % size)..(a % size).max(b % size)),
            }
        }).collect();
        let (made, expected) = put_together(&layers, &pieces, threads, cut);
        prop_assert!(decode(&made) == expected);
        prop_assert!(made == put_together(&layers, &pieces, 1, 1 << 24).0);
    }

    /// What a block stands for does not depend on what is before it, but for what it says.
    #[test]
    fn blocks_cover_the_content(layer in layers()) {
        for (content, by) in layer {
            let blocks = blocks(&content, &blob(&content, by));
            let (mut at, mut bit) = (0, 0);
            for block in (0..blocks.len()).map(|number| blocks.get(number).unwrap()) {
                prop_assert!(block.content.start == at && block.bits.start >= bit, "{by:?}");
                prop_assert!(block.since <= at && at - block.since <= WINDOW);
                (at, bit) = (block.content.end, block.bits.end);
            }
            prop_assert_eq!(at, content.len() as u64);
        }
    }
}

/// Nothing but what is before the first block and behind the last is compressed anew: seen by a blob smaller than ours.
#[test]
fn a_whole_layer_keeps_its_compression() {
    let content = content(9_000_000, 5);
    for (by, within) in [(By::Libdeflate(12), 1.01), (By::Zlib(9), 1.01), (By::Members(300_000), 1.002)] {
        let theirs = blob(&content, by).len() as f64;
        let ours = blob(&content, By::Ourselves).len() as f64;
        let whole = [Piece::Copy(0, 0..content.len())];
        let (made, expected) = put_together(&[(content.clone(), by)], &whole, 2, 65_536);
        assert!(decode(&made) == expected);
        assert!((made.len() as f64) < theirs * within, "{by:?}: {} of {theirs}", made.len());
        assert!(ours > theirs * 1.02 || !matches!(by, By::Libdeflate(12)), "{ours} {theirs}");
        let inside = [Piece::New(100), Piece::Copy(0, 1_000_000..8_000_000), Piece::New(5)];
        let (made, expected) = put_together(&[(content.clone(), by)], &inside, 2, 65_536);
        assert!(decode(&made) == expected);
    }
}

#[test]
fn what_is_compressed_badly_is_not_kept() {
    let content = content(3_000_000, 5);
    let cases = [
        (By::Ourselves, true),
        (By::Zlib(6), true),
        (By::Libdeflate(12), true),
        (By::Flushing(128 * 1024), true),
        (By::Zlib(1), false),
        (By::Zlib(0), false),
        (By::Libdeflate(0), false),
    ];
    for (by, is_kept) in cases {
        let blob = blob(&content, by);
        let kept = Original::new(file(&blob), blocks(&content, &blob), &file(&content)).unwrap();
        assert_eq!(kept.is_some(), is_kept, "{by:?}");
    }
    assert!(Original::new(file(&[]), Blocks::default(), &file(&[])).unwrap().is_none());
}

/// An archive of nothing but tiny blocks must not fill the memory with where they stand.
#[test]
fn too_many_blocks_are_not_remembered() {
    let content = content(200_000, 9);
    let blob = blob(&content, By::Flushing(10));
    assert!(blocks(&content, &blob).len() < 1200 + 200_000 / 2048);
}
