//! Variables in `FROM` and `ARG`, with the places that their values come from.
//!
//! <https://docs.docker.com/reference/dockerfile/#environment-replacement>

use std::collections::BTreeMap;

use crate::source::trace::Trace;

/// Longer values are no references, and variables that multiply each other must end somewhere.
const MAX_VALUE: usize = 4096;
const MAX_DEPTH: usize = 16;

/// What an `ARG` before the first `FROM` says.
pub(super) enum Variable {
    Value(Trace),
    /// Why there is no value: it is given when the image is built, or the default is not understood.
    Unknown(String),
}

pub(super) type Variables = BTreeMap<String, Variable>;

/// Why a value is not known, and what it starts with.
pub(in crate::source) struct Unknown {
    pub(in crate::source) start: String,
    pub(in crate::source) reason: String,
}

pub(super) struct Expander<'a> {
    pub(super) variables: &'a Variables,
    pub(super) escape: char,
}

impl Expander<'_> {
    /// The value of a word: quotes removed, variables replaced.
    pub(super) fn expand(&self, word: &Trace) -> Result<Trace, Unknown> {
        let mut out = Trace::default();
        match self.word(word, 0, &mut out) {
            Ok(()) => Ok(out),
            Err(reason) => Err(Unknown { start: out.text().to_owned(), reason }),
        }
    }

    fn word(&self, word: &Trace, depth: usize, out: &mut Trace) -> Result<(), String> {
        let text = word.text();
        let mut quote = None;
        let mut i = 0;
        while let Some(c) = text[i..].chars().next() {
            let end = i + c.len_utf8();
            match (c, quote) {
                ('\'' | '"', None) => quote = Some(c),
                (_, Some(q)) if c == q => quote = None,
                ('$', None | Some('"')) => {
                    i = self.variable(word, i, depth, out)?;
                    continue;
                }
                (_, None | Some('"')) if c == self.escape && end < text.len() => {
                    let next = end + text[end..].chars().next().map_or(0, char::len_utf8);
                    let kept = quote.is_some() && !text[end..next].starts_with(['"', '$', self.escape]);
                    out.append(word, if kept { i } else { end }..next);
                    i = next;
                    continue;
                }
                _ => out.append(word, i..end),
            }
            i = end;
        }
        match out.len() > MAX_VALUE {
            true => Err("the value is too long".to_owned()),
            false => Ok(()),
        }
    }

    /// `$NAME` or `${NAME…}` at `at`; returns where it ends.
    fn variable(&self, word: &Trace, at: usize, depth: usize, out: &mut Trace) -> Result<usize, String> {
        let text = word.text();
        let braced = text[at + 1..].starts_with('{');
        let start = at + 1 + usize::from(braced);
        let len = name_len(&text[start..]);
        let (name, after) = (&text[start..start + len], start + len);
        if !braced {
            match name.is_empty() {
                true => out.append(word, at..after),
                false => self.value(name, out)?,
            }
            return Ok(after);
        }
        let close = after + closing(&text[after..]).ok_or("a brace is not closed")?;
        if name.is_empty() {
            return Err(format!("{} is not understood", &text[at..=close]));
        }
        match text[after..close].is_empty() {
            true => self.value(name, out)?,
            false => self.modified(name, &word.slice(after..close), depth, out)?,
        }
        Ok(close + 1)
    }

    /// `${NAME:-word}` and its relatives.
    fn modified(&self, name: &str, modifier: &Trace, depth: usize, out: &mut Trace) -> Result<(), String> {
        if depth >= MAX_DEPTH {
            return Err("variables are nested too deeply".to_owned());
        }
        let text = modifier.text();
        let colon = usize::from(text.starts_with(':'));
        let rest = modifier.slice((colon + 1).min(text.len())..text.len());
        let set = match self.variables.get(name) {
            Some(Variable::Value(value)) => colon == 0 || value.len() > 0,
            Some(Variable::Unknown(reason)) if !reason.is_empty() => return Err(reason.clone()),
            _ => false,
        };
        match (text[colon..].chars().next(), set) {
            (Some('-'), false) | (Some('+'), true) => self.word(&rest, depth + 1, out),
            (Some('+'), false) => Ok(()),
            (Some('-' | '?'), true) => self.value(name, out),
            (Some('?'), false) => self.value(name, out),
            _ => Err(format!("${{{name}{text}}} is not evaluated")),
        }
    }

    fn value(&self, name: &str, out: &mut Trace) -> Result<(), String> {
        match self.variables.get(name) {
            Some(Variable::Value(value)) => {
                out.append(value, 0..value.len());
                match out.len() > MAX_VALUE {
                    true => Err("the value is too long".to_owned()),
                    false => Ok(()),
                }
            }
            Some(Variable::Unknown(reason)) if !reason.is_empty() => Err(reason.clone()),
            Some(Variable::Unknown(_)) => Err(format!("ARG {name} has no default")),
            None => Err(format!("{name} has no value in the file")),
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
