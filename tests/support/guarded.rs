//! Servers that end with the test, however the test ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Runs `"$@"` until standard input, a pipe that the test process holds, is closed; then removes folder `$0`, if one is
/// given. The first line of its output is the server's process id. An interrupt from the terminal is left to the test
/// process, whose end closes the pipe.
const GUARD: &str = r#"
"$@" >&2 & trap '' INT HUP TERM
echo $!
read -r _
kill -9 $!; wait
[ -z "$0" ] || rm -rf -- "$0"
"#;

/// A server that is killed when this is dropped, or when the test process ends in whatever way.
pub struct Guarded {
    shell: Child,
    server: String,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program, its output in file `log`. `directory` is removed when it has ended.
    pub fn start(program: &Path, arguments: &[OsString], log: &Path, directory: Option<&Path>) -> Self {
        let output = File::create(log).unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .arg(directory.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            // The registry would look for a collector of traces.
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

    /// Whether the server has not ended by itself.
    pub fn is_running(&self) -> bool {
        // One that has ended is a zombie until the shell is told to go.
        let status = fs::read_to_string(format!("/proc/{}/stat", self.server)).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    }

    /// What it said last, to explain why it is not ready.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It ends by itself now; that it has is all that matters.
        let _ = self.shell.wait();
    }
}

#[test]
fn drop_kills_the_server_and_removes_its_folder() {
    let directory = tempfile::tempdir().unwrap().keep();
    let arguments = ["-c", "echo here; exec sleep 1000"].map(Into::into);
    let server = Guarded::start(Path::new("/bin/sh"), &arguments, &directory.join("log"), Some(&directory));
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
    let server = Guarded::start(Path::new("/bin/sh"), &arguments, &directory.path().join("log"), None);
    while server.is_running() {
        std::thread::yield_now();
    }
    assert_eq!(server.last_words(), "no such flag");
}
