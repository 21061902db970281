//! `version`: which build this is.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use serde::Serialize;

use super::CommandError;
use crate::policy::CONTRACT_VERSION;

/// The version, as `--version` prints it behind the name.
pub const LINE: &str = env!("K8S_COPYCAT_VERSION_LINE");
/// The commit, or `unknown`.
const COMMIT: &str = env!("K8S_COPYCAT_BUILD_COMMIT");
/// `true`, `false`, or `unknown`.
const MODIFIED: &str = env!("K8S_COPYCAT_BUILD_MODIFIED");

/// The format of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionFormat {
    /// Lines for people.
    Text,
    /// A JSON object.
    Json,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// None if not known.
    commit: Option<&'static str>,
    /// Whether the program has changes that the commit does not have; none if not known.
    modified: Option<bool>,
    plugin_contract: &'static str,
}

fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: (COMMIT != "unknown").then_some(COMMIT),
        modified: MODIFIED.parse().ok(),
        plugin_contract: CONTRACT_VERSION,
    }
}

/// Prints it.
pub fn print(format: VersionFormat) -> Result<ExitCode, CommandError> {
    let version = version();
    let text = match format {
        VersionFormat::Text => {
            let Version { version, plugin_contract, .. } = version;
            let modified = match MODIFIED {
                "true" => ", with changes that are not committed",
                "false" => "",
                _ if COMMIT == "unknown" => "",
                _ => ", a development build: perhaps with changes",
            };
            format!("k8s-copycat {version}\ncommit {COMMIT}{modified}\nplugin contract {plugin_contract}")
        }
        VersionFormat::Json => {
            serde_json::to_string(&version).map_err(io::Error::from).map_err(CommandError::Output)?
        }
    };
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
