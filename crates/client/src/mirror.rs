//! Reading from mirrors: manifests and blobs, whatever else is asked goes to the registry itself.
//!
//! A mirror that fails in any way is passed over; one that is down or has had enough is not asked again.

use std::sync::{PoisonError, atomic::Ordering::Relaxed};

use http::{Method, StatusCode, header};
use palan_core::{Digest, Document, MediaType};

use crate::{
    Error, Repo,
    auth::Scopes,
    call::{Call, Target},
    config::{Endpoint, Pulls},
    response::Response,
    retry::is_transient,
};

impl Repo {
    /// The first good answer of a mirror, if there is one. Only for a call that reads a manifest or blob.
    pub(crate) async fn ask_mirrors(&self, call: &Call<'_>) -> Option<Response> {
        let wanted = Wanted::of(call, &self.place().primary.path)?;
        for (i, (mirror, pulls)) in self.place().mirrors.iter().enumerate() {
            if !wanted.may_come_from(*pulls) || !self.asks(i) {
                continue;
            }
            match self.ask_mirror(call, &wanted, mirror).await {
                Ok(Some(mut answer)) => {
                    answer.mirror = Some(i);
                    return Some(answer);
                }
                Ok(None) => {}
                Err(error) => self.pass_over(mirror, &error),
            }
        }
        None
    }

    async fn ask_mirror(
        &self,
        call: &Call<'_>,
        wanted: &Wanted<'_>,
        mirror: &Endpoint,
    ) -> Result<Option<Response>, Error> {
        let registry = self.transport().registry(&mirror.registry, mirror.insecure)?;
        if registry.silent.load(Relaxed) {
            return Ok(None);
        }
        let path = format!("/v2/{}/{}", mirror.path, wanted.rest);
        let mut own = Call::new(&registry, call.method.clone(), Target::Path(path));
        own.headers.clone_from(&call.headers);
        own.repository.clone_from(&mirror.path);
        own.scopes = Scopes::repository(&mirror.path, &["pull"]);
        own.lane = call.lane;
        own.body_limit = call.body_limit;
        own.retry = false;
        let answer = self.transport().send(&own).await?;
        if is_transient(answer.status()) {
            return Err(answer.into_error().await);
        }
        let good = matches!(answer.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if !good || answer.is_html() || !wanted.is(&answer) {
            tracing::debug!(
                mirror = registry.name,
                status = answer.status().as_u16(),
                "the mirror does not have it"
            );
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// Goes on without a mirror whose answer began well.
    pub(crate) fn go_on_without(&mut self, mirror: usize, error: &Error) {
        tracing::debug!(mirror = self.mirror_name(mirror), %error, "going on without the mirror");
        let mut warnings = self.transport().warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, primary) = (self.mirror_name(mirror), &self.place().primary.registry);
        warnings.insert(format!("the mirror {name} was passed over for {primary}: {error}"));
        drop(warnings);
        self.exclude(mirror);
    }

    /// For messages.
    pub(crate) fn mirror_name(&self, mirror: usize) -> &str {
        self.place().mirrors.get(mirror).map_or("", |(endpoint, _)| &endpoint.registry)
    }

    fn pass_over(&self, mirror: &Endpoint, error: &Error) {
        tracing::debug!(mirror = mirror.registry, %error, "the mirror failed");
        let is_down = matches!(error, Error::Transport { .. }) || error.status().is_some_and(is_transient);
        let transport = self.transport();
        if is_down
            && let Ok(registry) = transport.registry(&mirror.registry, mirror.insecure)
            && !registry.silent.swap(true, Relaxed)
        {
            let mut warnings = transport.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            let primary = &self.place().primary.registry;
            warnings.insert(format!("the mirror {} was passed over for {primary}: {error}", mirror.registry));
        }
    }
}

/// What a call wants to read.
struct Wanted<'a> {
    /// What follows the repository in the path.
    rest: &'a str,
    is_manifest: bool,
    digest: Option<Digest>,
}

impl<'a> Wanted<'a> {
    fn of(call: &'a Call<'_>, repository: &str) -> Option<Self> {
        if !matches!(call.method, Method::GET | Method::HEAD) {
            return None;
        }
        let Target::Path(path) = &call.target else { return None };
        let rest = path.strip_prefix("/v2/")?.strip_prefix(repository)?.strip_prefix('/')?;
        let (kind, selector) = rest.split_once('/')?;
        let digest = selector.parse().ok();
        match kind {
            "manifests" => Some(Self { rest, is_manifest: true, digest }),
            "blobs" if digest.is_some() => Some(Self { rest, is_manifest: false, digest }),
            _ => None,
        }
    }

    /// Blobs come from every mirror: that of an image chosen by tag has them, too.
    fn may_come_from(&self, pulls: Pulls) -> bool {
        match pulls {
            Pulls::All => true,
            Pulls::ByDigest => self.digest.is_some(),
            Pulls::ByTag => self.digest.is_none() || !self.is_manifest,
        }
    }

    /// Whether this can be what is wanted: a manifest that is one and the right one. Blobs are checked while they
    /// stream.
    fn is(&self, answer: &Response) -> bool {
        let stated = answer.digest();
        if let (Some(wanted), Some(stated)) = (self.digest, stated)
            && stated.algorithm() == wanted.algorithm()
            && stated != wanted
        {
            return false;
        }
        if !self.is_manifest || answer.method() == Method::HEAD {
            return true;
        }
        // What is too large was not kept.
        let Some(bytes) = answer.buffered() else { return false };
        let whole = answer.length().is_none_or(|length| length == bytes.len() as u64);
        let expected = self.digest.or(stated);
        let right = expected.is_none_or(|digest| digest.algorithm().digest(bytes) == digest);
        let declared = answer.header(header::CONTENT_TYPE).map(MediaType::from_content_type);
        whole && right && Document::parse(bytes.clone(), declared).is_ok()
    }
}
