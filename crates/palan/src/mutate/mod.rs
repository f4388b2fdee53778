//! Mutate: change config, annotations and platform of images, and add layers, where they stand.
//!
//! Documents are edited in place: what is not asked for keeps its order, its unknown fields and its indentation, and
//! edits that change nothing write nothing.

mod config;
mod edits;
mod maps;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use palan_core::{Compression, Document, Family, Kind, Platform, view};
use serde_json::{Map, Value};

pub use self::edits::{Created, Edits, Healthcheck, Keys, Pairs};
use crate::{
    Error,
    append::{self, LayerSource},
    copy::Options,
    grow::Grow,
    history,
    image::Image,
    json::point_to_config,
    place::Places,
    rewrite::{self, Change, New, Outcome, Plan, Subject, rewrite},
};

/// What to change, and how.
pub struct Request {
    /// The image or index, and where the result goes.
    pub subject: Subject,
    /// The changes.
    pub edits: Edits,
    /// Layers to put on top first, the lowest first.
    pub layers: Vec<LayerSource>,
    /// Compression of layers that come as plain tars.
    pub compression: Compression,
}

impl Request {
    /// Changes of all images of a subject.
    pub fn new(subject: Subject, edits: Edits) -> Self {
        Self { subject, edits, layers: Vec::new(), compression: Compression::Gzip }
    }
}

/// Reads the images and changes them; writes nothing. An index stays an index. Of artifacts, only annotations can be
/// changed.
///
/// Fails with [`Error::Inapplicable`] where an edit is impossible or makes no sense for an image.
pub async fn plan(places: &Places, request: Request) -> Result<Plan, Error> {
    let Request { subject, edits, layers, compression } = request;
    if let Some(reason) = edits::fault(&edits) {
        return Err(inapplicable(subject.image.to_string(), reason));
    }
    if let Some(Created::At(time)) = &edits.created {
        history::check_time(Some(time), &subject.image.to_string())?;
    }
    let (opened, root) = rewrite::opened_to_change(places, &subject.image, subject.target.as_ref()).await?;
    check_index(&subject, &edits, &root)?;
    let how = append::How {
        compression,
        level: append::LEVEL,
        recompress: false,
        limits: palan_layer::Limits::default(),
    };
    let stack = append::pack_all(layers, root.family(), how, places.scratch(), None).await?;
    let (old, source) = (root.digest(), opened.place);
    let is_index = root.kind() == Kind::Index;
    let (notes, platforms) = (Mutex::default(), Mutex::default());
    let work = Work { is_index, edits: &edits, layers: &stack, notes, platforms };
    let mut rewritten =
        rewrite(source.as_ref(), root, &subject.platforms, subject.attestations, &work).await?;
    let images =
        rewritten.images.len().max(work.platforms.lock().unwrap_or_else(PoisonError::into_inner).len());
    if edits.platform.is_some() && images > 1 {
        let reason = format!("{images} images of it would be for one platform, choose one of them");
        return Err(inapplicable(subject.image.to_string(), reason));
    }
    rewritten.notes.extend(work.notes.into_inner().unwrap_or_else(PoisonError::into_inner));
    rewritten.notes.extend(edits::doubts(&edits));
    rewritten.notes.extend(stack.notes());
    Ok(Plan::new(&subject, old, rewritten, source)?.with(stack.into_content()))
}

/// Mutates: [`plan`], then [`rewrite::apply`].
pub async fn mutate(places: &Places, request: Request, options: &Options) -> Result<Outcome, Error> {
    rewrite::apply(places, &plan(places, request).await?, options).await
}

/// Annotations of indexes and entries need an OCI index.
fn check_index(subject: &Subject, edits: &Edits, root: &Document) -> Result<(), Error> {
    if edits.index_annotations.is_empty() && edits.descriptor_annotations.is_empty() {
        return Ok(());
    }
    let reason = match (root.kind(), root.family()) {
        (Kind::Index, Family::Oci) => return Ok(()),
        (Kind::Index, Family::Docker) => "it is a Docker manifest list, which has no annotations",
        _ => "it is no index, only indexes and their entries have such annotations",
    };
    Err(inapplicable(subject.image.to_string(), reason.to_owned()))
}

fn inapplicable(image: String, reason: String) -> Error {
    Error::Inapplicable { image, reason }
}

struct Work<'a> {
    is_index: bool,
    edits: &'a Edits,
    layers: &'a append::Stack,
    notes: Mutex<Vec<String>>,
    /// What entries of images that change are for before they do: one image may be listed for several platforms.
    platforms: Mutex<BTreeSet<String>>,
}

impl Work<'_> {
    fn note(&self, of: Option<&Platform>, text: String) {
        let text = match of.filter(|_| self.is_index) {
            Some(platform) => format!("{platform}: {text}"),
            None => text,
        };
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// The image with the layers on top.
    async fn grown(&self, image: &Image, platform: &Platform) -> Result<Option<Image>, Error> {
        if self.layers.is_empty() {
            return Ok(None);
        }
        let layers = append::Work { stack: self.layers, history: append::History::default(), hints: None };
        let New { manifest, configs } = Grow(&layers).image(image, platform).await?;
        let config = configs.into_iter().next().unwrap_or_else(|| image.config.clone());
        let (manifest_view, config_view) = (manifest.view()?, config.view()?);
        Ok(Some(Image { name: image.name.clone(), manifest, config, manifest_view, config_view }))
    }

    fn annotate(&self, json: &mut Map<String, Value>, of: Option<&Platform>) {
        let missing = |key: &str| self.note(of, format!("the manifest has no annotation {key}"));
        maps::pairs(json, "annotations", &self.edits.annotations, missing);
    }
}

#[async_trait]
impl Change for Work<'_> {
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error> {
        let grown = self.grown(image, platform).await?;
        let new = grown.as_ref().unwrap_or(image);
        let config = new.config.try_edit(|json| {
            let mut note = |text| self.note(Some(platform), text);
            let edited = config::edit(json, self.edits, &mut note);
            edited.map_err(|reason| inapplicable(image.name.clone(), reason))
        })?;
        let config = config.with_media_type(image.config.media_type().clone());
        let manifest = new.manifest.edit(|json| {
            point_to_config(json, &config);
            self.annotate(json, Some(platform));
        })?;
        let sets = self.edits.annotations.iter().any(|(_, value)| value.is_some());
        if sets && manifest.family() == Family::Docker {
            self.note(
                Some(platform),
                "annotations of Docker manifests are not specified, many tools ignore them".into(),
            );
        }
        let is_new = config.digest() != image.config.digest();
        Ok(New { manifest, configs: is_new.then_some(config).into_iter().collect() })
    }

    async fn other(&self, manifest: &Document) -> Result<Option<New>, Error> {
        if self.edits.touches_config() || !self.layers.is_empty() {
            let config = manifest.view::<view::Manifest>()?.config.media_type;
            let reason =
                format!("it is an artifact (its config is {config}), only its annotations can be changed");
            return Err(inapplicable(manifest.digest().to_string(), reason));
        }
        let manifest = manifest.edit(|json| self.annotate(json, None))?;
        Ok(Some(New { manifest, configs: Vec::new() }))
    }

    fn index(&self, index: Document, is_root: bool) -> Result<Document, Error> {
        if !is_root {
            return Ok(index);
        }
        let missing = |key: &str| self.note(None, format!("the index has no annotation {key}"));
        Ok(index.edit(|json| maps::pairs(json, "annotations", &self.edits.index_annotations, missing))?)
    }

    fn entry(&self, _new: &Document, entry: &mut Map<String, Value>) {
        if let Some(platform) = &self.edits.platform {
            let before = entry.get("platform").map(Value::to_string).unwrap_or_default();
            self.platforms.lock().unwrap_or_else(PoisonError::into_inner).insert(before);
            maps::within(entry, "platform", |json| config::set_platform(json, platform));
        }
        let digest = entry.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
        let missing = |key: &str| self.note(None, format!("the entry {digest} has no annotation {key}"));
        maps::pairs(entry, "annotations", &self.edits.descriptor_annotations, missing);
    }
}
