//! Reading bases from registries: a manifest and a config for each of their platforms, no layers.

use std::time::SystemTime;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Digest, PlatformPattern, Reference, Selector};

use super::{Entry, Order, Watch};
use crate::{
    Error,
    base::version::newest_first,
    place::{Location, Places},
    rebase::base::{Base, Images},
};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The bases, in no order.
    pub entries: Vec<Entry>,
    /// How many tags were kept.
    pub tags: usize,
    /// Tags that are not images, or were gone before they were read, and why.
    pub skipped: Vec<(Reference, String)>,
}

/// Reads the bases that are to be kept: `jobs` tags at the same time. `now` is
/// noted as the time when they were first seen, to the second. Attestations and tags that stand for digests (`sha256-…`, `sha512-…`) are passed over.
///
/// A single tag that does not exist is an error; a pattern that no tag matches gives nothing.
pub async fn gather(places: &Places, watch: &Watch, jobs: usize, now: SystemTime) -> Result<Gathered, Error> {
    let seen = &rfc3339(now);
    let reader = Reader { places, images: Images::default(), jobs: jobs.max(1) };
    let mut tags = reader.tags(watch).await?;
    let mut out = Gathered::default();
    if watch.order == Order::Version {
        tags.sort_by(|a, b| newest_first(a, b));
        tags.truncate(watch.newest);
    }
    let is_single = watch.tags.single().is_some();
    let mut bases = Vec::new();
    for (name, read) in reader.bases(watch, &tags).await? {
        match read {
            Ok(base) => bases.push(base),
            Err(e) if is_single => return Err(e),
            Err(e) => out.skipped.push((name, e.to_string())),
        }
    }
    // The order of names stays where times are equal.
    bases.sort_by_key(|base| std::cmp::Reverse(base.created));
    bases.truncate(watch.newest);
    out.tags = bases.len();
    let entries = stream::iter(bases).map(|base| base.entries(&watch.platforms, seen)).buffered(reader.jobs);
    out.entries = entries.try_concat().await?;
    Ok(out)
}

/// Times before 1970 and after 9999 do not happen to clocks that are right.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
    let seconds = i64::try_from(seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

struct Reader<'a> {
    places: &'a Places,
    images: Images,
    jobs: usize,
}

/// What a tag stands for, and when it was made.
struct Tagged {
    name: Reference,
    base: Base,
    created: Option<jiff::Timestamp>,
}

impl Reader<'_> {
    async fn tags(&self, watch: &Watch) -> Result<Vec<String>, Error> {
        if let Some(tag) = watch.tags.single() {
            return Ok(vec![tag.to_owned()]);
        }
        let any = watch.tags.repository.at(&Selector::Tag("latest".to_owned()));
        let mut tags = self.places.source(&Location::Registry(any))?.place.tags().await?;
        tags.retain(|tag| Digest::tag_stem(tag).is_none() && watch.tags.matches_tag(tag));
        Ok(tags)
    }

    /// What the tags stand for. The inner error is that it cannot be used as a base.
    async fn bases(
        &self,
        watch: &Watch,
        tags: &[String],
    ) -> Result<Vec<(Reference, Result<Tagged, Error>)>, Error> {
        let names = tags.iter().map(|tag| watch.tags.repository.at(&Selector::Tag(tag.clone())));
        let read = stream::iter(names).map(|name| async {
            match self.base(&name, watch.order).await {
                Err(e) if e.is_not_found() || matches!(e, Error::WrongKind { .. }) => Ok((name, Err(e))),
                read => Ok((name, Ok(read?))),
            }
        });
        read.buffered(self.jobs).try_collect().await
    }

    async fn base(&self, name: &Reference, order: Order) -> Result<Tagged, Error> {
        let opened = self.places.source(&Location::Registry(name.clone()))?;
        let base = Base::read(&opened, Some(name.clone()), self.images.clone()).await?;
        let created = match order {
            Order::Created => {
                base.first().await?.and_then(|i| i.config_view.created.as_deref()?.parse().ok())
            }
            Order::Version => None,
        };
        Ok(Tagged { name: name.clone(), base, created })
    }
}

impl Tagged {
    async fn entries(self, platforms: &[PlatformPattern], seen: &str) -> Result<Vec<Entry>, Error> {
        let root = self.base.root.digest();
        let mut out = Vec::new();
        for (image, platform) in self.base.all().await? {
            if !platforms.is_empty() && !platforms.iter().any(|p| p.matches(&platform)) {
                continue;
            }
            let index = Some(root).filter(|root| *root != image.manifest.digest());
            out.extend(Entry::of(&image, platform, self.name.clone(), index, seen.to_owned())?);
        }
        Ok(out)
    }
}
