//! What is to be appended, read.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, view};
use serde_json::{Value, json};

use super::Entries;
use crate::{
    Error,
    image::{self, Image, MAX_DEPTH, too_deep},
    index,
    place::{Location, Places, Source},
    rewrite,
};

/// What one location adds.
pub(super) struct Addition {
    pub(super) source: Arc<dyn Source>,
    pub(super) entries: Vec<Entry>,
}

/// An entry for the new index.
pub(super) struct Entry {
    pub(super) json: Value,
    pub(super) view: Descriptor,
    /// For which platform it is an image.
    pub(super) platform: Option<Platform>,
}

impl Entry {
    fn of(view: Descriptor, platform: Option<Platform>) -> Self {
        Self { json: json!(view), view, platform }
    }
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
    let (opened, root) = rewrite::opened(places, location).await?;
    let source = opened.place;
    let mut entries = match root.kind() {
        Kind::Index if how.flatten => flattened(source.as_ref(), &root, how).await?,
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

/// The entries of an index as they stand there, with the attestations of the images that were asked for.
async fn flattened(source: &dyn Source, document: &Document, how: &Entries) -> Result<Vec<Entry>, Error> {
    let index: view::Index = image::parsed(source, document)?;
    let json = document.object()?;
    let json = json.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let platforms = try_join_all(index.manifests.iter().map(|e| image::entry_platform(source, e))).await?;
    let is_asked = |p: &Platform| how.platforms.is_empty() || how.platforms.iter().any(|w| w.matches(p));
    let found: Vec<Platform> = platforms.iter().flatten().cloned().collect();
    image::check_platforms(|| format!("{}@{}", source.name(), document.digest()), &how.platforms, &found)?;
    let mut left_out = HashSet::new();
    let mut entries = Vec::new();
    for ((view, json), platform) in index.manifests.into_iter().zip(json).zip(&platforms) {
        if platform.as_ref().is_some_and(|p| !is_asked(p)) {
            left_out.insert(view.digest);
        } else {
            entries.push(Entry { json, view, platform: platform.clone() });
        }
    }
    if !left_out.is_empty() {
        let others = entries.iter().filter(|entry| entry.platform.is_none());
        let others: Vec<&Descriptor> = others.map(|entry| &entry.view).collect();
        let subjects = index::subjects(source, &others).await?;
        left_out
            .extend(index::followers(&others, &subjects, &left_out).into_iter().map(|(digest, _)| digest));
        entries.retain(|entry| entry.platform.is_some() || !left_out.contains(&entry.view.digest));
    }
    Ok(entries)
}

/// What was asked for every new entry.
fn change(entry: &mut Entry, how: &Entries) {
    let Some(json) = entry.json.as_object_mut() else { return };
    if let (Some(platform), Some(_)) = (&how.platform, &entry.platform) {
        json.insert("platform".into(), json!(platform));
        entry.platform = Some(platform.clone());
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
