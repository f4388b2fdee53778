//! Where a Dockerfile names images: `FROM`, `COPY --from` and `RUN --mount=from`.

mod expand;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use expand::Unknown;
use expand::{Expander, Variable, Variables};
use lines::{Dockerfile, Instruction, words};

use super::{settle::Mention, trace::Trace};

/// What was found in a Dockerfile.
#[derive(Default)]
pub(super) struct Found {
    pub(super) mentions: Vec<Mention>,
    /// Arguments that are passed on into a stage, and the line of the stage's `ARG`.
    pub(super) passed_on: BTreeMap<String, usize>,
    /// Where the defaults of arguments are written.
    pub(super) defaults: Vec<(std::ops::Range<usize>, String)>,
}

/// Every image that the text names.
pub(super) fn find(text: &str) -> Found {
    let file = Dockerfile::parse(text);
    let mut scan = Scan { escape: file.escape, ..Scan::default() };
    for instruction in &file.instructions {
        match instruction.keyword.as_str() {
            "ARG" => scan.arg(instruction),
            "FROM" => scan.from(instruction),
            "COPY" | "RUN" => scan.flags(instruction),
            _ => {}
        }
    }
    if let Some(line) = file.unterminated {
        let reason = "the here-document has no end, what follows was not read";
        scan.found.mentions.push(Mention::unknown(line, "here-document", "", reason));
    }
    scan.finish()
}

struct Scan {
    escape: char,
    variables: Variables,
    stages: BTreeSet<String>,
    in_stage: bool,
    /// `COPY --from` and the like: they may name stages that come later.
    copies: Vec<(usize, &'static str, Trace)>,
    found: Found,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            escape: '\\',
            variables: Variables::new(),
            stages: BTreeSet::new(),
            in_stage: false,
            copies: Vec::new(),
            found: Found::default(),
        }
    }
}

impl Scan {
    fn expand(&self, word: &Trace) -> Result<Trace, Unknown> {
        Expander::expand(&self.variables, self.escape, word)
    }

    /// Only arguments before the first stage count in `FROM`.
    fn arg(&mut self, instruction: &Instruction) {
        let rest = &instruction.rest;
        for word in words(rest.text(), self.escape) {
            let word = rest.slice(word);
            let (name, value) = match word.text().split_once('=') {
                Some((name, _)) => (name.to_owned(), Some(word.slice(name.len() + 1..word.len()))),
                None => (word.text().to_owned(), None),
            };
            if self.in_stage {
                self.found.passed_on.entry(name).or_insert(instruction.line);
                continue;
            }
            let variable = match value {
                None => Variable::NoDefault,
                Some(value) => {
                    self.found.defaults.extend(value.origins().map(|origin| (origin, name.clone())));
                    self.expand(&value).map_or_else(Variable::Unknown, Variable::Value)
                }
            };
            self.variables.insert(name, variable);
        }
    }

    fn from(&mut self, instruction: &Instruction) {
        self.in_stage = true;
        let rest = &instruction.rest;
        let all = words(rest.text(), self.escape);
        let words: Vec<&str> = all.iter().map(|w| &rest.text()[w.clone()]).collect();
        let flags = words.iter().take_while(|w| w.starts_with("--")).count();
        let Some(name) = all.get(flags) else { return };
        let stage = match &words[flags + 1..] {
            [] => None,
            [word, stage] if word.eq_ignore_ascii_case("as") => Some(stage.to_ascii_lowercase()),
            _ => {
                let reason = "the instruction has words that are not understood";
                self.push(Mention::unknown(instruction.line, "FROM", words[flags], reason));
                return;
            }
        };
        let written = rest.slice(name.clone());
        match self.expand(&written) {
            Ok(value) if self.stages.contains(&value.text().to_ascii_lowercase()) => {}
            Ok(value) if value.text() == "scratch" => {}
            Ok(value) => self.push(Mention::image(instruction.line, "FROM", written.text(), value)),
            Err(unknown) => {
                self.push(Mention::partly_known(instruction.line, "FROM", written.text(), unknown));
            }
        }
        self.stages.extend(stage);
    }

    fn flags(&mut self, instruction: &Instruction) {
        let rest = &instruction.rest;
        let all = words(rest.text(), self.escape);
        for word in all.into_iter().take_while(|w| rest.text()[w.clone()].starts_with("--")) {
            let word = rest.slice(word);
            let bare = unquoted(&word);
            if let Some(value) = bare.text().strip_prefix("--from=").filter(|_| instruction.keyword == "COPY")
            {
                let value = bare.slice(bare.len() - value.len()..bare.len());
                self.copies.push((instruction.line, "COPY --from", value));
            }
            if bare.text().starts_with("--mount=") && instruction.keyword == "RUN" {
                let value = mount_source(&bare);
                self.copies.extend(value.map(|value| (instruction.line, "RUN --mount", value)));
            }
        }
    }

    fn push(&mut self, mention: Mention) {
        self.found.mentions.push(mention);
    }

    fn finish(mut self) -> Found {
        for (line, what, value) in std::mem::take(&mut self.copies) {
            let text = value.text().to_owned();
            let number = text.bytes().all(|b| b.is_ascii_digit());
            if number || self.stages.contains(&text.to_ascii_lowercase()) || text == "scratch" {
                continue;
            }
            self.push(match text.contains('$') {
                true => Mention::unknown(line, what, &text, "variables are not replaced here"),
                false => Mention::image(line, what, &text, value),
            });
        }
        self.found.mentions.sort_by_key(|mention| mention.line);
        self.found
    }
}

/// Quotes in flags only hold together.
fn unquoted(word: &Trace) -> Trace {
    let mut out = Trace::default();
    for (i, c) in word.text().char_indices().filter(|(_, c)| !['"', '\''].contains(c)) {
        out.append(word, i..i + c.len_utf8());
    }
    out
}

/// The `from` of `--mount=type=bind,from=IMAGE,…`.
fn mount_source(flag: &Trace) -> Option<Trace> {
    let mut at = "--mount=".len();
    for field in flag.text()[at..].split(',') {
        if let Some((key, value)) = field.split_once('=')
            && key.trim().eq_ignore_ascii_case("from")
        {
            let start = at + field.len() - value.len();
            return Some(flag.slice(start..at + field.len()));
        }
        at += field.len() + 1;
    }
    None
}
