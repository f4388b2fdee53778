//! Which images texts name, for who wants to know and to change nothing.

use palan_core::Reference;

use super::{Kind, dockerfile, yaml};

/// Longer texts are not read: the lists of pods of the largest clusters are shorter.
pub const MAX_LISTED: usize = 32 << 20;

/// An image that a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Counted from 1.
    pub line: usize,
    /// As it is written.
    pub written: String,
    /// The image, or why it is not known which.
    pub image: Result<Reference, String>,
}

/// The images of containers that YAML or JSON names: Kubernetes manifests of every kind, Compose files, Helm values, what
/// `kubectl get pods -o json` prints. Templates are passed over, and what a cluster says about containers that run.
///
/// A text of more than [`MAX_LISTED`] bytes names nothing.
pub fn images(text: &str) -> Vec<Named> {
    if text.len() > MAX_LISTED {
        return Vec::new();
    }
    let mentions = yaml::find(text, None);
    let named = mentions.iter().filter_map(|mention| {
        let (written, image) = mention.container_image()?;
        let image = match image {
            Ok("" | "~" | "null") => return None,
            Ok(text) => text.parse().map_err(|e: palan_core::ReferenceError| e.to_string()),
            Err(reason) => Err(reason.to_owned()),
        };
        Some(Named { line: mention.line, written: written.to_owned(), image })
    });
    named.collect()
}

/// Whether a text is a list of names, and no YAML or JSON: see [`listed`].
pub fn is_list(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let is_key = |line: &str| line.split_whitespace().next().is_some_and(|word| word.ends_with(':'));
    first.is_none_or(|line| !line.starts_with(['{', '[']) && line != "---" && !is_key(line))
}

/// Why images may be missed in a YAML or JSON text, and in which line: JSON that ends too early or is none; YAML that is
/// indented by tabs, which its specification (1.2.2, section 6.1) does not allow.
pub fn unreadable(text: &str) -> Option<(usize, String)> {
    let is_json = text.trim_start().starts_with(['{', '[']) && !text.contains("{{");
    if is_json {
        let documents = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
        let error = documents.filter_map(Result::err).next()?;
        return Some((error.line(), format!("it is no JSON that could be read to its end: {error}")));
    }
    let is_indented = |line: &str| {
        let rest = line.trim_start();
        line.starts_with('\t') && !rest.is_empty() && !rest.starts_with(['#', '{'])
    };
    let line = text.lines().position(is_indented)?;
    Some((
        line + 1,
        "it is indented by tabs, which YAML does not allow: what it names is not known".to_owned(),
    ))
}

/// All references that a text names, bases and others, in order; not what is only known in part.
///
/// A text of more than [`MAX_SIZE`](super::MAX_SIZE) bytes names nothing.
pub fn mentioned(kind: Kind, text: &str) -> Vec<Reference> {
    if text.len() > super::MAX_SIZE {
        return Vec::new();
    }
    let mentions = match kind {
        Kind::Dockerfile => dockerfile::find(text).mentions,
        Kind::Yaml => yaml::find(text, None),
    };
    mentions.iter().filter_map(|mention| mention.text()?.parse().ok()).collect()
}

/// The names in a list, with their lines, counted from 1: separated by white space, `#` begins a comment. A number before
/// a name, as `uniq -c` writes it, is none.
pub fn listed(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(n, line)| {
        // A name of an image has no `#` in it.
        let line = line.split('#').next().unwrap_or_default().trim();
        let counted = line.split_once(char::is_whitespace).filter(|(count, _)| is_number(count));
        let names = counted.map_or(line, |(_, names)| names);
        names.split_whitespace().map(move |name| (n + 1, name))
    })
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, Result<&str, &str>)]) {
        let found = images(text);
        let shown: Vec<_> = found
            .iter()
            .map(|named| (named.line, named.image.as_ref().map(ToString::to_string).map_err(String::as_str)))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(line, image)| (*line, image.map(ToOwned::to_owned))).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn manifests_of_every_kind_name_images() {
        let pod = "spec:\n  initContainers:\n  - image: h.io/a:1\n  containers:\n  - name: x\n    image: h.io/b\n  ephemeralContainers:\n  - {image: h.io/c:3}\n";
        check(pod, &[(3, Ok("h.io/a:1")), (6, Ok("h.io/b:latest")), (8, Ok("h.io/c:3"))]);
        let cron = "kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n            - image: \"h.io/a:1\"\n---\nimage: h.io/b:2\n";
        check(cron, &[(8, Ok("h.io/a:1")), (10, Ok("h.io/b:2"))]);
        let compose = "services:\n  a:\n    image: h.io/a:${TAG:-1}\n  b:\n    build: {context: ., args: {BASE: \"debian:12\"}}\n    image: h.io/b:1\n";
        check(compose, &[(3, Err("has variables of the environment")), (6, Ok("h.io/b:1"))]);
        let helm = "image:\n  registry: h.io\n  repository: a\n  tag: 1.2\nside:\n  image: h.io/b:1\njob:\n  image: {repository: h.io/c}\nnone:\n  image: \"\"\n  pull: {image: null}\n";
        check(helm, &[(4, Ok("h.io/a:1.2")), (6, Ok("h.io/b:1")), (8, Err("its tag is not written here"))]);
        check("image: {{ .Values.image }}\nspec:\n  image: \"{{ .Values.other }}:1\"\n", &[]);
        check(
            "image: NOT ONE\n",
            &[(
                1,
                Err(
                    "invalid reference \"NOT ONE\": repository (at position 0): 'N' is upper case, repository names are lower case",
                ),
            )],
        );
    }

    #[test]
    fn json_of_a_cluster_is_read_and_its_status_is_not() {
        let pod = serde_json::json!({"items": [{
            "metadata": {"annotations": {"last": "{\"image\":\"h.io/no:1\"}"}},
            "spec": {"containers": [{"image": "h.io/a:1", "name": "a"}, {"image": "h.io/b@sha256:0"}]},
            "status": {"containerStatuses": [{"image": "sha256:12", "imageID": "h.io/a@sha256:1"}]},
        }]});
        for text in [pod.to_string(), serde_json::to_string_pretty(&pod).unwrap()] {
            let found = images(&text);
            assert_eq!(found.len(), 2, "{text}");
            assert_eq!(found[0].image.as_ref().unwrap().to_string(), "h.io/a:1");
            assert!(found[1].image.is_err());
        }
    }

    #[test]
    fn a_list_has_comments_and_empty_lines() {
        let text = "# ours\n\n  a:1  # the first\noci:dir:v1\n  12 b:2\nc d\n7\n";
        let found: Vec<_> = listed(text).collect();
        assert_eq!(found, [(3, "a:1"), (4, "oci:dir:v1"), (5, "b:2"), (6, "c"), (6, "d"), (7, "7")]);
    }
}
