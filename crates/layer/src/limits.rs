//! Bounds on what an archive may make us do.

/// Bounds against archives made to exhaust memory or time. The defaults are far beyond any real layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries in one archive.
    pub entries: u64,
    /// Length of a path or link target, in bytes.
    pub path: usize,
    /// Names, PAX records and sparse maps of one entry, in bytes.
    pub metadata: usize,
    /// Size of the uncompressed archive, and of one sparse file's content, in bytes. Who holds the archives of several layers at
    /// a time bounds them together by it, too.
    pub raw_size: u64,
    /// Uncompressed bytes per compressed byte.
    pub ratio: u64,
    /// Uncompressed bytes before the ratio counts: little archives may expand much.
    pub ratio_from: u64,
    /// Whether an archive that ends without its end marker (two zero blocks) is an error. It is legal enough for
    /// Go's and GNU's readers, but cannot be told from one that was cut between two entries.
    pub end_marker_required: bool,
}

impl Limits {
    /// As given, with or without the demand for an end marker.
    #[must_use]
    pub fn with_end_marker_required(mut self, required: bool) -> Self {
        self.end_marker_required = required;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000_000,
            path: 16 * 1024,
            metadata: 4 * 1024 * 1024,
            raw_size: 1 << 40,
            ratio: 20_000,
            ratio_from: 1 << 30,
            end_marker_required: false,
        }
    }
}
