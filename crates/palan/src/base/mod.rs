//! Bases: what an image was built from, whether that is still current, and an index of bases that are known.
//!
//! [`detect`](fn@detect) answers with evidence, for every platform. Where tools may say what an image's base is, in
//! order of trust:
//!
//! | evidence | read from |
//! |---|---|
//! | [`Evidence::LifecycleLabel`] | label `io.buildpacks.lifecycle.metadata`: `runImage.topLayer` is the base's last diff ID |
//! | [`Evidence::ManifestAnnotation`], [`Evidence::DescriptorAnnotation`], [`Evidence::IndexAnnotation`] | `org.opencontainers.image.base.name` and `.digest`, image-spec `annotations.md`; the digest of an index or of one platform's image |
//! | [`Evidence::Label`] | the same keys in the config; labels are inherited, so they may speak of the base's base |
//! | [`Evidence::Provenance`] | SLSA provenance v0.2 `materials`, v1 `resolvedDependencies`: the images of all stages |
//! | [`Evidence::KnownBase`] | [`known::KnownBases`]: the longest stack of layers that the image starts with |
//!
//! All of them are candidates only: a base is [`Confidence::Verified`] when its own diff IDs are the first of the
//! image's. What speaks of another base than the one that was found is reported as a [`Conflict`].
//!
//! [`stale`](fn@stale) compares what an image stands on with what the base's tag stands for now.

mod detect;
mod evidence;
mod examine;
pub mod known;
mod lifecycle;
pub(crate) mod pattern;
mod provenance;
mod purl;
mod stale;
mod subject;
pub(crate) mod version;

pub use detect::{Detector, detect};
pub use evidence::{Confidence, Conflict, Detection, Evidence, Found, PlatformBase};
pub use known::KnownBases;
pub use pattern::{Pattern, RepositoryPattern};
pub use stale::{PlatformStale, Stale, Status, stale};
pub use subject::Subject;
