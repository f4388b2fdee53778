//! Annotation and label keys that palan reads or writes.
//!
//! Sources: [image-spec annotations](https://github.com/opencontainers/image-spec/blob/main/annotations.md),
//! [BuildKit attestation storage](https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md).

/// Fully qualified reference, with tag, of the image that this one is based on.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Digest of the image that this one is based on: of an index or of a platform's manifest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Date and time the image was built, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// Tag of an entry of an OCI layout's `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Title of a file that is stored as a layer of an artifact.
pub const TITLE: &str = "org.opencontainers.image.title";
/// On an index entry written by BuildKit: what the entry is (`attestation-manifest`).
pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// On an index entry written by BuildKit: the digest of the image manifest that the attestation is about.
pub const DOCKER_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The value of [`DOCKER_REFERENCE_TYPE`] that marks an attestation.
pub const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// Full image name that containerd and Docker put on entries of the OCI layouts they save.
pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
/// palan's own, on attestations and referrers that were carried to another image: the digest of the manifest that they
/// were made about.
pub const MADE_ABOUT: &str = "io.github.palan-rs.attestation.made-about";
