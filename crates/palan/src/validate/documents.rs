//! The documents of a validation: each is read once, whatever lists it, and whatever is said about it is checked.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use palan_core::{Descriptor, Digest, Document, Kind, Platform, annotation, view};

use super::{Run, Severity, blobs::Part, chain, unreadable};
use crate::{
    Error,
    image::{self, MAX_DEPTH, parsed},
};

/// How many bytes of configs are remembered. Images that share one have it remembered; no honest index needs more.
const REMEMBERED: u64 = 16 * 1024 * 1024;

/// What was read of a document that an index lists.
pub(super) struct Known {
    descriptor: Descriptor,
    machine: Machine,
}

/// For which platform a document is.
enum Machine {
    /// It is no image.
    None,
    /// Its config cannot be read.
    Unknown,
    Of(Platform),
}

/// Configs by digest and promised size; `None`: they cannot be used.
#[derive(Default)]
pub(super) struct Configs {
    read: HashMap<(Digest, u64), Option<Arc<Config>>>,
    bytes: u64,
}

/// What of a config matters.
struct Config {
    platform: Platform,
    kind: String,
    diff_ids: Vec<Digest>,
    /// Layers that its history describes; `None`: it has no history.
    steps: Option<usize>,
}

impl From<view::Config> for Config {
    fn from(config: view::Config) -> Self {
        let steps = config.history.iter().filter(|step| !step.empty_layer).count();
        Self {
            platform: config.platform(),
            steps: (!config.history.is_empty()).then_some(steps),
            kind: config.rootfs.kind,
            diff_ids: config.rootfs.diff_ids,
        }
    }
}

impl<'a> Run<'a> {
    pub(super) async fn root(&mut self, root: Document) -> Result<(), Error> {
        let machine = self.document(root, None, 0).await?;
        self.found(None, &machine);
        Ok(())
    }

    fn document<'s>(
        &'s mut self,
        found: Document,
        entry: Option<&'s Descriptor>,
        depth: usize,
    ) -> BoxFuture<'s, Result<Machine, Error>>
    where
        'a: 's,
    {
        Box::pin(async move {
            self.report.documents += 1;
            let digest = found.digest();
            if depth > MAX_DEPTH {
                self.error(digest, format!("is nested more than {MAX_DEPTH} levels deep"));
                return Ok(Machine::None);
            }
            if found.kind() != Kind::Other {
                self.demanded(&found);
                self.subject(&found, entry);
            }
            match found.kind() {
                Kind::Index => match parsed::<view::Index>(self.source, &found) {
                    Ok(index) => self.index(index, depth).await?,
                    Err(e) => self.error(digest, chain(&e)),
                },
                Kind::Manifest => match parsed::<view::Manifest>(self.source, &found) {
                    Ok(manifest) => return self.manifest(&found, manifest).await,
                    Err(e) => self.error(digest, chain(&e)),
                },
                Kind::Other => {
                    let text = format!("is neither a manifest nor an index but {}", found.media_type());
                    self.error(digest, text);
                }
            }
            Ok(Machine::None)
        })
    }

    async fn index(&mut self, index: view::Index, depth: usize) -> Result<(), Error> {
        for entry in index.manifests {
            self.listed.insert(entry.digest);
            if let Some(about) = entry.attested_digest() {
                // One that says so itself was kept on purpose.
                let severity = match entry.annotation(annotation::MADE_ABOUT) {
                    Some(_) => Severity::Warning,
                    None => Severity::Error,
                };
                self.attested.push((entry.digest, about, severity));
            }
            let asked = match (&self.options.platform, &entry.platform) {
                (Some(wanted), Some(platform)) => wanted.matches(platform),
                _ => true,
            };
            if !asked {
                continue;
            }
            if entry.media_type.is_document() {
                self.entry(&entry, depth).await?;
            } else {
                self.add_blob(entry, Part::Other);
            }
        }
        Ok(())
    }

    async fn entry(&mut self, entry: &Descriptor, depth: usize) -> Result<(), Error> {
        let known = match self.known.remove(&entry.digest) {
            Some(known) => known,
            None => self.read(entry, depth).await?,
        };
        if let Some(known) = &known {
            self.stated_in_index(entry, known);
        }
        self.known.insert(entry.digest, known);
        Ok(())
    }

    async fn read(&mut self, entry: &Descriptor, depth: usize) -> Result<Option<Known>, Error> {
        let child = match self.source.document(&entry.digest.into()).await {
            Ok(child) => child,
            Err(e) => {
                self.error(entry.digest, unreadable(e)?);
                return Ok(None);
            }
        };
        let descriptor = child.descriptor();
        let machine = self.document(child, Some(entry), depth + 1).await?;
        Ok(Some(Known { descriptor, machine }))
    }

    /// What an entry states against what it stands for.
    fn stated_in_index(&mut self, entry: &Descriptor, known: &Known) {
        let (digest, found) = (entry.digest, &known.descriptor);
        if found.size != entry.size {
            self.error(digest, format!("has {} bytes, the index states {}", found.size, entry.size));
        }
        if found.media_type != entry.media_type {
            let text = format!("is a {}, the index states {}", found.media_type, entry.media_type);
            self.error(digest, text);
        }
        if let (Some(stated), Machine::Of(own)) = (&entry.platform, &known.machine)
            && !entry.is_attestation()
        {
            self.platform(digest, stated, own);
        }
        self.found(entry.platform.as_ref(), &known.machine);
    }

    /// An image was looked at.
    fn found(&mut self, stated: Option<&Platform>, machine: &Machine) {
        let own = match machine {
            Machine::None => return,
            Machine::Unknown => &Platform::new("", ""),
            Machine::Of(own) => own,
        };
        self.platforms.push(stated.unwrap_or(own).clone());
    }

    async fn manifest(&mut self, document: &Document, manifest: view::Manifest) -> Result<Machine, Error> {
        self.families(document, &manifest);
        self.hints(document.digest(), &manifest);
        if !manifest.is_image() {
            for descriptor in std::iter::once(manifest.config).chain(manifest.layers) {
                self.add_blob(descriptor, Part::Other);
            }
            return Ok(Machine::None);
        }
        let config = self.config(&manifest.config).await?;
        if let Some(config) = &config {
            self.counts(document.digest(), &manifest, config);
        }
        self.links.image(manifest.layers.iter().map(|layer| layer.digest));
        let mut ids = config.iter().flat_map(|config| config.diff_ids.iter().copied());
        for layer in manifest.layers {
            self.add_blob(layer, Part::Layer(ids.next()));
        }
        Ok(config.map_or(Machine::Unknown, |config| Machine::Of(config.platform.clone())))
    }

    /// A config; `None` where it cannot be used, which was said.
    async fn config(&mut self, descriptor: &Descriptor) -> Result<Option<Arc<Config>>, Error> {
        let key = (descriptor.digest, descriptor.size);
        if let Some(config) = self.configs.read.get(&key) {
            return Ok(config.clone());
        }
        let found = match image::config(self.source, descriptor).await {
            Ok(config) => {
                self.report.blobs += 1;
                parsed::<view::Config>(self.source, &config)
            }
            Err(e) => Err(e),
        };
        let config = match found {
            Ok(config) => Some(Arc::new(Config::from(config))),
            Err(e) => {
                self.error(descriptor.digest, format!("the config: {}", unreadable(e)?));
                None
            }
        };
        let bytes = config.as_ref().map_or(0, |_| descriptor.size);
        if let Entry::Vacant(place) = self.configs.read.entry(key)
            && self.configs.bytes + bytes <= REMEMBERED
        {
            self.configs.bytes += bytes;
            place.insert(config.clone());
        }
        Ok(config)
    }

    /// What a config says about the layers against what the manifest lists.
    fn counts(&mut self, digest: Digest, manifest: &view::Manifest, config: &Config) {
        let config_digest = manifest.config.digest;
        self.demanded_of_config(config_digest, &config.platform);
        if config.kind != "layers" {
            let text = format!("rootfs.type is \"{}\", it must be \"layers\"", config.kind);
            self.error(config_digest, text);
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            self.error(digest, format!("layers: {layers}, diff IDs in its config: {diff_ids}"));
        }
        if let Some(steps) = config.steps.filter(|steps| *steps != layers) {
            let text = format!("layers that the history describes: {steps}, layers: {layers}");
            self.fault(Severity::Warning, Some(config_digest), text);
        }
    }

    fn add_blob(&mut self, descriptor: Descriptor, part: Part) {
        let digest = descriptor.digest;
        if let Some(text) = self.blobs.add(descriptor, part) {
            self.error(digest, text);
        }
    }
}
