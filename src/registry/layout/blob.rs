//! Blobs on their way into a layout.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{LayoutError, files};
use crate::model::{Digest, Hasher};

/// A blob that is being written, and counts and hashes what it gets. Only what was announced gets its name.
pub(super) struct BlobWriter {
    layout: PathBuf,
    file: NamedTempFile,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    written: u64,
}

impl BlobWriter {
    /// Announces a blob to the layout in `layout`.
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

    /// Takes the next pieces; says how many bytes they were. More than was announced is refused before it is written.
    pub(super) fn write(&mut self, pieces: &[Bytes]) -> Result<u64, LayoutError> {
        let before = self.written;
        for piece in pieces {
            self.written = self.written.saturating_add(piece.len() as u64);
            if self.written > self.size {
                return Err(self.mismatch("more came".to_owned()));
            }
            self.hasher.update(piece);
            self.file.write_all(piece).map_err(LayoutError::io("write", self.file.path()))?;
        }
        Ok(self.written - before)
    }

    /// Ends the blob, and gives it its name if it is the one that was announced.
    pub(super) fn finish(self, path: &Path) -> Result<(), LayoutError> {
        if self.written != self.size {
            return Err(self.mismatch(format!("{} bytes came", self.written)));
        }
        let Self { layout, file, digest, size, hasher, .. } = self;
        let found = hasher.finish();
        if found != digest {
            let found = format!("the content that came has {found}");
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
    fn only_what_was_announced_gets_its_name() {
        let layout = tempfile::tempdir().unwrap();
        let path = layout.path().join("blob");
        let digest = Digest::sha256(b"abcdef");
        for (size, pieces, refused) in [
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
            assert_eq!(matches!(result, Err(LayoutError::Mismatch { .. })), refused, "{size} {pieces:?} {result:?}");
            assert_eq!(path.exists(), !refused, "{size} {pieces:?}");
            let left = fs::read_dir(layout.path()).unwrap().count();
            assert_eq!(left, usize::from(!refused), "no temporary file stays");
        }
        assert_eq!(fs::read(path).unwrap(), b"abcdef");
    }
}
