//! Images are changed first, all of them; then indexes, from the inside out. Reads, writes nothing.

use std::collections::HashSet;

use palan_core::{Digest, Document, Kind, Platform, PlatformPattern, view};

use super::{Attestations, Change, New};
use crate::{
    Error,
    image::{self, Image},
    index::{
        self, Known, Orphan, Replaced,
        chosen::{Chosen, What},
    },
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
    let mut work = Work { source, platforms, change, replaced: Replaced::new(), out };
    work.out.root = match root.kind() {
        Kind::Index => work.tree(root, attestations).await?,
        _ => work.single(root).await?,
    };
    Ok(work.out)
}

struct Work<'a> {
    source: &'a dyn Source,
    platforms: &'a [PlatformPattern],
    change: &'a dyn Change,
    replaced: Replaced,
    out: Rewritten,
}

impl Work<'_> {
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
        let is_asked = self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(&found));
        if !is_asked && !found.is_unstated() {
            let wanted = self.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::WrongPlatform { image: image.name, wanted, found });
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

    async fn tree(&mut self, root: Document, attestations: Attestations) -> Result<Document, Error> {
        let chosen = Chosen::read(self.source, &root, self.platforms).await?;
        chosen.check(self.source, self.platforms)?;
        self.out.listed = chosen.tree.listed(|_| true);
        for found in &chosen.images {
            self.image(&found.image, &found.platforms[0]).await?;
        }
        for level in chosen.tree.inside_out(&chosen.abouts) {
            self.index(&chosen, level, attestations)?;
        }
        Ok(self.replaced.remove(&root.digest()).unwrap_or(root))
    }

    fn index(&mut self, chosen: &Chosen, level: usize, attestations: Attestations) -> Result<(), Error> {
        let touch = |what: What, old: Digest, entry: &mut serde_json::Value| {
            if let (Some(new), Some(entry), What::Image) =
                (self.replaced.get(&old), entry.as_object_mut(), what)
            {
                self.change.entry(new, entry);
            }
        };
        let orphan = |_, _| match attestations {
            Attestations::Keep => Orphan::Keep,
            Attestations::Drop => Orphan::Drop,
        };
        let drop_asked = attestations == Attestations::Drop;
        let known = Known { chosen, replaced: &self.replaced, drop_asked };
        let (new, notes) = index::rewrite(level, &known, touch, orphan)?;
        let new = self.change.index(new, level == 0)?;
        self.out.notes.extend(notes);
        self.take(chosen.tree.levels[level].document.digest(), New { manifest: new, configs: Vec::new() });
        Ok(())
    }
}
