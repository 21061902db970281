//! Help, version, completion, and the names that the program is called by.

use std::{os::unix::fs::symlink, process::Command};

use serde_json::Value;

use crate::support::Program;

#[tokio::test]
async fn the_version_has_the_commit_and_the_version_of_the_contract() {
    let text = Program::new(&["version"]).run().await.assert_code(0).stdout;
    let json = Program::new(&["version", "--output", "json"]).run().await.assert_code(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&json["version"], &json["pluginContract"]), (&version.into(), &"1.0.0".into()));
    let commit = json["commit"].as_str().unwrap_or("unknown");
    assert!(commit == "unknown" || commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{json}");
    assert!(text.starts_with(&format!("k8s-copycat {version}\ncommit {commit}")), "{text}");
    assert!(text.ends_with("\nplugin contract 1.0.0\n"), "{text}");
    let line = Program::new(&["--version"]).run().await.assert_code(0).stdout;
    let short: String = commit.chars().take(12).collect();
    assert!(line.starts_with(&format!("k8s-copycat {version} (commit {short}")), "{line}");
}

#[tokio::test]
async fn completion_is_a_valid_script_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = Program::new(&["completion", shell]).run().await.assert_code(0).stdout;
        for word in ["k8s-copycat", "plan", "fail-on", "completion", "leader-elect"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // The shell itself completes the name of a subcommand.
    let script = Program::new(&["completion", "bash"]).run().await.assert_code(0).stdout;
    let test =
        "complete=$(complete -p k8s-copycat); function=${complete#*-F }; COMP_WORDS=(k8s-copycat pl) COMP_CWORD=1
                ${function%% *} k8s-copycat pl k8s-copycat; echo ${COMPREPLY[@]}";
    let output = Command::new("bash").args(["-c", &format!("{script}\n{test}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "plan plugin\n", "{output:?}");
    Program::new(&["completion", "tcsh"]).run().await.assert_code(2);
}

#[tokio::test]
async fn as_a_plugin_of_kubectl_the_program_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("kubectl-copycat");
    symlink(env!("CARGO_BIN_EXE_k8s-copycat"), &name).unwrap();
    let run = async |arguments: &[&str]| Program::new(arguments).binary(&name).run().await;
    let help = run(&["plan", "--help"]).await.assert_code(0).stdout;
    assert!(help.contains("Usage: kubectl copycat plan [OPTIONS]"), "{help}");
    let refused = run(&["plan", "--no-such-flag"]).await.assert_code(2).stderr;
    assert!(refused.contains("Usage: kubectl copycat plan"), "{refused}");
    let script = run(&["completion", "bash"]).await.assert_code(0).stdout;
    assert!(script.contains("kubectl-copycat"), "{script}");
}
