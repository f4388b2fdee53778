//! Content digests: `algorithm:hex`, image-spec "Digests" section.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm of the image-spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Algorithm {
    /// SHA-256, the default everywhere.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All algorithms that palan computes.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the encoded part, in hexadecimal characters.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// A hasher for this algorithm.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher(State::Sha256(Sha256::new())),
            Self::Sha512 => Hasher(State::Sha512(Sha512::new())),
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, DigestError> {
        Self::ALL
            .into_iter()
            .find(|a| a.as_str() == s)
            .ok_or_else(|| DigestError::UnknownAlgorithm(s.to_owned()))
    }
}

/// The digest of some content: which algorithm, and its value.
///
/// Small and `Copy`; parsing accepts lower-case hexadecimal only, as the image-spec demands, so that equal digests
/// have one spelling and a digest is always a safe file name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Value);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Value {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// Which algorithm made it.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Value::Sha256(_) => Algorithm::Sha256,
            Value::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The encoded part: lower-case hexadecimal without the algorithm.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        let mut out = String::with_capacity(self.algorithm().hex_len());
        for byte in self.as_bytes() {
            let _ = write!(out, "{byte:02x}");
        }
        out
    }

    /// Algorithm and the first twelve characters, for messages to people.
    pub fn short(&self) -> String {
        format!("{}:{}", self.algorithm(), &self.hex()[..12])
    }

    /// The digest with this raw value; `None` if it does not have the algorithm's length.
    pub fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Sha256 => Value::Sha256(value.try_into().ok()?),
            Algorithm::Sha512 => Value::Sha512(value.try_into().ok()?),
        }))
    }

    /// The raw value.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Sha256(v) => v,
            Value::Sha512(v) => v,
        }
    }

    /// The tag under which registries without the referrers API list what refers to this digest
    /// (distribution-spec, "Referrers Tag Schema"): `sha256-<64 hex>`, the encoded part cut at 64 characters.
    pub fn referrers_tag(&self) -> String {
        format!("{}-{}", self.algorithm(), &self.hex()[..64])
    }

    /// Whether a tag is the [`referrers_tag`](Self::referrers_tag) of some digest.
    pub fn is_referrers_tag(tag: &str) -> bool {
        Self::tag_stem(tag) == Some(tag)
    }

    /// The [`referrers_tag`](Self::referrers_tag) that a digest tag begins with. Digest tags are that tag itself and, as
    /// cosign attaches signatures, attestations and SBOMs, that tag with a suffix: `sha256-<64 hex>.sig`.
    pub fn tag_stem(tag: &str) -> Option<&str> {
        let stem = tag.split_once('.').map_or(tag, |(stem, _)| stem);
        let hex = stem.strip_prefix("sha256-").or_else(|| stem.strip_prefix("sha512-"))?;
        let is_hex = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == 64 && hex.bytes().all(is_hex)).then_some(stem)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.algorithm(), self.hex()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = s.split_once(':').ok_or_else(|| DigestError::NoColon(s.to_owned()))?;
        let algorithm: Algorithm = algorithm.parse()?;
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::Length { algorithm, expected: algorithm.hex_len(), found: hex.len() });
        }
        if let Some((position, character)) =
            hex.char_indices().find(|(_, c)| !matches!(c, '0'..='9' | 'a'..='f'))
        {
            return Err(DigestError::Character {
                position: algorithm.as_str().len() + 1 + position,
                character,
            });
        }
        let nibble = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
        let hex = hex.as_bytes();
        let byte = |i: usize| (nibble(hex[2 * i]) << 4) | nibble(hex[2 * i + 1]);
        Ok(Self(match algorithm {
            Algorithm::Sha256 => Value::Sha256(std::array::from_fn(byte)),
            Algorithm::Sha512 => Value::Sha512(std::array::from_fn(byte)),
        }))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(|e| de::Error::custom(format_args!("invalid digest \"{text}\": {e}")))
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No colon between algorithm and value.
    #[error("\"{0}\" has no colon between algorithm and value")]
    NoColon(String),
    /// An algorithm that is not sha256 or sha512.
    #[error("unknown algorithm \"{0}\" (known: sha256, sha512)")]
    UnknownAlgorithm(String),
    /// A value of the wrong length.
    #[error("{algorithm} needs {expected} hexadecimal characters, found {found}")]
    Length {
        /// The algorithm named.
        algorithm: Algorithm,
        /// Characters it needs.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// Something that is not a lower-case hexadecimal character.
    #[error("'{character}' at position {position} is not a lower-case hexadecimal character")]
    Character {
        /// Byte offset from the start of the digest.
        position: usize,
        /// The offending character.
        character: char,
    },
}

/// Computes a [`Digest`] incrementally.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Adds content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(h) => Value::Sha256(h.finalize().into()),
            State::Sha512(h) => Value::Sha512(h.finalize().into()),
        })
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The chain IDs of a stack of layers, lowest first: element *i* identifies the layers `0..=i` together.
///
/// image-spec "Layer ChainID": `ChainID(L0) = DiffID(L0)`, `ChainID(L0|…|Ln) = sha256(ChainID(L0|…|Ln-1) + " " +
/// DiffID(Ln))`, both as text with their algorithm.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut out: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match out.last() {
            None => *diff_id,
            Some(below) => Digest::sha256(format!("{below} {diff_id}").as_bytes()),
        };
        out.push(next);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_round_trips() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::sha256(b""));
        let long = Algorithm::Sha512.digest(b"x");
        assert_eq!(long.to_string().parse::<Digest>().unwrap(), long);
        assert_eq!(long.referrers_tag().len(), "sha512-".len() + 64);
        assert_eq!(Digest::from_bytes(Algorithm::Sha512, long.as_bytes()), Some(long));
        assert_eq!(Digest::from_bytes(Algorithm::Sha256, long.as_bytes()), None);
    }

    #[test]
    fn digest_tags_are_known_whatever_the_algorithm() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let tag = algorithm.digest(b"x").referrers_tag();
            assert!(Digest::is_referrers_tag(&tag));
            for suffix in [".sig", ".att", ".sbom", ".other.kind"] {
                let digest_tag = format!("{tag}{suffix}");
                assert!(!Digest::is_referrers_tag(&digest_tag));
                assert_eq!(Digest::tag_stem(&digest_tag), Some(tag.as_str()));
            }
            let others = [tag[..70].to_owned(), format!("{tag}0"), tag.to_uppercase(), format!("{tag}-x")];
            for other in others {
                assert_eq!(Digest::tag_stem(&other), None, "{other}");
            }
        }
        assert_eq!(Digest::tag_stem("sha256-nightly"), None);
    }

    #[test]
    fn malformed_digests_say_why() {
        let cases = [
            ("sha256", "no colon"),
            ("md5:abc", "unknown algorithm \"md5\""),
            ("sha256:abc", "needs 64 hexadecimal characters, found 3"),
            ("sha256:E3B0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "'E' at position 7"),
            ("sha256:../../etc/passwd", "needs 64"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn chain_ids_match_the_published_vector() {
        let id = |c: &str| format!("sha256:{}", c.repeat(64)).parse::<Digest>().unwrap();
        let chain = chain_ids(&[id("1"), id("2"), id("3")]);
        let text: Vec<_> = chain.iter().map(ToString::to_string).collect();
        assert_eq!(text[0], format!("sha256:{}", "1".repeat(64)));
        assert_eq!(text[1], "sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5");
        assert_eq!(text[2], "sha256:50127c0d6b338be78246434b4bce23ecf75e505158ea0bbd15effeb162fbf3ec");
    }
}
