//! Files that appear whole or not at all, and the lock that lets one writer at a time change what is there.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

use super::LayoutError;

/// What files begin and end with that are being written.
const TEMPORARY: (&str, &str) = (".k8s-copycat-", ".tmp");
/// Whoever changes `index.json` holds an advisory lock on this file; it stays, and is always empty.
const LOCK: &str = ".k8s-copycat.lock";
/// How long a file may have been left unwritten before its writer counts as dead.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long to wait for the lock in all, and between two looks.
const LOCK_WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_millis(10));

/// A file in `folder` that goes away unless it is published.
pub(super) fn temporary(folder: &Path) -> Result<NamedTempFile, LayoutError> {
    tempfile::Builder::new()
        .prefix(TEMPORARY.0)
        .suffix(TEMPORARY.1)
        // Others are to read a layout; the process's umask has the last word.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(LayoutError::io("create a file in", folder))
}

/// Gives a finished file its name, in place of one that had it, so that a loss of power after it can't undo it.
pub(super) fn publish(file: NamedTempFile, path: &Path) -> Result<(), LayoutError> {
    sync(&file)?;
    rename(file, path)?;
    sync_names_of(path)
}

/// Writes a small file by way of a temporary one in `folder`.
pub(super) fn write(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    publish(written(folder, bytes)?, path)
}

/// A temporary file in `folder` with this content.
pub(super) fn written(folder: &Path, bytes: &[u8]) -> Result<NamedTempFile, LayoutError> {
    let mut file = temporary(folder)?;
    file.write_all(bytes).map_err(LayoutError::io("write", file.path()))?;
    Ok(file)
}

/// The first step of [`publish`]: all that was written is on the disk.
pub(super) fn sync(file: &NamedTempFile) -> Result<(), LayoutError> {
    file.as_file().sync_all().map_err(LayoutError::io("write", file.path()))
}

/// The second step of [`publish`]: the file has its name, unless the power is lost.
pub(super) fn rename(file: NamedTempFile, path: &Path) -> Result<File, LayoutError> {
    file.persist(path).map_err(|error| LayoutError::io("write", path)(error.error))
}

/// The third step of [`publish`]: the file has its name, whatever happens.
pub(super) fn sync_names_of(path: &Path) -> Result<(), LayoutError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LayoutError::io("write", folder))
}

/// Reads a file; nothing when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, LayoutError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LayoutError::io("read", path)(error)),
    }
}

/// The length of a file in bytes; nothing when there is none, or when it is no file.
pub(super) fn size(path: &Path) -> Result<Option<u64>, LayoutError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file().then_some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LayoutError::io("look at", path)(error)),
    }
}

/// Waits until this is the only writer in `folder`, be the others in this process or not; it is until the file is
/// dropped, or the process ends, however it ends.
pub(super) fn lock(folder: &Path) -> Result<File, LayoutError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(LayoutError::io("create", &path))?;
    let (most, pause) = LOCK_WAIT;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(LayoutError::io("lock", path)(error)),
            Err(TryLockError::WouldBlock) if waited >= most => return Err(LayoutError::Locked { path }),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(pause);
                waited += pause;
            }
        }
    }
}

/// Removes what writers left behind that were killed.
pub(super) fn remove_stale(folder: &Path) -> Result<(), LayoutError> {
    for entry in fs::read_dir(folder).map_err(LayoutError::io("list", folder))? {
        let entry = entry.map_err(LayoutError::io("list", folder))?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1));
        if !ours {
            continue;
        }
        // A writer that lives, or another that cleans, may take it away at any moment: that is no failure.
        let written = entry.metadata().and_then(|found| found.modified());
        let old = |written: SystemTime| written.elapsed().is_ok_and(|age| age > STALE);
        if written.is_ok_and(old)
            && let Err(error) = fs::remove_file(entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(LayoutError::io("remove", entry.path())(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_writer_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        let day = Duration::from_secs(24 * 60 * 60);
        make(".k8s-copycat-old.tmp", 2 * day);
        make(".k8s-copycat-new.tmp", day / 2);
        make("another-old.tmp", 2 * day);
        make("index.json", 2 * day);
        remove_stale(folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".k8s-copycat-new.tmp", "another-old.tmp", "index.json"]);
    }

    #[test]
    fn what_is_not_published_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = temporary(folder.path()).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_can_be_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        write(folder.path(), &path, b"{}").unwrap();
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn one_writer_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let second = File::options().write(true).open(folder.path().join(LOCK)).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        second.try_lock().unwrap();
    }
}
