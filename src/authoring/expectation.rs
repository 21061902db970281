//! The expected answers of a case, compared with a plugin's answers.

use std::fmt;

use serde_json::Value;

use crate::{
    model::Hook,
    policy::{CallError, SkipAnswer},
};

/// Why an expected answer is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{question}: {found} is not a possible answer; write {allowed}")]
pub struct ExpectationError {
    question: String,
    found: Value,
    allowed: String,
}

/// An answer to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The next plugin is called.
    Pass,
    /// Mirror the image use.
    Keep,
    /// Do not mirror it, for this reason.
    Skip(String),
    /// Mirror it to these targets.
    Targets(Vec<String>),
    /// A path or a prefix.
    Text(String),
    /// The call failed.
    Error(ErrorKind, String),
}

/// The expected answer to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Exactly this answer.
    Answer(Answer),
    /// A skip with any reason.
    Skip,
    /// An error of this kind.
    Error(ErrorKind),
}

/// A kind of error, as the program's metrics label it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorKind(&'static str);

const KINDS: [&str; 7] = ["invalid-config", "invalid-request", "internal", "trap", "deadline", "memory", "output"];

impl Expectation {
    /// Parses the expected answer of `hook`.
    ///
    /// # Errors
    /// `hook` can't give this answer.
    pub fn parse(hook: Hook, value: &Value) -> Result<Self, ExpectationError> {
        let exactly = |answer| Some(Self::Answer(answer));
        let text = || value.get("text").and_then(Value::as_str);
        let expectation = match (hook, value.as_str()) {
            _ if value.get("error").is_some() => error_kind(value).map(Self::Error),
            (_, Some("pass")) => exactly(Answer::Pass),
            (Hook::Skip, Some("keep")) => exactly(Answer::Keep),
            (Hook::Skip, Some("skip")) => Some(Self::Skip),
            (Hook::Skip, _) => {
                value.get("skip").and_then(Value::as_str).and_then(|why| exactly(Answer::Skip(why.into())))
            }
            (Hook::TargetSelection, _) => names(value).and_then(|names| exactly(Answer::Targets(names))),
            (Hook::PathMapping | Hook::RepositoryPrefix, Some(text)) => exactly(Answer::Text(text.to_owned())),
            (Hook::PathMapping | Hook::RepositoryPrefix, None) => {
                text().and_then(|text| exactly(Answer::Text(text.to_owned())))
            }
        };
        let allowed = match hook {
            Hook::Skip => "pass, keep, skip, { skip: REASON }",
            Hook::TargetSelection => "pass, a list of target names",
            Hook::PathMapping | Hook::RepositoryPrefix => "pass, a string, { text: STRING }",
        };
        expectation.ok_or_else(|| invalid(hook.name(), value, allowed))
    }

    /// Parses the expected error of `configure`. None: it should succeed.
    ///
    /// # Errors
    /// `configure` can't return this.
    pub fn parse_config_error(value: &Value) -> Result<Option<ErrorKind>, ExpectationError> {
        if value.as_str() == Some("ok") {
            return Ok(None);
        }
        error_kind(value).map(Some).ok_or_else(|| invalid("configure", value, "ok"))
    }

    /// Whether an error is expected.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_) | Self::Answer(Answer::Error(..)))
    }

    /// Whether `answer` is the expected one.
    pub fn matches(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Answer(expected), answer) => expected == answer,
            (Self::Skip, answer) => matches!(answer, Answer::Skip(_)),
            (Self::Error(expected), Answer::Error(kind, _)) => expected == kind,
            (Self::Error(_), _) => false,
        }
    }
}

fn error_kind(value: &Value) -> Option<ErrorKind> {
    let text = value.get("error")?.as_str()?;
    KINDS.into_iter().find(|kind| *kind == text).map(ErrorKind)
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn invalid(question: &str, found: &Value, allowed: &str) -> ExpectationError {
    let allowed = format!("{allowed}, or {{ error: KIND }} with one of {}", KINDS.join(", "));
    ExpectationError { question: question.to_owned(), found: found.clone(), allowed }
}

impl ErrorKind {
    /// The kind of `error`.
    pub fn of(error: &CallError) -> Self {
        Self(error.kind())
    }
}

impl From<Result<Option<SkipAnswer>, CallError>> for Answer {
    fn from(result: Result<Option<SkipAnswer>, CallError>) -> Self {
        Self::of(result, |answer| match answer {
            SkipAnswer::Keep => Self::Keep,
            SkipAnswer::Skip(reason) => Self::Skip(reason),
        })
    }
}

impl From<Result<Option<Vec<String>>, CallError>> for Answer {
    fn from(result: Result<Option<Vec<String>>, CallError>) -> Self {
        Self::of(result, Self::Targets)
    }
}

impl From<Result<Option<String>, CallError>> for Answer {
    fn from(result: Result<Option<String>, CallError>) -> Self {
        Self::of(result, Self::Text)
    }
}

impl Answer {
    fn of<T>(result: Result<Option<T>, CallError>, answer: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(None) => Self::Pass,
            Ok(Some(given)) => answer(given),
            Err(error) => Self::Error(ErrorKind::of(&error), error.to_string()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Keep => f.write_str("keep"),
            Self::Skip(reason) => write!(f, "skip: {reason}"),
            Self::Targets(names) => write!(f, "[{}]", names.join(", ")),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Error(kind, message) => write!(f, "error {kind}: {message}"),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::Skip => f.write_str("skip"),
            Self::Error(kind) => write!(f, "error {kind}"),
        }
    }
}
