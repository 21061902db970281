//! The folder that a restore writes. Its list says which files are the restore's own; no other file is ever touched.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::{
    model::Digest,
    restore::{File, LaidFile, Report},
};

/// The file with the report, which lists the others.
pub const LIST: &str = "restore.json";

/// Why a folder can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It has files, and `--force` is not given.
    #[error("{} has files already: name a new folder, or replace those of an earlier restore with --force", .0.display())]
    NotEmpty(PathBuf),
    /// It has files, and none of them is a list.
    #[error("{} has files that are no restore's (there is no restore.json): name a new folder", .0.display())]
    NoRestore(PathBuf),
    /// A file is in the way.
    #[error("{} is not from an earlier restore: move it away, or name another folder", .0.display())]
    InTheWay(PathBuf),
    /// The list is not what a restore writes.
    #[error("{} is not the report of a restore: name another folder", .file.display())]
    List { file: PathBuf, source: serde_json::Error },
    /// The list names files elsewhere.
    #[error("{} names the file {path:?}, which is not in its folder: name another folder", .file.display())]
    Outside { file: PathBuf, path: String },
    /// A file can't be read.
    #[error("cannot read {}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    /// A file can't be written.
    #[error("cannot write {}", .file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// What became of the folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// It had these very files.
    pub is_unchanged: bool,
    /// Files that had been edited, and are kept under these names.
    pub edited: Vec<PathBuf>,
}

/// Writes report and files. Replaces those of an earlier restore only with `force`.
pub fn write(folder: &Path, report: &Report, files: &[File], force: bool) -> Result<Written, FolderError> {
    let list = folder.join(LIST);
    let json = serde_json::to_string_pretty(report);
    let json = json.map_err(|source| FolderError::List { file: list.clone(), source })? + "\n";
    let mut written = Written::default();
    if !is_empty(folder)? {
        let old = match read_list(folder) {
            Err(FolderError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::NoRestore(folder.to_owned()));
            }
            old => old?.files,
        };
        let has = |path: &str, text: &str| fs::read(folder.join(path)).is_ok_and(|there| there == text.as_bytes());
        if has(LIST, &json) && files.iter().all(|file| has(&file.path, &file.text)) {
            return Ok(Written { is_unchanged: true, ..written });
        }
        if !force {
            return Err(FolderError::NotEmpty(folder.to_owned()));
        }
        let owned: BTreeSet<&str> = old.iter().map(|file| file.path.as_str()).collect();
        let in_the_way = files
            .iter()
            .find(|file| !owned.contains(file.path.as_str()) && fs::symlink_metadata(folder.join(&file.path)).is_ok());
        if let Some(file) = in_the_way {
            return Err(FolderError::InTheWay(folder.join(&file.path)));
        }
        for file in &old {
            written.edited.extend(remove(folder, file)?);
        }
    }
    // The list first: what an interrupted restore has written is listed.
    write_file(&list, &json)?;
    for file in files {
        write_file(&folder.join(&file.path), &file.text)?;
    }
    Ok(written)
}

/// The report of the restore in a folder. Its files are within the folder.
pub fn read_list(folder: &Path) -> Result<Report, FolderError> {
    let file = folder.join(LIST);
    let text = fs::read(&file).map_err(|source| FolderError::Read { file: file.clone(), source })?;
    let report: Report =
        serde_json::from_slice(&text).map_err(|source| FolderError::List { file: file.clone(), source })?;
    let is_inside =
        |path: &str| !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match report.files.iter().find(|listed| !is_inside(&listed.path)) {
        Some(outside) => Err(FolderError::Outside { file, path: outside.path.clone() }),
        None => Ok(report),
    }
}

fn is_empty(folder: &Path) -> Result<bool, FolderError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(FolderError::Read { file: folder.to_owned(), source }),
    }
}

/// Removes a listed file, and folders that are empty then. An edited one is kept under another name, which is returned.
fn remove(folder: &Path, listed: &LaidFile) -> Result<Option<PathBuf>, FolderError> {
    let file = folder.join(&listed.path);
    let failed = |source| FolderError::Write { file: file.clone(), source };
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FolderError::Read { file, source }),
    };
    if Digest::sha256(&text).hex() != listed.sha256 {
        let mut kept = file.clone().into_os_string();
        kept.push(".edited");
        fs::rename(&file, &kept).map_err(failed)?;
        return Ok(Some(kept.into()));
    }
    fs::remove_file(&file).map_err(failed)?;
    for parent in Path::new(&listed.path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        if fs::remove_dir(folder.join(parent)).is_err() {
            break;
        }
    }
    Ok(None)
}

/// Never leaves half a file, and follows no link.
fn write_file(file: &Path, text: &str) -> Result<(), FolderError> {
    let failed = |source| FolderError::Write { file: file.to_owned(), source };
    let parent = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut new = file.to_owned().into_os_string();
    new.push(".new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn laid(files: &[(&str, &str)]) -> (Report, Vec<File>) {
        let files: Vec<_> =
            files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
        let listed =
            files.iter().map(|file| json!({ "path": file.path, "sha256": Digest::sha256(file.text.as_bytes()).hex() }));
        let counts = ["images", "covered", "uncovered", "namedAtMirror", "differences", "rules", "files"];
        let report = json!({
            "apiVersion": "k8s-copycat/v1", "kind": "RestoreReport", "runtime": "containerd", "digestOnly": false,
            "target": { "name": "default", "registry": "r.io", "scheme": "https" },
            "summary": counts.iter().map(|key| ((*key).to_owned(), json!(0))).collect::<serde_json::Map<_, _>>(),
            "images": [], "differences": [], "notes": [], "rules": [], "files": listed.collect::<Vec<_>>(),
        });
        (serde_json::from_value(report).unwrap(), files)
    }

    fn lay(folder: &Path, files: &[(&str, &str)], force: bool) -> Result<Written, FolderError> {
        let (report, files) = laid(files);
        write(folder, &report, &files, force)
    }

    fn text(folder: &Path, path: &str) -> Option<String> {
        fs::read_to_string(folder.join(path)).ok()
    }

    #[test]
    fn an_earlier_restore_is_replaced_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("new/deep");
        assert_eq!(lay(&at, &[("a/x", "1"), ("b", "1")], false).unwrap(), Written::default());
        assert!(lay(&at, &[("a/x", "1"), ("b", "1")], false).unwrap().is_unchanged);
        assert!(matches!(lay(&at, &[("b", "2")], false), Err(FolderError::NotEmpty(_))));
        assert_eq!((text(&at, "a/x").as_deref(), text(&at, "b").as_deref()), (Some("1"), Some("1")));
        lay(&at, &[("b", "2")], true).unwrap();
        assert_eq!((text(&at, "a/x"), text(&at, "b").as_deref()), (None, Some("2")));
        assert!(!at.join("a").exists());
    }

    #[test]
    fn files_of_others_are_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("mine"), "mine").unwrap();
        assert!(matches!(lay(at, &[("a", "1")], true), Err(FolderError::NoRestore(_))));
        fs::remove_file(at.join("mine")).unwrap();
        lay(at, &[("a", "1")], false).unwrap();
        fs::write(at.join("mine"), "mine").unwrap();
        lay(at, &[("a", "2")], true).unwrap();
        assert!(matches!(lay(at, &[("mine", "2")], true), Err(FolderError::InTheWay(_))));
        assert_eq!((text(at, "mine").as_deref(), text(at, "a").as_deref()), (Some("mine"), Some("2")));
    }

    #[test]
    fn an_edited_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        lay(at, &[("a", "1")], false).unwrap();
        fs::write(at.join("a"), "with a login").unwrap();
        assert!(matches!(lay(at, &[("a", "1")], false), Err(FolderError::NotEmpty(_))));
        assert_eq!(lay(at, &[("a", "2")], true).unwrap().edited, [at.join("a.edited")]);
        assert_eq!((text(at, "a").as_deref(), text(at, "a.edited").as_deref()), (Some("2"), Some("with a login")));
    }

    #[test]
    fn a_hostile_list_leads_to_no_file_outside() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("in");
        fs::write(folder.path().join("out"), "mine").unwrap();
        for path in ["../out", "/etc/hostname", "", "a/../../out"] {
            let (mut report, _) = laid(&[("a", "1")]);
            report.files[0].path = path.to_owned();
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(LIST), serde_json::to_string(&report).unwrap()).unwrap();
            assert!(matches!(lay(&at, &[("b", "1")], true), Err(FolderError::Outside { .. })), "{path}");
        }
        fs::write(at.join(LIST), "{}").unwrap();
        assert!(matches!(lay(&at, &[("b", "1")], true), Err(FolderError::List { .. })));
        assert_eq!(text(folder.path(), "out").as_deref(), Some("mine"));
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("in");
        lay(&at, &[("a", "1")], false).unwrap();
        let outside = folder.path().join("out");
        fs::write(&outside, "1").unwrap();
        fs::remove_file(at.join("a")).unwrap();
        std::os::unix::fs::symlink(&outside, at.join("a")).unwrap();
        lay(&at, &[("a", "2")], true).unwrap();
        assert_eq!((text(&at, "a").as_deref(), text(folder.path(), "out").as_deref()), (Some("2"), Some("1")));
    }
}
