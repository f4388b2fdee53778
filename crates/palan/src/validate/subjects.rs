//! Subjects: what referrers say they are about.
//!
//! Sources: image-spec `manifest.md` ("subject"), distribution-spec "Listing Referrers".

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document};
use serde::Deserialize;

use super::{Run, Severity, chain, unreadable};
use crate::Error;

#[derive(Deserialize)]
struct Probe {
    subject: Option<Descriptor>,
}

/// What a document states as its subject.
pub(super) struct Stated {
    by: Digest,
    subject: Descriptor,
    /// The index's entry says the same.
    is_attestation: bool,
}

/// A document that no index of the image lists.
pub(super) enum Other {
    /// With what it states as its subject.
    Found(Box<Descriptor>, Option<Digest>),
    Missing(String),
    Unusable(String),
}

impl Run<'_> {
    /// Notes a document and its subject. `entry`: the document's in an index.
    pub(super) fn subject(&mut self, document: &Document, entry: Option<&Descriptor>) {
        let by = document.digest();
        let subject = subject_of(document);
        self.documents.insert(by, (document.descriptor(), subject.as_ref().map(|subject| subject.digest)));
        if let Some(subject) = subject {
            let is_attestation = entry.and_then(Descriptor::attested_digest) == Some(subject.digest);
            self.stated.push(Stated { by, subject, is_attestation });
        }
    }

    /// A subject may be missing (it may come later, or have gone); one that is there must be the one described.
    pub(super) async fn subjects(&mut self) -> Result<(), Error> {
        let stated = std::mem::take(&mut self.stated);
        self.ask_for(stated.iter().map(|stated| stated.subject.digest)).await?;
        for Stated { by, subject, is_attestation } in stated {
            let digest = subject.digest;
            let found = match (self.documents.get(&digest), self.others.get(&digest)) {
                (Some((found, _)), _) => found,
                (_, Some(Other::Found(found, _))) => found.as_ref(),
                (_, Some(Other::Unusable(why))) => {
                    self.error(by, format!("its subject {digest}: {why}"));
                    continue;
                }
                // Of an attestation, the index is asked.
                _ if is_attestation => continue,
                _ => {
                    let text = format!("its subject {digest} is not here");
                    self.fault(Severity::Warning, Some(by), text);
                    continue;
                }
            };
            if (found.size, &found.media_type) != (subject.size, &subject.media_type) {
                let text = format!(
                    "its subject {digest} has type {} and {} bytes, it states type {} and {} bytes",
                    found.media_type, found.size, subject.media_type, subject.size
                );
                self.error(by, text);
            }
        }
        Ok(())
    }

    /// Asks for documents that were not read so far, for each once.
    async fn ask_for(&mut self, documents: impl Iterator<Item = Digest>) -> Result<(), Error> {
        let source = self.source;
        let is_new = |d: &Digest| !self.documents.contains_key(d) && !self.others.contains_key(d);
        let new: BTreeSet<Digest> = documents.filter(is_new).collect();
        let asked =
            stream::iter(new).map(|digest| async move { (digest, source.document(&digest.into()).await) });
        let mut asked = Box::pin(asked.buffered(self.options.jobs.max(1)));
        while let Some((digest, found)) = asked.next().await {
            let other = match found {
                Ok(found) => Other::Found(found.descriptor().into(), subject_of(&found).map(|s| s.digest)),
                Err(e) if e.is_not_found() => Other::Missing(chain(&e)),
                Err(e) => Other::Unusable(unreadable(e)?),
            };
            self.others.insert(digest, other);
        }
        Ok(())
    }

    /// What is listed as being about the documents that were read must say so.
    pub(super) async fn referrers(&mut self) -> Result<(), Error> {
        let (source, jobs) = (self.source, self.options.jobs.max(1));
        let subjects: Vec<Digest> = self.documents.keys().copied().collect();
        let listed =
            stream::iter(subjects).map(|about| async move { (about, source.referrers(about, None).await) });
        let listed: Vec<_> = listed.buffered(jobs).collect().await;
        let mut referrers = Vec::new();
        for (about, list) in listed {
            match list {
                Ok(list) => referrers.extend(list.into_iter().map(|entry| (about, entry))),
                // Not every registry can tell, and what was found so far is not lost for that.
                Err(e) => {
                    let text = format!("its referrers cannot be listed: {}", chain(&e));
                    self.fault(Severity::Warning, Some(about), text);
                }
            }
        }
        self.ask_for(referrers.iter().map(|(_, entry)| entry.digest)).await?;
        let found: HashSet<Digest> = referrers.iter().map(|(_, entry)| entry.digest).collect();
        let is_read = |digest: &&Digest| matches!(self.others.get(*digest), Some(Other::Found(..)));
        self.report.documents += found.iter().filter(is_read).count();
        for (about, entry) in referrers {
            self.referrer(about, &entry);
        }
        Ok(())
    }

    fn referrer(&mut self, about: Digest, entry: &Descriptor) {
        let (found, subject) = match (self.documents.get(&entry.digest), self.others.get(&entry.digest)) {
            (Some((found, subject)), _) => (found, *subject),
            (_, Some(Other::Found(found, subject))) => (found.as_ref(), *subject),
            (_, Some(Other::Missing(why) | Other::Unusable(why))) => {
                return self.error(entry.digest, format!("is listed as a referrer of {about}: {why}"));
            }
            (None, None) => return,
        };
        let size = found.size;
        if subject != Some(about) {
            let stated =
                subject.map_or_else(|| "it has no subject".into(), |s| format!("its subject is {s}"));
            self.error(entry.digest, format!("is listed as a referrer of {about}, {stated}"));
        }
        if size != entry.size {
            let text = format!("has {size} bytes, the list of referrers states {}", entry.size);
            self.error(entry.digest, text);
        }
    }
}

fn subject_of(document: &Document) -> Option<Descriptor> {
    document.view::<Probe>().ok()?.subject
}
