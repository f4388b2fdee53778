//! Deleting tags and manifests, and telling before what goes with them.
//!
//! distribution-spec "Deleting tags", "Deleting Manifests". What was typed is deleted and nothing else: a tag is never
//! turned into its digest, for that would take every other tag of the image along. Where a registry cannot delete a
//! tag alone, [`Options::untag`] moves the tag to a manifest of its own, made for that, and deletes this one.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, MediaType, Reference, Selector};
use serde_json::json;

use crate::{
    Error,
    place::{Layout, Location, Memory, Places, PutAs, Registry, Source as _, Target as _},
};

/// How many tags are looked at at the same time.
const AT_ONCE: usize = 8;

/// How to delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a tag is deleted by way of a manifest made for that, where the registry cannot delete a tag alone.
    pub untag: bool,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// A tag; what it stood for is still there.
    Tag {
        /// Whether the registry could not do it by itself.
        emulated: bool,
    },
    /// A manifest or index, with all its tags.
    Manifest,
}

/// What there is to be deleted, and what would go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was named stands for this digest.
    pub digest: Digest,
    /// For a location by digest: the tags that stand for it, and go with it.
    pub tags: Vec<String>,
    /// How many more tags the place has, which were not looked at.
    pub unseen: usize,
    /// For a location by digest: how many referrers it has. They stay, about something that is not there.
    pub referrers: usize,
}

/// Looks at what is to be deleted. Of a registry's tags, no more than `most` are looked at: each costs a request.
///
/// Fails with [`Error::NotFound`] when it is not there.
pub async fn look(places: &Places, location: &Location, most: usize) -> Result<Found, Error> {
    let selector = selector(location)?;
    let source = places.standing(location)?.place;
    let digest = source.resolve(&selector).await?.digest;
    let mut found = Found { digest, tags: Vec::new(), unseen: 0, referrers: 0 };
    if matches!(selector, Selector::Tag(_)) {
        return Ok(found);
    }
    found.referrers = source.referrers(digest, None).await?.len();
    // A tag that lists referrers stands for the list.
    let all: Vec<String> =
        source.tags().await?.into_iter().filter(|tag| !Digest::is_referrers_tag(tag)).collect();
    found.unseen = all.len().saturating_sub(most);
    let looked = stream::iter(all.into_iter().take(most)).map(|tag| {
        let source = Arc::clone(&source);
        async move {
            match source.resolve(&Selector::Tag(tag.clone())).await {
                Ok(resolved) => Ok((resolved.digest == digest).then_some(tag)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let tags: Vec<Option<String>> = looked.buffered(AT_ONCE).try_collect().await?;
    found.tags = tags.into_iter().flatten().collect();
    Ok(found)
}

/// Deletes what a location names: a tag or a digest, in a registry or a layout.
///
/// Fails with [`Error::NotFound`] when it is not there, with [`Error::NoTagDelete`] when the registry cannot delete a tag
/// alone and no other way was allowed. In a layout, the entry goes; blobs stay until they are collected.
pub async fn delete(places: &Places, location: &Location, options: Options) -> Result<Deleted, Error> {
    let selector = selector(location)?;
    match location {
        Location::Registry(reference) => registry(places, reference, &selector, options).await,
        Location::Layout { path, .. } => {
            Layout::open(path)?.remove(&selector)?;
            Ok(match selector {
                Selector::Tag(_) => Deleted::Tag { emulated: false },
                Selector::Digest(_) => Deleted::Manifest,
            })
        }
        Location::Archive { .. } => Err(inside_archive()),
    }
}

fn inside_archive() -> Error {
    Error::Unsupported("deleting inside an archive".to_owned())
}

fn selector(location: &Location) -> Result<Selector, Error> {
    if matches!(location, Location::Archive { .. }) {
        return Err(inside_archive());
    }
    location.selector().ok_or_else(|| Error::ChooseOne { place: location.to_string(), choices: Vec::new() })
}

async fn registry(
    places: &Places,
    reference: &Reference,
    selector: &Selector,
    options: Options,
) -> Result<Deleted, Error> {
    let repo = places.client().repository(reference.repository()).primary();
    let place = reference.repository().to_string();
    let error = match (repo.delete_manifest(selector).await, selector) {
        (Ok(()), Selector::Tag(_)) => return Ok(Deleted::Tag { emulated: false }),
        (Ok(()), Selector::Digest(_)) => return Ok(Deleted::Manifest),
        (Err(error), _) if error.is_not_found() => {
            return Err(Error::NotFound { name: selector.to_string(), place });
        }
        (Err(error), _) => error,
    };
    // distribution-spec "Deleting tags": 400 or 405. Registries with a mind of their own answer 501.
    let refused = matches!(error.status().map(|s| s.as_u16()), Some(400 | 405 | 415 | 501));
    match selector {
        Selector::Tag(tag) if refused && options.untag => {
            Untag { repo, place, tag: tag.clone() }.run().await?;
            Ok(Deleted::Tag { emulated: true })
        }
        Selector::Tag(tag) if refused => {
            Err(Error::NoTagDelete { tag: tag.clone(), place, source: Box::new(error) })
        }
        _ => Err(error.into()),
    }
}

/// Deletes a tag by deleting a manifest that nothing else stands for.
struct Untag {
    repo: palan_client::Repo,
    place: String,
    tag: String,
}

impl Untag {
    async fn run(&self) -> Result<(), Error> {
        let selector = Selector::Tag(self.tag.clone());
        let place = Registry::new(self.repo.clone());
        let old = place.document(&selector).await?;
        let (dummy, config) = dummy(&old)?;
        let memory = Memory::new();
        memory.add_document_blob(&config);
        place.put_blob(&config.descriptor(), &memory).await?;
        let role = PutAs::Replace { tag: self.tag.clone(), expected: old.digest() };
        place.put_document(&dummy, &role).await?;
        match self.remove(&selector, dummy.digest()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Nobody must find the dummy where an image was.
                let role = PutAs::Replace { tag: self.tag.clone(), expected: dummy.digest() };
                place.put_document(&old, &role).await?;
                Err(error)
            }
        }
    }

    async fn remove(&self, tag: &Selector, dummy: Digest) -> Result<(), Error> {
        let refused = |source| Error::NoTagDelete {
            tag: self.tag.clone(),
            place: self.place.clone(),
            source: Box::new(source),
        };
        self.repo.delete_manifest(&dummy.into()).await.map_err(refused)?;
        match self.repo.head(tag).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(found) if found.digest != dummy => Ok(()),
            Ok(_) => Err(Error::Unsupported(format!(
                "deleting tags in {}: it keeps the tag {} of what was deleted",
                self.place, self.tag
            ))),
        }
    }
}

/// An image without layers that is like no other, in the family of the one whose tag it takes, and its config.
fn dummy(old: &Document) -> Result<(Document, Document), Error> {
    let family = old.family();
    let in_family = |oci: MediaType| oci.in_family(family).unwrap_or(oci);
    let nonce = RandomState::new().build_hasher().finish();
    let labels = json!({"io.github.palan-rs.untag": format!("{}-{nonce:016x}", old.digest())});
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let config = Document::from_value(&config, MediaType::OCI_CONFIG)?
        .with_media_type(in_family(MediaType::OCI_CONFIG));
    let descriptor: Descriptor = config.descriptor();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": in_family(MediaType::OCI_MANIFEST),
        "config": descriptor,
        "layers": [],
    });
    Ok((Document::from_value(&manifest, in_family(MediaType::OCI_MANIFEST))?, config))
}
