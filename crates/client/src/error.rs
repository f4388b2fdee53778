//! What can go wrong, as facts.

use std::{fmt, path::PathBuf, time::Duration};

use http::{Method, StatusCode};
use palan_core::{Digest, DocumentError, Mismatch, ReferenceError};

use crate::limit;

/// An error of somebody else's, carried along.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on a registry failed. URLs in it carry no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer, or not the whole of it.
    #[error("{method} {url}: {reason}")]
    Transport {
        /// The request's method.
        method: Method,
        /// Where it went.
        url: String,
        /// What kind of failure it was.
        fault: Fault,
        /// The failure in words.
        reason: String,
    },
    /// An answer with a status that means failure.
    #[error(transparent)]
    Status(Box<StatusError>),
    /// A web page where the protocol wants something else.
    #[error("{url} answered an HTML page, is it a registry?")]
    Html {
        /// What was asked.
        url: String,
    },
    /// An answer that breaks the protocol.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// More bytes than are read of such a thing.
    #[error("{what} has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// The thing.
        what: String,
        /// Its size as announced; where nothing was announced, the bytes read until it was too much.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Content that is not what its descriptor says.
    #[error("{what} is not what it should be")]
    Mismatch {
        /// The content, by reference.
        what: String,
        /// The difference.
        source: Mismatch,
    },
    /// A manifest or config that cannot be read.
    #[error("cannot read {what}")]
    Document {
        /// The document, by reference.
        what: String,
        /// Why not.
        source: DocumentError,
    },
    /// A conditional write found something else in place.
    #[error("{what} was changed by somebody else in the meantime")]
    PreconditionFailed {
        /// The tag or manifest.
        what: String,
    },
    /// A redirect, a next page or an upload location that is not followed.
    #[error("{url} points to {to}: {reason}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where the answer points.
        to: String,
        /// Why it is not followed.
        reason: String,
    },
    /// The registry asks for a kind of authentication that is not possible.
    #[error("cannot authenticate to {registry}: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// Why.
        reason: String,
    },
    /// The token service gave no token.
    #[error("no token for {registry} from {realm}: {reason}")]
    Token {
        /// The registry.
        registry: String,
        /// The token service.
        realm: String,
        /// The status it answered, if it answered.
        status: Option<StatusCode>,
        /// Why.
        reason: String,
    },
    /// A credential file that cannot be read or written.
    #[error("credential file {}: {reason}", path.display())]
    CredentialFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A credential helper that failed.
    #[error("credential helper docker-credential-{helper} for {key}: {reason}")]
    Helper {
        /// The helper's name, without `docker-credential-`.
        helper: String,
        /// What it was asked for.
        key: String,
        /// Why.
        reason: String,
    },
    /// The bytes to upload could not be read.
    #[error("cannot read {} for uploading", .digest.map_or("a blob".to_owned(), |digest| digest.to_string()))]
    Source {
        /// The blob; `None`: it was still being made.
        digest: Option<Digest>,
        /// Why.
        source: BoxError,
    },
    /// The name of a registry that is no name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A name that the settings forbid.
    #[error("{name} is blocked by registries.conf (the entry \"{prefix}\")")]
    Blocked {
        /// The repository or registry.
        name: String,
        /// The entry's prefix.
        prefix: String,
    },
    /// Settings that cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// What kind of failure left a request without its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The name does not exist.
    Dns,
    /// No connection.
    Connect,
    /// A connection, but no TLS.
    Tls,
    /// TLS, but with a certificate that is not accepted: the server's, or the client's (which may be missing).
    Certificate,
    /// Silence for longer than the inactivity timeout.
    Inactive,
    /// The connection broke.
    Cut,
    /// The registry ended the connection because too much was asked of it at once (HTTP/2 `ENHANCE_YOUR_CALM`).
    Overload,
    /// The request could not be made.
    Request,
}

impl Error {
    /// The status the registry or token service answered, if that is what failed.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(e) => Some(e.status),
            Self::Token { status, .. } => *status,
            Self::PreconditionFailed { .. } => Some(StatusCode::PRECONDITION_FAILED),
            _ => None,
        }
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND) && !matches!(self, Self::Token { .. })
    }

    /// Whether credentials are missing, wrong or insufficient.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }

    /// Whether a conditional write found something else in place.
    pub fn is_precondition_failed(&self) -> bool {
        matches!(self, Self::PreconditionFailed { .. })
    }

    /// When the registry wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(e) => e.retry_after,
            _ => None,
        }
    }

    /// Whether the registry ended a connection because of what was asked of it.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self, Self::Transport { fault: Fault::Overload, .. })
    }

    /// Whether the registry was asked too often.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status() == Some(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the failure may be gone when the same request is made again.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { fault, .. } => {
                matches!(fault, Fault::Connect | Fault::Inactive | Fault::Cut | Fault::Tls | Fault::Overload)
            }
            Self::Status(e) => crate::retry::is_transient(e.status),
            _ => false,
        }
    }
}

/// A status that means failure, with what the registry said about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct StatusError {
    /// The request's method.
    pub method: Method,
    /// The URL asked, without secrets.
    pub url: String,
    /// The status.
    pub status: StatusCode,
    /// The errors of the body, if it is as distribution-spec "Error Codes" wants it.
    pub codes: Vec<ErrorCode>,
    /// The body's first line where it is plain text.
    pub text: Option<String>,
    /// Whether the body is a web page.
    pub html: bool,
    /// Whether it is a refusal, and there are no credentials for the repository.
    pub anonymous: bool,
    /// When to come back, if the registry said so.
    pub retry_after: Option<Duration>,
}

/// One error of distribution-spec "Error Codes".
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct ErrorCode {
    /// `MANIFEST_UNKNOWN`, `DENIED` …
    #[serde(default)]
    pub code: String,
    /// The registry's words.
    #[serde(default)]
    pub message: Option<String>,
}

impl StatusError {
    /// Whether the registry gave this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|c| c.code == code)
    }
}

/// Shorter waits have been waited for already.
const WORTH_SAYING: Duration = Duration::from_secs(60);

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} answered {}", self.method, self.url, self.status.as_u16())?;
        if let Some(reason) = self.status.canonical_reason() {
            write!(f, " {reason}")?;
        }
        for (i, error) in self.codes.iter().enumerate() {
            let separator = if i == 0 { ": " } else { "; " };
            write!(f, "{separator}{}", error.code)?;
            if let Some(message) = error.message.as_deref().filter(|m| !m.is_empty()) {
                write!(f, ": {message}")?;
            }
        }
        if let Some(text) = &self.text {
            write!(f, ": {text}")?;
        }
        if self.html {
            f.write_str(" with an HTML page, is it a registry?")?;
        }
        if self.anonymous {
            f.write_str(" (no credentials were found)")?;
        }
        if let Some(wait) = self.retry_after.filter(|wait| *wait > WORTH_SAYING) {
            write!(f, "; it wants to be asked again in {}", limit::spoken(wait))?;
        }
        Ok(())
    }
}

impl std::error::Error for StatusError {}
