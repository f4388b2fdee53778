//! Which tags of a place are copied.

use std::str::FromStr;

use crate::base::pattern;

/// A pattern of tags: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(String);

impl TagPattern {
    /// Whether a tag is meant.
    pub fn matches(&self, tag: &str) -> bool {
        pattern::matches(self.0.as_bytes(), tag.as_bytes())
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TagPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a tag, or a pattern of tags, is expected".to_owned()),
            text => Ok(Self(text.to_owned())),
        }
    }
}

/// A choice of tags.
#[derive(Clone, Debug, Default)]
pub struct TagFilter {
    /// Tags that match one of these; empty: all.
    pub include: Vec<TagPattern>,
    /// But none of these.
    pub exclude: Vec<TagPattern>,
}

impl TagFilter {
    /// Whether a tag is chosen.
    pub fn matches(&self, tag: &str) -> bool {
        let any = |patterns: &[TagPattern]| patterns.iter().any(|p| p.matches(tag));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// The patterns that stand for none of these tags.
    pub fn unmatched<'a>(&'a self, tags: &[String]) -> Vec<&'a str> {
        let idle = self.include.iter().filter(|p| !tags.iter().any(|tag| p.matches(tag)));
        idle.map(TagPattern::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_chosen_by_patterns() {
        let patterns = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<TagPattern>>();
        let tags = ["v1.0", "v1.1", "v1.1-rc1", "v2.0", "latest"];
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&[], &[], &tags),
            (&["v1.*"], &[], &["v1.0", "v1.1", "v1.1-rc1"]),
            (&["v1.*"], &["*-rc?"], &["v1.0", "v1.1"]),
            (&["v1.*", "latest"], &["v1.1*"], &["v1.0", "latest"]),
            (&[], &["*"], &[]),
            (&["v3*"], &[], &[]),
        ];
        for (include, exclude, expected) in cases {
            let filter = TagFilter { include: patterns(include), exclude: patterns(exclude) };
            let found: Vec<_> = tags.into_iter().filter(|tag| filter.matches(tag)).collect();
            assert_eq!(found, expected, "{include:?} {exclude:?}");
        }
        let filter = TagFilter { include: patterns(&["v1*", "v3*"]), exclude: Vec::new() };
        assert_eq!(filter.unmatched(&tags.map(str::to_owned)), ["v3*"]);
        assert!("".parse::<TagPattern>().is_err());
    }
}
