//! The two bases of a rebase: read once, resolved for the platforms that are needed, and no others.

use std::{collections::HashMap, sync::Arc};

use palan_core::{Digest, Document, Kind, Platform, Reference, Selector};
use tokio::sync::Mutex;

use crate::{
    Error,
    image::{self, Image},
    place::{Opened, Source},
};

/// A base image or index, read.
pub(super) struct Base {
    pub(super) source: Arc<dyn Source>,
    /// Its name, when it is in a registry.
    pub(super) reference: Option<Reference>,
    pub(super) root: Document,
    images: Mutex<HashMap<Digest, Arc<Image>>>,
}

impl Base {
    pub(super) async fn read(
        opened: &Opened<dyn Source>,
        reference: Option<Reference>,
    ) -> Result<Self, Error> {
        let root = opened.place.document(opened.chosen()?).await?;
        Ok(Self { source: Arc::clone(&opened.place), reference, root, images: Mutex::default() })
    }

    /// `repository@digest` or `place@digest`, for messages.
    pub(super) fn name(&self) -> String {
        match &self.reference {
            Some(reference) => reference.to_string(),
            None => format!("{}@{}", self.source.name(), self.root.digest()),
        }
    }

    /// The base's image for a platform.
    pub(super) async fn image(&self, platform: &Platform) -> Result<Arc<Image>, Error> {
        let manifest = match self.root.kind() {
            Kind::Index => {
                let entries = image::platforms(self.source.as_ref(), &self.root).await?;
                let entry = entries.iter().find(|(_, p)| fits(p, platform)).map(|(e, _)| e.clone());
                let entry = entry.ok_or_else(|| Error::NoPlatform {
                    image: self.name(),
                    wanted: platform.to_string(),
                    found: entries.into_iter().map(|(_, p)| p).collect(),
                })?;
                entry.digest
            }
            _ => self.root.digest(),
        };
        let image = self.load(manifest).await?;
        let found = image.platform();
        if !fits(&found, platform) {
            return Err(Error::WrongPlatform { image: self.name(), wanted: platform.to_string(), found });
        }
        Ok(image)
    }

    async fn load(&self, digest: Digest) -> Result<Arc<Image>, Error> {
        if let Some(known) = self.images.lock().await.get(&digest) {
            return Ok(Arc::clone(known));
        }
        let manifest = if digest == self.root.digest() {
            self.root.clone()
        } else {
            self.source.document(&Selector::Digest(digest)).await?
        };
        if manifest.kind() == Kind::Index {
            return Err(Error::Unsupported(format!(
                "{} is an index that lists indexes, as a base",
                self.name()
            )));
        }
        let image = Arc::new(Image::load(self.source.as_ref(), manifest).await?);
        self.images.lock().await.insert(digest, Arc::clone(&image));
        Ok(image)
    }
}

/// A base for `base` can carry an image for `image`: the same machine. Images that say nothing of their variant are
/// taken as they are.
fn fits(base: &Platform, image: &Platform) -> bool {
    base.same_machine(image)
}
