//! Content checked against what its descriptor promises.

use crate::{Descriptor, Digest, Hasher};

/// Checks content against the digest and size that a descriptor promises, while it streams past.
///
/// ```
/// use palan_core::{Digest, Verifier};
/// let mut verifier = Verifier::new(Digest::sha256(b"hello"), 5);
/// verifier.update(b"hel").unwrap();
/// verifier.update(b"lo").unwrap();
/// verifier.finish().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Verifier {
    hasher: Hasher,
    digest: Digest,
    size: u64,
    seen: u64,
}

impl Verifier {
    /// Expects exactly `size` bytes that hash to `digest`.
    pub fn new(digest: Digest, size: u64) -> Self {
        Self { hasher: digest.algorithm().hasher(), digest, size, seen: 0 }
    }

    /// Expects the content of `descriptor`.
    pub fn of(descriptor: &Descriptor) -> Self {
        Self::new(descriptor.digest, descriptor.size)
    }

    /// Adds content; fails as soon as there is more than promised, so that a server cannot fill a disk.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        self.seen += bytes.len() as u64;
        if self.seen > self.size {
            return Err(Mismatch::TooLong { digest: self.digest, expected: self.size });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Bytes accepted so far: the offset at which a cut transfer is resumed.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether all promised bytes have been seen.
    pub fn is_complete(&self) -> bool {
        self.seen == self.size
    }

    /// Size and digest, checked.
    pub fn finish(self) -> Result<(), Mismatch> {
        if self.seen != self.size {
            return Err(Mismatch::Size { digest: self.digest, expected: self.size, found: self.seen });
        }
        let found = self.hasher.finish();
        if found != self.digest {
            return Err(Mismatch::Digest { expected: self.digest, found });
        }
        Ok(())
    }
}

/// Content is not what its descriptor promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// More bytes than promised; the rest was not read.
    #[error("the content of {digest} is longer than the {expected} bytes its descriptor states")]
    TooLong {
        /// The digest expected.
        digest: Digest,
        /// The size expected, in bytes.
        expected: u64,
    },
    /// Fewer bytes than promised.
    #[error("the content of {digest} has {found} bytes, its descriptor states {expected}")]
    Size {
        /// The digest expected.
        digest: Digest,
        /// The size expected, in bytes.
        expected: u64,
        /// The size found, in bytes.
        found: u64,
    },
    /// Other bytes than promised.
    #[error("the content has digest {found}, expected {expected}")]
    Digest {
        /// The digest expected.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_catches_every_difference() {
        let check = |content: &[u8], digest: &[u8], size| {
            let mut v = Verifier::new(Digest::sha256(digest), size);
            v.update(content).and_then(|()| v.finish())
        };
        assert_eq!(check(b"abc", b"abc", 3), Ok(()));
        assert!(matches!(check(b"abc", b"abd", 3), Err(Mismatch::Digest { .. })));
        assert!(matches!(check(b"abc", b"abc", 4), Err(Mismatch::Size { found: 3, .. })));
        assert!(matches!(check(b"abc", b"abc", 2), Err(Mismatch::TooLong { .. })));
    }
}
