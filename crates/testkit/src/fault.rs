//! A registry that fails as scripted.
