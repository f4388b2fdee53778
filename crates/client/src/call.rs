//! What an operation asks of a registry.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use crate::{Error, auth::Scopes, blob::Upload, registry::Registry, wire::Lane};

/// Where a call goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A path of the registry, with query.
    Path(String),
    /// What the registry named: an upload's location, a next page.
    Url(Url),
}

/// A request's body.
pub(crate) enum Payload<'a> {
    None,
    Bytes(Bytes),
    /// Opened anew each time the request is sent.
    Upload(Upload<'a>),
}

impl Payload<'_> {
    /// The error of the bytes' source, where that is what made the request fail.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self {
            Self::Upload(upload) => upload.blame(error),
            _ => error,
        }
    }
}

/// One operation on a registry.
pub(crate) struct Call<'a> {
    pub(crate) registry: Arc<Registry>,
    /// Path of the repository, for choosing credentials; empty for the registry itself.
    pub(crate) repository: String,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) scopes: Scopes,
    pub(crate) lane: Lane,
    pub(crate) retry: bool,
    /// How much metadata is read and kept, in bytes.
    pub(crate) body_limit: u64,
}

impl Call<'_> {
    pub(crate) fn new(registry: &Arc<Registry>, method: Method, target: Target) -> Self {
        Self {
            registry: registry.clone(),
            repository: String::new(),
            method,
            target,
            headers: HeaderMap::new(),
            payload: Payload::None,
            scopes: Scopes::default(),
            lane: Lane::Api,
            retry: true,
            body_limit: palan_core::MAX_DOCUMENT_SIZE,
        }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
