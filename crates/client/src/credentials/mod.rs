//! Where user names and passwords come from: files of docker and podman, credential helpers.
//!
//! [`Keychain`] reads them in the order in which the caller names them. The first *entry* for a registry wins, not the
//! first file.

mod file;
mod helper;
mod key;
mod store;
mod text;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::{Mutex, OnceCell};

use self::{
    file::Config,
    helper::{Helpers, Reply},
    key::Resource,
};
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
    /// The same, found in passing and perhaps meant for something else: a token service that refuses them is asked
    /// without. Never sent to a registry itself.
    Tentative {
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

    /// A user and password as docker writes them: the user `<token>` stands for an identity token.
    fn of_user(username: String, password: String) -> Self {
        match username.as_str() {
            "<token>" => Self::IdentityToken(Secret::new(password)),
            _ => Self::Basic { username, password: Secret::new(password) },
        }
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

/// The same for every registry: what was typed on the command line.
impl CredentialProvider for Credentials {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

/// Credentials from files and helpers.
///
/// In each source, the entry for the longest part of `registry/repository` counts (podman's namespaced keys), then the
/// registry's own entry. Docker Hub is found under all its names. A helper named for a key in `credHelpers` goes before
/// the file's own entries; `credsStore` is asked for the registry, and for a longer key when the file names it in
/// `auths`. Files are read when first needed, each helper is asked once per key.
pub struct Keychain {
    sources: Vec<Source>,
    helpers: Helpers,
    /// One answer per helper and key.
    answers: Mutex<HashMap<HelperKey, Arc<OnceCell<Reply>>>>,
}

/// A helper's name and what it is asked for.
type HelperKey = (String, String);

struct Source {
    origin: Origin,
    config: OnceCell<Config>,
}

enum Origin {
    File(PathBuf),
    Text { name: String, text: Secret },
}

/// Credentials, and where they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The credentials, never [`Credentials::Anonymous`].
    pub credentials: Credentials,
    /// The file, variable or helper they come from.
    pub origin: String,
}

impl Default for Keychain {
    fn default() -> Self {
        Self::new()
    }
}

impl Keychain {
    /// An empty keychain.
    pub fn new() -> Self {
        Self { sources: Vec::new(), helpers: Helpers::default(), answers: Mutex::default() }
    }

    /// Looks into this file next: docker's `config.json` or podman's `auth.json`. A file that does not exist is
    /// skipped; one that cannot be read is an error when something is looked up.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        self.source(Origin::File(path.into()))
    }

    /// Looks into this text next (the content of `DOCKER_AUTH_CONFIG`); `name` stands for it in messages.
    #[must_use]
    pub fn text(self, name: impl Into<String>, text: Secret) -> Self {
        self.source(Origin::Text { name: name.into(), text })
    }

    /// Tries these credentials for one registry, where nothing before has any: see [`Credentials::Tentative`]. `name`
    /// says where they come from.
    #[must_use]
    pub fn tentative(
        mut self,
        name: impl Into<String>,
        registry: impl Into<String>,
        username: impl Into<String>,
        password: Secret,
    ) -> Self {
        let credentials = Credentials::Tentative { username: username.into(), password };
        let config = OnceCell::new_with(Some(Config::of_one(registry.into(), credentials)));
        self.sources
            .push(Source { origin: Origin::Text { name: name.into(), text: Secret::default() }, config });
        self
    }

    /// Looks for `docker-credential-…` in this folder before the system's search path.
    #[must_use]
    pub fn helper_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.helpers.folders.push(folder.into());
        self
    }

    /// How long a helper may take: 60 s if not set.
    #[must_use]
    pub fn helper_timeout(mut self, timeout: Duration) -> Self {
        self.helpers.timeout = timeout;
        self
    }

    /// Whether helpers may ask on the terminal: not if not set. Those that may stay in this process's group, and what
    /// they have started is not ended with them.
    #[must_use]
    pub fn helpers_may_ask(mut self, may_ask: bool) -> Self {
        self.helpers.may_ask = may_ask;
        self
    }

    fn source(mut self, origin: Origin) -> Self {
        self.sources.push(Source { origin, config: OnceCell::new() });
        self
    }

    /// The first entry for a repository; `repository` is empty for the registry itself.
    pub async fn get(&self, registry: &str, repository: &str) -> Result<Option<Found>, Error> {
        let resource = Resource::new(registry, repository);
        for source in &self.sources {
            if let Some(found) = self.look_into(source, &resource).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The `HttpHeaders` of all sources; for one name the first source counts.
    pub async fn http_headers(&self) -> Result<HeaderMap, Error> {
        let mut all = HeaderMap::new();
        for source in &self.sources {
            for (name, value) in &source.config().await?.http_headers {
                all.entry(name).or_insert_with(|| value.clone());
            }
        }
        Ok(all)
    }

    async fn look_into(&self, source: &Source, resource: &Resource) -> Result<Option<Found>, Error> {
        let config = source.config().await?;
        let wrong = |reason| file::file_error(source.origin.name().as_ref(), reason);
        for names in resource.longest_first() {
            if let Some((helper, key)) = config.helper_for(names).map_err(wrong)?
                && let Some(found) = self.ask(helper, &key).await?
            {
                return Ok(Some(found));
            }
            if let Some(credentials) = config.entry(names).map_err(wrong)? {
                return Ok(Some(Found { credentials, origin: source.origin.name() }));
            }
        }
        Ok(None)
    }

    async fn ask(&self, helper: &str, key: &str) -> Result<Option<Found>, Error> {
        let cell = {
            let mut answers = self.answers.lock().await;
            answers.entry((helper.to_owned(), key.to_owned())).or_default().clone()
        };
        let reply = cell.get_or_try_init(|| self.helpers.get(helper, key)).await?;
        Ok(reply.clone().map(|credentials| Found { credentials, origin: helper::program(helper) }))
    }
}

impl CredentialProvider for Keychain {
    fn credentials<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move {
            let found = self.get(registry, repository).await?;
            if let Some(found) = &found {
                tracing::debug!(registry, repository, origin = found.origin, "credentials found");
            }
            Ok(found.map_or(Credentials::Anonymous, |f| f.credentials))
        })
    }
}

impl Source {
    async fn config(&self) -> Result<&Config, Error> {
        self.config
            .get_or_try_init(|| async {
                match &self.origin {
                    Origin::File(path) => Config::read(path),
                    Origin::Text { name, text } => Config::parse(name.as_ref(), text.expose()),
                }
            })
            .await
    }
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }
}

impl std::fmt::Debug for Keychain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let origins: Vec<_> = self.sources.iter().map(|s| s.origin.name()).collect();
        f.debug_struct("Keychain").field("sources", &origins).finish_non_exhaustive()
    }
}
