//! How images are verified.

use super::{deep::DeepReading, pace::Pace};
use crate::mirror::copying::CopySettings;

/// What sources are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceQuestions {
    /// Nothing.
    Nothing,
    /// Which platforms an image has, if the target has an index that was made of some of them.
    Indexes,
    /// Also what tags mean now, and which referrers images have.
    All,
}

/// How images are verified.
pub struct VerifierSettings {
    /// How images are copied: what targets are to have follows from it.
    pub copy: CopySettings,
    /// What sources are asked.
    pub questions: SourceQuestions,
    /// How blobs are read; none to look only whether they are there.
    pub deep: Option<DeepReading>,
    /// Of requests to targets; none for as fast as they answer.
    pub pace: Option<Pace>,
}
