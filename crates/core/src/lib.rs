//! The nouns of OCI images, without I/O, without async, without C.
//!
//! An image is JSON plus tarballs: an [image index](view::Index) lists [manifests](view::Manifest) for several
//! [platforms](Platform); a manifest lists a [config](view::Config) and layers. Each arrow of that graph is a
//! [`Descriptor`]: media type, digest, size.
//!
//! The one idea to know is [`Document`]: it keeps the bytes of a manifest, index or config exactly as they were
//! stored, and offers typed *views* for reading and *edits* that change only what is asked for. A document that is
//! not edited keeps its bytes, and therefore its digest.
//!
//! Specifications: [OCI image-spec 1.1](https://github.com/opencontainers/image-spec) and
//! [OCI distribution-spec 1.1](https://github.com/opencontainers/distribution-spec).

pub mod annotation;
mod descriptor;
mod digest;
mod document;
pub mod hub;
mod json;
mod media_type;
mod platform;
mod reference;
mod verify;
pub mod view;

pub use bytes::Bytes;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher, chain_ids};
pub use document::{Document, DocumentError, Kind, MAX_DOCUMENT_SIZE};
pub use media_type::{Compression, Family, MediaType, Role};
pub use platform::{Platform, PlatformError, PlatformPattern};
pub use reference::{Part, Reference, ReferenceError, Repository, Selector, validate_tag};
pub use verify::{Mismatch, Verifier};
