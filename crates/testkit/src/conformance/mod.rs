//! Suites that every implementation of an interface must pass.

#[cfg(feature = "places")]
pub mod place;
pub mod registry;
