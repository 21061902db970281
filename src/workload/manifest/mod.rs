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

/// What is wrong with a manifest file or one of its documents. A retry does not help.
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
        /// Which document of the file, counted from 1; empty ones are not counted.
        document: usize,
        /// The parser's message, with the line.
        message: String,
    },
    /// A workload does not have the structure of its kind.
    #[error("{file}, document {document}: {object} is malformed: {message}")]
    Malformed {
        /// The file's path.
        file: String,
        /// Which document of the file, counted from 1; empty ones are not counted.
        document: usize,
        /// Kind and name.
        object: String,
        /// The parser's message.
        message: String,
    },
}

impl ManifestError {
    /// The document that it is about; none if it is about the file.
    fn document(&self) -> Option<usize> {
        match self {
            Self::Read { .. } | Self::Empty(_) => None,
            Self::Syntax { document, .. } | Self::Malformed { document, .. } => Some(*document),
        }
    }
}

/// Reads manifest files: each of `files` is a file, a folder (with its subfolders; hidden entries and files other than
/// `*.yaml`, `*.yml` and `*.json` are ignored), or `-` for standard input. A file is YAML with any number of documents, or
/// JSON; lists are flattened.
///
/// Workloads of the kinds `watched` are reported, and Pods and Jobs are counted under them, as in a cluster. Blocks while
/// reading.
///
/// # Errors
/// Every file that can't be read and every broken document, in the order of the files.
pub fn read_manifests(files: &[PathBuf], watched: &[WorkloadKind]) -> Result<Manifests, Vec<ManifestError>> {
    let mut documents = Documents::new(watched);
    for file in files {
        match Source::find(file) {
            Ok(sources) => sources.iter().for_each(|source| documents.read(source)),
            Err(error) => documents.reject(error),
        }
    }
    let (mut inventory, ignored) = documents.finish()?;
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
