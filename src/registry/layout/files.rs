//! Atomic file writes, and the lock for changes of `index.json`.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

use super::error::LayoutError;

/// Prefix and suffix of temporary files.
const TEMPORARY: (&str, &str) = (".k8s-copycat-", ".tmp");
/// The longest `index.json`, in bytes; an entry has some 300.
pub(super) const MAX_INDEX: u64 = 256 << 20;
/// The longest file `oci-layout`, which has some 30 bytes.
pub(super) const MAX_MARKER: u64 = 64 << 10;
/// An empty file; a process that changes `index.json` holds an advisory lock on it.
const LOCK: &str = ".k8s-copycat.lock";
/// The age at which a temporary file was left by a process that has ended.
const STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The timeout for the lock, and the time between two attempts.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A file in `folder` that is deleted when dropped, unless it is published.
pub(super) fn temporary(folder: &Path) -> Result<NamedTempFile, LayoutError> {
    tempfile::Builder::new()
        .prefix(TEMPORARY.0)
        .suffix(TEMPORARY.1)
        // Readable for others, as far as the umask allows.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(LayoutError::io("create a file in", folder))
}

/// Syncs a file and renames it, replacing an existing one; durable even if the power fails.
pub(super) fn publish(file: NamedTempFile, path: &Path) -> Result<(), LayoutError> {
    sync(&file)?;
    rename(file, path)?;
    sync_parent(path)
}

/// Writes a small file atomically, through a temporary one in `folder`.
pub(super) fn write(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    publish(temporary_with(folder, bytes)?, path)
}

/// A temporary file in `folder` with this content.
pub(super) fn temporary_with(folder: &Path, bytes: &[u8]) -> Result<NamedTempFile, LayoutError> {
    let mut file = temporary(folder)?;
    file.write_all(bytes).map_err(LayoutError::io("write", file.path()))?;
    Ok(file)
}

/// The first step of [`publish`]: syncs the content.
pub(super) fn sync(file: &NamedTempFile) -> Result<(), LayoutError> {
    file.as_file().sync_all().map_err(LayoutError::io("write", file.path()))
}

/// The second step of [`publish`]: renames the file.
pub(super) fn rename(file: NamedTempFile, path: &Path) -> Result<File, LayoutError> {
    file.persist(path).map_err(|error| LayoutError::io("write", path)(error.error))
}

/// The third step of [`publish`]: syncs the rename.
pub(super) fn sync_parent(path: &Path) -> Result<(), LayoutError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LayoutError::io("write", folder))
}

/// Opens a file to read it; None if there is none.
///
/// A FIFO or a device is an error, also behind a symbolic link: the one would wait for a writer, and the other may never end.
pub(super) fn open(path: &Path) -> Result<Option<File>, LayoutError> {
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LayoutError::io("read", path)(error)),
    };
    if file.metadata().map_err(LayoutError::io("read", path))?.is_file() {
        return Ok(Some(file));
    }
    Err(LayoutError::Corrupt { path: path.to_owned(), reason: "it is no regular file".to_owned() })
}

/// The content of a file of at most `max` bytes; None if there is none.
pub(super) fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, LayoutError> {
    open(path)?.map(|file| read_all(&file, path, max)).transpose()
}

/// The content of an open file of at most `max` bytes.
pub(super) fn read_all(file: &File, path: &Path, max: u64) -> Result<Vec<u8>, LayoutError> {
    let length = file.metadata().map_err(LayoutError::io("read", path))?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(max)).unwrap_or_default());
    // It may grow meanwhile.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(LayoutError::io("read", path))?;
    if bytes.len() as u64 > max {
        let reason = format!("it has more than {max} bytes");
        return Err(LayoutError::Corrupt { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

/// The length of a file in bytes; None if there is none, or if it is no regular file.
pub(super) fn size(path: &Path) -> Result<Option<u64>, LayoutError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file().then_some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LayoutError::io("read", path)(error)),
    }
}

/// Waits for the lock of the layout, which excludes writers in this and other processes until the file is dropped or the
/// process ends.
pub(super) fn lock(folder: &Path) -> Result<File, LayoutError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(LayoutError::io("create", &path))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(LayoutError::io("lock", path)(error)),
            Err(TryLockError::WouldBlock) if waited >= LOCK_TIMEOUT => return Err(LayoutError::Locked { path }),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
        }
    }
}

/// Removes temporary files of processes that were killed.
pub(super) fn remove_stale(folder: &Path) -> Result<(), LayoutError> {
    for entry in fs::read_dir(folder).map_err(LayoutError::io("list", folder))? {
        let entry = entry.map_err(LayoutError::io("list", folder))?;
        let name = entry.file_name();
        let is_temporary =
            name.to_str().is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1));
        if !is_temporary {
            continue;
        }
        // Another process may remove or rename it at the same time.
        let written = entry.metadata().and_then(|found| found.modified());
        let is_stale = |written: SystemTime| written.elapsed().is_ok_and(|age| age > STALE_AFTER);
        if written.is_ok_and(is_stale)
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
    fn removes_only_stale_temporary_files() {
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
    fn deletes_a_file_that_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = temporary(folder.path()).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_are_readable_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        write(folder.path(), &path, b"{}").unwrap();
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn reads_regular_files_up_to_a_limit_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), b"12345").unwrap();
        assert_eq!(read(&at("file"), 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(read(&at("file"), 4).unwrap_err().to_string().contains("more than 4 bytes"));
        assert_eq!(read(&at("absent"), 5).unwrap(), None);
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        for name in ["folder", "device", "fifo"] {
            let error = read(&at(name), 5).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("no regular file"), "{error}");
        }
    }

    #[test]
    fn the_lock_is_exclusive() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let second = File::options().write(true).open(folder.path().join(LOCK)).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        second.try_lock().unwrap();
    }
}
