//! How a command ends: the exit codes, and the one error type that commands return.

use std::{error::Error as StdError, fmt, process::ExitCode};

use palan_core::{PlatformError, ReferenceError};

/// The exit codes. Their numbers are a promise (STABILITY.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    NotBasedOn = 5,
    BaseUnknown = 6,
    Damaged = 7,
    Conflict = 8,
    Unavailable = 9,
    Stale = 10,
    Refused = 11,
    Partial = 12,
    Interrupted = 130,
    BrokenPipe = 141,
}

impl Code {
    pub(crate) const ALL: [Self; 15] = [
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Denied,
        Self::NotBasedOn,
        Self::BaseUnknown,
        Self::Damaged,
        Self::Conflict,
        Self::Unavailable,
        Self::Stale,
        Self::Refused,
        Self::Partial,
        Self::Interrupted,
        Self::BrokenPipe,
    ];

    /// What it says, for the reference.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "what was asked for happened",
            Self::Failure => "any failure without a code of its own",
            Self::Usage => "the command line is wrong; nothing was done",
            Self::NotFound => "an image, tag, blob, repository or file that was named does not exist",
            Self::Denied => "the registry wants other credentials, or refuses these",
            Self::NotBasedOn => "rebase: the image was not built on the old base; nothing was written",
            Self::BaseUnknown => {
                "a base was neither given nor found (`rebase`: nothing was written; also `base detect`, `base stale`)"
            }
            Self::Damaged => {
                "content is not what its digest, size or media type promises (also `validate`: FAIL)"
            }
            Self::Conflict => {
                "a tag was moved by somebody else meanwhile, or exists and must not be replaced; something else is being written there"
            }
            Self::Unavailable => "the registry could not be reached or kept failing; trying later may help",
            Self::Refused => {
                "rebase, layers pick: the result would be worth too little; convert, index: something would be lost; nothing was written"
            }
            Self::Partial => "fleet: some images could not be done, as it says of each; the others were",
            Self::Stale => {
                "base stale: an image does not stand on what its base's tag stands for now, or newer tags exist"
            }
            Self::Interrupted => "interrupted by Ctrl-C; nothing is left half-written",
            Self::BrokenPipe => "the reader of the output went away",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command failed: the error with its causes, the code to exit with and what to try next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) hint: Option<String>,
    error: Box<dyn StdError + Send + Sync>,
    /// The command has already said all there is to say.
    silent: bool,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { code, hint: None, error: error.into(), silent: false }
    }

    /// A wrong command line that the parser could not notice.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message.into())
    }

    /// Something of crane's that palan does not do yet.
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(Code::Failure, format!("not supported yet: {what}"))
    }

    /// The output said what went wrong; only the code is missing.
    pub(crate) fn reported(code: Code) -> Self {
        Self { silent: true, ..Self::new(code, "reported above") }
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted")
    }

    /// A file of this machine.
    pub(crate) fn file(action: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::NotFound => Code::NotFound,
            _ => Code::Failure,
        };
        Self::new(code, FileError { message: format!("cannot {action} {}", path.display()), source })
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn with_hints(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Whether the library's error beneath, or one of its causes, is such a one.
    pub(crate) fn is_because(&self, of: impl Fn(&palan::Error) -> bool) -> bool {
        let first: &(dyn StdError + 'static) = self.error.as_ref();
        let mut causes =
            std::iter::successors(Some(first), |error: &&'_ (dyn StdError + 'static)| (*error).source());
        causes.any(|error| error.downcast_ref().is_some_and(&of))
    }

    /// Whether there is nothing more to print.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent || self.code == Code::BrokenPipe
    }

    /// The message and the messages of its causes, outermost first, without repetitions.
    pub(crate) fn chain(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = Some(self.error.as_ref());
        while let Some(error) = next {
            let text = error.to_string();
            // Transparent errors show their source's message as their own.
            if !out.last().is_some_and(|last| last.ends_with(&text)) {
                out.push(text);
            }
            next = error.source();
        }
        out
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct FileError {
    message: String,
    source: std::io::Error,
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        Self::new(Code::Usage, error)
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::new(Code::Usage, error)
    }
}

impl From<std::io::Error> for Failure {
    /// Of standard output and input; files go through [`Failure::file`].
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::BrokenPipe => Code::BrokenPipe,
            _ => Code::Failure,
        };
        Self::new(code, error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => Self::from(std::io::Error::from(kind)),
            None => Self::new(Code::Failure, error),
        }
    }
}
