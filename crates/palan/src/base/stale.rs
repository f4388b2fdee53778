//! Whether an image stands on what its base's tag stands for now.

use futures_util::future::try_join_all;
use palan_core::{Digest, PlatformPattern, Reference, Selector};
use serde::Serialize;

use super::{Detector, Evidence, Found, PlatformBase, Subject, version::newer};
use crate::{Error, place::Location, rebase::boundary};

/// What became of an image's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The base's tag stands for what the image is built on. Also: the image is built on nothing.
    Current,
    /// That, and there are tags of the same form with higher numbers.
    NewerTag,
    /// The base, or the tag it came from, is not known.
    Unknown,
    /// The base's tag stands for another image now.
    Moved,
    /// The base's tag does not exist any more, or has no image for the platform.
    Gone,
}

impl Status {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::NewerTag => "newer-tag",
            Self::Unknown => "unknown",
            Self::Moved => "moved",
            Self::Gone => "gone",
        }
    }

    /// Whether there is something newer to build on, or nothing that this could be asked of.
    pub fn is_stale(self) -> bool {
        matches!(self, Self::NewerTag | Self::Moved | Self::Gone)
    }
}

/// What became of the bases of an image. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Stale {
    /// The image as it was named.
    pub image: String,
    /// Digest of the image or index.
    pub digest: Digest,
    /// One for each image of an index, in its order.
    pub platforms: Vec<PlatformStale>,
}

impl Stale {
    /// Whether any platform's base is stale.
    pub fn is_stale(&self) -> bool {
        self.platforms.iter().any(|platform| platform.status.is_stale())
    }

    /// Whether any platform's base is unknown.
    pub fn is_unknown(&self) -> bool {
        self.platforms.iter().any(|platform| platform.status == Status::Unknown)
    }
}

/// What became of the base of one platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformStale {
    /// The platform.
    pub platform: String,
    /// What became of it.
    pub status: Status,
    /// The base's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Reference>,
    /// How the base was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Digest of the base's manifest that the image stands on; stated ones may be an index's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// Digest of the manifest that the tag stands for now, for this platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Digest>,
    /// Tags of the same form with higher numbers, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newer: Vec<String>,
}

/// Compares the bases of an image with what their tags stand for now. Manifests of platforms are compared: an index
/// that only lists other attestations, or other platforms, is no change.
///
/// `newer_tags`: also list the repository's tags and look for newer ones.
pub async fn stale(
    detector: &Detector<'_>,
    image: &Location,
    asked: &[PlatformPattern],
    newer_tags: bool,
) -> Result<Stale, Error> {
    let (detection, subjects) = detector.subjects_of(image, asked).await?;
    let all = detection.platforms.iter().zip(&subjects);
    let platforms = all.map(|(base, subject)| detector.age(base, subject, newer_tags));
    let platforms = try_join_all(platforms).await?;
    Ok(Stale { image: detection.image, digest: detection.digest, platforms })
}

/// What a tag stands for now, as far as it concerns an image.
enum Now {
    /// Nothing, or nothing for the platform.
    Gone,
    Image {
        digest: Digest,
        /// Whether the image has the layers of that base.
        is_below: bool,
    },
}

impl Detector<'_> {
    /// What became of the base of one image.
    pub(crate) async fn age(
        &self,
        base: &PlatformBase,
        subject: &Subject,
        newer_tags: bool,
    ) -> Result<PlatformStale, Error> {
        let mut out = PlatformStale {
            platform: base.platform.clone(),
            status: if base.scratch { Status::Current } else { Status::Unknown },
            name: None,
            evidence: None,
            old: None,
            new: None,
            newer: Vec::new(),
        };
        let Some(found) = &base.base else { return Ok(out) };
        out.evidence = Some(found.evidence);
        out.name.clone_from(&found.name);
        out.old = found.digest;
        let Some((name, tag)) = found.name.as_ref().and_then(|name| Some((name, name.tag()?))) else {
            return Ok(out);
        };
        let name = name.repository().at(&Selector::Tag(tag.to_owned()));
        let newer = async { if newer_tags { self.newer_tags(&name).await } else { Ok(Vec::new()) } };
        let (now, newer) = tokio::try_join!(self.now(&name, subject), newer)?;
        out.newer = newer;
        (out.status, out.new) = match now {
            Now::Gone => (Status::Gone, None),
            Now::Image { digest, is_below } => (compare(found, digest, is_below), Some(digest)),
        };
        if out.status == Status::Current && !out.newer.is_empty() {
            out.status = Status::NewerTag;
        }
        Ok(out)
    }

    async fn now(&self, name: &Reference, subject: &Subject) -> Result<Now, Error> {
        let read = async {
            let base = self.base(name).await?;
            base.image_for(&subject.platform).await
        };
        match read.await {
            Ok(image) => {
                let diff_ids = &image.config_view.rootfs.diff_ids;
                let is_below =
                    boundary(&subject.image.config_view.rootfs.diff_ids, diff_ids).is_ok_and(|n| n > 0);
                Ok(Now::Image { digest: image.manifest.digest(), is_below })
            }
            Err(Error::NoPlatform { .. } | Error::WrongPlatform { .. }) => Ok(Now::Gone),
            Err(e) if e.is_not_found() => Ok(Now::Gone),
            Err(e) => Err(e),
        }
    }

    /// The tags of the same form that are newer than a reference's tag, the newest first.
    pub(crate) async fn newer_tags(&self, name: &Reference) -> Result<Vec<String>, Error> {
        // `latest` and the like have no newer tags: their repository is not asked.
        let Some(tag) = name.tag().filter(|tag| tag.contains(|c: char| c.is_ascii_digit())) else {
            return Ok(Vec::new());
        };
        match self.all_tags(name).await {
            Ok(tags) => Ok(newer(tag, &tags)),
            // The repository is gone: the tag is, and that is said.
            Err(e) if e.is_not_found() => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// A base that was verified is known by its manifest. Of one that was only stated, the digest may be that of an index
/// which is gone: then the layers tell.
fn compare(found: &Found, now: Digest, is_below: bool) -> Status {
    let proven = found.is_proven() && found.config.is_some();
    match found.digest {
        Some(digest) if digest == now => Status::Current,
        Some(_) if proven => Status::Moved,
        _ if is_below => Status::Current,
        _ => Status::Moved,
    }
}
