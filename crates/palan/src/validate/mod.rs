//! Validate: read everything once and list every fault.
//!
//! Each layer is downloaded and inflated once; its digest, its size, its diff ID, its compression and its tar structure
//! are checked in that one pass. With [`Options::fast`], blobs are only asked for, and referrers not at all.

mod blobs;
mod claims;
mod links;
mod subjects;

use std::collections::{BTreeMap, HashSet};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Selector, annotation, view};
use palan_layer::Limits;
use serde::Serialize;

use self::{blobs::Blobs, links::Links};
use crate::{
    Error, Observer,
    image::{self, MAX_DEPTH, parsed},
    place::Source,
};

/// How to validate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only ask whether blobs are there.
    pub fast: bool,
    /// Only the images of this platform.
    pub platform: Option<PlatformPattern>,
    /// How many layers are read at once.
    pub jobs: usize,
    /// Bounds on what a layer may make us do.
    pub limits: Limits,
    /// Who is told.
    pub observer: Observer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fast: false,
            platform: None,
            jobs: 4,
            limits: Limits::default(),
            observer: Observer::default(),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was validated.
    pub name: String,
    /// Digest of the root; unknown where even that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How many documents were read.
    pub documents: usize,
    /// How many blobs were read, or asked for.
    pub blobs: usize,
    /// Everything that is wrong, and what is odd.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether nothing is wrong; oddities do not count.
    pub fn is_valid(&self) -> bool {
        !self.faults.iter().any(|f| f.severity == Severity::Error)
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// Of which content.
    pub digest: Option<Digest>,
    /// One sentence.
    pub text: String,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Odd, but images with it work.
    Warning,
    /// Wrong.
    Error,
}

/// Validates an image or index and everything below it. Faults are in the report; an error is only returned where
/// nothing could be said at all (the registry cannot be reached, access is denied).
pub async fn validate(source: &dyn Source, selector: &Selector, options: &Options) -> Result<Report, Error> {
    let mut run = Run {
        source,
        options,
        seen: HashSet::new(),
        blobs: Blobs::default(),
        links: Links::default(),
        documents: BTreeMap::new(),
        listed: HashSet::new(),
        attested: Vec::new(),
        platforms: Vec::new(),
        report: Report {
            name: format!("{} {selector}", source.name()),
            digest: None,
            documents: 0,
            blobs: 0,
            faults: Vec::new(),
        },
    };
    match source.document(selector).await {
        Ok(root) => {
            run.report.digest = Some(root.digest());
            run.document(root, None, 0).await?;
        }
        Err(e) if is_fault(&e) => run.fault(Severity::Error, None, chain(&e)),
        Err(e) => return Err(e),
    }
    run.check_blobs().await?;
    if !options.fast {
        run.referrers().await?;
    }
    run.check_attested();
    run.check_platform();
    run.report.faults.sort_by(|a, b| (b.severity, a.digest).cmp(&(a.severity, b.digest)));
    Ok(run.report)
}

/// Errors that say something about the content, not about the way to it.
fn is_fault(error: &Error) -> bool {
    match error {
        Error::Client(e) => {
            use palan_client::Error as E;
            e.is_not_found()
                || matches!(e, E::Mismatch { .. } | E::Document { .. } | E::TooLarge { .. } | E::Html { .. })
        }
        Error::NotFound { .. }
        | Error::Damaged { .. }
        | Error::Document { .. }
        | Error::InvalidImage { .. }
        | Error::Malformed { .. } => true,
        _ => false,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

struct Run<'a> {
    source: &'a dyn Source,
    options: &'a Options,
    seen: HashSet<Digest>,
    blobs: Blobs,
    links: Links,
    /// Manifests and indexes that were read, with what they state as their subject.
    documents: BTreeMap<Digest, (Descriptor, Option<Digest>)>,
    /// Everything that is listed, in whichever index.
    listed: HashSet<Digest>,
    /// Attestations, what they are about, and how bad it is if that is not listed.
    attested: Vec<(Digest, Digest, Severity)>,
    /// What the images that were looked at are for.
    platforms: Vec<Platform>,
    report: Report,
}

impl<'a> Run<'a> {
    /// What attestations are about must be listed; it may be so in another index than they are.
    fn check_attested(&mut self) {
        for (attestation, about, severity) in std::mem::take(&mut self.attested) {
            if !self.listed.contains(&about) {
                let text = format!("is an attestation about {about}, which the index does not list");
                self.fault(severity, Some(attestation), text);
            }
        }
    }

    /// What was asked for must be there.
    fn check_platform(&mut self) {
        let Some(wanted) = &self.options.platform else { return };
        if !self.platforms.iter().any(|found| wanted.matches(found) || found.is_unstated()) {
            let text = format!("has no image for {wanted}");
            self.fault(Severity::Error, self.report.digest, text);
        }
    }

    fn fault(&mut self, severity: Severity, digest: Option<Digest>, text: impl Into<String>) {
        self.report.faults.push(Fault { severity, digest, text: text.into() });
    }

    fn error(&mut self, digest: Digest, text: impl Into<String>) {
        self.fault(Severity::Error, Some(digest), text);
    }

    fn document<'s>(
        &'s mut self,
        found: Document,
        entry: Option<Descriptor>,
        depth: usize,
    ) -> BoxFuture<'s, Result<(), Error>>
    where
        'a: 's,
    {
        Box::pin(async move {
            self.report.documents += 1;
            let digest = found.digest();
            if depth > MAX_DEPTH {
                self.error(digest, format!("is nested more than {MAX_DEPTH} levels deep"));
                return Ok(());
            }
            if found.kind() != Kind::Other {
                self.subject(&found, entry.as_ref()).await?;
            }
            match found.kind() {
                Kind::Index => match parsed::<view::Index>(self.source, &found) {
                    Ok(index) => return self.index(index, depth).await,
                    Err(e) => self.error(digest, chain(&e)),
                },
                Kind::Manifest => match parsed::<view::Manifest>(self.source, &found) {
                    Ok(manifest) => return self.manifest(&found, manifest, entry).await,
                    Err(e) => self.error(digest, chain(&e)),
                },
                Kind::Other => {
                    let text = format!("is neither a manifest nor an index but {}", found.media_type());
                    self.error(digest, text);
                }
            }
            Ok(())
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
            if !entry.media_type.is_document() {
                self.add_blob(entry, None);
            } else if self.seen.insert(entry.digest) {
                self.entry(entry, depth).await?;
            }
        }
        Ok(())
    }

    async fn entry(&mut self, entry: Descriptor, depth: usize) -> Result<(), Error> {
        let digest = entry.digest;
        let child = match self.source.document(&digest.into()).await {
            Ok(child) => child,
            Err(e) if is_fault(&e) => {
                self.error(digest, chain(&e));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if child.size() != entry.size {
            self.error(digest, format!("has {} bytes, the index states {}", child.size(), entry.size));
        }
        if *child.media_type() != entry.media_type {
            self.error(digest, format!("is a {}, the index states {}", child.media_type(), entry.media_type));
        }
        self.document(child, Some(entry), depth + 1).await
    }

    async fn manifest(
        &mut self,
        document: &Document,
        manifest: view::Manifest,
        entry: Option<Descriptor>,
    ) -> Result<(), Error> {
        self.families(document, &manifest);
        self.hints(document.digest(), &manifest);
        if !manifest.is_image() {
            for descriptor in std::iter::once(manifest.config).chain(manifest.layers) {
                self.add_blob(descriptor, None);
            }
            return Ok(());
        }
        let config = match image::config(self.source, &manifest.config).await {
            Ok(config) => config,
            Err(e) if is_fault(&e) => {
                self.error(manifest.config.digest, format!("the config: {}", chain(&e)));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        self.report.blobs += 1;
        match parsed::<view::Config>(self.source, &config) {
            Ok(config) => self.image(document.digest(), manifest, &config, entry),
            Err(e) => self.error(manifest.config.digest, format!("the config: {}", chain(&e))),
        }
        Ok(())
    }

    fn image(
        &mut self,
        digest: Digest,
        manifest: view::Manifest,
        config: &view::Config,
        entry: Option<Descriptor>,
    ) {
        let config_digest = manifest.config.digest;
        let stated = entry.as_ref().and_then(|entry| entry.platform.clone());
        self.platforms.push(stated.unwrap_or_else(|| config.platform()));
        if let Some(stated) = entry.filter(|e| !e.is_attestation()).and_then(|e| e.platform) {
            self.platform(digest, &stated, &config.platform());
        }
        if config.rootfs.kind != "layers" {
            self.error(
                config_digest,
                format!("rootfs.type is \"{}\", it must be \"layers\"", config.rootfs.kind),
            );
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            self.error(digest, format!("layers: {layers}, diff IDs in its config: {diff_ids}"));
        }
        let steps = config.history.iter().filter(|h| !h.empty_layer).count();
        if steps != layers && !config.history.is_empty() {
            let text = format!("layers that the history describes: {steps}, layers: {layers}");
            self.fault(Severity::Warning, Some(config_digest), text);
        }
        self.links.image(manifest.layers.iter().map(|layer| layer.digest).collect());
        let mut ids = config.rootfs.diff_ids.iter().copied();
        for layer in manifest.layers {
            self.add_blob(layer, ids.next());
        }
    }

    fn add_blob(&mut self, descriptor: Descriptor, diff_id: Option<Digest>) {
        let digest = descriptor.digest;
        if let Some(text) = self.blobs.add(descriptor, diff_id) {
            self.error(digest, text);
        }
    }

    async fn check_blobs(&mut self) -> Result<(), Error> {
        let blobs = std::mem::take(&mut self.blobs).into_vec();
        self.report.blobs += blobs.len();
        let (source, options) = (self.source, self.options);
        let mut checks: BoxStream<'_, _> = stream::iter(blobs)
            .map(|blob| async move { (blob.descriptor.digest, blobs::check(source, &blob, options).await) })
            .buffer_unordered(options.jobs.max(1))
            .boxed();
        while let Some((digest, found)) = checks.next().await {
            match found {
                Ok((found, inside)) => {
                    found.into_iter().for_each(|(severity, text)| {
                        self.report.faults.push(Fault { severity, digest: Some(digest), text });
                    });
                    inside.into_iter().for_each(|(paths, links)| self.links.layer(digest, paths, links));
                }
                Err(e) if is_fault(&e) => {
                    let (severity, digest, text) = (Severity::Error, Some(digest), chain(&e));
                    self.report.faults.push(Fault { severity, digest, text });
                }
                Err(e) => return Err(e),
            }
        }
        self.report.faults.extend(self.links.faults());
        Ok(())
    }
}
