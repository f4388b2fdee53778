//! Which images of a fleet stand on which others.

use std::collections::{BTreeMap, BTreeSet};

use palan_core::{Digest, Reference, Selector, chain_ids};

use super::inventory::{Link, Member};
use crate::base::PlatformBase;

/// What [`MemberPlatform::evidence`](super::MemberPlatform) says of a base that is an image of the fleet, known by its layers.
pub(super) const FLEET: &str = "fleet";

/// An image that was looked at, with what is compared of it.
pub(super) struct Seen {
    pub(super) member: Member,
    /// One for each platform.
    pub(super) stacks: Vec<Stack>,
    /// The base that was asked for, for each platform that has its layers.
    pub(super) asked: Vec<Option<Link>>,
}

/// The layers of one platform's image.
pub(super) struct Stack {
    /// One for each layer: a chain ID, as far as it is needed to tell it from others.
    chains: Vec<u128>,
    /// Of how many layers a base must be to take the place of the one that was found, if any can.
    least: Option<usize>,
}

impl Stack {
    /// How many layers there are.
    pub(super) fn layers(&self) -> usize {
        self.chains.len()
    }

    /// What was written about this very image is believed; what may have been handed down to it is not, where an image of
    /// the fleet has more of its layers.
    pub(super) fn of(diff_ids: &[Digest], found: &PlatformBase) -> Self {
        let least = match &found.base {
            None => (!found.scratch).then_some(1),
            Some(base) if base.evidence.is_direct() => None,
            Some(base) => Some(base.boundary.unwrap_or_default() + 1),
        };
        Self { chains: chain_ids(diff_ids).iter().map(shortened).collect(), least }
    }
}

/// Half a digest: 10,000 images have 100,000 layers and more.
fn shortened(chain: &Digest) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(chain.as_bytes()).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(bytes)
}

/// One platform of an image: their numbers.
type Place = (usize, usize);

/// Finds the bases that are images of the fleet, and how many images stand on each.
pub(super) fn settle(seen: &mut [Seen]) {
    let tops = tops(seen);
    let mut above = by_name(seen);
    for upper in 0..seen.len() {
        for platform in 0..seen[upper].stacks.len() {
            let stack = &seen[upper].stacks[platform];
            let own = stack.chains.len().saturating_sub(1);
            let mut longest = None;
            for (n, chain) in stack.chains[..own].iter().enumerate() {
                let Some(lower) = tops.get(chain) else { continue };
                lower.iter().for_each(|(lower, _)| link(&mut above, *lower, upper));
                longest = lower.first().map(|lower| (n + 1, *lower));
            }
            let fits = |layers| stack.least.is_some_and(|least| least <= layers);
            if let Some((layers, lower)) = longest.filter(|(layers, _)| fits(*layers)) {
                adopt(seen, (upper, platform), lower, layers);
            }
        }
    }
    for (n, one) in seen.iter_mut().enumerate() {
        one.member.below = reached(&above, n);
    }
}

/// The platforms whose layers make up a chain ID.
fn tops(seen: &[Seen]) -> BTreeMap<u128, Vec<Place>> {
    let mut out: BTreeMap<u128, Vec<Place>> = BTreeMap::new();
    for (n, one) in seen.iter().enumerate() {
        for (platform, stack) in one.stacks.iter().enumerate() {
            if let Some(top) = stack.chains.last() {
                out.entry(*top).or_default().push((n, platform));
            }
        }
    }
    out
}

type Above = BTreeMap<usize, BTreeSet<usize>>;

fn link(above: &mut Above, lower: usize, upper: usize) {
    above.entry(lower).or_default().insert(upper);
}

/// What stands on what by the names of bases: also where a base's tag has moved since.
fn by_name(seen: &[Seen]) -> Above {
    let names: BTreeMap<&Reference, usize> =
        seen.iter().enumerate().map(|(n, one)| (&one.member.image, n)).collect();
    let mut out = Above::new();
    for (upper, one) in seen.iter().enumerate() {
        for base in one.member.platforms.iter().filter_map(|platform| platform.base.as_ref()) {
            if let Some(lower) = tagged(base).and_then(|name| names.get(&name)) {
                link(&mut out, *lower, upper);
            }
        }
    }
    out
}

/// Repository and tag, without a digest.
pub(super) fn tagged(name: &Reference) -> Option<Reference> {
    Some(name.repository().at(&Selector::Tag(name.tag()?.to_owned())))
}

/// An image of the fleet is the base of another one.
fn adopt(seen: &mut [Seen], upper: Place, lower: Place, layers: usize) {
    let member = &seen[lower.0].member;
    let (image, root, digest) = (member.image.clone(), member.digest, member.platforms[lower.1].digest);
    let platform = &mut seen[upper.0].member.platforms[upper.1];
    platform.base = Some(image);
    platform.base_digest = Some(digest);
    platform.base_index = Some(root).filter(|root| *root != digest);
    platform.evidence = Some(FLEET.to_owned());
    platform.boundary = Some(layers);
    platform.status = crate::base::Status::Current.as_str().to_owned();
    platform.base_now = Some(digest);
    (platform.versions_behind, platform.newest, platform.reason) = (0, None, None);
}

/// How many others are above one.
fn reached(above: &Above, start: usize) -> usize {
    let mut found = BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some(lower) = next.pop() {
        for upper in above.get(&lower).into_iter().flatten() {
            if found.insert(*upper) {
                next.push(*upper);
            }
        }
    }
    found.len() - 1
}
