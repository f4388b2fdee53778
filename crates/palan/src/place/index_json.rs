//! The entries of an `index.json`: image-spec `image-layout.md`, "index.json file". Layouts and archives share it.

use std::collections::HashSet;

use palan_core::{Descriptor, Digest, Document, Reference, Selector, annotation, view};
use serde_json::{Map, Value, json};

use crate::Error;

/// The tag of an entry: the reference name annotation, image-spec "Pre-defined annotation keys".
pub(super) fn tag_of(entry: &Descriptor) -> Option<&str> {
    entry.annotation(annotation::REF_NAME)
}

/// The full name that containerd and Docker write beside the tag.
pub(super) fn full_name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotation(annotation::CONTAINERD_IMAGE_NAME)
}

/// The entry that a selector stands for; `None`: there is none. A name that stands for several images is an error:
/// nobody can know which one was meant.
pub(super) fn find<'a>(
    entries: &'a [Descriptor],
    selector: &Selector,
    place: &str,
) -> Result<Option<&'a Descriptor>, Error> {
    let name = match selector {
        Selector::Digest(digest) => return Ok(entries.iter().find(|e| e.digest == *digest)),
        Selector::Tag(name) => name,
    };
    let exact = |e: &&Descriptor| [tag_of(e), full_name_of(e)].contains(&Some(name.as_str()));
    let alike =
        |e: &&Descriptor| [tag_of(e), full_name_of(e)].into_iter().flatten().any(|n| same_name(n, name));
    let mut found: Vec<&Descriptor> = entries.iter().filter(exact).collect();
    if found.is_empty() {
        found = entries.iter().filter(alike).collect();
    }
    let digests: HashSet<Digest> = found.iter().map(|e| e.digest).collect();
    if digests.len() > 1 {
        let choices =
            found.iter().map(|e| full_name_of(e).map_or_else(|| e.digest.to_string(), str::to_owned));
        return Err(Error::ChooseOne { place: format!("{name} in {place}"), choices: choices.collect() });
    }
    Ok(found.first().copied())
}

/// A name matches as it stands, or as the same reference in another spelling.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    let parse = |s: &str| s.parse::<Reference>().ok();
    a == b || (a.contains(['/', ':']) && parse(a).is_some() && parse(a) == parse(b))
}

/// The only image among the entries, for locations without a tag. Artifacts about other content (signatures, SBOMs)
/// do not count beside images.
pub(super) fn only(entries: &[Descriptor], place: &str) -> Result<Selector, Error> {
    let images = || entries.iter().filter(|e| e.artifact_type.is_none());
    let candidates: Vec<&Descriptor> = match images().next() {
        Some(_) => images().collect(),
        None => entries.iter().collect(),
    };
    let Some(first) = candidates.first() else {
        return Err(Error::Malformed { place: place.to_owned(), reason: "holds no image".into() });
    };
    if candidates.iter().all(|e| e.digest == first.digest) {
        return Ok(first.digest.into());
    }
    let mut choices: Vec<String> = Vec::new();
    for entry in candidates {
        let name = tag_of(entry).or(full_name_of(entry));
        // Of images with the same tag, the full name tells which is which.
        let name = match full_name_of(entry) {
            Some(full) if name.is_some_and(|n| choices.iter().any(|c| c == n)) => Some(full),
            _ => name,
        };
        choices.push(name.map_or_else(|| entry.digest.to_string(), str::to_owned));
    }
    Err(Error::ChooseOne { place: place.to_owned(), choices })
}

/// The documents among the entries that may refer to `digest`. Both conventions are read: entries of their own, and the
/// list under the fallback tag (distribution-spec "Referrers Tag Schema").
pub(super) fn referrer_candidates(
    entries: &[Descriptor],
    digest: Digest,
    load: impl Fn(&Descriptor) -> Result<Document, Error>,
) -> Vec<Document> {
    let fallback = digest.referrers_tag();
    let list = entries.iter().find(|e| tag_of(e) == Some(&fallback)).and_then(|e| load(e).ok());
    let listed = list.and_then(|list| list.view::<view::Index>().ok()).map(|index| index.manifests);
    let mut seen = HashSet::new();
    let candidates = entries.iter().chain(listed.iter().flatten()).filter(|c| seen.insert(c.digest));
    candidates.filter_map(|c| load(c).ok()).collect()
}

/// Takes the entries that a selector stands for out of an `index.json`. `false`: there are none.
pub(super) fn remove_entries(
    index: &mut Map<String, Value>,
    entries: &[Descriptor],
    selector: &Selector,
) -> bool {
    let names = |e: &Descriptor| [tag_of(e), full_name_of(e)].map(|n| n.map(str::to_owned));
    let named = |e: &Descriptor, same: &dyn Fn(&str) -> bool| names(e).iter().flatten().any(|n| same(n));
    let is_exact = |e: &Descriptor| match selector {
        Selector::Digest(digest) => e.digest == *digest,
        Selector::Tag(tag) => named(e, &|n| n == tag),
    };
    let exact = entries.iter().any(is_exact);
    let is_meant = |e: &Descriptor| match selector {
        Selector::Tag(tag) if !exact => named(e, &|n| same_name(n, tag)),
        _ => is_exact(e),
    };
    let Some(listed) = index.get_mut("manifests").and_then(Value::as_array_mut) else { return false };
    let (before, mut descriptors) = (listed.len(), entries.iter());
    listed.retain(|_| !descriptors.next().is_some_and(is_meant));
    listed.len() < before
}

/// Puts `document` into the entries: one entry per tag, one per untagged root. `false`: nothing had to change.
pub(super) fn add_entry(index: &mut Map<String, Value>, document: &Document, tag: Option<&str>) -> bool {
    let mut entry = json!({
        "mediaType": document.media_type(), "digest": document.digest(), "size": document.size(),
    });
    if let Some(artifact_type) = document.object().ok().and_then(|o| o.get("artifactType").cloned()) {
        entry["artifactType"] = artifact_type;
    }
    if let Some(tag) = tag {
        entry["annotations"] = json!({ annotation::REF_NAME: tag });
    }
    if !index.get("manifests").is_some_and(Value::is_array) {
        index.insert("manifests".into(), json!([]));
    }
    let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) else { return false };
    let Some(tag) = tag else {
        let known = entries.iter().any(|e| e["digest"] == entry["digest"]);
        if !known {
            entries.push(entry);
        }
        return !known;
    };
    let tagged = |e: &Value| {
        let name = e.get("annotations").and_then(|a| a.get(annotation::REF_NAME));
        name.and_then(Value::as_str) == Some(tag)
    };
    let same: Vec<&Value> = entries.iter().filter(|e| tagged(e)).collect();
    if matches!(same.as_slice(), [one] if one["digest"] == entry["digest"]) {
        return false;
    }
    // Other tools leave several entries with one tag behind; from now on it stands for this image.
    let position = entries.iter().position(tagged).unwrap_or(entries.len());
    entries.retain(|e| !tagged(e));
    entries.insert(position, entry);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(n: u32) -> Document {
        let json = json!({"schemaVersion": 2, "config": {}, "layers": [], "n": n});
        Document::from_value(&json, palan_core::MediaType::OCI_MANIFEST).unwrap()
    }

    fn tags(index: &Map<String, Value>) -> Vec<&str> {
        let entries = index["manifests"].as_array().unwrap().iter();
        entries.map(|e| e["annotations"][annotation::REF_NAME].as_str().unwrap_or("-")).collect()
    }

    #[test]
    fn a_tag_has_one_entry_and_keeps_its_position() {
        let mut index = Map::new();
        for (n, tag) in [(1, "a"), (2, "b"), (3, "c")] {
            assert!(add_entry(&mut index, &document(n), Some(tag)));
        }
        // As skopeo and hand-made layouts have it: a second entry with the same tag.
        let again = index["manifests"][1].clone();
        index["manifests"].as_array_mut().unwrap().push(again);
        assert!(add_entry(&mut index, &document(4), Some("b")));
        assert_eq!(tags(&index), ["a", "b", "c"]);
        assert_eq!(index["manifests"][1]["digest"], json!(document(4).digest()));
        assert!(!add_entry(&mut index, &document(4), Some("b")), "nothing changed");
        assert!(!add_entry(&mut index, &document(1), None), "a tagged root is listed already");
        assert!(add_entry(&mut index, &document(9), None));
        assert_eq!(tags(&index), ["a", "b", "c", "-"]);
    }

    #[test]
    fn names_compare_as_references() {
        for (a, b, same) in [
            ("v1", "v1", true),
            ("v1", "v2", false),
            ("docker.io/library/app:v1", "app:v1", true),
            ("docker.io/library/app:latest", "app", true),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", true),
            ("localhost:5000/a/b:v1", "a/b:v1", false),
            ("v1", "V 1", false),
        ] {
            assert_eq!(same_name(a, b), same, "{a} {b}");
        }
    }
}
