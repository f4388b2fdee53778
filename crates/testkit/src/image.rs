//! Image fixtures.
