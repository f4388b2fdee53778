//! Base hints: the annotations (or labels) by which an image says what it was built on.

use palan_core::{Digest, Reference, annotation};
use serde_json::{Map, Value, json};

use crate::image::Image;

/// What an image says of its base, read from the places where tools write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) name: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl Hints {
    /// From something that looks up a key.
    pub(crate) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self {
            name: get(annotation::BASE_NAME).filter(|n| !n.is_empty()).map(str::to_owned),
            digest: get(annotation::BASE_DIGEST).and_then(|d| d.parse().ok()),
        }
    }

    /// From an image's manifest.
    pub(crate) fn of_manifest(image: &Image) -> Self {
        Self::read(|key| image.manifest_view.annotations.get(key).map(String::as_str))
    }

    /// From an image's labels.
    pub(crate) fn of_labels(image: &Image) -> Self {
        let labels = image.config_view.config.as_ref().and_then(|c| c.labels.as_ref());
        Self::read(|key| labels?.get(key).map(String::as_str))
    }

    /// Fills what is missing from a less trusted place, unless that speaks of another base: labels are inherited, so
    /// those of an image may tell what its base was built on.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        if self.contradicts(&other) {
            return self;
        }
        Self { name: self.name.or(other.name), digest: self.digest.or(other.digest) }
    }

    fn contradicts(&self, other: &Self) -> bool {
        match (&self.name, &other.name) {
            (Some(a), Some(b)) => a != b && self.reference() != other.reference(),
            (None, _) => self.digest.is_some() && other.digest.is_some() && self.digest != other.digest,
            (Some(_), None) => false,
        }
    }

    /// The reference that the name is; images built on nothing say `scratch`.
    pub(crate) fn reference(&self) -> Option<Reference> {
        self.name.as_deref().filter(|n| *n != "scratch").and_then(|n| n.parse().ok())
    }
}

/// What a rebased image will say of its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewHints {
    /// Fully qualified, with a tag, never with a digest: a frozen name would make the next rebase by hints do nothing.
    /// `None`: the new base has no name (it was given by digest only, or is a file); an old name is removed then.
    pub(crate) name: Option<String>,
    pub(crate) digest: Digest,
}

impl NewHints {
    /// Writes both keys into a map of annotations or labels.
    pub(crate) fn write(&self, map: &mut Map<String, Value>) {
        match &self.name {
            Some(name) => drop(map.insert(annotation::BASE_NAME.into(), json!(name))),
            None => drop(map.shift_remove(annotation::BASE_NAME)),
        }
        map.insert(annotation::BASE_DIGEST.into(), json!(self.digest));
    }

    /// Writes only where hints were before.
    pub(crate) fn refresh(&self, map: Option<&mut Value>) {
        let Some(map) = map.and_then(Value::as_object_mut) else { return };
        if map.contains_key(annotation::BASE_NAME) || map.contains_key(annotation::BASE_DIGEST) {
            self.write(map);
        }
    }
}

/// Removes hints.
pub(crate) fn clear(map: Option<&mut Value>) {
    let Some(map) = map.and_then(Value::as_object_mut) else { return };
    map.shift_remove(annotation::BASE_NAME);
    map.shift_remove(annotation::BASE_DIGEST);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(name: &str, digest: &str) -> Hints {
        Hints {
            name: Some(name.to_owned()).filter(|n| !n.is_empty()),
            digest: Some(Digest::sha256(digest.as_bytes())).filter(|_| !digest.is_empty()),
        }
    }

    #[test]
    fn a_less_trusted_place_adds_to_what_is_said_and_never_mixes_two_bases() {
        let cases = [
            (("", ""), ("a", "1"), ("a", "1")),
            (("a", ""), ("a", "1"), ("a", "1")),
            (("a", ""), ("", "1"), ("a", "1")),
            (("debian", ""), ("docker.io/library/debian:latest", "1"), ("debian", "1")),
            (("a", ""), ("b", "1"), ("a", "")),
            (("", "1"), ("b", "2"), ("", "1")),
            (("", "1"), ("b", "1"), ("b", "1")),
            (("", "1"), ("b", ""), ("b", "1")),
            (("a", "1"), ("a", "2"), ("a", "1")),
        ];
        for (first, second, expected) in cases {
            let found = hints(first.0, first.1).or(hints(second.0, second.1));
            assert_eq!(found, hints(expected.0, expected.1), "{first:?} {second:?}");
        }
    }

    #[test]
    fn scratch_and_nonsense_are_no_references() {
        for name in ["scratch", "Not A Name"] {
            assert_eq!(hints(name, "1").reference(), None);
        }
    }
}
