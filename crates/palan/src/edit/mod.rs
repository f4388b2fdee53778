//! Edit: an image's config, a manifest, or one file of an image, given as a whole.
//!
//! What is edited stays where it is: inside its index, with everything around it.

mod file;

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use palan_core::{Descriptor, Digest, Document, DocumentError, Kind, MediaType, Platform, Role, view};
use serde_json::{Map, Value};

pub use self::file::{File, Found, file, find, read};
use crate::{
    Error,
    image::Image,
    json::point_to_config,
    place::{Places, Source},
    rewrite::{self, Change, New, Plan, Rewritten, Subject, rewrite},
};

/// The text of a document.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// JSON.
    pub bytes: &'a [u8],
    /// Whether the bytes are stored as they are. Else what they say is written as the document was, as to indentation
    /// and final newline, and a text that says the same changes nothing: for what comes from an editor.
    pub exact: bool,
}

impl Text<'_> {
    /// The document that `old` becomes.
    fn instead_of(&self, old: &Document, media_type: MediaType) -> Result<Document, DocumentError> {
        let algorithm = old.digest().algorithm();
        let new = Document::parse_with(self.bytes.to_vec(), Some(media_type), algorithm)?;
        if self.exact {
            return Ok(new);
        }
        let json = new.object()?;
        let edited = old.edit(|document| *document = json)?;
        // `edit` keeps what the old document was, where the new one does not say.
        let media_type = new.media_type().clone();
        Document::parse_with(edited.bytes().clone(), Some(media_type), algorithm)
    }
}

/// Puts another config in the place of one image's, which is given by the digest of its manifest; for an index, the image
/// stays inside it. Platforms of the subject do not count.
///
/// Fails where the text is no config, or has not as many diff IDs as the image has layers.
pub async fn config(
    places: &Places,
    subject: &Subject,
    image: Digest,
    text: Text<'_>,
) -> Result<Plan, Error> {
    let work = Config { text, becomes: Mutex::default() };
    let mut plan = replaced(places, subject, image, &work).await?;
    let becomes = work.becomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let (Some((old, new)), Kind::Index) = (becomes, plan.root().kind()) {
        plan.rewritten.notes.push(format!("the config is for {new} now, the index still lists it for {old}"));
    }
    Ok(plan)
}

/// Puts another document in the place of a manifest or index, which is given by its digest: the subject's root, or
/// an image inside it. Its media type is `media_type`, which a document that says something else is made to say, else what the
/// document says of itself, else that of the old one.
///
/// Fails, before anything is written, where it names content that the old one did not and that is neither in the
/// image's place nor in the target.
pub async fn manifest(
    places: &Places,
    subject: &Subject,
    document: Digest,
    media_type: Option<MediaType>,
    text: Text<'_>,
) -> Result<Plan, Error> {
    let (opened, root) = rewrite::opened_to_change(places, &subject.image, subject.target.as_ref()).await?;
    let work = Manifest { text, media_type, places, subject, source: opened.place.as_ref() };
    if root.digest() != document {
        return replaced(places, subject, document, &work).await;
    }
    let new = work.of(&root).await?;
    let is_given = !text.exact || new.bytes() == text.bytes;
    let notes = (!is_given).then(|| format!("the manifest says now that its type is {}", new.media_type()));
    let rewritten = Rewritten::new(new, notes.into_iter().collect());
    Plan::new(subject, root.digest(), rewritten, opened.place)
}

/// A plan that changes one image.
async fn replaced(
    places: &Places,
    subject: &Subject,
    image: Digest,
    change: &dyn Change,
) -> Result<Plan, Error> {
    let (opened, root) = rewrite::opened_to_change(places, &subject.image, subject.target.as_ref()).await?;
    let (old, source) = (root.digest(), opened.place);
    let only = Only { image, change };
    let mut rewritten = rewrite(source.as_ref(), root, &[], subject.attestations, &only).await?;
    rewritten.images.retain(|(old, _)| *old == image);
    if rewritten.images.is_empty() {
        // Somebody moved the tag since the image was looked at.
        return Err(Error::NotFound { name: image.to_string(), place: subject.image.to_string() });
    }
    Plan::new(subject, old, rewritten, source)
}

/// A change of one image alone.
struct Only<'a> {
    image: Digest,
    change: &'a dyn Change,
}

#[async_trait]
impl Change for Only<'_> {
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error> {
        match image.manifest.digest() == self.image {
            true => self.change.image(image, platform).await,
            false => Ok(New { manifest: image.manifest.clone(), configs: Vec::new() }),
        }
    }
}

struct Config<'a> {
    text: Text<'a>,
    /// The platform that the image is listed for and the one that it is for now, where they differ.
    becomes: Mutex<Option<(Platform, Platform)>>,
}

#[async_trait]
impl Change for Config<'_> {
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error> {
        let media_type = image.config.media_type().clone();
        let unusable = |error| unusable(&image.name, "config", &error);
        let config = self.text.instead_of(&image.config, MediaType::OCI_CONFIG).map_err(unusable)?;
        let config = config.with_media_type(media_type);
        let view: view::Config = config.view().map_err(unusable)?;
        let (layers, diff_ids) = (image.manifest_view.layers.len(), view.rootfs.diff_ids.len());
        if layers != diff_ids {
            let reason = format!("the image has {layers} layers, the new config {diff_ids} diff IDs");
            return Err(Error::Inapplicable { image: image.name.clone(), reason });
        }
        let new = view.platform();
        if !new.same_machine(platform) {
            let becomes = Some((platform.clone(), new));
            *self.becomes.lock().unwrap_or_else(PoisonError::into_inner) = becomes;
        }
        let manifest = image.manifest.edit(|json| point_to_config(json, &config))?;
        let is_new = config.digest() != image.config.digest();
        Ok(New { manifest, configs: is_new.then_some(config).into_iter().collect() })
    }
}

fn unusable(image: &str, what: &str, error: &DocumentError) -> Error {
    Error::Inapplicable { image: image.to_owned(), reason: format!("the new {what} is not usable: {error}") }
}

struct Manifest<'a> {
    text: Text<'a>,
    media_type: Option<MediaType>,
    places: &'a Places,
    subject: &'a Subject,
    source: &'a dyn Source,
}

#[async_trait]
impl Change for Manifest<'_> {
    async fn image(&self, image: &Image, _platform: &Platform) -> Result<New, Error> {
        let manifest = self.of(&image.manifest).await?;
        if manifest.media_type() != image.manifest.media_type() {
            let reason = "inside an index, a manifest keeps its media type".to_owned();
            return Err(Error::Inapplicable { image: image.name.clone(), reason });
        }
        Ok(New { manifest, configs: Vec::new() })
    }
}

impl Manifest<'_> {
    async fn of(&self, old: &Document) -> Result<Document, Error> {
        let name = self.subject.image.to_string();
        let unusable = |error| unusable(&name, "manifest", &error);
        let own = serde_json::from_slice::<serde_json::Value>(self.text.bytes).ok();
        let own = own.and_then(|json| Some(MediaType::new(json.get("mediaType")?.as_str()?)));
        let media_type = own.or_else(|| self.media_type.clone()).unwrap_or_else(|| old.media_type().clone());
        let mut new = self.text.instead_of(old, media_type).map_err(unusable)?;
        if let Some(wanted) = self.media_type.as_ref().filter(|wanted| *wanted != new.media_type()) {
            let set =
                |json: &mut Map<String, Value>| drop(json.insert("mediaType".into(), wanted.as_str().into()));
            new = new.edit(set).map_err(unusable)?;
        }
        if new.object()?.get("schemaVersion") != Some(&2.into()) {
            let reason = "the new manifest is not usable: its schemaVersion is not 2".to_owned();
            return Err(Error::Inapplicable { image: name, reason });
        }
        let known = named(old).unwrap_or_default();
        for descriptor in named(&new).map_err(unusable)? {
            if !known.iter().any(|old| old.digest == descriptor.digest) {
                self.check(&descriptor).await?;
            }
        }
        Ok(new)
    }

    /// Whether content is in the image's place, or in the target.
    async fn check(&self, descriptor: &Descriptor) -> Result<(), Error> {
        if is_there(self.source, descriptor).await? {
            return Ok(());
        }
        // A target that cannot be read has nothing yet.
        let target = self.subject.target.as_ref().and_then(|target| self.places.source(target).ok());
        if let Some(target) = target
            && is_there(target.place.as_ref(), descriptor).await?
        {
            return Ok(());
        }
        let name =
            format!("{} ({}), which the new manifest names,", descriptor.digest, descriptor.media_type);
        Err(Error::NotFound { name, place: self.source.name() })
    }
}

/// What a document needs to have below it.
fn named(document: &Document) -> Result<Vec<Descriptor>, DocumentError> {
    match document.kind() {
        Kind::Index => Ok(document.view::<view::Index>()?.manifests),
        _ => {
            let manifest: view::Manifest = document.view()?;
            let layers = manifest.layers.into_iter();
            let local = layers.filter(|l| !matches!(l.media_type.role(), Role::Layer { foreign: true, .. }));
            Ok([manifest.config].into_iter().chain(local).collect())
        }
    }
}

async fn is_there(place: &dyn Source, descriptor: &Descriptor) -> Result<bool, Error> {
    if !descriptor.media_type.is_document() {
        return place.has(descriptor).await;
    }
    match place.document(&descriptor.digest.into()).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
