//! The file as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Entry, Mirror, Pulls, RegistriesConf, check_location};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(rename = "unqualified-search-registries")]
    search: Option<Vec<String>>,
    /// Version 1 of the format: `[registries.search]` …
    registries: Option<::toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorOf {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

pub(super) fn read(text: &str) -> Result<RegistriesConf, String> {
    let file: File = ::toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].lines().count().max(1));
        let line = line.map_or(String::new(), |n| format!("line {n}: "));
        format!("{line}{}", e.message().lines().next().unwrap_or_default())
    })?;
    if file.registries.is_some() {
        return Err("this is version 1 of the format, which is not supported".into());
    }
    let entries: Vec<Entry> =
        file.registry.into_iter().map(Registry::into_entry).collect::<Result<_, _>>()?;
    for (i, entry) in entries.iter().enumerate() {
        let same = |e: &&Entry| e.prefix == entry.prefix;
        if let Some(other) = entries[..i].iter().find(same)
            && (other.insecure, other.blocked) != (entry.insecure, entry.blocked)
        {
            return Err(format!("two entries for \"{}\" contradict each other", entry.prefix));
        }
    }
    for (name, long) in file.aliases.iter().filter(|(_, long)| !long.is_empty()) {
        check_location(long).map_err(|reason| format!("the alias \"{name}\": {reason}"))?;
    }
    for registry in file.search.iter().flatten() {
        check_location(registry)
            .map_err(|reason| format!("unqualified-search-registries: \"{registry}\": {reason}"))?;
    }
    Ok(RegistriesConf { entries, aliases: file.aliases, search: file.search })
}

impl Registry {
    fn into_entry(self) -> Result<Entry, String> {
        let location = Some(trimmed(&self.location)).filter(|l| !l.is_empty());
        let prefix = match (trimmed(&self.prefix), &location) {
            (prefix, _) if !prefix.is_empty() => prefix,
            (_, Some(location)) => location.clone(),
            _ => return Err("a [[registry]] has neither a prefix nor a location".into()),
        };
        check_location(prefix.strip_prefix("*.").unwrap_or(&prefix))
            .map_err(|reason| format!("the prefix \"{prefix}\": {reason}"))?;
        if prefix.starts_with('*') && prefix.contains('/') {
            return Err(format!("the prefix \"{prefix}\": * stands for the beginning of a host name only"));
        }
        let named = location.iter().chain(self.mirror.iter().map(|m| &m.location));
        for location in named {
            check_location(&trimmed(location))
                .map_err(|reason| format!("the location \"{location}\": {reason}"))?;
        }
        let digests_only = self.mirror_by_digest_only;
        let mirrors = self.mirror.into_iter().map(|m| m.into_mirror(&prefix, digests_only));
        let mirrors = mirrors.collect::<Result<_, _>>()?;
        // A prefix without another location needs no rewriting.
        let location = location.filter(|location| *location != prefix);
        Ok(Entry { location, insecure: self.insecure, blocked: self.blocked, mirrors, prefix })
    }
}

impl MirrorOf {
    fn into_mirror(self, prefix: &str, digests_only: bool) -> Result<Mirror, String> {
        let pulls = match (self.pull_from_mirror.as_str(), digests_only) {
            ("" | "all", false) => Pulls::All,
            ("", true) | ("digest-only", false) => Pulls::ByDigest,
            ("tag-only", false) => Pulls::ByTag,
            ("all" | "digest-only" | "tag-only", true) => {
                return Err(format!(
                    "\"{prefix}\" has mirror-by-digest-only, its mirrors cannot have pull-from-mirror"
                ));
            }
            (other, _) => return Err(format!("pull-from-mirror cannot be \"{other}\"")),
        };
        Ok(Mirror { location: trimmed(&self.location), insecure: self.insecure, pulls })
    }
}

/// Without the slash that some write at the end.
fn trimmed(text: &str) -> String {
    text.trim().trim_end_matches('/').to_owned()
}
