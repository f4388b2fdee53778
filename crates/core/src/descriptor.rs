//! Descriptors: the arrows of the image graph, image-spec "Content Descriptors".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType, Platform, annotation};

/// Media type, digest and size of some content: the handle by which everything is fetched, checked and copied.
///
/// This is a *view*: unknown fields are ignored when reading. Where a descriptor is carried from one document to
/// another, its JSON value is carried, not this struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// Digest of the content as stored (for a layer: compressed).
    pub digest: Digest,
    /// Size of the content as stored, in bytes.
    pub size: u64,
    /// Where non-distributable content may be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Free-form metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The content itself, base64, when it is embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What an artifact is about (only where it points to a manifest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// For which platform the content is (only inside an index).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: None,
            annotations: None,
            data: None,
            artifact_type: None,
            platform: None,
        }
    }

    /// One annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether this index entry is a BuildKit attestation: marked so by annotation, or for the platform
    /// `unknown/unknown`. Such an entry is not an image, whatever its media type says.
    pub fn is_attestation(&self) -> bool {
        self.annotation(annotation::DOCKER_REFERENCE_TYPE) == Some(annotation::ATTESTATION_MANIFEST)
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// Which manifest an attestation entry is about, when it says so.
    pub fn attested_digest(&self) -> Option<Digest> {
        self.annotation(annotation::DOCKER_REFERENCE_DIGEST)?.parse().ok()
    }
}
