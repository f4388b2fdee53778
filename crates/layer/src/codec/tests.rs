use std::{
    io::{Read, Write},
    num::NonZeroUsize,
};

use proptest::prelude::*;

use super::*;
use crate::Limits;

const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

/// Something like an archive: part repetitive, part not, starting with what no codec starts with.
fn data(size: usize) -> Vec<u8> {
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
    (0..size).map(|i| if i % 4096 < 2048 { b'a' } else { noise(i) }).collect()
}

fn threads(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn encode(input: &[u8], compression: Compression, threads: NonZeroUsize, chunk: usize) -> Vec<u8> {
    let mut encoder = Encoder::with_threads(Vec::new(), compression, Level::DEFAULT, threads).unwrap();
    for chunk in input.chunks(chunk.max(1)) {
        encoder.write_all(chunk).unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(blob: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Decoder::new(blob)?.read_to_end(&mut out)?;
    Ok(out)
}

/// Gives its bytes in pieces of the sizes given, over and over, interrupted now and then.
struct Trickle<'a>(&'a [u8], Vec<usize>, usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.2 += 1;
        if self.2.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = self.1[self.2 % self.1.len()].max(1).min(buf.len()).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// By default, time goes where it saves space: each member is as at level 5, at level 1, or stored.
#[test]
fn members_that_hardly_shrink_are_compressed_less() {
    const MEMBER: usize = 1024 * 1024;
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut mixed = |noise: usize| -> Vec<u8> {
        (0..MEMBER).map(|i| if i % 100 < noise { random() } else { b'a' }).collect()
    };
    let (easy, hard, hopeless) = (mixed(30), mixed(70), mixed(100));
    let short = hard[..100_000].to_vec();
    let at = |level, input: &[u8]| {
        let mut encoder =
            Encoder::with_threads(Vec::new(), Compression::Gzip, Level::new(level), threads(1)).unwrap();
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    };
    let expected = [at(5, &easy), at(1, &hard), at(0, &hopeless), at(5, &short)].concat();
    let all = [easy, hard, hopeless, short].concat();
    for n in [1, 2, 3] {
        assert!(encode(&all, Compression::Gzip, threads(n), 1 << 16) == expected, "{n}");
    }
    assert!(decode(&expected).unwrap() == all);
    assert!(at(5, &all).len() < expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_encoded_decodes_however_it_is_cut(
        size in prop_oneof![0usize..2000, 1_048_570usize..1_048_590, 2_000_000usize..2_400_000],
        chunk in prop_oneof![1usize..5000, Just(1_048_576usize), Just(1usize << 24)],
        pieces in proptest::collection::vec(1usize..70_000, 1..6),
        n in 1usize..5,
    ) {
        let input = data(size);
        for compression in ALL {
            let blob = encode(&input, compression, threads(n), chunk.max(size / 4000));
            prop_assert_eq!(&blob, &encode(&input, compression, threads(1), 1 << 20));
            let pieces = pieces.iter().map(|p| size.div_ceil(2000).max(*p)).collect();
            let mut decoder = Decoder::new(Trickle(&blob, pieces, 0)).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            prop_assert!(out == input);
            prop_assert_eq!(decoder.consumed(), blob.len() as u64);
        }
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        head in prop_oneof![Just(&[0x1f, 0x8b, 8, 0][..]), Just(&[0x28, 0xb5, 0x2f, 0xfd][..]), Just(&[][..])],
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = decode(&[head, &tail].concat());
    }
}

#[test]
fn every_cut_of_a_compressed_stream_is_an_error() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let one = encode(&data(3000), compression, threads(1), 999);
        let two = [one.clone(), one.clone()].concat();
        // From the second byte of the head on: with less, it is no stream of this kind at all.
        for cut in 4..two.len() {
            let whole = cut == one.len();
            match decode(&two[..cut]) {
                Ok(_) => assert!(whole, "{compression} cut at {cut}"),
                Err(error) => {
                    let named = matches!(error, Error::Truncated { offset, .. } if offset == cut as u64);
                    assert!(named && !whole, "{compression} cut at {cut}: {error:?}");
                }
            }
        }
    }
}

#[test]
fn members_and_frames_are_joined() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let parts = [data(100), vec![], data(2_500_000), b"tail".to_vec()];
        let blob: Vec<u8> = parts.iter().flat_map(|p| encode(p, compression, threads(2), 1 << 16)).collect();
        assert!(decode(&blob).unwrap() == parts.concat());
    }
}

#[test]
fn skippable_zstd_frames_are_skipped_wherever_they_are() {
    let skippable = |kind: u8, content: &[u8]| {
        let size = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[kind, 0x2a, 0x4d, 0x18], &size[..], content].concat()
    };
    let frame = encode(b"content", Compression::Zstd, threads(1), 10);
    let (a, b) = (skippable(0x50, b"toc"), skippable(0x5f, &[0; 9000]));
    let blob = [&a[..], &frame, &b, &frame, &a].concat();
    assert_eq!(detect(&blob).unwrap(), Compression::Zstd);
    assert_eq!(decode(&blob).unwrap(), b"contentcontent");
    let ends = [a.len(), a.len() + frame.len(), a.len() + frame.len() + b.len()];
    let ends = [&ends[..], &[ends[2] + frame.len()]].concat();
    for cut in 4..blob.len() {
        assert_eq!(decode(&blob[..cut]).is_ok(), ends.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn zeros_after_gzip_are_padding_and_anything_else_is_an_error() {
    let gzip = encode(b"content", Compression::Gzip, threads(1), 10);
    for padding in [1, 511, 300_000] {
        let blob = [&gzip[..], &vec![0; padding]].concat();
        let mut decoder = Decoder::new(&*blob).unwrap();
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).unwrap();
        assert_eq!((out.as_slice(), decoder.padding()), (&b"content"[..], padding as u64));
    }
    for trailing in [&b"x"[..], b"\0\0x", b"\0\x1f\x8b"] {
        let error = decode(&[&gzip, trailing].concat()).unwrap_err();
        assert!(
            matches!(error, Error::TrailingData { offset, .. } if offset == gzip.len() as u64),
            "{trailing:?}: {error:?}"
        );
    }
    let error = decode(&[&gzip[..], &[0x1f, 0x8b, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]].concat()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    let zstd = encode(b"content", Compression::Zstd, threads(1), 10);
    let error = decode(&[&zstd[..], b"xxxxxxxx"].concat()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn damage_is_found_by_checksums() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = encode(&data(50_000), compression, threads(1), 999);
        for at in [20, blob.len() / 2, blob.len() - 2] {
            let mut damaged = blob.clone();
            damaged[at] ^= 0x10;
            let error = decode(&damaged).unwrap_err();
            let expected =
                matches!(error, Error::Corrupt { .. } | Error::Truncated { .. } | Error::TrailingData { .. });
            assert!(expected, "{compression} at {at}: {error:?}");
        }
    }
}

#[test]
fn the_reader_s_own_errors_are_not_taken_for_damage() {
    struct Cut<'a>(&'a [u8]);
    impl Read for Cut<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection lost"));
            }
            self.0.read(buf)
        }
    }
    for compression in ALL {
        let blob = encode(&data(50_000), compression, threads(1), 999);
        let mut decoder = Decoder::new(Cut(&blob[..blob.len() / 2])).unwrap();
        let error = Error::from(decoder.read_to_end(&mut Vec::new()).unwrap_err());
        assert!(matches!(&error, Error::Io(e) if e.to_string() == "connection lost"), "{error:?}");
    }
}

#[test]
fn media_types_are_checked() {
    use Compression::{Gzip, None, Zstd};
    let cases = [
        (MediaType::OCI_LAYER_GZIP, Gzip, true),
        (MediaType::OCI_LAYER_GZIP, Zstd, false),
        (MediaType::DOCKER_LAYER, Gzip, false),
        (MediaType::DOCKER_LAYER, None, true),
        (MediaType::OCI_FOREIGN_LAYER_ZSTD, Zstd, true),
        (MediaType::new("application/x"), Gzip, true),
    ];
    for (media_type, found, fine) in cases {
        assert_eq!(check(&media_type, found).is_ok(), fine, "{media_type} {found}");
    }
}

#[test]
fn other_compressions_are_named() {
    let cases = [(&b"\xfd7zXZ\0..."[..], "xz"), (b"BZh91AY&SY", "bzip2")];
    for (head, name) in cases {
        assert!(decode(head).unwrap_err().to_string().contains(name));
    }
    assert_eq!(detect(b"BZhello").unwrap(), Compression::None);
}

#[test]
fn levels_are_checked_and_matter() {
    for (compression, bad) in [(Compression::Gzip, 13), (Compression::Zstd, 0), (Compression::Zstd, 23)] {
        let error = Encoder::new(Vec::new(), compression, Level::new(bad)).err().unwrap();
        assert!(matches!(error, Error::Level { .. }), "{error:?}");
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let size = |level| {
            let mut encoder = Encoder::new(Vec::new(), compression, Level::new(level)).unwrap();
            encoder.write_all(&data(200_000)).unwrap();
            encoder.finish().unwrap().len()
        };
        assert!(size(12) < size(1), "{compression}");
    }
}

#[test]
fn expansion_is_bounded() {
    let blob = encode(&vec![0; 5_000_000], Compression::Zstd, threads(1), 1 << 20);
    let with = |limits: Limits| {
        let read = Decoder::with_limits(&*blob, &limits).unwrap().read_to_end(&mut Vec::new());
        read.map_err(Error::from)
    };
    let error = with(Limits { raw_size: 1_000_000, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 1_000_000, .. }), "{error:?}");
    let ratio = Limits { ratio: 100, ..Limits::default() };
    let error = with(Limits { ratio_from: 4_000_000, ..ratio }).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 100, .. }), "{error:?}");
    assert_eq!(with(Limits { ratio_from: 5_000_000, ..ratio }).unwrap(), 5_000_000);
}

#[test]
fn a_failing_writer_stops_the_encoder() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(buf.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in ALL {
        let mut encoder =
            Encoder::with_threads(Full(100_000), compression, Level::DEFAULT, threads(3)).unwrap();
        let written = encoder
            .write_all(&data(20_000_000))
            .and_then(|()| encoder.finish().map(drop).map_err(io::Error::from));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull, "{compression}");
    }
}
