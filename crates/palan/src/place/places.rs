//! The places that locations mean, and what all of a command's places share.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use palan_client::Client;
use palan_core::{Descriptor, Reference, Selector};

use super::{
    Ahead, Archive, ArchiveWriter, Layout, Location, Memo, Registry, Source, Target, once_failed::Failures,
};
use crate::{Error, Scratch, documents::Documents};

/// A place together with what was chosen in it.
pub struct Opened<T: ?Sized> {
    /// The place.
    pub place: Arc<T>,
    /// The tag or digest. Reading from a location without one chooses the only image, which is resolved when opened;
    /// writing to one leaves the image without a tag.
    pub selector: Option<Selector>,
}

impl<T: ?Sized> Clone for Opened<T> {
    fn clone(&self) -> Self {
        Self { place: Arc::clone(&self.place), selector: self.selector.clone() }
    }
}

/// Turns locations into places; holds what all of a command's places share.
#[derive(Clone)]
pub struct Places {
    client: Client,
    scratch: Scratch,
    documents: Option<Documents>,
    memo: Memo,
    failures: Option<Failures>,
    /// Archives that are open for reading: writing one of them would replace what is being read.
    read: Arc<Mutex<Vec<OpenArchive>>>,
}

type OpenArchive = (PathBuf, Weak<Archive>);

/// A place, and what it lists.
pub(crate) type Listed = (Arc<dyn Source>, Vec<Descriptor>);

impl Places {
    /// Places that speak to registries through `client`: one connection pool and one token per scope.
    pub fn new(client: Client) -> Self {
        let (scratch, memo) = (Scratch::default(), Memo::default());
        Self { client, scratch, documents: None, memo, failures: None, read: Arc::default() }
    }

    /// With this folder for temporary files.
    pub fn with_scratch(self, scratch: Scratch) -> Self {
        Self { scratch, ..self }
    }

    /// With these documents before what is read of registries by digest. What is written, whether something is there and
    /// what tags stand for has nothing to do with them.
    #[must_use]
    pub fn with_documents(self, documents: Documents) -> Self {
        Self { documents: Some(documents), ..self }
    }

    /// For a run over many images: where bases are and that fails, nobody is asked again by this and its clones.
    #[must_use]
    pub fn asking_once(self) -> Self {
        Self { failures: self.failures.or_else(|| Some(Failures::default())), ..self }
    }

    /// The documents that are known, where some are kept.
    pub fn documents(&self) -> Option<&Documents> {
        self.documents.as_ref()
    }

    /// The folder for temporary files.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The registry client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a location for reading. Does file I/O for layouts and archives, no network.
    pub fn source(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        Ok(match location {
            Location::Registry(reference) => {
                Opened { place: Arc::new(self.registry(reference)), selector: Some(reference.selector()) }
            }
            Location::Layout { path, selector } => {
                let layout = Layout::open(path)?;
                let selector = selector.clone().map_or_else(|| layout.only(), Ok)?;
                Opened { place: Arc::new(layout), selector: Some(selector) }
            }
            Location::Archive { path, format, selector } => {
                let archive = Arc::new(Archive::open_with(path, *format, &self.scratch)?);
                self.note_read(path, &archive);
                let selector = selector.clone().map_or_else(|| archive.only(), Ok)?;
                Opened { place: archive, selector: Some(selector) }
            }
        })
    }

    /// As [`Places::source`], for what images are built on.
    pub(crate) fn base(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        match (&self.failures, location) {
            (Some(failures), Location::Registry(base)) => {
                let place = self.registry(base).with_asked(failures.of(base.repository()));
                Ok(Opened { place: Arc::new(place), selector: Some(base.selector()) })
            }
            _ => self.source(location),
        }
    }

    /// Opens a layout or archive of which nothing was chosen, for reading what it lists. `None`: it is a registry, or
    /// something was chosen.
    pub(crate) fn listed(&self, location: &Location) -> Result<Option<Listed>, Error> {
        Ok(match location {
            Location::Layout { path, selector: None } => {
                let layout = Layout::open(path)?;
                let entries = layout.entries()?;
                Some((Arc::new(layout), entries))
            }
            Location::Archive { path, format, selector: None } => {
                let archive = Arc::new(Archive::open(path, *format)?);
                self.note_read(path, &archive);
                let entries = archive.entries().to_vec();
                Some((archive, entries))
            }
            _ => None,
        })
    }

    /// As [`Places::source`], for what is about to be changed or deleted: a registry's mirrors are not asked, which may
    /// have an older image under the same tag.
    pub fn standing(&self, location: &Location) -> Result<Opened<dyn Source>, Error> {
        match location {
            Location::Registry(reference) => {
                let repo = self.client.repository(reference.repository()).primary();
                let place = self.reading(Registry::new(repo));
                Ok(Opened { place: Arc::new(place), selector: Some(reference.selector()) })
            }
            _ => self.source(location),
        }
    }

    /// Opens what is to be changed; `target`: where the result goes, if not to the image's own place. What is changed in
    /// place is opened as by [`Places::standing`].
    pub fn to_change(
        &self,
        image: &Location,
        target: Option<&Location>,
    ) -> Result<Opened<dyn Source>, Error> {
        match target {
            Some(target) if target != image => self.source(image),
            _ => self.standing(image),
        }
    }

    /// Opens a location for reading what goes to `target`: inside one registry as [`Places::standing`], so that nothing
    /// is missing there afterwards that only a mirror had.
    pub fn source_for(&self, location: &Location, target: &Location) -> Result<Opened<dyn Source>, Error> {
        match (location.reference(), target.reference()) {
            (Some(from), Some(to)) if from.repository().registry() == to.repository().registry() => {
                self.standing(location)
            }
            _ => self.source(location),
        }
    }

    /// Sends what is made for a location there meanwhile, if it is in a registry.
    pub(crate) fn ahead(&self, target: &Location) -> Result<Option<Ahead>, Error> {
        match target {
            Location::Registry(_) => Ok(Some(Ahead::new(self.target(target)?.place))),
            _ => Ok(None),
        }
    }

    /// Opens a location for writing: layouts are made, archives begun. What is begun and gets no image is gone again when
    /// the place is dropped.
    pub fn target(&self, location: &Location) -> Result<Opened<dyn Target>, Error> {
        let selector = location.selector();
        Ok(match location {
            // What is there already is asked where it is written, not a mirror.
            Location::Registry(reference) => {
                let repo = self.client.repository(reference.repository()).primary();
                Opened { place: Arc::new(Registry::new(repo).with_memo(&self.memo)), selector }
            }
            Location::Layout { path, .. } => {
                Opened { place: Arc::new(Layout::create(path)?.or_nothing()), selector }
            }
            Location::Archive { path, format, .. } => {
                self.check_target(location)?;
                let writer = ArchiveWriter::create_with(path, *format, self.scratch.clone())?;
                Opened { place: Arc::new(writer), selector }
            }
        })
    }

    fn note_read(&self, path: &Path, archive: &Arc<Archive>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|(_, archive)| archive.strong_count() > 0);
        read.extend(fs::canonicalize(path).map(|file| (file, Arc::downgrade(archive))));
    }

    /// Refuses a target that is an archive which is open for reading, under whatever name: writing an archive replaces
    /// the file, and what else it holds would be lost.
    pub fn check_target(&self, location: &Location) -> Result<(), Error> {
        let Location::Archive { path, .. } = location else { return Ok(()) };
        let Ok(file) = fs::canonicalize(path) else { return Ok(()) };
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.iter().any(|(other, archive)| *other == file && archive.strong_count() > 0) {
            let what =
                format!("changing the archive {} in place: give another file as target", path.display());
            return Err(Error::Unsupported(what));
        }
        Ok(())
    }

    fn registry(&self, reference: &Reference) -> Registry {
        self.reading(Registry::new(self.client.repository(reference.repository())))
    }

    fn reading(&self, place: Registry) -> Registry {
        place.with_memo(&self.memo).with_documents(self.documents.clone())
    }
}

impl Opened<dyn Source> {
    /// What was chosen; locations opened for reading always have it.
    pub fn chosen(&self) -> Result<&Selector, Error> {
        self.selector
            .as_ref()
            .ok_or_else(|| Error::ChooseOne { place: self.place.name(), choices: Vec::new() })
    }
}
