//! Package URLs of container images, as build tools write them into provenance; purl-spec types `docker` and `oci`.

use palan_core::{Digest, PlatformPattern, Reference};
use percent_encoding::percent_decode_str;

/// An image that a package URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageUrl {
    pub(super) name: Reference,
    pub(super) digest: Option<Digest>,
    pub(super) platform: Option<PlatformPattern>,
}

impl ImageUrl {
    /// `pkg:docker/ghcr.io/org/base@1.2?digest=sha256:…&platform=linux%2Famd64`,
    /// `pkg:oci/base@sha256:…?repository_url=ghcr.io/org/base&tag=1.2`. `None`: it names no image.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix("pkg:")?.trim_start_matches('/').split_once('/')?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (path, version) = match path.rsplit_once('@') {
            Some((path, version)) => (decoded(path)?, Some(decoded(version)?)),
            None => (decoded(path)?, None),
        };
        let qualifier = |key: &str| {
            let pair =
                |pair: &str| pair.split_once('=').filter(|(k, _)| *k == key).and_then(|(_, v)| decoded(v));
            query.split('&').find_map(pair)
        };
        let as_digest = |text: &String| text.parse::<Digest>().ok();
        let digest = qualifier("digest").as_ref().or(version.as_ref()).and_then(as_digest);
        let tag = version.filter(|v| as_digest(v).is_none());
        let (repository, tag) = match kind {
            "docker" => {
                (docker(qualifier("repository_url").as_deref(), path), tag.or_else(|| qualifier("tag")))
            }
            "oci" => (qualifier("repository_url")?, qualifier("tag")),
            _ => return None,
        };
        let name = match (tag, digest) {
            (Some(tag), _) => format!("{repository}:{tag}"),
            (None, Some(digest)) => format!("{repository}@{digest}"),
            (None, None) => repository,
        };
        let platform = qualifier("platform").and_then(|p| p.parse().ok());
        Some(Self { name: name.parse().ok()?, digest, platform })
    }
}

/// The registry may stand in front of the name or in a qualifier.
fn docker(registry: Option<&str>, path: String) -> String {
    let registry = registry.map(|r| r.trim_start_matches("https://").trim_end_matches('/'));
    match registry.filter(|r| !r.is_empty()) {
        Some(registry) if !path.starts_with(registry) => format!("{registry}/{path}"),
        _ => path,
    }
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_from_package_urls() {
        let digest = Digest::sha256(b"x");
        let hub = "index.docker.io/library";
        let cases = [
            ("pkg:docker/alpine@3.18?platform=linux%2Famd64".to_owned(), format!("{hub}/alpine:3.18"), false),
            (
                format!("pkg:docker/alpine@3.18?digest={digest}&platform=linux%2Farm64"),
                format!("{hub}/alpine:3.18"),
                true,
            ),
            (
                format!("pkg:docker/alpine@{}", digest.to_string().replace(':', "%3A")),
                format!("{hub}/alpine@{digest}"),
                true,
            ),
            ("pkg:docker/ghcr.io/org/base@v1".to_owned(), "ghcr.io/org/base:v1".to_owned(), false),
            ("pkg:docker/localhost%3A5000/base@v1".to_owned(), "localhost:5000/base:v1".to_owned(), false),
            (
                "pkg:docker/org/base@v1?repository_url=ghcr.io".to_owned(),
                "ghcr.io/org/base:v1".to_owned(),
                false,
            ),
            (
                format!("pkg:oci/base@{digest}?repository_url=ghcr.io/org/base&tag=v1"),
                "ghcr.io/org/base:v1".to_owned(),
                true,
            ),
        ];
        for (text, name, pinned) in cases {
            let found = ImageUrl::parse(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.name.to_string(), name, "{text}");
            assert_eq!(found.digest, pinned.then_some(digest), "{text}");
            assert_eq!(found.platform.is_some(), text.contains("platform"), "{text}");
        }
        for text in
            ["pkg:golang/x@1", "https://a/b", "pkg:docker/", "pkg:oci/base@1", "pkg:docker/%ff@1", "pkg:"]
        {
            assert_eq!(ImageUrl::parse(text), None, "{text}");
        }
    }
}
