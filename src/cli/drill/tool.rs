//! The tools that pull, and how they are called.

use std::{env, ffi::OsStr, path::PathBuf, process::Stdio, time::Duration};

use clap::ValueEnum;
use tokio::{process::Command, time::timeout};

use super::error::DrillError;
use crate::{
    model::{cut, one_line},
    restore::Runtime,
};

/// The most bytes of a tool's message that are shown.
const LONGEST_MESSAGE: usize = 2_000;
const VERSION_DEADLINE: Duration = Duration::from_secs(30);

/// What pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// A containerd of its own, through the CRI (with crictl) or with ctr.
    Containerd,
    /// podman, which reads what CRI-O reads.
    Podman,
    /// skopeo, which reads what CRI-O reads.
    Skopeo,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Skopeo => "skopeo",
        }
    }

    /// The wanted one, or one that is there and reads the files for `runtime`.
    pub fn choose(wanted: Option<Self>, runtime: Runtime) -> Result<Self, DrillError> {
        let fitting: &[Self] = match runtime {
            Runtime::Containerd => &[Self::Containerd],
            Runtime::Crio => &[Self::Podman, Self::Skopeo],
            Runtime::K3s | Runtime::Talos | Runtime::Openshift | Runtime::Docker | Runtime::Kustomize => {
                return Err(DrillError::NoTool(runtime.name()));
            }
        };
        match wanted {
            Some(tool) if !fitting.contains(&tool) => {
                let wanted = if tool == Self::Containerd { "containerd" } else { "crio" };
                Err(DrillError::OtherFiles { tool: tool.name(), restore: runtime.name(), wanted })
            }
            Some(tool) => find(tool.name()).map(|_| tool).ok_or(DrillError::Missing(tool.name())),
            None => {
                let found = fitting.iter().find(|tool| find(tool.name()).is_some()).copied();
                let missing = if runtime == Runtime::Containerd { "containerd" } else { "podman or skopeo" };
                found.ok_or(DrillError::Missing(missing))
            }
        }
    }
}

/// A program in `PATH`, or where systems keep those that only root uses.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The first line that the program says about its version.
pub async fn version(name: &'static str) -> Result<String, DrillError> {
    let program = find(name).ok_or(DrillError::Missing(name))?;
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let answered = timeout(VERSION_DEADLINE, command.output()).await;
    let output = answered
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|source| DrillError::Run { tool: name, source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(one_line(text.lines().next().unwrap_or_default().trim()).into_owned())
}

/// Runs a command to its end; the error is its message, safe to show.
pub async fn run(mut command: Command, deadline: Duration) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(deadline, command.output()).await {
        Err(_) => Err(format!("not within {} s", deadline.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let text = last.map_or_else(|| output.status.to_string(), message);
            Err(cut(&one_line(&text), LONGEST_MESSAGE).into_owned())
        }
    }
}

/// What a line of a log says: these tools log `time="…" level=fatal msg="…"`.
fn message(line: &str) -> String {
    match line.split_once(" msg=\"") {
        Some((_, text)) => text.trim_end_matches('"').replace("\\\"", "\""),
        None => line.to_owned(),
    }
}

/// A command of a program that was found before.
pub fn command(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| name.into()));
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_logged_line_the_message_is_shown() {
        let line = r#"time="2026-11-28T08:52:57Z" level=error msg="pulling image: \"quay.io/a:1\": not found""#;
        assert_eq!(message(line), r#"pulling image: "quay.io/a:1": not found"#);
        assert_eq!(message("Error: a is blocked"), "Error: a is blocked");
    }

    #[tokio::test]
    async fn the_last_line_of_a_tool_is_its_message_and_a_slow_one_is_ended() {
        let sh = |script: &str| command("sh", ["-c", script]);
        let deadline = Duration::from_secs(60);
        assert_eq!(run(sh("exit 0"), deadline).await, Ok(()));
        assert_eq!(run(sh("echo one >&2; echo two >&2; exit 1"), deadline).await, Err("two".to_owned()));
        assert_eq!(run(sh("exit 3"), deadline).await, Err("exit status: 3".to_owned()));
        assert_eq!(run(sh("sleep 600"), Duration::ZERO).await, Err("not within 0 s".to_owned()));
    }

    #[test]
    fn a_tool_reads_only_its_own_files() {
        let chosen = |wanted, runtime| Tool::choose(wanted, runtime).unwrap_err().to_string();
        let refused = chosen(Some(Tool::Containerd), Runtime::Crio);
        assert_eq!(
            refused,
            "crio files can't be rehearsed with containerd: use those of `restore --runtime containerd`"
        );
        let refused = chosen(Some(Tool::Skopeo), Runtime::Containerd);
        assert_eq!(refused, "containerd files can't be rehearsed with skopeo: use those of `restore --runtime crio`");
        assert!(chosen(None, Runtime::K3s).starts_with("k3s files can't be rehearsed here"));
    }
}
