//! palan, the library: copy, rebase, change, inspect and validate OCI images, wherever they are.
//!
//! *Places* ([`place`]) are where images are: registries, OCI layouts, archives, memory. *Operations* take any place:
//! [`copy`](mod@copy) moves graphs of content, [`rebase`] replaces an image's base, [`base`] finds out what that is,
//! [`verdict`] judges the result before anything is written, [`source`] finds bases in Dockerfiles and YAML.
//! [`append`], [`mutate`], [`edit`], [`flatten`] and [`convert`] change images where they stand, by one engine, [`rewrite`];
//! [`pick`] copies layers from another image, [`index`] puts images together, [`delete`] takes them away. [`export`] writes the
//! files of an image, [`mod@extract`] puts them into a directory, [`inspect`] and [`tree`] look, [`validate`] checks every byte.
//!
//! Nothing here prints, reads the environment or knows a home directory; operations tell an [`Observer`] what happens.

pub mod append;
pub mod base;
pub mod cache;
mod cancel;
pub mod companions;
pub mod convert;
pub mod copy;
pub mod delete;
pub mod documents;
pub mod edit;
mod error;
mod event;
pub mod export;
pub mod extract;
mod files;
pub mod flatten;
pub mod fleet;
mod grow;
mod history;
pub mod image;
pub mod index;
pub mod inspect;
mod instruction;
mod json;
mod kept;
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
pub mod text;
pub mod tree;
pub mod validate;
pub mod verdict;

pub use error::Error;
pub use event::{Event, Observer, Transfer};
pub use files::files;
pub use palan_client as client;
pub use palan_core as core;
pub use palan_layer::Scratch;
pub use place::{Location, Places};
