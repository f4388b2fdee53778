//! The entries of an `index.json`: image-spec `image-layout.md`, "index.json file". Layouts and archives share it.

use std::collections::HashSet;

use palan_core::{Descriptor, Digest, Document, Platform, Reference, Selector, annotation, view};
use serde::Deserialize as _;
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
    let found: Vec<&Descriptor> = named(entries, name).into_iter().map(|n| &entries[n]).collect();
    let digests: HashSet<Digest> = found.iter().map(|e| e.digest).collect();
    if digests.len() > 1 {
        return Err(ambiguous(&found, name, place));
    }
    Ok(found.first().copied())
}

/// The positions of the entries that a name stands for: those that have it as it stands or, where there are none, the
/// same reference in another spelling.
fn named(entries: &[Descriptor], name: &str) -> Vec<usize> {
    let having = |is: &dyn Fn(&str) -> bool| {
        let has = |e: &Descriptor| [tag_of(e), full_name_of(e)].into_iter().flatten().any(is);
        let found = entries.iter().enumerate().filter(|(_, e)| has(e));
        found.map(|(n, _)| n).collect::<Vec<usize>>()
    };
    let exact = having(&|n| n == name);
    if exact.is_empty() { having(&|n| same_name(n, name)) } else { exact }
}

fn ambiguous(found: &[&Descriptor], name: &str, place: &str) -> Error {
    let choices = found.iter().map(|e| full_name_of(e).map_or_else(|| e.digest.to_string(), str::to_owned));
    Error::ChooseOne { place: format!("{name} in {place}"), choices: choices.collect() }
}

/// A name matches as it stands, or as the same reference in another spelling.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    let parse = |s: &str| s.parse::<Reference>().ok();
    a == b || (a.contains(['/', ':']) && parse(a).is_some() && parse(a) == parse(b))
}

/// The only image among the entries, for locations without a tag. Artifacts about other content (signatures, SBOMs)
/// do not count beside images.
pub(crate) fn only(entries: &[Descriptor], place: &str) -> Result<Selector, Error> {
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
///
/// The entry of a tag is found as it is when it is read, and keeps what others wrote into it. Fails where the tag stands
/// for entries that are not the same image to everybody. `platform`: the document's, for an entry that has one.
pub(super) fn add_entry(
    index: &mut Map<String, Value>,
    document: &Document,
    tag: Option<&str>,
    platform: Option<&Platform>,
    place: &str,
) -> Result<bool, Error> {
    if !index.get("manifests").is_some_and(Value::is_array) {
        index.insert("manifests".into(), json!([]));
    }
    let Some(listed) = index.get_mut("manifests").and_then(Value::as_array_mut) else { return Ok(false) };
    let parsed = listed.iter().map(Descriptor::deserialize).collect::<Result<Vec<_>, _>>();
    let entries = parsed.map_err(|e| Error::Malformed {
        place: place.to_owned(),
        reason: format!("an entry of index.json is no descriptor: {e}"),
    })?;
    let found = match tag {
        Some(tag) => named(&entries, tag),
        None if entries.iter().any(|e| e.digest == document.digest()) => return Ok(false),
        None => Vec::new(),
    };
    let Some((first, others)) = found.split_first() else {
        listed.push(new_entry(document, tag));
        return Ok(true);
    };
    let is_same = |n: &usize| {
        entries[*n].digest == entries[*first].digest
            && full_name_of(&entries[*n]) == full_name_of(&entries[*first])
    };
    if found.iter().all(|n| entries[*n].digest == document.digest()) {
        return Ok(false);
    }
    if !others.iter().all(is_same) {
        let found: Vec<&Descriptor> = found.iter().map(|n| &entries[*n]).collect();
        return Err(ambiguous(&found, tag.unwrap_or_default(), place));
    }
    if let Some(entry) = listed.get_mut(*first).and_then(Value::as_object_mut) {
        point_to(entry, document, platform);
    }
    // Other tools leave one entry behind several times.
    let mut number = 0..;
    listed.retain(|_| number.next().is_none_or(|n| !others.contains(&n)));
    Ok(true)
}

fn new_entry(document: &Document, tag: Option<&str>) -> Value {
    let mut entry = Map::new();
    point_to(&mut entry, document, None);
    if let Some(tag) = tag {
        entry.insert("annotations".into(), json!({ annotation::REF_NAME: tag }));
    }
    Value::Object(entry)
}

/// Lets an entry describe another document.
fn point_to(entry: &mut Map<String, Value>, document: &Document, platform: Option<&Platform>) {
    entry.insert("mediaType".into(), json!(document.media_type()));
    entry.insert("digest".into(), json!(document.digest()));
    entry.insert("size".into(), json!(document.size()));
    match document.object().ok().and_then(|o| o.get("artifactType").cloned()) {
        Some(artifact_type) => drop(entry.insert("artifactType".into(), artifact_type)),
        None => drop(entry.shift_remove("artifactType")),
    }
    // These are about the old content.
    entry.shift_remove("data");
    entry.shift_remove("urls");
    if let Some(old) = entry.get("platform") {
        match platform {
            None => drop(entry.shift_remove("platform")),
            Some(new) if Platform::deserialize(old).is_ok_and(|old| old.same_machine(new)) => {}
            Some(new) => drop(entry.insert("platform".into(), json!(new))),
        }
    }
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

    fn add(index: &mut Map<String, Value>, n: u32, tag: Option<&str>) -> bool {
        add_entry(index, &document(n), tag, None, "here").unwrap()
    }

    #[test]
    fn a_tag_has_one_entry_and_keeps_its_position() {
        let mut index = Map::new();
        for (n, tag) in [(1, "a"), (2, "b"), (3, "c")] {
            assert!(add(&mut index, n, Some(tag)));
        }
        // As skopeo and hand-made layouts have it: a second entry with the same tag.
        let again = index["manifests"][1].clone();
        index["manifests"].as_array_mut().unwrap().push(again);
        assert!(add(&mut index, 4, Some("b")));
        assert_eq!(tags(&index), ["a", "b", "c"]);
        assert_eq!(index["manifests"][1]["digest"], json!(document(4).digest()));
        assert!(!add(&mut index, 4, Some("b")), "nothing changed");
        assert!(!add(&mut index, 1, None), "a tagged root is listed already");
        assert!(add(&mut index, 9, None));
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

    fn entry(n: u32, names: &[(&str, &str)]) -> Value {
        let document = document(n);
        let annotations: Map<String, Value> =
            names.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        json!({
            "mediaType": document.media_type(), "digest": document.digest(), "size": document.size(),
            "annotations": annotations, "platform": {"architecture": "arm64", "os": "linux"}, "x-own": 1,
        })
    }

    #[test]
    fn an_entry_is_found_as_when_it_is_read_and_keeps_what_others_wrote() {
        let (tag, full) = (annotation::REF_NAME, annotation::CONTAINERD_IMAGE_NAME);
        let before = vec![
            entry(1, &[(tag, "a"), (full, "docker.io/library/one:a"), ("own", "1")]),
            entry(2, &[(tag, "a"), (full, "docker.io/library/two:a")]),
            entry(3, &[(tag, "docker.io/library/app:b")]),
            entry(4, &[(tag, "c"), ("own", "4")]),
        ];
        let platform = Platform::new("linux", "arm64");
        for (name, position) in [
            ("docker.io/library/one:a", Some(0)),
            ("two:a", Some(1)),
            ("docker.io/library/app:b", Some(2)),
            ("app:b", Some(2)),
            ("c", Some(3)),
            ("a", None),
        ] {
            let mut index = Map::from_iter([("manifests".to_owned(), json!(before))]);
            let added = add_entry(&mut index, &document(9), Some(name), Some(&platform), "here");
            let Some(position) = position else {
                assert!(matches!(added, Err(Error::ChooseOne { .. })), "{name}");
                assert_eq!(index["manifests"], json!(before), "{name}");
                continue;
            };
            assert!(added.unwrap(), "{name}");
            let mut expected = before.clone();
            expected[position]["digest"] = json!(document(9).digest());
            expected[position]["size"] = json!(document(9).size());
            assert_eq!(index["manifests"], json!(expected), "{name}");
        }
    }

    #[test]
    fn what_an_entry_says_of_the_old_document_goes() {
        let mut old = entry(1, &[(annotation::REF_NAME, "a")]);
        old["artifactType"] = json!("x/y");
        old["data"] = json!("e30=");
        let mut index = Map::from_iter([("manifests".to_owned(), json!([old]))]);
        assert!(add(&mut index, 2, Some("a")));
        let new = index["manifests"][0].as_object().unwrap();
        let keys: Vec<&str> = new.keys().map(String::as_str).collect();
        assert_eq!(keys, ["mediaType", "digest", "size", "annotations", "x-own"]);
    }
}
