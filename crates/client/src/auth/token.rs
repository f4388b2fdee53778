//! Tokens: fetched once per registry, credentials and scopes, shared by all requests until they expire.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{Bearer, Scopes, basic_header, bearer_header};
use crate::{
    Credentials, Error, Secret,
    call::Payload,
    registry::Registry,
    response::Response,
    retry,
    transport::{Hop, Transport},
    uri,
    wire::Lane,
};

/// How palan calls itself to token services.
const CLIENT_ID: &str = "palan";
/// The specification's lifetime where none is given.
const DEFAULT_LIFETIME: u64 = 60;
/// A token is not used in the last part of its life: a request takes time, too.
const MARGIN: Duration = Duration::from_secs(10);
const TOKEN_BODY: u64 = 64 * 1024;

/// All tokens of one registry.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Vec<Arc<Slot>>>);

/// The place of one token, whether it has been fetched or not.
pub(crate) struct Slot {
    bearer: Bearer,
    scopes: Scopes,
    credentials: Arc<Credentials>,
    /// Locked while the token is being fetched, so that it is fetched once.
    token: tokio::sync::Mutex<Option<Token>>,
    /// Failures since the last token: whoever repeats what needs the token does so too.
    failures: AtomicU32,
    /// What the token service gave instead of the identity token it was shown.
    renewed: Mutex<Option<Secret>>,
}

struct Token {
    header: HeaderValue,
    secret: Secret,
    expires: Instant,
}

/// A token, and what a token service said about it.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    token: Secret,
    json: Secret,
}

impl TokenResponse {
    /// Some services write only `access_token`: readers look for `token`, too.
    pub(super) fn new(token: Secret, mut json: serde_json::Map<String, serde_json::Value>) -> Self {
        if json.get("token").and_then(serde_json::Value::as_str).is_none_or(str::is_empty) {
            json.shift_insert(0, "token".into(), token.expose().into());
        }
        Self { token, json: Secret::new(serde_json::Value::Object(json).to_string()) }
    }

    /// The token itself.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The answer as compact JSON; `token` is always there.
    pub fn json(&self) -> &Secret {
        &self.json
    }
}

impl Tokens {
    /// The slot of a token that allows at least `scopes`.
    pub(super) fn slot(&self, bearer: &Bearer, scopes: &Scopes, credentials: &Arc<Credentials>) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |s: &&Arc<Slot>| s.bearer == *bearer && s.credentials == *credentials && s.scopes.covers(scopes);
        if let Some(slot) = slots.iter().find(fits) {
            return slot.clone();
        }
        let slot = Arc::new(Slot {
            bearer: bearer.clone(),
            scopes: scopes.clone(),
            credentials: credentials.clone(),
            token: tokio::sync::Mutex::default(),
            failures: AtomicU32::new(0),
            renewed: Mutex::default(),
        });
        slots.push(slot.clone());
        slot
    }
}

impl Slot {
    /// The token as header value, and whether it was fetched just now.
    pub(super) async fn header(
        &self,
        transport: &Transport,
        registry: &Registry,
    ) -> Result<(HeaderValue, bool), Error> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|t| t.expires > Instant::now()) {
            return Ok((token.header.clone(), false));
        }
        let fetched = token.insert(self.fetch(transport, registry).await?);
        Ok((fetched.header.clone(), true))
    }

    /// The registry did not accept this token. One that replaced it in the meantime stays.
    pub(super) async fn reject(&self, header: Option<&HeaderValue>) {
        let mut token = self.token.lock().await;
        if token.as_ref().map(|t| &t.header) == header {
            *token = None;
        }
    }

    async fn fetch(&self, transport: &Transport, registry: &Registry) -> Result<Token, Error> {
        self.read(registry, &self.ask(transport, registry).await?)
    }

    /// The token service's answer as it is.
    pub(super) async fn response(
        &self,
        transport: &Transport,
        registry: &Registry,
    ) -> Result<TokenResponse, Error> {
        let body = self.ask(transport, registry).await?;
        let Token { secret, .. } = self.read(registry, &body)?;
        let json = serde_json::from_slice(&body)
            .map_err(|_| self.error(registry, None, "the answer is not a token response".into()))?;
        Ok(TokenResponse::new(secret, json))
    }

    async fn ask(&self, transport: &Transport, registry: &Registry) -> Result<Bytes, Error> {
        let identity = self.renewed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut answer = match (&*self.credentials, identity) {
            (Credentials::IdentityToken(_), Some(secret)) => {
                self.exchange(transport, registry, &secret).await?
            }
            (Credentials::IdentityToken(secret), None) => self.exchange(transport, registry, secret).await?,
            (Credentials::Tentative { username, password }, _) => {
                let header = basic_header(username, password.expose())?;
                let answer = self.get(transport, registry, Some(header)).await?;
                match answer.status() {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        tracing::debug!(
                            registry = registry.name,
                            "the token service refuses tentative credentials"
                        );
                        self.get(transport, registry, None).await?
                    }
                    _ => answer,
                }
            }
            (Credentials::Basic { username, password }, _) => {
                self.get(transport, registry, Some(basic_header(username, password.expose())?)).await?
            }
            _ => self.get(transport, registry, None).await?,
        };
        if answer.status() != StatusCode::OK {
            let status = Some(answer.status());
            let reason = answer.into_error().await.to_string();
            return Err(self.error(registry, status, reason));
        }
        answer.read(TOKEN_BODY, || format!("the token of {}", registry.name)).await
    }

    /// The identity token for an access token, by OAuth 2; services that do not know it answer 404.
    async fn exchange(
        &self,
        transport: &Transport,
        registry: &Registry,
        identity: &Secret,
    ) -> Result<Response, Error> {
        let payload = Payload::Bytes(self.refresh_form(identity).into());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let url = self.bearer.realm.clone();
        let answer = self
            .request(transport, registry, Method::POST, url, &headers, &HeaderMap::new(), &payload)
            .await?;
        if answer.status() != StatusCode::NOT_FOUND {
            return Ok(answer);
        }
        self.get(transport, registry, Some(basic_header("<token>", identity.expose())?)).await
    }

    fn refresh_form(&self, identity: &Secret) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token");
        form.append_pair("client_id", CLIENT_ID);
        form.append_pair("refresh_token", identity.expose());
        if let Some(service) = &self.bearer.service {
            form.append_pair("service", service);
        }
        form.append_pair("scope", &self.scopes.to_string());
        form.finish()
    }

    async fn get(
        &self,
        transport: &Transport,
        registry: &Registry,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Error> {
        let mut url = self.bearer.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.bearer.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes.iter() {
                query.append_pair("scope", &scope);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        let private = authorization.map(|a| (header::AUTHORIZATION, a)).into_iter().collect();
        let none = HeaderMap::new();
        self.request(transport, registry, Method::GET, url, &none, &private, &Payload::None).await
    }

    fn read(&self, registry: &Registry, body: &[u8]) -> Result<Token, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<f64>,
            refresh_token: Option<String>,
        }
        let error = |reason: &str| self.error(registry, None, reason.into());
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| error("the answer is not a token response"))?;
        let text = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).filter(|t| !t.is_empty());
        let secret = Secret::new(text.ok_or_else(|| error("the answer holds no token"))?);
        let header = bearer_header(secret.expose())?;
        if let Some(renewed) = answer.refresh_token.filter(|t| !t.is_empty()) {
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Secret::new(renewed));
        }
        let seconds = answer.expires_in.filter(|s| *s > 0.0).map_or(DEFAULT_LIFETIME, |s| s as u64);
        let lifetime = Duration::from_secs(seconds.min(365 * 24 * 3600));
        Ok(Token { header, secret, expires: Instant::now() + lifetime - MARGIN.min(lifetime / 4) })
    }

    fn error(&self, registry: &Registry, status: Option<StatusCode>, reason: String) -> Error {
        Error::Token {
            registry: registry.name.clone(),
            realm: uri::redact(&self.bearer.realm),
            status,
            reason,
        }
    }

    /// Repeats what the service refuses for the moment. A connection that fails is left to who repeats the request that
    /// needs the token: both would be too often.
    #[expect(clippy::too_many_arguments, reason = "a request's parts")]
    async fn request(
        &self,
        transport: &Transport,
        registry: &Registry,
        method: Method,
        url: Url,
        headers: &HeaderMap,
        private: &HeaderMap,
        payload: &Payload<'_>,
    ) -> Result<Response, Error> {
        tracing::debug!(registry = registry.name, realm = uri::redact(&url), "fetching a token");
        // A token service that is part of the registry stands behind the same proxy.
        let mut all = if registry.owns(&url) { registry.headers.clone() } else { HeaderMap::new() };
        all.extend(private.clone());
        let (private, secret) = (&all, matches!(payload, Payload::Bytes(_)));
        loop {
            transport.wire.counters.token_requests.fetch_add(1, Relaxed);
            let (method, url) = (method.clone(), url.clone());
            let hop = Hop { registry, method, url, headers, private, payload, secret, lane: Lane::Api };
            let outcome = transport.follow(hop).await;
            let wait = match &outcome {
                Ok(answer) if retry::is_transient(answer.status()) => answer.retry_after(),
                Ok(_) => {
                    self.failures.store(0, Relaxed);
                    return outcome;
                }
                Err(_) => {
                    self.failures.fetch_add(1, Relaxed);
                    return outcome;
                }
            };
            let failures = self.failures.fetch_add(1, Relaxed);
            if failures >= transport.retry.retries {
                return outcome;
            }
            drop(outcome);
            transport.pause(failures, wait).await;
        }
    }
}
