//! Changing the file: a merge of sorted lines into a new file, which then takes the old one's place.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write},
    path::{Path, PathBuf},
};

use palan_core::Reference;

use super::{
    KnownBases, Watch,
    entry::{Entry, Head, Header, Key},
    file::MAX_LINE,
    malformed,
};
use crate::{
    Error,
    base::Pattern,
    place::{publish, temporary_in},
};

/// What to change.
#[derive(Debug, Default)]
pub struct Change {
    /// Entries to add. One that is there already keeps the time at which it was first seen.
    pub add: Vec<Entry>,
    /// Tags to keep from now on; replaces what was said about the same repository and pattern.
    pub watch: Vec<Watch>,
    /// Tags to forget: their entries, and that they were to be kept.
    pub remove: Vec<Pattern>,
}

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Changed {
    /// Entries that are new.
    pub added: usize,
    /// Entries that are gone.
    pub removed: usize,
    /// Entries that there are now.
    pub total: usize,
}

/// Changes the file at `path`, which is made if it does not exist, with its folder. Nobody sees it half-written; of two
/// changes at the same time, one is lost. Reads and writes the whole file, a line at a time.
pub fn change(path: &Path, mut change: Change) -> Result<Changed, Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let (header, old) = match path.exists() {
        true => (KnownBases::open(path)?.header, Some(sorted_lines(path)?)),
        false => (Header::new(Vec::new()), None),
    };
    let file = temporary_in(folder).map_err(Error::io("write in", folder))?;
    change.add.sort_by_cached_key(Entry::key);
    change.add.dedup_by(|a, b| a.key() == b.key());
    let header = Header::new(watched(header.watch, &change));
    let changed = {
        let mut merge = Merge { out: BufWriter::new(file.as_file()), path, changed: Changed::default() };
        merge.write(&header.line()?)?;
        merge.run(old.into_iter().flatten(), &change)?;
        merge.out.flush().map_err(Error::io("write", path))?;
        merge.changed
    };
    publish(file, path)?;
    Ok(changed)
}

fn watched(old: Vec<Watch>, change: &Change) -> Vec<Watch> {
    let gone = |w: &Watch| {
        change.watch.iter().any(|new| new.tags == w.tags) || change.remove.iter().any(|p| covers(p, &w.tags))
    };
    let mut all: Vec<Watch> =
        old.into_iter().filter(|w| !gone(w)).chain(change.watch.iter().cloned()).collect();
    all.sort_by(|a, b| a.tags.cmp(&b.tags));
    all
}

/// Whether all tags of a pattern are to be forgotten.
fn covers(removed: &Pattern, pattern: &Pattern) -> bool {
    let all = removed.tags.chars().all(|c| c == '*');
    removed.repository == pattern.repository && (all || removed.tags == pattern.tags)
}

fn is_removed(name: &Reference, change: &Change) -> bool {
    change.remove.iter().any(|pattern| pattern.matches(name))
}

struct Merge<'a> {
    out: BufWriter<&'a File>,
    path: &'a Path,
    changed: Changed,
}

impl Merge<'_> {
    fn run(&mut self, old: impl Iterator<Item = Result<Line, Error>>, change: &Change) -> Result<(), Error> {
        let mut new = change.add.iter().peekable();
        for line in old {
            let line = line?;
            while let Some(entry) = new.next_if(|entry| entry.key() < line.key) {
                self.add(entry)?;
            }
            // An entry that is there already stays as it is.
            let again = new.next_if(|entry| entry.key() == line.key).is_some();
            if is_removed(&line.name, change) && !again {
                self.changed.removed += 1;
            } else {
                self.write(&line.bytes)?;
                self.write(b"\n")?;
                self.changed.total += 1;
            }
        }
        new.try_for_each(|entry| self.add(entry))
    }

    fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        self.write(&entry.line()?)?;
        self.changed.added += 1;
        self.changed.total += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::io("write", self.path))
    }
}

/// A line behind the header.
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    key: Key,
    name: Reference,
}

/// The lines behind the header, one by one; fails at the first that is not above the one before it.
pub(super) fn sorted_lines(path: &Path) -> Result<SortedLines, Error> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut lines = SortedLines { path: path.to_owned(), input: BufReader::new(file), number: 0, last: None };
    lines.next_bytes()?;
    Ok(lines)
}

pub(super) struct SortedLines {
    path: PathBuf,
    input: BufReader<File>,
    number: usize,
    last: Option<Key>,
}

impl SortedLines {
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.input).take(MAX_LINE as u64);
        let n = bounded.read_until(b'\n', &mut bytes).map_err(Error::io("read", &self.path))?;
        self.number += 1;
        if n == MAX_LINE {
            return Err(self.fault("is too long"));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok((n > 0).then_some(bytes))
    }

    fn fault(&self, what: &str) -> Error {
        malformed(&self.path, &format!("line {} {what}", self.number))
    }

    fn check(&mut self, bytes: Vec<u8>) -> Result<Line, Error> {
        let head = Head::parse(&bytes).map_err(|e| self.fault(&format!("is no entry: {e}")))?;
        let key = head.key();
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(
                self.fault("is not in order: the lines must be sorted, as `sort -u` does in the C locale")
            );
        }
        self.last = Some(key.clone());
        Ok(Line { bytes, key, name: head.name })
    }
}

impl Iterator for SortedLines {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.next_bytes().transpose()?;
        Some(bytes.and_then(|bytes| self.check(bytes)))
    }
}
