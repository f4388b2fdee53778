//! Base hints: the annotations (or labels) by which an image says what it was built on.

use palan_core::{Digest, Reference, annotation};
use serde_json::{Map, Value, json};

/// What an image says of its base, read from one of the four places where tools write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) name: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl Hints {
    /// From something that looks up a key.
    pub(super) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self {
            name: get(annotation::BASE_NAME).filter(|n| !n.is_empty()).map(str::to_owned),
            digest: get(annotation::BASE_DIGEST).and_then(|d| d.parse().ok()),
        }
    }

    /// Fills what is missing from a less trusted place.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self { name: self.name.or(other.name), digest: self.digest.or(other.digest) }
    }

    /// The reference that the name is; images built on nothing say `scratch`.
    pub(super) fn reference(&self) -> Option<Reference> {
        self.name.as_deref().filter(|n| *n != "scratch").and_then(|n| n.parse().ok())
    }
}

/// What a rebased image will say of its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewHints {
    /// Fully qualified, with a tag, never with a digest: a frozen name would make the next rebase by hints do nothing.
    /// `None`: the new base has no name (it was given by digest only, or is a file); an old name is removed then.
    pub(super) name: Option<String>,
    pub(super) digest: Digest,
}

impl NewHints {
    /// Writes both keys into a map of annotations or labels.
    pub(super) fn write(&self, map: &mut Map<String, Value>) {
        match &self.name {
            Some(name) => drop(map.insert(annotation::BASE_NAME.into(), json!(name))),
            None => drop(map.shift_remove(annotation::BASE_NAME)),
        }
        map.insert(annotation::BASE_DIGEST.into(), json!(self.digest));
    }

    /// Writes only where hints were before.
    pub(super) fn refresh(&self, map: Option<&mut Value>) {
        let Some(map) = map.and_then(Value::as_object_mut) else { return };
        if map.contains_key(annotation::BASE_NAME) || map.contains_key(annotation::BASE_DIGEST) {
            self.write(map);
        }
    }
}

/// The map under `key`, made if it is missing.
pub(super) fn map_at<'a>(json: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = json.entry(key).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}
