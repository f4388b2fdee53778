//! Binary search over the lines of a sorted file.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::malformed;
use crate::Error;

/// How long a line may be: a config is at most 4 MiB, and writing it anew may make it longer.
pub(super) const MAX_LINE: usize = 16 << 20;
/// How much is read at once.
const PIECE: usize = 4 << 10;
/// How many bytes of a line hold its key, whatever the digest's algorithm.
const HEAD: usize = 160;
/// How every line but the first begins.
const START: &[u8] = br#"{"chain":""#;

/// The sorted lines of a file, behind its first one.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    input: Mutex<Input>,
    /// Where the sorted lines begin and end.
    begin: u64,
    end: u64,
}

impl Lines {
    /// The first line, and the others.
    pub(super) fn open(path: &Path, file: File) -> Result<(Vec<u8>, Self), Error> {
        let end = file.metadata().map_err(Error::io("read", path))?.len();
        let input = Mutex::new(Input { file, at: 0, piece: Vec::new() });
        let mut lines = Self { path: path.to_owned(), input, begin: 0, end };
        let first = lines.search().line_at(0)?;
        lines.begin = (first.len() as u64 + 1).min(end);
        Ok((first, lines))
    }

    /// The lines with this key, without their line breaks.
    pub(super) fn with_key(&self, key: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut search = self.search();
        let mut at = search.lower_bound(key)?;
        let mut found = Vec::new();
        while at < self.end && search.key_at(at)? == key {
            let line = search.line_at(at)?;
            at += line.len() as u64 + 1;
            found.push(line);
        }
        Ok(found)
    }

    fn search(&self) -> Search<'_> {
        Search { lines: self, input: self.input.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// The file, and the piece that was read last.
#[derive(Debug)]
struct Input {
    file: File,
    at: u64,
    piece: Vec<u8>,
}

impl Input {
    /// What there is from `at` on: as many bytes as are needed, if the file has them, or more.
    fn get(&mut self, at: u64, needed: usize) -> io::Result<&[u8]> {
        let inside = at.checked_sub(self.at).and_then(|n| usize::try_from(n).ok());
        let start = match inside.filter(|n| n + needed <= self.piece.len()) {
            Some(start) => start,
            None => {
                self.piece.clear();
                self.at = at;
                self.file.seek(SeekFrom::Start(at))?;
                (&mut self.file).take(PIECE.max(needed) as u64).read_to_end(&mut self.piece)?;
                0
            }
        };
        Ok(&self.piece[start..])
    }
}

struct Search<'a> {
    lines: &'a Lines,
    input: MutexGuard<'a, Input>,
}

impl Search<'_> {
    /// Where the first line starts whose key is not below `key`; the end, if there is none.
    fn lower_bound(&mut self, key: &str) -> Result<u64, Error> {
        // Lines that start before `low` are below the key, those that start at `high` or after it are not.
        let (mut low, mut high) = (self.lines.begin, self.lines.end);
        while high - low > PIECE as u64 {
            let middle = low + (high - low) / 2;
            let start = self.start_from(middle)?;
            match start < high && self.key_at(start)?.as_str() < key {
                true => low = start + 1,
                false => high = middle,
            }
        }
        let mut at = self.start_from(low)?;
        while at < high && self.key_at(at)?.as_str() < key {
            at = self.start_from(at + 1)?;
        }
        Ok(at)
    }

    /// Where the first line starts that starts at `offset` or after it.
    fn start_from(&mut self, offset: u64) -> Result<u64, Error> {
        let (begin, end) = (self.lines.begin, self.lines.end);
        if offset <= begin || offset >= end {
            return Ok(offset.clamp(begin, end));
        }
        // A line starts where the byte before is a line break.
        let mut at = offset - 1;
        while at < end {
            match self.line_break(at, at + 1 - offset)? {
                (n, true) => return Ok(at + n as u64 + 1),
                (n, false) => at += n as u64,
            }
        }
        Ok(end)
    }

    fn line_at(&mut self, start: u64) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        let mut done = false;
        while !done && start + (line.len() as u64) < self.lines.end {
            let at = start + line.len() as u64;
            let (n, found) = self.line_break(at, line.len() as u64)?;
            line.extend_from_slice(&self.get(at, n)?[..n]);
            done = found;
        }
        Ok(line)
    }

    /// How many bytes there are before a line break, and whether it is there or more has to be read; `before` bytes of
    /// the line were read already.
    fn line_break(&mut self, at: u64, before: u64) -> Result<(usize, bool), Error> {
        let piece = self.get(at, 1)?;
        let (length, found) = (piece.len(), piece.iter().position(|b| *b == b'\n'));
        if length == 0 || before > MAX_LINE as u64 {
            let reason = "a line is too long, or the file became shorter meanwhile";
            return Err(malformed(&self.lines.path, reason));
        }
        Ok((found.unwrap_or(length), found.is_some()))
    }

    fn key_at(&mut self, start: u64) -> Result<String, Error> {
        let head = self.get(start, HEAD)?;
        let key = head.strip_prefix(START).and_then(|rest| rest.split(|b| *b == b'"').next());
        let key = key.and_then(|key| String::from_utf8(key.to_vec()).ok());
        let reason = || format!("the line at byte {start} does not begin with a chain ID");
        key.ok_or_else(|| malformed(&self.lines.path, &reason()))
    }

    fn get(&mut self, at: u64, needed: usize) -> Result<&[u8], Error> {
        self.input.get(at, needed).map_err(Error::io("read", &self.lines.path))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn lines(keys: &[(String, usize)]) -> Lines {
        let mut file = tempfile::tempfile().unwrap();
        let mut text = "{}\n".to_owned();
        for (key, padding) in keys {
            text.push_str(&format!("{{\"chain\":\"{key}\",\"x\":\"{}\"}}\n", "x".repeat(*padding)));
        }
        file.write_all(text.as_bytes()).unwrap();
        Lines::open(Path::new("test"), file).unwrap().1
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_search_finds_what_reading_everything_finds(
            mut keys in prop::collection::vec(("[a-d]{1,3}", prop_oneof![0..40usize, 4000..9000usize]), 0..40),
            wanted in "[a-d]{1,3}",
        ) {
            keys.sort();
            let found = lines(&keys).with_key(&wanted).unwrap();
            let expected: Vec<usize> = keys.iter().filter(|(k, _)| *k == wanted).map(|(_, padding)| *padding).collect();
            let paddings = found.iter().map(|line| line.iter().filter(|b| **b == b'x').count() - 1);
            prop_assert_eq!(paddings.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_line_that_does_not_begin_with_its_key_is_named() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"{}\n{\"layers\":1}\n").unwrap();
        let (_, lines) = Lines::open(Path::new("bases"), file).unwrap();
        let error = lines.with_key("a").unwrap_err().to_string();
        assert!(error.contains("bases") && error.contains("byte 3"), "{error}");
    }
}
