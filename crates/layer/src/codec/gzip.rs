//! gzip as a sequence of independent members of 1 MiB of input each, compressed in parallel.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use libdeflater::{CompressionLvl, Compressor};

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
struct Job {
    input: Vec<u8>,
    /// Room for a member; the first `size` bytes are it.
    member: Vec<u8>,
    size: usize,
}

impl Job {
    fn new(input: Vec<u8>) -> Self {
        Self { input, member: Vec::new(), size: 0 }
    }
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
                let mut job = Job::new(std::mem::take(&mut self.input));
                Deflate::new(self.effort)?.member(&mut job)?;
                self.writer.write_all(&job.member[..job.size])?;
                return Ok(self.writer);
            }
            self.start_member()?;
        }
        while self.written < self.started {
            self.write_member()?;
        }
        Ok(self.writer)
    }

    fn start_member(&mut self) -> io::Result<()> {
        let index = usize::try_from(self.started % self.threads as u64).unwrap_or(0);
        if self.workers.len() == index && self.started < self.threads as u64 {
            self.workers.push(Worker::start(self.effort)?);
        }
        let mut job = self.spare.pop().unwrap_or_else(|| Job::new(Vec::new()));
        std::mem::swap(&mut job.input, &mut self.input);
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
            if self.started - self.written >= 2 * self.threads as u64 {
                self.write_member()?;
            }
            self.start_member()?;
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
}

impl Deflate {
    fn new(effort: Effort) -> io::Result<Self> {
        Ok(Self { usual: compressor(effort.level)?, quick: None, saves_time: effort.saves_time })
    }

    fn member(&mut self, job: &mut Job) -> io::Result<()> {
        let bound = self.usual.gzip_compress_bound(job.input.len());
        if job.member.len() < bound {
            job.member.resize(bound, 0);
        }
        let shrinks_to = self.sample(job)?;
        let size = match (&mut self.quick, shrinks_to) {
            (_, HOPELESS..) => compressor(0)?.gzip_compress(&job.input, &mut job.member),
            (Some(quick), HARD..) => quick.gzip_compress(&job.input, &mut job.member),
            _ => self.usual.gzip_compress(&job.input, &mut job.member),
        };
        job.size = size.map_err(|_| too_large())?;
        Ok(())
    }

    /// The percentage that parts of a member shrink to; 0 where nobody wants to know, or little is to be saved.
    fn sample(&mut self, job: &mut Job) -> io::Result<usize> {
        if !self.saves_time || job.input.len() < 4 * SAMPLES * SAMPLE {
            return Ok(0);
        }
        let quick = match &mut self.quick {
            Some(quick) => quick,
            none => none.insert(compressor(1)?),
        };
        let mut size = 0;
        for part in job.input.chunks(job.input.len().div_ceil(SAMPLES)) {
            size += quick.deflate_compress(&part[..SAMPLE], &mut job.member).map_err(|_| too_large())?;
        }
        Ok(size * 100 / (SAMPLES * SAMPLE))
    }
}

fn compressor(level: i32) -> io::Result<Compressor> {
    let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such gzip level"))?;
    Ok(Compressor::new(level))
}

fn too_large() -> io::Error {
    io::Error::other("gzip member larger than its bound")
}
