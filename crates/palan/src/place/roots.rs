//! What an archive that is being written holds besides blobs: documents, and the images that it is for, with their names.

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, Kind, Reference, Selector, view};

use super::{
    PutAs,
    index_json::same_name,
    memory::{check_role, referrers_among},
};
use crate::Error;

/// Documents by digest, and roots in the order that they were put.
#[derive(Default)]
pub(super) struct Roots {
    documents: HashMap<Digest, Document>,
    /// A name belongs to the last one that asked for it.
    named: Vec<(Option<String>, Digest)>,
}

impl Roots {
    /// The document of a digest.
    pub(super) fn get(&self, digest: Digest) -> Option<&Document> {
        self.documents.get(&digest)
    }

    fn find(&self, name: &str) -> Option<Digest> {
        let named = |n: &Option<String>| n.as_deref().is_some_and(|n| same_name(n, name));
        self.named.iter().find(|(n, _)| named(n)).map(|(_, digest)| *digest)
    }

    /// What a selector stands for; `place` is what the archive is called in errors.
    pub(super) fn select(&self, selector: &Selector, place: &str) -> Result<Document, Error> {
        let digest = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(tag) => self.find(tag),
        };
        let found = digest.and_then(|digest| self.documents.get(&digest).cloned());
        found.ok_or_else(|| Error::NotFound { name: selector.to_string(), place: place.to_owned() })
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<String> {
        self.named.iter().filter_map(|(name, _)| name.clone()).collect()
    }

    /// The documents that are about another.
    pub(super) fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Vec<Descriptor> {
        let documents: Vec<Document> = self.documents.values().cloned().collect();
        referrers_among(documents, digest, artifact_type)
    }

    /// Each root once per name, or once without a name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Option<&str>, &Document)> {
        self.named.iter().filter_map(|(name, digest)| Some((name.as_deref(), self.documents.get(digest)?)))
    }

    /// Each root once, with all of its names.
    pub(super) fn images(&self) -> Vec<(Digest, Vec<String>)> {
        let mut images: Vec<(Digest, Vec<String>)> = Vec::new();
        for (name, digest) in &self.named {
            let known = images.iter().position(|(known, _)| known == digest);
            let known = known.unwrap_or_else(|| {
                images.push((*digest, Vec::new()));
                images.len() - 1
            });
            images[known].1.extend(name.clone());
        }
        images
    }

    /// Fails where the role of a document asks for another one under its name.
    pub(super) fn check(&self, role: &PutAs, place: &str) -> Result<(), Error> {
        check_role(place, role, role.tag().and_then(|tag| self.find(tag)))
    }

    /// Puts a document. A name belongs to the last one that asked for it; who had it before stays, without a name.
    pub(super) fn put(&mut self, document: &Document, role: &PutAs, name: Option<String>) {
        self.documents.insert(document.digest(), document.clone());
        if *role != PutAs::Child {
            put_root(&mut self.named, name, document.digest());
        }
    }

    /// All roots and what they name, then `rest`: each once, what is named before what names it.
    pub(super) fn in_order(&self, rest: Vec<Digest>) -> Vec<Digest> {
        let mut order = Order::default();
        for digest in self.named.iter().map(|(_, digest)| *digest).chain(rest) {
            order.add(digest, &self.documents);
        }
        order.list
    }
}

/// Refuses names without a tag: Docker only loads full ones.
pub(super) fn full_name(name: &str, place: &str) -> Result<String, Error> {
    let bad = |reason: String| Error::Malformed {
        place: place.to_owned(),
        reason: format!("\"{name}\" cannot be an image's name in it: {reason}"),
    };
    let reference: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
    reference.base_name().ok_or_else(|| bad("it has no tag".into()))
}

/// What a walk has found so far: each digest once, what is named before what names it.
#[derive(Default)]
struct Order {
    seen: HashSet<Digest>,
    list: Vec<Digest>,
}

impl Order {
    fn add(&mut self, digest: Digest, documents: &HashMap<Digest, Document>) {
        if !self.seen.insert(digest) {
            return;
        }
        if let Some(document) = documents.get(&digest) {
            let manifest =
                document.view::<view::Manifest>().ok().filter(|_| document.kind() == Kind::Manifest);
            let index = document.view::<view::Index>().ok().filter(|_| document.kind() == Kind::Index);
            let blobs = manifest.into_iter().flat_map(|m| std::iter::once(m.config).chain(m.layers));
            let entries = index.into_iter().flat_map(|i| i.manifests);
            blobs.chain(entries).for_each(|named| self.add(named.digest, documents));
        }
        self.list.push(digest);
    }
}

fn put_root(roots: &mut Vec<(Option<String>, Digest)>, name: Option<String>, digest: Digest) {
    if let Some(new) = &name {
        for (old, other) in roots.iter_mut() {
            if *other != digest && old.as_deref().is_some_and(|old| same_name(old, new)) {
                *old = None;
            }
        }
    }
    if !roots.contains(&(name.clone(), digest)) {
        roots.push((name, digest));
    }
    let named: HashSet<Digest> = roots.iter().filter(|(n, _)| n.is_some()).map(|(_, d)| *d).collect();
    let mut unnamed = HashSet::new();
    roots.retain(|(name, digest)| name.is_some() || (!named.contains(digest) && unnamed.insert(*digest)));
}
