//! Subjects: what referrers say they are about.
//!
//! Sources: image-spec `manifest.md` ("subject"), distribution-spec "Listing Referrers".

use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document};
use serde::Deserialize;

use super::{Run, Severity, chain, is_fault};
use crate::Error;

#[derive(Deserialize)]
struct Probe {
    subject: Option<Descriptor>,
}

impl Run<'_> {
    /// A subject may be missing (it may come later, or have gone); one that is there must be the one described.
    /// `entry`: the document's in an index.
    pub(super) async fn subject(
        &mut self,
        document: &Document,
        entry: Option<&Descriptor>,
    ) -> Result<(), Error> {
        let digest = document.digest();
        let subject = subject_of(document);
        self.documents
            .insert(digest, (document.descriptor(), subject.as_ref().map(|subject| subject.digest)));
        let Some(stated) = subject.filter(|_| !self.options.fast) else { return Ok(()) };
        let found = match self.documents.get(&stated.digest) {
            Some((known, _)) => Ok(known.clone()),
            None => self.source.document(&stated.digest.into()).await.map(|found| found.descriptor()),
        };
        match found {
            Ok(found) if (found.size, &found.media_type) != (stated.size, &stated.media_type) => {
                let text = format!(
                    "its subject {} has type {} and {} bytes, it states type {} and {} bytes",
                    stated.digest, found.media_type, found.size, stated.media_type, stated.size
                );
                self.error(digest, text);
            }
            Ok(_) => {}
            Err(e) if e.is_not_found() => {
                // Of an attestation, the index is asked.
                if entry.and_then(Descriptor::attested_digest) != Some(stated.digest) {
                    let text = format!("its subject {} is not here", stated.digest);
                    self.fault(Severity::Warning, Some(digest), text);
                }
            }
            Err(e) if is_fault(&e) => {
                self.error(digest, format!("its subject {}: {}", stated.digest, chain(&e)));
            }
            Err(e) => return Err(e),
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
        let known = &self.documents.clone();
        let read = stream::iter(referrers).map(|(about, entry)| async move {
            let found = match known.get(&entry.digest) {
                Some((descriptor, subject)) => Ok((descriptor.size, *subject)),
                None => source
                    .document(&entry.digest.into())
                    .await
                    .map(|found| (found.size(), subject_of(&found).map(|subject| subject.digest))),
            };
            (about, entry, found)
        });
        let mut read = Box::pin(read.buffered(jobs));
        while let Some((about, entry, found)) = read.next().await {
            match found {
                Ok((size, subject)) => self.referrer(about, &entry, size, subject),
                Err(e) if is_fault(&e) => {
                    self.error(entry.digest, format!("is listed as a referrer of {about}: {}", chain(&e)));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn referrer(&mut self, about: Digest, entry: &Descriptor, size: u64, subject: Option<Digest>) {
        self.report.documents += usize::from(!self.documents.contains_key(&entry.digest));
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
