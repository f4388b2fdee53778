//! Reading images: manifests with their configs, and the choice of a platform.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::try_join_all;
use palan_core::{
    Descriptor, Document, DocumentError, Kind, MAX_DOCUMENT_SIZE, MediaType, Platform, PlatformPattern, Role,
    Selector, view,
};

use crate::{
    Error,
    place::{Source, read_all, verified},
};

/// How deep documents may list documents. Real ones have two levels, some three; without a bound, a hostile registry
/// could exhaust the stack.
pub(crate) const MAX_DEPTH: usize = 16;

pub(crate) fn too_deep(source: &dyn Source, document: palan_core::Digest) -> Error {
    let reason = format!("it is nested more than {MAX_DEPTH} levels deep");
    Error::InvalidImage { image: format!("{}@{document}", source.name()), reason }
}

/// One image: its manifest and its config, as documents and as views.
#[derive(Clone, Debug)]
pub struct Image {
    /// `place@digest`, for messages.
    pub name: String,
    /// The manifest.
    pub manifest: Document,
    /// The config.
    pub config: Document,
    /// The manifest's view.
    pub manifest_view: view::Manifest,
    /// The config's view.
    pub config_view: view::Config,
}

impl Image {
    /// Reads the config of an image manifest, and checks that both speak of the same number of layers.
    pub async fn load(source: &dyn Source, manifest: Document) -> Result<Self, Error> {
        let name = format!("{}@{}", source.name(), manifest.digest());
        let manifest_view: view::Manifest = parsed(source, &manifest)?;
        if !manifest_view.is_image() {
            return Err(Error::WrongKind {
                image: name,
                found: format!("an artifact (its config is {})", manifest_view.config.media_type),
                wanted: "a container image",
            });
        }
        let config = config(source, &manifest_view.config).await?;
        let config_view: view::Config = parsed(source, &config)?;
        let (layers, diff_ids) = (manifest_view.layers.len(), config_view.rootfs.diff_ids.len());
        if layers != diff_ids {
            let reason = format!("the manifest lists {layers} layers, the config {diff_ids} diff IDs");
            return Err(Error::InvalidImage { image: name, reason });
        }
        Ok(Self { name, manifest, config, manifest_view, config_view })
    }

    /// For which platform the image is.
    pub fn platform(&self) -> Platform {
        self.config_view.platform()
    }

    /// For which platform an index's entry lists the image: what the entry states counts, and the config fills in the
    /// version of the operating system.
    pub(crate) fn platform_in(&self, entry: &Descriptor) -> Platform {
        let own = self.platform();
        match entry.platform.clone() {
            Some(stated) => Platform { os_version: stated.os_version.or(own.os_version), ..stated },
            None => own,
        }
    }
}

/// Reads a config: bounded, verified, as a document with the media type of its descriptor.
pub async fn config(source: &dyn Source, descriptor: &Descriptor) -> Result<Document, Error> {
    let unusable =
        |e| Error::Document { name: descriptor.digest.to_string(), place: source.name(), source: e };
    if descriptor.size > MAX_DOCUMENT_SIZE {
        return Err(unusable(DocumentError::TooLarge { size: descriptor.size }));
    }
    let bytes = read_all(verified(source.name(), descriptor, source.open(descriptor, 0).await?)).await?;
    let algorithm = descriptor.digest.algorithm();
    let document = Document::parse_with(bytes, Some(MediaType::OCI_CONFIG), algorithm).map_err(unusable)?;
    Ok(document.with_media_type(descriptor.media_type.clone()))
}

/// A view, with an error that names the document.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(
    source: &dyn Source,
    document: &Document,
) -> Result<T, Error> {
    document.view().map_err(|e| Error::Document {
        name: document.digest().to_string(),
        place: source.name(),
        source: e,
    })
}

/// The platform of an index entry: as the entry states it or, where it does not, as the image's config does.
/// `None` for entries that are not images.
pub async fn entry_platform(source: &dyn Source, entry: &Descriptor) -> Result<Option<Platform>, Error> {
    if entry.is_attestation() || !entry.media_type.is_document() {
        return Ok(None);
    }
    if let Some(platform) = &entry.platform {
        return Ok(Some(platform.clone()));
    }
    let document = source.document(&entry.digest.into()).await?;
    if document.kind() != Kind::Manifest || !parsed::<view::Manifest>(source, &document)?.is_image() {
        return Ok(None);
    }
    Ok(Some(Image::load(source, document).await?.platform()))
}

/// The images of an index, with their platforms, in order.
pub async fn platforms(source: &dyn Source, index: &Document) -> Result<Vec<(Descriptor, Platform)>, Error> {
    let index: view::Index = parsed(source, index)?;
    let found = try_join_all(index.manifests.into_iter().map(|entry| async move {
        let platform = entry_platform(source, &entry).await?;
        Ok::<_, Error>(platform.map(|p| (entry, p)))
    }))
    .await?;
    Ok(found.into_iter().flatten().collect())
}

/// The images of an index and of the indexes in it, with their platforms, each digest once, in order.
pub async fn platforms_below(
    source: &dyn Source,
    index: &Document,
) -> Result<Vec<(Descriptor, Platform)>, Error> {
    let (mut found, mut seen) = (Vec::new(), HashSet::from([index.digest()]));
    let mut ahead = vec![(index.clone(), 0)];
    while let Some((index, depth)) = ahead.pop() {
        if depth >= MAX_DEPTH {
            return Err(too_deep(source, index.digest()));
        }
        found.extend(platforms(source, &index).await?);
        let view: view::Index = parsed(source, &index)?;
        let inner = view.manifests.into_iter().filter(|entry| entry.media_type.role() == Role::Index);
        for entry in inner.rev().filter(|entry| seen.insert(entry.digest)) {
            ahead.push((source.document(&entry.digest.into()).await?, depth + 1));
        }
    }
    Ok(found)
}

/// The manifest of one image: what single-image operations work on.
///
/// An index is resolved to the entry that `wanted` matches; without `wanted`, to its only image, else to
/// `linux/amd64`. A single image must match `wanted`, when given.
pub async fn choose(
    source: &Arc<dyn Source>,
    selector: &Selector,
    wanted: Option<&PlatformPattern>,
) -> Result<Document, Error> {
    let document = source.document(selector).await?;
    choose_from(source.as_ref(), document, wanted).await
}

/// As [`choose`], from a document that has been read.
pub async fn choose_from(
    source: &dyn Source,
    document: Document,
    wanted: Option<&PlatformPattern>,
) -> Result<Document, Error> {
    if document.kind() != Kind::Index {
        return check_platform(source, document, wanted).await;
    }
    let entry = choose_entry(source, &document, wanted).await?;
    source.document(&entry.digest.into()).await
}

async fn check_platform(
    source: &dyn Source,
    manifest: Document,
    wanted: Option<&PlatformPattern>,
) -> Result<Document, Error> {
    let Some(wanted) = wanted else { return Ok(manifest) };
    let image = Image::load(source, manifest.clone()).await?;
    let found = image.platform();
    // Images without a platform are made by `crane append`: nobody knows what they are for.
    if wanted.matches(&found) || found.is_unstated() {
        return Ok(manifest);
    }
    Err(Error::WrongPlatform { image: image.name, wanted: wanted.to_string(), found })
}

/// Fails with [`Error::NoPlatform`] where something is wanted that none of the platforms is.
pub(crate) fn check_platforms(
    image: impl FnOnce() -> String,
    wanted: &[PlatformPattern],
    found: &[Platform],
) -> Result<(), Error> {
    match wanted.iter().find(|wanted| !found.iter().any(|platform| wanted.matches(platform))) {
        None => Ok(()),
        Some(wanted) => {
            Err(Error::NoPlatform { image: image(), wanted: wanted.to_string(), found: found.to_vec() })
        }
    }
}

async fn choose_entry(
    source: &dyn Source,
    index: &Document,
    wanted: Option<&PlatformPattern>,
) -> Result<Descriptor, Error> {
    let entries = platforms_below(source, index).await?;
    if wanted.is_none() && entries.len() == 1 {
        return Ok(entries[0].0.clone());
    }
    let default = PlatformPattern::from(&Platform::default_choice());
    let wanted = wanted.unwrap_or(&default);
    let matching: Vec<&(Descriptor, Platform)> = entries.iter().filter(|(_, p)| wanted.matches(p)).collect();
    let image = || format!("{}@{}", source.name(), index.digest());
    let Some((first, platform)) = matching.first() else {
        let found = entries.iter().map(|(_, p)| p.clone()).collect();
        return Err(Error::NoPlatform { image: image(), wanted: wanted.to_string(), found });
    };
    // Children that differ only in compression or repeat each other are one platform: the first stands for them.
    let another = |p: &Platform| !p.same_machine(platform) || p.os_version != platform.os_version;
    if let Some((_, other)) = matching.iter().find(|(_, p)| another(p)) {
        return Err(Error::ChooseOne {
            place: image(),
            choices: vec![platform.to_string(), other.to_string()],
        });
    }
    Ok(first.clone())
}
