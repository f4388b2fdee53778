//! Instructions as BuildKit's parser sees them: directives, continuations, comments and here-documents.
//!
//! <https://docs.docker.com/reference/dockerfile/>, sections "Parser directives", "Format" and "Here-documents".

use std::ops::Range;

use crate::source::trace::Trace;

/// One instruction, its continuation lines joined.
pub(super) struct Instruction {
    /// The line it starts on, from 1.
    pub(super) line: usize,
    /// In upper case.
    pub(super) keyword: String,
    pub(super) rest: Trace,
}

/// A Dockerfile, cut into instructions.
pub(super) struct Dockerfile {
    /// What continues a line and takes a character's meaning away.
    pub(super) escape: char,
    pub(super) instructions: Vec<Instruction>,
    /// A here-document without end: the line it starts on. Nothing after it was read.
    pub(super) unterminated: Option<usize>,
}

/// A line without its line break.
struct Line<'a> {
    number: usize,
    at: usize,
    text: &'a str,
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = rest.find('\n').map_or(rest.len(), |i| i + 1);
        let text = rest[..len].strip_suffix('\n').map_or(rest, |t| t.strip_suffix('\r').unwrap_or(t));
        let line = Line { number: self.number, at: self.at, text };
        self.at += len;
        self.number += 1;
        Some(line)
    }
}

impl Line<'_> {
    fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }

    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

impl Dockerfile {
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = Lines { text, at: 0, number: 1 };
        if text.starts_with('\u{feff}') {
            lines.at = '\u{feff}'.len_utf8();
        }
        let escape = escape(text);
        let mut out = Self { escape, instructions: Vec::new(), unterminated: None };
        while let Some(line) = lines.next() {
            if line.is_comment() || line.is_blank() {
                continue;
            }
            let number = line.number;
            let Some(instruction) = split(number, &join(&line, &mut lines, escape)) else { continue };
            let documents = here_documents(&instruction, escape);
            out.instructions.push(instruction);
            if !documents.iter().all(|document| document.skip(&mut lines)) {
                out.unterminated = Some(number);
                break;
            }
        }
        out
    }
}

/// The escape character that the directives choose.
fn escape(text: &str) -> char {
    let lines = text.trim_start_matches('\u{feff}').lines();
    let directive = |line: &str| {
        let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let key = key.trim().to_ascii_lowercase();
        ["escape", "syntax", "check"].contains(&key.as_str()).then(|| (key, value.trim().to_owned()))
    };
    let mut directives = lines.map_while(directive);
    match directives.find(|(key, _)| key == "escape") {
        Some((_, value)) if value == "`" => '`',
        _ => '\\',
    }
}

/// The line with its continuations. Comments and empty lines between them do not count.
fn join(first: &Line<'_>, lines: &mut Lines<'_>, escape: char) -> Trace {
    let mut out = Trace::default();
    let indent = first.text.len() - first.text.trim_start().len();
    let mut open = continued(&first.text[indent..], first.at + indent, escape, &mut out);
    while open && let Some(line) = lines.next() {
        if !line.is_comment() && !line.is_blank() {
            open = continued(line.text, line.at, escape, &mut out);
        }
    }
    out
}

/// Adds a line; says whether it goes on with the next one.
fn continued(text: &str, at: usize, escape: char, out: &mut Trace) -> bool {
    let body = text.trim_end_matches([' ', '\t']).strip_suffix(escape).filter(|body| !body.ends_with(escape));
    out.write(body.unwrap_or(text), at);
    body.is_some()
}

fn split(line: usize, whole: &Trace) -> Option<Instruction> {
    let text = whole.text().trim_end();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let keyword = text[..end].to_ascii_uppercase();
    let start = text.len() - text[end..].trim_start().len();
    let instruction = Instruction { line, keyword, rest: whole.slice(start..text.len()) };
    if instruction.keyword != "ONBUILD" {
        return (!instruction.keyword.is_empty()).then_some(instruction);
    }
    // A trigger names images like the instruction that it is; `ONBUILD ONBUILD` and `ONBUILD FROM` are no triggers.
    let mut trigger = split_once(line, &instruction.rest)?;
    if ["ONBUILD", "FROM", "ARG"].contains(&trigger.keyword.as_str()) {
        trigger.keyword = "ONBUILD".to_owned();
    }
    Some(trigger)
}

fn split_once(line: usize, whole: &Trace) -> Option<Instruction> {
    let text = whole.text();
    let end = text.find(char::is_whitespace)?;
    let start = text.len() - text[end..].trim_start().len();
    let keyword = text[..end].to_ascii_uppercase();
    Some(Instruction { line, keyword, rest: whole.slice(start..text.len()) })
}

/// The words of an instruction, as ranges: white space separates, quotes hold together.
pub(super) fn words(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if let Some(start) = start.take() {
                    out.push(start..i);
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        start.get_or_insert(i);
        if c == escape && quote != Some('\'') {
            chars.next();
        }
    }
    out.extend(start.map(|start| start..text.len()));
    out
}

struct HereDocument {
    name: String,
    /// `<<-`: tabs before the terminator do not count.
    tabs: bool,
}

impl HereDocument {
    /// Passes over the content and the terminator; `false` when there is none.
    fn skip(&self, lines: &mut Lines<'_>) -> bool {
        lines.any(|line| {
            let text = if self.tabs { line.text.trim_start_matches('\t') } else { line.text };
            text == self.name
        })
    }
}

fn here_documents(instruction: &Instruction, escape: char) -> Vec<HereDocument> {
    let text = instruction.rest.text();
    let exec_form = serde_json::from_str::<Vec<String>>(text).is_ok();
    if exec_form || !["RUN", "COPY", "ADD"].contains(&instruction.keyword.as_str()) {
        return Vec::new();
    }
    words(text, escape).into_iter().filter_map(|word| here_document(&text[word])).collect()
}

/// `[fd]<<[-]NAME`, the name perhaps quoted.
fn here_document(word: &str) -> Option<HereDocument> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (tabs, name) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name: String = name.chars().filter(|c| !['"', '\'', '\\'].contains(c)).collect();
    (!name.is_empty() && !name.contains('<')).then_some(HereDocument { name, tabs })
}
