//! A ConfigMap volume as the kubelet mounts it: file names link through `..data` to a hidden folder, and an update atomically
//! replaces `..data`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

pub struct ConfigMapVolume {
    folder: TempDir,
    version: usize,
    names: BTreeSet<String>,
}

impl ConfigMapVolume {
    pub fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().unwrap(), version: 0, names: BTreeSet::new() };
        volume.swap(files);
        volume
    }

    /// The mount path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Replaces all files at once, in the same steps as the kubelet.
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
