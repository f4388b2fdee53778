//! Changing a JSON text without reformatting what does not change.

use std::{fmt, io};

use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value, ser::PrettyFormatter, value::RawValue};

/// How deep values are looked into: an entry of `auths` that does not change keeps its bytes.
const DEPTH: u32 = 2;

/// The text of `json`, in which all that stands in `old` stays as it is written there. A new text is indented with
/// tabs, as docker does.
pub(super) fn rewritten(old: &str, json: &Map<String, Value>) -> io::Result<Vec<u8>> {
    let before = Object::deserialize(&mut serde_json::Deserializer::from_str(old)).ok();
    let item = Item::Object(members(before.as_ref(), json, DEPTH));
    let mut text = Vec::new();
    match indent_of(old) {
        Some(indent) => {
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            item.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
        }
        None => serde_json::to_writer(&mut text, &item)?,
    }
    if old.trim().is_empty() || old.ends_with('\n') {
        text.push(b'\n');
    }
    Ok(text)
}

/// `None`: all on one line.
fn indent_of(text: &str) -> Option<&str> {
    let Some((_, inside)) = text.split_once('{') else { return Some("\t") };
    let line = inside.trim_start_matches([' ', '\r', '\t']).strip_prefix('\n')?;
    let end = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    Some(if end == 0 { "\t" } else { &line[..end] })
}

fn members(old: Option<&Object>, new: &Map<String, Value>, depth: u32) -> Vec<(String, Item)> {
    let before = |key: &str| old.and_then(|o| o.0.iter().find(|(k, _)| k == key)).map(|(_, raw)| &**raw);
    new.iter().map(|(key, value)| (key.clone(), item(before(key), value, depth))).collect()
}

fn item(old: Option<&RawValue>, new: &Value, depth: u32) -> Item {
    let Some(old) = old else { return Item::Value(new.clone()) };
    if serde_json::from_str::<Value>(old.get()).is_ok_and(|before| before == *new) {
        return Item::Raw(old.to_owned());
    }
    match new {
        Value::Object(map) if depth > 1 => {
            let before = serde_json::from_str(old.get()).ok();
            Item::Object(members(before.as_ref(), map, depth - 1))
        }
        _ => Item::Value(new.clone()),
    }
}

enum Item {
    /// As it stands.
    Raw(Box<RawValue>),
    Value(Value),
    Object(Vec<(String, Item)>),
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Value(value) => value.serialize(serializer),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(key, item)| (key, item))),
        }
    }
}

/// The members of an object in order, each as it stands.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after a change of its value.
    fn changed(old: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut json = serde_json::from_str(old).unwrap_or_default();
        change(&mut json);
        String::from_utf8(rewritten(old, &json).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        for text in [
            "{\"a\":1.50, \"b\" : {\"x\": [1,\n2]} }",
            "{\n    \"a\": 1e3,\n    \"b\": {\"x\":\"\\u00e9\"}\n}",
            "{\n\t\"auths\": {\n\t\t\"a.io\": { \"auth\" : \"eDp5\" }\n\t}\n}\n",
        ] {
            let squeezed = |t: &str| t.replace([' ', '\t', '\n'], "");
            assert_eq!(squeezed(&changed(text, |_| ())), squeezed(text));
        }
        let old = "{\n  \"x\": {\"y\" : 1.0},\n  \"auths\": {\n    \"a.io\": { \"auth\" :\"eDp5\" },\n    \"b.io\": {}\n  }\n}";
        let new = changed(old, |json| json["auths"]["b.io"]["auth"] = "dTpw".into());
        let expected = "{\n  \"x\": {\"y\" : 1.0},\n  \"auths\": {\n    \"a.io\": { \"auth\" :\"eDp5\" },\n    \"b.io\": {\n      \"auth\": \"dTpw\"\n    }\n  }\n}";
        assert_eq!(new, expected);
    }

    #[test]
    fn the_layout_stays() {
        let add = |json: &mut Map<String, Value>| drop(json.insert("z".into(), 1.into()));
        for (old, expected) in [
            ("", "{\n\t\"z\": 1\n}\n"),
            ("{}", "{\"z\":1}"),
            ("{\n}\n", "{\n\t\"z\": 1\n}\n"),
            ("{\"a\":1}", "{\"a\":1,\"z\":1}"),
            ("{\r\n    \"a\": 1\r\n}\n", "{\n    \"a\": 1,\n    \"z\": 1\n}\n"),
        ] {
            assert_eq!(changed(old, add), expected, "{old:?}");
        }
    }
}
