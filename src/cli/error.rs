//! Errors that end a subcommand, and their exit codes.

use std::{
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    build::FetchError, drill::DrillError, load::LoadTargetError, restore::RestoreError, status::StatusError,
    verify::ProgressFileError,
};
#[cfg(feature = "authoring")]
use crate::authoring::{BindingsError, WrapError};
use crate::{
    authoring::{CasesError, TimingError},
    config::ConfigErrors,
    mirror::Stopped,
    model::{error_chain, printable},
    policy::{LoadError, TestPluginError},
    registry::{self, CertificateError},
    report::{LoggingError, MetricsError},
    workload::{ClientError, ListError, ManifestError},
};

/// The exit code for an invalid configuration.
pub const INVALID_CONFIGURATION: u8 = 2;

/// The exit code of `status` if the program can't be asked.
const NO_STATUS: u8 = 2;

/// The exit code of `drill` if nothing can be pulled with.
const NO_DRILL: u8 = 2;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings are invalid, and perhaps plugins too.
    #[error("invalid configuration")]
    Configuration { settings: ConfigErrors, plugins: Vec<LoadError> },
    /// Plugins cannot be loaded.
    #[error("cannot load the plugins")]
    Plugins(Vec<LoadError>),
    /// Plugins cannot be fetched.
    #[error("cannot fetch the plugins")]
    Artifacts(Vec<FetchError>),
    /// There is no usable cluster configuration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster's workloads cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Manifest files, or documents in them, cannot be read.
    #[error("cannot read the manifests")]
    Manifests(Vec<ManifestError>),
    /// A configured certificate cannot be used.
    #[error(transparent)]
    Setup(#[from] CertificateError),
    /// Metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Logging cannot be set up.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The address may be in use.
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The mirror has stopped unexpectedly.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A file cannot be read.
    #[error("cannot read {}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[cfg(feature = "authoring")]
    #[error("cannot write {}", .file.display())]
    Write { file: PathBuf, source: io::Error },
    /// A core module cannot be made into a plugin.
    #[cfg(feature = "authoring")]
    #[error("{}", on_one_line(.file))]
    Wrap { file: PathBuf, source: WrapError },
    /// A file is not a plugin.
    #[error("{}", on_one_line(.file))]
    PluginFile { file: PathBuf, source: TestPluginError },
    /// A plugin cannot be benchmarked.
    #[error("{}", on_one_line(.file))]
    Timing { file: PathBuf, source: TimingError },
    /// `plugin new` does not overwrite files.
    #[cfg(feature = "authoring")]
    #[error("{} is not empty; name an empty or a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The build lacks the feature `authoring`.
    #[cfg(not(feature = "authoring"))]
    #[error(
        "this build has no tools for plugin authors (plugin new, bindings and wrap); use the program outside the container \
         image, or build it with --features authoring"
    )]
    NoAuthoringTools,
    /// A case file is invalid.
    #[error("{}", on_one_line(.file))]
    Cases { file: PathBuf, source: Box<CasesError> },
    /// `--password-stdin` without a password.
    #[error("standard input has no password; pass it as in `--password-stdin < token`")]
    NoPassword,
    /// A plugin cannot be pushed to this reference.
    #[error("{reference}: {fault}")]
    PushReference { reference: String, fault: String },
    /// A registry rejects a plugin.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Bindings cannot be generated.
    #[cfg(feature = "authoring")]
    #[error(transparent)]
    Bindings(#[from] BindingsError),
    /// The file of `verify --progress` can't be used.
    #[error(transparent)]
    ProgressFile(#[from] ProgressFileError),
    /// There is no target to load a layout into.
    #[error(transparent)]
    LoadTarget(#[from] LoadTargetError),
    /// A layout can't be read.
    #[error(transparent)]
    Layout(#[from] registry::LayoutError),
    /// A running program can't be asked for its status.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// There is nothing to restore, or no place for it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Nothing can be rehearsed.
    #[error(transparent)]
    Drill(#[from] DrillError),
    /// Signal handlers cannot be installed.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// The runtime cannot start its threads.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// A bug in this program.
    #[error("{task} panicked")]
    Panicked { task: &'static str, source: tokio::task::JoinError },
}

/// A path may have line breaks.
fn on_one_line(file: &Path) -> String {
    printable(&file.to_string_lossy()).into_owned()
}

impl From<ConfigErrors> for CommandError {
    fn from(settings: ConfigErrors) -> Self {
        Self::Configuration { settings, plugins: Vec::new() }
    }
}

impl From<Vec<LoadError>> for CommandError {
    fn from(errors: Vec<LoadError>) -> Self {
        Self::Plugins(errors)
    }
}

impl CommandError {
    /// The text for standard error: one line for each thing to fix, with control characters escaped.
    pub fn lines(&self) -> Vec<String> {
        let lines: Vec<String> = match self {
            Self::Configuration { settings, plugins } => {
                settings.iter().map(ToString::to_string).chain(chains(plugins)).collect()
            }
            Self::Plugins(errors) => chains(errors).collect(),
            Self::Artifacts(errors) => chains(errors).collect(),
            Self::Manifests(errors) => chains(errors).collect(),
            // They quote lines of the author's own file.
            Self::PluginFile { .. } | Self::Timing { .. } | Self::Cases { .. } => split_lines(self),
            #[cfg(feature = "authoring")]
            Self::Wrap { .. } | Self::Bindings(_) => split_lines(self),
            _ => vec![error_chain(self)],
        };
        lines.iter().map(|line| printable(line).into_owned()).collect()
    }

    /// Writes the lines to standard error.
    pub fn print(&self) {
        for line in self.lines() {
            // A closed standard error is not a failure.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// 2 for a configuration, flags or a case file that have to be changed, and if there is no status; else 1.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Configuration { .. } | Self::Plugins(_) | Self::Setup(_) | Self::Cases { .. } => {
                ExitCode::from(INVALID_CONFIGURATION)
            }
            Self::Restore(error) if error.is_usage() => ExitCode::from(INVALID_CONFIGURATION),
            Self::Drill(_) => ExitCode::from(NO_DRILL),
            Self::LoadTarget(_) => ExitCode::from(INVALID_CONFIGURATION),
            Self::Status(_) => ExitCode::from(NO_STATUS),
            _ => ExitCode::FAILURE,
        }
    }
}

fn chains<E: Error + 'static>(errors: &[E]) -> impl Iterator<Item = String> {
    errors.iter().map(|error| error_chain(error))
}

fn split_lines(error: &CommandError) -> Vec<String> {
    error_chain(error).lines().map(str::to_owned).collect()
}
