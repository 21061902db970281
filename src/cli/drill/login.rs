//! Where podman and skopeo find logins. They are told, because their home is another one during the drill.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The given file, or the first that is there of those that podman, skopeo and CRI-O's kubelet use.
pub fn auth_file(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(given) = given {
        return Some(given.to_owned());
    }
    let folder = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let candidates = [
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        Some("/run/containers/0/auth.json".into()),
        folder("HOME").map(|folder| folder.join(".config/containers/auth.json")),
        folder("HOME").map(|folder| folder.join(".docker/config.json")),
        Some("/var/lib/kubelet/config.json".into()),
    ];
    candidates.into_iter().flatten().find(|file| file.is_file())
}
