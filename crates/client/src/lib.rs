//! Speaks the OCI distribution protocol with registries.
//!
//! One [`Client`] serves a whole command, whatever registries it talks to: connections, tokens and what was learnt
//! about each registry are shared by all its clones. [`Client::repository`] gives the operations on one repository.
//!
//! ```no_run
//! # async fn example() -> Result<(), palan_client::Error> {
//! use palan_core::Reference;
//! let image: Reference = "localhost:5000/app:1".parse().unwrap();
//! let client = palan_client::Client::builder().build()?;
//! let document = client.repository(image.repository()).manifest(&image.selector()).await?;
//! println!("{}", document.digest());
//! # Ok(()) }
//! ```
//!
//! What it promises:
//! - everything pulled is checked against digest and size, while it streams; memory does not grow with blob size;
//! - a transfer that is cut is resumed, requests that fail for a moment are repeated, `Retry-After` is honoured;
//! - a registry that is asked too much is asked less: by all, and more again when it answers;
//! - nothing waits for ever: silence longer than the inactivity timeout is an error, slowness is not;
//! - credentials and configured headers go to the registry (and the token service it names) and nowhere else.
//!
//! The library reads no file that was not named by the caller, and no environment variable but those of proxies, where that is
//! allowed, and what the platform's verifier of certificates reads.
//!
//! Specification: [distribution-spec 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md).

mod auth;
mod blob;
mod builder;
mod call;
mod certificates;
mod client;
mod config;
pub mod credentials;
mod error;
mod limit;
mod listing;
mod manifest;
mod mirror;
mod near;
mod pace;
mod referrers;
mod registry;
mod repo;
mod response;
mod retry;
mod secret;
mod tls;
mod trace;
mod transport;
mod uri;
mod warning;
mod wire;

pub use auth::TokenResponse;
pub use blob::{BlobOpener, BlobStream, ByteStream, GrowingBlob, RemoteBlob};
pub use builder::Builder;
pub use client::{Client, Stats};
pub use config::RegistriesConf;
pub use credentials::{CredentialProvider, Credentials};
pub use error::{BoxError, Error, ErrorCode, Fault, StatusError};
pub use futures_util::future::BoxFuture;
pub use limit::{Limit, RateLimit};
pub use manifest::Precondition;
pub use repo::Repo;
pub use secret::Secret;
