//! A plan's journal in a registry: several machines work on one plan, and nothing else must run for that.
//!
//! Each machine writes a tag of its own (or, without shards, the one tag) and reads those of all. A tag is compared and
//! set; who finds that somebody else wrote meanwhile merges. What a machine did and could not write down any more is
//! found in the registry again by whoever comes next.
//!
//! Source: image-spec `manifest.md`, "Guidelines for Artifact Usage".

use std::{io::Read as _, num::NonZeroUsize, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, select};
use palan_core::{Compression, Descriptor, Digest, Document, MediaType, Repository, Selector, view};
use palan_layer::codec::{Decoder, Encoder, Level};
use serde_json::json;
use tokio::sync::Mutex;

use super::{journal::Journal, lines::Lines, shard::Shard};
use crate::{
    Error,
    place::{Location, Memory, Places, PutAs, Target, read_all},
};

/// Artifact type of a journal, and the media type of its lines; compressed ones end in `+zstd`.
pub const JOURNAL: &str = "application/vnd.palan.fleet.journal.v1+jsonl";
/// The annotation with the plan's digest.
const PLAN: &str = "io.github.palan-rs.fleet.plan";
/// The annotation with the part of the plan.
const SHARD: &str = "io.github.palan-rs.fleet.shard";
/// How many digits of the plan's digest are in tags.
const DIGITS: usize = 12;
/// How long lines may be on one machine alone.
const OFTEN: Duration = Duration::from_secs(30);
/// How often it is merged and tried again when others write the same tag.
const TRIES: usize = 8;
/// Larger journals are refused, compressed and not: nobody wrote them.
const MOST: u64 = 1 << 28;

/// The journal of a plan in a repository.
pub struct Remote {
    place: Arc<dyn Target>,
    plan: Digest,
    shard: Option<Shard>,
    /// What our tag stood for when it was read or written last.
    stands: Mutex<Option<Digest>>,
    often: Duration,
}

impl Remote {
    /// Asks nobody. `shard`: the part that is worked on here.
    pub fn new(
        places: &Places,
        repository: &Repository,
        plan: Digest,
        shard: Option<Shard>,
    ) -> Result<Self, Error> {
        let name = repository.at(&Selector::Tag(tag(plan, shard)));
        let place = places.target(&Location::Registry(name))?.place;
        Ok(Self { place, plan, shard, stands: Mutex::default(), often: OFTEN })
    }

    /// The same, with lines on one machine alone for as long as this at most; otherwise 30 seconds.
    #[must_use]
    pub fn pushed_every(self, often: Duration) -> Self {
        Self { often, ..self }
    }

    /// The tag that is written: the first 12 digits of the plan's digest, and `-I-of-N`.
    pub fn tag(&self) -> String {
        tag(self.plan, self.shard)
    }

    /// What all machines have written down of the plan.
    pub async fn fetch(&self) -> Result<Lines, Error> {
        let tags = match self.place.tags().await {
            // There is no such repository yet, or nobody lists its tags.
            Err(error) if error.is_not_found() => vec![self.tag()],
            tags => tags?,
        };
        let mut all = Lines::default();
        for tag in tags.iter().filter(|tag| is_of(tag, self.plan)) {
            let Some((digest, lines)) = self.read(tag).await? else { continue };
            all.merge(&self.name(tag), lines)?;
            if *tag == self.tag() {
                *self.stands.lock().await = Some(digest);
            }
        }
        Ok(all)
    }

    /// Writes lines under our tag, with those that others wrote there since.
    pub async fn push(&self, mut lines: Lines) -> Result<(), Error> {
        let mut stands = self.stands.lock().await;
        let tag = self.tag();
        let mut tries = 1;
        loop {
            let (document, blobs) = artifact(&lines, self.plan, self.shard).await?;
            if *stands == Some(document.digest()) || lines.is_empty() {
                return Ok(());
            }
            let role = match *stands {
                None => PutAs::Absent(tag.clone()),
                Some(expected) => PutAs::Replace { tag: tag.clone(), expected },
            };
            match self.put(&document, blobs, &role).await {
                Ok(()) => {
                    *stands = Some(document.digest());
                    return Ok(());
                }
                Err(Error::Exists { .. } | Error::Moved { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
            let found = self.read(&tag).await?;
            *stands = found.as_ref().map(|(digest, _)| *digest);
            if let Some((_, theirs)) = found {
                lines.merge(&self.name(&tag), theirs)?;
            }
        }
    }

    /// Does `work` that writes the journal, and pushes that whenever a wave has ended, now and then, and at the end, however
    /// that is. What could not be pushed before is no error: the end decides, and is the second result.
    pub async fn keep<T>(&self, journal: &Journal, work: impl Future<Output = T>) -> (T, Result<(), Error>) {
        if !journal.is_written() {
            return (work.await, Ok(()));
        }
        let meanwhile = async {
            loop {
                select(pin!(journal.wave_end()), pin!(tokio::time::sleep(self.often))).await;
                if let Err(error) = self.push_from(journal).await {
                    tracing::warn!(
                        "the journal cannot be pushed to {}: {}",
                        self.place.name(),
                        error.in_full()
                    );
                }
            }
        };
        let done = match select(pin!(work), pin!(meanwhile)).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        };
        (done, self.push_from(journal).await)
    }

    async fn push_from(&self, journal: &Journal) -> Result<(), Error> {
        self.push(crate::cancel::on_thread(journal.settled()).await??).await
    }

    fn name(&self, tag: &str) -> PathBuf {
        format!("{}:{tag}", self.place.name()).into()
    }

    async fn read(&self, tag: &str) -> Result<Option<(Digest, Lines)>, Error> {
        let document = match self.place.document(&Selector::Tag(tag.to_owned())).await {
            // Listed, and gone since.
            Err(error) if error.is_not_found() => return Ok(None),
            document => document?,
        };
        let name = self.name(tag);
        let refused =
            |reason: &str| Error::Malformed { place: name.display().to_string(), reason: reason.into() };
        let manifest = document.view::<view::Manifest>().ok();
        let manifest = manifest.filter(|manifest| manifest.artifact_type.as_deref() == Some(JOURNAL));
        let Some([layer]) = manifest.as_ref().map(|manifest| manifest.layers.as_slice()) else {
            return Err(refused("it is no journal of a fleet"));
        };
        if layer.size > MOST {
            return Err(refused("it is too large for a journal"));
        }
        let stored = read_all(self.place.open(layer, 0).await?).await?;
        let unpacked = crate::cancel::on_thread(move || unpack(&stored)).await?;
        let Some(content) = unpacked else { return Err(refused("its lines cannot be read")) };
        let lines = Lines::parse(&name, &content)?;
        match lines.plan().filter(|plan| *plan != self.plan) {
            // Another plan, whose digest begins with the same digits.
            Some(found) => Err(super::JournalError::OtherPlan { path: name, found }.into()),
            None => Ok(Some((document.digest(), lines))),
        }
    }

    async fn put(&self, document: &Document, blobs: Blobs, role: &PutAs) -> Result<(), Error> {
        let memory = Memory::new();
        for (media_type, content) in blobs {
            let blob = memory.add_blob(media_type, content);
            if !self.place.has(&blob).await? {
                self.place.put_blob(&blob, &memory).await?;
            }
        }
        self.place.put_document(document, role).await
    }
}

fn tag(plan: Digest, shard: Option<Shard>) -> String {
    let stem = &plan.hex()[..DIGITS];
    shard.map_or(stem.to_owned(), |shard| format!("{stem}-{}-of-{}", shard.number(), shard.of()))
}

/// Whether a tag is that of a plan's journal, or of a part of it.
fn is_of(tag: &str, plan: Digest) -> bool {
    let Some(rest) = tag.strip_prefix(&plan.hex()[..DIGITS]) else { return false };
    let shard = rest.strip_prefix('-').map(|rest| rest.replacen("-of-", "/", 1));
    rest.is_empty() || shard.is_some_and(|text| text.parse::<Shard>().is_ok())
}

type Blobs = Vec<(MediaType, Bytes)>;

/// The manifest that carries lines, and its blobs. The same lines give the same bytes.
async fn artifact(lines: &Lines, plan: Digest, shard: Option<Shard>) -> Result<(Document, Blobs), Error> {
    let content = lines.to_bytes();
    let packed = crate::cancel::on_thread(move || pack(&content)).await?;
    let packed = Bytes::from(packed.map_err(|e| Error::Output(std::io::Error::other(e)))?);
    let empty = Bytes::from_static(b"{}");
    let media_type = MediaType::new(format!("{JOURNAL}+zstd"));
    let described = |media_type: &MediaType, content: &Bytes| {
        Descriptor::new(media_type.clone(), Digest::sha256(content), content.len() as u64)
    };
    let mut annotations = json!({PLAN: plan});
    if let Some(shard) = shard {
        annotations[SHARD] = json!(shard.to_string());
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": JOURNAL,
        "config": described(&MediaType::OCI_EMPTY, &empty),
        "layers": [described(&media_type, &packed)],
        "annotations": annotations,
    });
    let document = Document::parse(Bytes::from(manifest.to_string()), Some(MediaType::OCI_MANIFEST))?;
    Ok((document, vec![(MediaType::OCI_EMPTY, empty), (media_type, packed)]))
}

fn pack(content: &[u8]) -> palan_layer::Result<Vec<u8>> {
    let level = Level::default();
    let mut encoder = Encoder::with_threads(Vec::new(), Compression::Zstd, level, NonZeroUsize::MIN)?;
    std::io::Write::write_all(&mut encoder, content)?;
    encoder.finish()
}

/// `None`: it is damaged, or too much.
fn unpack(stored: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    Decoder::new(stored).ok()?.take(MOST + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= MOST).then_some(content)
}
