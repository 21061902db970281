//! What an attempt to mirror an image saw.

use super::Digest;

/// What an attempt saw, whatever became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the target has at the destination.
    pub at_target: AtTarget,
    /// The digest that the destination is to have, if the source, a Pod or the image reference gave it.
    pub at_source: Option<Digest>,
}

/// What a target has at a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AtTarget {
    /// It was not queried, or did not answer.
    #[default]
    Unknown,
    /// Nothing.
    Nothing,
    /// This digest.
    Digest(Digest),
}

impl AtTarget {
    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Unknown | Self::Nothing => None,
        }
    }
}
