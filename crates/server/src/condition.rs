//! Conditional requests, RFC 9110 §13. The entity tag of content is its digest in quotes.

use http::{HeaderMap, header};
use palan_core::Digest;

/// What the conditions of a read say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Proceed,
    NotModified,
    Failed,
}

/// The `If-Match` and `If-None-Match` of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Conditions {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::of(headers, &header::IF_MATCH),
            if_none_match: Tags::of(headers, &header::IF_NONE_MATCH),
        }
    }

    /// For GET and HEAD of something that exists.
    pub(crate) fn read(&self, current: &Digest) -> Read {
        if self.if_match.as_ref().is_some_and(|tags| !tags.strong(Some(current))) {
            return Read::Failed;
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.weak(Some(current))) {
            return Read::NotModified;
        }
        Read::Proceed
    }

    /// For PUT: whether it may replace `current`.
    pub(crate) fn allow_write(&self, current: Option<&Digest>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.strong(current))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.weak(current))
    }
}

/// The entity tag of content.
pub(crate) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

#[derive(Clone, Debug)]
enum Tags {
    Any,
    List(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &header::HeaderName) -> Option<Self> {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
        if values.is_empty() {
            return None;
        }
        let tags = values.iter().flat_map(|v| v.split(',')).map(|t| t.trim().to_owned());
        let tags: Vec<String> = tags.filter(|t| !t.is_empty()).collect();
        Some(if tags.iter().any(|t| t == "*") { Self::Any } else { Self::List(tags) })
    }

    fn strong(&self, current: Option<&Digest>) -> bool {
        self.contains(current, |tag, current| tag == current)
    }

    fn weak(&self, current: Option<&Digest>) -> bool {
        self.contains(current, |tag, current| tag.strip_prefix("W/").unwrap_or(tag) == current)
    }

    fn contains(&self, current: Option<&Digest>, equal: impl Fn(&str, &str) -> bool) -> bool {
        let Some(current) = current else { return false };
        match self {
            Self::Any => true,
            Self::List(tags) => {
                let current = entity_tag(current);
                tags.iter().any(|tag| equal(tag, &current))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(name: header::HeaderName, value: &str) -> Conditions {
        Conditions::of(&HeaderMap::from_iter([(name, value.parse().unwrap())]))
    }

    #[test]
    fn conditions_follow_rfc_9110() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let one = entity_tag(&a);
        let both = format!("{}, W/{}", entity_tag(&b), one);
        let none = |value: &str| conditions(header::IF_NONE_MATCH, value);
        let only = |value: &str| conditions(header::IF_MATCH, value);
        assert_eq!(none(&one).read(&a), Read::NotModified);
        assert_eq!(none(&both).read(&a), Read::NotModified);
        assert_eq!(none("*").read(&a), Read::NotModified);
        assert_eq!(none(&one).read(&b), Read::Proceed);
        assert_eq!(only(&one).read(&a), Read::Proceed);
        assert_eq!(only(&one).read(&b), Read::Failed);
        assert_eq!(only(&both).read(&a), Read::Failed, "a weak tag never matches strongly");
        let writes = [
            (only(&one), Some(&a), true),
            (only(&one), Some(&b), false),
            (only(&one), None, false),
            (only("*"), Some(&a), true),
            (only("*"), None, false),
            (none("*"), None, true),
            (none("*"), Some(&a), false),
            (none(&one), Some(&a), false),
            (none(&one), Some(&b), true),
            (Conditions::default(), None, true),
        ];
        for (conditions, current, allowed) in writes {
            assert_eq!(conditions.allow_write(current), allowed, "{conditions:?} {current:?}");
        }
    }
}
