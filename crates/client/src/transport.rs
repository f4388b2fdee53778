//! From an operation's call to its final answer: scheme, authentication, redirects, repetition.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::{
    CredentialProvider, Error, Fault,
    auth::{Authorization, Scopes},
    builder::Settings,
    call::{Call, Payload, Target},
    limit::RateLimit,
    near,
    registry::{Registry, Scheme},
    response::Response,
    retry, tls, uri, warning,
    wire::{Lane, Outgoing, Route, Wire},
};

const MAX_REDIRECTS: usize = 10;
/// Unknown authentication → token → token with more rights.
const MAX_CHALLENGES: usize = 2;

/// What all operations of a client share.
pub(crate) struct Transport {
    pub(crate) wire: Arc<Wire>,
    pub(crate) retry: retry::Policy,
    pub(crate) settings: Settings,
    pub(crate) provider: Arc<dyn CredentialProvider>,
    pub(crate) warnings: Mutex<BTreeSet<String>>,
    /// By name, and whether `registries.conf` calls it insecure.
    registries: Mutex<HashMap<(String, bool), Arc<Registry>>>,
}

/// A request that may be redirected.
pub(crate) struct Hop<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: &'a HeaderMap,
    /// Sent to the first URL's origin only, and no longer once a redirect has left it.
    pub(crate) private: &'a HeaderMap,
    pub(crate) payload: &'a Payload<'a>,
    /// Whether the payload itself is a secret: it goes to the first URL's origin only, or not at all.
    pub(crate) secret: bool,
    pub(crate) lane: Lane,
}

impl Transport {
    pub(crate) fn new(
        wire: Arc<Wire>,
        retry: retry::Policy,
        settings: Settings,
        provider: Arc<dyn CredentialProvider>,
    ) -> Self {
        Self { wire, retry, settings, provider, warnings: Mutex::default(), registries: Mutex::default() }
    }

    /// What is known about a registry; the same for all who ask.
    pub(crate) fn registry(&self, name: &str, insecure: bool) -> Result<Arc<Registry>, Error> {
        let key = (name.to_owned(), insecure);
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registries.get(&key) {
            return Ok(known.clone());
        }
        let registry = Arc::new(self.settings.registry(name, insecure, &self.wire.tls)?);
        registries.insert(key, registry.clone());
        Ok(registry)
    }

    /// What registries said about their rate limits.
    pub(crate) fn rate_limits(&self) -> Vec<RateLimit> {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let stated = |r: &Arc<Registry>| Some(RateLimit { registry: r.name.clone(), limit: r.pace.limit()? });
        registries.values().filter_map(stated).collect()
    }

    /// Sends a call until its answer is final. Answers that mean failure are answers here.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response, Error> {
        let pace = Some(&call.registry.pace);
        let mut answer = self.repeat_at(pace, call.retry, || self.attempt_whole(call)).await?;
        if answer.own && matches!(answer.status().as_u16(), 401 | 403 | 429) {
            answer.anonymous = self.credentials(&call.registry, &call.repository).await?.is_anonymous();
        }
        Ok(answer)
    }

    /// One attempt, with the body where that is metadata: a body that is cut is a reason to try again.
    async fn attempt_whole(&self, call: &Call<'_>) -> Result<Response, Error> {
        let mut scopes = call.scopes.clone();
        let (mut answer, used) = self.attempt(call, &mut scopes).await?;
        if let Some(better) = self.as_anybody(call, &scopes, &answer, used.as_ref()).await? {
            answer = better;
        }
        if matches!(call.lane, Lane::Api) && call.method == Method::GET && answer.status().is_success() {
            answer.buffer(call.body_limit).await?;
        }
        Ok(answer)
    }

    /// One attempt: authenticates as often as the registry finds new reasons to ask for it.
    /// Returns the answer and how it was asked for.
    async fn attempt(
        &self,
        call: &Call<'_>,
        scopes: &mut Scopes,
    ) -> Result<(Response, Option<Authorization>), Error> {
        let _leader = call.registry.lead().await;
        for _ in 0..MAX_CHALLENGES {
            let authorization = self.authorize(call, scopes).await?;
            let answer = self.exchange(call, authorization.as_ref()).await?;
            if answer.own && answer.status() == StatusCode::UNAUTHORIZED {
                if self.learn(call, scopes, &answer, authorization.as_ref()).await? {
                    continue;
                }
                return Ok((answer, authorization));
            }
            if retry::is_transient(answer.status()) {
                return Ok((answer, authorization));
            }
            let hidden = !call.repository.is_empty()
                && matches!(answer.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
            if hidden && !call.registry.auth.is_known() && self.may_authenticate(call).await? {
                continue;
            }
            call.registry.auth.settle_open();
            return Ok((answer, authorization));
        }
        let authorization = self.authorize(call, scopes).await?;
        Ok((self.exchange(call, authorization.as_ref()).await?, authorization))
    }

    /// Some registries hide what the anonymous may not see instead of asking for credentials. Whoever has some asks
    /// the registry's root once how to authenticate. Returns whether it is worth to try again.
    async fn may_authenticate(&self, call: &Call<'_>) -> Result<bool, Error> {
        let credentials = self.credentials(&call.registry, &call.repository).await?;
        if credentials.is_anonymous() {
            return Ok(false);
        }
        self.wire.counters.pings.fetch_add(1, Relaxed);
        let ping = Call::new(&call.registry, Method::GET, Target::Path("/v2/".into()));
        let answer = self.exchange(&ping, None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return self.learn(call, &mut call.scopes.clone(), &answer, None).await;
        }
        Ok(call.registry.auth.assume_basic(&credentials))
    }

    /// One request to the registry and where it redirects.
    pub(crate) async fn exchange(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Error> {
        let pace = &call.registry.pace;
        let permit = pace.enter(matches!(call.payload, Payload::Upload(_))).await;
        let mut private = call.registry.headers.clone();
        if let Some(authorization) = authorization {
            private.insert(header::AUTHORIZATION, authorization.header.clone());
        }
        let mut answer = self.deliver(call, &private).await.inspect_err(|error| {
            if error.is_overload() {
                permit.slower();
            }
        })?;
        answer.own = call.registry.owns(answer.url());
        if answer.own {
            pace.hear(&permit, &answer, self.retry.longest_retry_after);
            self.note_warnings(answer.headers());
        }
        Ok(answer)
    }

    /// Sends to where the call goes. What is `private` goes to the registry only.
    async fn deliver(&self, call: &Call<'_>, private: &HeaderMap) -> Result<Response, Error> {
        match &call.target {
            Target::Url(url) if !call.registry.owns(url) => {
                near::check(&call.registry, None, url).await?;
                self.follow(self.hop(call, url.clone(), &HeaderMap::new())).await
            }
            Target::Url(url) => self.follow(self.hop(call, url.clone(), private)).await,
            Target::Path(path) => self.probe(call, path, private).await,
        }
    }

    fn hop<'a>(&self, call: &'a Call<'a>, url: Url, private: &'a HeaderMap) -> Hop<'a> {
        let (method, headers, payload) = (call.method.clone(), &call.headers, &call.payload);
        Hop {
            registry: &call.registry,
            method,
            url,
            headers,
            private,
            payload,
            secret: false,
            lane: call.lane,
        }
    }

    /// Sends to the first scheme that the registry speaks.
    async fn probe(&self, call: &Call<'_>, path: &str, private: &HeaderMap) -> Result<Response, Error> {
        let mut first_error = None;
        let schemes = call.registry.schemes();
        for (i, scheme) in schemes.iter().enumerate() {
            let last = i + 1 == schemes.len();
            let url = call.registry.url(*scheme, path)?;
            match self.follow(self.hop(call, url, private)).await {
                Ok(mut answer) => {
                    if last || *scheme != Scheme::Http || !answer.wants_tls().await {
                        call.registry.settle(*scheme);
                        return Ok(answer);
                    }
                }
                Err(error) if !last && is_other_scheme(*scheme, &error) => {
                    first_error.get_or_insert(error);
                }
                // Whoever gets beyond the beginning of TLS speaks it, and that is what has to be put right.
                Err(error) if *scheme == Scheme::Https && !is_other_scheme(*scheme, &error) => {
                    return Err(error);
                }
                Err(error) => return Err(first_error.unwrap_or(error)),
            }
        }
        Err(Error::Settings(format!("no way to reach {}", call.registry.name)))
    }

    /// Sends a request and follows its redirects.
    pub(crate) async fn follow(&self, hop: Hop<'_>) -> Result<Response, Error> {
        let origin = hop.url.clone();
        let (mut method, mut url) = (hop.method.clone(), hop.url.clone());
        // Whoever was asked in between has chosen what follows: credentials do not come back.
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = hop.headers.clone();
            at_home &= uri::same_origin(&origin, &url);
            if at_home {
                // Instead of what stands there.
                headers.extend(hop.private.clone());
            }
            let (body, activity) = self.open(&method, hop.payload, &mut headers).await?;
            let route = self.route(hop.registry, &url, hop.lane);
            let outgoing =
                Outgoing { method: method.clone(), url: url.clone(), headers, body, activity, route };
            let answer = self.wire.send(outgoing).await.map_err(|e| hop.payload.blame(e))?;
            let Some(next) = near::redirect(&method, &answer)? else { return Ok(answer) };
            near::check(hop.registry, Some(&url), &next).await?;
            if hop.secret && !uri::same_origin(&origin, &next) {
                return Err(Error::Redirect {
                    url: uri::redact(&origin),
                    to: uri::redact(&next),
                    reason: "it would carry credentials to another host".into(),
                });
            }
            if answer.status() == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
            }
            url = next;
        }
        Err(Error::Redirect {
            url: uri::redact(&origin),
            to: uri::redact(&url),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }

    async fn open(
        &self,
        method: &Method,
        payload: &Payload<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(reqwest::Body, Option<Arc<crate::wire::Activity>>), Error> {
        let sends = !matches!(*method, Method::GET | Method::HEAD);
        match payload {
            Payload::Bytes(bytes) if sends => {
                headers.insert(header::CONTENT_LENGTH, bytes.len().into());
                self.wire.counters.bytes_sent.fetch_add(bytes.len() as u64, Relaxed);
                Ok((bytes.clone().into(), None))
            }
            Payload::Upload(upload) if sends => {
                if let Some(length) = upload.length() {
                    headers.insert(header::CONTENT_LENGTH, length.into());
                }
                let activity = crate::wire::Activity::new();
                let body = upload.body(activity.clone(), self.wire.clone()).await?;
                Ok((body, Some(activity)))
            }
            _ => {
                if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                    headers.insert(header::CONTENT_LENGTH, 0.into());
                }
                Ok((Bytes::new().into(), None))
            }
        }
    }

    fn route(&self, registry: &Registry, url: &Url, lane: Lane) -> Route {
        let same_host = url.host_str() == Some(registry.host.to_string().as_str());
        let own = registry.owns(url);
        let skip_verify = (own && registry.trust.skip_verify) || self.settings.skips_verify(url);
        let certificates = if own { registry.trust.own } else { registry.trust.others };
        let security = match (url.scheme(), skip_verify) {
            ("http", _) => tls::Security::None,
            (_, true) => tls::Security::Unverified,
            (_, false) => tls::Security::Verified,
        };
        let direct = url.host().is_some_and(|h| uri::is_loopback(&h.to_owned()));
        Route { lane, security, certificates, guarded: !same_host && !registry.is_metadata(), direct }
    }

    fn note_warnings(&self, headers: &HeaderMap) {
        let found = headers.get_all(header::WARNING).iter().filter_map(|v| warning::parse(v.to_str().ok()?));
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.extend(found);
    }

    /// What people should know about a registry's answers.
    pub(crate) fn note_warning(&self, text: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }
}

/// Whether the failure says that the registry may speak the other scheme. A certificate that is refused does not:
/// there is somebody who speaks https.
fn is_other_scheme(scheme: Scheme, error: &Error) -> bool {
    let Error::Transport { fault, .. } = error else { return false };
    match scheme {
        Scheme::Http => *fault == Fault::Cut,
        Scheme::Https => matches!(fault, Fault::Connect | Fault::Tls),
    }
}
