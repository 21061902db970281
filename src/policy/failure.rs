//! Why a plugin gave no answer.

use std::time::Duration;

use wasmtime::Trap;

use super::{bindings::types, limits::OverLimit, settings::PluginLimits, text::shortened};

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
    /// It answered, or logged, more than it may at once, in bytes.
    #[error("it handed over more than {0} bytes at once; raise its output if it needs more")]
    Output(usize),
    /// It broke down again and again, and is asked again after this time.
    #[error("it kept breaking down, and is not asked for another {} s", .0.as_secs() + 1)]
    GivenUp(Duration),
    /// Nobody is asked any more.
    #[error("the program is ending")]
    Stopped,
}

/// How the engine words that the limit of [`CallError::Output`] was reached; it has no type for it that could be asked for.
const OUTPUT_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

impl CallError {
    /// What a call that ended in the engine instead of an answer means.
    pub fn from_engine(error: &wasmtime::Error, limits: &PluginLimits, timeout: Duration) -> Self {
        if let Some(over) = error.downcast_ref::<OverLimit>() {
            return Self::Memory(*over);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline(timeout),
            Some(Trap::UnreachableCodeReached) => {
                let cause = "a panic, an uncaught exception, or a hook that is declared and not written";
                Self::Trap(format!("unreachable code was reached, as by {cause}"))
            }
            Some(trap) => {
                let text = trap.to_string();
                Self::Trap(text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned())
            }
            None => {
                let text = format!("{error:#}");
                if text.contains(OUTPUT_EXHAUSTED) {
                    return Self::Output(limits.output);
                }
                Self::Trap(shortened(&text, LONGEST_MESSAGE).into_owned())
            }
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
            Self::Output(_) => "output",
            Self::GivenUp(_) => "given-up",
            Self::Stopped => "stopped",
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
