//! Append: put images and other manifests into an index, or start one.
//!
//! An image takes the place of the one that the index has for the same platform, and of the attestations about that one.
//! What an index lists already, for that platform, is not listed twice, and keeps what is said about it: an entry is an
//! image *for a platform*. One image may be listed for several.
//!
//! An index of one kind of media types may list documents of the other: registries and runtimes take both, and changing
//! an appended image's media types would change its digest.

mod merge;
mod read;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use palan_core::{Document, Family, Kind, MediaType, Platform, PlatformPattern};
use serde_json::json;

use crate::{
    Error,
    copy::{Copier, Options, Summary},
    image,
    place::{Layout, Location, Opened, Places, PutAs, Source},
    rewrite::{self, Attestations, Content, Plan, Rewritten, Subject},
};

/// What to put into an index.
#[derive(Clone, Debug)]
pub struct Request {
    /// The index to add to; `None`: an empty one.
    pub base: Option<Location>,
    /// What to add, in this order: images, artifacts, indexes. Of a layout or an archive without a choice, all it lists.
    pub manifests: Vec<Location>,
    /// Where the result goes; `None`: to the base's place, as [`Subject::target`] says.
    pub target: Option<Location>,
    /// Media types of an empty base.
    pub family: Family,
    /// How entries are made.
    pub entries: Entries,
    /// What becomes of entries that the base has for the platforms of what is added.
    pub existing: Existing,
    /// The result's own artifact type; `None`: as in the base.
    pub artifact_type: Option<String>,
}

/// How entries are made of what is added.
#[derive(Clone, Debug)]
pub struct Entries {
    /// Of an index, its entries are added, one level deep, and not the index itself.
    pub flatten: bool,
    /// Which images of flattened indexes, with their attestations; empty: all. A single image must match.
    pub platforms: Vec<PlatformPattern>,
    /// The platform of the one image that is added; `None`: what its config states.
    pub platform: Option<Platform>,
    /// Annotations of every new entry, and of those that are listed already.
    pub annotations: BTreeMap<String, String>,
}

impl Default for Entries {
    fn default() -> Self {
        Self { flatten: true, platforms: Vec::new(), platform: None, annotations: BTreeMap::new() }
    }
}

/// What becomes of entries that the base has for the platforms of what is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They are replaced, which is noted; attestations about them go too.
    #[default]
    Replace,
    /// They stay, before what is added.
    Keep,
}

/// Reads the base and what is to be added; writes nothing.
///
/// Fails with [`Error::WrongKind`] where the base is a single image, with [`Error::Inexpressible`] where a Docker list
/// was to get annotations or an artifact type, which it has no place for.
pub async fn plan(places: &Places, request: Request) -> Result<Plan, Error> {
    let base = match &request.base {
        Some(image) => Some(open_base(places, image, request.target.as_ref()).await?),
        None => None,
    };
    let empty = empty(request.family)?;
    let old = base.as_ref().map_or(&empty, |(_, root)| root);
    check_family(&request, old)?;
    let additions = read::all(places, &request.manifests, &request.entries).await?;
    let source = base.as_ref().map(|(opened, _)| opened.place.as_ref());
    let (root, notes) = merge::merge(source, old, &additions, &request).await?;
    let rewritten = Rewritten::new(root, notes);
    let plan = match (base, request.base, request.target) {
        (Some((opened, root)), Some(image), target) => {
            let attestations = Attestations::default();
            let subject = Subject { image, platforms: Vec::new(), target, attestations };
            Plan::new(&subject, root.digest(), rewritten, opened.place)?
        }
        (_, _, Some(target)) => {
            let nothing: Arc<dyn Source> = Arc::new(crate::place::Memory::new());
            let first = additions.first().map_or(nothing, |addition| Arc::clone(&addition.source));
            Plan::fresh(target, rewritten, first)?
        }
        _ => return Err(Error::Unsupported("an index without a base and without a target".into())),
    };
    let source = Arc::clone(&plan.source);
    let mut plan = plan;
    for addition in additions.into_iter().filter(|addition| addition.source.name() != source.name()) {
        let digests = addition.digests().await?;
        plan = plan.with(Content { digests, source: addition.source });
    }
    Ok(plan)
}

/// Adds to the list that a layout is itself, its `index.json`, and makes the layout where there is none: nothing there is
/// replaced, for what has the same platform may have another tag. What is listed already, for that platform, is not
/// listed twice; the annotations of `entries` are added to what is said about it.
pub async fn into_layout(
    places: &Places,
    path: &Path,
    manifests: &[Location],
    entries: &Entries,
    options: &Options,
) -> Result<Summary, Error> {
    let additions = read::all(places, manifests, entries).await?;
    let layout = Arc::new(Layout::create(path)?);
    let mut summary = Summary::default();
    for addition in &additions {
        let copier = Copier::new(&addition.source, &(layout.clone() as _), options);
        for entry in &addition.entries {
            let document = addition.source.document(&entry.view.digest.into()).await?;
            copier.copy(document, PutAs::Child).await?;
        }
        summary = summary + copier.summary();
    }
    let new = merge::each_once(additions.iter().flat_map(|addition| &addition.entries));
    let mut platforms = HashMap::new();
    for entry in layout.entries()?.iter().filter(|entry| entry.platform.is_none()) {
        if new.iter().any(|new| new.view.digest == entry.digest) {
            let platform = image::entry_platform(layout.as_ref(), entry).await?;
            platforms.extend(platform.map(|platform| (entry.digest, platform)));
        }
    }
    layout.edit_entries(|views, listed| merge::joined(listed, views, &platforms, &new))?;
    Ok(summary)
}

async fn open_base(
    places: &Places,
    image: &Location,
    target: Option<&Location>,
) -> Result<(Opened<dyn Source>, Document), Error> {
    let (opened, root) = rewrite::opened_to_change(places, image, target).await?;
    match root.kind() {
        Kind::Index => Ok((opened, root)),
        _ => Err(super::not_an_index(opened.place.as_ref(), &root)),
    }
}

fn empty(family: Family) -> Result<Document, Error> {
    let media_type = match family {
        Family::Oci => MediaType::OCI_INDEX,
        Family::Docker => MediaType::DOCKER_INDEX,
    };
    let json = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": []});
    Ok(Document::from_value(&json, media_type)?)
}

/// Docker's list has no place for some things.
fn check_family(request: &Request, index: &Document) -> Result<(), Error> {
    let mut what = Vec::new();
    if request.artifact_type.is_some() {
        what.push("a Docker list has no artifact type".to_owned());
    }
    if !request.entries.annotations.is_empty() {
        what.push("the entries of a Docker list have no annotations".to_owned());
    }
    if index.family() == Family::Oci || what.is_empty() {
        return Ok(());
    }
    let image = request.target.as_ref().or(request.base.as_ref()).map(ToString::to_string);
    let image = image.unwrap_or_else(|| "the index".to_owned());
    Err(Error::Inexpressible { image, family: Family::Docker, what })
}
