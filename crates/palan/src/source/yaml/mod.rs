//! Where YAML names images: `image:` of compose files and Kubernetes manifests, Helm's `image:` mappings, build
//! arguments and Dockerfiles inside compose files.

mod flow;
mod scan;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeMap, ops::Range};

use scan::{Scanned, Scanner, Value};

use super::{Swap, dockerfile, settle::Mention, trace::Trace};

/// Every image that the text names; with old and new base, as a rewriting needs it.
pub(super) fn find(text: &str, swap: Option<&Swap>) -> Vec<Mention> {
    let scanned = Scanner::scan(text);
    let mut finder = Finder {
        text,
        swap,
        lines: line_starts(text),
        maps: maps(&scanned),
        scanned: &scanned,
        out: Vec::new(),
    };
    for (number, entry) in scanned.entries.iter().enumerate() {
        finder.entry(number, &entry.key, entry.container);
    }
    for container in 0..scanned.containers.len() {
        finder.split_image(container);
    }
    finder.out.sort_by_key(|mention| mention.line);
    finder.out
}

/// The entries of each container by key; several under one key happen around templates.
type Maps<'a> = Vec<BTreeMap<&'a str, Vec<usize>>>;

fn maps(scanned: &Scanned) -> Maps<'_> {
    let mut out: Maps<'_> = Vec::new();
    out.resize_with(scanned.containers.len(), BTreeMap::new);
    for (number, entry) in scanned.entries.iter().enumerate() {
        if entry.key != "-" {
            out[entry.container].entry(&entry.key).or_default().push(number);
        }
    }
    out
}

/// A mapping or sequence, and the scalars in it.
pub(super) struct Block {
    /// The keys that lead to it; `-` for an item of a sequence.
    pub(super) path: Vec<String>,
    /// Where its first scalar is, counted from 1.
    pub(super) line: usize,
    /// Keys and scalars; the key of an item is `-`.
    pub(super) fields: Vec<(String, String)>,
}

/// All mappings and sequences that have scalars of one line, in their order.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let (scanned, lines) = (Scanner::scan(text), line_starts(text));
    let mut out: BTreeMap<usize, Block> = BTreeMap::new();
    for entry in &scanned.entries {
        let Value::Scalar { text: place, .. } = &entry.value else { continue };
        let block = out.entry(entry.container).or_insert_with(|| Block {
            path: scanned.path(entry.container),
            line: lines.partition_point(|start| *start <= place.start),
            fields: Vec::new(),
        });
        block.fields.push((entry.key.clone(), text[place.clone()].to_owned()));
    }
    out.into_values().collect()
}

struct Finder<'a> {
    text: &'a str,
    swap: Option<&'a Swap>,
    lines: Vec<usize>,
    maps: Maps<'a>,
    scanned: &'a Scanned,
    out: Vec<Mention>,
}

impl<'a> Finder<'a> {
    fn entry(&mut self, number: usize, key: &str, container: usize) {
        let parent = |c: usize| self.scanned.containers[c].parent;
        let named = |c: usize, name: &str| self.scanned.containers[c].key == name;
        let in_image = named(container, "image");
        if self.swap.is_none() && key != "-" && self.is_status(container) {
            return;
        }
        match key {
            "image" => self.image(number, container),
            "reference" if in_image => self.image(number, container),
            "name" if in_image && !self.has(container, &["tag", "repository", "digest"]) => {
                self.image(number, container);
            }
            "dockerfile_inline" => self.inline(number),
            _ if named(container, "args") && parent(container).is_some_and(|c| named(c, "build")) => {
                self.build_argument(number, key == "-");
            }
            _ => {}
        }
    }

    fn has(&self, container: usize, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.maps[container].contains_key(key))
    }

    /// Whether this is what a cluster says about containers that run: it spells their images its own way.
    fn is_status(&self, container: usize) -> bool {
        let above = |c: &usize| self.scanned.containers[*c].parent;
        let mut all = std::iter::successors(Some(container), above);
        all.any(|c| self.scanned.containers[c].key.ends_with("Statuses"))
    }

    /// Whether a name without a tag is of interest.
    fn is_wanted_repository(&self, name: &str) -> bool {
        match self.swap {
            Some(swap) => swap.is_old_repository(name),
            None => name.parse::<palan_core::Repository>().is_ok(),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    fn trace(&self, range: &Range<usize>) -> Trace {
        Trace::at(&self.text[range.clone()], range.start)
    }

    /// `image: NAME`, perhaps by way of an anchor.
    fn image(&mut self, number: usize, container: usize) {
        let mut value = &self.scanned.entries[number].value;
        if let Value::Alias(name) = value {
            match self.scanned.anchors.get(name) {
                // Under `image` it speaks for itself.
                Some(target) if self.scanned.entries[*target].key != "image" => {
                    value = &self.scanned.entries[*target].value;
                }
                _ => return,
            }
        }
        match value {
            Value::Scalar { text, .. } => {
                let (trace, line) = (self.trace(text), self.line(text.start));
                let untagged = self.is_wanted_repository(trace.text());
                let elsewhere = untagged && self.has(container, &["tag", "imageTag", "digest", "version"]);
                self.out.push(match elsewhere {
                    true => Mention::left(line, "image", trace, "its tag may be written in a key beside it"),
                    false if trace.text().contains('$') => compose_variable(line, &trace),
                    false => Mention::image(line, "image", trace.text(), trace.clone()),
                });
            }
            Value::Template(at) => self.template(*at),
            _ => {}
        }
    }

    fn template(&mut self, at: usize) {
        let line = self.text[at..].lines().next().unwrap_or_default().trim();
        self.out.push(Mention::template(self.line(at), "image", line));
    }

    /// A build argument that is a whole reference; a tag alone cannot be known to be the base's.
    fn build_argument(&mut self, number: usize, item: bool) {
        let Value::Scalar { text, .. } = &self.scanned.entries[number].value else { return };
        let skip = match item {
            true => self.text[text.clone()].find('=').map(|i| i + 1),
            false => Some(0),
        };
        let Some(skip) = skip else { return };
        let trace = self.trace(&(text.start + skip..text.end));
        if trace.text().contains([':', '@']) {
            self.out.push(Mention::image(
                self.line(text.start),
                "build argument",
                trace.text(),
                trace.clone(),
            ));
        }
    }

    fn inline(&mut self, number: usize) {
        match &self.scanned.entries[number].value {
            Value::Literal(lines) => {
                let (text, places) = join(self.text, lines);
                let at = |inner: usize| {
                    let line = places.partition_point(|(start, _)| *start <= inner).checked_sub(1)?;
                    let (start, outer) = places.get(line)?;
                    Some(outer + (inner - start))
                };
                let first = lines.first().map_or(0, |line| self.line(line.start) - 1);
                let found = dockerfile::find(&text).mentions;
                self.out.extend(found.into_iter().map(|mention| mention.moved(first, &at)));
            }
            Value::Scalar { text, .. } => {
                let (line, reason) =
                    (self.line(text.start), "a Dockerfile that is not a literal block (|) is not read");
                self.out.push(Mention::unknown(line, "dockerfile_inline", &self.text[text.clone()], reason));
            }
            _ => {}
        }
    }
}

/// `${VERSION:-12}` is the environment's in compose files.
fn compose_variable(line: usize, trace: &Trace) -> Mention {
    let known = trace.text().find('$').unwrap_or(trace.len());
    let reason = "has variables of the environment".to_owned();
    let unknown = dockerfile::Unknown { parts: trace.clone(), known, reason };
    Mention::partly_known(line, "image", trace.text(), unknown)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect()
}

/// The lines as one text, and where each starts in it and in the file.
fn join(text: &str, lines: &[Range<usize>]) -> (String, Vec<(usize, usize)>) {
    let (mut out, mut places) = (String::new(), Vec::new());
    for line in lines {
        places.push((out.len(), line.start));
        out.push_str(&text[line.clone()]);
        out.push('\n');
    }
    (out, places)
}

/// Helm's way: registry, repository, tag and digest in keys of their own.
impl Finder<'_> {
    fn split_image(&mut self, container: usize) {
        let name = ["repository", "name"].into_iter().find(|key| self.has(container, &[key]));
        let in_image = self.scanned.containers[container].key == "image";
        let Some(name) = name.filter(|name| in_image || *name == "repository") else { return };
        // A repository under `image` is worth a word even when its tag is somewhere else.
        let untagged = in_image && name == "repository";
        if !untagged && !self.has(container, &["tag", "digest"]) {
            return;
        }
        let parts = [("registry", ""), (name, "/"), ("tag", ":"), ("digest", "@")];
        let mut scalars: Vec<Option<(Range<usize>, Range<usize>)>> = Vec::new();
        for (key, _) in parts {
            match self.part(container, key) {
                Ok(part) => scalars.push(part),
                Err(Some(at)) => return self.template(at),
                Err(None) => return,
            }
        }
        self.joined(&scalars, parts.map(|(_, before)| before));
    }

    /// The one scalar of a key. The error is where a template is.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn part(
        &self,
        container: usize,
        key: &str,
    ) -> Result<Option<(Range<usize>, Range<usize>)>, Option<usize>> {
        let numbers = self.maps[container].get(key).map(Vec::as_slice).unwrap_or_default();
        match numbers {
            [] => Ok(None),
            [number] => match &self.scanned.entries[*number].value {
                Value::Scalar { text, whole } => Ok(Some((text.clone(), whole.clone()))),
                Value::Template(at) => Err(Some(*at)),
                _ => Err(None),
            },
            _ => Err(None),
        }
    }

    fn joined(&mut self, scalars: &[Option<(Range<usize>, Range<usize>)>], before: [&str; 4]) {
        let mut trace = Trace::default();
        for (scalar, before) in scalars.iter().zip(before) {
            let Some((text, whole)) = scalar else { continue };
            let content = &self.text[text.clone()];
            let nothing = content.is_empty() || (text == whole && ["~", "null"].contains(&content));
            if !nothing {
                if trace.len() > 0 {
                    trace.glue(before);
                }
                trace.write(content, text.start);
            }
        }
        let Some((name, _)) = &scalars[1] else { return };
        let line = scalars[2].as_ref().map_or(name.start, |(tag, _)| tag.start);
        let line = self.line(line);
        let written = trace.text().to_owned();
        let repository = self.is_wanted_repository(&written);
        let pinned = written.contains('@');
        self.out.push(if repository && !self.has_selector(scalars) {
            Mention::left(line, "image", trace, "its tag is not written here")
        } else if self
            .swap
            .is_some_and(|s| s.new_base().digest().is_some() && !pinned && s.concerns(&written))
        {
            Mention::left(line, "image", trace, "has no digest in which the new base's could be written")
        } else {
            let plain =
                scalars[2].as_ref().filter(|(text, whole)| text == whole).map(|(text, _)| text.clone());
            Mention::image(line, "image", &written, trace).with_plain(plain)
        });
    }

    fn has_selector(&self, scalars: &[Option<(Range<usize>, Range<usize>)>]) -> bool {
        scalars[2..].iter().flatten().any(|(text, _)| !text.is_empty())
    }
}
