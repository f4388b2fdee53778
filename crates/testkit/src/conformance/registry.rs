//! The conformance suite for registries, written from the text of the OCI distribution-spec 1.1 (endpoint ids in front
//! of the check ids), the parts of the 1.2 draft that palan serves, and what the specification leaves to RFC 9110 and
//! to common sense: paging, error codes, conditional requests, concurrency, hostile paths.
//!
//! It speaks plain HTTP to any registry at all that lets anonymous clients push and delete:
//!
//! ```no_run
//! # async fn run() {
//! let report = palan_testkit::conformance::registry::run("http://127.0.0.1:5000").await;
//! report.assert_ok();
//! # }
//! ```

mod abuse;
mod blobs;
mod check;
mod concurrency;
mod conditions;
mod http;
mod lists;
mod manifests;
mod refusals;
mod sets;
mod uploads;

pub use check::{Check, Report};
use check::{Stop, Suite};
use http::{Answer, Http};

/// Runs every check against the registry at `base_url` (`http://host:port`), in repositories with names of its own.
pub async fn run(base_url: &str) -> Report {
    let mut suite = Suite::new(base_url);
    blobs::run(&mut suite).await;
    uploads::run(&mut suite).await;
    manifests::run(&mut suite).await;
    refusals::run(&mut suite).await;
    conditions::run(&mut suite).await;
    lists::run(&mut suite).await;
    concurrency::run(&mut suite).await;
    abuse::run(&mut suite).await;
    suite.report()
}
