//! Foreign text in documents: what programs said, and XML and HTML.

use crate::rebase::Verdict;

/// Text as content or as a quoted attribute of XML and HTML. Characters that XML 1.0 does not have become `�`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// What a program said, without the escape sequences of terminals (ECMA-48 §5.4) and other control characters.
pub(in crate::fleet) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(c, '@'..='~'));
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A verdict's word, as documents have it.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotAssessed => "not-assessed",
        Verdict::Assessed(grade) => grade.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_cursors_is_left_out() {
        let cases = [
            ("plain\n\ttext", "plain\n\ttext"),
            ("\u{1b}[31;1mred\u{1b}[0m", "red"),
            ("\u{1b}[2K\rdone\u{7}", "done"),
            ("\u{1b}[", ""),
            ("\u{1b}[31\nnext", "\nnext"),
            ("\u{1b}]0;title", "]0;title"),
        ];
        for (text, clean) in cases {
            assert_eq!(plain(text), clean, "{text:?}");
        }
    }
}
