//! Variables in `FROM` and `ARG`, with the places that their values come from.
//!
//! <https://docs.docker.com/reference/dockerfile/#environment-replacement>

use std::{collections::BTreeMap, ops::Range};

use crate::source::trace::Trace;

/// Longer values are no references, and variables that multiply each other must end somewhere.
const MAX_VALUE: usize = 4096;
const MAX_DEPTH: usize = 16;

/// What an `ARG` before the first `FROM` says.
pub(super) enum Variable {
    Value(Trace),
    /// There is no default: the value is given when the image is built.
    NoDefault,
    Unknown(Unknown),
}

pub(super) type Variables = BTreeMap<String, Variable>;

/// A value that is known in parts only.
#[derive(Clone)]
pub(in crate::source) struct Unknown {
    /// All parts that are known.
    pub(in crate::source) parts: Trace,
    /// How many bytes of them come before the first that is not.
    pub(in crate::source) known: usize,
    /// Why it is not known.
    pub(in crate::source) reason: String,
}

pub(super) struct Expander<'a> {
    pub(super) variables: &'a Variables,
    pub(super) escape: char,
    out: Trace,
    /// How much was known when the first thing was not, and why.
    failed: Option<(usize, String)>,
}

impl<'a> Expander<'a> {
    /// The value of a word: quotes removed, variables replaced.
    pub(super) fn expand(variables: &'a Variables, escape: char, word: &Trace) -> Result<Trace, Unknown> {
        let mut expander = Self { variables, escape, out: Trace::default(), failed: None };
        expander.word(word, 0);
        match expander.failed {
            None => Ok(expander.out),
            Some((known, reason)) => Err(Unknown { parts: expander.out, known, reason }),
        }
    }

    fn fail(&mut self, reason: impl Into<String>) {
        let known = self.out.len();
        self.failed.get_or_insert_with(|| (known, reason.into()));
    }

    fn push(&mut self, from: &Trace, range: Range<usize>) {
        match self.out.len() + range.len() > MAX_VALUE {
            true => self.fail("the value is too long"),
            false => self.out.append(from, range),
        }
    }

    fn word(&mut self, word: &Trace, depth: usize) {
        let text = word.text();
        let mut quote = None;
        let mut i = 0;
        while let Some(c) = text[i..].chars().next() {
            let end = i + c.len_utf8();
            i = match (c, quote) {
                ('\'' | '"', None) => {
                    quote = Some(c);
                    end
                }
                (_, Some(q)) if c == q => {
                    quote = None;
                    end
                }
                ('$', None | Some('"')) => self.variable(word, i, depth),
                (_, None | Some('"')) if c == self.escape && end < text.len() => {
                    self.escaped(word, i..end, quote.is_some())
                }
                _ => {
                    self.push(word, i..end);
                    end
                }
            };
        }
    }

    /// A character without its meaning; inside double quotes only some have one. Returns where it ends.
    fn escaped(&mut self, word: &Trace, escape: Range<usize>, quoted: bool) -> usize {
        let text = &word.text()[escape.end..];
        let next = escape.end + text.chars().next().map_or(0, char::len_utf8);
        let kept = quoted && !text.starts_with(['"', '$', self.escape]);
        self.push(word, if kept { escape.start } else { escape.end }..next);
        next
    }

    /// `$NAME` or `${NAME…}` at `at`; returns where it ends.
    fn variable(&mut self, word: &Trace, at: usize, depth: usize) -> usize {
        let text = word.text();
        let braced = text[at + 1..].starts_with('{');
        let start = at + 1 + usize::from(braced);
        let len = name_len(&text[start..]);
        let (name, after) = (&text[start..start + len], start + len);
        let close = match braced {
            true => closing(&text[after..]).map(|i| after + i),
            false => Some(after),
        };
        match close {
            None => self.fail("a brace is not closed"),
            Some(_) if !braced && name.is_empty() => self.push(word, at..after),
            Some(close) if name.is_empty() => self.fail(format!("{} is not understood", &text[at..=close])),
            Some(close) if close == after => self.value(name),
            Some(close) => self.modified(name, &word.slice(after..close), depth),
        }
        close.map_or(text.len(), |close| close + usize::from(braced))
    }

    /// `${NAME:-word}` and its relatives.
    fn modified(&mut self, name: &str, modifier: &Trace, depth: usize) {
        let text = modifier.text();
        let colon = usize::from(text.starts_with(':'));
        let set = match self.variables.get(name) {
            Some(Variable::Value(value)) => colon == 0 || value.len() > 0,
            Some(Variable::Unknown(_)) => return self.value(name),
            Some(Variable::NoDefault) | None => false,
        };
        match (text[colon..].chars().next(), set) {
            (Some('-'), false) | (Some('+'), true) if depth < MAX_DEPTH => {
                self.word(&modifier.slice(colon + 1..modifier.len()), depth + 1);
            }
            (Some('+'), false) => {}
            (Some('-'), true) | (Some('?'), _) => self.value(name),
            _ => {
                self.fail(format!("${{{name}{text}}} is not evaluated"));
                self.value(name);
            }
        }
    }

    fn value(&mut self, name: &str) {
        match self.variables.get(name) {
            Some(Variable::Value(value)) => self.push(value, 0..value.len()),
            Some(Variable::NoDefault) => self.fail(format!("ARG {name} has no default")),
            Some(Variable::Unknown(unknown)) => {
                self.push(&unknown.parts, 0..unknown.known);
                self.fail(unknown.reason.clone());
                self.push(&unknown.parts, unknown.known..unknown.parts.len());
            }
            None => self.fail(format!("{name} has no value in the file")),
        }
    }
}

fn name_len(text: &str) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, c)) if c.is_ascii_alphabetic() || c == '_' => {}
        _ => return 0,
    }
    chars.find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '_')).map_or(text.len(), |(i, _)| i)
}

/// Where the brace closes that is open at the start.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(i, c)| {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(i),
            '}' => depth -= 1,
            _ => {}
        }
        None
    })
}
