//! Deflate streams put together of bits: RFC 1951.

use std::ops::Range;

/// A block's first bit: whether it is the stream's last.
const FINAL: u64 = 1;
/// Length of the header that all blocks have.
const HEADER: usize = 3;

/// A byte string that grows by bits, from the lowest of each byte on.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Fewer than eight bits that fill no byte yet.
    rest: u64,
    count: u32,
}

impl Bits {
    /// Starts behind these bytes.
    pub(super) fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, rest: 0, count: 0 }
    }

    /// Adds the lowest `count` bits, at most 56, of `bits`, which has no others.
    pub(super) fn push(&mut self, bits: u64, count: u32) {
        self.rest |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.rest as u8);
            self.rest >>= 8;
            self.count -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        self.push(0, (8 - self.count) % 8);
    }

    /// Adds bits of other bytes.
    pub(super) fn copy(&mut self, from: &[u8], bits: Range<usize>) {
        /// Whole bytes that are sure to be in a word, wherever in its first byte they start.
        const WORD: usize = 56;
        let mut at = bits.start;
        self.bytes.reserve(bits.len() / 8 + 16);
        while bits.end - at >= WORD && at / 8 + 8 <= from.len() {
            let mut word = [0; 8];
            word.copy_from_slice(&from[at / 8..at / 8 + 8]);
            let word = (u64::from_le_bytes(word) >> (at % 8)) & ((1 << WORD) - 1);
            let all = self.rest | (word << self.count);
            self.bytes.extend_from_slice(&all.to_le_bytes()[..WORD / 8]);
            self.rest = all >> WORD;
            at += WORD;
        }
        while at < bits.end {
            let count = (8 - at % 8).min(bits.end - at);
            self.push((u64::from(from[at / 8]) >> (at % 8)) & ((1 << count) - 1), count as u32);
            at += count;
        }
    }

    /// Adds a whole block, but never as the last one.
    pub(super) fn block(&mut self, from: &[u8], bits: Range<usize>) {
        let header = bits.start..bits.start + HEADER;
        let is_stored = header.clone().skip(1).all(|bit| from[bit / 8] >> (bit % 8) & 1 == 0);
        self.push(0, 1);
        self.copy(from, header.start + 1..header.end);
        match is_stored {
            // What is stored begins at a whole byte.
            true => {
                self.align();
                self.bytes.extend_from_slice(&from[header.end.div_ceil(8)..bits.end / 8]);
            }
            false => self.copy(from, header.end..bits.end),
        }
    }

    /// Ends the stream with an empty block, and gives its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        const FIXED: u64 = 0b01;
        // Seven zeros are "end of block".
        self.push(FINAL | FIXED << 1, HEADER as u32 + 7);
        self.align();
        self.bytes
    }
}
