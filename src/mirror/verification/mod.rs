//! Looks whether destinations have all of their images: tag, digest, every manifest, every blob, every referrer; changes
//! nothing.

mod content;
mod continual;
mod deep;
mod found;
mod judgement;
mod known_parts;
mod made_index;
mod pace;
mod referrers;
mod root;
mod settings;
mod tree;
mod verifier;

pub use continual::ContinualVerifier;
pub use deep::{DeepReading, NotRead, ReadBlobs};
pub use pace::Pace;
pub use settings::{SourceQuestions, VerifierSettings};
pub use verifier::Verifier;
