//! Why a plugin gave no answer.

use std::time::Duration;

use wasmtime::Trap;

use super::{bindings::types, limits::OverLimit, text::shortened};

/// The longest message of a plugin that is passed on, in bytes.
pub const LONGEST_MESSAGE: usize = 1024;

/// A call that gave no usable answer. Asking again, of a fresh instance, can end otherwise, unless the plugin has no
/// answer to the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It refuses its configuration.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// It has no answer to this question.
    #[error("{0}")]
    InvalidRequest(String),
    /// It says that it is at fault itself.
    #[error("internal error: {0}")]
    Internal(String),
    /// It answered what the contract does not allow.
    #[error("its answer can't be used: {0}")]
    Answer(String),
    /// It broke down.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It did not answer in time.
    #[error("no answer within {0:?}; raise its timeout if it needs longer")]
    Deadline(Duration),
    /// It wanted too much memory.
    #[error("{0}; raise its memory if it needs more")]
    Memory(OverLimit),
}

impl CallError {
    /// What a call that ended in the engine instead of an answer means.
    pub fn from_engine(error: &wasmtime::Error, timeout: Duration) -> Self {
        if let Some(over) = error.downcast_ref::<OverLimit>() {
            return Self::Memory(*over);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline(timeout),
            Some(Trap::UnreachableCodeReached) => {
                Self::Trap("unreachable code was reached, as by a panic or an uncaught exception".to_owned())
            }
            Some(trap) => Self::Trap(trap.to_string()),
            None => Self::Trap(shortened(&format!("{error:#}"), LONGEST_MESSAGE).into_owned()),
        }
    }

    /// Its kind, as metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidConfig(_) => "invalid-config",
            Self::InvalidRequest(_) => "invalid-request",
            Self::Internal(_) | Self::Answer(_) => "internal",
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
        }
    }
}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        let message = |text: String| shortened(&text, LONGEST_MESSAGE).into_owned();
        match error {
            types::Error::InvalidConfig(text) => Self::InvalidConfig(message(text)),
            types::Error::InvalidRequest(text) => Self::InvalidRequest(message(text)),
            types::Error::Internal(text) => Self::Internal(message(text)),
        }
    }
}
