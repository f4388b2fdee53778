//! What a family of media types can say, and what becomes of the rest.

use std::collections::BTreeSet;

use palan_core::Family;
use serde_json::{Map, Value, json};

use super::Annotations;

/// What is said about a conversion: what a family cannot say, and what was left out.
#[derive(Default)]
pub(super) struct Said {
    pub(super) problems: BTreeSet<String>,
    pub(super) notes: BTreeSet<String>,
}

/// Where members of a document are that Docker's family does not have.
pub(super) struct Members<'a> {
    pub(super) family: Family,
    pub(super) annotations: Annotations,
    /// What the document is, for messages.
    pub(super) name: &'a str,
    pub(super) said: &'a mut Said,
}

impl Members<'_> {
    /// Of a manifest or an index.
    pub(super) fn document(&mut self, json: &mut Map<String, Value>) {
        self.settle(json, "", &["annotations", "artifactType", "subject"]);
    }

    /// Of a descriptor inside it.
    pub(super) fn descriptor(&mut self, json: &mut Value, what: &str) {
        if let Some(json) = json.as_object_mut() {
            self.settle(json, what, &["annotations", "artifactType", "data"]);
        }
    }

    fn settle(&mut self, json: &mut Map<String, Value>, what: &str, members: &[&str]) {
        let what = if what.is_empty() { String::new() } else { format!(" of {what}") };
        for member in members {
            let has = json.get(*member).is_some_and(|v| !v.is_null() && *v != json!({}));
            let goes = match (self.annotations, self.family) {
                (Annotations::Strip, Family::Docker) => true,
                (Annotations::Strip, Family::Oci) => *member == "annotations",
                _ => false,
            };
            if goes {
                json.shift_remove(*member);
            }
            match (has, goes) {
                (true, true) => {
                    self.said.notes.insert(format!("{}: left out: {member}{what}", self.name));
                }
                (true, false) if self.family == Family::Docker => {
                    self.said.problems.insert(format!("{} has {member}{what}", self.name));
                }
                _ => {}
            }
        }
    }
}

/// Annotations of layers that speak of their bytes as they are stored: indexes for lazy pulling, positions in the blob.
/// All keys that begin like this.
const ABOUT_BYTES: [&str; 4] = [
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/overlaybd/blob-",
];

/// Removes the annotations of a descriptor that are about bytes it does not describe any more; gives their keys.
pub(super) fn forget_bytes(descriptor: &mut Map<String, Value>) -> Vec<String> {
    let Some(annotations) = descriptor.get_mut("annotations").and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let is_about_bytes = |key: &&String| ABOUT_BYTES.iter().any(|prefix| key.starts_with(prefix));
    let gone: Vec<String> = annotations.keys().filter(is_about_bytes).cloned().collect();
    gone.iter().for_each(|key| drop(annotations.shift_remove(key)));
    if annotations.is_empty() && !gone.is_empty() {
        descriptor.shift_remove("annotations");
    }
    gone
}
