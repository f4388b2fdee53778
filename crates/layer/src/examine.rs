//! One pass over a layer that goes on where others stop: everything that is wrong, and what is odd.

use std::io::Read;

use palan_core::{Algorithm, Compression, Digest};

use crate::{
    Decoder, EntryPath, Error, Limits, Result,
    hash::{Expected, RawReader, VerifyingReader, drain},
    links::{Noted, OuterLink, Paths, beginning},
    merge,
    tar::{Archive, Entry, Kind},
};

/// How many bad entries are told of one layer.
const TOLD: usize = 100;

/// What one pass over a layer's blob tells, whatever state it is in.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Examined {
    /// What is wrong, in the order in which it was met; of entries that no layer may have, the first hundred. Where the
    /// blob is not the one promised, only that.
    pub faults: Vec<Error>,
    /// How many more entries there are that no layer may have.
    pub more_faults: u64,
    /// Compression, by content; unknown where even its start is damaged.
    pub compression: Option<Compression>,
    /// SHA-256 of the uncompressed archive; unknown where it could not be read to its end.
    pub diff_id: Option<Digest>,
    /// The first path that a second entry has, too, and that is no directory: of these, the last one counts. Looked for
    /// among the first million entries.
    pub duplicate: Option<EntryPath>,
    /// How many more such entries there are.
    pub more_duplicates: u64,
    /// The first entry of a type that programs that run containers refuse, with its type flag.
    pub unknown: Option<(EntryPath, u8)>,
    /// How many more such entries there are.
    pub more_unknown: u64,
    /// What of the layer others' hard links may lead to.
    pub paths: Paths,
    /// Hard links to what the layer itself does not have, the first ten thousand, but for targets in more than 64
    /// directories.
    pub outer_links: Vec<OuterLink>,
    /// How many more hard links lead to what had not been met before them.
    pub more_links: u64,
}

/// Reads a layer's blob to its end, once, and checks digest and size against `expected`, compression and archive for
/// damage, and entries for what no layer may have (whiteouts that hide no name, a root that is no directory).
///
/// After the first fault of the archive, the rest counts only for the digests; after a bound of `limits`, nothing is read
/// any more. Fails only where `reader` does.
pub fn examine_expecting(reader: impl Read, expected: &Expected, limits: &Limits) -> Result<Examined> {
    let mut blob = VerifyingReader::new(reader, expected);
    let mut found = Examined::default();
    if let Err(error) = found.read(&mut blob, expected, limits) {
        found.faults.push(error);
    }
    match found.faults.pop() {
        Some(error @ Error::Io(_)) => return Err(error),
        Some(error @ (Error::Limit { .. } | Error::Content(_))) => {
            return Ok(Examined { faults: vec![error], ..found });
        }
        last => found.faults.extend(last),
    }
    match drain(&mut blob).and_then(|_| blob.finish()) {
        Ok(()) => Ok(found),
        Err(error @ Error::Io(_)) => Err(error),
        Err(error) => Ok(Examined { faults: vec![error], ..found }),
    }
}

impl Examined {
    /// The error is one of the compressed stream, or of the blob.
    fn read(&mut self, blob: &mut impl Read, expected: &Expected, limits: &Limits) -> Result<()> {
        let decoder = Decoder::with_limits(blob, limits)?;
        let compression = decoder.compression();
        self.compression = Some(compression);
        let is_blob =
            compression == Compression::None && expected.descriptor.digest.algorithm() == Algorithm::Sha256;
        let mut raw = RawReader::new(decoder, is_blob);
        match self.walk(&mut raw, limits) {
            Err(error) if error.is_of_archive() => {
                self.faults.push(error);
                drain(&mut raw)?;
            }
            result => result?,
        }
        let (diff_id, _, _) = raw.finish();
        self.diff_id = Some(diff_id.unwrap_or(expected.descriptor.digest));
        Ok(())
    }

    fn walk(&mut self, raw: &mut impl Read, limits: &Limits) -> Result<()> {
        let mut noted = Noted::default();
        let walked = self.entries(raw, limits, &mut noted);
        (self.paths, self.outer_links, self.more_links) = noted.finish(walked.is_ok());
        walked
    }

    fn entries(&mut self, raw: &mut impl Read, limits: &Limits, noted: &mut Noted) -> Result<()> {
        let mut archive = Archive::with_limits(raw, limits);
        while let Some(entry) = archive.next_entry()? {
            // A bad entry says nothing about the next one.
            match merge::check(&entry) {
                Err(error) if self.faults.len() < TOLD => self.faults.push(shortened(error)),
                Err(_) => self.more_faults += 1,
                Ok(()) => {}
            }
            self.note(&entry, noted);
        }
        archive.finish()?;
        Ok(())
    }

    fn note<R: Read>(&mut self, entry: &Entry<'_, R>, noted: &mut Noted) {
        let path = entry.path().strip_prefix(b"./").unwrap_or(entry.path());
        if let Kind::Other(flag) = entry.kind {
            match &self.unknown {
                None => self.unknown = Some((EntryPath::from(path), flag)),
                Some(_) => self.more_unknown += 1,
            }
        }
        if noted.note(entry) {
            match &self.duplicate {
                None => self.duplicate = Some(EntryPath::from(path)),
                Some(_) => self.more_duplicates += 1,
            }
        }
    }
}

/// A hundred paths may be long together.
fn shortened(mut error: Error) -> Error {
    if let Error::Entry { path, .. } = &mut error {
        *path = beginning(&path.0);
    }
    error
}
