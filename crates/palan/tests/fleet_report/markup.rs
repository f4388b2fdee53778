//! A reader of XML and of HTML that is written like XML: it accepts what is well-formed and nothing else.

/// HTML elements without an end tag.
const VOID: [&str; 3] = ["meta", "input", "wbr"];
const ENTITIES: [&str; 5] = ["amp", "lt", "gt", "quot", "#39"];

/// An element, with its attributes, and the text before it.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Name and attributes of each start tag, in order.
    pub(crate) tags: Vec<(String, Vec<(String, String)>)>,
    /// All text, entities resolved.
    pub(crate) text: String,
}

impl Document {
    /// The values of an attribute of an element.
    pub(crate) fn values(&self, element: &str, attribute: &str) -> Vec<&str> {
        let tags = self.tags.iter().filter(|(name, _)| name == element);
        tags.flat_map(|(_, all)| all)
            .filter(|(key, _)| key == attribute)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// Reads a document; panics where it is not well-formed.
pub(crate) fn read(text: &str, is_html: bool) -> Document {
    let (mut found, mut open) = (Document::default(), Vec::<String>::new());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        found.text.push_str(&unescape(before));
        let (tag, after) = tag.split_once('>').unwrap_or_else(|| panic!("tag without end: {}", &tag[..40]));
        rest = after;
        if tag.starts_with(['!', '?']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "end tag at {:?}", &before);
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "element {name:?}");
        found.tags.push((name.to_owned(), read_attributes(attributes)));
        if !is_empty && !(is_html && VOID.contains(&name)) {
            open.push(name.to_owned());
        }
        // HTML: content of these is not markup.
        if is_html && ["style", "script"].contains(&name) {
            let end = rest.find(&format!("</{name}>")).unwrap();
            assert!(!rest[..end].contains("</"), "{name} ends early");
            rest = &rest[end..];
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    found.text.push_str(&unescape(rest));
    found
}

fn read_attributes(text: &str) -> Vec<(String, String)> {
    let (mut out, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let name = &rest[..end];
        assert!(name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'), "attribute {name:?}");
        let value =
            rest[end..].strip_prefix("=\"").map(|rest| rest.split_once('"').expect("value without end"));
        let (value, after) = value.unwrap_or(("", &rest[end..]));
        assert!(out.iter().all(|(other, _)| other != name), "{name} twice");
        out.push((name.to_owned(), unescape(value)));
        rest = after.trim_start();
    }
    out
}

fn unescape(text: &str) -> String {
    assert!(!text.contains(['<', '>', '\u{1b}']), "raw text: {text:?}");
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, after) = part.split_once(';').unwrap_or_else(|| panic!("raw ampersand: {part:?}"));
        let position = ENTITIES.iter().position(|known| *known == entity);
        out.push(['&', '<', '>', '"', '\''][position.unwrap_or_else(|| panic!("entity {entity:?}"))]);
        out.push_str(after);
    }
    out
}
