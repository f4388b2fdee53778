//! Three sides of a value, and the table that settles them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// One object in the old base, the image and the new base.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) old: &'a Map<String, Value>,
    pub(super) app: &'a Map<String, Value>,
    pub(super) new: &'a Map<String, Value>,
}

impl<'a> Sides<'a> {
    pub(super) fn at(self, key: &str) -> Three<'a> {
        Three { old: self.old.get(key), app: self.app.get(key), new: self.new.get(key) }
    }

    /// All keys that a merge may have to do with: the image's, then those that only the new base has.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        let more = self.new.keys().filter(move |key| !self.app.contains_key(*key));
        self.app.keys().chain(more).map(String::as_str)
    }
}

/// One value in the old base, the image and the new base.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Three<'a> {
    pub(super) old: Option<&'a Value>,
    pub(super) app: Option<&'a Value>,
    pub(super) new: Option<&'a Value>,
}

/// What the table says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The image's stays.
    Keep,
    /// It was inherited: the new base's is taken.
    Inherit,
    /// Both changed it.
    Conflict,
}

/// What is done to a value of the image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Keep,
    Set(Value),
    Remove,
}

impl From<Option<&Value>> for Step {
    fn from(value: Option<&Value>) -> Self {
        value.map_or(Self::Remove, |value| Self::Set(value.clone()))
    }
}

/// The table, for values that may be absent.
pub(super) fn rule<T: PartialEq>(old: &T, app: &T, new: &T) -> Ruling {
    match () {
        () if app == new => Ruling::Keep,
        () if app == old => Ruling::Inherit,
        () if new == old => Ruling::Keep,
        () => Ruling::Conflict,
    }
}

/// What a field's value means: `None` where it says nothing, however it is spelled.
pub(super) fn meaning<'a>(field: &str, value: Option<&'a Value>) -> Option<Cow<'a, Value>> {
    let value = value.filter(|value| !is_empty(value))?;
    match (field, value.as_str()) {
        // Builders differ in how they write that there is none.
        ("WorkingDir", Some(path)) => {
            let path = path.trim_end_matches(['/', '\\']);
            (!path.is_empty() && path != "C:").then(|| Cow::Owned(path.into()))
        }
        _ => Some(Cow::Borrowed(value)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
    }
}
