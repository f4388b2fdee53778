//! The images whose bases are looked for, with what the documents above them say.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Reference, view};

use super::Evidence;
use crate::{
    Error,
    image::{self, Image, MAX_DEPTH, too_deep},
    index::about,
    place::Source,
    rebase::hints::Hints,
};

/// An image, and everything that was read about it on the way to it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The image.
    pub image: Arc<Image>,
    /// For which platform its base is looked for.
    pub platform: Platform,
    /// What says something, the most trusted first.
    hints: Vec<(Evidence, Hints)>,
    /// Attestation manifests about it that its index lists.
    attestations: Vec<Descriptor>,
}

/// A base that something speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) evidence: Evidence,
    pub(super) name: Option<Reference>,
    pub(super) digest: Option<Digest>,
}

impl Subject {
    /// An image that stands for itself.
    pub fn new(image: Arc<Image>, platform: Platform) -> Self {
        let hints = vec![
            (Evidence::ManifestAnnotation, Hints::of_manifest(&image)),
            (Evidence::Label, Hints::of_labels(&image)),
        ];
        Self { image, platform, hints, attestations: Vec::new() }
    }

    /// Adds what its entry in an index says.
    #[must_use]
    pub fn entry(self, entry: &Descriptor) -> Self {
        self.hint(Evidence::DescriptorAnnotation, Hints::read(|key| entry.annotation(key)))
    }

    /// Adds what an index says that lists it. Inner indexes come before outer ones.
    #[must_use]
    pub fn index(self, index: &view::Index) -> Self {
        let hints = Hints::read(|key| index.annotations.get(key).map(String::as_str));
        self.hint(Evidence::IndexAnnotation, hints)
    }

    /// Adds an attestation manifest about it that its index lists.
    #[must_use]
    pub fn attestation(mut self, manifest: Descriptor) -> Self {
        self.attestations.push(manifest);
        self
    }

    fn hint(mut self, evidence: Evidence, hints: Hints) -> Self {
        let at = self.hints.iter().position(|(other, _)| *other > evidence).unwrap_or(self.hints.len());
        self.hints.insert(at, (evidence, hints));
        self
    }

    pub(super) fn attestations(&self) -> &[Descriptor] {
        &self.attestations
    }

    /// What says that the image was built on nothing. Labels may have been handed down.
    pub(super) fn is_from_scratch(&self) -> bool {
        let says_so = |(evidence, hints): &(Evidence, Hints)| {
            evidence.is_direct() && hints.name.as_deref() == Some("scratch")
        };
        self.hints.iter().any(says_so)
    }

    /// The bases that the hints speak of, each once. What one place leaves out is taken from the next ones, unless those
    /// speak of another base.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut out: Vec<Candidate> = Vec::new();
        for (i, (evidence, hints)) in self.hints.iter().enumerate() {
            if *hints == Hints::default() {
                continue;
            }
            let rest = self.hints[i + 1..].iter().map(|(_, hints)| hints.clone());
            let hints = rest.fold(hints.clone(), Hints::or);
            let name = hints.reference();
            let digest = hints.digest.or(name.as_ref().and_then(Reference::digest));
            let candidate = Candidate { evidence: *evidence, name, digest };
            let again = out.iter().any(|c| (&c.name, c.digest) == (&candidate.name, candidate.digest));
            if !again && (candidate.name.is_some() || candidate.digest.is_some()) {
                out.push(candidate);
            }
        }
        out
    }
}

/// The images of a document that are for the platforms asked for (none: all), each once.
pub(super) async fn subjects(
    source: &dyn Source,
    root: &Document,
    platforms: &[PlatformPattern],
) -> Result<Vec<Subject>, Error> {
    let wanted = |platform: &Platform| platforms.is_empty() || platforms.iter().any(|p| p.matches(platform));
    if root.kind() != Kind::Index {
        let image = Arc::new(Image::load(source, root.clone()).await?);
        let platform = image.platform();
        return Ok(if wanted(&platform) { vec![Subject::new(image, platform)] } else { Vec::new() });
    }
    let mut found = of_index(source, root, &wanted, 0).await?;
    let mut seen = HashSet::new();
    found.retain(|subject| seen.insert(subject.image.manifest.digest()));
    Ok(found)
}

type Wanted<'a> = &'a (dyn Fn(&Platform) -> bool + Sync);

fn of_index<'a>(
    source: &'a dyn Source,
    document: &'a Document,
    wanted: Wanted<'a>,
    depth: usize,
) -> BoxFuture<'a, Result<Vec<Subject>, Error>> {
    Box::pin(async move {
        if depth >= MAX_DEPTH {
            return Err(too_deep(source, document.digest()));
        }
        let index: view::Index = image::parsed(source, document)?;
        let (attestations, entries): (Vec<&Descriptor>, Vec<&Descriptor>) =
            index.manifests.iter().partition(|entry| entry.is_attestation());
        let children = entries.into_iter().map(|entry| of_entry(source, entry, wanted, depth));
        let subjects = try_join_all(children).await?.into_iter().flatten();
        let mut subjects: Vec<Subject> = subjects.map(|subject| subject.index(&index)).collect();
        for entry in attestations {
            let Some(about) = about(source, entry).await? else { continue };
            for subject in subjects.iter_mut().filter(|s| s.image.manifest.digest() == about) {
                subject.attestations.push(entry.clone());
            }
        }
        Ok(subjects)
    })
}

async fn of_entry(
    source: &dyn Source,
    entry: &Descriptor,
    wanted: Wanted<'_>,
    depth: usize,
) -> Result<Vec<Subject>, Error> {
    let passed = entry.platform.as_ref().is_some_and(|platform| !wanted(platform));
    if passed || !entry.media_type.is_document() {
        return Ok(Vec::new());
    }
    let document = source.document(&entry.digest.into()).await?;
    if document.kind() == Kind::Index {
        let inner = of_index(source, &document, wanted, depth + 1).await?;
        return Ok(inner.into_iter().map(|subject| subject.entry(entry)).collect());
    }
    let manifest: view::Manifest = image::parsed(source, &document)?;
    if !manifest.is_image() {
        return Ok(Vec::new());
    }
    let image = Arc::new(Image::load(source, document).await?);
    let platform = image.platform_in(entry);
    if !wanted(&platform) {
        return Ok(Vec::new());
    }
    Ok(vec![Subject::new(image, platform).entry(entry)])
}
