//! palan, the library: copy, inspect, validate, append to and rebase OCI images, wherever they are.
//!
//! *Places* ([`place`]) are where images are: registries, OCI layouts, archives, memory. *Operations* take any place:
//! [`copy`](mod@copy) moves graphs of content, [`rebase`] replaces an image's base, [`base`] finds out what that is,
//! [`verdict`] judges the result before anything is written, [`append`] adds layers, [`flatten`] makes them one,
//! [`pick`] copies them from another image, [`export`] writes what is in them, [`source`] finds bases in Dockerfiles
//! and YAML, [`inspect`] and [`tree`] look, [`validate`] checks every byte.
//!
//! Nothing here prints, reads the environment or knows a home directory; operations tell an [`Observer`] what happens.

pub mod append;
pub mod base;
pub mod cache;
pub mod companions;
pub mod convert;
pub mod copy;
pub mod delete;
pub mod edit;
mod error;
mod event;
pub mod export;
mod files;
pub mod flatten;
mod grow;
mod history;
pub mod image;
pub mod index;
pub mod inspect;
pub mod listings;
pub mod mutate;
mod once;
pub mod pick;
pub mod place;
pub mod rebase;
mod resolve;
pub mod rewrite;
pub mod select;
pub mod source;
mod spool;
pub mod tree;
pub mod validate;
pub mod verdict;

pub use error::Error;
pub use event::{Event, Observer, Transfer};
pub use files::files;
pub use palan_client as client;
pub use palan_core as core;
pub use place::{Location, Places};
