//! Authentication as registries ask for it: none, Basic, or Bearer with a token from a token service.
//!
//! Nothing is sent before the registry has asked; what it asked for is remembered for the whole command.
//! Source: <https://distribution.github.io/distribution/spec/auth/token/>.

mod challenge;
mod realm;
mod scope;
mod token;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering::Relaxed},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::Mutex;
use url::Url;

use self::{
    challenge::Challenge,
    token::{Slot, Tokens},
};
use crate::{
    Credentials, Error,
    call::{Call, Target},
    registry::Registry,
    response::Response,
    retry::{Attempts, Failure},
    transport::Transport,
    uri,
};

pub(crate) use self::scope::Scopes;
pub use self::token::TokenResponse;

/// What a registry is known to want.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Unknown,
    /// Nothing so far.
    Open,
    Basic,
    Bearer(Bearer),
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bearer {
    realm: Url,
    service: Option<String>,
}

/// What is known about authentication to one registry.
pub(crate) struct State {
    scheme: RwLock<Scheme>,
    credentials: Mutex<HashMap<String, Arc<Credentials>>>,
    tokens: Tokens,
}

impl Default for State {
    fn default() -> Self {
        Self {
            scheme: RwLock::new(Scheme::Unknown),
            credentials: Mutex::default(),
            tokens: Tokens::default(),
        }
    }
}

impl State {
    fn scheme(&self) -> Scheme {
        self.scheme.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, scheme: Scheme) {
        *self.scheme.write().unwrap_or_else(PoisonError::into_inner) = scheme;
    }

    pub(crate) fn is_known(&self) -> bool {
        self.scheme() != Scheme::Unknown
    }

    /// Whether the registry has asked for nothing.
    pub(crate) fn is_open(&self) -> bool {
        self.scheme() == Scheme::Open
    }

    /// The registry answered without asking for anything.
    pub(crate) fn settle_open(&self) {
        let mut scheme = self.scheme.write().unwrap_or_else(PoisonError::into_inner);
        if *scheme == Scheme::Unknown {
            *scheme = Scheme::Open;
        }
    }

    /// The registry asks for nothing, but there are credentials: a password is sent. Returns whether there is one.
    pub(crate) fn assume_basic(&self, credentials: &Credentials) -> bool {
        let basic = matches!(credentials, Credentials::Basic { .. });
        self.set(if basic { Scheme::Basic } else { Scheme::Open });
        basic
    }
}

/// What goes into the `Authorization` header, and where it came from.
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    /// A token of the service, and whether it was fetched for this request.
    token: Option<(Arc<Slot>, bool)>,
}

impl Authorization {
    fn fixed(header: HeaderValue) -> Self {
        Self { header, token: None }
    }
}

impl Transport {
    /// The credentials for a repository, asked for once.
    pub(crate) async fn credentials(
        &self,
        registry: &Registry,
        repository: &str,
    ) -> Result<Arc<Credentials>, Error> {
        let mut known = registry.auth.credentials.lock().await;
        if let Some(found) = known.get(repository) {
            return Ok(found.clone());
        }
        let found = Arc::new(self.provider.credentials(&registry.name, repository).await?);
        known.insert(repository.to_owned(), found.clone());
        Ok(found)
    }

    /// The header that the registry is known to want for this call.
    pub(crate) async fn authorize(
        &self,
        call: &Call<'_>,
        scopes: &Scopes,
    ) -> Result<Option<Authorization>, Error> {
        let scheme = call.registry.auth.scheme();
        if matches!(scheme, Scheme::Unknown | Scheme::Open) {
            return Ok(None);
        }
        let credentials = self.credentials(&call.registry, &call.repository).await?;
        match (scheme, &*credentials) {
            (_, Credentials::RegistryToken(token)) => {
                Ok(Some(Authorization::fixed(bearer_header(token.expose())?)))
            }
            (Scheme::Basic, Credentials::Basic { username, password }) => {
                Ok(Some(Authorization::fixed(basic_header(username, password.expose())?)))
            }
            (Scheme::Bearer(bearer), _) => {
                let slot = call.registry.auth.tokens.slot(&bearer, scopes, &credentials);
                let (header, fresh) = slot.header(self, &call.registry).await?;
                Ok(Some(Authorization { header, token: Some((slot, fresh)) }))
            }
            _ => Ok(None),
        }
    }

    /// Credentials that were found in passing and that the registry itself refuses: what everybody may read is asked
    /// for as everybody. Returns a good answer, if there is one.
    pub(crate) async fn as_anybody(
        &self,
        call: &Call<'_>,
        scopes: &Scopes,
        refused: &Response,
        used: Option<&Authorization>,
    ) -> Result<Option<Response>, Error> {
        let refuses = matches!(refused.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let reads = matches!(call.method, Method::GET | Method::HEAD);
        let (true, true, true, Some(used)) = (refuses, reads, refused.own, used) else { return Ok(None) };
        let credentials = self.credentials(&call.registry, &call.repository).await?;
        let (Credentials::Tentative { .. }, Scheme::Bearer(bearer), Some(_)) =
            (&*credentials, call.registry.auth.scheme(), &used.token)
        else {
            return Ok(None);
        };
        tracing::debug!(registry = call.registry.name, "the registry refuses tentative credentials");
        let nobody = Arc::new(Credentials::Anonymous);
        let slot = call.registry.auth.tokens.slot(&bearer, scopes, &nobody);
        // Who may not even have a token: then the refusal is what it was.
        let Ok((header, fresh)) = slot.header(self, &call.registry).await else { return Ok(None) };
        let authorization = Authorization { header, token: Some((slot, fresh)) };
        let answer = self.exchange(call, Some(&authorization)).await?;
        Ok((!matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)).then_some(answer))
    }

    /// Takes in what a 401 says. Returns whether another attempt makes sense.
    pub(crate) async fn learn(
        &self,
        call: &Call<'_>,
        scopes: &mut Scopes,
        answer: &Response,
        used: Option<&Authorization>,
    ) -> Result<bool, Error> {
        let challenges = challenges_of(answer);
        let credentials = self.credentials(&call.registry, &call.repository).await?;
        let auth = &call.registry.auth;
        let Some(chosen) = choose(&challenges, &credentials) else {
            return Ok(false);
        };
        if chosen.scheme == "basic" {
            auth.set(Scheme::Basic);
            return Ok(used.is_none() && !credentials.is_anonymous());
        }
        let bearer = read_bearer(&call.registry, chosen)?;
        if matches!(*credentials, Credentials::RegistryToken(_)) {
            auth.set(Scheme::Bearer(bearer));
            return Ok(used.is_none());
        }
        realm::check(&call.registry, &bearer.realm).await?;
        auth.set(Scheme::Bearer(bearer));
        let before = scopes.clone();
        scopes.add(&Scopes::parse(chosen.parameter("scope").unwrap_or_default()));
        match used.and_then(|u| u.token.as_ref()) {
            // A token made for this very request, for these scopes: another one would be no better.
            Some((_, true)) if *scopes == before => Ok(false),
            Some((slot, _)) => {
                slot.reject(used.map(|u| &u.header)).await;
                Ok(true)
            }
            None => Ok(true),
        }
    }
}

impl Transport {
    /// A fresh token for these scopes, from the service that the registry names.
    pub(crate) async fn token(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        scopes: &Scopes,
    ) -> Result<TokenResponse, Error> {
        let credentials = self.credentials(registry, repository).await?;
        if let Credentials::RegistryToken(token) = &*credentials {
            return Ok(TokenResponse::new(token.clone(), serde_json::Map::new()));
        }
        let root = Call::new(registry, Method::GET, Target::Path("/v2/".into()));
        self.wire.counters.pings.fetch_add(1, Relaxed);
        let answer = self.repeat(true, || self.exchange(&root, None)).await?;
        let unfit =
            |reason: &str| Error::Challenge { registry: registry.name.clone(), reason: reason.into() };
        if answer.status() != StatusCode::UNAUTHORIZED {
            return match answer.expect_data(&[StatusCode::OK]).await {
                Ok(_) => Err(unfit("it asks for no token")),
                Err(error) => Err(error),
            };
        }
        let challenges = challenges_of(&answer);
        let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") else {
            return Err(match challenges.iter().any(|c| c.scheme == "basic") {
                true => unfit("it asks for a user name and a password (Basic), there are no tokens"),
                false => unfit("it asks for neither a token nor a password"),
            });
        };
        let bearer = read_bearer(registry, bearer)?;
        realm::check(registry, &bearer.realm).await?;
        let slot = registry.auth.tokens.slot(&bearer, scopes, &credentials);
        let mut attempts = Attempts::new(None);
        loop {
            match slot.response(self, registry).await {
                Err(error) if error.is_transient() => {
                    match attempts.fail(&self.retry, Failure::Other, None) {
                        Some(attempt) => self.pause(attempt, None).await,
                        None => return Err(error),
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

fn challenges_of(answer: &Response) -> Vec<Challenge> {
    let values = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
    values.flat_map(|v| challenge::parse(&String::from_utf8_lossy(v.as_bytes()))).collect()
}

/// The first challenge that the credentials can answer, else the first that is known at all.
fn choose<'a>(challenges: &'a [Challenge], credentials: &Credentials) -> Option<&'a Challenge> {
    let fits = |c: &&Challenge| match c.scheme.as_str() {
        "basic" => matches!(credentials, Credentials::Basic { .. }),
        "bearer" => c.parameter("realm").is_some(),
        _ => false,
    };
    let known = |c: &&Challenge| matches!(c.scheme.as_str(), "basic" | "bearer");
    challenges.iter().find(fits).or_else(|| challenges.iter().find(known))
}

fn read_bearer(registry: &Registry, challenge: &Challenge) -> Result<Bearer, Error> {
    let error = |reason: String| Error::Challenge { registry: registry.name.clone(), reason };
    let Some(realm) = challenge.parameter("realm") else {
        return Err(error("it asks for a token without saying where to get one".into()));
    };
    let url = Url::parse(realm).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    let Some(realm) = url else {
        return Err(error("it names a token service that is not an http URL".into()));
    };
    if !realm.username().is_empty() || realm.password().is_some() {
        let shown = uri::redact(&realm);
        return Err(error(format!("it puts credentials into the URL of its token service {shown}")));
    }
    Ok(Bearer { realm, service: challenge.parameter("service").map(str::to_owned) })
}

fn basic_header(username: &str, password: &str) -> Result<HeaderValue, Error> {
    secret_header(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

fn bearer_header(token: &str) -> Result<HeaderValue, Error> {
    secret_header(&format!("Bearer {token}"))
}

fn secret_header(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::Settings("a token holds characters that no header may hold".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
