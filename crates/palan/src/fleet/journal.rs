//! The journal: what was done, written before and after each effect.
//!
//! A file of JSON lines that is only ever appended to. A line counts when it ends: one that was cut by a crash does not,
//! and the next run ends it. An effect that has begun and has not ended may or may not have happened; whoever finds it
//! so looks at the registry.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use palan_core::{Digest, Reference};
use serde::{Deserialize, Serialize};

use super::{
    lines::Lines,
    run::Become,
    states::{State, States},
};

/// One line of a journal. Field names are part of palan's interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Record {
    /// When it was written, RFC 3339 in UTC.
    pub at: String,
    /// Which run of palan wrote it.
    pub run: String,
    /// The plan: [`Plan::digest`](super::Plan::digest).
    pub plan: Digest,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    Start {
        /// What it was to do: `apply`, `promote`, `rollback`.
        command: String,
    },
    /// A tag is about to be written.
    Begin(Effect),
    /// A tag stands for what it was to stand for.
    Done(Effect),
    /// An image passed the gates of its wave, or did not.
    Gate {
        /// The image.
        image: Reference,
        /// Digest of the result.
        digest: Digest,
        /// Which gate decided: `hook`, `verdict`, …
        gate: String,
        /// Whether it passed.
        passed: bool,
        /// What it said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
    },
    /// Nothing was done for an image, or it failed.
    Failed {
        /// The image.
        image: Reference,
        /// What was to be done: `apply`, `promote`, `rollback`.
        step: String,
        /// What became of it instead.
        result: Become,
        /// Why.
        reason: String,
    },
}

/// A tag that is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Effect {
    /// Whose image it is.
    pub image: Reference,
    /// Why it is written.
    pub step: Step,
    /// The tag.
    pub tag: Reference,
    /// What it stood for; `None`: nothing, or it does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// What it stands for then.
    pub new: Digest,
}

/// Why a tag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The candidate.
    Push,
    /// The old image's backup.
    Backup,
    /// The image's own tag, to the result.
    Promote,
    /// The image's own tag, back to what it was.
    Restore,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path} cannot be {action}")]
    Io {
        /// What was tried: `read`, `written`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else is writing it.
    #[error("the journal {0} is being written by another run")]
    Busy(PathBuf),
    /// There is nothing in it.
    #[error("the journal {0} is empty: nothing was done")]
    Empty(PathBuf),
    /// A line in the middle is not one.
    #[error("line {line} of the journal {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// It is about another plan.
    #[error("the journal {path} is of another plan ({found})")]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// Digest of that plan.
        found: Digest,
    },
}

/// A journal that is open: nobody else writes it meanwhile.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None`: nothing is written.
    file: Option<Arc<Mutex<Appended>>>,
    run: String,
    plan: Digest,
    states: Mutex<States>,
    /// There are lines in it that cannot be read, and do not count.
    is_salvaged: bool,
    /// Told when a wave has ended.
    wave: tokio::sync::Notify,
}

/// The file, which ends with a whole line.
#[derive(Debug)]
struct Appended {
    file: File,
    /// A line could not be written: what came after it would be read as a part of it.
    is_broken: bool,
}

impl Appended {
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier line could not be written"));
        }
        // One write: another line cannot come between.
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        self.is_broken = written.is_err();
        written
    }
}

impl Journal {
    /// Opens a plan's journal, or begins it. A last line that was cut is cut off.
    pub fn open(path: &Path, plan: Digest) -> Result<Self, JournalError> {
        let (file, content) = Self::locked_file(path)?;
        let records = of_plan(path, parse(path, &content)?, plan)?;
        Ok(Self::of(path, Some(file), plan, &records))
    }

    /// Opens a plan's journal that is damaged: the lines that can be read count, and the numbers of the others, from 1, are
    /// given. For who looks at the tags, too. `is_written`: otherwise it is only looked at.
    pub fn salvage(path: &Path, plan: Digest, is_written: bool) -> Result<(Self, Vec<usize>), JournalError> {
        let (file, content) = match is_written {
            true => Self::locked_file(path).map(|(file, content)| (Some(file), content))?,
            false => (None, read(path)?),
        };
        let (lines, lost) = Lines::salvage(path, &content, plan)?;
        let journal = Self::of(path, file, plan, &lines.records()?);
        Ok((Self { is_salvaged: true, ..journal }, lost))
    }

    /// The file, which nobody else writes meanwhile, and its whole lines.
    fn locked_file(path: &Path) -> Result<(File, Vec<u8>), JournalError> {
        let failed = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("written"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy(path.to_owned())),
            Err(TryLockError::Error(e)) => return Err(failed("written")(e)),
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed("read"))?;
        let whole = whole(&content).len();
        if whole < content.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_data()).map_err(failed("written"))?;
            file.seek(SeekFrom::End(0)).map_err(failed("written"))?;
            content.truncate(whole);
        }
        Ok((file, content))
    }

    /// Opens the journal of a plan that need not be at hand.
    pub fn resume(path: &Path) -> Result<Self, JournalError> {
        let first = Self::read(path)?.into_iter().next();
        let first = first.ok_or_else(|| JournalError::Empty(path.to_owned()))?;
        Self::open(path, first.plan)
    }

    /// Reads a plan's journal, if there is one, and never writes it: for runs that only say what they would do.
    pub fn look(path: &Path, plan: Digest) -> Result<Self, JournalError> {
        let records = if path.exists() { Self::read_of(path, plan)? } else { Vec::new() };
        Ok(Self::of(path, None, plan, &records))
    }

    fn of(path: &Path, file: Option<File>, plan: Digest, records: &[Record]) -> Self {
        let (file, run) = (
            file.map(|file| Arc::new(Mutex::new(Appended { file, is_broken: false }))),
            format!("{:016x}", fastrand::u64(..)),
        );
        let states = Mutex::new(States::of(records));
        let (path, wave) = (path.to_owned(), tokio::sync::Notify::new());
        Self { path, file, run, plan, states, is_salvaged: false, wave }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plan that it is about.
    pub fn plan(&self) -> Digest {
        self.plan
    }

    /// Where a plan's journal is unless something else is said: beside it, `plan.journal.jsonl` for `plan.json`.
    pub fn path_beside(plan: &Path) -> PathBuf {
        plan.with_extension("journal.jsonl")
    }

    /// Reads a plan's journal that nobody has to write.
    pub fn read_of(path: &Path, plan: Digest) -> Result<Vec<Record>, JournalError> {
        of_plan(path, Self::read(path)?, plan)
    }

    /// Reads a journal that nobody has to write: its whole lines.
    pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
        parse(path, whole(&read(path)?))
    }

    /// How far an image has come.
    pub fn state(&self, image: &Reference) -> State {
        self.locked().images.get(image).cloned().unwrap_or_default()
    }

    /// The images whose tags were moved, or may have been, and are not known to be back; the last one first.
    pub fn promoted(&self) -> Vec<(Reference, State)> {
        let mut all: Vec<(Reference, State)> = self
            .locked()
            .images
            .iter()
            .filter(|(_, state)| state.promoted.is_some() && !state.is_restored)
            .map(|(image, state)| (image.clone(), state.clone()))
            .collect();
        all.sort_by_key(|(_, state)| std::cmp::Reverse(state.promoted_at));
        all
    }

    /// The images that it speaks of, in their order.
    pub(super) fn images(&self) -> Vec<Reference> {
        self.locked().images.keys().cloned().collect()
    }

    /// Writes a line, and returns when it is on the disk.
    pub async fn write(&self, event: Event) -> Result<(), JournalError> {
        let at = self.locked().next_time().to_string();
        let record = Record { at, run: self.run.clone(), plan: self.plan, event };
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        let Some(file) = self.file.clone() else { return Ok(()) };
        let write = move || file.lock().unwrap_or_else(PoisonError::into_inner).add(&line);
        let written = crate::cancel::on_thread(write).await;
        let written = written.unwrap_or_else(|e| Err(io::Error::other(e.to_string())));
        written.map_err(|source| JournalError::Io { action: "written", path: self.path.clone(), source })?;
        self.locked().absorb(&record);
        Ok(())
    }

    /// Adds whole lines of others to the file, if there is one to write.
    pub(super) fn append(&self, lines: &[u8]) -> Result<(), JournalError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| JournalError::Io { action: "written", path: self.path.clone(), source };
        file.add(lines).map_err(failed)
    }

    /// Reads the lines that are on the disk, after the one that is being written.
    pub(super) fn settled(&self) -> impl FnOnce() -> Result<Lines, JournalError> + Send + 'static {
        let (file, read) = (self.file.clone(), self.reader());
        move || {
            let _file = file.as_ref().map(|file| file.lock().unwrap_or_else(PoisonError::into_inner));
            read()
        }
    }

    /// Forgets how far images have come, and takes it from these records.
    pub(super) fn become_of(&self, records: &[Record]) {
        *self.locked() = States::of(records);
    }

    pub(super) fn is_salvaged(&self) -> bool {
        self.is_salvaged
    }

    /// Whether lines are written, or only looked at.
    pub(super) fn is_written(&self) -> bool {
        self.file.is_some()
    }

    /// Tells who waits for it that a wave has ended.
    pub(super) fn end_wave(&self) {
        self.wave.notify_one();
    }

    pub(super) async fn wave_end(&self) {
        self.wave.notified().await;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, JournalError> {
    let failed = |source| JournalError::Io { action: "read", path: path.to_owned(), source };
    std::fs::read(path).map_err(failed)
}

/// The whole lines of a journal's content.
pub(super) fn whole(content: &[u8]) -> &[u8] {
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    &content[..end]
}

pub(super) fn of_plan(path: &Path, records: Vec<Record>, plan: Digest) -> Result<Vec<Record>, JournalError> {
    match records.iter().find(|record| record.plan != plan) {
        Some(other) => Err(JournalError::OtherPlan { path: path.to_owned(), found: other.plan }),
        None => Ok(records),
    }
}

pub(super) fn parse(path: &Path, content: &[u8]) -> Result<Vec<Record>, JournalError> {
    let lines = content.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let record = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|source| JournalError::Damaged {
            path: path.to_owned(),
            line: number + 1,
            source,
        })
    };
    lines.map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk may take half a line; the next line would be read as its other half.
    #[test]
    fn nothing_is_written_after_a_line_that_could_not_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "").unwrap();
        let mut lines = Appended { file: File::open(&path).unwrap(), is_broken: false };
        lines.add(b"{}\n").unwrap_err();
        lines.file = OpenOptions::new().append(true).open(&path).unwrap();
        lines.add(b"{}\n").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
