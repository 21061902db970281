//! Writes blobs into a layout.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{error::LayoutError, files};
use crate::model::{Digest, Hasher};

/// Writes a blob to a temporary file, and renames it if size and digest are those expected.
pub(super) struct BlobWriter {
    layout: PathBuf,
    file: NamedTempFile,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    written: u64,
}

impl BlobWriter {
    /// A blob for the layout in the folder `layout`.
    pub(super) fn create(layout: &Path, digest: &Digest, size: u64) -> Result<Self, LayoutError> {
        Ok(Self {
            layout: layout.to_owned(),
            file: files::temporary(layout)?,
            digest: digest.clone(),
            size,
            hasher: digest.algorithm().hasher(),
            written: 0,
        })
    }

    /// Writes the next chunks, and returns their length. Fails before more than the expected size is written.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<u64, LayoutError> {
        let before = self.written;
        for chunk in chunks {
            self.written = self.written.saturating_add(chunk.len() as u64);
            if self.written > self.size {
                return Err(self.mismatch("received more".to_owned()));
            }
            self.hasher.update(chunk);
            self.file.write_all(chunk).map_err(LayoutError::io("write", self.file.path()))?;
        }
        Ok(self.written - before)
    }

    /// Verifies the blob, and renames it.
    pub(super) fn finish(self, path: &Path) -> Result<(), LayoutError> {
        if self.written != self.size {
            return Err(self.mismatch(format!("received {} bytes", self.written)));
        }
        let Self { layout, file, digest, size, hasher, .. } = self;
        let found = hasher.finish();
        if found != digest {
            let found = format!("received content with {found}");
            return Err(LayoutError::Mismatch { path: layout, digest, size, found });
        }
        files::publish(file, path)
    }

    fn mismatch(&self, found: String) -> LayoutError {
        LayoutError::Mismatch { path: self.layout.clone(), digest: self.digest.clone(), size: self.size, found }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn renames_only_the_expected_content() {
        let layout = tempfile::tempdir().unwrap();
        let path = layout.path().join("blob");
        let digest = Digest::sha256(b"abcdef");
        for (size, pieces, is_rejected) in [
            (6, vec!["abc", "dex"], true),
            (6, vec!["abc", "de"], true),
            (6, vec!["abc", "def", "g"], true),
            (5, vec!["abc", "def"], true),
            (7, vec!["abc", "def"], true),
            (6, vec![], true),
            (6, vec!["abc", "", "def"], false),
        ] {
            let pieces: Vec<Bytes> = pieces.into_iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
            let mut blob = BlobWriter::create(layout.path(), &digest, size).unwrap();
            let result = blob.write(&pieces).and_then(|_| blob.finish(&path));
            assert_eq!(
                matches!(result, Err(LayoutError::Mismatch { .. })),
                is_rejected,
                "{size} {pieces:?} {result:?}"
            );
            assert_eq!(path.exists(), !is_rejected, "{size} {pieces:?}");
            let left = fs::read_dir(layout.path()).unwrap().count();
            assert_eq!(left, usize::from(!is_rejected), "no temporary file stays");
        }
        assert_eq!(fs::read(path).unwrap(), b"abcdef");
    }
}
