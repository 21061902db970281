//! The names of a layout's images: its `index.json`, kept in memory as long as nobody else changes it, and written for
//! all names at once that wait for it.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    LayoutError, files,
    folder::corrupt,
    index::{EMPTY, Entry, Index},
};

/// How long after a change of the file another may bear the same time: some file systems count in steps of this kind.
const TIME_STEPS: Duration = Duration::from_millis(100);

/// See the module. Everything here blocks.
pub(super) struct Names {
    folder: PathBuf,
    path: PathBuf,
    kept: Mutex<Option<Kept>>,
    waiting: Mutex<Waiting>,
    #[cfg(test)]
    pub(super) counts: Counts,
}

/// The index as it was when the file was read or written.
struct Kept {
    index: Arc<Index>,
    stamp: Stamp,
    /// Another change may have left the same stamp.
    is_doubtful: bool,
    /// Held open, so that no other file gets this one's number.
    _file: File,
}

/// What another file, or other content, changes.
#[derive(PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

#[derive(Default)]
struct Waiting {
    names: Vec<Waiter>,
    /// Somebody has taken it on to write them.
    is_written: bool,
}

struct Waiter {
    entry: Entry<'static>,
    done: oneshot::Sender<Result<(), LayoutError>>,
}

/// What a writing came to.
pub(super) struct Written {
    /// How long it took.
    pub(super) took: Duration,
    /// How many names shared it.
    pub(super) names: usize,
}

#[cfg(test)]
#[derive(Default)]
pub(super) struct Counts {
    pub(super) reads: std::sync::atomic::AtomicUsize,
    pub(super) writes: std::sync::atomic::AtomicUsize,
}

impl Names {
    /// Of the layout in that folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join("index.json"),
            kept: Mutex::default(),
            waiting: Mutex::default(),
            #[cfg(test)]
            counts: Counts::default(),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The index as it is in the file; none where there is no file.
    pub(super) fn read(&self) -> Result<Option<Arc<Index>>, LayoutError> {
        // Held while the file is looked at, so that it is not renamed between that and what is kept of it.
        let mut kept = locked(&self.kept);
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *kept = None;
                return Ok(None);
            }
            Err(error) => return Err(LayoutError::io("look at", &self.path)(error)),
        };
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.is_doubtful && kept.stamp == Stamp::of(&found)) {
            return Ok(Some(Arc::clone(&kept.index)));
        }
        *kept = None;
        let read = self.kept_of_file()?;
        let index = Arc::clone(&read.index);
        *kept = Some(read);
        Ok(Some(index))
    }

    fn kept_of_file(&self) -> Result<Kept, LayoutError> {
        let io = || LayoutError::io("read", &self.path);
        let mut file = File::open(&self.path).map_err(io())?;
        // From before the reading: what is written meanwhile makes another.
        let found = file.metadata().map_err(io())?;
        let mut text = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
        file.read_to_end(&mut text).map_err(io())?;
        #[cfg(test)]
        self.counts.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let index = Arc::new(Index::parse(&text).map_err(corrupt(&self.path))?);
        let age = found.modified().map_err(io())?.elapsed();
        // A time to come is that of another machine, which says nothing.
        let is_doubtful = age.is_ok_and(|age| age < TIME_STEPS);
        Ok(Kept { index, stamp: Stamp::of(&found), is_doubtful, _file: file })
    }

    /// Lets the entry be the only one of its name with the next writing, of which the receiver is told. True where
    /// nobody has taken on the writing: who asks has to, by [`Self::write`] until nothing is left.
    pub(super) fn enlist(&self, entry: Entry<'static>) -> (oneshot::Receiver<Result<(), LayoutError>>, bool) {
        let (done, written) = oneshot::channel();
        let mut waiting = locked(&self.waiting);
        waiting.names.push(Waiter { entry, done });
        let nobody_writes = !std::mem::replace(&mut waiting.is_written, true);
        (written, nobody_writes)
    }

    /// How many names wait.
    pub(super) fn waiting(&self) -> usize {
        locked(&self.waiting).names.len()
    }

    /// Writes all names that wait, and tells each when it is on the disk, or why it is not. None when none waited: then
    /// the next one has to be written by somebody else.
    pub(super) fn write(&self) -> Option<Written> {
        {
            let mut waiting = locked(&self.waiting);
            if waiting.names.is_empty() {
                waiting.is_written = false;
                return None;
            }
        }
        let begun = Instant::now();
        let lock = files::lock(&self.folder);
        // Those too that came while it was waited for.
        let waiters = std::mem::take(&mut locked(&self.waiting).names);
        let names = waiters.len();
        let result = lock.and_then(|_lock| self.rewrite(&waiters));
        for waiter in waiters {
            // Who has gone away does not mind.
            let _ = waiter.done.send(result.clone());
        }
        Some(Written { took: begun.elapsed(), names })
    }

    /// After writing broke down: who waits is told so, and the next one begins anew.
    pub(super) fn give_up(&self) {
        *locked(&self.waiting) = Waiting::default();
    }

    fn rewrite(&self, waiters: &[Waiter]) -> Result<(), LayoutError> {
        let mut index = match self.read()? {
            Some(index) => Index::clone(&index),
            None => Index::parse(EMPTY).map_err(corrupt(&self.path))?,
        };
        let mut is_changed = false;
        for Waiter { entry, .. } in waiters {
            is_changed |= index.set(entry).map_err(corrupt(&self.path))?;
        }
        if !is_changed {
            return Ok(());
        }
        let text = index.to_json().map_err(corrupt(&self.path))?;
        let file = files::written(&self.folder, &text)?;
        files::sync(&file)?;
        {
            let mut kept = locked(&self.kept);
            let file = files::rename(file, &self.path)?;
            let found = file.metadata().map_err(LayoutError::io("look at", &self.path))?;
            *kept = Some(Kept { index: index.into(), stamp: Stamp::of(&found), is_doubtful: false, _file: file });
        }
        #[cfg(test)]
        self.counts.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        files::sync_names_of(&self.path)
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
