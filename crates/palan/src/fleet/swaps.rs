//! What rules about bases replace in sources.

use std::collections::BTreeMap;

use palan_core::Reference;

use super::{settings::BaseRule, standing::tagged};
use crate::source::Swap;

/// The replacements that rules make among names, in an order in which nothing is replaced twice. Rules that do not say by
/// name what takes the base's place make none.
///
/// The error is that two names would replace each other.
pub fn swaps(rules: &[BaseRule], names: &[Reference]) -> Result<Vec<Swap>, String> {
    let mut wanted: BTreeMap<Reference, Reference> = BTreeMap::new();
    for name in names {
        let Some(old) = tagged(name) else { continue };
        // As for images: the first rule that fits counts, whether it says a name or not.
        let fits = |rule: &&BaseRule| {
            rule.from.matches(&old)
                && rule.digest.is_none_or(|digest| name.digest().is_none_or(|d| d == digest))
        };
        let Some(rule) = rules.iter().find(fits) else { continue };
        let old = rule.digest.map_or_else(|| old.clone(), |digest| old.pinned(digest));
        if let Some(new) = rule.to.clone().filter(|new| *new != old) {
            wanted.entry(old).or_insert(new);
        }
    }
    let mut out = Vec::new();
    while !wanted.is_empty() {
        // What takes the place of one must not be replaced itself afterwards.
        let is_last = |new: &Reference| !wanted.keys().any(|old| tagged(old) == tagged(new));
        let Some((old, new)) = wanted.iter().find(|(_, new)| is_last(new)) else {
            let names: Vec<String> = wanted.keys().map(ToString::to_string).collect();
            return Err(format!("{} would replace each other", names.join(" and ")));
        };
        out.push(Swap::new(old.clone(), new.clone()));
        let old = old.clone();
        wanted.remove(&old);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Settings;

    fn of(rules: &[(&str, &str)], names: &[&str]) -> Result<Vec<String>, String> {
        let rule = |(from, to): &(&str, &str)| match *to {
            "" => format!("[[base]]\nfrom = \"{from}\"\n"),
            to => format!("[[base]]\nfrom = \"{from}\"\nto = \"{to}\"\n"),
        };
        let settings = Settings::parse(&rules.iter().map(rule).collect::<String>()).unwrap();
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        let swaps = swaps(&settings.bases, &names)?;
        Ok(swaps.iter().map(|swap| format!("{} {}", swap.old(), swap.new_base())).collect())
    }

    #[test]
    fn the_first_rule_counts_and_nothing_is_replaced_twice() {
        let cases: &[(&[(&str, &str)], &[&str], &[&str])] = &[
            (
                &[("h.io/a:1*", "h.io/a:2")],
                &["h.io/a:1.1", "h.io/a:3", "h.io/a:1"],
                &["h.io/a:1 h.io/a:2", "h.io/a:1.1 h.io/a:2"],
            ),
            (&[("h.io/a", "h.io/a:2")], &["h.io/a:2", "h.io/b:1"], &[]),
            (&[("h.io/a:1", ""), ("h.io/a", "h.io/a:2")], &["h.io/a:1", "h.io/a:0"], &["h.io/a:0 h.io/a:2"]),
            (
                &[("h.io/a", "h.io/b:1"), ("h.io/b", "h.io/c:1")],
                &["h.io/a:1", "h.io/b:1"],
                &["h.io/b:1 h.io/c:1", "h.io/a:1 h.io/b:1"],
            ),
        ];
        for (rules, names, expected) in cases {
            assert_eq!(of(rules, names).unwrap(), *expected, "{rules:?}");
        }
        let error = of(&[("h.io/a", "h.io/b:1"), ("h.io/b", "h.io/a:1")], &["h.io/a:1", "h.io/b:1"]);
        assert_eq!(error.unwrap_err(), "h.io/a:1 and h.io/b:1 would replace each other");
    }
}
