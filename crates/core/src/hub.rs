//! Docker Hub's names.
//!
//! Its images are called `docker.io/…` by people, its registry `index.docker.io` by docker's own files, and its API answers
//! at `registry-1.docker.io`. References have the second name, whichever was typed.

/// The name in references, in the spelling that crane prints, and in docker's files.
pub const REGISTRY: &str = "index.docker.io";
/// The name that people know and write.
pub const SHORT: &str = "docker.io";
/// The host of the API.
pub const API: &str = "registry-1.docker.io";
/// All of its names, that of references first.
pub const NAMES: [&str; 3] = [REGISTRY, SHORT, API];

/// A registry's name as people write it.
pub fn shown(registry: &str) -> &str {
    if registry == REGISTRY { SHORT } else { registry }
}
