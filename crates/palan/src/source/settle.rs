//! From images that are named to edits that are safe: one place may serve several images, and all must agree.

use std::{collections::BTreeMap, ops::Range};

use super::{Concern, Edit, Image, Outcome, Swap, dockerfile::Unknown, swap::Answer, trace::Trace};

/// Rounds of taking back what somebody else objects to. Real files need two.
const MAX_ROUNDS: usize = 16;

/// A place that names an image.
pub(super) struct Mention {
    pub(super) line: usize,
    what: &'static str,
    written: String,
    value: Value,
    /// A scalar without quotes, which YAML must not take for a number after the change.
    plain: Option<Range<usize>>,
}

enum Value {
    Image(Trace),
    Unknown(Unknown),
    Template,
    /// The old base, but not to be touched.
    Left(Trace, String),
}

impl Mention {
    pub(super) fn image(line: usize, what: &'static str, written: &str, value: Trace) -> Self {
        Self { line, what, written: written.to_owned(), value: Value::Image(value), plain: None }
    }

    pub(super) fn unknown(line: usize, what: &'static str, written: &str, reason: &str) -> Self {
        let value = Value::Unknown(Unknown { parts: Trace::default(), known: 0, reason: reason.to_owned() });
        Self { line, what, written: written.to_owned(), value, plain: None }
    }

    pub(super) fn template(line: usize, what: &'static str, written: &str) -> Self {
        Self { line, what, written: written.to_owned(), value: Value::Template, plain: None }
    }

    pub(super) fn left(line: usize, what: &'static str, value: Trace, reason: &str) -> Self {
        let written = value.text().to_owned();
        Self { line, what, written, value: Value::Left(value, reason.to_owned()), plain: None }
    }

    /// A value that holds a scalar without quotes.
    pub(super) fn with_plain(self, plain: Option<Range<usize>>) -> Self {
        Self { plain, ..self }
    }

    pub(super) fn partly_known(line: usize, what: &'static str, written: &str, unknown: Unknown) -> Self {
        let value = Value::Unknown(unknown);
        Self { line, what, written: written.to_owned(), value, plain: None }
    }

    /// The same in a text of which this is a part that is written elsewhere.
    pub(super) fn moved(mut self, line: usize, at: &impl Fn(usize) -> Option<usize>) -> Self {
        self.line += line;
        match &mut self.value {
            Value::Image(value) | Value::Left(value, _) => value.move_to(at),
            Value::Unknown(unknown) => unknown.parts.move_to(at),
            Value::Template => {}
        }
        self
    }

    /// The image of a container, as it is written: what it stands for, or why that is not known. Nothing for templates,
    /// and for bases.
    pub(super) fn container_image(&self) -> Option<(&str, Result<&str, &str>)> {
        if self.what != "image" {
            return None;
        }
        match &self.value {
            Value::Image(value) => Some((&self.written, Ok(value.text()))),
            Value::Unknown(unknown) => Some((&self.written, Err(&unknown.reason))),
            Value::Left(_, reason) => Some((&self.written, Err(reason))),
            Value::Template => None,
        }
    }

    fn trace(&self) -> Option<&Trace> {
        match &self.value {
            Value::Image(value) | Value::Left(value, _) => Some(value),
            Value::Unknown(unknown) => Some(&unknown.parts),
            Value::Template => None,
        }
    }

    /// What the mention stands for, as far as it is known.
    pub(super) fn text(&self) -> Option<&str> {
        self.trace().map(Trace::text)
    }

    fn answer(&self, swap: &Swap) -> Option<(Outcome, Vec<Edit>)> {
        let left =
            |concern, reason: &str| Some((Outcome::Left { concern, reason: reason.to_owned() }, vec![]));
        let value = match &self.value {
            Value::Image(value) => value,
            Value::Template => return left(Concern::Template, "is a template"),
            Value::Unknown(Unknown { parts, known, reason }) => {
                let start = &parts.text()[..*known];
                return swap.may_start(start).then(|| left(Concern::Unknown, reason)).flatten();
            }
            Value::Left(_, reason) => return left(Concern::OldBase, reason),
        };
        let replacements = match swap.rewrite(value.text()) {
            Answer::Other => return None,
            Answer::Left(reason) => return left(Concern::OldBase, reason),
            Answer::Rewrite(replacements) => replacements,
        };
        let mut becomes = value.text().to_owned();
        for (range, new) in replacements.iter().rev() {
            becomes.replace_range(range.clone(), new);
        }
        let edits: Result<Vec<_>, _> =
            replacements.into_iter().map(|(range, new)| value.replace(range, &new)).collect();
        match edits {
            Err(reason) => left(Concern::OldBase, reason),
            Ok(edits) => {
                let edits: Vec<Edit> = edits.into_iter().flatten().map(|e| self.quoted(e, value)).collect();
                // What is the new base already needs no word.
                (!edits.is_empty()).then_some((Outcome::Changed { becomes, note: None }, edits))
            }
        }
    }
}

impl Mention {
    /// The edit, in quotes where it would become a number.
    fn quoted(&self, mut edit: Edit, value: &Trace) -> Edit {
        if self.plain.as_ref() == Some(&edit.span) && !is_string(&edit.text, value.text()) {
            edit.text = format!("\"{}\"", edit.text);
        }
        edit
    }
}

/// Whether YAML, in both its versions, takes a plain tag for a string; or for a whole number, where one stood before.
fn is_string(tag: &str, before: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let old = before.split('@').next().and_then(|name| name.rsplit(':').next()).unwrap_or_default();
    let whole = |t: &str| t.len() <= 6 && !t.starts_with('0') && t.bytes().all(|b| b.is_ascii_digit());
    let letters = tag.contains(|c: char| c.is_ascii_alphabetic());
    let word = tag.starts_with(|c: char| c.is_ascii_alphabetic())
        && !WORDS.contains(&tag.to_ascii_lowercase().as_str());
    word || (letters && tag.contains('-')) || tag.matches('.').count() > 1 || (whole(old) && whole(tag))
}

/// A mention with what is planned for it.
struct Planned {
    image: Image,
    edits: Vec<Edit>,
    origins: Vec<Range<usize>>,
    report: bool,
}

/// What becomes of each mention, edits included where all agree; nothing for what does not concern the old base.
pub(super) fn settle(mentions: Vec<Mention>, swap: &Swap) -> Vec<Option<Image>> {
    let mut planned: Vec<Planned> = mentions.into_iter().map(|mention| plan(mention, swap)).collect();
    for round in 0.. {
        let objections = objections(&planned);
        if objections.is_empty() {
            break;
        }
        for one in &mut planned {
            let objection = one.edits.iter().find_map(|edit| objections.get(&edit.span.start));
            if let Some(line) = objection.or((round >= MAX_ROUNDS).then_some(&0)) {
                take_back(one, *line);
            }
        }
    }
    for one in &mut planned {
        one.image.edits = std::mem::take(&mut one.edits);
    }
    planned.into_iter().map(|one| one.report.then_some(one.image)).collect()
}

fn plan(mention: Mention, swap: &Swap) -> Planned {
    let answer = mention.answer(swap);
    let origins = mention.trace().map(|value| value.origins().collect()).unwrap_or_default();
    let was = match &mention.value {
        Value::Image(value) | Value::Left(value, _) => value.text().to_owned(),
        Value::Unknown(_) | Value::Template => mention.written.clone(),
    };
    let report = answer.is_some();
    let (outcome, edits) =
        answer.unwrap_or((Outcome::Left { concern: Concern::Unknown, reason: String::new() }, Vec::new()));
    let (line, what, written) = (mention.line, mention.what, mention.written);
    Planned { image: Image { line, what, written, was, outcome, edits: Vec::new() }, edits, origins, report }
}

/// Edits, by their start, that somebody who uses the same place does not want, with the line of one who objects.
fn objections(planned: &[Planned]) -> BTreeMap<usize, usize> {
    let mut wanted: BTreeMap<usize, &Edit> = BTreeMap::new();
    let mut out = BTreeMap::new();
    for one in planned {
        for edit in &one.edits {
            let there = *wanted.entry(edit.span.start).or_insert(edit);
            if there != edit {
                out.insert(edit.span.start, one.image.line);
            }
        }
    }
    for one in planned {
        for origin in &one.origins {
            // An edit that starts further before reaches in only when it overlaps another that does too.
            let near = wanted.range(..=origin.end).rev().take_while(|(_, e)| e.span.end >= origin.start);
            let touching = near.filter(|(_, edit)| touches(edit, origin) && !one.edits.contains(edit));
            out.extend(touching.map(|(start, _)| (*start, one.image.line)));
        }
    }
    out
}

/// An addition belongs to the byte before it.
fn touches(edit: &Edit, origin: &Range<usize>) -> bool {
    match edit.span.is_empty() {
        true => origin.start < edit.span.start && edit.span.start <= origin.end,
        false => edit.span.start < origin.end && origin.start < edit.span.end,
    }
}

fn take_back(one: &mut Planned, line: usize) {
    if one.edits.is_empty() {
        return;
    }
    one.edits.clear();
    let reason = match line == one.image.line || line == 0 {
        true => "its value is written where other images are written that become something else".to_owned(),
        false => format!("its value is also used by line {line}, which would become something else"),
    };
    one.image.outcome = Outcome::Left { concern: Concern::OldBase, reason };
}
