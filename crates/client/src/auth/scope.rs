//! What a token is asked to allow: `repository:name:pull,push`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Actions by resource (`repository:name`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    pub(crate) fn repository(name: &str, actions: &[&str]) -> Self {
        Self::of(format!("repository:{name}"), actions.iter().copied())
    }

    pub(crate) fn catalog() -> Self {
        Self::of("registry:catalog".into(), ["*"])
    }

    /// The value of a challenge's `scope` parameter: several scopes, separated by spaces.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for scope in text.split_ascii_whitespace() {
            // A repository's name may hold a host with port, so the last colon counts.
            let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
            all.add(&Self::of(resource.to_owned(), actions.split(',')));
        }
        all
    }

    fn of<'a>(resource: String, actions: impl IntoIterator<Item = &'a str>) -> Self {
        let actions = actions.into_iter().filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Self(BTreeMap::from([(resource, actions)]))
    }

    /// Allows what `other` allows, too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
    }

    /// Whether everything that `other` allows is allowed.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(resource, actions)| {
            self.0.get(resource).is_some_and(|own| own.contains("*") || actions.is_subset(own))
        })
    }

    /// Each scope as a token service wants it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            if actions.is_empty() { resource.clone() } else { format!("{resource}:{}", actions.join(",")) }
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_merge_and_print_in_order() {
        for (text, expected) in [
            ("", ""),
            ("repository:a/b:pull", "repository:a/b:pull"),
            ("repository:a:push,pull repository:a:delete", "repository:a:delete,pull,push"),
            ("repository:b:pull repository:a:pull", "repository:a:pull repository:b:pull"),
            ("repository:host:5000/a:pull", "repository:host:5000/a:pull"),
            ("registry:catalog:*", "registry:catalog:*"),
            ("aws", "aws"),
            ("repository:a:", "repository:a"),
        ] {
            assert_eq!(Scopes::parse(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_wider_scope_covers_a_narrower_one() {
        for (wide, narrow, expected) in [
            ("repository:a:pull,push", "repository:a:pull", true),
            ("repository:a:pull", "repository:a:pull,push", false),
            ("repository:a:pull", "repository:b:pull", false),
            ("repository:a:pull repository:b:pull", "repository:b:pull", true),
            ("repository:a:*", "repository:a:delete", true),
            ("repository:a:pull", "", true),
            ("", "repository:a:pull", false),
        ] {
            assert_eq!(Scopes::parse(wide).covers(&Scopes::parse(narrow)), expected, "{wide} / {narrow}");
        }
    }
}
