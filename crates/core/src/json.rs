//! JSON rules that serde_json does not enforce: no duplicate keys, no numbers that rewriting would change.

use std::{collections::HashSet, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A JSON value in which no object has a key twice. Two parsers would disagree about such a document, and so might
/// the one that checks it and the one that runs it.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct StrictVisitor;

        impl<'de> Visitor<'de> for StrictVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_string<E>(self, v: String) -> Result<Value, E> {
                Ok(v.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut out = Vec::new();
                while let Some(Strict(value)) = seq.next_element()? {
                    out.push(value);
                }
                Ok(Value::Array(out))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut out = serde_json::Map::new();
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    let Strict(value) = map.next_value()?;
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format_args!("duplicate key \"{key}\"")));
                    }
                    out.insert(key, value);
                }
                Ok(Value::Object(out))
            }
        }

        d.deserialize_any(StrictVisitor).map(Strict)
    }
}

/// The first number token that serde_json would write differently than it stands (`1e3`, `1.0e0`, integers beyond 64
/// bits): a document with such a number cannot be rewritten without changing what was not asked for.
pub(crate) fn inexact_number(json: &[u8]) -> Option<&str> {
    let mut i = 0;
    while i < json.len() {
        match json[i] {
            b'"' => {
                i += 1;
                while i < json.len() && json[i] != b'"' {
                    i += if json[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = i;
                while i < json.len() && matches!(json[i], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    i += 1;
                }
                let token = std::str::from_utf8(&json[start..i]).unwrap_or_default();
                let exact =
                    serde_json::from_str::<serde_json::Number>(token).is_ok_and(|n| n.to_string() == token);
                if !exact {
                    return Some(token);
                }
            }
            _ => i += 1,
        }
    }
    None
}

/// How a document is laid out, so that an edit does not reformat what it leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    indent: Option<Vec<u8>>,
    final_newline: bool,
}

impl Style {
    /// Reads the style off the white space after the first brace.
    pub(crate) fn of(json: &[u8]) -> Self {
        let after = json.iter().position(|b| *b == b'{').map_or(&json[..0], |i| &json[i + 1..]);
        let newline =
            after.iter().position(|b| *b == b'\n').filter(|n| after[..*n].iter().all(|b| *b == b'\r'));
        let indent = newline.map(|n| {
            after[n + 1..].iter().take_while(|b| matches!(b, b' ' | b'\t')).copied().collect::<Vec<u8>>()
        });
        Self { indent: indent.filter(|i| !i.is_empty()), final_newline: json.ends_with(b"\n") }
    }

    /// Writes `value` in this style.
    pub(crate) fn write(&self, value: &Value) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::new();
        match &self.indent {
            None => serde_json::to_writer(&mut out, value)?,
            Some(indent) => {
                let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
                let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
                serde::Serialize::serialize(value, &mut serializer)?;
            }
        }
        if self.final_newline {
            out.push(b'\n');
        }
        Ok(out)
    }
}
