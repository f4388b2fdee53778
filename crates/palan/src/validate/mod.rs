//! Validate: read everything once and list every fault.
//!
//! Each layer is downloaded and inflated once; its digest, its size, its diff ID, its compression and its tar structure
//! are checked in that one pass. With [`Options::fast`], blobs are only asked for, and referrers not at all.

mod blobs;
mod claims;
mod documents;
mod links;
mod subjects;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use palan_core::{Descriptor, Digest, Platform, PlatformPattern, Selector};
use palan_layer::Limits;
use serde::Serialize;

use self::{
    blobs::Blobs,
    documents::{Configs, Known},
    links::Links,
    subjects::{Other, Stated},
};
use crate::{Error, Observer, place::Source};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// Of which content.
    pub digest: Option<Digest>,
    /// One sentence. It may quote what documents say: who prints it takes care of control characters.
    pub text: String,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Odd, but images with it work.
    Warning,
    /// Wrong.
    Error,
}

/// Validates an image or index and everything below it. Faults are in the report, and so is what could
/// not be read; an error is only returned where nothing could be said at all (the root cannot be asked for: the registry
/// cannot be reached, access is denied).
pub async fn validate(source: &dyn Source, selector: &Selector, options: &Options) -> Result<Report, Error> {
    let mut run = Run {
        source,
        options,
        known: HashMap::new(),
        configs: Configs::default(),
        blobs: Blobs::default(),
        links: Links::default(),
        documents: BTreeMap::new(),
        others: HashMap::new(),
        stated: Vec::new(),
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
            run.root(root).await?;
        }
        Err(e) if is_fault(&e) => run.fault(Severity::Error, None, chain(&e)),
        Err(e) => return Err(e),
    }
    run.check_blobs().await?;
    if !options.fast {
        run.subjects().await?;
        run.referrers().await?;
    }
    run.check_attested();
    run.check_platform();
    run.report.faults.sort_by(|a, b| (b.severity, a.digest).cmp(&(a.severity, b.digest)));
    without_repetitions(&mut run.report.faults);
    Ok(run.report)
}

/// What several documents share is told once.
fn without_repetitions(faults: &mut Vec<Fault>) {
    let mut told = HashSet::new();
    let mut is_new = faults.iter().map(|fault| told.insert(fault)).collect::<Vec<_>>().into_iter();
    faults.retain(|_| is_new.next().unwrap_or(true));
}

/// Why a part could not be read, as the text of a fault: the other parts are looked at all the same.
fn unreadable(error: Error) -> Result<String, Error> {
    match error {
        Error::Cancelled => Err(error),
        Error::Io { .. } => Ok(chain(&error)),
        _ if is_fault(&error) => Ok(chain(&error)),
        _ => Ok(format!("cannot be read: {}", chain(&error))),
    }
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
    /// What indexes list and was read; `None`: it cannot be.
    known: HashMap<Digest, Option<Known>>,
    configs: Configs,
    blobs: Blobs,
    links: Links,
    /// Manifests and indexes that were read, with what they state as their subject.
    documents: BTreeMap<Digest, (Descriptor, Option<Digest>)>,
    /// Other documents that were asked for: subjects and referrers.
    others: HashMap<Digest, Other>,
    stated: Vec<Stated>,
    /// Everything that is listed, in whichever index.
    listed: HashSet<Digest>,
    /// Attestations, what they are about, and how bad it is if that is not listed.
    attested: Vec<(Digest, Digest, Severity)>,
    /// What the images that were looked at are for.
    platforms: Vec<Platform>,
    report: Report,
}

impl Run<'_> {
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
                    inside.into_iter().for_each(|inside| self.links.layer(digest, inside));
                }
                Err(e) => {
                    let (severity, digest, text) = (Severity::Error, Some(digest), unreadable(e)?);
                    self.report.faults.push(Fault { severity, digest, text });
                }
            }
        }
        self.report.faults.extend(self.links.faults());
        Ok(())
    }
}
