//! What travels with an image: its referrers and digest tags (signatures, SBOMs, attestations), of every manifest and
//! index of it, and theirs in turn.
//!
//! distribution-spec "Listing Referrers"; digest tags (`sha256-<hex>.sig`, `.att`, `.sbom` and the like) are the way
//! of older tools. What a place returns is not believed: a referrer must name its subject itself. Some registries
//! answer the list with the image, or with whatever else they found.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, Kind, Role, Selector, validate_tag, view};
use tokio::sync::OnceCell;

use crate::{
    Error,
    copy::Shaped,
    image::{self, MAX_DEPTH, too_deep},
    place::{PutAs, Source},
};

/// How many manifests are asked about at the same time.
const AT_ONCE: usize = 8;

/// What is to travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The manifests whose subject is a manifest or index of the image.
    pub referrers: bool,
    /// What is tagged `<algorithm>-<hex>.<anything>` for a manifest or index of the image.
    pub digest_tags: bool,
}

impl Which {
    /// Whether anything is to travel.
    pub fn any(self) -> bool {
        self.referrers || self.digest_tags
    }
}

/// Something that is said about an image.
#[derive(Clone, Debug)]
pub struct Companion {
    /// The manifest or index.
    pub document: Document,
    /// [`PutAs::Root`] for a referrer, [`PutAs::Tag`] for a digest tag.
    pub role: PutAs,
    /// What it is about.
    pub about: Digest,
}

/// What was found, subjects before what refers to them.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What travels.
    pub companions: Vec<Companion>,
    /// What does not, and why, one sentence each.
    pub notes: Vec<String>,
    /// The manifests and indexes that were asked about.
    pub asked: HashSet<Digest>,
}

/// Looks for companions in one place. Its tags are listed once, however many images are asked about.
pub struct Finder<'a> {
    source: &'a dyn Source,
    which: Which,
    tags: OnceCell<DigestTags>,
}

/// Digest tags by the part before their first full stop.
type DigestTags = BTreeMap<String, Vec<String>>;

impl<'a> Finder<'a> {
    /// A finder for `source`.
    pub fn new(source: &'a dyn Source, which: Which) -> Self {
        Self { source, which, tags: OnceCell::new() }
    }

    /// The companions of what is to be copied: of its root, of all that it lists, and theirs in turn.
    ///
    /// What was taken out of an index is no companion of it. What refers to an index that was rewritten is not about the
    /// new one: it stays where it is, which is noted.
    pub async fn find(&self, shaped: &Shaped) -> Result<Found, Error> {
        let mut found = Found::default();
        if !self.which.any() {
            return Ok(found);
        }
        let mut seen = shaped.left_out.clone();
        let mut level = self.listed(&shaped.root, shaped).await?;
        level.extend(shaped.referrers.iter().map(Document::digest));
        level.retain(|digest| !shaped.documents.iter().any(|new| new.digest() == *digest));
        seen.extend(&level);
        self.stay(&shaped.rewritten, &mut found.notes).await?;
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            found.asked.extend(&level);
            let about = stream::iter(level).map(|digest| self.about(digest)).buffered(AT_ONCE);
            for (companions, notes) in about.try_collect::<Vec<_>>().await? {
                found.notes.extend(notes);
                for companion in companions {
                    let digest = companion.document.digest();
                    let is_new = seen.insert(digest);
                    if is_new {
                        let listed = self.listed(&companion.document, shaped).await?;
                        next.extend(listed.into_iter().filter(|d| *d == digest || seen.insert(*d)));
                    }
                    // The same content under several tags is put under each, but looked at once.
                    if is_new || companion.role.tag().is_some() {
                        found.companions.push(companion);
                    }
                }
            }
            if next.is_empty() {
                return Ok(found);
            }
            level = next;
        }
        Err(too_deep(self.source, shaped.root.digest()))
    }

    async fn stay(&self, rewritten: &[(Digest, Digest)], notes: &mut Vec<String>) -> Result<(), Error> {
        for (old, new) in rewritten {
            let (companions, _) = self.about(*old).await?;
            if !companions.is_empty() {
                let n = companions.len();
                notes.push(format!("{n} of what refers to {old} was not copied: it is not about {new}"));
            }
        }
        Ok(())
    }

    /// A document and all the documents that it lists, itself first.
    async fn listed(&self, root: &Document, shaped: &Shaped) -> Result<Vec<Digest>, Error> {
        let (mut all, mut open) = (vec![root.digest()], vec![root.clone()]);
        for _ in 0..MAX_DEPTH {
            let mut inner = Vec::new();
            for index in open.iter().filter(|d| d.kind() == Kind::Index) {
                let index: view::Index = image::parsed(self.source, index)?;
                for entry in index.manifests.iter().filter(|e| e.media_type.is_document()) {
                    if !all.contains(&entry.digest) {
                        all.push(entry.digest);
                        inner.extend((entry.media_type.role() == Role::Index).then_some(entry.digest));
                    }
                }
            }
            if inner.is_empty() {
                return Ok(all);
            }
            let (mut new, mut old) = (Vec::new(), Vec::new());
            for digest in inner {
                match shaped.documents.iter().find(|d| d.digest() == digest) {
                    Some(document) => new.push(document.clone()),
                    None => old.push(digest),
                }
            }
            let documents = stream::iter(old).map(|digest| self.read(digest)).buffered(AT_ONCE);
            open = documents.try_collect().await?;
            open.extend(new);
        }
        Err(too_deep(self.source, root.digest()))
    }

    async fn read(&self, digest: Digest) -> Result<Document, Error> {
        self.source.document(&digest.into()).await
    }

    async fn about(&self, digest: Digest) -> Result<(Vec<Companion>, Vec<String>), Error> {
        let (mut companions, mut notes) = (Vec::new(), Vec::new());
        if self.which.referrers {
            for listed in self.source.referrers(digest, None).await? {
                match self.referrer(&listed, digest).await? {
                    Ok(document) => {
                        companions.push(Companion { document, role: PutAs::Root, about: digest });
                    }
                    Err(note) => notes.push(note),
                }
            }
        }
        if self.which.digest_tags {
            for tag in self.digest_tags().await?.get(&digest.referrers_tag()).into_iter().flatten() {
                if validate_tag(tag).is_err() {
                    notes.push(format!("{tag:?} is about {digest}, but is not a tag: not copied"));
                    continue;
                }
                let document = self.source.document(&Selector::Tag(tag.clone())).await?;
                companions.push(Companion { document, role: PutAs::Tag(tag.clone()), about: digest });
            }
        }
        Ok((companions, notes))
    }

    /// What is listed as a referrer of `subject`, if it is one; else why not.
    async fn referrer(
        &self,
        listed: &Descriptor,
        subject: Digest,
    ) -> Result<Result<Document, String>, Error> {
        #[derive(serde::Deserialize)]
        struct View {
            subject: Option<Descriptor>,
        }
        let name = format!("{} is listed as a referrer of {subject}", listed.digest);
        let document = match self.read(listed.digest).await {
            Ok(document) => document,
            Err(error) if error.is_not_found() => {
                return Ok(Err(format!("{name}, but is not there: not copied")));
            }
            Err(error) => return Err(error),
        };
        let about = document.view::<View>().ok().and_then(|view| view.subject).map(|s| s.digest);
        Ok(match about {
            Some(about) if about == subject => Ok(document),
            Some(about) => Err(format!("{name}, but is about {about}: not copied")),
            None => Err(format!("{name}, but does not say so itself: not copied")),
        })
    }

    async fn digest_tags(&self) -> Result<&DigestTags, Error> {
        self.tags
            .get_or_try_init(|| async {
                let mut all = DigestTags::new();
                for tag in self.source.tags().await? {
                    if let Some(stem) = Digest::tag_stem(&tag).filter(|stem| *stem != tag) {
                        all.entry(stem.to_owned()).or_default().push(tag);
                    }
                }
                Ok(all)
            })
            .await
    }
}

/// The tags by which older tools attach signatures, attestations and SBOMs end so.
const SUFFIXES: [(&str, &str); 3] = [(".sig", "signature"), (".att", "attestation"), (".sbom", "SBOM")];

/// What is said about a manifest or index: its referrers as they are listed, and its digest tags, as far as their names
/// are known beforehand.
pub(crate) async fn said_about(
    source: &dyn Source,
    digest: Digest,
) -> Result<(Vec<Descriptor>, Vec<String>), Error> {
    let tags = SUFFIXES.map(|(suffix, _)| format!("{}{suffix}", digest.referrers_tag()));
    tokio::try_join!(source.referrers(digest, None), source.tags_among(&tags))
}

/// What a referrer is.
pub(crate) fn kind_of(referrer: &Descriptor) -> String {
    referrer.artifact_type.as_ref().map_or_else(|| referrer.media_type.to_string(), ToString::to_string)
}

/// A note about what is said of manifests and indexes that are replaced, the first of them the image itself: it stays
/// with them. What is `listed` by their indexes does not count. `None`: nothing is, or that is not to be learnt here.
pub(crate) async fn left_behind(
    source: &dyn Source,
    replaced: &[Digest],
    listed: &HashSet<Digest>,
) -> Option<String> {
    let first = replaced.first()?;
    let asked: BTreeSet<Digest> = replaced.iter().copied().collect();
    let found: Vec<_> = stream::iter(asked)
        .map(|digest| async move {
            said_about(source, digest)
                .await
                .inspect_err(|error| tracing::debug!(%digest, %error, "what refers to it is not known"))
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut images = 0;
    for (mut referrers, tags) in found.into_iter().flatten() {
        referrers.retain(|referrer| !listed.contains(&referrer.digest));
        images += usize::from(!referrers.is_empty() || !tags.is_empty());
        let suffixed = |tag: &String| SUFFIXES.iter().find(|(suffix, _)| tag.ends_with(suffix));
        let named = tags.iter().filter_map(suffixed).map(|(_, kind)| (*kind).to_owned());
        for kind in referrers.iter().map(kind_of).chain(named) {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let counted: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
    let whose = if images > 1 { "the old images stays with them" } else { "the old image stays with it" };
    (images > 0).then(|| {
        format!(
            "what was said about {whose}, and is not said about the result: {} ({first})",
            counted.join(", ")
        )
    })
}
