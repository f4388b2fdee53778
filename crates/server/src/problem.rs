//! Error answers, distribution-spec "Error Codes".

use std::io;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use palan_core::{Digest, DigestError, DocumentError};
use serde_json::json;

use crate::body::Body;

/// The codes of the specification, with the status each is answered with unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TooManyRequests,
    Unsupported,
    /// Not of the specification: the fault is on this side.
    Unknown,
}

impl Code {
    fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::SizeInvalid => ("SIZE_INVALID", StatusCode::BAD_REQUEST),
            Self::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::BAD_REQUEST),
            Self::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.parts().1, code, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn blob_unknown(digest: &Digest) -> Self {
        Self::new(Code::BlobUnknown, format!("blob {digest} is not in this repository"))
    }

    pub(crate) fn no_endpoint() -> Self {
        Self::new(Code::Unsupported, "no such endpoint").with_status(StatusCode::NOT_FOUND)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::Unsupported, message).with_status(StatusCode::PRECONDITION_FAILED)
    }

    /// A fault of this side; the cause goes to the log, not to the client.
    pub(crate) fn internal(what: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("{what}: {cause}");
        Self::new(Code::Unknown, format!("{what} failed in the registry"))
    }

    /// The store failed.
    pub(crate) fn storage(error: &io::Error) -> Self {
        let problem = Self::internal("storage", error);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                problem.with_status(StatusCode::INSUFFICIENT_STORAGE)
            }
            _ => problem,
        }
    }

    pub(crate) fn into_response(self, head: bool) -> Response<Body> {
        let (code, _) = self.code.parts();
        let text = json!({"errors": [{"code": code, "message": self.message}]}).to_string();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, text.len().into());
        headers.extend(self.headers);
        if !head {
            *response.body_mut() = Body::from(text);
        }
        response
    }
}

impl From<DigestError> for Problem {
    fn from(error: DigestError) -> Self {
        Self::new(Code::DigestInvalid, format!("invalid digest: {error}"))
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let problem = Self::new(Code::ManifestInvalid, error.to_string());
        match error {
            DocumentError::TooLarge { .. } => problem.with_status(StatusCode::PAYLOAD_TOO_LARGE),
            _ => problem,
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::storage(&error)
    }
}
