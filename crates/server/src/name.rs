//! Repository names, checked: the only way a name from a request becomes part of a file path.

use std::{fmt, sync::Arc};

use palan_core::{ReferenceError, Repository};

/// The name of a repository inside this registry. Its grammar (distribution-spec "Pulling manifests") leaves no room
/// for `.`, `..`, empty components, escapes or anything that starts with `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(Arc<str>);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        // With an explicit host nothing is expanded, and host and name together are bounded.
        let repository: Repository = format!("localhost/{text}").parse()?;
        Ok(Self(repository.path().into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
