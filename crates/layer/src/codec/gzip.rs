//! gzip as a sequence of independent members of 1 MiB of input each, compressed in parallel.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use libdeflater::{CompressionError, CompressionLvl, Compressor};

use super::{
    bits::Bits,
    inflate::{At, Inflate},
};

/// Input per member. Part of the format: another size gives other bytes.
const MEMBER: usize = 1024 * 1024;

/// The samples by which a member is judged. Part of the format too.
const SAMPLES: usize = 4;
const SAMPLE: usize = 8 * 1024;
/// Percent of their size that samples shrink to at level 1, from which on a higher level is not worth its time: of what it
/// saves, most is saved elsewhere.
const HARD: usize = 55;
/// Percent from which on nothing is worth its time.
const HOPELESS: usize = 98;

/// How hard to compress.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) level: i32,
    /// Whether members that hardly shrink are compressed less.
    pub(super) saves_time: bool,
}

/// Input to compress, or the input's buffer (to be used again) with the member made of it.
#[derive(Default)]
struct Job {
    input: Vec<u8>,
    /// What follows the input in the member.
    kept: Option<Kept>,
    /// Room for a member; the first `size` bytes are it.
    member: Vec<u8>,
    size: usize,
}

/// Blocks that are compressed already.
pub(super) struct Kept {
    /// The part of a blob that they stand in.
    pub(super) part: Vec<u8>,
    /// In bits of the part.
    pub(super) blocks: Vec<Range<usize>>,
    /// Size of their content, in bytes.
    pub(super) content: u64,
    /// CRC-32 of the whole member's content.
    pub(super) crc: u32,
}

pub(super) struct Members<W: Write> {
    writer: W,
    effort: Effort,
    threads: usize,
    input: Vec<u8>,
    started: u64,
    written: u64,
    spare: Vec<Job>,
    /// Member *i* is made by worker *i mod n*, so that order needs no bookkeeping.
    workers: Vec<Worker>,
}

impl<W: Write> Members<W> {
    pub(super) fn new(writer: W, effort: Effort, threads: NonZeroUsize) -> Self {
        Self {
            writer,
            effort,
            threads: threads.get(),
            input: Vec::new(),
            started: 0,
            written: 0,
            spare: Vec::new(),
            workers: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        // An empty archive is one empty member.
        if !self.input.is_empty() || self.started == 0 {
            if self.workers.is_empty() {
                let mut job = Job { input: std::mem::take(&mut self.input), ..Job::default() };
                Deflate::new(self.effort)?.member(&mut job)?;
                self.writer.write_all(&job.member[..job.size])?;
                return Ok(self.writer);
            }
            self.start_member(None)?;
        }
        while self.written < self.started {
            self.write_member()?;
        }
        Ok(self.writer)
    }

    /// What the next member holds so far.
    pub(super) fn pending(&self) -> &[u8] {
        &self.input
    }

    /// Ends the member with what is kept.
    pub(super) fn end_with(&mut self, kept: Kept) -> io::Result<()> {
        self.start_member(Some(kept))
    }

    fn start_member(&mut self, kept: Option<Kept>) -> io::Result<()> {
        if self.started - self.written >= 2 * self.threads as u64 {
            self.write_member()?;
        }
        let index = usize::try_from(self.started % self.threads as u64).unwrap_or(0);
        if self.workers.len() == index && self.started < self.threads as u64 {
            self.workers.push(Worker::start(self.effort)?);
        }
        let mut job = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut job.input, &mut self.input);
        job.kept = kept;
        self.input.clear();
        self.workers[index].give(job)?;
        self.started += 1;
        Ok(())
    }

    fn write_member(&mut self) -> io::Result<()> {
        let index = usize::try_from(self.written % self.threads as u64).unwrap_or(0);
        let job = self.workers[index].take()?;
        self.written += 1;
        self.writer.write_all(&job.member[..job.size])?;
        self.spare.push(job);
        Ok(())
    }
}

impl<W: Write> Write for Members<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A full member is sent off only when more follows: the last one needs no thread.
        if self.input.len() == MEMBER && !buf.is_empty() {
            self.start_member(None)?;
        }
        let n = buf.len().min(MEMBER - self.input.len());
        self.input.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Worker {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<io::Result<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(effort: Effort) -> io::Result<Self> {
        let mut deflate = Deflate::new(effort)?;
        let (jobs, todo) = sync_channel::<Job>(2);
        let (results, done) = sync_channel(2);
        let work = move || {
            for mut job in todo {
                let result = deflate.member(&mut job).map(|()| job);
                if results.send(result).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("gzip".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    fn give(&self, job: Job) -> io::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())
    }

    fn take(&self) -> io::Result<Job> {
        self.done.recv().map_err(|_| gone())?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // Results nobody takes any more must not keep the thread waiting.
        while self.done.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("a compression thread ended unexpectedly")
}

/// One thread's compressors.
struct Deflate {
    usual: Compressor,
    /// Made when the first sample is taken.
    quick: Option<Compressor>,
    saves_time: bool,
    /// Made when the first blocks are kept.
    inflate: Option<Inflate>,
}

/// A compressor's function for one format.
type Compress = fn(&mut Compressor, &[u8], &mut [u8]) -> Result<usize, CompressionError>;

/// How to compress a member's input.
#[derive(Clone, Copy)]
enum Way {
    Usual,
    Quick,
    Stored,
}

impl Deflate {
    fn new(effort: Effort) -> io::Result<Self> {
        let usual = compressor(effort.level)?;
        Ok(Self { usual, quick: None, saves_time: effort.saves_time, inflate: None })
    }

    fn member(&mut self, job: &mut Job) -> io::Result<()> {
        let bound = self.usual.gzip_compress_bound(job.input.len());
        if job.member.len() < bound {
            job.member.resize(bound, 0);
        }
        job.size = match job.kept.take() {
            Some(kept) => self.with_kept(job, &kept)?,
            None => self.compress(job, Compressor::gzip_compress)?,
        };
        Ok(())
    }

    /// Compresses the input into the member's room, where it is worth it; gives the size.
    fn compress(&mut self, job: &mut Job, compress: Compress) -> io::Result<usize> {
        let size = match (self.way(job)?, &mut self.quick) {
            (Way::Stored, _) => compress(&mut compressor(0)?, &job.input, &mut job.member),
            (Way::Quick, Some(quick)) => compress(quick, &job.input, &mut job.member),
            _ => compress(&mut self.usual, &job.input, &mut job.member),
        };
        size.map_err(|_| too_large())
    }

    /// By what parts of the input shrink to, where little is to be saved or somebody wants to know.
    fn way(&mut self, job: &mut Job) -> io::Result<Way> {
        if !self.saves_time || job.input.len() < 4 * SAMPLES * SAMPLE {
            return Ok(Way::Usual);
        }
        let quick = match &mut self.quick {
            Some(quick) => quick,
            none => none.insert(compressor(1)?),
        };
        let mut size = 0;
        for part in job.input.chunks(job.input.len().div_ceil(SAMPLES)) {
            size += quick.deflate_compress(&part[..SAMPLE], &mut job.member).map_err(|_| too_large())?;
        }
        Ok(match size * 100 / (SAMPLES * SAMPLE) {
            HOPELESS.. => Way::Stored,
            HARD.. => Way::Quick,
            _ => Way::Usual,
        })
    }

    /// Makes a member of the input and what is kept.
    fn with_kept(&mut self, job: &mut Job, kept: &Kept) -> io::Result<usize> {
        const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        let mut bits = Bits::behind(HEAD.to_vec());
        if !job.input.is_empty() {
            let size = self.compress(job, Compressor::deflate_compress)?;
            for block in self.blocks(&job.member[..size])? {
                bits.block(&job.member, block);
            }
        }
        for block in &kept.blocks {
            bits.block(&kept.part, block.clone());
        }
        job.member = bits.finish();
        // Both are of the content, its size modulo 2³²: RFC 1952, 2.3.1.
        job.member.extend_from_slice(&kept.crc.to_le_bytes());
        let size = job.input.len() as u64 + kept.content;
        job.member.extend_from_slice(&(size as u32).to_le_bytes());
        Ok(job.member.len())
    }

    /// The blocks of a stream, in bits.
    fn blocks(&mut self, stream: &[u8]) -> io::Result<Vec<Range<usize>>> {
        let inflate = match &mut self.inflate {
            Some(inflate) => {
                inflate.reset()?;
                inflate
            }
            none => none.insert(Inflate::raw()?),
        };
        let mut content = vec![0; crate::BUFFER];
        let (mut at, mut start, mut blocks) = (0, 0, Vec::new());
        loop {
            let step = inflate.step(&stream[at..], &mut content, true)?;
            at += step.read;
            match step.at {
                At::Somewhere => {}
                At::Boundary { unused, last } => {
                    let end = at * 8 - usize::from(unused);
                    if end > start {
                        blocks.push(start..end);
                    }
                    start = end;
                    if last {
                        return Ok(blocks);
                    }
                }
                At::End => return Ok(blocks),
                At::Damage(damage) => return Err(damage),
            }
        }
    }
}

pub(super) fn compressor(level: i32) -> io::Result<Compressor> {
    let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such gzip level"))?;
    Ok(Compressor::new(level))
}

pub(super) fn too_large() -> io::Error {
    io::Error::other("gzip member larger than its bound")
}
