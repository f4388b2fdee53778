//! A line scanner for YAML that knows where values are written, and touches nothing else.
//!
//! It understands what people write into compose files, manifests and Helm values: block and flow mappings and
//! sequences, plain and quoted scalars, block scalars, anchors, comments, several documents
//! (<https://yaml.org/spec/1.2.2/>), with lines of templates (`{{ … }}`) between them. Scalars that go over several
//! lines and escapes are no references; they are passed over.

use std::{collections::BTreeMap, ops::Range};

use super::{
    flow::Flow,
    words::{closing_quote, is_marker, is_plain_header, key, scalar},
};

/// Deeper nesting is passed over.
pub(super) const MAX_DEPTH: usize = 128;

/// A mapping or sequence.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) parent: Option<usize>,
    /// The key that it is the value of; `-` inside a sequence, nothing for a document.
    pub(super) key: String,
}

/// A value that is no container.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// One line without escapes: where its text is, and where it is with its quotes.
    Scalar {
        text: Range<usize>,
        whole: Range<usize>,
    },
    /// `|`: the lines of its content, without indentation.
    Literal(Vec<Range<usize>>),
    Alias(String),
    /// Where it starts.
    Template(usize),
    Other,
}

/// One value, in its container.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) container: usize,
    /// `-` inside a sequence.
    pub(super) key: String,
    pub(super) value: Value,
}

#[derive(Default)]
pub(super) struct Scanned {
    pub(super) containers: Vec<Container>,
    pub(super) entries: Vec<Entry>,
    /// The entry that an anchor names last.
    pub(super) anchors: BTreeMap<String, usize>,
}

impl Scanned {
    pub(super) fn container(&mut self, parent: Option<usize>, key: &str) -> usize {
        self.containers.push(Container { parent, key: key.to_owned() });
        self.containers.len() - 1
    }

    /// The keys that lead to a container.
    pub(super) fn path(&self, container: usize) -> Vec<String> {
        let above = |c: &usize| self.containers[*c].parent;
        let all = std::iter::successors(Some(container), above);
        let mut path: Vec<String> = all.map(|c| self.containers[c].key.clone()).collect();
        // The document has no key.
        path.pop();
        path.reverse();
        path
    }

    pub(super) fn entry(&mut self, container: usize, key: &str, value: Value, anchor: Option<&str>) {
        self.entries.push(Entry { container, key: key.to_owned(), value });
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor.to_owned(), self.entries.len() - 1);
        }
    }
}

struct Open {
    indent: usize,
    container: usize,
    sequence: bool,
    /// The key whose value may follow on deeper lines.
    key: String,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    /// Where the next line starts.
    pub(super) at: usize,
    stack: Vec<Open>,
    /// Lines that are indented deeper than this go on with a value that is complete for us.
    skip_deeper: Option<usize>,
    /// Whether a template may still end: looking in vain once is enough.
    templates_end: bool,
    pub(super) out: Scanned,
}

impl<'a> Scanner<'a> {
    pub(super) fn scan(text: &'a str) -> Scanned {
        let mut scanner = Scanner {
            text,
            at: 0,
            stack: Vec::new(),
            skip_deeper: None,
            templates_end: true,
            out: Scanned::default(),
        };
        if text.starts_with('\u{feff}') {
            scanner.at = '\u{feff}'.len_utf8();
        }
        while let Some(line) = scanner.next_line() {
            scanner.line(line);
        }
        scanner.out
    }

    /// The next line without its line break.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = rest.find('\n').map_or(rest.len(), |i| i + 1);
        let start = self.at;
        self.at += len;
        Some(start..start + rest[..len].trim_end_matches(['\n', '\r']).len())
    }

    /// Where the line ends that `at` is in, without its line break.
    pub(super) fn line_end(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let len = rest.find('\n').unwrap_or(rest.len());
        at + rest[..len].trim_end_matches('\r').len()
    }

    fn line(&mut self, line: Range<usize>) {
        let text = &self.text[line.clone()];
        let body = text.trim_start_matches(' ');
        let indent = text.len() - body.len();
        let trimmed = body.trim();
        if trimmed.is_empty() || body.starts_with('#') {
            return;
        }
        if trimmed.starts_with("{{") {
            return self.template(line.start + indent);
        }
        if indent == 0 && (is_marker(text, "---") || is_marker(text, "...")) {
            self.stack.clear();
            self.skip_deeper = None;
            let after = text[3..].trim_start();
            if text.starts_with("---") && !after.is_empty() && !after.starts_with('#') {
                let at = line.end - after.len();
                let root = self.out.container(None, "");
                self.value(root, "", at..line.end, 0, true);
            }
            return;
        }
        if self.skip_deeper.is_some_and(|limit| indent > limit) {
            return;
        }
        self.skip_deeper = None;
        self.node(line.start + indent..line.end, indent);
    }

    /// Passes over a template action that stands on lines of its own.
    fn template(&mut self, at: usize) {
        let line_end = self.line_end(at);
        if !self.templates_end {
            return;
        }
        let close = self.text[at..].find("}}").map(|i| at + i + 2);
        self.templates_end = close.is_some();
        if let Some(close) = close.filter(|close| *close > line_end) {
            self.at = close;
            // The rest of the line belongs to the action.
            self.next_line();
        }
    }

    /// What stands at a column: an item, an entry, or a value alone.
    fn node(&mut self, body: Range<usize>, indent: usize) {
        let text = &self.text[body.clone()];
        if self.stack.len() >= MAX_DEPTH || text.starts_with(['\t', '?', '%']) {
            self.skip_deeper = Some(indent);
            return;
        }
        if text == "-" || text.starts_with("- ") {
            return self.item(body, indent);
        }
        match key(text) {
            Some((name, after)) => self.pair(&name, body.start + after..body.end, indent),
            None => self.alone(body, indent),
        }
    }

    fn item(&mut self, body: Range<usize>, indent: usize) {
        self.close(indent, true);
        let container = self.container_at(indent, true);
        let rest = &self.text[body.start + 1..body.end];
        let inner = rest.trim_start_matches(' ');
        if inner.is_empty() || inner.starts_with('#') {
            return;
        }
        let start = body.end - inner.len();
        let column = indent + (start - body.start);
        let nested = inner == "-" || inner.starts_with("- ") || key(inner).is_some();
        match nested && !inner.starts_with("{{") {
            true => self.node(start..body.end, column),
            false => self.value(container, "-", start..body.end, indent, false),
        }
    }

    fn pair(&mut self, name: &str, rest: Range<usize>, indent: usize) {
        self.close(indent, false);
        let container = self.container_at(indent, false);
        if let Some(open) = self.stack.last_mut() {
            open.key = name.to_owned();
        }
        self.value(container, name, rest, indent, false);
    }

    /// A value on a line of its own: of the key before it, or of the document.
    fn alone(&mut self, body: Range<usize>, indent: usize) {
        self.close(indent, false);
        let (container, key, limit) = match self.stack.last() {
            Some(open) => (open.container, open.key.clone(), open.indent),
            None => (self.out.container(None, ""), String::new(), 0),
        };
        self.value(container, &key, body, limit, false);
    }

    /// Ends what cannot go on at this column.
    fn close(&mut self, indent: usize, item: bool) {
        while self
            .stack
            .pop_if(|open| open.indent > indent || (open.indent == indent && open.sequence && !item))
            .is_some()
        {}
    }

    fn container_at(&mut self, indent: usize, sequence: bool) -> usize {
        match self.stack.last() {
            Some(open) if open.indent == indent && open.sequence == sequence => open.container,
            parent => {
                let key = parent.map_or("", |open| open.key.as_str()).to_owned();
                let parent = parent.map(|open| open.container);
                let container = self.out.container(parent, &key);
                let key = if sequence { "-" } else { "" }.to_owned();
                self.stack.push(Open { indent, container, sequence, key });
                container
            }
        }
    }

    /// A value that starts on this line; `limit` is the column that its further lines must be deeper than.
    fn value(&mut self, container: usize, key: &str, rest: Range<usize>, limit: usize, document: bool) {
        let (anchor, start) = self.properties(rest.clone());
        let anchor = anchor.as_deref();
        let text = &self.text[start..rest.end];
        let first = text.chars().next();
        let value = match first {
            None | Some('#') => return,
            Some('|') => {
                let lines = self.block(limit, document);
                if is_plain_header(text) { Value::Literal(lines) } else { Value::Other }
            }
            Some('>') => {
                self.block(limit, document);
                Value::Other
            }
            Some('{') if text.starts_with("{{") => {
                self.template(start);
                Value::Template(start)
            }
            Some('{' | '[') => {
                self.at = Flow::read(self, container, key, start);
                return;
            }
            Some('*') => {
                let name = text[1..].split_whitespace().next().unwrap_or_default();
                Value::Alias(name.to_owned())
            }
            Some(quote @ ('"' | '\'')) => self.quoted(quote, start),
            Some(_) => self.plain(start..rest.end),
        };
        // Deeper lines can only go on with this value.
        self.skip_deeper = Some(limit).filter(|_| !matches!(value, Value::Template(_)));
        self.out.entry(container, key, value, anchor);
    }

    /// Skips tags and anchors; returns the anchor and where the value starts.
    pub(super) fn properties(&self, range: Range<usize>) -> (Option<String>, usize) {
        let mut anchor = None;
        let mut at = range.start;
        loop {
            let text = &self.text[at..range.end];
            at += text.len() - text.trim_start().len();
            let text = text.trim_start();
            if !text.starts_with(['&', '!']) {
                return (anchor, at);
            }
            let len = text.find(char::is_whitespace).unwrap_or(text.len());
            if let Some(name) = text[..len].strip_prefix('&') {
                anchor = Some(name.to_owned());
            }
            at += len;
        }
    }

    /// The content of a block scalar: every line that is blank or deeper than `limit`.
    fn block(&mut self, limit: usize, document: bool) -> Vec<Range<usize>> {
        let mut lines: Vec<Range<usize>> = Vec::new();
        let mut indent = None;
        loop {
            let before = self.at;
            let Some(line) = self.next_line() else { break };
            let text = &self.text[line.clone()];
            let depth = text.len() - text.trim_start_matches(' ').len();
            // Templates inside a block may stand anywhere.
            let blank = text.trim().is_empty() || text.trim_start().starts_with("{{");
            let marker = is_marker(text, "---") || is_marker(text, "...");
            let floor = indent.unwrap_or(if document { 0 } else { limit + 1 });
            if !blank && (depth < floor || (document && marker)) {
                self.at = before;
                break;
            }
            if !blank {
                indent.get_or_insert(depth);
            }
            lines.push(line);
        }
        let indent = indent.unwrap_or(0);
        lines.into_iter().map(|line| (line.start + indent).min(line.end)..line.end).collect()
    }

    /// A quoted scalar that starts at `at`, and passes over it.
    fn quoted(&mut self, quote: char, at: usize) -> Value {
        let Some(close) = closing_quote(&self.text[at + 1..], quote).map(|i| at + 1 + i) else {
            self.at = self.text.len();
            return Value::Other;
        };
        let after = &self.text[close + 1..self.line_end(close)];
        if close >= self.at {
            self.at = close;
            self.next_line();
            return Value::Other;
        }
        let ended =
            after.trim().is_empty() || after.trim_start().starts_with('#') && after.starts_with([' ', '\t']);
        match ended {
            true => scalar(self.text, at + 1..close, at..close + 1),
            false => Value::Other,
        }
    }

    fn plain(&self, range: Range<usize>) -> Value {
        let text = &self.text[range.clone()];
        let end = [" #", "\t#"].iter().filter_map(|c| text.find(c)).min().unwrap_or(text.len());
        let range = range.start..range.start + text[..end].trim_end().len();
        scalar(self.text, range.clone(), range)
    }
}
