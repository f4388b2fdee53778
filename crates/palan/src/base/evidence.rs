//! What detection answers.

use palan_core::{Digest, Document, Reference};
use serde::Serialize;

/// Why something is believed to be an image's base, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// The buildpacks lifecycle's label.
    LifecycleLabel,
    /// Annotations of the image's manifest.
    ManifestAnnotation,
    /// Annotations of the image's entry in its index.
    DescriptorAnnotation,
    /// Annotations of the index.
    IndexAnnotation,
    /// Labels of the config.
    Label,
    /// A provenance attestation.
    Provenance,
    /// The index of known bases.
    KnownBase,
}

impl Evidence {
    /// The name in reports: `manifest-annotation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LifecycleLabel => "lifecycle-label",
            Self::ManifestAnnotation => "manifest-annotation",
            Self::DescriptorAnnotation => "descriptor-annotation",
            Self::IndexAnnotation => "index-annotation",
            Self::Label => "label",
            Self::Provenance => "provenance",
            Self::KnownBase => "known-base",
        }
    }

    /// Whether it was written about this image, and not handed down from its base or found among several.
    pub(crate) fn is_direct(self) -> bool {
        self < Self::Label
    }
}

/// How sure it is that the base is the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The base's diff IDs, and so its chain ID, are the first of the image's. They were read from the base itself, or
    /// kept in the index of known bases when it was there.
    Verified,
    /// The builder wrote down which layer is the base's last, and the image has that layer. The base was not read.
    Bounded,
    /// Something says so, and the base could not be read or its tag has moved: where it ends is not known.
    Stated,
}

impl Confidence {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Bounded => "bounded",
            Self::Stated => "stated",
        }
    }
}

/// A base that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Why.
    pub evidence: Evidence,
    /// How sure.
    pub confidence: Confidence,
    /// Its name, with the tag where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Reference>,
    /// Digest of its manifest; of a base that is only [`Confidence::Stated`], the digest that was stated, which may be
    /// an index's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Digest of the index that lists it, where one was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_digest: Option<Digest>,
    /// How many of the image's layers are its; always there unless it is only stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary: Option<usize>,
    /// Chain ID of those layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<Digest>,
    /// Other names under which the same layers are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Reference>,
    /// Why it is not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its config, whole or as far as the index of known bases keeps it: always with `config`, `history` and `rootfs`.
    #[serde(skip)]
    pub config: Option<Document>,
}

impl Found {
    /// Its name, or its digest where it has none.
    pub fn shown(&self) -> String {
        match (&self.name, self.digest) {
            (Some(name), _) => name.to_string(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => "an image without a name".to_owned(),
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.confidence != Confidence::Stated
    }
}

/// Something that speaks of another base than the one that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What does.
    pub evidence: Evidence,
    /// The base it speaks of.
    pub base: String,
    /// Why it was not believed.
    pub reason: String,
}

/// The base of one platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformBase {
    /// The platform.
    pub platform: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// How many layers the image has.
    pub layers: usize,
    /// The base; `None`: unknown.
    pub base: Option<Found>,
    /// Whether the image says that it was built on nothing; then it has no base.
    pub scratch: bool,
    /// What speaks of other bases.
    pub conflicts: Vec<Conflict>,
}

impl PlatformBase {
    /// Whether nothing is known about its base.
    pub fn is_unknown(&self) -> bool {
        self.base.is_none() && !self.scratch
    }
}

/// The bases of an image, platform by platform. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// The image as it was named.
    pub image: String,
    /// Digest of the image or index.
    pub digest: Digest,
    /// One for each image of an index, in its order.
    pub platforms: Vec<PlatformBase>,
}

impl Detection {
    /// Whether the base of any platform is unknown.
    pub fn is_unknown(&self) -> bool {
        self.platforms.iter().any(PlatformBase::is_unknown)
    }
}
