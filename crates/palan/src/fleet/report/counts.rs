//! Totals: of all images, of waves, of bases.

use std::collections::{BTreeMap, BTreeSet};

use palan_core::Reference;
use serde::Serialize;

use super::{image::Image, standing::Standing};
use crate::fleet::{gates::HeldBy, planned::Plan, settings::Gates};

/// How many images stand how; only what occurs. In the order of [`Standing::ALL`].
pub type Counts = BTreeMap<Standing, usize>;

/// A group of images, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many images.
    pub images: usize,
    /// How many of them stand how.
    pub states: Counts,
    /// Bytes of the layers of those that have a result, compressed, of all platforms.
    pub size: u64,
    /// The same of the results.
    pub new_size: u64,
}

/// A wave, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// Its name.
    pub name: String,
    /// What its results must pass; absent where the plan does not know the wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// Its images.
    #[serde(flatten)]
    pub totals: Totals,
}

/// The images that stood on one base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Its name; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What takes its place, by name.
    pub new_bases: Vec<String>,
    /// Its images.
    #[serde(flatten)]
    pub totals: Totals,
    /// Those that need a rebuild, and why.
    pub rebuilds: Vec<Rebuild>,
}

/// An image that needs a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    /// The image.
    pub image: Reference,
    /// Why.
    pub reasons: Vec<String>,
}

impl Totals {
    pub(super) fn of<'a>(images: impl IntoIterator<Item = &'a Image>) -> Self {
        let mut totals = Self::default();
        for image in images {
            totals.images += 1;
            *totals.states.entry(image.state).or_default() += 1;
            totals.size = totals.size.saturating_add(image.size.unwrap_or_default());
            totals.new_size = totals.new_size.saturating_add(image.new_size.unwrap_or_default());
        }
        totals
    }

    /// How many stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.states.get(&standing).copied().unwrap_or_default()
    }

    /// How many had something to do, or should have had.
    pub fn concerned(&self) -> usize {
        self.states.iter().filter(|(standing, _)| standing.is_concerned()).map(|(_, count)| count).sum()
    }

    /// `2 promoted, 1 failed`
    pub fn sentence(&self) -> String {
        let words: Vec<String> =
            self.states.iter().map(|(standing, count)| standing.counted(*count)).collect();
        words.join(", ")
    }
}

/// The plan's waves, and what images name besides.
pub(super) fn waves(plan: &Plan, images: &[Image]) -> Vec<Wave> {
    let mut names: Vec<&str> = plan.waves.iter().map(|wave| wave.name.as_str()).collect();
    names.extend(images.iter().map(|image| image.wave.as_str()));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let wave = |name: &str| {
        let totals = Totals::of(images.iter().filter(|image| image.wave == name));
        Wave { name: name.to_owned(), gates: plan.gates(name).cloned(), totals }
    };
    names.into_iter().map(wave).collect()
}

pub(super) fn bases(images: &[Image]) -> Vec<Base> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Image>> = BTreeMap::new();
    for image in images.iter().filter(|image| image.state.is_concerned()) {
        groups.entry(image.old_base.as_deref()).or_default().push(image);
    }
    let mut bases: Vec<Base> = groups.into_iter().map(|(base, images)| Base::of(base, &images)).collect();
    bases.sort_by_key(|base| (base.base.is_none(), std::cmp::Reverse(base.totals.images)));
    bases
}

impl Base {
    fn of(base: Option<&str>, images: &[&Image]) -> Self {
        let new = images.iter().filter_map(|image| image.new_base.as_ref()).map(super::image::without_digest);
        let rebuilds = images.iter().filter(|image| image.state == Standing::NeedsRebuild);
        let rebuild = |image: &&Image| Rebuild { image: image.image.clone(), reasons: image.reasons.clone() };
        Self {
            base: base.map(str::to_owned),
            new_bases: new.collect::<BTreeSet<_>>().into_iter().collect(),
            totals: Totals::of(images.iter().copied()),
            rebuilds: rebuilds.map(rebuild).collect(),
        }
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        self.base.as_deref().unwrap_or("not known")
    }

    /// What becomes of it, for people: `base debian:12 → 13`.
    pub fn change(&self) -> String {
        let new: Vec<&str> =
            self.new_bases.iter().map(|new| super::image::beside(self.name(), new)).collect();
        match new.is_empty() {
            true => format!("base {}", self.name()),
            false => format!("base {} → {}", self.name(), new.join(", ")),
        }
    }
}

pub(super) fn verdicts(images: &[Image]) -> BTreeMap<String, usize> {
    let words = images.iter().filter_map(|image| image.verdict).map(super::markup::verdict);
    tally(words.map(str::to_owned))
}

pub(super) fn held(images: &[Image]) -> BTreeMap<HeldBy, usize> {
    tally(images.iter().flat_map(|image| image.held_by.iter().copied()))
}

fn tally<T: Ord>(all: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}
