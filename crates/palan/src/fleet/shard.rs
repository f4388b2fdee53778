//! A part of a plan, for one of several machines that share the work and do not speak with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use palan_core::{Digest, Reference, Repository};

use super::planned::Plan;

/// One of N parts of a plan, written `I/N`.
///
/// Images that go one after another are in the same part, and so are the images of one repository. Which part that is
/// depends on names only: each image is in exactly one, for every N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    number: u32,
    of: u32,
}

/// Why a text is not a part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a shard: I/N, with I from 1 to N")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<u32>().ok(),
            false => None,
        };
        let parsed = text.split_once('/').and_then(|(i, n)| Some((number(i)?, number(n)?)));
        match parsed {
            Some((number, of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err(ShardError(text.to_owned())),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// From 1 to [`Shard::of`].
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// The images of a plan that are in it.
    pub fn images(self, plan: &Plan) -> BTreeSet<&Reference> {
        let smallest = components(plan);
        let is_here = |image: &&Reference| {
            smallest.get(image.repository()).is_some_and(|name| self.has(&name.to_string()))
        };
        plan.images.iter().map(|entry| &entry.image).filter(is_here).collect()
    }

    /// A plan with no other images. Journals know it by the whole plan's digest all the same.
    #[must_use]
    pub fn part(self, plan: &Plan) -> Plan {
        let here = self.images(plan);
        let images = plan.images.iter().filter(|entry| here.contains(&entry.image)).cloned().collect();
        Plan { images, ..plan.clone() }
    }

    fn has(self, name: &str) -> bool {
        let digest = Digest::sha256(name.as_bytes());
        let start = digest.as_bytes().iter().take(8);
        let hash = start.fold(0u64, |hash, byte| hash << 8 | u64::from(*byte));
        hash % u64::from(self.of) == u64::from(self.number - 1)
    }
}

/// For each repository, the smallest name of those that it is connected with.
fn components(plan: &Plan) -> BTreeMap<&Repository, &Repository> {
    let mut above: BTreeMap<&Repository, &Repository> =
        plan.images.iter().map(|entry| (entry.image.repository(), entry.image.repository())).collect();
    for entry in &plan.images {
        for base in &entry.after {
            let (a, b) = (root(&above, entry.image.repository()), root(&above, base.repository()));
            above.insert(a.max(b), a.min(b));
        }
    }
    above.keys().map(|name| (*name, root(&above, name))).collect()
}

/// Parents are always smaller, so that this ends.
fn root<'a>(above: &BTreeMap<&'a Repository, &'a Repository>, name: &'a Repository) -> &'a Repository {
    let mut name = name;
    while let Some(parent) = above.get(name).filter(|parent| **parent != name) {
        name = parent;
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::{Action, Entry, Rules, SCHEMA};

    fn name(repository: usize, tag: usize) -> Reference {
        format!("h.io/team/r{repository}:{tag}").parse().unwrap()
    }

    /// An image by repository and tag, and what it goes after.
    type Named = ((usize, usize), Vec<(usize, usize)>);

    fn plan(images: &[Named]) -> Plan {
        let entry = |(image, after): &Named| Entry {
            image: name(image.0, image.1),
            digest: None,
            base: None,
            wave: "rest".into(),
            after: after.iter().map(|base| name(base.0, base.1)).collect(),
            action: Action::Nothing { why: None, reason: String::new() },
        };
        Plan {
            schema: SCHEMA.to_owned(),
            rebase: Rules::default(),
            waves: Vec::new(),
            jobs: None,
            requests: None,
            registries: BTreeMap::new(),
            images: images.iter().map(entry).collect(),
            missed: Vec::new(),
        }
    }

    #[test]
    fn what_is_typed() {
        for good in ["1/1", "3/3", "2/260"] {
            assert_eq!(good.parse::<Shard>().unwrap().to_string(), good);
        }
        for bad in ["0/3", "4/3", "x", "1", "1/0", "-1/3", "+1/3", "1/", "/3", "1/3/3", "1/99999999999"] {
            let error = bad.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")), "{error}");
        }
    }

    #[test]
    fn the_split_never_changes() {
        let plan = plan(&(0..12).map(|n| ((n, 1), Vec::new())).collect::<Vec<_>>());
        let parts: Vec<Vec<String>> = ["1/3", "2/3", "3/3"]
            .map(|text| {
                let images = text.parse::<Shard>().unwrap().images(&plan);
                images.iter().map(|image| image.repository().path()[6..].to_owned()).collect()
            })
            .into();
        let expected: [&[&str]; 3] = [&["10", "11", "2", "6"], &["1", "8", "9"], &["0", "3", "4", "5", "7"]];
        assert_eq!(parts, expected);
    }

    proptest! {
        #[test]
        fn each_image_is_in_exactly_one(
            images in prop::collection::vec(
                ((0usize..9, 0usize..3), prop::collection::vec((0usize..12, 0usize..3), 0..3)),
                0..24,
            ),
            of in 1u32..9,
        ) {
            let plan = plan(&images);
            let shards: Vec<Shard> = (1..=of).map(|n| format!("{n}/{of}").parse().unwrap()).collect();
            let parts: Vec<_> = shards.iter().map(|shard| shard.images(&plan)).collect();
            let part_of = |image: &Reference| {
                let found: Vec<_> = (0..parts.len()).filter(|n| parts[*n].contains(image)).collect();
                assert_eq!(found.len(), 1, "{image}: {found:?}");
                found[0]
            };
            let all: usize = shards.iter().map(|shard| shard.part(&plan).images.len()).sum();
            prop_assert_eq!(all, plan.images.len());
            for entry in &plan.images {
                let part = part_of(&entry.image);
                for other in &plan.images {
                    let together = entry.after.iter().any(|base| base.repository() == other.image.repository())
                        || entry.image.repository() == other.image.repository();
                    prop_assert!(!together || part == part_of(&other.image));
                }
            }
        }
    }
}
