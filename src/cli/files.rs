//! Whether files have changed. They are looked at rather than watched: the kernel's watches can be used up by others on
//! a node, do not work on network file systems, and see a mounted ConfigMap's change as that of a hidden link only.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, path::PathBuf};

/// Files and folders as they were at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, State>);

/// What a change of content changes, be it written in place, renamed over, or a link that leads elsewhere; of a folder,
/// a change of its list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    There { device: u64, inode: u64, size: u64, written: (i64, i64), changed: (i64, i64) },
    NotThere(io::ErrorKind),
}

impl Snapshot {
    /// As they are now; links are followed.
    pub fn take(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let states = files.into_iter().map(|file| {
            let state = match fs::metadata(&file) {
                Ok(found) => State::There {
                    device: found.dev(),
                    inode: found.ino(),
                    size: found.size(),
                    written: (found.mtime(), found.mtime_nsec()),
                    changed: (found.ctime(), found.ctime_nsec()),
                },
                Err(error) => State::NotThere(error.kind()),
            };
            (file, state)
        });
        Self(states.collect())
    }

    /// The same files as they are now.
    pub fn again(&self) -> Self {
        Self::take(self.0.keys().cloned())
    }

    /// With what `other` has besides.
    pub fn and(mut self, other: Self) -> Self {
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
    fn every_kind_of_change_shows() {
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
        let mut before = Snapshot::take(files);
        assert_eq!(before, before.again());
        let changes: [(&str, &dyn Fn()); 5] = [
            ("the link of a mounted ConfigMap is renamed over", &|| {
                symlink("..two", path("..data_tmp")).unwrap();
                fs::rename(path("..data_tmp"), path("..data")).unwrap();
            }),
            ("written in place, of the same length", &|| fs::write(path("plain"), "2").unwrap()),
            ("made", &|| fs::write(path("missing"), "").unwrap()),
            ("removed", &|| fs::remove_file(path("missing")).unwrap()),
            ("another file in the folder", &|| fs::write(path("other"), "").unwrap()),
        ];
        for (what, change) in changes {
            // Some file systems tell times in steps of a few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let after = before.again();
            assert_ne!(before, after, "{what}");
            before = after;
        }
    }
}
