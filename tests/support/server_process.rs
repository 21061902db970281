//! Server processes that are killed at the end of the test, however it ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Runs `"$@"` until standard input, a pipe from the test process, is closed; then removes folder `$0`, if set. Prints the
/// server's process id first. Ignores an interrupt from the terminal: the exit of the test process closes the pipe.
const GUARD: &str = r#"
"$@" >&2 & trap '' INT HUP TERM
echo $!
read -r _
kill -9 $!; wait
[ -z "$0" ] || rm -rf -- "$0"
"#;

/// A server process; dropping it or any exit of the test process kills it.
pub struct ServerProcess {
    shell: Child,
    server: String,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts a program with its output in file `log`; removes `directory` when it has exited.
    pub fn start(program: &Path, arguments: &[OsString], log: &Path, directory: Option<&Path>) -> Self {
        let output = File::create(log).unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .arg(directory.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            // Otherwise the registry tries to reach a trace collector.
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut server = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut server).unwrap();
        Self { shell, server: server.trim().to_owned(), log: log.to_owned() }
    }

    /// Whether the server has not exited by itself.
    pub fn is_running(&self) -> bool {
        // An exited server is a zombie until its shell ends.
        let status = fs::read_to_string(format!("/proc/{}/stat", self.server)).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell exits by itself now; its status does not matter.
        let _ = self.shell.wait();
    }
}

#[test]
fn drop_kills_the_server_and_removes_its_folder() {
    let directory = tempfile::tempdir().unwrap().keep();
    let arguments = ["-c", "echo here; exec sleep 1000"].map(Into::into);
    let server = ServerProcess::start(Path::new("/bin/sh"), &arguments, &directory.join("log"), Some(&directory));
    assert!(server.is_running());
    let process = PathBuf::from("/proc").join(&server.server);
    drop(server);
    assert!(!process.exists());
    assert!(!directory.exists());
}

#[test]
fn detects_an_exited_server_and_returns_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["-c", "echo no such flag"].map(Into::into);
    let server = ServerProcess::start(Path::new("/bin/sh"), &arguments, &directory.path().join("log"), None);
    while server.is_running() {
        std::thread::yield_now();
    }
    assert_eq!(server.log_tail(), "no such flag");
}
