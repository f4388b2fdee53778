//! Where the deflate blocks of a gzip blob stand.

use std::ops::Range;

/// How far back a block may refer, in bytes: RFC 1951, 3.2.
pub(super) const WINDOW: u64 = 32 * 1024;

/// Bytes of archive for each block, from which on so many blocks are remembered: encoders make larger ones, and an archive
/// of blocks of a few bits each would fill the memory.
const PER_BLOCK: u64 = 2 * 1024;
const BLOCKS: u64 = 1024;

/// Where the blocks of a gzip blob's deflate streams (RFC 1951, 3.2.3) stand, so that they can be used again as they are.
#[derive(Debug, Default)]
pub struct Blocks {
    /// In their order. Blocks without content are left out.
    blocks: Vec<Block>,
    /// The last boundary in this member: the bit in the blob, the byte in the archive.
    boundary: Option<(u64, u64)>,
    /// Where this member's content starts in the archive.
    member: u64,
    /// Whether there are so many that the rest is left out.
    too_many: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its content in the uncompressed archive, in bytes.
    pub(super) content: Range<u64>,
    /// The block in the blob, in bits, which count from the lowest of each byte.
    pub(super) bits: Range<u64>,
    /// From here on it may refer to the archive.
    pub(super) since: u64,
}

impl Blocks {
    /// Notes that a block begins or ends here.
    pub(super) fn note(&mut self, bit: u64, offset: u64) {
        match self.boundary.replace((bit, offset)) {
            None => self.member = offset,
            Some((_, from)) if from == offset => {}
            Some(_) if self.too_many => {}
            Some((first, from)) => {
                self.too_many = self.blocks.len() as u64 > BLOCKS + offset / PER_BLOCK;
                let since = self.member.max(from.saturating_sub(WINDOW));
                self.blocks.push(Block { content: from..offset, bits: first..bit, since });
            }
        }
    }

    pub(super) fn end_member(&mut self) {
        self.boundary = None;
    }

    pub(super) fn get(&self, number: usize) -> Option<&Block> {
        self.blocks.get(number)
    }

    /// The number of the first block that refers to nothing before this byte of the archive.
    pub(super) fn first_since(&self, offset: u64) -> usize {
        self.blocks.partition_point(|block| block.since < offset)
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}
