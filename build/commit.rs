//! The commit that is built, for `version`: the variable `K8S_COPYCAT_COMMIT` (with `-dirty` behind it if the tree has
//! changes), as for a build from an archive or a container image's context, else git's. Nothing else of the machine or the
//! time goes into it, so that the same commit gives the same program.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const VARIABLE: &str = "K8S_COPYCAT_COMMIT";
const UNKNOWN: &str = "unknown";
/// What the program is built from.
const INPUTS: [&str; 7] = ["Cargo.lock", "Cargo.toml", "build", "build.rs", "plugins", "src", "wit"];

/// Sets the variables of the program for the compiler.
pub fn set_variables(workspace: &Path, profile: &str) {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let (commit, modified) = match env::var(VARIABLE).ok().filter(|commit| is_commit(commit)) {
        Some(commit) => match commit.strip_suffix("-dirty") {
            Some(commit) => (commit.to_owned(), "true"),
            None => (commit, "false"),
        },
        None => of_git(workspace, profile == "release").unwrap_or_else(|| (UNKNOWN.to_owned(), UNKNOWN)),
    };
    let short: String = commit.chars().take(12).collect();
    let note = match modified {
        "true" => " modified",
        _ => "",
    };
    println!("cargo::rustc-env=K8S_COPYCAT_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=K8S_COPYCAT_BUILD_MODIFIED={modified}");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=K8S_COPYCAT_VERSION_LINE={version} (commit {short}{note})");
}

/// So that no other text gets into the output of the program.
fn is_commit(text: &str) -> bool {
    let digits = text.strip_suffix("-dirty").unwrap_or(text);
    (7..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Commit and changes; none if this is no checkout. Only a build for release looks for changes, because this has to run again
/// after each of them.
fn of_git(workspace: &Path, is_release: bool) -> Option<(String, &'static str)> {
    // Not the repository of somebody else that this is unpacked in.
    if !workspace.join(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(workspace).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))?;
    // Written by each commit and each checkout, and by nothing else.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).map(PathBuf::from).map(|path| workspace.join(path));
    if let Some(log) = log.filter(|log| log.exists()) {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    if !is_release {
        return Some((commit, UNKNOWN));
    }
    println!("cargo::rerun-if-changed=src");
    let mut arguments = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    arguments.extend(INPUTS);
    let modified = match git(&arguments) {
        Some(changes) if changes.is_empty() => "false",
        Some(_) => "true",
        None => UNKNOWN,
    };
    Some((commit, modified))
}
