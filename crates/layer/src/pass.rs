//! Passes over a whole layer that read every byte once.
//!
//! They take any reader, and go on with a `dyn Read`: a pass is large, and is compiled once, not for each type of reader.
//! The calls through it move whole buffers.

use std::{
    io::{self, BufRead, Read, Seek, Write},
    num::NonZeroUsize,
    sync::Arc,
};

use palan_core::{Algorithm, Compression, Descriptor, Digest, Family, MediaType};

use crate::{
    Decoder, Encoder, Error, HashingReader, HashingWriter, Level, Limits, Result, behind,
    codec::{self, Blocks, Original, Sniffed},
    hash::{Expected, RawReader, TeeReader, VerifyingReader, drain},
    listing::{Interest, Listing},
    merge::{Index, Merged, Written},
    tar::{Archive, End, Ending},
};

/// What one pass over a layer's blob tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Size of the blob as stored, in bytes.
    pub size: u64,
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the uncompressed archive, in bytes.
    pub raw_size: u64,
    /// Compression, by content.
    pub compression: Compression,
    /// Number of entries in the archive.
    pub entries: u64,
    /// How the archive ends.
    pub ending: Ending,
    /// Zero bytes after the last gzip member.
    pub padding: u64,
}

impl Scan {
    /// Compares the uncompressed archive with the diff ID that the config states.
    pub fn check_diff_id(&self, expected: Digest) -> Result<()> {
        let found = self.diff_id;
        if found == expected { Ok(()) } else { Err(Error::DiffId { expected, found }) }
    }
}

/// Reads a layer's blob to its end, once: computes digest (SHA-256) and diff ID, and checks compression and archive
/// for damage.
pub fn scan(mut reader: impl Read, limits: &Limits) -> Result<Scan> {
    let reader: &mut dyn Read = &mut reader;
    let mut blob = HashingReader::new(reader, Algorithm::Sha256);
    let (inner, ()) = scan_raw(&mut blob, Algorithm::Sha256, limits, false, walk)?;
    let (digest, size, _) = blob.finish();
    Ok(inner.into_scan(digest, size))
}

/// As [`scan`], and checks digest and size against `expected` (with its algorithm), failing as soon as there are more
/// bytes than promised. Where the blob is damaged *and* not the one promised, the latter is the error.
///
/// Does not compare the compression with the media type (see [`codec::check`]) nor the diff ID
/// (see [`Scan::check_diff_id`]).
pub fn scan_expecting(mut reader: impl Read, expected: &Expected, limits: &Limits) -> Result<Scan> {
    expecting(&mut reader, expected, limits, walk).map(|(scan, ())| scan)
}

/// As [`scan_expecting`], and checks the diff ID too; reads the [`Listing`] in the same pass.
pub fn list_expecting(
    mut reader: impl Read,
    expected: &Expected,
    diff_id: Digest,
    interest: &Interest<'_>,
    limits: &Limits,
) -> Result<(Scan, Listing)> {
    let (scan, listing) = expecting(&mut reader, expected, limits, |raw, limits| {
        let (listing, ending) = Listing::read_to_end(raw, interest, limits)?;
        Ok((listing.entries, ending, listing))
    })?;
    scan.check_diff_id(diff_id)?;
    Ok((scan, listing))
}

/// A layer on this machine, uncompressed.
#[derive(Debug)]
pub struct Spooled {
    /// What the pass over its blob told.
    pub scan: Scan,
    /// Where its entries stand.
    pub index: Index,
    /// Where its blocks stand, if it is gzip and its blob was asked for.
    pub blocks: Option<Blocks>,
}

/// As [`scan_expecting`], and checks the diff ID where it is known; writes the uncompressed archive to `spool`, and the
/// blob as it is to `blob`, and indexes the archive in the same pass.
pub fn spool_expecting(
    mut reader: impl Read,
    expected: &Expected,
    diff_id: Option<Digest>,
    limits: &Limits,
    mut spool: impl Write,
    blob: Option<&mut dyn Write>,
) -> Result<Spooled> {
    let spool: &mut dyn Write = &mut spool;
    let read = |raw: &mut dyn Read, limits: &Limits| {
        let tee = TeeReader { reader: raw, writer: &mut *spool };
        let (index, entries, ending) = Index::read_to_end(tee, limits)?;
        Ok((entries, ending, index))
    };
    let (notes_blocks, mut nowhere) = (blob.is_some(), io::sink());
    let mut tee = TeeReader { reader: &mut reader, writer: blob.unwrap_or(&mut nowhere) };
    let (scan, blocks, index) = expecting_with(&mut tee, expected, limits, notes_blocks, read)?;
    tee.writer.flush()?;
    diff_id.map_or(Ok(()), |diff_id| scan.check_diff_id(diff_id))?;
    spool.flush()?;
    Ok(Spooled { scan, index, blocks })
}

fn expecting<T>(
    reader: &mut dyn Read,
    expected: &Expected,
    limits: &Limits,
    read: impl FnOnce(&mut dyn Read, &Limits) -> Result<(u64, Ending, T)>,
) -> Result<(Scan, T)> {
    let (scan, _, read) = expecting_with(reader, expected, limits, false, read)?;
    Ok((scan, read))
}

fn expecting_with<T>(
    reader: &mut dyn Read,
    expected: &Expected,
    limits: &Limits,
    notes_blocks: bool,
    read: impl FnOnce(&mut dyn Read, &Limits) -> Result<(u64, Ending, T)>,
) -> Result<(Scan, Option<Blocks>, T)> {
    let mut blob = VerifyingReader::new(reader, expected);
    let Descriptor { digest, size, .. } = expected.descriptor;
    match scan_raw(&mut blob, digest.algorithm(), limits, notes_blocks, read) {
        Ok((mut inside, read)) => {
            blob.finish()?;
            let blocks = inside.blocks.take();
            Ok((inside.into_scan(digest, size), blocks, read))
        }
        Err(error @ (Error::Io(_) | Error::Temporary { .. } | Error::Content(_) | Error::Limit { .. })) => {
            Err(error)
        }
        Err(error) => {
            drain(&mut blob)?;
            blob.finish()?;
            Err(error)
        }
    }
}

/// What is known of the inside of a blob after it was read.
struct Inside {
    /// `None` where the archive is the blob.
    diff_id: Option<Digest>,
    raw_size: u64,
    compression: Compression,
    entries: u64,
    ending: Ending,
    padding: u64,
    blocks: Option<Blocks>,
}

impl Inside {
    fn into_scan(self, digest: Digest, size: u64) -> Scan {
        let Self { diff_id, raw_size, compression, entries, ending, padding, .. } = self;
        let diff_id = diff_id.unwrap_or(digest);
        Scan { digest, size, diff_id, raw_size, compression, entries, ending, padding }
    }

    fn into_packed(self, digest: Digest, size: u64, compression: Compression) -> Packed {
        let Self { diff_id, raw_size, entries, ending, .. } = self;
        let diff_id = diff_id.unwrap_or(digest);
        Packed { digest, size, diff_id, raw_size, compression, entries, ending }
    }
}

/// `algorithm` is the one that the blob itself is hashed with: a plain archive need not be hashed twice. `read` reads
/// the archive to its end; it tells how many entries there are.
fn scan_raw<T>(
    mut blob: &mut dyn Read,
    algorithm: Algorithm,
    limits: &Limits,
    notes_blocks: bool,
    read: impl FnOnce(&mut dyn Read, &Limits) -> Result<(u64, Ending, T)>,
) -> Result<(Inside, T)> {
    let mut decoder = Decoder::with_limits(&mut *blob, limits)?;
    if notes_blocks {
        decoder.note_blocks();
    }
    let compression = decoder.compression();
    let is_blob = compression == Compression::None && algorithm == Algorithm::Sha256;
    let mut raw = RawReader::new(decoder, is_blob);
    let (entries, ending, read) = read(&mut raw, limits)?;
    let (diff_id, raw_size, mut decoder) = raw.finish();
    let (padding, blocks) = (decoder.padding(), decoder.blocks());
    drop(decoder);
    drain(&mut blob)?;
    Ok((Inside { diff_id, raw_size, compression, entries, ending, padding, blocks }, read))
}

/// Reads an uncompressed archive to its end.
fn walk(raw: &mut dyn Read, limits: &Limits) -> Result<(u64, Ending, ())> {
    let mut archive = Archive::with_limits(raw, limits);
    while archive.next_entry()?.is_some() {}
    let entries = archive.entries();
    Ok((entries, archive.finish()?, ()))
}

/// How to make a layer's blob.
#[derive(Clone, Debug)]
pub struct Packing {
    /// Compression of the blob to make.
    pub compression: Compression,
    /// How hard to compress.
    pub level: Level,
    /// Input that has one of these compressions already is stored as it is.
    pub keep: Vec<Compression>,
    /// Threads to compress with; the bytes do not depend on it.
    pub threads: NonZeroUsize,
    /// Bounds on the input. By default a plain archive without end marker is refused, as it is probably cut off; one that
    /// is compressed has the end of its stream to show that it is whole.
    pub limits: Limits,
}

impl Packing {
    /// Compresses plain archives with `compression` and keeps what is compressed already.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            level: Level::DEFAULT,
            keep: vec![Compression::Gzip, Compression::Zstd],
            threads: codec::default_threads(),
            limits: Limits::default().with_end_marker_required(true),
        }
    }

    /// Whether [`pack_merged`] uses the blocks again that the layers have: where a level is asked for, that is for what it makes.
    pub fn keeps_blocks(&self) -> bool {
        self.compression == Compression::Gzip && self.level == Level::DEFAULT
    }

    /// For layers of `family`: keeps only compressions that it has a media type for. Fails for zstd in Docker's.
    pub fn for_family(family: Family, compression: Compression) -> Option<Self> {
        MediaType::layer(family, compression)?;
        let mut packing = Self::new(compression);
        packing.keep.retain(|kept| MediaType::layer(family, *kept).is_some());
        Some(packing)
    }
}

/// A blob that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the blob as stored.
    pub digest: Digest,
    /// Size of the blob as stored, in bytes.
    pub size: u64,
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the uncompressed archive, in bytes.
    pub raw_size: u64,
    /// Compression of the blob as stored.
    pub compression: Compression,
    /// Number of entries in the archive.
    pub entries: u64,
    /// How the archive ends.
    pub ending: Ending,
}

impl Packed {
    /// The blob's descriptor in `family`; `None` where that has no media type for the compression.
    pub fn descriptor(&self, family: Family) -> Option<Descriptor> {
        Some(Descriptor::new(MediaType::layer(family, self.compression)?, self.digest, self.size))
    }
}

/// Where a blob goes: hashed and written on a thread of its own, if it is compressed.
type Writer<'a> = dyn Write + Send + 'a;

/// Makes a layer's blob of an archive, plain or already compressed, reading the input and writing the output once.
///
/// The archive is checked on the way; after an error the output is incomplete and must be thrown away.
pub fn pack_layer(mut reader: impl Read, packing: &Packing, mut writer: impl Write + Send) -> Result<Packed> {
    pack(&mut reader, packing, &mut writer)
}

fn pack(reader: &mut dyn Read, packing: &Packing, writer: &mut Writer<'_>) -> Result<Packed> {
    let (found, reader) = codec::sniff(reader)?;
    let mut packing = packing.clone();
    packing.limits.end_marker_required &= found == Compression::None;
    let packing = &packing;
    let sink = HashingWriter::new(writer, Algorithm::Sha256);
    if found == packing.compression || packing.keep.contains(&found) {
        store(reader, found, packing, sink)
    } else {
        compress(reader, packing, sink)
    }
}

/// Makes a blob of layers that are merged; `archives`: as [`Merged::write`] reads them; `originals`: the layers' blobs, by
/// the same numbers. Where the packing [keeps blocks](Packing::keeps_blocks), what stands in one of those as it is to be written
/// stays compressed as it is there.
pub fn pack_merged<S: BufRead + Seek>(
    packing: &Packing,
    merged: &Merged,
    archives: &mut [S],
    originals: Arc<[Option<Original>]>,
    mut writer: impl Write + Send,
) -> Result<(Packed, Written)> {
    let Packing { compression, level, threads, .. } = *packing;
    let writer: &mut Writer<'_> = &mut writer;
    let mut blob = HashingWriter::new(writer, Algorithm::Sha256);
    let (written, diff_id, raw_size) = behind(&mut blob, |blob| {
        let mut encoder = Encoder::with_threads(blob, compression, level, threads)?;
        if packing.keeps_blocks() {
            encoder.keep_of(originals);
        }
        let mut raw = HashingWriter::new(encoder, Algorithm::Sha256);
        let written = merged.write_to(archives, merged.usual_names(), &mut raw)?;
        let (diff_id, raw_size, encoder) = raw.finish();
        encoder.finish()?;
        Ok((written, diff_id, raw_size))
    })?;
    let (digest, size, _) = blob.finish();
    let entries = written.entries;
    let ending = Ending { end: End::Marker, trailing: 0, hidden_data: false };
    Ok((Packed { digest, size, diff_id, raw_size, compression, entries, ending }, written))
}

fn store(
    reader: Sniffed<&mut dyn Read>,
    found: Compression,
    packing: &Packing,
    sink: HashingWriter<&mut Writer<'_>>,
) -> Result<Packed> {
    let mut tee = TeeReader { reader, writer: sink };
    let (inside, ()) = scan_raw(&mut tee, Algorithm::Sha256, &packing.limits, false, walk)?;
    tee.writer.flush()?;
    let (digest, size, _) = tee.writer.finish();
    Ok(inside.into_packed(digest, size, found))
}

fn compress(
    reader: Sniffed<&mut dyn Read>,
    packing: &Packing,
    mut sink: HashingWriter<&mut Writer<'_>>,
) -> Result<Packed> {
    let Packing { compression, level, threads, ref limits, .. } = *packing;
    let inside = behind(&mut sink, |blob| {
        let decoder = Decoder::with_limits(reader, limits)?;
        let encoder = Encoder::with_threads(blob, compression, level, threads)?;
        let tee = TeeReader { reader: decoder, writer: encoder };
        let mut raw = RawReader::new(tee, false);
        let (entries, ending, ()) = walk(&mut raw, limits)?;
        let (diff_id, raw_size, tee) = raw.finish();
        tee.writer.finish()?;
        let padding = tee.reader.padding();
        Ok(Inside { diff_id, raw_size, compression, entries, ending, padding, blocks: None })
    })?;
    let (digest, size, _) = sink.finish();
    Ok(inside.into_packed(digest, size, compression))
}

#[cfg(test)]
mod tests;
