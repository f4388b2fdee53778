//! What can go wrong when a registry is opened or served; what goes wrong inside a request is answered to the client.

use std::{io, path::PathBuf};

/// Why a registry could not be opened or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The directory, or something in it, could not be read or made.
    #[error("cannot open the registry directory: {}", path.display())]
    Open {
        /// The path in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another registry, in this process or another, is using the directory.
    #[error("the registry directory {} is in use by another registry", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by a version of palan with another layout.
    #[error("{} holds \"{found}\", this version reads \"{expected}\"", path.display())]
    Format {
        /// The file that names the layout.
        path: PathBuf,
        /// The layout found.
        found: String,
        /// The layout known.
        expected: &'static str,
    },
}
