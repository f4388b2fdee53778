//! Members of a gzip stream, one after another.

use std::io::{self, BufRead, Read};

use palan_core::Compression;

use super::{
    blocks::Blocks,
    inflate::{At, Inflate},
    input::Input,
};
use crate::Error;

pub(super) struct Gunzip<R> {
    source: Input<R>,
    inflate: Inflate,
    /// Whether the last member is behind.
    ended: bool,
    /// What comes after the content that was read.
    damage: Option<io::Error>,
    produced: u64,
    pub(super) padding: u64,
    /// Where blocks stand, if somebody wants to know.
    pub(super) blocks: Option<Blocks>,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(source: Input<R>) -> io::Result<Self> {
        let inflate = Inflate::gzip()?;
        Ok(Self { source, inflate, ended: false, damage: None, produced: 0, padding: 0, blocks: None })
    }

    pub(super) fn source(&self) -> &Input<R> {
        &self.source
    }

    fn next_member(&mut self) -> io::Result<()> {
        match self.look_behind()? {
            true => self.inflate.reset(),
            false => {
                self.ended = true;
                Ok(())
            }
        }
    }

    /// Whether another member follows. Otherwise there is nothing, or padding, which is consumed.
    fn look_behind(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.source.fill_buf()?;
            let Some(first) = bytes.first() else { return Ok(false) };
            if *first == 0x1f && self.padding == 0 {
                return Ok(true);
            }
            let zeros = bytes.iter().take_while(|b| **b == 0).count();
            let clean = zeros == bytes.len();
            self.source.consume(zeros);
            self.padding += zeros as u64;
            if !clean {
                let offset = self.source.consumed - self.padding;
                return Err(Error::TrailingData { compression: Compression::Gzip, offset }.into());
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            if let Some(damage) = self.damage.take() {
                return Err(damage);
            }
            let step = self.inflate.step(self.source.fill_buf()?, buf, self.blocks.is_some())?;
            self.source.consume(step.read);
            self.produced += step.written as u64;
            match (step.at, &mut self.blocks) {
                (At::Boundary { unused, .. }, Some(blocks)) => {
                    blocks.note(self.source.consumed * 8 - u64::from(unused), self.produced);
                }
                (At::End, blocks) => {
                    if let Some(blocks) = blocks {
                        blocks.end_member();
                    }
                    self.next_member()?;
                }
                (At::Damage(damage), _) => self.damage = Some(damage),
                _ => {}
            }
            if step.written > 0 {
                return Ok(step.written);
            }
        }
        Ok(0)
    }
}
