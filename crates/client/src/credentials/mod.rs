//! Where user names and passwords come from.

use futures_util::future::BoxFuture;

use crate::{Error, Secret};

/// What is known for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user with a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth 2 refresh token.
    IdentityToken(Secret),
    /// A token that is sent to the registry as it is.
    RegistryToken(Secret),
}

impl Credentials {
    /// Whether nothing is known.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

/// Answers which credentials to use. Asked once per repository and client.
pub trait CredentialProvider: Send + Sync {
    /// The credentials for a repository of a registry; `repository` is empty for the registry itself.
    fn credentials<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Credentials, Error>>;
}

/// Knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialProvider for Anonymous {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async { Ok(Credentials::Anonymous) })
    }
}
