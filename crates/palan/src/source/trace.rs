//! Text that remembers where it is written: a value put together from variables can be changed where it stands.

use std::ops::Range;

use super::Edit;

/// The origin of a byte that stands nowhere in the file.
const NOWHERE: u32 = u32::MAX;

/// Text and, for every byte of it, its offset in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    text: String,
    origin: Vec<u32>,
}

/// A run of bytes that stand side by side in the file.
struct Run {
    range: Range<usize>,
    origin: Range<usize>,
}

impl Trace {
    /// Text that stands in the file at `at`. Offsets beyond `u32` cannot be said; files are smaller.
    pub(super) fn at(text: &str, at: usize) -> Self {
        let mut out = Self::default();
        out.write(text, at);
        out
    }

    pub(super) fn write(&mut self, text: &str, at: usize) {
        self.text.push_str(text);
        let origin = |i| u32::try_from(at + i).unwrap_or(NOWHERE);
        self.origin.extend((0..text.len()).map(origin));
    }

    /// Text that is nowhere in the file.
    pub(super) fn glue(&mut self, text: &str) {
        self.text.push_str(text);
        self.origin.extend(text.bytes().map(|_| NOWHERE));
    }

    pub(super) fn append(&mut self, other: &Self, range: Range<usize>) {
        self.text.push_str(&other.text[range.clone()]);
        self.origin.extend_from_slice(&other.origin[range]);
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let mut out = Self::default();
        out.append(self, range);
        out
    }

    /// Says anew where each byte is written.
    pub(super) fn move_to(&mut self, at: &impl Fn(usize) -> Option<usize>) {
        for origin in self.origin.iter_mut().filter(|origin| **origin != NOWHERE) {
            let moved = at(*origin as usize).and_then(|at| u32::try_from(at).ok());
            *origin = moved.unwrap_or(NOWHERE);
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Where in the file the text comes from.
    pub(super) fn origins(&self) -> impl Iterator<Item = Range<usize>> {
        self.runs(0..self.len()).into_iter().map(|run| run.origin).filter(|o| o.start != NOWHERE as usize)
    }

    fn runs(&self, range: Range<usize>) -> Vec<Run> {
        let mut out: Vec<Run> = Vec::new();
        for i in range {
            let at = self.origin[i] as usize;
            match out.last_mut() {
                Some(run) if continues(run, at) => {
                    run.range.end = i + 1;
                    run.origin.end = at + 1;
                }
                _ => out.push(Run { range: i..i + 1, origin: at..at + 1 }),
            }
        }
        out
    }

    /// The edit of the file that makes `new` of the text's `range`; `None` when that is there already.
    pub(super) fn replace(&self, range: Range<usize>, new: &str) -> Result<Option<Edit>, &'static str> {
        if &self.text[range.clone()] == new {
            return Ok(None);
        }
        if range.is_empty() {
            return self.insert(range.start, new).map(Some);
        }
        let mut runs = self.runs(range);
        let mut new = new;
        if new.is_empty() {
            // What stands nowhere goes with what it separates.
            runs.retain(|run| run.origin.start != NOWHERE as usize);
        }
        while let [first, _, ..] = runs.as_slice()
            && let Some(rest) = new.strip_prefix(&self.text[first.range.clone()])
        {
            new = rest;
            runs.remove(0);
        }
        while let [.., _, last] = runs.as_slice()
            && let Some(rest) = new.strip_suffix(&self.text[last.range.clone()])
        {
            new = rest;
            runs.pop();
        }
        match runs.as_slice() {
            [run] if run.origin.start != NOWHERE as usize => self.once(run, new).map(Some),
            _ => Err("what would change is put together from several places"),
        }
    }

    fn insert(&self, at: usize, new: &str) -> Result<Edit, &'static str> {
        let before = at.checked_sub(1).map(|i| self.origin[i]);
        match before {
            Some(origin) if origin != NOWHERE => {
                let at = origin as usize + 1;
                Ok(Edit { span: at..at, text: new.to_owned() })
            }
            _ => Err("there is no place to write the addition to"),
        }
    }

    /// An edit of a place that the text uses nowhere else.
    fn once(&self, run: &Run, new: &str) -> Result<Edit, &'static str> {
        let used = |o: &&u32| run.origin.contains(&(**o as usize));
        match self.origin.iter().filter(used).count() == run.range.len() {
            true => Ok(Edit { span: run.origin.clone(), text: new.to_owned() }),
            false => Err("what would change is written once and used twice"),
        }
    }
}

fn continues(run: &Run, at: usize) -> bool {
    let nowhere = NOWHERE as usize;
    match at == nowhere {
        true => run.origin.start == nowhere,
        false => run.origin.start != nowhere && run.origin.end == at,
    }
}
