//! Flow collections: `{a: b}` and `[a, b]`, over as many lines as they take.

use super::{
    scan::{MAX_DEPTH, Scanner, Value},
    words::{closing_quote, scalar},
};

struct Open {
    container: usize,
    mapping: bool,
    /// The key that waits for its value.
    key: Option<String>,
}

/// Reads one flow collection.
pub(super) struct Flow<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    at: usize,
    stack: Vec<Open>,
}

/// Something between the punctuation.
enum Token {
    Open(bool),
    Close,
    Comma,
    Value(Value, String),
    End,
}

impl<'s, 'a> Flow<'s, 'a> {
    /// Reads the collection at `start`, the value of `key`. Returns where the line after it starts.
    pub(super) fn read(scanner: &'s mut Scanner<'a>, container: usize, key: &str, start: usize) -> usize {
        let mut flow = Self { scanner, at: start, stack: Vec::new() };
        flow.collection(container, key);
        let rest = &flow.scanner.text[flow.at..];
        flow.at + rest.find('\n').map_or(rest.len(), |i| i + 1)
    }

    fn collection(&mut self, container: usize, key: &str) {
        loop {
            match self.token() {
                Token::Open(mapping) => {
                    let (parent, key) = match self.stack.last_mut() {
                        Some(open) => (open.container, open.take_key()),
                        None => (container, key.to_owned()),
                    };
                    let container = self.scanner.out.container(Some(parent), &key);
                    self.stack.push(Open { container, mapping, key: None });
                }
                Token::Close => {
                    self.stack.pop();
                }
                Token::Comma => self.forget_key(),
                Token::Value(value, text) => self.scalar(value, text),
                Token::End => return,
            }
            if self.stack.is_empty() || self.stack.len() > MAX_DEPTH {
                return;
            }
        }
    }

    fn forget_key(&mut self) {
        if let Some(open) = self.stack.last_mut() {
            open.key = None;
        }
    }

    fn scalar(&mut self, value: Value, text: String) {
        let colon = self.colon();
        let Some(open) = self.stack.last_mut() else { return };
        if colon {
            open.key = Some(text);
            return;
        }
        // A key without a value has none.
        if !open.mapping || open.key.is_some() {
            let key = open.take_key();
            let container = open.container;
            self.scanner.out.entry(container, &key, value, None);
        }
    }

    /// Whether a colon follows, and passes over it.
    fn colon(&mut self) -> bool {
        let rest = self.scanner.text[self.at..].trim_start_matches([' ', '\t']);
        let found = rest.starts_with(':');
        if found {
            self.at = self.scanner.text.len() - rest.len() + 1;
        }
        found
    }

    fn token(&mut self) -> Token {
        self.space();
        let text = &self.scanner.text[self.at..];
        let Some(first) = text.chars().next() else { return Token::End };
        let one = |flow: &mut Self, token| {
            flow.at += 1;
            token
        };
        match first {
            '{' if text.starts_with("{{") => self.plain(),
            '{' => one(self, Token::Open(true)),
            '[' => one(self, Token::Open(false)),
            '}' | ']' => one(self, Token::Close),
            ',' => one(self, Token::Comma),
            '"' | '\'' => self.quoted(first),
            _ => self.plain(),
        }
    }

    /// White space, comments, anchors and tags.
    fn space(&mut self) {
        loop {
            let rest = &self.scanner.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with('#') {
                self.at = self.scanner.line_end(self.at);
            } else if trimmed.starts_with(['&', '!']) {
                let end = trimmed.find(|c: char| c.is_whitespace() || ",{}[]".contains(c));
                self.at += end.unwrap_or(trimmed.len());
            } else {
                return;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Token {
        let text = self.scanner.text;
        let start = self.at;
        let Some(close) = closing_quote(&text[start + 1..], quote).map(|i| start + 1 + i) else {
            self.at = text.len();
            return Token::End;
        };
        self.at = close + 1;
        Token::Value(scalar(text, start + 1..close, start..close + 1), text[start + 1..close].to_owned())
    }

    fn plain(&mut self) -> Token {
        let text = self.scanner.text;
        let start = self.at;
        while let Some(c) = text[self.at..].chars().next() {
            let rest = &text[self.at..];
            if rest.starts_with("{{") {
                self.at += rest.find("}}").map_or(rest.len(), |i| i + 2);
                continue;
            }
            let key_ends = c == ':' && rest[1..].starts_with([' ', '\t', '\n', '\r', ',', '}', ']']);
            let comment = c == '#' && text[..self.at].ends_with([' ', '\t']);
            if ",{}[]\r\n".contains(c) || key_ends || comment {
                break;
            }
            self.at += c.len_utf8();
        }
        if self.at == start {
            // A colon without a key.
            self.at += text[start..].chars().next().map_or(0, char::len_utf8);
            return Token::Value(Value::Other, String::new());
        }
        let end = start + text[start..self.at].trim_end().len();
        let content = text[start..end].to_owned();
        let value = match content.strip_prefix('*') {
            Some(name) => Value::Alias(name.to_owned()),
            None => scalar(text, start..end, start..end),
        };
        Token::Value(value, content)
    }
}

impl Open {
    fn take_key(&mut self) -> String {
        self.key.take().unwrap_or_else(|| "-".to_owned())
    }
}
