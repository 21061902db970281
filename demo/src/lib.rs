//! Deterministic container images made in memory, and a read-only registry that serves them on loopback: what the
//! demonstration mirrors, and what tests and benchmarks push.

mod image;
mod layer;
mod registry;

pub use image::{Blob, Format, Image, Manifest};
pub use layer::Layer;
pub use registry::{Counter, Counts, Registry};

use sha2::Digest as _;

/// `sha256:` and the hex digits of the SHA-256 of `bytes`.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}
