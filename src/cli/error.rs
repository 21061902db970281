//! What can end a subcommand, and with which exit code.

use std::{
    error::Error as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    authoring::{BindingsError, CasesError, TimingError, WrapError},
    config::ConfigErrors,
    mirror::Stopped,
    model::printable,
    policy::{LoadError, ProbeError},
    registry::{self, CertificateError},
    report::{LoggingError, MetricsError},
    workload::{ClientError, ListError, ManifestError},
};

use super::modules::FetchError;

/// The exit code of a bad configuration.
const BAD_CONFIGURATION: u8 = 2;

/// Why a subcommand could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings are wrong, and the plugins may be as well.
    #[error("{settings}{}", .plugins.iter().map(|error| format!("\n{error}")).collect::<String>())]
    Configuration {
        /// What is wrong with the settings.
        settings: ConfigErrors,
        /// Each plugin that can't be loaded.
        plugins: Vec<LoadError>,
    },
    /// Plugins can't be loaded.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<LoadError>),
    /// Plugins can't be fetched.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Modules(Vec<FetchError>),
    /// There is no way to the cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster does not tell what it runs.
    #[error(transparent)]
    List(#[from] ListError),
    /// Manifest files can't be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A certificate that is configured can't be used.
    #[error(transparent)]
    Setup(#[from] CertificateError),
    /// Metrics can't be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Logging can't be set up.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// A listener can't be had.
    #[error("can't listen on {address}: {source}; is another program there?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The mirror ended before its time.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The output can't be written.
    #[error("can't write to standard output: {0}")]
    Output(std::io::Error),
    /// A file can't be read.
    #[error("can't read {}: {source}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file can't be written.
    #[error("can't write {}: {source}", .file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No plugin can be made of a module.
    #[error("{}: {source}", shown(.file))]
    Wrap {
        /// The module.
        file: PathBuf,
        /// Why.
        source: WrapError,
    },
    /// A file is no plugin.
    #[error("{}: {source}", shown(.file))]
    Probe {
        /// The file.
        file: PathBuf,
        /// Why.
        source: ProbeError,
    },
    /// A plugin can't be measured.
    #[error("{}: {source}", shown(.file))]
    Timing {
        /// The plugin.
        file: PathBuf,
        /// Why.
        source: TimingError,
    },
    /// A project is to be written where something is already.
    #[error("{} is not empty; name a folder that is, or that is not there yet", .0.display())]
    NotEmpty(PathBuf),
    /// A case file can't be used.
    #[error("{}: {source}", shown(.file))]
    Cases {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<CasesError>,
    },
    /// Who pushes has no password.
    #[error("standard input holds no password; write it there, as in `--password-stdin < token`")]
    NoPassword,
    /// A plugin can't be stored under a name.
    #[error("{reference}: {fault}")]
    Destination {
        /// What was named.
        reference: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A registry does not take a plugin.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Bindings can't be written.
    #[error(transparent)]
    Bindings(#[from] BindingsError),
    /// Signals can't be waited for.
    #[error("can't wait for signals: {0}")]
    Signals(std::io::Error),
    /// There are no threads to work with.
    #[error("can't start: {0}")]
    Runtime(std::io::Error),
    /// Something broke down while it was read or loaded.
    #[error("{what} broke down: {source}")]
    Broken {
        /// What was done.
        what: &'static str,
        /// How it broke.
        source: tokio::task::JoinError,
    },
}

/// A path on one line: what it stands in may have several.
fn shown(file: &Path) -> String {
    printable(&file.to_string_lossy()).into_owned()
}

impl From<Vec<LoadError>> for CommandError {
    fn from(errors: Vec<LoadError>) -> Self {
        Self::Plugins(errors)
    }
}

impl CommandError {
    /// What is told of it on standard error: a line for each thing to put right, none of which acts on a terminal.
    pub fn lines(&self) -> Vec<String> {
        let told: Vec<String> = match self {
            Self::Configuration { settings, plugins } => {
                settings.iter().map(ToString::to_string).chain(plugins.iter().map(ToString::to_string)).collect()
            }
            Self::Plugins(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Modules(errors) => errors.iter().map(ToString::to_string).collect(),
            // They quote the author's own file.
            Self::Wrap { .. } | Self::Probe { .. } | Self::Timing { .. } | Self::Cases { .. } | Self::Bindings(_) => {
                self.with_causes().lines().map(str::to_owned).collect()
            }
            _ => vec![self.with_causes()],
        };
        told.iter().map(|line| printable(line).into_owned()).collect()
    }

    fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(source) = cause {
            if !text.contains(&source.to_string()) {
                text = format!("{text}: {source}");
            }
            cause = source.source();
        }
        text
    }

    /// 2 for a configuration or a case file that somebody has to change, 1 for all else.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Configuration { .. } | Self::Plugins(_) | Self::Setup(_) | Self::Cases { .. } => {
                ExitCode::from(BAD_CONFIGURATION)
            }
            _ => ExitCode::FAILURE,
        }
    }
}
