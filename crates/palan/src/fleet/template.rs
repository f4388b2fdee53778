//! Templates of tags.

use std::{collections::BTreeSet, fmt, ops::Bound, str::FromStr};

use palan_core::{Digest, Reference, Selector};
use serde::{Deserialize, Serialize};

/// How many digits of a digest stand in a tag.
const DIGITS: usize = 12;
/// The longest tag (distribution-spec).
const LONGEST: usize = 128;

/// A tag with places to fill: `{tag}` (the image's), `{old}` and `{new}` (the first twelve digits of the image's and the
/// result's digest), `{base}` (the new base's tag).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Tag,
    Old,
    New,
    Base,
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid template \"{text}\": {reason}")]
pub struct TemplateError {
    text: String,
    reason: String,
}

impl Template {
    pub(super) fn candidate() -> Self {
        Self(vec![Part::Tag, Part::Text("-palan-".to_owned()), Part::New])
    }

    pub(super) fn backup() -> Self {
        Self(vec![Part::Tag, Part::Text("-before-".to_owned()), Part::New])
    }

    /// Whether the tag names the result: then no other result can have it.
    pub fn names_result(&self) -> bool {
        self.0.contains(&Part::New)
    }

    /// Fills it in. Fails where no tag comes of it; one that is too long is shortened in the image's tag.
    pub fn fill(
        &self,
        image: &Reference,
        old: Digest,
        new: Digest,
        new_base: &Reference,
    ) -> Result<Reference, String> {
        let tag = image.tag().unwrap_or("latest");
        let with = |tag: &str| {
            let mut out = String::new();
            for part in &self.0 {
                match part {
                    Part::Text(text) => out.push_str(text),
                    Part::Tag => out.push_str(tag),
                    Part::Old => out.push_str(&old.hex()[..DIGITS]),
                    Part::New => out.push_str(&new.hex()[..DIGITS]),
                    Part::Base => out.push_str(new_base.tag().unwrap_or("untagged")),
                }
            }
            out
        };
        let whole = with(tag);
        let over = whole.len().saturating_sub(LONGEST);
        let filled = if over == 0 { whole } else { with(&tag[..tag.len().saturating_sub(over)]) };
        palan_core::validate_tag(&filled).map_err(|e| format!("\"{self}\" gives no tag: {e}"))?;
        Ok(image.repository().at(&Selector::Tag(filled)))
    }

    /// Whether the templates that there are without settings could have given this tag to any image: also one that is gone.
    pub(super) fn is_of_default(tag: &str) -> bool {
        let Some((stem, digits)) = tag.len().checked_sub(DIGITS).and_then(|at| tag.split_at_checked(at))
        else {
            return false;
        };
        let stem = ["-palan-", "-before-"].iter().find_map(|between| stem.strip_suffix(between));
        stem.is_some_and(|stem| !stem.is_empty()) && digits.bytes().all(is_digit)
    }

    /// Whether filling it in could have given this tag for one of the others of the same repository.
    pub fn matches(&self, tag: &str, others: &BTreeSet<String>) -> bool {
        let mut reached = BTreeSet::from([0]);
        for part in &self.0 {
            reached = reached.iter().flat_map(|at| part.ends(tag, *at, others)).collect();
        }
        reached.contains(&tag.len())
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl Part {
    /// Where it could end in a tag, when it begins at `at`.
    fn ends(&self, tag: &str, at: usize, others: &BTreeSet<String>) -> Vec<usize> {
        let rest = tag.get(at..).unwrap_or_default();
        let all = |fits: &dyn Fn(&str) -> bool| {
            let ends = (1..=rest.len()).filter(|end| rest.get(..*end).is_some_and(fits));
            ends.map(|end| at + end).collect()
        };
        match self {
            Self::Text(text) if rest.starts_with(text) => vec![at + text.len()],
            Self::Text(_) => Vec::new(),
            Self::Old | Self::New => match rest.as_bytes().get(..DIGITS) {
                Some(digits) if digits.iter().copied().all(is_digit) => vec![at + DIGITS],
                _ => Vec::new(),
            },
            Self::Base => all(&|_| true),
            Self::Tag => all(&|text| {
                let mut from = others.range::<str, _>((Bound::Included(text), Bound::Unbounded));
                let is_start = from.next().is_some_and(|other| other.starts_with(text));
                // One that would have been too long was shortened.
                text != tag && (others.contains(text) || (tag.len() == LONGEST && is_start))
            }),
        }
    }
}

/// Whether a tag has the digits of a digest that templates give it.
pub(super) fn names(tag: &str, digest: Digest) -> bool {
    tag.contains(&digest.hex()[..DIGITS])
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let error = |reason: String| TemplateError { text: text.to_owned(), reason };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, end) =
                after.split_once('}').ok_or_else(|| error("a closing brace is missing".to_owned()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "tag" => Part::Tag,
                "old" => Part::Old,
                "new" => Part::New,
                "base" => Part::Base,
                other => {
                    return Err(error(format!("{{{other}}} is none of {{tag}}, {{old}}, {{new}}, {{base}}")));
                }
            });
            rest = end;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self(parts);
        let digest = Digest::sha256(b"");
        let sample: Reference = "localhost/a:1".parse().map_err(|_| error(String::new()))?;
        template.fill(&sample, digest, digest, &sample).map_err(error)?;
        Ok(template)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Tag => f.write_str("{tag}"),
            Part::Old => f.write_str("{old}"),
            Part::New => f.write_str("{new}"),
            Part::Base => f.write_str("{base}"),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, tag: &str) -> Result<String, String> {
        let template: Template = template.parse().map_err(|e: TemplateError| e.to_string())?;
        let image: Reference = format!("localhost:5000/team/api:{tag}").parse().unwrap();
        let base: Reference = "localhost:5000/base:21".parse().unwrap();
        let filled = template.fill(&image, Digest::sha256(b"old"), Digest::sha256(b"new"), &base)?;
        Ok(filled.tag().unwrap().to_owned())
    }

    #[test]
    fn a_tag_comes_of_it_or_a_reason() {
        let long = "x".repeat(128);
        let short = "x".repeat(128 - "-palan-11507a0e2f5e".len());
        let cases = [
            ("{tag}-palan-{new}", "1.2", Ok("1.2-palan-11507a0e2f5e".to_owned())),
            ("{tag}-on-{base}-{old}", "1.2", Ok("1.2-on-21-9c5c3b0b4c4a".to_owned())),
            ("candidate", "1.2", Ok("candidate".to_owned())),
            ("{tag}-palan-{new}", long.as_str(), Ok(format!("{short}-palan-11507a0e2f5e"))),
            ("{tag", "1", Err("a closing brace is missing")),
            ("{name}", "1", Err("{name} is none of")),
            ("", "1", Err("gives no tag")),
            ("a b", "1", Err("gives no tag")),
            ("-{tag}", "1", Err("gives no tag")),
        ];
        for (template, tag, expected) in cases {
            match (filled(template, tag), expected) {
                (Ok(found), Ok(expected)) => {
                    let digits = |text: &str| text.replace(|c: char| c.is_ascii_hexdigit(), "0");
                    assert_eq!(digits(&found), digits(&expected), "{template}");
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{template}: {found}"),
                (found, expected) => panic!("{template}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn tags_of_the_default_templates_are_recognised_by_themselves() {
        let cases = [
            ("1.2-palan-11507a0e2f5e", true),
            ("1.2-before-11507a0e2f5e", true),
            ("1-palan-11507a0e2f5e-before-11507a0e2f5e", true),
            ("-palan-11507a0e2f5e", false),
            ("1.2-palan-11507A0e2f5e", false),
            ("1.2-palan-11507a0e2f5", false),
            ("1.2-11507a0e2f5e", false),
            ("11507a0e2f5e", false),
            ("1", false),
        ];
        for (tag, expected) in cases {
            assert_eq!(Template::is_of_default(tag), expected, "{tag}");
        }
    }

    #[test]
    fn tags_of_earlier_runs_are_recognised() {
        let long = "x".repeat(128);
        let shortened = format!("{}-palan-11507a0e2f5e", "x".repeat(128 - 19));
        let others: BTreeSet<String> =
            ["1.2", "1", "1.2-palan-11507a0e2f5e", &long].map(str::to_owned).into();
        let cases = [
            ("{tag}-palan-{new}", "1.2-palan-11507a0e2f5e", true),
            ("{tag}-palan-{new}", "1.2-palan-11507a0e2f5e-palan-11507a0e2f5e", true),
            ("{tag}-palan-{new}", "1.3-palan-11507a0e2f5e", false),
            ("{tag}-palan-{new}", "1.2-palan-11507A0e2f5e", false),
            ("{tag}-palan-{new}", "1.2-palan-11507a0e2f5e0", false),
            ("{tag}-palan-{new}", "1.2", false),
            ("{tag}-palan-{new}", shortened.as_str(), true),
            ("{tag}", "1.2", false),
            ("{tag}-on-{base}-{old}", "1-on-21-slim-11507a0e2f5e", true),
            ("{tag}-on-{base}-{old}", "1-on--11507a0e2f5e", false),
            ("candidate", "candidate", true),
        ];
        for (template, tag, expected) in cases {
            let found = template.parse::<Template>().unwrap().matches(tag, &others);
            assert_eq!(found, expected, "{template} {tag}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_filled_in_is_recognised(
            tag in "[a-z0-9][a-z0-9.-]{0,127}",
            base in "[a-z0-9]{1,20}",
            which in 0..4usize,
        ) {
            let template = ["{tag}-palan-{new}", "{old}{tag}", "{base}.{tag}_{new}", "x"][which];
            let template: Template = template.parse().unwrap();
            let image: Reference = format!("localhost/a:{tag}").parse().unwrap();
            let base: Reference = format!("localhost/b:{base}").parse().unwrap();
            let filled = template.fill(&image, Digest::sha256(b"old"), Digest::sha256(b"new"), &base).unwrap();
            let filled = filled.tag().unwrap().to_owned();
            let others = BTreeSet::from([tag.clone(), "z".to_owned(), filled.clone()]);
            proptest::prop_assert!(filled == tag || template.matches(&filled, &others), "{} {}", tag, filled);
        }
    }

    #[test]
    fn a_template_is_written_as_it_was_read() {
        for text in ["{tag}-palan-{new}", "{old}{base}", "fixed"] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
        assert_eq!(Template::candidate(), "{tag}-palan-{new}".parse().unwrap());
        assert_eq!(Template::backup(), "{tag}-before-{new}".parse().unwrap());
    }
}
