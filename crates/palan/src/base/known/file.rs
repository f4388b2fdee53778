//! Binary search over the lines of a sorted file.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::malformed;
use crate::Error;

/// How long a line may be: a config is at most 4 MiB, and writing it anew may make it longer.
pub(super) const MAX_LINE: usize = 16 << 20;
/// How much is read at once.
const PIECE: usize = 4 << 10;
/// How every line but the first begins.
const START: &[u8] = br#"{"chain":""#;

/// The sorted lines of a file, behind its first one.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: Mutex<File>,
    /// Where the sorted lines begin and end.
    begin: u64,
    end: u64,
}

impl Lines {
    /// The first line, and the others.
    pub(super) fn open(path: &Path, file: File) -> Result<(Vec<u8>, Self), Error> {
        let end = file.metadata().map_err(Error::io("read", path))?.len();
        let mut lines = Self { path: path.to_owned(), file: Mutex::new(file), begin: 0, end };
        let first = lines.line_at(0)?;
        lines.begin = (first.len() as u64 + 1).min(end);
        Ok((first, lines))
    }

    /// The lines with this key, without their line breaks.
    pub(super) fn with_key(&self, key: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut at = self.lower_bound(key)?;
        let mut found = Vec::new();
        while at < self.end && self.key_at(at)? == key {
            let line = self.line_at(at)?;
            at += line.len() as u64 + 1;
            found.push(line);
        }
        Ok(found)
    }

    /// Where the first line starts whose key is not below `key`; the end, if there is none.
    fn lower_bound(&self, key: &str) -> Result<u64, Error> {
        // Lines that start before `low` are below the key, those that start at `high` or after it are not.
        let (mut low, mut high) = (self.begin, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let (start, found) = self.first_from(middle, high)?;
            match found {
                Some(found) if found.as_str() < key => low = start + 1,
                _ => high = middle,
            }
        }
        self.start_from(low)
    }

    /// The first line that starts at `offset` or after it, and its key if it starts before `before`.
    fn first_from(&self, offset: u64, before: u64) -> Result<(u64, Option<String>), Error> {
        let start = self.start_from(offset)?;
        let key = if start < before { Some(self.key_at(start)?) } else { None };
        Ok((start, key))
    }

    /// Where the first line starts that starts at `offset` or after it.
    fn start_from(&self, offset: u64) -> Result<u64, Error> {
        if offset <= self.begin || offset >= self.end {
            return Ok(offset.clamp(self.begin, self.end));
        }
        // A line starts where the byte before is a line break.
        let mut at = offset - 1;
        while at < self.end {
            let piece = self.read(at, PIECE)?;
            if let Some(n) = piece.iter().position(|b| *b == b'\n') {
                return Ok(at + n as u64 + 1);
            }
            at += self.progress(at - offset.min(at), &piece)?;
        }
        Ok(self.end)
    }

    fn line_at(&self, start: u64) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        while start + (line.len() as u64) < self.end {
            let piece = self.read(start + line.len() as u64, PIECE)?;
            if let Some(n) = piece.iter().position(|b| *b == b'\n') {
                line.extend_from_slice(&piece[..n]);
                break;
            }
            self.progress(line.len() as u64, &piece)?;
            line.extend_from_slice(&piece);
        }
        Ok(line)
    }

    /// How far a piece without a line break leads, of a line of which `before` bytes were read.
    fn progress(&self, before: u64, piece: &[u8]) -> Result<u64, Error> {
        if piece.is_empty() || before > MAX_LINE as u64 {
            return Err(malformed(&self.path, "a line is too long, or the file became shorter meanwhile"));
        }
        Ok(piece.len() as u64)
    }

    fn key_at(&self, start: u64) -> Result<String, Error> {
        let head = self.read(start, 160)?;
        let key = head.strip_prefix(START).and_then(|rest| rest.split(|b| *b == b'"').next());
        let key = key.and_then(|key| String::from_utf8(key.to_vec()).ok());
        key.ok_or_else(|| {
            malformed(&self.path, &format!("the line at byte {start} does not begin with a chain ID"))
        })
    }

    fn read(&self, at: u64, wanted: usize) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(wanted);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.by_ref().take(wanted as u64).read_to_end(&mut out))
            .map_err(Error::io("read", &self.path))?;
        Ok(out)
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
