//! x
pub mod known;
mod pattern;
mod version;
pub use pattern::Pattern;
