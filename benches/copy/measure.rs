//! Runs a client and measures its resource usage.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use wait4::Wait4 as _;

/// The first argument of this program when it measures another one.
pub const FLAG: &str = "--measure";

/// A program to run, with its complete environment.
pub struct Client {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
}

/// The resource usage of a client and its child processes.
#[derive(Clone, Copy)]
pub struct Usage {
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The peak memory of its largest process, in bytes.
    pub peak: u64,
}

/// Runs a client below a small process: at its start, a process counts the memory of its parent as its own, and this one has
/// images in memory.
pub fn run(client: &Client, log: &Path) -> Usage {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(FLAG)
        .arg(log)
        .arg(&client.program)
        .args(&client.arguments)
        .env_clear()
        .envs(client.environment.iter().cloned())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", client.program.display(), fs::read_to_string(log).unwrap_or_default());
    let numbers = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [wall, cpu, peak] = numbers[..] else { panic!("{numbers:?}") };
    Usage { wall: Duration::from_micros(wall), cpu: Duration::from_micros(cpu), peak }
}

/// The small process: a log file, a program and its arguments.
pub fn measure(arguments: &[OsString]) {
    let [log, program, arguments @ ..] = arguments else { panic!("{arguments:?}") };
    let log = File::create(log).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let started = Instant::now();
    let used = command.spawn().unwrap().wait4().unwrap();
    let wall = started.elapsed();
    assert!(used.status.success(), "the client failed with {}", used.status);
    let cpu = used.rusage.utime + used.rusage.stime;
    println!("{} {} {}", wall.as_micros(), cpu.as_micros(), used.rusage.maxrss);
}
