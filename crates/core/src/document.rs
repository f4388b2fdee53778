//! Documents: manifests, indexes and configs kept as the bytes they are.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Algorithm, Descriptor, Digest, Family, MediaType, Role,
    json::{Strict, Style, inexact_number},
};

/// The largest manifest, index or config that palan reads: 4 MiB. distribution-spec: registries may refuse larger
/// manifests, and should accept up to this.
pub const MAX_DOCUMENT_SIZE: u64 = 4 * 1024 * 1024;

/// What a document is, by its media type or, where that is missing, by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Lists manifests.
    Index,
    /// Lists a config and layers.
    Manifest,
    /// Neither: a config or some other JSON object.
    Other,
}

/// A JSON document of an image, byte for byte as it was stored, with its media type and digest.
///
/// [`Document::view`] reads it, [`Document::edit`] makes a changed copy. Key order, unknown fields and the layout
/// of the text (indentation, final newline) survive an edit; a document that an edit leaves equal keeps its bytes.
///
/// ```
/// use palan_core::{Document, MediaType};
/// let bytes = br#"{"schemaVersion":2,"x-mine":[1,2],"config":{},"layers":[]}"#.as_slice();
/// let document = Document::parse(bytes, Some(MediaType::OCI_MANIFEST)).unwrap();
/// let edited = document.edit(|json| { json.insert("artifactType".into(), "text/x".into()); }).unwrap();
/// assert!(std::str::from_utf8(edited.bytes()).unwrap().contains(r#""x-mine":[1,2]"#));
/// assert_eq!(document.edit(|_| ()).unwrap().digest(), document.digest());
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    bytes: Bytes,
    media_type: MediaType,
    digest: Digest,
    kind: Kind,
}

impl Document {
    /// Checks and keeps `bytes`.
    ///
    /// `declared` is the media type that the descriptor or the `Content-Type` header states; the document's own
    /// `mediaType` must agree with it. Without either, the shape decides. The digest is SHA-256.
    pub fn parse(bytes: impl Into<Bytes>, declared: Option<MediaType>) -> Result<Self, DocumentError> {
        Self::parse_with(bytes, declared, Algorithm::Sha256)
    }

    /// As [`Document::parse`], with the digest algorithm of the descriptor that names the document.
    pub fn parse_with(
        bytes: impl Into<Bytes>,
        declared: Option<MediaType>,
        algorithm: Algorithm,
    ) -> Result<Self, DocumentError> {
        let bytes = bytes.into();
        let json = object(&bytes)?;
        let own = match json.get("mediaType") {
            None => None,
            Some(Value::String(text)) => Some(MediaType::new(text.clone())),
            Some(_) => {
                return Err(DocumentError::Field { field: "mediaType", reason: "is not a string".into() });
            }
        };
        let shape = shape(&json)?;
        // Registries and proxies answer generic types for what they store; only a *document* type can contradict.
        let declared = declared.filter(|d| d.is_document() || d.role() == Role::Config || own.is_none());
        let media_type = match (declared, own) {
            (Some(declared), Some(own)) if declared != own && declared.role() != Role::Config => {
                return Err(DocumentError::MediaTypeMismatch { declared, found: own });
            }
            (Some(declared), _) if declared.role() != Role::Other => declared,
            (_, Some(own)) => own,
            (_, None) => match shape {
                Kind::Index => MediaType::OCI_INDEX,
                Kind::Manifest => MediaType::OCI_MANIFEST,
                Kind::Other => MediaType::new("application/json"),
            },
        };
        let kind = match media_type.role() {
            Role::Index => Kind::Index,
            Role::Manifest => Kind::Manifest,
            Role::LegacyManifest => return Err(DocumentError::Legacy),
            Role::Other => shape,
            _ => Kind::Other,
        };
        if kind != Kind::Other && shape != kind && shape != Kind::Other {
            return Err(DocumentError::Shape { media_type });
        }
        let digest = algorithm.digest(&bytes);
        Ok(Self { bytes, media_type, digest, kind })
    }

    /// A new document written from a value: compact JSON, keys in the value's order.
    pub fn from_value(value: &Value, media_type: MediaType) -> Result<Self, DocumentError> {
        let bytes = serde_json::to_vec(value).map_err(|e| DocumentError::Json(e.to_string()))?;
        Self::parse(bytes, Some(media_type))
    }

    /// The bytes, exactly as stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Which family of media types it belongs to; documents of neither count as OCI.
    pub fn family(&self) -> Family {
        self.media_type.family().unwrap_or(Family::Oci)
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length of the bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Index, manifest or something else.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A descriptor with the three required fields.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.size())
    }

    /// A typed view: see [`crate::view`].
    pub fn view<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        serde_json::from_slice(&self.bytes).map_err(|e| DocumentError::Json(e.to_string()))
    }

    /// The whole document as a JSON object, keys in order.
    pub fn object(&self) -> Result<Map<String, Value>, DocumentError> {
        object(&self.bytes)
    }

    /// A copy, changed by `change`. If the change leaves the JSON value equal, the copy is this document, byte for
    /// byte. Fails, and changes nothing, when the document holds a number that JSON libraries cannot keep exactly.
    pub fn edit(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<Self, DocumentError> {
        self.try_edit(|json| {
            change(json);
            Ok::<_, DocumentError>(())
        })
    }

    /// As [`Document::edit`], for changes that can fail.
    pub fn try_edit<E: From<DocumentError>>(
        &self,
        change: impl FnOnce(&mut Map<String, Value>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let before = self.object()?;
        let mut after = before.clone();
        change(&mut after)?;
        Ok(self.with_object(&Value::Object(before), &Value::Object(after))?)
    }

    /// What does not depend on the change, compiled once.
    fn with_object(&self, before: &Value, after: &Value) -> Result<Self, DocumentError> {
        // `Value` compares objects without regard to key order; the serialised forms do not.
        if before == after && serde_json::to_vec(before).ok() == serde_json::to_vec(after).ok() {
            return Ok(self.clone());
        }
        if let Some(number) = inexact_number(&self.bytes) {
            return Err(DocumentError::InexactNumber { number: number.to_owned(), digest: self.digest });
        }
        let bytes = Style::of(&self.bytes).write(after).map_err(|e| DocumentError::Json(e.to_string()))?;
        let declared = match after.get("mediaType").and_then(Value::as_str) {
            Some(own) if self.kind != Kind::Other => MediaType::new(own),
            _ => self.media_type.clone(),
        };
        Self::parse_with(bytes, Some(declared), self.digest.algorithm())
    }

    /// The same bytes under another media type; for configs, whose media type stands only in their descriptor.
    #[must_use]
    pub fn with_media_type(mut self, media_type: MediaType) -> Self {
        self.media_type = media_type;
        self
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
    if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
        return Err(DocumentError::TooLarge { size: bytes.len() as u64 });
    }
    let Strict(value) = serde_json::from_slice(bytes).map_err(|e| DocumentError::of_json(&e, bytes))?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(DocumentError::Json(format!("a JSON object is expected, found {}", type_name(&other)))),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A document that can be read as a manifest *and* as an index is refused (CVE-2021-41190).
fn shape(json: &Map<String, Value>) -> Result<Kind, DocumentError> {
    let is = |key: &str| json.get(key).is_some_and(|v| !v.is_null());
    match (is("manifests"), is("layers") || (is("config") && is("schemaVersion"))) {
        (true, true) => Err(DocumentError::Ambiguous),
        (true, false) => Ok(Kind::Index),
        (false, true) => Ok(Kind::Manifest),
        (false, false) => Ok(Kind::Other),
    }
}

/// Why bytes are not an acceptable document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than [`MAX_DOCUMENT_SIZE`].
    #[error("the document has {size} bytes, {MAX_DOCUMENT_SIZE} (4 MiB) are allowed")]
    TooLarge {
        /// Its size in bytes; the number read so far when the rest was not.
        size: u64,
    },
    /// Not JSON, or not the JSON expected.
    #[error("not valid: {0}")]
    Json(String),
    /// An HTML page where JSON was expected.
    #[error("an HTML page was found where a JSON document was expected")]
    Html,
    /// A field of the wrong form.
    #[error("field \"{field}\" {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The document says it is something else than its descriptor or header says.
    #[error("declared as {declared}, but its own mediaType is {found}")]
    MediaTypeMismatch {
        /// What the descriptor or header says.
        declared: MediaType,
        /// What the document says.
        found: MediaType,
    },
    /// The document does not look like its media type.
    #[error("the content is not a {media_type}")]
    Shape {
        /// The media type it has.
        media_type: MediaType,
    },
    /// Both an index and a manifest.
    #[error(
        "has both \"manifests\" and \"layers\" or \"config\": it could be read as an index and as a manifest"
    )]
    Ambiguous,
    /// Docker schema 1.
    #[error("Docker schema 1 manifests are not supported yet")]
    Legacy,
    /// A number that rewriting would change.
    #[error(
        "{digest} holds the number {number}, which cannot be rewritten exactly; the document is left alone"
    )]
    InexactNumber {
        /// The number as it stands.
        number: String,
        /// The document.
        digest: Digest,
    },
}

impl DocumentError {
    fn of_json(error: &serde_json::Error, bytes: &[u8]) -> Self {
        let start = bytes.trim_ascii_start();
        let head = start[..start.len().min(15)].to_ascii_lowercase();
        if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
            return Self::Html;
        }
        Self::Json(error.to_string())
    }
}

#[cfg(test)]
mod tests;
