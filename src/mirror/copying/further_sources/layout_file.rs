//! A layout that is opened when it is needed, and again when it was replaced: it may be mounted, or copied there, on the day of
//! the outage.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

use crate::{
    model::error_chain,
    registry::{DigestReader, LayoutSource},
};

/// The longest time to open a layout: a tar file is read to find its members.
const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// The layout as it was last opened.
#[derive(Default)]
pub(super) struct LayoutFile(Mutex<Option<(Stamp, LayoutSource)>>);

/// What distinguishes a file from one that has taken its place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    /// Of a file: length and time of the last change, in seconds and nanoseconds. A folder is read anew each time.
    content: Option<(u64, i64, i64)>,
}

impl LayoutFile {
    /// Opens the layout, unless it is open.
    ///
    /// # Errors
    /// Why it can't be opened.
    pub async fn open(&self, path: &Path) -> Result<DigestReader, String> {
        let opening = async {
            let mut opened = self.0.lock().await;
            let stamp = stamp(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
            if let Some((_, layout)) = opened.as_ref().filter(|(known, _)| *known == stamp) {
                return Ok(layout.clone());
            }
            *opened = None;
            let layout = LayoutSource::open(path.to_owned()).await.map_err(|error| error_chain(&error))?;
            *opened = Some((stamp, layout.clone()));
            Ok(layout)
        };
        let opened = timeout(LONGEST_OPEN, opening).await;
        let late = || Err(format!("{} could not be opened within {} s", path.display(), LONGEST_OPEN.as_secs()));
        opened.unwrap_or_else(|_| late()).map(DigestReader::Layout)
    }
}

async fn stamp(path: &Path) -> io::Result<Stamp> {
    let path = path.to_owned();
    let found = spawn_blocking(move || fs::metadata(path)).await.map_err(io::Error::other)??;
    let content = found.is_file().then(|| (found.size(), found.mtime(), found.mtime_nsec()));
    Ok(Stamp { device: found.dev(), inode: found.ino(), content })
}
