//! Looks whether destinations have all of their images: tag, digest, every manifest, every blob; changes nothing.

mod content;
mod deep;
mod known_parts;
mod tree;
mod verifier;

pub use deep::{DeepReading, ReadBlobs};
pub use verifier::{Verifier, VerifierSettings};
