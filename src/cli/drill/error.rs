//! Why there is no drill.

use std::{io, path::PathBuf};

use crate::cli::restore::FolderError;

/// Why there is no drill.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The folder is not one of a restore.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Nothing here reads the files.
    #[error("{restore} files can't be rehearsed with {tool}: use those of `restore --runtime {wanted}`")]
    OtherFiles { tool: &'static str, restore: &'static str, wanted: &'static str },
    /// Nothing here can rehearse files of this kind.
    #[error(
        "{0} files can't be rehearsed here: use those of `restore --runtime containerd` or `crio`, which lead to the same places"
    )]
    NoTool(&'static str),
    /// The tool is missing.
    #[error("{0} is not installed, or not in PATH")]
    Missing(&'static str),
    /// There is no room for the store.
    #[error("cannot make a folder for the pulled images; name another place with TMPDIR")]
    Scratch(#[source] io::Error),
    /// A file of the restore can't be read, or one of the drill written.
    #[error("cannot prepare {}", .file.display())]
    Prepare { file: PathBuf, source: io::Error },
    /// A file of the restore has been changed beyond use.
    #[error("{} is not as a restore writes it: {problem}", .file.display())]
    Changed { file: PathBuf, problem: &'static str },
    /// A tool can't be started.
    #[error("cannot run {tool}")]
    Run { tool: &'static str, source: io::Error },
    /// containerd ended or does not answer.
    #[error("containerd did not start (a store of its own needs root): {0}")]
    Containerd(String),
}
