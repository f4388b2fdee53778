//! One image under examination: what speaks of its base, compared with its layers.

use std::{cmp::Reverse, sync::Arc};

use futures_util::{StreamExt as _, stream};
use palan_core::{Digest, Reference, chain_ids};

use super::{
    Confidence, Conflict, Detector, Evidence, Found, Subject, known::Entry, lifecycle, provenance,
    subject::Candidate,
};
use crate::{Error, image::Image, place::Source, rebase::boundary};

/// How many candidates are read at the same time.
const JOBS: usize = 4;

/// What became of a candidate.
pub(super) enum Judged {
    Found(Box<Found>),
    Refuted(Conflict),
}

impl Judged {
    pub(super) fn found(found: Found) -> Self {
        Self::Found(Box::new(found))
    }

    /// Whether nothing else has to be asked.
    pub(super) fn settles(&self) -> bool {
        matches!(self, Self::Found(found) if found.is_proven() && found.evidence.is_direct())
    }
}

/// One image under examination.
pub(super) struct Examination<'a> {
    detector: &'a Detector<'a>,
    subject: &'a Subject,
    diff_ids: &'a [Digest],
    chains: Vec<Digest>,
}

impl<'a> Examination<'a> {
    pub(super) fn of(detector: &'a Detector<'a>, subject: &'a Subject) -> Self {
        let diff_ids = subject.image.config_view.rootfs.diff_ids.as_slice();
        Self { detector, subject, diff_ids, chains: chain_ids(diff_ids) }
    }

    /// What label and hints speak of.
    pub(super) async fn hinted(&self) -> Result<Vec<Judged>, Error> {
        let mut all = Vec::new();
        if let Some(label) = lifecycle::read(&self.subject.image) {
            all.push(self.lifecycle(label).await?);
        }
        for judged in self.judge_all(self.subject.candidates()).await {
            all.push(judged?);
        }
        Ok(all)
    }

    /// What provenance speaks of: images of other stages are passed over, and one that cannot be read counts where it
    /// is the only one.
    pub(super) async fn attested(&self, source: &dyn Source) -> Result<Vec<Judged>, Error> {
        let candidates = provenance::candidates(source, self.subject).await;
        let alone = candidates.len() == 1;
        let judged = self.judge_all(candidates).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let counts = |judged: &Judged| matches!(judged, Judged::Found(found) if found.is_proven() || alone);
        Ok(judged.into_iter().filter(counts).collect())
    }

    async fn judge_all(&self, candidates: Vec<Candidate>) -> Vec<Result<Judged, Error>> {
        stream::iter(candidates).map(|candidate| self.judge(candidate)).buffered(JOBS).collect().await
    }

    async fn judge(&self, candidate: Candidate) -> Result<Judged, Error> {
        let Candidate { evidence, name, digest } = candidate;
        let stated = |reason: String| Found {
            name: name.clone(),
            digest,
            reason: Some(reason),
            ..unproven(evidence, Confidence::Stated)
        };
        let read = match (&name, digest) {
            (Some(name), Some(digest)) => self.read(&name.repository().with_digest(digest)).await,
            (Some(name), None) => self.read(name).await,
            (None, _) => Err("it is not said in which repository it is".to_owned()),
        };
        let base = match read {
            Ok(base) => base,
            Err(reason) => {
                let remembered = digest.map(|digest| self.remembered(digest)).transpose()?.flatten();
                let found = remembered.map(|entry| self.of_entry(evidence, entry)).transpose()?;
                return Ok(Judged::found(found.unwrap_or_else(|| stated(reason))));
            }
        };
        Ok(match self.compare(&base) {
            Ok(boundary) => Judged::found(self.verified(evidence, name.clone(), &base, boundary)),
            // A tag may have moved since; a digest has not.
            Err(reason) if digest.is_none() => {
                let reason = format!("the tag stands for an image that this one is not built on: {reason}");
                Judged::found(stated(reason))
            }
            Err(reason) => {
                let base = stated(String::new()).shown();
                Judged::Refuted(Conflict { evidence, base, reason })
            }
        })
    }

    /// The buildpacks lifecycle says where the base ends, so that the base itself is not needed.
    async fn lifecycle(&self, label: lifecycle::Lifecycle) -> Result<Judged, Error> {
        let Candidate { evidence, name, digest } = label.candidate.clone();
        let boundary = match label.boundary {
            Ok(boundary) => boundary,
            Err(reason) => {
                let base = name.map(|name| name.to_string()).unwrap_or_default();
                return Ok(Judged::Refuted(Conflict { evidence, base, reason }));
            }
        };
        let chain = self.chains.get(boundary - 1).copied();
        // A tag may stand for anything by now.
        let reason = match digest {
            None => Some("the label does not say by which digest the base is known".to_owned()),
            Some(_) => match self.judge(label.candidate).await? {
                Judged::Found(found) if found.boundary == Some(boundary) => return Ok(Judged::Found(found)),
                Judged::Found(found) if found.boundary.is_none() => found.reason,
                Judged::Found(_) => {
                    Some("the base has another number of layers than the label says".to_owned())
                }
                Judged::Refuted(conflict) => Some(conflict.reason),
            },
        };
        let remembered = match (self.detector.known, chain) {
            (Some(known), Some(chain)) => known.with_chain(&chain, &self.subject.platform)?,
            _ => Vec::new(),
        };
        if let Some(found) = self.pick(remembered, evidence, &name.iter().collect::<Vec<_>>())? {
            return Ok(Judged::found(found));
        }
        let boundary = Some(boundary);
        let bounded = unproven(evidence, Confidence::Bounded);
        Ok(Judged::found(Found { name, digest, boundary, chain_id: chain, reason, ..bounded }))
    }

    /// The base's image for the platform; the error is why there is none.
    async fn read(&self, reference: &Reference) -> Result<Read, String> {
        let read = async {
            let base = self.detector.base(reference).await?;
            let image = base.image_for(&self.subject.platform).await?;
            let root = base.root.digest();
            let index = Some(root).filter(|root| *root != image.manifest.digest());
            Ok::<_, Error>(Read { image, index })
        };
        read.await.map_err(|error| error.in_full())
    }

    /// How many layers are the base's; the error is why the image is not built on it.
    fn compare(&self, base: &Read) -> Result<usize, String> {
        if base.image.manifest.digest() == self.subject.image.manifest.digest() {
            return Err("that is the image itself".to_owned());
        }
        match boundary(self.diff_ids, &base.image.config_view.rootfs.diff_ids) {
            Ok(0) => Err("it has no layers, so that nothing could be compared".to_owned()),
            Ok(boundary) => Ok(boundary),
            Err(difference) => Err(difference.to_string()),
        }
    }

    fn verified(&self, evidence: Evidence, name: Option<Reference>, base: &Read, boundary: usize) -> Found {
        Found {
            name,
            digest: Some(base.image.manifest.digest()),
            index_digest: base.index,
            boundary: Some(boundary),
            chain_id: self.chains.get(boundary - 1).copied(),
            config: Some(base.image.config.clone()),
            ..unproven(evidence, Confidence::Verified)
        }
    }

    /// The known base with a digest, of an index or of a platform's image.
    fn remembered(&self, digest: Digest) -> Result<Option<Entry>, Error> {
        let Some(known) = self.detector.known else { return Ok(None) };
        let named = |entry: &Entry| entry.manifest == digest || entry.index == Some(digest);
        let found = known.longest_where(self.diff_ids, &self.subject.platform, named)?;
        Ok(found.into_iter().next())
    }

    /// The longest match among the known bases, under the name that the image itself uses, if that is one of them.
    pub(super) fn known(&self, others: &[Judged]) -> Result<Option<Found>, Error> {
        let Some(known) = self.detector.known else { return Ok(None) };
        let itself = self.subject.image.manifest.digest();
        let entries =
            known.longest_where(self.diff_ids, &self.subject.platform, |entry| entry.manifest != itself)?;
        let names = others.iter().filter_map(|judged| match judged {
            Judged::Found(found) => found.name.as_ref(),
            Judged::Refuted(_) => None,
        });
        self.pick(entries, Evidence::KnownBase, &names.collect::<Vec<_>>())
    }

    /// The base that is asked for, if the image starts with its layers.
    pub(super) async fn asked(&self) -> Option<Found> {
        let asked = self.detector.asked.as_ref()?;
        let base = self.read(asked).await.ok()?;
        let boundary = self.compare(&base).ok()?;
        Some(self.verified(Evidence::KnownBase, Some(asked.clone()), &base, boundary))
    }

    /// One of the names that the same layers have: the preferred ones before the others, `latest` after them.
    fn pick(
        &self,
        mut entries: Vec<Entry>,
        evidence: Evidence,
        preferred: &[&Reference],
    ) -> Result<Option<Found>, Error> {
        let tagged = |a: &Reference, b: &Reference| a.repository() == b.repository() && a.tag() == b.tag();
        entries.sort_by_cached_key(|entry| {
            let is_preferred = preferred.iter().any(|name| tagged(name, &entry.name));
            (Reverse(is_preferred), entry.name.tag() == Some("latest"))
        });
        let mut also: Vec<Reference> = entries.iter().skip(1).map(|entry| entry.name.clone()).collect();
        let Some(first) = entries.into_iter().next() else { return Ok(None) };
        also.retain(|name| *name != first.name);
        also.dedup();
        Ok(Some(Found { also, ..self.of_entry(evidence, first)? }))
    }

    fn of_entry(&self, evidence: Evidence, entry: Entry) -> Result<Found, Error> {
        Ok(Found {
            config: Some(entry.document()?),
            name: Some(entry.name),
            digest: Some(entry.manifest),
            index_digest: entry.index,
            boundary: Some(entry.layers),
            chain_id: Some(entry.chain),
            ..unproven(evidence, Confidence::Verified)
        })
    }
}

/// A base, read.
struct Read {
    image: Arc<Image>,
    index: Option<Digest>,
}

fn unproven(evidence: Evidence, confidence: Confidence) -> Found {
    Found {
        evidence,
        confidence,
        name: None,
        digest: None,
        index_digest: None,
        boundary: None,
        chain_id: None,
        also: Vec::new(),
        reason: None,
        config: None,
    }
}
