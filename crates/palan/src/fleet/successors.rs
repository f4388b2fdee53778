//! What takes the place of bases, by a team's rules: for images, and in sources.

use std::collections::{BTreeMap, BTreeSet};

use palan_core::{Digest, Reference, Repository, Selector};

use super::{newest::newest, settings::BaseRule, standing::tagged};
use crate::{
    Error,
    once::Once,
    place::{Location, Places},
    source::Swap,
};

/// What takes the place of bases. Registries are asked for each of them once, also where that fails.
pub struct Successors<'a> {
    places: &'a Places,
    rules: &'a [BaseRule],
    tags: Once<Repository, Result<Vec<String>, String>>,
    digests: Once<Reference, Result<Digest, String>>,
}

/// What rules replace in a text.
#[derive(Debug, Default)]
pub struct Swaps {
    /// In an order in which nothing is replaced twice.
    pub swaps: Vec<Swap>,
    /// The names for which it could not be found out, and why.
    pub failed: BTreeMap<Reference, String>,
}

impl<'a> Successors<'a> {
    /// By these rules. Asks nobody.
    pub fn new(places: &'a Places, rules: &'a [BaseRule]) -> Self {
        Self { places, rules, tags: Once::default(), digests: Once::default() }
    }

    /// The name of what takes a base's place by a rule: with a digest only where the rule has one. The error says why it is
    /// not known.
    async fn name(&self, rule: &BaseRule, base: &Reference) -> Result<Reference, String> {
        if let Some(to) = &rule.to {
            return Ok(to.clone());
        }
        if rule.keeps_name() {
            return tagged(base).ok_or_else(|| format!("its base {base} has no tag that could move"));
        }
        let repository = base.repository();
        let list = || async { Ok(self.list(base).await.map_err(|e| e.in_full())) };
        let tags = self.tags.get(repository.clone(), list).await.map_err(|e| e.in_full())?;
        let tag = newest(&rule.newest, base.tag(), tags.as_ref().as_ref().map_err(Clone::clone)?)?;
        let tag = tag.ok_or_else(|| format!("{repository} has no tag that the rule allows"))?;
        Ok(repository.at(&Selector::Tag(tag.to_owned())))
    }

    async fn list(&self, base: &Reference) -> Result<Vec<String>, Error> {
        self.places.base(&Location::Registry(base.clone()))?.place.tags().await
    }

    /// What takes a base's place by a rule, with its digest.
    pub(super) async fn locked(&self, rule: &BaseRule, base: &Reference) -> Result<Reference, String> {
        let name = self.name(rule, base).await?;
        if name.digest().is_some() {
            return Ok(name);
        }
        let resolve = || async { Ok(self.resolve(&name).await.map_err(|e| e.in_full())) };
        let digest = self.digests.get(name.clone(), resolve).await.map_err(|e| e.in_full())?;
        digest.as_ref().clone().map(|digest| name.pinned(digest))
    }

    async fn resolve(&self, name: &Reference) -> Result<Digest, Error> {
        let opened = self.places.base(&Location::Registry(name.clone()))?;
        Ok(opened.place.resolve(&name.selector()).await?.digest)
    }

    /// The replacements that the rules make among names. Rules that keep a base's name make none.
    ///
    /// The error is that two names would replace each other.
    pub async fn swaps(&self, names: &[Reference]) -> Result<Swaps, String> {
        let (mut wanted, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for name in names.iter().collect::<BTreeSet<_>>() {
            let Some(old) = tagged(name) else { continue };
            // As for images: the first rule that fits counts, whether it says a name or not.
            let fits = |rule: &&BaseRule| {
                rule.from.matches(&old)
                    && rule.digest.is_none_or(|digest| name.digest().is_none_or(|d| d == digest))
            };
            let Some(rule) = self.rules.iter().find(fits).filter(|rule| !rule.keeps_name()) else { continue };
            match self.name(rule, &old).await {
                Ok(new) => {
                    let old = rule.digest.map_or_else(|| old.clone(), |digest| old.pinned(digest));
                    if new != old {
                        wanted.entry(old).or_insert(new);
                    }
                }
                Err(reason) => {
                    failed.insert(old, reason);
                }
            }
        }
        Ok(Swaps { swaps: ordered(wanted)?, failed })
    }
}

/// Replacements in an order in which nothing is replaced twice.
fn ordered(mut wanted: BTreeMap<Reference, Reference>) -> Result<Vec<Swap>, String> {
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
    use futures_util::FutureExt as _;
    use palan_client::Client;

    use super::*;
    use crate::fleet::Settings;

    fn of(rules: &[(&str, &str)], names: &[&str]) -> Result<Vec<String>, String> {
        let rule = |(from, to): &(&str, &str)| match *to {
            "" => format!("[[base]]\nfrom = \"{from}\"\n"),
            to => format!("[[base]]\nfrom = \"{from}\"\nto = \"{to}\"\n"),
        };
        let settings = Settings::parse(&rules.iter().map(rule).collect::<String>()).unwrap();
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        let places = Places::new(Client::builder().build().unwrap());
        // Names alone: no registry is asked.
        let successors = Successors::new(&places, &settings.bases);
        let found = successors.swaps(&names).now_or_never().unwrap()?;
        assert!(found.failed.is_empty());
        Ok(found.swaps.iter().map(|swap| format!("{} {}", swap.old(), swap.new_base())).collect())
    }

    #[test]
    fn the_first_rule_counts_and_nothing_is_replaced_twice() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
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
