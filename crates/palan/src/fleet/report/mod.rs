//! Where a fleet stands: a plan and its journal, counted and put into words.
//!
//! [`Report::new`] is a pure function of both. The forms are methods of the report: [`Report::to_json`],
//! [`Report::to_junit`], [`Report::to_markdown`], [`Report::to_prometheus`] and [`Report::to_html`] give whole files, and the
//! same report always gives the same bytes: there is no time in them. All text of a report comes from outside (names of
//! images, sentences about them, output of hooks), and each form escapes it in its own way.

mod counts;
mod html;
mod image;
mod junit;
mod markdown;
mod markup;
mod prometheus;
mod standing;
mod terms;

use std::collections::BTreeMap;

use palan_core::{Digest, Reference};
use serde::Serialize;

use super::{inventory::Missed, planned::Plan, settings::Rules, states::State};
pub use counts::{Base, Counts, Rebuild, Totals, Wave};
pub use image::{Gate, Image, Platform};
pub(super) use markup::plain;
pub use standing::Standing;

pub use super::gates::HeldBy;

/// What the field `schema` of a report says.
pub const SCHEMA: &str = "palan.fleet.report/v1";

/// Where a fleet stands. Field names are part of palan's interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The plan: [`Plan::digest`].
    pub plan: Digest,
    /// How each image is rebased.
    pub rebase: Rules,
    /// All images together.
    pub totals: Totals,
    /// By wave, in the order in which they go.
    pub waves: Vec<Wave>,
    /// By the base that images stood on when the plan was made, the largest first; images whose base is not known last.
    /// Those that had nothing to do are not in it.
    pub bases: Vec<Base>,
    /// How many results have which verdict; only verdicts that occur.
    pub verdicts: BTreeMap<String, usize>,
    /// How many images are held by which gate; one image can be held by several.
    pub held: BTreeMap<HeldBy, usize>,
    /// The images, in the order of the plan.
    pub images: Vec<Image>,
    /// What was named, could not be looked at, and is no image: what it stands for is in no count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
}

impl Report {
    /// Counts what a plan has and what was done. `states` are those of the plan's journal; none: nothing was done.
    pub fn new(plan: &Plan, states: &BTreeMap<Reference, State>) -> Self {
        let (faults, unknown) = (plan.faults(), State::default());
        let image = |entry| {
            let entry: &super::planned::Entry = entry;
            let state = states.get(&entry.image).unwrap_or(&unknown);
            Image::new(plan, entry, state, faults.get(&entry.image).map(String::as_str))
        };
        let images: Vec<Image> = plan.images.iter().map(image).collect();
        Self {
            schema: SCHEMA,
            plan: plan.digest(),
            rebase: plan.rebase.clone(),
            totals: Totals::of(&images),
            waves: counts::waves(plan, &images),
            bases: counts::bases(&images),
            verdicts: counts::verdicts(&images),
            held: counts::held(&images),
            images,
            missed: plan.missed.clone(),
        }
    }

    /// Whether anything went wrong: an image failed, a gate stopped it, somebody else moved its tag, or something could not
    /// be looked at when the plan was made.
    pub fn has_failures(&self) -> bool {
        !self.missed.is_empty() || self.images.iter().any(|image| image.state.is_failure())
    }

    /// The images that stand so, in the order of the plan.
    pub fn standing(&self, standing: Standing) -> impl Iterator<Item = &Image> {
        self.images.iter().filter(move |image| image.state == standing)
    }

    /// JSON, two spaces, a newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
