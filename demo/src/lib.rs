//! Deterministic container images in memory, and a read-only registry that serves them on loopback; for the demo, tests and
//! benchmarks.

mod image;
mod layer;
mod registry;

pub use image::{Blob, Format, Image, Manifest};
pub use layer::Layer;
pub use registry::{Counter, Counts, Registry};

use sha2::Digest as _;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}
