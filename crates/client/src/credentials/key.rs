//! Under which names credentials may stand.

use palan_core::hub;

/// Docker Hub's key in docker's files and helpers.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A repository, as names to look up.
pub(super) struct Resource(Vec<Names>);

/// Names of one and the same thing, the usual one first.
pub(super) struct Names {
    /// Exact keys.
    pub(super) keys: Vec<String>,
    /// For the registry itself: hosts that a key's URL may point to.
    pub(super) hosts: Vec<String>,
}

impl Names {
    /// Whether this is the registry, not a part of it.
    pub(super) fn is_registry(&self) -> bool {
        !self.hosts.is_empty()
    }
}

impl Resource {
    pub(super) fn new(registry: &str, repository: &str) -> Self {
        let hosts = hosts(registry);
        let mut all = Vec::new();
        let mut path = repository;
        while !path.is_empty() {
            let keys = hosts.iter().map(|host| format!("{host}/{path}")).collect();
            all.push(Names { keys, hosts: Vec::new() });
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        all.push(Names { keys: registry_keys(registry), hosts });
        Self(all)
    }

    pub(super) fn longest_first(&self) -> &[Names] {
        &self.0
    }
}

/// The keys of a registry, docker's own first.
pub(super) fn registry_keys(registry: &str) -> Vec<String> {
    let mut keys = hosts(registry);
    if is_docker_hub(registry) {
        keys.insert(0, DOCKER_HUB_KEY.to_owned());
    }
    keys
}

/// The key under which docker stores credentials for `server`: a registry, a part of one, or Docker Hub by any name.
pub(super) fn storage_key(server: &str) -> String {
    if is_docker_hub(server) { DOCKER_HUB_KEY.to_owned() } else { server.to_owned() }
}

fn is_docker_hub(registry: &str) -> bool {
    hub::NAMES.contains(&registry)
}

fn hosts(registry: &str) -> Vec<String> {
    if is_docker_hub(registry) { hub::NAMES.map(str::to_owned).to_vec() } else { vec![registry.to_owned()] }
}

/// The host of a key that is written like a URL: `https://ghcr.io/v2/`, `ghcr.io/v1`. Podman's `quay.io/org` is not.
pub(super) fn url_host(key: &str) -> Option<&str> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = match bare.unwrap_or(key).split_once('/') {
        Some((host, path)) => (host, path),
        None => (bare?, ""),
    };
    let is_api = matches!(path, "v1" | "v1/" | "v2" | "v2/" | "");
    (bare.is_some() || is_api).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_urls() {
        for (key, expected) in [
            ("https://ghcr.io", Some("ghcr.io")),
            ("https://ghcr.io/v2/", Some("ghcr.io")),
            ("http://localhost:5000/anything", Some("localhost:5000")),
            ("ghcr.io/v1/", Some("ghcr.io")),
            ("ghcr.io/", Some("ghcr.io")),
            ("ghcr.io", None),
            ("quay.io/org", None),
            ("", None),
        ] {
            assert_eq!(url_host(key), expected, "{key}");
        }
    }
}
