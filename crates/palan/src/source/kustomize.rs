//! Kustomizations: what they take in, and what they make of the names of images.
//!
//! Source: <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>, `resources`, `components`, `patches`,
//! `images`.

use std::path::Path;

use super::yaml::{Block, blocks};

/// What a kustomization says about files and images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kustomization {
    /// Files with manifests, folders with kustomizations, addresses; in their order.
    pub resources: Vec<String>,
    /// Folders whose kustomizations change what this one has gathered.
    pub components: Vec<String>,
    /// What becomes of images, one after the other.
    pub images: Vec<NewImage>,
    /// Whether manifests come of more than these.
    pub generates: bool,
}

/// What becomes of an image. Empty texts change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewImage {
    /// Counted from 1.
    pub line: usize,
    /// The name that is looked for, without tag and digest, as manifests have it.
    pub name: String,
    /// `newName`
    pub new_name: String,
    /// `newTag`
    pub new_tag: String,
    /// `digest`
    pub digest: String,
    /// `tagSuffix`
    pub tag_suffix: String,
}

impl Kustomization {
    /// The names that such a file can have, in the order in which they are looked for in a folder.
    pub const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

    /// Whether a file is one, by its name.
    pub fn is_file(path: &Path) -> bool {
        path.file_name().is_some_and(|name| Self::FILES.iter().any(|file| name == *file))
    }

    /// Reads one. What it does not know, and what is not written as people do, it passes over.
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for block in blocks(text) {
            let Block { path, line, fields } = block;
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let field = |name: &str| {
                let of = fields.iter().find(|(key, _)| key == name);
                of.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let items = || fields.iter().filter(|(key, _)| key == "-").map(|(_, value)| value.clone());
            match path.as_slice() {
                ["resources" | "bases" | "patchesStrategicMerge"] => out.resources.extend(items()),
                ["components"] => out.components.extend(items()),
                ["patches", "-"] => out.resources.extend(Some(field("path")).filter(|path| !path.is_empty())),
                ["images", "-"] => out.images.push(NewImage {
                    line,
                    name: field("name"),
                    new_name: field("newName"),
                    new_tag: field("newTag"),
                    digest: field("digest"),
                    tag_suffix: field("tagSuffix"),
                }),
                ["helmCharts" | "helmChartInflationGenerator" | "generators", ..] => out.generates = true,
                _ => {}
            }
        }
        out
    }
}

impl NewImage {
    /// What becomes of a name that is written in a manifest; `None`: it is another image's.
    pub fn applied(&self, written: &str) -> Option<String> {
        let (name, tag, digest) = split(written);
        if name != self.name {
            return None;
        }
        let (tag, digest) = match (self.new_tag.as_str(), self.digest.as_str()) {
            ("", "") if !self.tag_suffix.is_empty() => (format!("{tag}{}", self.tag_suffix), ""),
            ("", "") => (tag.to_owned(), digest),
            new => (new.0.to_owned(), new.1),
        };
        let mut out = if self.new_name.is_empty() { name } else { &self.new_name }.to_owned();
        for (sign, part) in [(":", tag.as_str()), ("@", digest)] {
            if !part.is_empty() {
                out.push_str(sign);
                out.push_str(part);
            }
        }
        Some(out)
    }

    /// The image that it speaks of, where it says all of its name.
    pub fn alone(&self) -> Option<String> {
        let says_which = !(self.new_tag.is_empty() && self.digest.is_empty());
        self.applied(&self.name).filter(|_| says_which && !self.name.is_empty())
    }
}

/// Name, tag and digest as they are written; empty where there is none.
fn split(written: &str) -> (&str, &str, &str) {
    let (rest, digest) = written.split_once('@').unwrap_or((written, ""));
    let path = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[path..].find(':') {
        Some(colon) => (&rest[..path + colon], &rest[path + colon + 1..], digest),
        None => (rest, "", digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_in_and_what_it_changes_is_read() {
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- app.yaml\n- \"../base\"  # all of it\n\
                    components: [../extra]\npatches:\n- path: more.yaml\n  target: {kind: Deployment}\n- patch: |-\n    - op: add\n\
                    images:\n- name: app\n  newName: h.io/app\n  newTag: \"1.2\"\n- {name: h.io:5000/b, digest: 'sha256:12'}\n\
                    - newTag: v3\n  name: c\nlabels:\n- pairs: {name: x}\n";
        let found = Kustomization::parse(text);
        assert_eq!(found.resources, ["app.yaml", "../base", "more.yaml"]);
        assert_eq!(found.components, ["../extra"]);
        assert!(!found.generates);
        let shown: Vec<_> = found.images.iter().map(|new| (new.line, new.alone().unwrap())).collect();
        let expected = [(13, "h.io/app:1.2"), (16, "h.io:5000/b@sha256:12"), (17, "c:v3")];
        assert_eq!(shown, expected.map(|(line, name)| (line, name.to_owned())));
        assert!(Kustomization::parse("helmCharts:\n- name: x\n").generates);
        assert_eq!(Kustomization::parse("{{ nothing }}\n- a\n"), Kustomization::default());
    }

    #[test]
    fn names_become_what_kustomize_makes_of_them() {
        // newName, newTag, digest, tagSuffix; written; what becomes of it.
        type Case<'a> = ([&'a str; 4], &'a str, Option<&'a str>);
        let cases: [Case<'_>; 11] = [
            (["h.io/a", "", "", ""], "app", Some("h.io/a")),
            (["h.io/a", "", "", ""], "app:1@sha256:0", Some("h.io/a:1@sha256:0")),
            (["", "2", "", ""], "app:1@sha256:0", Some("app:2")),
            (["", "", "sha256:1", ""], "app:1", Some("app@sha256:1")),
            (["h.io/a", "2", "sha256:1", ""], "app", Some("h.io/a:2@sha256:1")),
            (["", "", "", "-x"], "app:1@sha256:0", Some("app:1-x")),
            (["", "2", "", "-x"], "app:1", Some("app:2")),
            (["", "", "", ""], "app:1", Some("app:1")),
            (["", "2", "", ""], "apps:1", None),
            (["", "2", "", ""], "h.io/app:1", None),
            (["", "2", "", ""], "", None),
        ];
        for ([new_name, new_tag, digest, tag_suffix], written, expected) in cases {
            let [new_name, new_tag, digest, tag_suffix] =
                [new_name, new_tag, digest, tag_suffix].map(str::to_owned);
            let new = NewImage { line: 1, name: "app".into(), new_name, new_tag, digest, tag_suffix };
            assert_eq!(new.applied(written).as_deref(), expected, "{new:?} {written}");
        }
        assert_eq!(NewImage { name: "app".into(), ..NewImage::default() }.alone(), None);
        assert_eq!(split("h.io:5000/a"), ("h.io:5000/a", "", ""));
    }
}
