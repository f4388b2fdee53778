//! Names without a registry.

use palan_core::{Reference, Repository};

use super::RegistriesConf;
use crate::Error;

impl RegistriesConf {
    /// What a short name, one without a registry, stands for: its alias, or what is in the only registry that such names
    /// are looked for in. `None`: it has a registry, is no reference, or nothing is said about it.
    ///
    /// Fails where several registries could be meant: which of them has such an image must not decide what is taken.
    pub fn long_name(&self, text: &str) -> Result<Option<String>, Error> {
        let Some(name) = short_name(text) else { return Ok(None) };
        let rest = &text[name.len()..];
        // An empty one takes back the alias of another file.
        if let Some(long) = self.aliases.get(name).filter(|long| !long.is_empty()) {
            return Ok(Some(format!("{long}{rest}")));
        }
        match self.search.as_deref().unwrap_or_default() {
            [] => Ok(None),
            [registry] => Ok(Some(format!("{registry}/{text}"))),
            several => {
                let all: Vec<String> = several.iter().map(|registry| format!("{registry}/{text}")).collect();
                Err(Error::Settings(format!("the short name {text} could be {}", all.join(" or "))))
            }
        }
    }
}

/// The repository of a reference, if it has no registry.
fn short_name(text: &str) -> Option<&str> {
    if text.parse::<Reference>().is_err() || Repository::registry_in(text).is_some() {
        return None;
    }
    Some(text.split(['@', ':']).next().unwrap_or(text))
}
