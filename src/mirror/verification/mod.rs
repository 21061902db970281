//! Looks whether destinations have all of their images: tag, digest, every manifest, every blob; changes nothing.

mod content;
mod continual;
mod deep;
mod known_parts;
mod pace;
mod tree;
mod verifier;

pub use continual::ContinualVerifier;
pub use deep::{DeepReading, ReadBlobs};
pub use pace::Pace;
pub use verifier::{Verifier, VerifierSettings};
