//! gzip as a sequence of independent members of 1 MiB of input each, compressed in parallel.

use std::{
    collections::VecDeque,
    io::{self, Write},
    num::NonZeroUsize,
    ops::Range,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
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
    input: Vec<u8>,
    /// Members that are being made, in their order.
    started: VecDeque<Receiver<io::Result<Job>>>,
    spare: Vec<Job>,
    workers: Workers,
}

impl<W: Write> Members<W> {
    pub(super) fn new(writer: W, effort: Effort, threads: NonZeroUsize) -> Self {
        Self {
            writer,
            effort,
            input: Vec::new(),
            started: VecDeque::new(),
            spare: Vec::new(),
            workers: Workers::new(threads.get()),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.workers.threads.is_empty() {
            // An empty archive is one empty member.
            let mut job = Job { input: std::mem::take(&mut self.input), ..Job::default() };
            Deflate::new(self.effort)?.member(&mut job)?;
            self.writer.write_all(&job.member[..job.size])?;
            return Ok(self.writer);
        }
        if !self.input.is_empty() {
            self.start_member(None)?;
        }
        while !self.started.is_empty() {
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
        if self.started.len() > self.workers.most {
            self.write_member()?;
        }
        let mut job = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut job.input, &mut self.input);
        job.kept = kept;
        self.input.clear();
        self.started.push_back(self.workers.give(job, self.effort)?);
        Ok(())
    }

    /// Writes the first member that was started.
    fn write_member(&mut self) -> io::Result<()> {
        let Some(member) = self.started.pop_front() else { return Ok(()) };
        let job = member.recv().map_err(|_| gone())??;
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

/// Threads that compress. Whoever is free takes the next member: some take several times as long as others.
struct Workers {
    most: usize,
    threads: Vec<JoinHandle<()>>,
    /// None when there is nothing to come.
    jobs: Option<Sender<Todo>>,
    todo: Arc<Mutex<Receiver<Todo>>>,
}

/// A job, and where its result goes: one that is lost with its thread is noticed.
type Todo = (Job, SyncSender<io::Result<Job>>);

impl Workers {
    fn new(most: usize) -> Self {
        let (jobs, todo) = channel();
        Self { most, threads: Vec::new(), jobs: Some(jobs), todo: Arc::new(Mutex::new(todo)) }
    }

    fn give(&mut self, job: Job, effort: Effort) -> io::Result<Receiver<io::Result<Job>>> {
        if self.threads.len() < self.most {
            self.start(Deflate::new(effort)?)?;
        }
        let (done, result) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((job, done)).map_err(|_| gone())?;
        Ok(result)
    }

    fn start(&mut self, mut deflate: Deflate) -> io::Result<()> {
        let todo = Arc::clone(&self.todo);
        let next = move || todo.lock().ok()?.recv().ok();
        let work = move || {
            for (mut job, done) in std::iter::from_fn(next) {
                let result = deflate.member(&mut job).map(|()| job);
                // Where nobody waits for it any more, nobody does for what follows.
                if done.send(result).is_err() {
                    break;
                }
            }
        };
        self.threads.push(thread::Builder::new().name("gzip".into()).spawn(work)?);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
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
            // New, not grown: what was in it is of no use, and memory that is not written to is not used.
            job.member = vec![0; bound];
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
        /// For what stands between blocks, and behind them.
        const MORE: usize = 64;
        let size = match job.input.is_empty() {
            true => 0,
            false => self.compress(job, Compressor::deflate_compress)?,
        };
        let mut member = Vec::with_capacity(HEAD.len() + size + kept.part.len() + MORE);
        member.extend_from_slice(&HEAD);
        let mut bits = Bits::behind(member);
        if size > 0 {
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
