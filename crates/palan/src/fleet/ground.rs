//! What is below the bases of a fleet: they stand on others, which may be none of its images.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use palan_core::{Digest, PlatformPattern, Reference};

use super::{
    inventory::{Link, MemberPlatform},
    standing::Seen,
};
use crate::{
    Error,
    base::{Detector, PlatformBase, Status, Subject},
    once::Once,
    place::Location,
    rebase::base::Base,
};

/// How many bases are followed below one image: more are a circle, or somebody's joke.
const DEEPEST: usize = 32;

/// Notes for each platform what its base stands on, and whether that is known to the last. Each base is read once.
pub(super) async fn find(detector: &Detector<'_>, seen: &mut [Seen], jobs: usize) {
    let ground = Ground { detector, fleet: fleet(seen), read: Once::default() };
    let all = seen.iter().enumerate().flat_map(|(n, one)| {
        let platforms = one.member.platforms.iter().zip(&one.stacks).enumerate();
        platforms
            .map(move |(platform, (of, stack))| (n, platform, Step::of(of, stack.layers()), &of.platform))
    });
    let all: Vec<_> = all.map(|(n, at, step, platform)| (n, at, step, platform.clone())).collect();
    let chains = stream::iter(all).map(|(n, at, step, platform)| {
        let ground = &ground;
        async move { (n, at, ground.below(step, &platform).await) }
    });
    let chains: Vec<_> = chains.buffer_unordered(jobs.max(1)).collect().await;
    for (n, at, (chain, whole)) in chains {
        let asked = seen[n].asked.get(at).cloned().flatten();
        let platform = &mut seen[n].member.platforms[at];
        (platform.chain, platform.whole) = (chain, whole);
        platform.chain.extend(asked.filter(|asked| !platform.stands_on(&asked.base)));
    }
}

/// One step down.
#[derive(Clone)]
struct Step {
    on: Option<Link>,
    /// Whether the layers of what it stands on were compared with its own.
    is_proven: bool,
    /// Whether there is nothing below.
    is_last: bool,
}

impl Step {
    fn of(platform: &MemberPlatform, layers: usize) -> Self {
        let is_scratch = platform.base_digest.is_none() && platform.status == Status::Current.as_str();
        let on = platform.link();
        let is_last = on.is_none() && (is_scratch || layers <= 1);
        let is_proven = platform.boundary.is_some() && platform.base_digest.is_some();
        Self { on, is_proven, is_last }
    }

    fn found(base: &PlatformBase) -> Self {
        let found = base.base.as_ref();
        let link = |name: &Reference| Link {
            base: super::standing::tagged(name).unwrap_or_else(|| name.clone()),
            base_digest: found.and_then(|found| found.digest),
            base_index: found.and_then(|found| found.index_digest),
        };
        Self {
            on: found.and_then(|found| found.name.as_ref()).map(link),
            is_proven: found.is_some_and(|found| found.boundary.is_some() && found.digest.is_some()),
            is_last: found.is_none() && (base.scratch || base.layers <= 1),
        }
    }
}

/// The images of the fleet by the digests of their manifests: what they stand on is known already.
fn fleet(seen: &[Seen]) -> HashMap<Digest, Step> {
    let all = seen.iter().flat_map(|one| one.member.platforms.iter().zip(&one.stacks));
    all.map(|(platform, stack)| (platform.digest, Step::of(platform, stack.layers()))).collect()
}

fn missing(digest: Digest, place: &str) -> Error {
    Error::NotFound { name: digest.to_string(), place: place.to_owned() }
}

struct Ground<'a, 'd> {
    detector: &'a Detector<'d>,
    fleet: HashMap<Digest, Step>,
    read: Once<(Reference, String), Step>,
}

impl Ground<'_, '_> {
    /// What is below a base, and whether that is all. What cannot be read ends it.
    async fn below(&self, mut step: Step, platform: &str) -> (Vec<Link>, bool) {
        let mut chain: Vec<Link> = Vec::new();
        while chain.len() < DEEPEST {
            let Some(on) = step.on.filter(|_| step.is_proven) else { return (chain, step.is_last) };
            match self.step(&on, platform).await {
                Some(next) => step = next,
                None => return (chain, false),
            }
            chain.extend(step.on.clone());
        }
        (chain, false)
    }

    async fn step(&self, on: &Link, platform: &str) -> Option<Step> {
        let digest = on.base_digest?;
        if let Some(known) = self.fleet.get(&digest) {
            return Some(known.clone());
        }
        let key = (on.base.repository().with_digest(digest), platform.to_owned());
        let read = || async {
            let base = self.base(on, digest).await?;
            match on.base_index {
                Some(_) => self.listed(&base, (on, digest), platform).await,
                None => self.single(&base).await,
            }
        };
        self.read.get(key, read).await.ok().map(|step| step.as_ref().clone())
    }

    /// The tag was read for other reasons, and mostly it stands for the same still.
    async fn base(&self, on: &Link, digest: Digest) -> Result<Arc<Base>, Error> {
        let root = on.base_index.unwrap_or(digest);
        match self.detector.base(&on.base).await {
            Ok(base) if base.root.digest() == root => Ok(base),
            _ => self.detector.base(&on.base.repository().with_digest(root)).await,
        }
    }

    async fn single(&self, base: &Base) -> Result<Step, Error> {
        let Some(image) = base.first().await? else { return Err(missing(base.root.digest(), &base.name())) };
        let subject = Subject::new(Arc::clone(&image), image.platform());
        Ok(Step::found(&self.detector.image(base.source.as_ref(), &subject).await?))
    }

    /// An index says things of its images that they do not say themselves.
    async fn listed(
        &self,
        index: &Base,
        (on, digest): (&Link, Digest),
        platform: &str,
    ) -> Result<Step, Error> {
        let asked: Vec<PlatformPattern> = platform.parse().into_iter().collect();
        let name = Location::Registry(on.base.clone());
        let (found, _) = self.detector.subjects_in(index.source.as_ref(), &index.root, &name, &asked).await?;
        let step = found.platforms.iter().find(|found| found.digest == digest).map(Step::found);
        step.ok_or_else(|| missing(digest, &index.name()))
    }
}
