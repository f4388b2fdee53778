//! Sources that name a base: Dockerfiles, compose files, Kubernetes manifests and Helm values.
//!
//! [`patch`] finds where a text names the old base and says which bytes make it name the new one. It changes the bytes
//! of the names and nothing else: comments, formatting and line ends stay. What it cannot be certain about it leaves
//! alone, with a reason ([`Outcome::Left`]). [`images`] only lists what YAML names, and [`Kustomization`] says what becomes
//! of that. Pure text, except [`walk()`], which
//! finds the files.

pub mod diff;
mod dockerfile;
mod kustomize;
mod named;
mod settle;
mod swap;
#[cfg(test)]
mod tests;
mod trace;
mod walk;
mod yaml;

use std::{ops::Range, path::Path};

use serde::Serialize;

pub use kustomize::{Kustomization, NewImage};
pub use named::{MAX_LISTED, Named, images, is_list, listed, mentioned, unreadable};
pub use swap::Swap;
pub use walk::{Found, walk};

/// Texts of more bytes are not read: no source that people write is longer.
pub const MAX_SIZE: usize = 4 << 20;

/// How a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Dockerfile or Containerfile.
    Dockerfile,
    /// Compose file, Kubernetes manifest, Helm values or template.
    Yaml,
}

impl Kind {
    /// By the file's name: `Dockerfile`, `Dockerfile.*`, `*.Dockerfile`, `Containerfile*`, `*.yaml`, `*.yml`,
    /// `Kustomization`.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let is = |word: &str| {
            name == word || name.starts_with(&format!("{word}.")) || name.ends_with(&format!(".{word}"))
        };
        match () {
            () if name.ends_with(".dockerignore") || name.ends_with(".containerignore") => None,
            () if name.ends_with(".yaml") || name.ends_with(".yml") || name == "kustomization" => {
                Some(Self::Yaml)
            }
            () if is("dockerfile") || is("containerfile") || name.starts_with("containerfile") => {
                Some(Self::Dockerfile)
            }
            () => None,
        }
    }
}

/// A replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// What is replaced, in bytes from the start of the text; never more than one line. Empty for an addition.
    pub span: Range<usize>,
    /// What stands there afterwards.
    pub text: String,
}

/// A place that names, or may name, the old base.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Counted from 1.
    pub line: usize,
    /// The instruction or key: `FROM`, `COPY --from`, `image`.
    pub what: &'static str,
    /// As it is written: `${BASE}`.
    pub written: String,
    /// What that stands for: `debian:12`.
    pub was: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The bytes to replace, in order; somewhere else than on `line` when the value comes from there. Images that
    /// share a value share its edits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
}

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It names the new base.
    Changed {
        /// The new value: `debian:13`.
        becomes: String,
        /// What else the change touches.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It stays as it is.
    Left {
        /// What is known about it.
        concern: Concern,
        /// Why it stays; reads on from the image's name.
        reason: String,
    },
}

/// What an image that was left alone has to do with the old base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// It is the old base, or another digest of it.
    OldBase,
    /// It may be the old base.
    Unknown,
    /// A template, which may be anything.
    Template,
}

/// What a text names and what would change.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// The places, by line.
    pub images: Vec<Image>,
}

impl Patch {
    /// All replacements, in order, each once.
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self.images.iter().flat_map(|image| image.edits.clone()).collect();
        edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        edits.dedup();
        edits
    }

    /// The text with the replacements made. Edits that do not fit the text, because it is another one, are not made.
    pub fn apply(&self, text: &str) -> String {
        apply(text, &self.edits())
    }
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + 64 * edits.len());
    let mut at = 0;
    for edit in edits {
        let Some(kept) = text.get(at..edit.span.start) else { continue };
        if text.get(edit.span.clone()).is_some() {
            out.push_str(kept);
            out.push_str(&edit.text);
            at = edit.span.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Finds the old base in a text.
///
/// A text of more than [`MAX_SIZE`] bytes is not read. The result of the edits has been read again: every image that
/// changes reads as it should, and every other as before.
pub fn patch(kind: Kind, text: &str, swap: &Swap) -> Patch {
    if text.len() > MAX_SIZE {
        return Patch::default();
    }
    let (mentions, notes) = find(kind, text, swap);
    let before: Vec<Option<String>> = mentions.iter().map(|m| m.text().map(str::to_owned)).collect();
    let mut settled = settle::settle(mentions, swap);
    if !reads_as_wanted(kind, text, swap, &before, &settled) {
        for image in settled.iter_mut().flatten() {
            image.leave("the file would not read as it should afterwards");
        }
    }
    let mut images: Vec<Image> = settled.into_iter().flatten().collect();
    for image in &mut images {
        notes.add(image);
    }
    Patch { images }
}

/// Reads the edited text again and compares what it names.
fn reads_as_wanted(
    kind: Kind,
    text: &str,
    swap: &Swap,
    before: &[Option<String>],
    settled: &[Option<Image>],
) -> bool {
    let images: Vec<Image> = settled.iter().flatten().cloned().collect();
    let edits = Patch { images }.edits();
    if edits.is_empty() {
        return true;
    }
    let (after, _) = find(kind, &apply(text, &edits), swap);
    let wanted = before.iter().zip(settled).map(|(before, image)| match image {
        Some(Image { outcome: Outcome::Changed { becomes, .. }, .. }) => Some(becomes.as_str()),
        _ => before.as_deref(),
    });
    after.iter().map(settle::Mention::text).eq(wanted)
}

impl Image {
    fn leave(&mut self, reason: &str) {
        if matches!(self.outcome, Outcome::Changed { .. }) {
            self.edits.clear();
            self.outcome = Outcome::Left { concern: Concern::OldBase, reason: reason.to_owned() };
        }
    }
}

fn find(kind: Kind, text: &str, swap: &Swap) -> (Vec<settle::Mention>, Notes) {
    match kind {
        Kind::Dockerfile => {
            let found = dockerfile::find(text);
            (found.mentions, Notes { passed_on: found.passed_on, defaults: found.defaults })
        }
        Kind::Yaml => (yaml::find(text, Some(swap)), Notes::default()),
    }
}

/// What else depends on a value that changes.
#[derive(Default)]
struct Notes {
    passed_on: std::collections::BTreeMap<String, usize>,
    defaults: Vec<(Range<usize>, String)>,
}

impl Notes {
    fn add(&self, image: &mut Image) {
        let Outcome::Changed { note, .. } = &mut image.outcome else { return };
        let inside = |edit: &Edit, default: &Range<usize>| {
            default.start <= edit.span.start && edit.span.end <= default.end
        };
        let names = image.edits.iter().filter_map(|edit| {
            let at = self.defaults.partition_point(|(default, _)| default.start <= edit.span.start);
            let (default, name) = self.defaults.get(at.checked_sub(1)?)?;
            inside(edit, default).then_some(name)
        });
        let used = names.filter_map(|name| Some((name, self.passed_on.get(name)?))).next();
        *note = used.map(|(name, line)| format!("ARG {name} is also passed on into a stage on line {line}"));
    }
}
