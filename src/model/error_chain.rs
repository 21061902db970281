//! An error with its causes.

use std::error::Error;

/// The error and its causes in one text: `cannot read a.yaml: Permission denied (os error 13)`.
///
/// Some libraries repeat the cause at the end of an error's own text; it is not printed twice.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {file}")]
    struct ReadError {
        file: &'static str,
        source: Repeating,
    }

    /// As some libraries print errors.
    #[derive(Debug, thiserror::Error)]
    #[error("broken: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn each_cause_is_printed_once() {
        let error = ReadError { file: "a.yaml", source: Repeating(io::Error::other("denied")) };
        assert_eq!(error_chain(&error), "cannot read a.yaml: broken: denied");
    }
}
