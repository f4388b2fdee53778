//! Bases before what stands on them.

use std::collections::{HashMap, HashSet};

use palan_core::{Digest, Reference, Repository};

use super::inventory::{Inventory, Member};

/// Which images of a fleet stand on which others, by their numbers in the inventory.
pub(super) struct Chains {
    /// For each image, the one that it stands on.
    pub(super) on: Vec<Option<usize>>,
    /// In an order in which bases come first; those that stand on themselves, by whatever way, are in none.
    pub(super) levels: Vec<Vec<usize>>,
}

impl Chains {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let by_name: HashMap<(&Repository, Option<&str>), usize> =
            inventory.images.iter().enumerate().map(|(n, member)| (name(&member.image), n)).collect();
        let digests = inventory.images.iter().enumerate().flat_map(|(n, member)| {
            let own = member.platforms.iter().map(|platform| platform.digest);
            own.chain([member.digest]).map(move |digest| (digest, n))
        });
        let by_digest: HashMap<Digest, usize> = digests.collect();
        let below = |number: usize, member: &Member| {
            member.platforms.iter().find_map(|platform| {
                let named = platform.base.as_ref().and_then(|base| by_name.get(&name(base)));
                let found = named.or_else(|| by_digest.get(&platform.base_digest?));
                found.copied().filter(|found| *found != number || named.is_some())
            })
        };
        let on = inventory.images.iter().enumerate().map(|(n, member)| below(n, member)).collect();
        let mut chains = Self { on, levels: Vec::new() };
        chains.order();
        chains
    }

    fn order(&mut self) {
        let mut placed = HashSet::new();
        loop {
            let is_next = |n: &usize| !placed.contains(n) && self.on[*n].is_none_or(|b| placed.contains(&b));
            let level: Vec<usize> = (0..self.on.len()).filter(is_next).collect();
            if level.is_empty() {
                return;
            }
            placed.extend(level.iter().copied());
            self.levels.push(level);
        }
    }

    /// The images that stand on themselves, or on such.
    pub(super) fn endless(&self) -> Vec<usize> {
        let placed: HashSet<usize> = self.levels.iter().flatten().copied().collect();
        (0..self.on.len()).filter(|n| !placed.contains(n)).collect()
    }
}

fn name(reference: &Reference) -> (&Repository, Option<&str>) {
    (reference.repository(), reference.tag())
}

#[cfg(test)]
mod tests {
    use super::{super::inventory::MemberPlatform, *};

    fn fleet(images: &[(&str, Option<&str>)]) -> Inventory {
        let member = |(image, base): &(&str, Option<&str>)| Member {
            image: format!("localhost/{image}:1").parse().unwrap(),
            digest: Digest::sha256(image.as_bytes()),
            named_in: Vec::new(),
            created: None,
            labels: Default::default(),
            below: 0,
            platforms: vec![MemberPlatform {
                platform: "linux/amd64".into(),
                digest: Digest::sha256(format!("{image} amd64").as_bytes()),
                base: base
                    .filter(|base| !base.starts_with("digest of "))
                    .map(|base| format!("localhost/{base}:1").parse().unwrap()),
                base_index: None,
                reason: None,
                base_digest: base
                    .and_then(|base| base.strip_prefix("digest of "))
                    .map(|base| Digest::sha256(format!("{base} amd64").as_bytes())),
                evidence: None,
                boundary: None,
                status: "current".into(),
                base_now: None,
                versions_behind: 0,
                newest: None,
                chain: Vec::new(),
                whole: false,
            }],
        };
        Inventory { images: images.iter().map(member).collect(), ..Inventory::default() }
    }

    #[test]
    fn bases_come_first_and_circles_never() {
        type Case<'a> = (&'a [(&'a str, Option<&'a str>)], &'a [&'a [usize]], &'a [usize]);
        let cases: [Case<'_>; 5] = [
            (&[("app", Some("jre")), ("jre", Some("os")), ("os", None)], &[&[2], &[1], &[0]], &[]),
            (&[("app", Some("elsewhere")), ("b", None)], &[&[0, 1]], &[]),
            (&[("app", Some("digest of jre")), ("jre", None)], &[&[1], &[0]], &[]),
            (&[("a", Some("b")), ("b", Some("a")), ("c", Some("a")), ("d", None)], &[&[3]], &[0, 1, 2]),
            (&[("self", Some("self"))], &[], &[0]),
        ];
        for (images, levels, endless) in cases {
            let chains = Chains::of(&fleet(images));
            assert_eq!(chains.levels, levels, "{images:?}");
            assert_eq!(chains.endless(), endless, "{images:?}");
        }
    }
}
