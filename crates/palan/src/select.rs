//! Which layers of an image are meant: by number, digest, diff ID or history.

use std::{collections::HashSet, fmt, ops::Range, str::FromStr};

use palan_core::Digest;

use crate::image::Image;

/// Layers of an image, as people name them.
///
/// | written as | means |
/// |---|---|
/// | `3` | the third layer, the lowest being the first |
/// | `2..4` | the layers 2, 3 and 4 |
/// | `sha256:…` | the layer with this digest (as stored), or with this diff ID (uncompressed) |
/// | `history:TEXT` | the layer whose history contains the text, in its command or its comment |
/// | any other text | the same |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerSelector {
    /// One layer, counted from 1.
    Number(usize),
    /// From one layer to another, both included, counted from 1.
    Numbers(usize, usize),
    /// A digest or a diff ID.
    Digest(Digest),
    /// A part of what the history says.
    History(String),
}

/// Why a text names no layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// There is nothing.
    #[error(
        "a layer is named by its number, a range like 2..4, its digest, its diff ID or its history, not by an empty text"
    )]
    Empty,
    /// A number or a range that no image has.
    #[error("\"{0}\" names no layers: they are counted from 1, and a range goes up")]
    Number(String),
    /// A digest that is not one.
    #[error("\"{text}\" names no layer")]
    Digest {
        /// The text.
        text: String,
        /// Why.
        source: palan_core::DigestError,
    },
}

/// An image does not have the layers that a selector means, or has several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{image}: {reason}")]
pub struct Unresolved {
    /// The image.
    pub image: String,
    /// Why.
    pub reason: Reason,
}

/// Why layers cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The image has fewer layers.
    #[error("there is no layer {wanted}, the image has {layers}")]
    TooFew {
        /// The number asked for.
        wanted: usize,
        /// How many there are.
        layers: usize,
    },
    /// Nothing fits.
    #[error("no layer is \"{0}\"")]
    None(LayerSelector),
    /// Its history has not one entry for each layer.
    #[error("\"{0}\" cannot be looked for, because the image's history does not fit its layers")]
    History(LayerSelector),
    /// More than one layer fits.
    #[error("\"{selector}\" is {count} layers: {found}", count = found.len(), found = listed(found))]
    Ambiguous {
        /// What was asked for.
        selector: LayerSelector,
        /// The layers that fit: number, and what the history says.
        found: Vec<String>,
    },
    /// One layer is needed, and several were named.
    #[error("\"{0}\" is several layers, one is needed")]
    Several(LayerSelector),
    /// A layer was named more than once.
    #[error("layer {0} is named twice")]
    Twice(usize),
}

/// The layers that several selectors mean, counted from 0, in the order of the selectors: each once, or it is an error.
pub fn resolve_all(selectors: &[LayerSelector], image: &Image) -> Result<Vec<usize>, Unresolved> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    for selector in selectors {
        for layer in selector.resolve(image)? {
            if !seen.insert(layer) {
                return Err(Unresolved { image: image.name.clone(), reason: Reason::Twice(layer + 1) });
            }
            out.push(layer);
        }
    }
    Ok(out)
}

impl LayerSelector {
    /// The layers meant, counted from 0: never empty, and within the image.
    pub fn resolve(&self, image: &Image) -> Result<Range<usize>, Unresolved> {
        self.find(image).map_err(|reason| Unresolved { image: image.name.clone(), reason })
    }

    /// The one layer meant, counted from 0.
    pub fn resolve_one(&self, image: &Image) -> Result<usize, Unresolved> {
        let found = self.resolve(image)?;
        match found.len() {
            1 => Ok(found.start),
            _ => Err(Unresolved { image: image.name.clone(), reason: Reason::Several(self.clone()) }),
        }
    }

    fn find(&self, image: &Image) -> Result<Range<usize>, Reason> {
        let layers = image.config_view.rootfs.diff_ids.len();
        let range = |first: usize, last: usize| match last <= layers {
            true => Ok(first - 1..last),
            false => Err(Reason::TooFew { wanted: last, layers }),
        };
        match self {
            Self::Number(number) => range(*number, *number),
            Self::Numbers(first, last) => range(*first, *last),
            Self::Digest(digest) => {
                let stored = image.manifest_view.layers.iter().map(|layer| layer.digest);
                let all = stored.zip(image.config_view.rootfs.diff_ids.iter());
                self.only(image, all.map(|(stored, diff_id)| stored == *digest || diff_id == digest))
            }
            Self::History(text) => {
                let history = history(image).ok_or_else(|| Reason::History(self.clone()))?;
                self.only(
                    image,
                    history
                        .into_iter()
                        .map(|at| says(image, at).iter().any(|said| said.contains(text.as_str()))),
                )
            }
        }
    }

    /// The only layer that fits.
    fn only(&self, image: &Image, fits: impl Iterator<Item = bool>) -> Result<Range<usize>, Reason> {
        let found: Vec<usize> = fits.enumerate().filter(|(_, fits)| *fits).map(|(at, _)| at).collect();
        match found[..] {
            [] => Err(Reason::None(self.clone())),
            [at] => Ok(at..at + 1),
            _ => {
                let history = history(image);
                let describe = |at: usize| describe(image, at, history.as_deref());
                let found = found.into_iter().map(describe).collect();
                Err(Reason::Ambiguous { selector: self.clone(), found })
            }
        }
    }
}

/// For each layer, which entry of the history is about it. `None`: the history does not fit the layers.
pub(crate) fn history(image: &Image) -> Option<Vec<usize>> {
    let entries = image.config_view.history.iter().enumerate();
    let about: Vec<usize> = entries.filter(|(_, entry)| !entry.empty_layer).map(|(at, _)| at).collect();
    (about.len() == image.config_view.rootfs.diff_ids.len()).then_some(about)
}

/// What an entry of the history says.
fn says(image: &Image, entry: usize) -> Vec<&str> {
    let entry = image.config_view.history.get(entry);
    entry.into_iter().flat_map(|e| [&e.created_by, &e.comment]).filter_map(Option::as_deref).collect()
}

/// The most of a command that a message shows, in characters.
const SHOWN: usize = 60;

fn describe(image: &Image, layer: usize, history: Option<&[usize]>) -> String {
    let entry = history.and_then(|history| image.config_view.history.get(*history.get(layer)?));
    match entry.and_then(|entry| entry.created_by.as_deref()) {
        None => format!("layer {}", layer + 1),
        Some(command) => {
            let shown: String = command.chars().take(SHOWN).flat_map(char::escape_debug).collect();
            let more = if command.chars().nth(SHOWN).is_some() { "…" } else { "" };
            format!("layer {} ({shown}{more})", layer + 1)
        }
    }
}

/// The most layers that a message lists.
const LISTED: usize = 10;

fn listed(found: &[String]) -> String {
    match found.get(..LISTED) {
        Some(first) if found.len() > LISTED => {
            format!("{} and {} more", first.join(", "), found.len() - LISTED)
        }
        _ => found.join(", "),
    }
}

impl FromStr for LayerSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = |part: &str| match part.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(SelectorError::Number(text.to_owned())),
        };
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            let digest = text.parse();
            return digest
                .map(Self::Digest)
                .map_err(|source| SelectorError::Digest { text: text.to_owned(), source });
        }
        match (text.split_once(".."), text.strip_prefix("history:")) {
            (_, Some("")) => Err(SelectorError::Empty),
            (_, Some(said)) => Ok(Self::History(said.to_owned())),
            (Some((first, last)), _) if is_number(first) && is_number(last) => {
                match (number(first)?, number(last)?) {
                    (first, last) if first <= last => Ok(Self::Numbers(first, last)),
                    _ => Err(SelectorError::Number(text.to_owned())),
                }
            }
            _ if is_number(text) => Ok(Self::Number(number(text)?)),
            _ if text.trim().is_empty() => Err(SelectorError::Empty),
            _ => Ok(Self::History(text.to_owned())),
        }
    }
}

/// As it can be read again.
impl fmt::Display for LayerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Numbers(first, last) => write!(f, "{first}..{last}"),
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::History(text) => match text.parse() {
                Ok(Self::History(same)) if same == *text => f.write_str(text),
                _ => write!(f, "history:{text}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use palan_core::{Document, MediaType};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn id(n: usize) -> Digest {
        Digest::sha256(n.to_string().as_bytes())
    }

    /// Three layers; the second and third have one content in two compressions.
    #[allow(clippy::needless_pass_by_value)]
    fn image(history: serde_json::Value) -> Image {
        let diff_ids = [id(1), id(2), id(2)];
        let config = json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history});
        let config = Document::from_value(&config, MediaType::OCI_CONFIG).unwrap();
        let layer = |n| json!({"mediaType": MediaType::OCI_LAYER_GZIP, "digest": id(n), "size": 1});
        let manifest = json!({
            "schemaVersion": 2, "config": config.descriptor(), "layers": [layer(10), layer(20), layer(30)],
        });
        let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap();
        Image {
            name: "img".into(),
            manifest_view: manifest.view().unwrap(),
            config_view: config.view().unwrap(),
            manifest,
            config,
        }
    }

    fn steps() -> serde_json::Value {
        json!([
            {"created_by": "ADD rootfs"},
            {"created_by": "ENV A=copy", "empty_layer": true},
            {"created_by": "COPY app /app", "comment": "buildkit"},
            {"created_by": "COPY conf /etc", "comment": "buildkit.2"},
        ])
    }

    #[test]
    fn layers_are_found_by_everything_they_are_known_by() {
        let image = image(steps());
        let digest = |n: usize| id(n).to_string();
        for (text, expected) in [
            ("1", 0..1),
            ("3", 2..3),
            ("2..3", 1..3),
            ("1..1", 0..1),
            (digest(1).as_str(), 0..1),
            (digest(10).as_str(), 0..1),
            (digest(30).as_str(), 2..3),
            ("ADD rootfs", 0..1),
            ("app /", 1..2),
            ("buildkit.2", 2..3),
            ("history:conf", 2..3),
        ] {
            let selector: LayerSelector = text.parse().unwrap();
            assert_eq!(selector.resolve(&image), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_layer_is_refused_with_what_there_is() {
        let both = format!("\"{}\" is 2 layers: layer 2 (COPY app /app), layer 3 (COPY conf /etc)", id(2));
        let cases = [
            (steps(), "4", "there is no layer 4, the image has 3"),
            (steps(), "2..9", "there is no layer 9, the image has 3"),
            (steps(), "nothing", "no layer is \"nothing\""),
            (steps(), "ENV A", "no layer is \"ENV A\""),
            (steps(), "COPY", "\"COPY\" is 2 layers: layer 2 (COPY app /app), layer 3 (COPY conf /etc)"),
            (steps(), &id(2).to_string(), &both),
            (
                json!([]),
                "COPY",
                "\"COPY\" cannot be looked for, because the image's history does not fit its layers",
            ),
            (json!([]), &id(2).to_string(), &format!("\"{}\" is 2 layers: layer 2, layer 3", id(2))),
        ];
        for (history, text, expected) in cases {
            let error = text.parse::<LayerSelector>().unwrap().resolve(&image(history)).unwrap_err();
            assert_eq!(error.to_string(), format!("img: {expected}"), "{text}");
        }
        let error = LayerSelector::Numbers(1, 2).resolve_one(&image(steps())).unwrap_err();
        assert_eq!(error.to_string(), "img: \"1..2\" is several layers, one is needed");
        assert_eq!(LayerSelector::Numbers(2, 2).resolve_one(&image(steps())), Ok(1));
    }

    #[test]
    fn long_commands_are_cut_and_escaped() {
        let steps = json!([{"created_by": format!("x\u{1b}{}", "é".repeat(100))}, {"created_by": "x"}, {}]);
        let error = LayerSelector::History("x".into()).resolve(&image(steps)).unwrap_err().to_string();
        assert!(error.contains("(x\\u{1b}é") && error.contains("é…)") && error.len() < 250, "{error}");
    }

    #[test]
    fn texts_that_name_nothing() {
        for text in ["", " ", "0", "0..2", "3..2", "99999999999999999999999", "sha256:abc", "history:"] {
            assert!(text.parse::<LayerSelector>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_again(text in "(history:)?([0-9]{0,3}(\\.\\.)?[0-9]{0,2}|\\PC{0,9}|sha256:[a-f0-9]{0,64})") {
            if let Ok(selector) = text.parse::<LayerSelector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }
    }
}
