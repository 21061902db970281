//! The file in which a verification with a budget notes what it has read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    mirror::ReadBlobs,
    model::{Digest, printable},
};

/// The version of the file.
const VERSION: u32 = 1;

/// A file of progress can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgressFileError {
    /// It can't be read or written.
    #[error("cannot {action} {}", printable(&.file.to_string_lossy()))]
    Io {
        /// `read` or `write`
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It has something else.
    #[error("{} is no file of `verify --progress`: remove it, or name another file", printable(&.0.to_string_lossy()))]
    Malformed(PathBuf),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    version: u32,
    /// Of each target.
    read: Vec<ReadBlob>,
}

#[derive(Serialize, Deserialize)]
struct ReadBlob {
    target: String,
    digest: String,
}

/// What earlier verifications have read; nothing if there is no file.
pub fn read(file: &Path) -> Result<ReadBlobs, ProgressFileError> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadBlobs::default()),
        Err(source) => return Err(ProgressFileError::Io { action: "read", file: file.to_owned(), source }),
    };
    let malformed = || ProgressFileError::Malformed(file.to_owned());
    let progress: Progress = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    if progress.version != VERSION {
        return Err(malformed());
    }
    let blobs = progress.read.into_iter().map(|ReadBlob { target, digest }| Ok((target, digest.parse::<Digest>()?)));
    blobs.collect::<Result<_, crate::model::DigestError>>().map_err(|_| malformed())
}

/// Notes what was read. The file is complete or the earlier one.
pub fn write(file: &Path, read: &ReadBlobs) -> Result<(), ProgressFileError> {
    let mut read: Vec<ReadBlob> =
        read.iter().map(|(target, digest)| ReadBlob { target: target.clone(), digest: digest.to_string() }).collect();
    read.sort_by(|one, other| (&one.target, &one.digest).cmp(&(&other.target, &other.digest)));
    let failed = |source| ProgressFileError::Io { action: "write", file: file.to_owned(), source };
    let bytes = serde_json::to_vec(&Progress { version: VERSION, read }).map_err(|error| failed(error.into()))?;
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, file)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_read_back_and_other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.json");
        assert_eq!(read(&file).unwrap(), ReadBlobs::default());
        let blobs = ReadBlobs::from([("a".to_owned(), Digest::sha256(b"1")), ("b".to_owned(), Digest::sha256(b"2"))]);
        write(&file, &blobs).unwrap();
        assert_eq!(read(&file).unwrap(), blobs);
        for other in ["{}", "", r#"{"version":9,"read":[]}"#, r#"{"version":1,"read":[{"target":"a","digest":"x"}]}"#] {
            fs::write(&file, other).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("progress.json is no file of"), "{other}: {error}");
        }
        assert!(write(&folder.path().join("none/file"), &blobs).unwrap_err().to_string().contains("cannot write"));
    }
}
