//! gzip that keeps what is compressed already.
//!
//! An archive put together of others (see [`merge`](crate::merge)) mostly consists of long runs of bytes that stand just so
//! in one of them. Inside such a run, the deflate blocks of the layer's blob can be used again, bit by bit, where all that
//! they may refer to is in the same member: the 32 KiB before them. Only what is before and behind them is compressed anew.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    sync::Arc,
};

use libdeflater::Crc;

use super::{
    blocks::{Block, Blocks},
    gzip::{Kept, Members, compressor, too_large},
};

/// Content of blocks kept in one member, in bytes, from which on a new one is begun: both are made in parallel. Part of the
/// format.
const CONTENT: u64 = 2 * 1024 * 1024;
/// As much of the blob.
const BITS: u64 = 8 * CONTENT;
/// Larger blocks are not kept: their content is held in memory until it is known to be whole.
const LARGEST: u64 = 1024 * 1024;

/// Blocks that are compressed anew to see how well the blob is compressed.
const SAMPLES: usize = 12;
/// How much larger than our own the blob's blocks may be, in percent: what zlib's and Go's usual levels make is.
const LARGER: u64 = 106;

/// A layer's blob, compressed with gzip.
#[derive(Debug)]
pub struct Original {
    blob: File,
    blocks: Blocks,
}

impl Original {
    /// A blob that is compressed well enough to keep parts of it; `blocks`: where they stand in it
    /// ([`Decoder::blocks`](super::Decoder::blocks)); `archive`: what it holds, uncompressed.
    pub fn new(blob: File, blocks: Blocks, archive: &File) -> io::Result<Option<Self>> {
        let mut usual = compressor(super::encode::GZIP)?;
        let (mut theirs, mut ours) = (0, 0);
        let step = blocks.len().div_ceil(SAMPLES).max(1);
        for number in (step / 2..blocks.len()).step_by(step) {
            let Some(block) = blocks.get(number).filter(|block| block.content.end - block.since <= LARGEST)
            else {
                continue;
            };
            let before = usize::try_from(block.content.start - block.since).unwrap_or(0);
            let content = read_range(archive, block.since..block.content.end)?;
            let mut room = vec![0; usual.deflate_compress_bound(content.len())];
            let mut size = |bytes: &[u8]| usual.deflate_compress(bytes, &mut room).map_err(|_| too_large());
            ours += size(&content)?.saturating_sub(size(&content[..before])?) as u64;
            theirs += (block.bits.end - block.bits.start) / 8;
        }
        let is_good = theirs > 0 && theirs * 100 <= ours * LARGER;
        Ok(is_good.then_some(Self { blob, blocks }))
    }
}

fn read_range(mut file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(|_| too_large())?];
    file.seek(SeekFrom::Start(range.start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes members of blocks that are kept and of what is between them.
pub(super) struct Keeper<W: Write> {
    members: Members<W>,
    originals: Arc<[Option<Original>]>,
    run: Option<Run>,
    /// The content so far of the block that the run is in.
    held: Vec<u8>,
    open: Option<Open>,
}

/// Bytes that stand in an archive as they are written.
#[derive(Clone, Copy)]
struct Run {
    layer: u32,
    start: u64,
    /// Where the archive goes on.
    next: u64,
}

/// Blocks kept at the end of the member that is begun.
struct Open {
    layer: u32,
    /// Numbers of the blocks.
    blocks: Range<usize>,
    content: u64,
    /// Of the whole member.
    crc: Crc,
}

impl<W: Write> Keeper<W> {
    pub(super) fn new(members: Members<W>) -> Self {
        Self { members, originals: Arc::default(), run: None, held: Vec::new(), open: None }
    }

    /// From now on, keeps blocks of these layers, by their numbers.
    pub(super) fn keep_of(&mut self, originals: Arc<[Option<Original>]>) {
        self.originals = originals;
    }

    /// Writes bytes that stand at `offset` in a layer's archive.
    pub(super) fn copy(&mut self, layer: u32, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        let mut run = match self.run {
            Some(run) if run.layer == layer && run.next == offset => run,
            _ => {
                self.leave()?;
                Run { layer, start: offset, next: offset }
            }
        };
        while !bytes.is_empty() {
            let n = match self.block_ahead(run) {
                None => {
                    self.anew(bytes)?;
                    bytes.len()
                }
                Some((number, content)) => {
                    let is_inside = content.start <= run.next;
                    let end = if is_inside { content.end } else { content.start };
                    let n = usize::try_from(end - run.next).unwrap_or(usize::MAX).min(bytes.len());
                    if is_inside {
                        self.held.extend_from_slice(&bytes[..n]);
                        if run.next + n as u64 == end {
                            self.keep(layer, number)?;
                        }
                    } else {
                        self.anew(&bytes[..n])?;
                    }
                    n
                }
            };
            run.next += n as u64;
            bytes = &bytes[n..];
        }
        self.run = Some(run);
        Ok(())
    }

    /// The next block that can be kept, which the run may be in already: its number and its content.
    fn block_ahead(&self, run: Run) -> Option<(usize, Range<u64>)> {
        let blocks = &self.originals.get(run.layer as usize)?.as_ref()?.blocks;
        let begun = run.next - self.held.len() as u64;
        let can_be = |block: &&Block| {
            block.content.start >= begun && block.content.end - block.content.start <= LARGEST
        };
        let found = |number| Some((number, blocks.get(number).filter(can_be)?.content.clone()));
        match &self.open {
            Some(open) => found(open.blocks.end),
            None => {
                // As much of the run is in this member.
                let here = (begun - run.start).min(self.members.pending().len() as u64);
                (blocks.first_since(begun - here)..blocks.len()).find_map(found)
            }
        }
    }

    /// Keeps the block whose content is held.
    fn keep(&mut self, layer: u32, number: usize) -> io::Result<()> {
        let open = self.open.get_or_insert_with(|| {
            let mut crc = Crc::new();
            crc.update(self.members.pending());
            Open { layer, blocks: number..number, content: 0, crc }
        });
        open.blocks.end = number + 1;
        open.content += self.held.len() as u64;
        open.crc.update(&self.held);
        self.held.clear();
        if open.content >= CONTENT || self.bits().is_some_and(|bits| bits.end - bits.start >= BITS) {
            self.close()?;
        }
        Ok(())
    }

    /// Where the blocks kept in this member stand in their blob, in bits.
    fn bits(&self) -> Option<Range<u64>> {
        let open = self.open.as_ref()?;
        let blocks = &self.originals.get(open.layer as usize)?.as_ref()?.blocks;
        let (first, last) = (blocks.get(open.blocks.start)?, blocks.get(open.blocks.end.checked_sub(1)?)?);
        Some(first.bits.start..last.bits.end)
    }

    /// Ends the member, if blocks are kept in it.
    fn close(&mut self) -> io::Result<()> {
        let (Some(bits), Some(open)) = (self.bits(), self.open.take()) else { return Ok(()) };
        let Some(Some(original)) = self.originals.get(open.layer as usize) else { return Ok(()) };
        let from = bits.start / 8 * 8;
        let part = read_range(&original.blob, bits.start / 8..bits.end.div_ceil(8))?;
        let place = |bit: u64| usize::try_from(bit - from).map_err(|_| too_large());
        let blocks = open.blocks.filter_map(|number| original.blocks.get(number));
        let blocks = blocks.map(|block| Ok(place(block.bits.start)?..place(block.bits.end)?));
        let blocks = blocks.collect::<io::Result<_>>()?;
        self.members.end_with(Kept { part, blocks, content: open.content, crc: open.crc.sum() })
    }

    /// Leaves the run, perhaps within a block.
    fn leave(&mut self) -> io::Result<()> {
        self.run = None;
        let held = std::mem::take(&mut self.held);
        self.anew(&held)?;
        self.held = held;
        self.held.clear();
        Ok(())
    }

    /// Writes what is compressed anew.
    fn anew(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.close()?;
        self.members.write_all(bytes)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.leave()?;
        self.close()?;
        self.members.finish()
    }
}

impl<W: Write> Write for Keeper<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.leave()?;
        self.anew(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
