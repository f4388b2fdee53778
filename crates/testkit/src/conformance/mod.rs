//! Suites that every implementation of an interface must pass.

pub mod registry;
