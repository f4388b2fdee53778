//! Extraction: the entries of one archive as files in a directory, and nowhere else.
//!
//! The archive is the final state of a file system, as [`merge`](crate::merge) writes it: each path once, and paths are
//! taken literally. Nothing is ever written through a symbolic link, whether it leads out of the directory or not: in a
//! final state a path cannot have one on its way, programs disagree about what such an archive means (GNU tar follows,
//! bsdtar refuses, others resolve inside the root), and so it is refused, as are names with `..` and hard links to what
//! the archive does not have. Symbolic links themselves are made as they are, wherever they lead. Leading slashes mean
//! the directory.
//!
//! Two barriers keep to that. A path's parents must be directories that this extraction made itself, by exactly that
//! name. And they are opened from the directory's own descriptor, in a way that the kernel follows no link: with
//! `openat2` where it has that, else one component after the other. A file never replaces one: names that only differ in
//! ways that the file system does not see (upper and lower case) are an error that names both.
//!
//! All this happens in a new directory that only its owner may enter. It gets its name, or its content its place, when
//! everything is there; after an error nothing is left. That holds where others may change what the directory is in, too:
//! each path is resolved once, what was made is looked at when it is opened, and from then on only descriptors are used.
//! What is not possible here ([`Lost`]) is counted and told.

#[cfg(target_os = "linux")]
mod content;
#[cfg(target_os = "linux")]
mod given;
#[cfg(target_os = "linux")]
mod meta;
#[cfg(target_os = "linux")]
mod names;
mod report;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod temporary;

use std::{io::Read, path::Path};

pub use report::{Loss, Lost, Report};
#[cfg(target_os = "linux")]
pub use stage::Stage;

use crate::{Limits, Result};

/// Whether [`extract`] works on this system.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// Who owns what is extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The owners that the archive names; with that, everything that is only safe with its right owner: set-user-ID and
    /// set-group-ID bits, capabilities and other attributes. An owner that cannot be set is an error.
    Archive,
    /// Whoever extracts.
    Own,
}

impl Owners {
    /// As tar does: those of the archive for root, one's own for others.
    pub fn usual() -> Self {
        #[cfg(target_os = "linux")]
        if rustix::process::geteuid().is_root() {
            return Self::Archive;
        }
        Self::Own
    }
}

/// How to extract.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who owns what is extracted.
    pub owners: Owners,
    /// Bounds on the archive.
    pub limits: Limits,
    /// Does without `openat2`, as on old kernels.
    #[cfg(test)]
    walk: bool,
}

impl Options {
    /// With default limits.
    pub fn new(owners: Owners) -> Self {
        Self {
            owners,
            limits: Limits::default(),
            #[cfg(test)]
            walk: false,
        }
    }
}

/// Extracts an *uncompressed* archive to a directory that does not exist yet, or is empty. The archive must have its end
/// marker, so that one that was cut off is not taken for a whole one.
///
/// Modification times (with nanoseconds), modes, extended attributes, hard links and holes are restored; directories get
/// theirs at the end, so that they may be read-only. Directories that only follow from what is inside have mode 0755 and
/// time zero. The same archive gives the same tree.
///
/// Memory grows with the number of directories, and of entries that are lost. After an error the directory is as it was before (but for
/// its modification time).
pub fn extract(tar: impl Read, dir: &Path, options: &Options) -> Result<Report> {
    Stage::create(dir, options)?.extract(tar)
}

/// Where nothing can be extracted.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub enum Stage {}

#[cfg(not(target_os = "linux"))]
impl Stage {
    /// Fails: this system is not supported.
    pub fn create(dir: &Path, _: &Options) -> Result<Self> {
        let (action, path) = ("extract to", dir.to_owned());
        Err(crate::Error::Directory { action, path, source: std::io::ErrorKind::Unsupported.into() })
    }

    /// Never called.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// Never called.
    pub fn extract(self, _: impl Read) -> Result<Report> {
        match self {}
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
