//! Layers that are broken, each in one way.

use bytes::Bytes;
use palan_core::{Compression, Digest};
use palan_layer::{
    Builder, Encoder, Level,
    tar::{BLOCK, END, padding},
};

use crate::image::Layer;

/// A layer that cannot be opened.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// What is wrong, in a few words.
    pub name: &'static str,
    /// The layer. Its digest is true, and so is its diff ID where it can be decompressed.
    pub layer: Layer,
    /// What must be said about it.
    pub says: Vec<String>,
    /// Whether it is only seen when files are put together: archive and entries are well-formed.
    pub only_merged: bool,
}

/// One of each kind.
pub fn malformed() -> Vec<Malformed> {
    [streams(), archives(), entries()].concat()
}

/// Two files, the second of which starts at byte 2560.
fn good() -> Vec<u8> {
    let noise = |seed: u32| -> Vec<u8> { (0..2000u32).map(|n| (n.wrapping_mul(seed) >> 11) as u8).collect() };
    let tar = Builder::new().file("first", noise(2_654_435_761)).file("second", noise(40_503)).tar();
    tar.expect("files of this size can be written")
}

fn encoded(raw: &[u8], compression: Compression) -> Vec<u8> {
    let encode = || {
        let mut encoder = Encoder::new(Vec::new(), compression, Level::DEFAULT)?;
        std::io::Write::write_all(&mut encoder, raw)?;
        encoder.finish()
    };
    encode().expect("memory can be written to")
}

fn of(
    name: &'static str,
    raw: &[u8],
    blob: impl Into<Bytes>,
    compression: Compression,
    says: &str,
) -> Malformed {
    let bytes = blob.into();
    let layer = Layer {
        digest: Digest::sha256(&bytes),
        diff_id: Digest::sha256(raw),
        bytes,
        tar: Bytes::copy_from_slice(raw),
        compression,
        created_by: format!("RUN break {name}"),
        media_type: None,
    };
    Malformed { name, layer, says: says.split('|').map(str::to_owned).collect(), only_merged: false }
}

/// What is wrong with how the blob is stored.
fn streams() -> Vec<Malformed> {
    use Compression::{Gzip, Zstd};
    let raw = good();
    let (gzip, zstd) = (encoded(&raw, Gzip), encoded(&raw, Zstd));
    let flipped = |blob: &[u8], back: usize| {
        let mut blob = blob.to_vec();
        let at = blob.len() - back;
        blob[at] ^= 1;
        blob
    };
    let in_archive = "of the archive, after entry \"second\"";
    vec![
        of(
            "gzip cut in the middle",
            &raw,
            gzip[..gzip.len() / 2].to_vec(),
            Gzip,
            "the gzip stream is cut off after |of the archive, after entry \"first\"",
        ),
        of(
            "gzip cut at its end",
            &raw,
            gzip[..gzip.len() - 3].to_vec(),
            Gzip,
            &format!("the gzip stream is cut off after |{in_archive}"),
        ),
        of(
            "gzip with another checksum",
            &raw,
            flipped(&gzip, 6),
            Gzip,
            &format!("the gzip stream is damaged near byte |{in_archive}"),
        ),
        of(
            "data after gzip",
            &raw,
            [&gzip[..], b"more"].concat(),
            Gzip,
            "after the gzip stream, at byte |there is other data",
        ),
        of(
            "zstd cut in the middle",
            &raw,
            zstd[..zstd.len() / 2].to_vec(),
            Zstd,
            "the zstd stream is cut off after ",
        ),
        of(
            "zstd with another checksum",
            &raw,
            flipped(&zstd, 2),
            Zstd,
            "the zstd stream is damaged near byte ",
        ),
        of("xz", &raw, b"\xfd7zXZ\0\0\x04".to_vec(), Gzip, "layers compressed with xz are not supported"),
        of("bzip2", &raw, b"BZh91AY&SY".to_vec(), Gzip, "layers compressed with bzip2 are not supported"),
        of("text", b"hello", encoded(b"hello", Gzip), Gzip, "it is no tar archive"),
    ]
}

/// What is wrong with the archive.
fn archives() -> Vec<Malformed> {
    let zipped =
        |name, raw: &[u8], says| of(name, raw, encoded(raw, Compression::Gzip), Compression::Gzip, says);
    let good = good();
    let (first, second) = (&good[..2560], &good[2560..5120]);
    let mut checksum = good.clone();
    checksum[2560 + 3] ^= 1;
    let lone = [first, &[0; BLOCK], second].concat();
    let other_size =
        [first, &header(b'0', |b| b[124..136].copy_from_slice(b"\0\x300000001000"))[..]].concat();
    vec![
        zipped(
            "a header with another checksum",
            &checksum,
            "bad tar header at byte 2560, after entry \"first\"",
        ),
        zipped(
            "cut in a header",
            &good[..2560 + 300],
            "the tar archive is cut off at byte 2860, after entry \"first\"",
        ),
        zipped(
            "cut in content",
            &good[..4000],
            "the tar archive is cut off at byte 4000, 1120 bytes before the end of \"second\"",
        ),
        zipped(
            "a zero block between entries",
            &lone,
            "a single zero block|at byte 2560, after entry \"first\"",
        ),
        zipped("a size of two readings", &other_size, "tar entry \"x\" at byte 2560: its size"),
        zipped(
            "nonsense in PAX",
            &with_pax(first, b"9 size=x\n"),
            "tar entry \"x\" at byte 2560: PAX record size",
        ),
        zipped("PAX that is no PAX", &with_pax(first, b"nonsense"), "at byte 2560"),
        zipped(
            "a sparse file with holes in wrong order",
            &with_pax(first, b"21 GNU.sparse.size=9\n26 GNU.sparse.map=5,1,1,2\n"),
            "tar entry \"x\" at byte 2560: the map of the sparse file",
        ),
    ]
}

/// What no layer may have.
fn entries() -> Vec<Malformed> {
    let zipped = |name, tar: Builder, says| {
        let raw = tar.tar().expect("such entries can be written");
        of(name, &raw, encoded(&raw, Compression::Zstd), Compression::Zstd, says)
    };
    let new = || Builder::new().file("first", b"1");
    let mut all = vec![
        zipped(
            "a hard link to nothing",
            new().hard_link("a", "b"),
            "tar entry \"a\" at byte 1024: its hard link target \"b\" does not exist",
        ),
        zipped(
            "a hard link to a directory",
            new().dir("b").hard_link("a", "b"),
            "tar entry \"a\" at byte 1536: its hard link target \"b\" is a directory",
        ),
        zipped(
            "hard links in a circle",
            new().hard_link("a", "b").hard_link("b", "a"),
            "tar entry \"a\" at byte 1024: its hard link target \"b\" does not exist",
        ),
        zipped(
            "a whiteout of nothing",
            new().file("d/.wh.", b""),
            "tar entry \"d/.wh.\" at byte 1024: a whiteout that hides no name",
        ),
        zipped(
            "a root that is a file",
            new().file(".", b"1"),
            "tar entry \".\" at byte 1024: the root must be a directory",
        ),
    ];
    all.iter_mut().for_each(|case| case.only_merged = true);
    all
}

/// A header of the file `x`, with the right checksum.
fn header(flag: u8, set: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let tar = Builder::new().file("x", b"").tar().expect("an empty file can be written");
    let mut block = tar[..BLOCK].to_vec();
    block[156] = flag;
    set(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// `before`, then the file `x` with these PAX records.
fn with_pax(before: &[u8], records: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}\0", records.len());
    let pax = header(b'x', |b| b[124..136].copy_from_slice(size.as_bytes()));
    [before, &pax, records, padding(records.len() as u64), &header(b'0', |_| ()), &END].concat()
}

#[cfg(test)]
mod tests {
    use palan_layer::{
        Decoder, Error, Limits,
        merge::{Index, Merge},
        scan,
    };

    use super::*;

    #[test]
    fn every_one_is_found_and_says_where() {
        for Malformed { name, layer, says, only_merged } in malformed() {
            let error = if only_merged {
                scan(&*layer.bytes, &Limits::default()).unwrap();
                let merge = || {
                    let raw = Decoder::new(&*layer.bytes)?;
                    Merge::whole().push(0, &Index::read(raw, &Limits::default())?)
                };
                merge().unwrap_err()
            } else {
                scan(&*layer.bytes, &Limits::default()).unwrap_err()
            };
            assert!(!matches!(error, Error::Io(_)), "{name}: {error:?}");
            let text = error.to_string();
            assert!(says.iter().all(|part| text.contains(part)), "{name}: {text}");
        }
    }
}
