//! Shapes of images found in the wild.

use palan_core::{Compression, Family};

/// Where an image says what it was built on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hints {
    /// In its manifests' annotations.
    Annotations,
    /// In its configs' labels.
    Labels,
}

pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) compression: Compression,
    /// Whether the base's layers were compressed anew: other digests, same diff IDs.
    pub(super) recompressed: bool,
    /// Not an index: one image, for this architecture.
    pub(super) only: Option<&'static str>,
    /// Attestations in the index; `true`: as artifacts with a subject.
    pub(super) attested: Option<bool>,
    pub(super) hints: Hints,
    pub(super) history: bool,
}

const ORDINARY: Shape = Shape {
    family: Family::Oci,
    compression: Compression::Gzip,
    recompressed: false,
    only: None,
    attested: None,
    hints: Hints::Annotations,
    history: true,
};

/// Services have these in turn; the first is that of bases.
pub(super) const SHAPES: [Shape; 8] = [
    ORDINARY,
    Shape { family: Family::Docker, ..ORDINARY },
    Shape { attested: Some(false), ..ORDINARY },
    Shape { compression: Compression::Zstd, only: Some("amd64"), ..ORDINARY },
    Shape { recompressed: true, ..ORDINARY },
    Shape { hints: Hints::Labels, history: false, ..ORDINARY },
    Shape { attested: Some(true), compression: Compression::Zstd, ..ORDINARY },
    Shape { family: Family::Docker, hints: Hints::Labels, ..ORDINARY },
];
