//! Content digests (OCI image specification, `descriptor.md`, section "Digests").

use std::{fmt, str::FromStr};

use sha2::Digest as _;

use super::cut::cut;

/// The most bytes that an error shows of an invalid digest; longer than any digest.
const LONGEST_SHOWN: usize = 160;

/// The registered digest algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`: 64 hex digits; used by every registry.
    Sha256,
    /// `sha512`: 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// A new hasher.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Self::Sha512 => Hasher::Sha512(Box::new(sha2::Sha512::new())),
        }
    }
}

/// A valid `algorithm:hex`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// A text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm is missing or not registered.
    #[error("invalid digest {0:?}: it must start with sha256: or sha512:")]
    Algorithm(String),
    /// The part after the colon has the wrong length, or other characters than lower-case hex digits.
    #[error("invalid digest {0:?}: {1}: must be followed by {2} lower-case hex digits")]
    Hex(String, &'static str, usize),
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The part before the colon.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether `bytes` have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.algorithm.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// The tag that keeps a manifest from garbage collection of untagged manifests:
    /// `copycat-<algorithm>-<first 64 hex digits>`. Not `sha256-<hex>`, which the distribution specification reserves
    /// for referrers (section "Referrers Tag Schema").
    pub fn keep_alive_tag(&self) -> String {
        let hex: String = self.hex.chars().take(64).collect();
        format!("copycat-{}-{hex}", self.algorithm.name())
    }

    /// The tag of the index of its referrers at registries without the referrers API (distribution specification 1.1,
    /// "Referrers Tag Schema").
    pub fn referrers_tag(&self) -> String {
        let hex: String = self.hex.chars().take(64).collect();
        format!("{}-{hex}", self.algorithm.name())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = match text.split_once(':') {
            Some(("sha256", hex)) => (Algorithm::Sha256, hex),
            Some(("sha512", hex)) => (Algorithm::Sha512, hex),
            _ => return Err(DigestError::Algorithm(cut(text, LONGEST_SHOWN).into_owned())),
        };
        let well_formed =
            hex.len() == algorithm.hex_len() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            let text = cut(text, LONGEST_SHOWN).into_owned();
            return Err(DigestError::Hex(text, algorithm.name(), algorithm.hex_len()));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a digest incrementally.
pub enum Hasher {
    /// SHA-256.
    Sha256(sha2::Sha256),
    /// SHA-512.
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all added bytes.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest { algorithm: Algorithm::Sha256, hex: hex::encode(hasher.finalize()) },
            Self::Sha512(hasher) => Digest { algorithm: Algorithm::Sha512, hex: hex::encode(hasher.finalize()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_parsed_and_written_unchanged() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        let text = format!("sha512:{}", "0a".repeat(64));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }

    #[test]
    fn rejects_invalid_digests() {
        for text in ["", "sha256", "sha256:", "md5:00", &format!("sha256:{}", "0A".repeat(32)), &"0a".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_abbreviates_long_texts() {
        for text in ["a".repeat(1 << 20), format!("sha256:{}", "0".repeat(1 << 20))] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.len() < 300 && error.contains(&format!("({} bytes)", text.len())), "{error}");
        }
    }

    #[test]
    fn compares_bytes_with_a_digest() {
        let digest = Digest::sha256(b"abc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(digest.matches(b"abc"));
        assert!(!digest.matches(b"abd"));
    }

    #[test]
    fn the_keep_alive_tag_fits_a_tag_for_every_algorithm() {
        let digest: Digest = format!("sha512:{}", "0a".repeat(64)).parse().unwrap();
        assert_eq!(digest.keep_alive_tag(), format!("copycat-sha512-{}", "0a".repeat(32)));
    }
}
