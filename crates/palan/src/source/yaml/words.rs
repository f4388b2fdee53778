//! The small pieces of a line: scalars, quotes, keys, markers.

use std::ops::Range;

use super::scan::Value;

/// A scalar of one line, unless it is a template or has escapes.
pub(super) fn scalar(text: &str, inner: Range<usize>, whole: Range<usize>) -> Value {
    let content = &text[inner.clone()];
    let quoted = inner != whole;
    match () {
        () if content.contains("{{") => Value::Template(inner.start),
        () if quoted && content.contains(['\\', '\'', '\n']) => Value::Other,
        () => Value::Scalar { text: inner, whole },
    }
}

/// Where a quoted scalar ends; doubled single quotes and escaped double quotes do not end it.
pub(super) fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            _ if c == quote && quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            _ if c == quote => return Some(i),
            _ => {}
        }
    }
    None
}

/// The key at the start of a line, and where the text behind its colon starts.
pub(super) fn key(text: &str) -> Option<(String, usize)> {
    let after = |end: usize| {
        let rest = text[end..].trim_start_matches([' ', '\t']).strip_prefix(':')?;
        (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(text.len() - rest.len())
    };
    match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let close = 1 + closing_quote(&text[1..], quote)?;
            Some((text[1..close].to_owned(), after(close + 1)?))
        }
        '{' | '[' | '#' | '|' | '>' | '@' | '`' | ',' | ']' | '}' => None,
        _ => {
            let stop = text.find(" #").unwrap_or(text.len());
            let colons = text[..stop].match_indices(':').map(|(i, _)| i);
            let end = colons.into_iter().find(|i| after(*i).is_some())?;
            Some((text[..end].trim_end().to_owned(), after(end)?))
        }
    }
}

pub(super) fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// `|`, perhaps with chomping; an explicit indentation is not supported.
pub(super) fn is_plain_header(text: &str) -> bool {
    let header = text.split('#').next().unwrap_or_default().trim();
    ["|", "|-", "|+"].contains(&header)
}
