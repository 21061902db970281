//! Image uses out of manifest files, as `kubectl apply` takes them or `kubectl get --output yaml` writes them.

mod document;
mod source;

use std::{io, path::PathBuf};

use document::Documents;
pub(super) use source::Source;

use super::inventory::Change;
use crate::model::{ImageUse, WorkloadKind};

/// What manifest files hold.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The image uses, ordered by kind, namespace and name of their workloads.
    pub uses: Vec<ImageUse>,
    /// One sentence for each object that may run containers and whose images are not among the uses.
    pub passed_over: Vec<String>,
}

/// Manifest files that can't be read. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file or folder is missing or unreadable.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Its path.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// A folder without manifests is more likely a mistaken path than a wish.
    #[error("{0} holds no file that ends in .yaml, .yml or .json")]
    Empty(String),
    /// The text is no YAML or JSON. What the parser says is kept without the lines around the mistake: they may be a
    /// Secret's.
    #[error("{file}, document {document}: {message}")]
    Syntax {
        /// The file's path.
        file: String,
        /// Which document of the file, counted from 1; empty ones are not counted.
        document: usize,
        /// What is wrong and at which line.
        message: String,
    },
    /// A workload is not built as its kind is.
    #[error("{file}, document {document}: {object} is malformed: {message}")]
    Malformed {
        /// The file's path.
        file: String,
        /// Which document of the file, counted from 1; empty ones are not counted.
        document: usize,
        /// Kind and name.
        object: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads manifest files: each of `files` is a file, a folder (with its subfolders; hidden entries and other files than
/// `*.yaml`, `*.yml` and `*.json` are left out), or `-` for standard input. A file is YAML of any number of documents,
/// or JSON; lists are taken apart.
///
/// Workloads of the kinds `counted` count, and Pods and Jobs fold into them, as in a cluster. Blocks while it reads.
pub fn read_manifests(files: &[PathBuf], counted: &[WorkloadKind]) -> Result<Manifests, ManifestError> {
    let mut documents = Documents::new(counted);
    for file in files {
        for source in Source::find(file)? {
            documents.read(&source)?;
        }
    }
    let (mut inventory, passed_over) = documents.finish();
    let mut uses = Vec::new();
    for change in inventory.changes() {
        if let Change::Set { uses: of_workload, .. } = change {
            uses.extend(of_workload);
        }
    }
    Ok(Manifests { uses, passed_over })
}

#[cfg(test)]
mod tests;
