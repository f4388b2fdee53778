//! What palan's own tests share: image fixtures, a registry that fails on script, conformance suites.
//!
//! Not published. Depends on `core` and `layer` only, so that every other crate can use it in its tests; the feature
//! `places` adds the suite for places, which needs the library itself.

pub mod conformance;
pub mod fault;
#[cfg(feature = "places")]
pub mod fleet;
pub mod fuzz;
pub mod image;
pub mod malformed;
pub mod peer;
