//! A ConfigMap as the kubelet mounts it: the names are links through `..data` to the files of a hidden folder, and a
//! change renames another such link over it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A mounted ConfigMap.
pub struct Mount {
    folder: TempDir,
    version: usize,
    names: BTreeSet<String>,
}

impl Mount {
    /// With these files.
    pub fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), version: 0, names: BTreeSet::new() };
        mount.swap(files);
        mount
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Another content, all of it at once, in the order of the kubelet's own steps.
    pub fn swap(&mut self, files: &[(&str, Vec<u8>)]) {
        let real = |version: usize| format!("..2026_11_23_01_40_00.{version}");
        let before = real(self.version);
        self.version += 1;
        let data = self.path().join(real(self.version));
        fs::create_dir(&data).unwrap();
        for (name, content) in files {
            fs::write(data.join(name), content).unwrap();
        }
        symlink(real(self.version), self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        let names: BTreeSet<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        for new in names.difference(&self.names) {
            symlink(Path::new("..data").join(new), self.path().join(new)).unwrap();
        }
        for gone in self.names.difference(&names) {
            fs::remove_file(self.path().join(gone)).unwrap();
        }
        self.names = names;
        if self.version > 1 {
            fs::remove_dir_all(self.path().join(before)).unwrap();
        }
    }
}
