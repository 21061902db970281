//! The file `index.json`: cached until another process changes it, and written for all pending entries at once. All
//! functions block.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    error::LayoutError,
    files,
    index::{EMPTY, Entry, Index},
};

/// Two changes within this time may have the same timestamp on some file systems.
const TIMESTAMP_RESOLUTION: Duration = Duration::from_millis(100);

pub(super) struct IndexFile {
    folder: PathBuf,
    path: PathBuf,
    cached: Mutex<Option<CachedIndex>>,
    pending: Mutex<Pending>,
    #[cfg(test)]
    pub(super) counts: Counts,
}

/// The index when the file was last read or written.
struct CachedIndex {
    index: Arc<Index>,
    stamp: Stamp,
    /// A later change may have left the same stamp.
    may_be_stale: bool,
    /// Kept open, so that no other file gets the same inode number.
    _file: File,
}

/// Metadata that differs if the file or its content was changed.
#[derive(PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Default)]
struct Pending {
    entries: Vec<PendingEntry>,
    /// A task writes them.
    has_writer: bool,
}

struct PendingEntry {
    entry: Entry<'static>,
    done: oneshot::Sender<Result<(), LayoutError>>,
}

/// A finished write.
pub(super) struct Write {
    pub(super) took: Duration,
    /// The number of entries that it wrote.
    pub(super) entries: usize,
}

#[cfg(test)]
#[derive(Default)]
pub(super) struct Counts {
    pub(super) reads: std::sync::atomic::AtomicUsize,
    pub(super) writes: std::sync::atomic::AtomicUsize,
}

impl IndexFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join("index.json"),
            cached: Mutex::default(),
            pending: Mutex::default(),
            #[cfg(test)]
            counts: Counts::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The current index; None if there is no file.
    pub(super) fn read(&self) -> Result<Option<Arc<Index>>, LayoutError> {
        // Held while reading the metadata, so that no write of this process comes between.
        let mut cached = locked(&self.cached);
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *cached = None;
                return Ok(None);
            }
            Err(error) => return Err(LayoutError::io("read", &self.path)(error)),
        };
        let is_current = |cached: &&CachedIndex| !cached.may_be_stale && cached.stamp == Stamp::of(&found);
        if let Some(cached) = cached.as_ref().filter(is_current) {
            return Ok(Some(Arc::clone(&cached.index)));
        }
        *cached = None;
        let read = self.read_file()?;
        let index = Arc::clone(&read.index);
        *cached = Some(read);
        Ok(Some(index))
    }

    fn read_file(&self) -> Result<CachedIndex, LayoutError> {
        let io = || LayoutError::io("read", &self.path);
        let file = files::open(&self.path)?.ok_or_else(|| io()(io::ErrorKind::NotFound.into()))?;
        // Before reading, so that a change during it leaves another stamp.
        let found = file.metadata().map_err(io())?;
        let text = files::read_all(&file, &self.path, files::MAX_INDEX)?;
        #[cfg(test)]
        self.counts.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let index = Arc::new(Index::parse(&text).map_err(LayoutError::corrupt(&self.path))?);
        let age = found.modified().map_err(io())?.elapsed();
        // A time in the future is that of another machine, and tells nothing.
        let may_be_stale = age.is_ok_and(|age| age < TIMESTAMP_RESOLUTION);
        Ok(CachedIndex { index, stamp: Stamp::of(&found), may_be_stale, _file: file })
    }

    /// Adds an entry to the next write, whose result the receiver gets. True if there is no writer: then the caller must
    /// call [`Self::write`] until it returns None.
    pub(super) fn add(&self, entry: Entry<'static>) -> (oneshot::Receiver<Result<(), LayoutError>>, bool) {
        let (done, written) = oneshot::channel();
        let mut pending = locked(&self.pending);
        pending.entries.push(PendingEntry { entry, done });
        let needs_writer = !std::mem::replace(&mut pending.has_writer, true);
        (written, needs_writer)
    }

    /// The number of pending entries.
    pub(super) fn pending(&self) -> usize {
        locked(&self.pending).entries.len()
    }

    /// Writes all pending entries durably, and sends each its result. None if there are none; then there is no writer any
    /// more.
    pub(super) fn write(&self) -> Option<Write> {
        {
            let mut pending = locked(&self.pending);
            if pending.entries.is_empty() {
                pending.has_writer = false;
                return None;
            }
        }
        let begun = Instant::now();
        let lock = files::lock(&self.folder);
        // Including those added while waiting for the lock.
        let pending = std::mem::take(&mut locked(&self.pending).entries);
        let entries = pending.len();
        let result = lock.and_then(|_lock| self.rewrite(&pending));
        for entry in pending {
            // The receiver may have been dropped.
            let _ = entry.done.send(result.clone());
        }
        Some(Write { took: begun.elapsed(), entries })
    }

    /// After a write panicked: drops the pending entries, whose receivers get an error.
    pub(super) fn drop_pending(&self) {
        *locked(&self.pending) = Pending::default();
    }

    fn rewrite(&self, pending: &[PendingEntry]) -> Result<(), LayoutError> {
        let mut index = match self.read()? {
            Some(index) => Index::clone(&index),
            None => Index::parse(EMPTY).map_err(LayoutError::corrupt(&self.path))?,
        };
        let mut is_changed = false;
        for PendingEntry { entry, .. } in pending {
            is_changed |= index.set(entry).map_err(LayoutError::corrupt(&self.path))?;
        }
        if !is_changed {
            return Ok(());
        }
        let text = index.to_json().map_err(LayoutError::corrupt(&self.path))?;
        let file = files::temporary_with(&self.folder, &text)?;
        files::sync(&file)?;
        {
            let mut cached = locked(&self.cached);
            let file = files::rename(file, &self.path)?;
            let found = file.metadata().map_err(LayoutError::io("read", &self.path))?;
            *cached =
                Some(CachedIndex { index: index.into(), stamp: Stamp::of(&found), may_be_stale: false, _file: file });
        }
        #[cfg(test)]
        self.counts.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        files::sync_parent(&self.path)
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
