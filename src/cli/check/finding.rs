//! What was found, one line for each check.

use serde::Serialize;

use crate::registry::ProbeError;

/// What was checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Configuration,
    Plugins,
    Cluster,
    Images,
    #[serde(rename = "pull secrets")]
    PullSecrets,
    Targets,
    Sources,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    Ok,
    /// The program works, but perhaps not as intended; or it could not be checked.
    Warning,
    /// The program would fail.
    Failed,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub group: Group,
    pub subject: String,
    pub result: CheckResult,
    pub found: String,
    /// None if there is nothing to do.
    pub remedy: Option<String>,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Plugins => "plugins",
            Self::Cluster => "cluster",
            Self::Images => "images",
            Self::PullSecrets => "pull secrets",
            Self::Targets => "targets",
            Self::Sources => "sources",
        }
    }

    pub fn ok(self, subject: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { group: self, subject: subject.into(), result: CheckResult::Ok, found: found.into(), remedy: None }
    }

    pub fn warning(self, subject: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (subject, found, remedy) = (subject.into(), found.into(), Some(remedy.into()));
        Finding { group: self, subject, result: CheckResult::Warning, found, remedy }
    }

    pub fn failed(self, subject: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { result: CheckResult::Failed, ..self.warning(subject, found, remedy) }
    }

    pub fn failed_probe(self, subject: impl Into<String>, error: ProbeError) -> Finding {
        self.failed(subject, error.problem, error.remedy)
    }
}

impl CheckResult {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}
