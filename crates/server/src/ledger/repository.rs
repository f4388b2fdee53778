//! One repository.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, RwLock},
};

use palan_core::{Digest, Selector};

use super::Manifest;
use crate::name::Name;

pub(super) struct Repository {
    pub(super) name: Name,
    /// Held by whoever changes manifests or tags, or removes blobs: a manifest is checked against what is there when
    /// it becomes visible, and conditions on tags hold.
    pub(super) writing: Mutex<()>,
    pub(super) state: RwLock<State>,
}

impl Repository {
    pub(super) fn new(name: Name) -> Self {
        Self { name, writing: Mutex::default(), state: RwLock::default() }
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Whether anything was ever put here.
    pub(super) known: bool,
    /// Blobs with their size in bytes.
    pub(super) blobs: HashMap<Digest, u64>,
    pub(super) manifests: HashMap<Digest, Arc<Manifest>>,
    pub(super) tags: BTreeMap<String, Digest>,
    /// Subject to the manifests that name it.
    pub(super) referrers: HashMap<Digest, BTreeSet<Digest>>,
}

impl State {
    pub(super) fn resolve(&self, selector: &Selector) -> Option<Digest> {
        match selector {
            Selector::Tag(tag) => self.tags.get(tag).copied(),
            Selector::Digest(digest) => self.manifests.contains_key(digest).then_some(*digest),
        }
    }

    pub(super) fn tags_of(&self, digest: &Digest) -> Vec<String> {
        self.tags.iter().filter(|(_, d)| *d == digest).map(|(tag, _)| tag.clone()).collect()
    }

    pub(super) fn insert(&mut self, manifest: Arc<Manifest>) {
        self.known = true;
        if let Some(subject) = manifest.subject {
            self.referrers.entry(subject).or_default().insert(manifest.descriptor.digest);
        }
        self.manifests.insert(manifest.descriptor.digest, manifest);
    }

    /// Removes a manifest and the tags that point to it.
    pub(super) fn remove(&mut self, digest: &Digest) {
        self.tags.retain(|_, d| d != digest);
        let Some(manifest) = self.manifests.remove(digest) else { return };
        let Some(subject) = manifest.subject else { return };
        if let Some(referrers) = self.referrers.get_mut(&subject) {
            referrers.remove(digest);
            if referrers.is_empty() {
                self.referrers.remove(&subject);
            }
        }
    }
}
