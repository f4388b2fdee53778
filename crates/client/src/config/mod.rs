//! Where registries really are: `registries.conf`, version 2.
//!
//! Source: [containers-registries.conf(5)](https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md).
//! Names keep meaning what they say: an image's name stays what was typed, whichever host answers for it. What a short name
//! stands for is told ([`RegistriesConf::long_name`]), not used here: elsewhere it is Docker Hub's, which such files call
//! `docker.io`.

mod short;
mod toml;

use std::{collections::BTreeMap, path::Path};

use palan_core::{Repository, hub};

use crate::Error;

/// Mirrors, other locations, blocked and insecure registries.
///
/// The entry with the longest prefix counts. A rewritten `location` is used for reading and writing, mirrors for reading
/// manifests and blobs only: one after the other, the registry itself at last. Each is asked with its own credentials.
/// Digests are checked wherever content comes from.
#[derive(Clone, Debug, Default)]
pub struct RegistriesConf {
    /// The longest prefix first.
    entries: Vec<Entry>,
    /// Names without a registry, and what they stand for.
    aliases: BTreeMap<String, String>,
    /// Where other names without a registry are looked for; `None`: nothing is said about it.
    search: Option<Vec<String>>,
}

/// What a file says about names that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    prefix: String,
    /// What stands instead of the prefix; `None`: the prefix.
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    pulls: Pulls,
}

/// What a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulls {
    All,
    ByDigest,
    ByTag,
}

/// Where a repository really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) registry: String,
    /// The repository there.
    pub(crate) path: String,
    pub(crate) insecure: bool,
}

/// All that is known about the whereabouts of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) primary: Endpoint,
    pub(crate) mirrors: Vec<(Endpoint, Pulls)>,
    /// The prefix that forbids it.
    pub(crate) blocked: Option<String>,
}

impl RegistriesConf {
    /// Reads a file's text; `path` stands for it in messages. Keys that are not known are ignored.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let read =
            toml::read(text).map_err(|reason| Error::Settings(format!("{}: {reason}", path.display())))?;
        let mut conf = Self::default();
        conf.add(read);
        Ok(conf)
    }

    /// Takes in a file of `registries.conf.d`: its entries replace those with the same prefix, its aliases those of the same
    /// name, and its registries to search all others.
    pub fn add(&mut self, later: Self) {
        self.aliases.extend(later.aliases);
        self.search = later.search.or(self.search.take());
        for entry in later.entries {
            self.entries.retain(|e| e.prefix != entry.prefix);
            self.entries.push(entry);
        }
        self.entries.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then(a.prefix.cmp(&b.prefix)));
    }

    /// Where a repository is; `path` is empty for the registry itself.
    pub(crate) fn locate(&self, registry: &str, path: &str) -> Place {
        let own = Endpoint { registry: registry.to_owned(), path: path.to_owned(), insecure: false };
        let host = hub::shown(registry);
        let name = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
        let found = self.entries.iter().find_map(|e| Some((e, rest_after(&e.prefix, &name)?)));
        let Some((entry, rest)) = found else {
            return Place { primary: own, mirrors: Vec::new(), blocked: None };
        };
        let moved = |location: &str, insecure| endpoint(&format!("{location}{rest}"), insecure);
        let primary = match &entry.location {
            Some(location) => moved(location, entry.insecure),
            None => Endpoint { insecure: entry.insecure, ..own },
        };
        let mirrors = entry.mirrors.iter().map(|m| (moved(&m.location, m.insecure), m.pulls)).collect();
        Place { primary, mirrors, blocked: entry.blocked.then(|| entry.prefix.clone()) }
    }

    /// Where a registry as a whole is, for what is not asked of a repository: itself.
    pub(crate) fn locate_registry(&self, registry: &str) -> Place {
        let place = self.locate(registry, "");
        let primary =
            Endpoint { registry: registry.to_owned(), path: String::new(), insecure: place.primary.insecure };
        Place { primary, mirrors: Vec::new(), ..place }
    }
}

impl Place {
    /// Refuses what is blocked; `name` is what was asked for.
    pub(crate) fn check(&self, name: &dyn std::fmt::Display) -> Result<(), Error> {
        match &self.blocked {
            Some(prefix) => Err(Error::Blocked { name: name.to_string(), prefix: prefix.clone() }),
            None => Ok(()),
        }
    }
}

/// What follows the prefix in a name, if it begins with it, up to the end of a component.
fn rest_after<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let rest = match prefix.strip_prefix('*') {
        Some(domain) => {
            let (host, _) = name.split_once('/').unwrap_or((name, ""));
            host.strip_suffix(domain).filter(|sub| !sub.is_empty())?;
            &name[host.len()..]
        }
        None => name.strip_prefix(prefix)?,
    };
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn endpoint(name: &str, insecure: bool) -> Endpoint {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    let registry = if host == hub::SHORT { hub::REGISTRY } else { host };
    Endpoint { registry: registry.to_owned(), path: path.to_owned(), insecure }
}

/// Whether a text can stand for the beginning of a name: a registry, with or without a part of a repository.
fn check_location(text: &str) -> Result<(), String> {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    Repository::parse_registry(host).map_err(|e| e.to_string())?;
    if !path.is_empty() {
        // The host may be one that is none in references: without dot and port.
        format!("host.example/{path}").parse::<Repository>().map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
