//! The index of known bases: one file of lines that is searched where it lies.
//!
//! The first line is a header: the format's version, and which tags of which repositories are kept. Every other line is
//! a JSON object about one base, for one platform, under one name; lines are sorted by the base's chain ID (image-spec
//! `config.md`, "Layer ChainID"), which is their first field:
//!
//! ```text
//! {"bases":1,"watch":[{"tags":"index.docker.io/library/debian:12*","newest":100,"order":"created"}]}
//! {"chain":"sha256:…","name":"…/debian:12","platform":{…},"manifest":"sha256:…","index":"sha256:…","layers":1,"seen":"2026-…","config":{…}}
//! ```
//!
//! A lookup is a binary search with a few small reads: its cost grows with the logarithm of the file's size, and the
//! file is never loaded. What a tag stood for earlier stays: that is what makes a rebase possible when a registry has
//! forgotten the old base. A file that was edited by hand, or merged, is put right by `sort -u` in the C locale;
//! [`KnownBases::entries`] says where it is not in order.

mod entry;
mod exchange;
mod file;
mod gather;
mod write;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use palan_core::{Digest, Platform, chain_ids};

pub use entry::{Entry, Order, Watch};
pub use exchange::{pull, push};
pub use gather::{Gathered, gather};
pub use write::{Change, Changed, change};

use crate::Error;
use entry::Header;
use file::Lines;

/// Format version in the header.
const VERSION: u32 = 1;

/// An index of known bases, open for reading.
#[derive(Debug)]
pub struct KnownBases {
    path: PathBuf,
    lines: Lines,
    header: Header,
}

impl KnownBases {
    /// Opens the file and reads its header. Fails with [`Error::Io`] when it cannot be read and with
    /// [`Error::Malformed`] when it is something else.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        let (header, lines) = Lines::open(&path, file)?;
        let header = Header::parse(&header).map_err(|reason| malformed(&path, &reason))?;
        Ok(Self { path, lines, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which tags of which repositories are kept.
    pub fn watched(&self) -> &[Watch] {
        &self.header.watch
    }

    /// The bases with the longest stack of layers that an image starts with, under all their names; none: no base is
    /// known that the image starts with.
    ///
    /// `diff_ids` are the image's, lowest first. Reads from the file a few times for each of them.
    pub fn longest(&self, diff_ids: &[Digest], platform: &Platform) -> Result<Vec<Entry>, Error> {
        self.longest_where(diff_ids, platform, |_| true)
    }

    /// As [`KnownBases::longest`], of those bases that are wanted.
    pub fn longest_where(
        &self,
        diff_ids: &[Digest],
        platform: &Platform,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, Error> {
        for chain in chain_ids(diff_ids).iter().rev() {
            let mut found = self.with_chain(chain, platform)?;
            found.retain(&wanted);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// The bases for a platform whose stack of layers has this chain ID.
    pub fn with_chain(&self, chain: &Digest, platform: &Platform) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        for line in self.lines.with_key(&chain.to_string())? {
            let entry = Entry::parse(&line).map_err(|reason| malformed(&self.path, &reason))?;
            if entry.platform.same_machine(platform) {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// All entries, in order, read one by one. Fails where the lines are not sorted.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, Error>> + use<>, Error> {
        let lines = write::sorted_lines(&self.path)?;
        let path = self.path.clone();
        Ok(lines.map(move |line| Entry::parse(&line?.bytes).map_err(|reason| malformed(&path, &reason))))
    }
}

fn malformed(path: &Path, reason: &str) -> Error {
    Error::Malformed {
        place: path.display().to_string(),
        reason: format!("it is not an index of known bases: {reason}"),
    }
}
