//! Who goes first.

use palan_core::Reference;

use super::{
    inventory::Member,
    planned::Wave,
    settings::{Settings, WaveRule},
};
use crate::base::pattern::matches;

/// The wave of images that no rule names.
pub(super) const REST: &str = "rest";

/// The waves, in their order.
pub(super) fn waves(settings: &Settings) -> Vec<Wave> {
    let named = settings.waves.iter().map(|rule| Wave {
        name: rule.name.clone(),
        gates: rule.gates.clone().unwrap_or_else(|| settings.gates.clone()),
    });
    named.chain([Wave { name: REST.to_owned(), gates: settings.gates.clone() }]).collect()
}

/// The number of each image's wave. `members`: ordered by name; those not to be rebased are of no wave's count.
pub(super) fn assign(rules: &[WaveRule], members: &[(&Member, bool)]) -> Vec<usize> {
    let all = members.iter().filter(|(_, is_rebased)| *is_rebased).count();
    let mut taken = vec![0; rules.len()];
    let mut wave_of = |member: &Member, is_rebased: bool| {
        for (number, rule) in rules.iter().enumerate() {
            if !fits(rule, member) || taken[number] >= room(rule, all) {
                continue;
            }
            taken[number] += usize::from(is_rebased);
            return number;
        }
        rules.len()
    };
    members.iter().map(|(member, is_rebased)| wave_of(member, *is_rebased)).collect()
}

fn room(rule: &WaveRule, all: usize) -> usize {
    let percent = rule.percent.map(|percent| (all * percent as usize).div_ceil(100));
    percent.into_iter().chain(rule.count).min().unwrap_or(usize::MAX)
}

/// Whether a wave is meant for an image.
pub(super) fn fits(rule: &WaveRule, member: &Member) -> bool {
    let labelled = rule.label.as_ref().is_none_or(|label| match label.split_once('=') {
        Some((key, value)) => member.labels.get(key).is_some_and(|found| found == value),
        None => member.labels.contains_key(label),
    });
    labelled && (rule.images.is_empty() || rule.images.iter().any(|pattern| names(pattern, &member.image)))
}

/// Whether a pattern names an image: `*` and `?` in its whole name, with its tag or without it.
pub(super) fn names(pattern: &str, image: &Reference) -> bool {
    let (whole, repository) = (image.to_string(), image.repository().to_string());
    [whole, repository].iter().any(|name| matches(pattern.as_bytes(), name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use palan_core::Digest;

    use super::*;

    fn member(name: &str, labels: &[(&str, &str)]) -> Member {
        Member {
            image: format!("localhost/team/{name}:1").parse().unwrap(),
            digest: Digest::sha256(name.as_bytes()),
            named_in: Vec::new(),
            created: None,
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            below: 0,
            platforms: Vec::new(),
        }
    }

    fn rule(name: &str) -> WaveRule {
        WaveRule {
            name: name.into(),
            label: None,
            images: Vec::new(),
            count: None,
            percent: None,
            gates: None,
        }
    }

    #[test]
    fn the_first_wave_with_room_is_it() {
        let members = [
            member("a", &[]),
            member("b", &[("canary", "true")]),
            member("c", &[("canary", "false")]),
            member("d", &[]),
            member("e", &[]),
        ];
        let rules = [
            WaveRule { label: Some("canary=true".into()), ..rule("canary") },
            WaveRule { images: vec!["localhost/team/[de]".into(), "*/team/e:1".into()], ..rule("e") },
            WaveRule { percent: Some(30), ..rule("early") },
        ];
        let assigned = |rebased: [bool; 5]| {
            let members: Vec<_> = members.iter().zip(rebased).collect();
            assign(&rules, &members)
        };
        // 30 % of five, rounded up, are two.
        assert_eq!(assigned([true; 5]), [2, 0, 2, 3, 1]);
        // 30 % of three are one; who stays takes no room.
        assert_eq!(assigned([false, true, true, true, false]), [2, 0, 2, 3, 1]);
        let counted = [WaveRule { count: Some(1), label: Some("canary".into()), ..rule("one") }];
        let members: Vec<_> = members.iter().map(|member| (member, true)).collect();
        assert_eq!(assign(&counted, &members), [1, 0, 1, 1, 1]);
    }
}
