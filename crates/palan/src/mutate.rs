//! Mutate: change an image's config, annotations and platform.
