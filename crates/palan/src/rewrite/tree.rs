//! The walk: images are changed, indexes rewritten bottom up. Reads, writes nothing.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Role, view};

use super::{Attestations, Change, New};
use crate::{
    Error,
    image::{self, Image, MAX_DEPTH, too_deep},
    index::{self, Known, Orphan, Replaced, Subjects},
    place::{Memory, Source},
};

/// A tree whose images were changed.
pub(crate) struct Rewritten {
    pub(crate) root: Document,
    /// New manifests and indexes, the root among them where it is new; what is named before what names it.
    pub(crate) documents: Vec<Document>,
    pub(crate) configs: Vec<Document>,
    /// The images that were asked for, by the digests of their old and new manifests.
    pub(crate) images: Vec<(Digest, Digest)>,
    /// What became of entries about manifests that were replaced.
    pub(crate) notes: Vec<String>,
    /// What the old indexes list, of which the notes speak.
    pub(crate) listed: HashSet<Digest>,
}

impl Rewritten {
    /// A root alone.
    pub(crate) fn new(root: Document, notes: Vec<String>) -> Self {
        let (documents, configs, images) = (Vec::new(), Vec::new(), Vec::new());
        Self { root, documents, configs, images, notes, listed: HashSet::new() }
    }

    /// The new documents as a place.
    pub(crate) fn memory(&self) -> Memory {
        let memory = Memory::new();
        self.documents.iter().chain([&self.root]).for_each(|document| memory.add_document(document));
        self.configs.iter().for_each(|config| memory.add_document_blob(config));
        memory
    }
}

/// Changes a single image or, inside an index, the images for `platforms`, or all.
pub(crate) async fn rewrite(
    source: &dyn Source,
    root: Document,
    platforms: &[PlatformPattern],
    attestations: Attestations,
    change: &dyn Change,
) -> Result<Rewritten, Error> {
    let out = Rewritten::new(root.clone(), Vec::new());
    let listed = match root.kind() {
        Kind::Index => index::listed(source, &root, 0).await?,
        _ => HashSet::new(),
    };
    let mut walk = Walk {
        source,
        platforms,
        attestations,
        change,
        listed,
        replaced: Replaced::new(),
        subjects: Subjects::new(),
        entered: HashSet::new(),
        found: Vec::new(),
        out,
    };
    let root = match root.kind() {
        Kind::Index => walk.index(root, 0).await?,
        _ => walk.single(root).await?,
    };
    walk.check()?;
    Ok(Rewritten { root, listed: walk.listed, ..walk.out })
}

struct Walk<'a> {
    source: &'a dyn Source,
    platforms: &'a [PlatformPattern],
    attestations: Attestations,
    change: &'a dyn Change,
    /// Everything that the old indexes list.
    listed: HashSet<Digest>,
    replaced: Replaced,
    subjects: Subjects,
    /// Inner indexes and manifests that were looked at.
    entered: HashSet<Digest>,
    /// Platforms that were found, asked for or not.
    found: Vec<Platform>,
    out: Rewritten,
}

impl Walk<'_> {
    fn is_asked(&self, platform: &Platform) -> bool {
        self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(platform))
    }

    async fn single(&mut self, manifest: Document) -> Result<Document, Error> {
        if !image::parsed::<view::Manifest>(self.source, &manifest)?.is_image() {
            let found = "an artifact".to_owned();
            let image = format!("{}@{}", self.source.name(), manifest.digest());
            let Some(new) = self.change.other(&manifest).await? else {
                return Err(Error::WrongKind { image, found, wanted: "a container image" });
            };
            return Ok(self.take(manifest.digest(), new));
        }
        let image = Image::load(self.source, manifest).await?;
        let found = image.platform();
        if !self.is_asked(&found) && !found.is_unstated() {
            return Err(Error::WrongPlatform { image: image.name, wanted: self.wanted(), found });
        }
        self.image(&image, &found).await
    }

    async fn image(&mut self, image: &Image, platform: &Platform) -> Result<Document, Error> {
        let new = self.change.image(image, platform).await?;
        let old = image.manifest.digest();
        let manifest = self.take(old, new);
        self.out.images.push((old, manifest.digest()));
        Ok(manifest)
    }

    fn take(&mut self, old: Digest, new: New) -> Document {
        self.out.configs.extend(new.configs);
        if new.manifest.digest() != old {
            self.out.documents.push(new.manifest.clone());
        }
        self.replaced.insert(old, new.manifest.clone());
        new.manifest
    }

    fn index(&mut self, document: Document, depth: usize) -> BoxFuture<'_, Result<Document, Error>> {
        Box::pin(async move {
            if depth >= MAX_DEPTH {
                return Err(too_deep(self.source, document.digest()));
            }
            let index: view::Index = image::parsed(self.source, &document)?;
            let mut asked = HashSet::new();
            for entry in &index.manifests {
                if self.child(entry, depth).await? {
                    asked.insert(entry.digest);
                }
            }
            // One image may be listed for several platforms, of which not all were asked for.
            let applies = |entry: &Descriptor| {
                entry.platform.as_ref().is_none_or(|p| self.is_asked(p) || entry.is_attestation())
            };
            let touch = |old: Digest, entry: &mut serde_json::Value| {
                if let (Some(new), Some(entry), true) =
                    (self.replaced.get(&old), entry.as_object_mut(), asked.contains(&old))
                {
                    self.change.entry(new, entry);
                }
            };
            let orphan = |_| match self.attestations {
                Attestations::Keep => Orphan::Keep,
                Attestations::Drop => Orphan::Drop,
            };
            let known = Known {
                replaced: &self.replaced,
                subjects: &self.subjects,
                listed: &self.listed,
                drop_asked: self.attestations == Attestations::Drop,
            };
            let (new, notes) = index::rewrite(&document, &known, applies, touch, orphan)?;
            self.out.notes.extend(notes);
            let new = self.change.index(new, depth == 0)?;
            Ok(self.take(document.digest(), New { manifest: new, configs: Vec::new() }))
        })
    }

    /// Looks at an entry; whether it is an image that was asked for.
    async fn child(&mut self, entry: &Descriptor, depth: usize) -> Result<bool, Error> {
        if !matches!(entry.media_type.role(), Role::Index | Role::Manifest) {
            return Ok(false);
        }
        let stated = entry.platform.as_ref().filter(|_| !entry.is_attestation());
        if let Some(platform) = stated.filter(|platform| !self.is_asked(platform)) {
            self.found.push(platform.clone());
            return Ok(false);
        }
        let seen = !self.entered.insert(entry.digest);
        if seen {
            return Ok(self.out.images.iter().any(|(old, _)| *old == entry.digest));
        }
        let document = match self.source.document(&entry.digest.into()).await {
            // Mirrors may leave out what nothing can run.
            Err(error) if error.is_not_found() && entry.is_attestation() => return Ok(false),
            document => document?,
        };
        if document.kind() == Kind::Index {
            self.index(document, depth + 1).await?;
            return Ok(false);
        }
        if entry.is_attestation() || !image::parsed::<view::Manifest>(self.source, &document)?.is_image() {
            if let Some(about) = index::subject_of(entry, &document) {
                self.subjects.insert(entry.digest, about);
            }
            if let Some(new) = self.change.other(&document).await? {
                self.take(document.digest(), new);
            }
            return Ok(false);
        }
        let image = Image::load(self.source, document).await?;
        let platform = image.platform_in(entry);
        self.found.push(platform.clone());
        let asked = self.is_asked(&platform);
        if asked {
            self.image(&image, &platform).await?;
        }
        Ok(asked)
    }

    /// Everything that was asked for must be there.
    fn check(&self) -> Result<(), Error> {
        if self.out.root.kind() != Kind::Index {
            return Ok(());
        }
        let image = || format!("{}@{}", self.source.name(), self.out.root.digest());
        let missing = |p: &&PlatformPattern| !self.found.iter().any(|found| p.matches(found));
        match self.platforms.iter().find(missing) {
            Some(wanted) => {
                let found = self.found.clone();
                Err(Error::NoPlatform { image: image(), wanted: wanted.to_string(), found })
            }
            None if self.out.images.is_empty() => {
                let found = "an index without images".into();
                Err(Error::WrongKind { image: image(), found, wanted: "an image" })
            }
            None => Ok(()),
        }
    }

    fn wanted(&self) -> String {
        self.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}
