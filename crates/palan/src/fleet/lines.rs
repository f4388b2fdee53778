//! The lines of journals as a set: those of several machines are put together without anybody in between.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use palan_core::Digest;

use super::journal::{Journal, JournalError, Record, of_plan, parse, read, whole};

/// The lines of one plan's journal, each once, ordered by time, then by their bytes.
///
/// [`Lines::merge`] is associative, commutative and idempotent: it does not matter who is merged with whom, in which order
/// and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    plan: Option<Digest>,
    lines: BTreeSet<(Timestamp, Box<[u8]>)>,
}

impl Lines {
    /// The whole lines of a journal; what comes after the last line's end does not count. `path`: for messages.
    pub fn parse(path: &Path, content: &[u8]) -> Result<Self, JournalError> {
        let content = whole(content);
        let records = parse(path, content)?;
        let plan = records.first().map(|record| record.plan);
        let records = plan.map_or(Ok(Vec::new()), |plan| of_plan(path, records, plan))?;
        let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(Self { plan, lines: records.iter().map(time).zip(lines.map(Box::from)).collect() })
    }

    /// As [`Lines::parse`], of a journal that is damaged: the whole lines about a plan, and the numbers of the others, from 1.
    pub fn salvage(path: &Path, content: &[u8], plan: Digest) -> Result<(Self, Vec<usize>), JournalError> {
        let (mut kept, mut lost, mut other) =
            (Self { plan: Some(plan), lines: BTreeSet::new() }, Vec::new(), None);
        let lines = whole(content).split(|byte| *byte == b'\n').enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice::<Record>(line) {
                Ok(record) if record.plan == plan => {
                    kept.lines.insert((time(&record), line.into()));
                }
                found => {
                    other = other.or(found.ok().map(|record| record.plan));
                    lost.push(number + 1);
                }
            }
        }
        match other {
            Some(found) if kept.lines.is_empty() => {
                Err(JournalError::OtherPlan { path: path.to_owned(), found })
            }
            _ => Ok((kept, lost)),
        }
    }

    /// Those of a file; none where there is no file.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        match std::fs::read(path) {
            Ok(content) => Self::parse(path, &content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(JournalError::Io { action: "read", path: path.to_owned(), source }),
        }
    }

    /// Adds the lines of another journal, which must be of the same plan. `path`: that one's, for messages.
    pub fn merge(&mut self, path: &Path, other: Self) -> Result<(), JournalError> {
        if let (Some(own), Some(found)) = (self.plan, other.plan)
            && own != found
        {
            return Err(JournalError::OtherPlan { path: path.to_owned(), found });
        }
        self.plan = self.plan.or(other.plan);
        self.lines.extend(other.lines);
        Ok(())
    }

    /// The plan that they are about; `None`: there are none.
    pub fn plan(&self) -> Option<Digest> {
        self.plan
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A journal's content: each line with its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        join(self.lines.iter())
    }

    /// What they say, in their order.
    pub fn records(&self) -> Result<Vec<Record>, JournalError> {
        parse(Path::new(""), &self.to_bytes())
    }

    /// The content that other lines lack of these.
    fn without(&self, others: &Self) -> Vec<u8> {
        join(self.lines.difference(&others.lines))
    }
}

fn join<'a>(lines: impl Iterator<Item = &'a (Timestamp, Box<[u8]>)>) -> Vec<u8> {
    lines.flat_map(|(_, line)| line.iter().copied().chain([b'\n'])).collect()
}

/// When a line was written. One that does not say it comes first.
pub(super) fn time(record: &Record) -> Timestamp {
    record.at.parse().unwrap_or(Timestamp::MIN)
}

impl Journal {
    /// The lines that are on the disk; of a journal that was salvaged those that can be read.
    pub fn lines(&self) -> Result<Lines, JournalError> {
        self.reader()()
    }

    /// Reads the lines that are on the disk, wherever it is called.
    pub(super) fn reader(&self) -> impl Fn() -> Result<Lines, JournalError> + Send + 'static {
        let (path, plan, is_salvaged) = (self.path().to_owned(), self.plan(), self.is_salvaged());
        move || match is_salvaged {
            true => Ok(Lines::salvage(&path, &read(&path)?, plan)?.0),
            false => Lines::read(&path),
        }
    }

    /// Takes in lines that others wrote: those that it lacks are appended, and count by their time. A journal that is only
    /// looked at stays as it is on the disk.
    pub fn absorb(&self, others: &Lines) -> Result<(), JournalError> {
        let own = self.lines()?;
        let mut all = own.clone();
        if let Some(found) = others.plan().filter(|plan| *plan != self.plan()) {
            return Err(JournalError::OtherPlan { path: self.path().to_owned(), found });
        }
        all.merge(self.path(), others.clone())?;
        let missing = all.without(&own);
        if !missing.is_empty() {
            self.append(&missing)?;
        }
        self.become_of(&all.records()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 3] = ["a.jsonl", "b.jsonl", "c.jsonl"];

    fn line(second: u8, run: u8, plan: &str) -> String {
        let plan = Digest::sha256(plan.as_bytes());
        // With and without a fraction: texts of times do not sort as times do.
        let at = if second.is_multiple_of(2) {
            format!("00:00:0{second}Z")
        } else {
            format!("00:00:0{second}.5Z")
        };
        format!(
            r#"{{"at":"2026-01-01T{at}","run":"{run}","plan":"{plan}","event":"start","command":"apply"}}"#
        )
    }

    fn journal(lines: &[(u8, u8)]) -> Lines {
        let text: String = lines.iter().map(|(second, run)| line(*second, *run, "plan") + "\n").collect();
        Lines::parse(Path::new("j"), text.as_bytes()).unwrap()
    }

    fn merged(journals: &[&Lines]) -> Lines {
        let mut all = Lines::default();
        journals.iter().for_each(|lines| all.merge(Path::new("j"), (*lines).clone()).unwrap());
        all
    }

    #[test]
    fn lines_are_ordered_by_time_and_bytes_and_each_is_there_once() {
        let all = merged(&[&journal(&[(2, 1), (1, 2), (1, 1)]), &journal(&[(2, 0), (1, 2)])]);
        let expected = [(1, 1), (1, 2), (2, 0), (2, 1)].map(|(second, run)| line(second, run, "plan") + "\n");
        assert_eq!(String::from_utf8(all.to_bytes()).unwrap(), expected.concat());
        assert_eq!(all.records().unwrap().len(), 4);
    }

    #[test]
    fn half_a_line_does_not_count_and_damage_is_named() {
        let half = format!("{}\n{}", line(1, 1, "plan"), &line(2, 1, "plan")[..30]);
        assert_eq!(Lines::parse(Path::new("j"), half.as_bytes()).unwrap(), journal(&[(1, 1)]));
        let error = Lines::parse(Path::new("j"), format!("{half}\n").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the journal j is damaged");
    }

    #[test]
    fn another_plans_journal_is_named() {
        let other = Lines::parse(Path::new("b"), (line(1, 1, "other") + "\n").as_bytes()).unwrap();
        let error = journal(&[(1, 1)]).merge(Path::new("b.jsonl"), other).unwrap_err().to_string();
        assert!(error.starts_with("the journal b.jsonl is of another plan (sha256:"), "{error}");
        let both = format!("{}\n{}\n", line(1, 1, "plan"), line(1, 1, "other"));
        let error = Lines::parse(Path::new("both"), both.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("the journal both is of another plan"), "{error}");
    }

    proptest! {
        #[test]
        fn merging_knows_no_order_and_no_number(
            journals in prop::collection::vec(prop::collection::vec((0u8..6, 0u8..4), 0..8), 3),
        ) {
            let [a, b, c] = NAMES.map(|name| {
                let n = NAMES.iter().position(|other| *other == name).unwrap();
                journal(&journals[n])
            });
            let whole = merged(&[&a, &b, &c]).to_bytes();
            prop_assert_eq!(&merged(&[&c, &a, &b]).to_bytes(), &whole);
            prop_assert_eq!(&merged(&[&merged(&[&b, &c]), &a]).to_bytes(), &whole);
            prop_assert_eq!(&merged(&[&merged(&[&a, &b, &c]), &b, &b]).to_bytes(), &whole);
            let again = Lines::parse(Path::new("j"), &whole).unwrap();
            prop_assert_eq!(&again.to_bytes(), &whole);
        }
    }
}
