//! What is to be appended, read.

use std::{collections::HashSet, sync::Arc};

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, try_join_all},
    stream,
};
use palan_core::{Descriptor, Digest, Document, Kind, MediaType, Platform, annotation, view};
use serde_json::{Value, json};

use super::Entries;
use crate::{
    Error,
    image::{self, Image, MAX_DEPTH, too_deep},
    index::{
        may_be_about,
        tree::{AT_ONCE, Leaves, Tree, is_index},
    },
    place::{Location, Places, Source, only},
    rewrite,
};

/// What one location adds.
pub(super) struct Addition {
    pub(super) source: Arc<dyn Source>,
    pub(super) entries: Vec<Entry>,
}

/// An entry for the new index.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) json: Value,
    pub(super) view: Descriptor,
    /// For which platform it is an image.
    pub(super) platform: Option<Platform>,
    /// Whether that is what was asked for, whatever its config says.
    pub(super) is_for_asked: bool,
}

impl Entry {
    fn of(view: Descriptor, platform: Option<Platform>) -> Self {
        Self { json: json!(view), view, platform, is_for_asked: false }
    }

    /// Whether an entry that is listed elsewhere, for some platform, is this one: one image for two platforms is two
    /// entries, and so is an attestation about two images. What does not say what it is for, or about, may be any.
    pub(super) fn is(&self, other: &Descriptor, platform: Option<&Platform>) -> bool {
        let is_about = |about: Digest| other.attested_digest() == Some(about);
        self.view.digest == other.digest
            && self.view.attested_digest().is_none_or(is_about)
            && self
                .platform
                .as_ref()
                .filter(|p| is_known(p))
                .is_none_or(|own| platform.is_some_and(|other| is_same(own, other)))
    }
}

pub(super) fn is_known(platform: &Platform) -> bool {
    !platform.is_unknown() && !platform.os.is_empty()
}

/// Whether clients cannot tell images for these platforms from each other.
pub(super) fn is_same(one: &Platform, other: &Platform) -> bool {
    one.same_machine(other) && one.os_version == other.os_version && one.os_features == other.os_features
}

pub(super) async fn all(
    places: &Places,
    manifests: &[Location],
    entries: &Entries,
) -> Result<Vec<Addition>, Error> {
    let read = try_join_all(manifests.iter().map(|location| one(places, location, entries))).await?;
    let images = read.iter().flat_map(|addition| &addition.entries).filter(|e| e.platform.is_some()).count();
    if entries.platform.is_some() && images != 1 {
        let image = manifests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let found = format!("{images} images");
        return Err(Error::WrongKind { image, found, wanted: "one image for the one platform" });
    }
    Ok(read)
}

async fn one(places: &Places, location: &Location, how: &Entries) -> Result<Addition, Error> {
    let (source, root) = match places.listed(location)? {
        Some((source, listed)) if is_index_itself(&listed) => {
            let index = as_index(source.as_ref(), listed, how).await?;
            let mut entries = flattened(source.as_ref(), &location.to_string(), &index, how).await?;
            entries.iter_mut().for_each(|entry| change(entry, how));
            return Ok(Addition { source, entries });
        }
        Some((source, listed)) => {
            let root = source.document(&only(&listed, &source.name())?).await?;
            (source, root)
        }
        None => {
            let (opened, root) = rewrite::opened(places, location).await?;
            (opened.place, root)
        }
    };
    let mut entries = match root.kind() {
        Kind::Index if how.flatten => {
            let name = format!("{}@{}", source.name(), root.digest());
            flattened(source.as_ref(), &name, &root, how).await?
        }
        Kind::Index => {
            let artifact_type = image::parsed::<view::Index>(source.as_ref(), &root)?.artifact_type;
            vec![Entry::of(Descriptor { artifact_type, ..root.descriptor() }, None)]
        }
        _ => vec![single(source.as_ref(), root, how).await?],
    };
    for entry in &mut entries {
        change(entry, how);
    }
    Ok(Addition { source, entries })
}

async fn single(source: &dyn Source, manifest: Document, how: &Entries) -> Result<Entry, Error> {
    let view: view::Manifest = image::parsed(source, &manifest)?;
    let descriptor = Descriptor { artifact_type: view.artifact_type.clone(), ..manifest.descriptor() };
    if !view.is_image() {
        return Ok(Entry::of(descriptor, None));
    }
    let image = Image::load(source, manifest).await?;
    let found = image.platform();
    if !how.platforms.is_empty() && !how.platforms.iter().any(|p| p.matches(&found)) {
        let wanted = how.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::WrongPlatform { image: image.name, wanted, found });
    }
    // An image that does not say what it is for is listed without a platform.
    let platform = Some(found.clone()).filter(|p| !p.os.is_empty() || !p.architecture.is_empty());
    Ok(Entry::of(Descriptor { platform, ..descriptor }, Some(found)))
}

/// Whether what a layout or archive lists says more than that it holds one thing: several images, or for which platform
/// one is. What is about images does not count.
fn is_index_itself(listed: &[Descriptor]) -> bool {
    let images = || listed.iter().filter(|entry| entry.artifact_type.is_none());
    images().any(|entry| entry.platform.is_some())
        || images().next().is_some_and(|first| images().any(|other| other.digest != first.digest))
}

/// What a layout or archive lists, as an index, without the names that things have there. Where indexes are not to be
/// added themselves, what they list takes their place.
async fn as_index(source: &dyn Source, listed: Vec<Descriptor>, how: &Entries) -> Result<Document, Error> {
    let is_fallback =
        |e: &Descriptor| e.annotation(annotation::REF_NAME).is_some_and(Digest::is_referrers_tag);
    let listed = listed.into_iter().filter(|entry| !is_fallback(entry));
    let read = stream::iter(listed).map(|entry| async move {
        if how.flatten && is_index(&entry) {
            let index = source.document(&entry.digest.into()).await?;
            let entries = index.object()?.get("manifests").and_then(Value::as_array).cloned();
            return Ok::<_, Error>(entries.unwrap_or_default());
        }
        let found = image::entry_platform(source, &entry).await?;
        let platform = found.filter(|p| !p.is_unstated()).or_else(|| entry.platform.clone());
        let names = [annotation::REF_NAME, annotation::CONTAINERD_IMAGE_NAME];
        let mut annotations = entry.annotations.clone().unwrap_or_default();
        annotations.retain(|key, _| !names.contains(&key.as_str()));
        let annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Ok(vec![json!(Descriptor { platform, annotations, ..entry })])
    });
    let entries: Vec<Vec<Value>> = read.buffered(AT_ONCE).try_collect().await?;
    let json = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries.concat()});
    Ok(Document::from_value(&json, MediaType::OCI_INDEX)?)
}

/// The entries of an index as they stand there, with the attestations of the images that were asked for.
async fn flattened(
    source: &dyn Source,
    name: &str,
    document: &Document,
    how: &Entries,
) -> Result<Vec<Entry>, Error> {
    let index: view::Index = image::parsed(source, document)?;
    let json = document.object()?;
    let json = json.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let read = stream::iter(&index.manifests).map(|entry| image::entry_platform(source, entry));
    let platforms: Vec<Option<Platform>> = read.buffered(AT_ONCE).try_collect().await?;
    let is_asked = |p: &Platform| how.platforms.is_empty() || how.platforms.iter().any(|w| w.matches(p));
    let found: Vec<Platform> = platforms.iter().flatten().cloned().collect();
    image::check_platforms(|| name.to_owned(), &how.platforms, &found)?;
    let leaves: Vec<bool> = platforms.iter().map(|p| p.as_ref().is_some_and(|p| !is_asked(p))).collect();
    let leaves = match leaves.contains(&true) {
        true => followed(source, document, &leaves).await?,
        false => leaves,
    };
    let all = index.manifests.into_iter().zip(json).zip(platforms).zip(leaves);
    let kept = all.filter(|(_, leaves)| !leaves);
    Ok(kept
        .map(|(((view, json), platform), _)| Entry { json, view, platform, is_for_asked: false })
        .collect())
}

/// What leaves an index with the images that do.
async fn followed(source: &dyn Source, document: &Document, leaves: &[bool]) -> Result<Vec<bool>, Error> {
    // Indexes inside are added as they are.
    let tree = Tree::read(source, document, |_| true).await?;
    let abouts = tree.abouts(source, may_be_about).await?;
    let mut all = tree.each(|(level, number)| (level == 0 && leaves[number]).then_some(Leaves::Chosen));
    tree.follow(&mut all, &abouts, &HashSet::new());
    Ok(all[0].iter().map(Option::is_some).collect())
}

/// What was asked for every new entry.
fn change(entry: &mut Entry, how: &Entries) {
    let Some(json) = entry.json.as_object_mut() else { return };
    if let (Some(platform), Some(_)) = (&how.platform, &entry.platform) {
        json.insert("platform".into(), json!(platform));
        entry.platform = Some(platform.clone());
        entry.is_for_asked = true;
    }
    if how.annotations.is_empty() {
        return;
    }
    let annotations = json.entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    for (key, value) in &how.annotations {
        annotations[key] = json!(value);
    }
}

impl Addition {
    /// Everything below the entries, by digest.
    pub(super) async fn digests(&self) -> Result<HashSet<Digest>, Error> {
        let mut out = HashSet::new();
        for entry in &self.entries {
            below(self.source.as_ref(), &entry.view, 0, &mut out).await?;
        }
        Ok(out)
    }
}

fn below<'a>(
    source: &'a dyn Source,
    entry: &'a Descriptor,
    depth: usize,
    out: &'a mut HashSet<Digest>,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        if depth > MAX_DEPTH {
            return Err(too_deep(source, entry.digest));
        }
        if !out.insert(entry.digest) || !entry.media_type.is_document() {
            return Ok(());
        }
        let document = source.document(&entry.digest.into()).await?;
        match document.kind() {
            Kind::Index => {
                for entry in &image::parsed::<view::Index>(source, &document)?.manifests {
                    below(source, entry, depth + 1, out).await?;
                }
            }
            _ => {
                let manifest: view::Manifest = image::parsed(source, &document)?;
                out.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest));
            }
        }
        Ok(())
    })
}
