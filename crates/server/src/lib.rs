//! An OCI registry to embed: OCI distribution-spec 1.1 and the cheap parts of the 1.2 draft, in memory or in a
//! directory.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let registry = palan_server::Registry::memory();
//! let server = registry.serve("127.0.0.1:0").await?;
//! println!("docker push {}/my/image", server.host());
//! # server.stop().await; Ok::<_, palan_server::Error>(()) }).unwrap();
//! ```
//!
//! [`Registry`] is also a `tower` service over any `http` body, for programs that have a server of their own.
//!
//! # How it is built
//! A pure router turns method and path into an operation (names contain slashes, so general routers cannot). The
//! *ledger* knows, in memory, which repository holds which blobs, manifests and tags; a *store* keeps content and
//! the ledger's facts, in memory or durably in a directory. Reads of metadata never touch the disk.
//!
//! # What is refused, and what is not
//! * A manifest whose config or layers, or an index whose entries, are not in the same repository is refused with
//!   `MANIFEST_BLOB_UNKNOWN` (the specification allows both). The subject may be missing, and so may
//!   non-distributable layers and layers with `urls`.
//! * A document that states another size for a blob than it has, that can be read both as manifest and as index
//!   (CVE-2021-41190), that repeats a JSON key, or whose `mediaType` is not its `Content-Type`, is refused.
//! * Documents over 4 MiB are refused with 413.
//! * There is no authentication yet: bind to loopback.

mod body;
mod condition;
mod error;
mod handle;
mod incoming;
mod ledger;
mod name;
mod patience;
mod problem;
mod query;
mod range;
mod registry;
mod router;
mod serve;
mod stats;
mod store;
mod sync;
mod upload;

pub use body::Body;
pub use error::Error;
pub use ledger::Damage;
pub use registry::Registry;
pub use serve::Server;
pub use stats::{Logged, RequestKind, Stats};
pub use store::Durability;
