//! Detects changes of files by polling. inotify is not used: other processes on the node can exhaust its watches, it does not
//! work on network file systems, and for a mounted ConfigMap it reports only a change of a hidden link.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, path::PathBuf};

/// The state of files and folders at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStates(BTreeMap<PathBuf, State>);

/// Changes with the content, whether a file is written in place, replaced, or a link to another file; for a folder, with its
/// list of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Present { device: u64, inode: u64, size: u64, written: (i64, i64), changed: (i64, i64) },
    Unreadable(io::ErrorKind),
}

impl FileStates {
    /// Their current state; links are followed.
    pub fn take(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let states = files.into_iter().map(|file| {
            let state = match fs::metadata(&file) {
                Ok(found) => State::Present {
                    device: found.dev(),
                    inode: found.ino(),
                    size: found.size(),
                    written: (found.mtime(), found.mtime_nsec()),
                    changed: (found.ctime(), found.ctime_nsec()),
                },
                Err(error) => State::Unreadable(error.kind()),
            };
            (file, state)
        });
        Self(states.collect())
    }

    /// The current state of the same files.
    pub fn current(&self) -> Self {
        Self::take(self.0.keys().cloned())
    }

    /// Adds the files that only `other` has.
    pub fn merge(mut self, other: Self) -> Self {
        for (file, state) in other.0 {
            self.0.entry(file).or_insert(state);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_kind_of_change_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (version, content) in [("..one", "a"), ("..two", "a")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("mounted"), content).unwrap();
        }
        symlink("..one", path("..data")).unwrap();
        symlink("..data/mounted", path("mounted")).unwrap();
        fs::write(path("plain"), "1").unwrap();
        let files = ["mounted", "plain", "missing", ""].map(path);
        let mut before = FileStates::take(files);
        assert_eq!(before, before.current());
        let changes: [(&str, &dyn Fn()); 5] = [
            ("the link of a mounted ConfigMap is replaced", &|| {
                symlink("..two", path("..data_tmp")).unwrap();
                fs::rename(path("..data_tmp"), path("..data")).unwrap();
            }),
            ("written in place, of the same length", &|| fs::write(path("plain"), "2").unwrap()),
            ("created", &|| fs::write(path("missing"), "").unwrap()),
            ("removed", &|| fs::remove_file(path("missing")).unwrap()),
            ("another file in the folder", &|| fs::write(path("other"), "").unwrap()),
        ];
        for (what, change) in changes {
            // Some file systems store times with a resolution of milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let after = before.current();
            assert_ne!(before, after, "{what}");
            before = after;
        }
    }
}
