//! Text from outside, for errors and logs.

use std::error::Error;

use crate::model;

/// The longest quotation of a server's response, in characters.
pub(super) const MAX_QUOTED: usize = 300;

/// Cut to [`MAX_QUOTED`], and without characters that could forge a log line or control a terminal.
pub(super) fn one_line(text: &str) -> String {
    let start: String = text.chars().take(MAX_QUOTED).collect();
    model::one_line(&start).into_owned()
}

/// The message of the innermost source: those around it say little more than that a request failed.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string())
}
