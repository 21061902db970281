//! Reads blobs of a layout, and compares their digests.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::task::spawn_blocking;

use super::{LayoutError, LayoutRepository, files, folder::Folder};
use crate::{model::Hasher, registry::manifest::Descriptor};

/// Bytes that are read and hashed together, outside of the async threads.
const CHUNK: usize = 1 << 18;

/// A blob that is being read.
struct Reading {
    folder: Arc<Folder>,
    blob: Descriptor,
    /// None before it is opened.
    file: Option<File>,
    hasher: Hasher,
}

impl LayoutRepository {
    /// The bytes of a blob; the stream ends with an error if they have another digest.
    pub fn read_blob(&self, blob: Descriptor) -> impl Stream<Item = Result<Bytes, LayoutError>> + Send + use<> {
        let hasher = blob.digest.algorithm().hasher();
        let reading = Reading { folder: Arc::clone(&self.folder), blob, file: None, hasher };
        let repository = self.clone();
        stream::try_unfold(Some(reading), move |reading| {
            let repository = repository.clone();
            async move {
                let Some(reading) = reading else { return Ok(None) };
                let read = spawn_blocking(move || reading.next()).await;
                read.unwrap_or_else(|aborted| Err(repository.aborted(aborted.into())))
            }
        })
    }
}

impl Reading {
    /// The next bytes, and the rest; none at the end of a blob with the right digest.
    fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, LayoutError> {
        let path = self.folder.blob_path(&self.blob.digest);
        let read = |file: &mut File, path: &Path| {
            let mut bytes = Vec::with_capacity(CHUNK);
            file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes).map_err(LayoutError::io("read", path))?;
            Ok(bytes)
        };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => match files::open(&path)? {
                Some(file) => file,
                None => return Err(LayoutError::io("read", path)(io::ErrorKind::NotFound.into())),
            },
        };
        let bytes = read(&mut file, &path)?;
        if bytes.is_empty() {
            let found = self.hasher.finish();
            if found == self.blob.digest {
                return Ok(None);
            }
            return Err(LayoutError::WrongContent { path, found });
        }
        self.hasher.update(&bytes);
        self.file = Some(file);
        Ok(Some((bytes.into(), Some(self))))
    }
}
