//! What settings say and no image has: it is likely to be mistyped.

use super::{
    inventory::{Inventory, Link, Member},
    settings::{BaseRule, Settings},
    waves::fits,
};

/// The rules and waves that no image of a fleet fits, in sentences. Of a fleet without images there is nothing to say.
pub fn unfit(settings: &Settings, inventory: &Inventory) -> Vec<String> {
    if inventory.images.is_empty() {
        return Vec::new();
    }
    let is_met = |rule: &BaseRule| inventory.images.iter().any(|member| is_about(rule, member));
    let rules = settings.bases.iter().filter(|rule| !is_met(rule)).map(|rule| match rule.digest {
        Some(digest) => {
            format!("no image stands on {} with the digest {digest}, as a rule has it", rule.from)
        }
        None => format!("no image stands on {}, as a rule has it", rule.from),
    });
    let is_empty = |rule: &&super::WaveRule| !inventory.images.iter().any(|member| fits(rule, member));
    let waves = settings.waves.iter().filter(is_empty);
    rules.chain(waves.map(|wave| format!("no image fits the wave \"{}\"", wave.name))).collect()
}

/// Whether a rule is about any base below an image, or has brought it there.
fn is_about(rule: &BaseRule, member: &Member) -> bool {
    let fits = |link: &Link| rule.is_about(link) || rule.may_lead_to(&link.base);
    member.platforms.iter().any(|platform| platform.link().iter().chain(&platform.chain).any(fits))
}
