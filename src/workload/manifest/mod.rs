//! Image uses in manifest files, as `kubectl apply` reads or `kubectl get --output yaml` writes them.

mod document;
mod source;

use std::{io, path::PathBuf};

use document::Documents;
pub(super) use source::Source;

use super::inventory::Change;
use crate::model::{ImageUse, WorkloadKind};

/// The content of manifest files.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The image uses, ordered by kind, namespace and name of their workloads.
    pub uses: Vec<ImageUse>,
    /// A message for each object that may run containers but whose images are not in `uses`.
    pub ignored: Vec<String>,
}

/// Manifest files cannot be read. A retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file or folder is missing or unreadable.
    #[error("cannot read {file}")]
    Read {
        /// Its path.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The folder has no manifests: probably a wrong path.
    #[error("{0} has no file that ends in .yaml, .yml or .json")]
    Empty(String),
    /// Invalid YAML or JSON. The parser's message is kept without the surrounding lines, which may be a Secret's.
    #[error("{file}, document {document}: {message}")]
    Syntax {
        /// The file's path.
        file: String,
        /// Which document of the file, watched from 1; empty ones are not watched.
        document: usize,
        /// The parser's message, with the line.
        message: String,
    },
    /// A workload does not have the structure of its kind.
    #[error("{file}, document {document}: {object} is malformed: {message}")]
    Malformed {
        /// The file's path.
        file: String,
        /// Which document of the file, watched from 1; empty ones are not watched.
        document: usize,
        /// Kind and name.
        object: String,
        /// The parser's message.
        message: String,
    },
}

/// Reads manifest files: each of `files` is a file, a folder (with its subfolders; hidden entries and files other than
/// `*.yaml`, `*.yml` and `*.json` are ignored), or `-` for standard input. A file is YAML with any number of documents, or
/// JSON; lists are flattened.
///
/// Workloads of the kinds `watched` are reported, and Pods and Jobs are counted under them, as in a cluster. Blocks while
/// reading.
pub fn read_manifests(files: &[PathBuf], watched: &[WorkloadKind]) -> Result<Manifests, ManifestError> {
    let mut documents = Documents::new(watched);
    for file in files {
        for source in Source::find(file)? {
            documents.read(&source)?;
        }
    }
    let (mut inventory, ignored) = documents.finish();
    let mut uses = Vec::new();
    for change in inventory.changes() {
        if let Change::Set { uses: of_workload, .. } = change {
            uses.extend(of_workload);
        }
    }
    Ok(Manifests { uses, ignored })
}

#[cfg(test)]
mod tests;
