//! Starts the compiler process, sends it the module, and waits for the result until the deadline.

use std::{
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        error::{CompileError, MAX_ENGINE_TEXT},
        stop::is_stopped,
        text::shortened,
    },
    child::{ARGUMENT, COMPILED, LENGTH, REJECTED},
    limits::CompileLimits,
};

/// This program's own file, even if it has been replaced.
const OWN_FILE: &str = "/proc/self/exe";
/// How often shutdown and deadline are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait for the exit status after the output has ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// Compiles the component in `bytes` in a child process.
pub fn compile(bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    if is_stopped() {
        return Err(CompileError::Stopped);
    }
    let limits = CompileLimits::for_size(bytes.len());
    let limits = limits.map_err(|available| CompileError::ScarceMemory(available >> 20))?;
    let child = start(&limits).map_err(CompileError::Start)?;
    exchange(child, bytes, &limits)
}

/// Without the environment of this process, which holds credentials, and in another process group, so that Ctrl-C in a
/// terminal does not reach it.
fn start(limits: &CompileLimits) -> io::Result<KillOnDrop> {
    let mut command = Command::new(OWN_FILE);
    command.args([ARGUMENT, &limits.memory.to_string(), &limits.cpu.to_string()]);
    command.env_clear().env("RAYON_NUM_THREADS", limits.threads.to_string()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(KillOnDrop)
}

/// A child process that is killed when this is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends the module and receives the result.
fn exchange(mut child: KillOnDrop, module: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, CompileError> {
    let start = Instant::now();
    let no_pipe = || CompileError::Start(io::Error::other("no pipes"));
    let mut stdin = child.0.stdin.take().ok_or_else(no_pipe)?;
    let stdout = child.0.stdout.take().ok_or_else(no_pipe)?;
    let stderr = child.0.stderr.take().ok_or_else(no_pipe)?;
    thread::scope(|scope| {
        // Dropped before the scope joins its threads, which end when the pipes close.
        let mut child = child;
        let (sender, result) = mpsc::channel();
        // See `share_for_child` in limits.rs.
        let max_result = limits.memory / 3;
        scope.spawn(move || {
            // Writing fails if the child ends early; its result contains the reason. The child ends when its input
            // closes.
            let length = u64::try_from(module.len()).unwrap_or(u64::MAX);
            let _ = stdin.write_all(&length.to_le_bytes()).and_then(|()| stdin.write_all(module));
            let _ = sender.send(read_result(stdout, max_result));
            drop(stdin);
        });
        let stderr_text = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.take(1 << 14).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let result = loop {
            match result.recv_timeout(POLL_INTERVAL) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) if is_stopped() => return Err(CompileError::Stopped),
                Err(RecvTimeoutError::Timeout) if start.elapsed() > limits.deadline => {
                    return Err(CompileError::Deadline(limits.deadline));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        match result {
            Some((COMPILED, compiled)) => Ok(compiled),
            Some((TOO_LARGE, _)) => Err(out_of_memory(limits)),
            Some((REJECTED, text)) => Err(CompileError::rejected(&String::from_utf8_lossy(&text))),
            _ => {
                let status = wait_for_exit(&mut child.0);
                drop(child);
                Err(crash(status, &stderr_text.join().unwrap_or_default(), limits))
            }
        }
    })
}

/// Instead of the kind of a result that is larger than allowed.
const TOO_LARGE: u8 = 0;

/// The kind of the result and its content. None: the process ended before the result was complete.
fn read_result(mut stdout: impl Read, max: u64) -> Option<(u8, Vec<u8>)> {
    let (mut kind, mut length) = ([0], [0; LENGTH]);
    stdout.read_exact(&mut kind).and_then(|()| stdout.read_exact(&mut length)).ok()?;
    let length = u64::from_le_bytes(length);
    if length > max {
        return Some((TOO_LARGE, Vec::new()));
    }
    let mut content = Vec::new();
    content.try_reserve_exact(usize::try_from(length).ok()?).ok()?;
    stdout.take(length).read_to_end(&mut content).ok()?;
    let [kind] = kind;
    (content.len() == usize::try_from(length).ok()?).then_some((kind, content))
}

/// The exit status of a process that has closed its output. None: it is still running.
fn wait_for_exit(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < EXIT_TIMEOUT {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

fn out_of_memory(limits: &CompileLimits) -> CompileError {
    let mib = limits.memory >> 20;
    if limits.is_scarce { CompileError::ScarceMemory(mib) } else { CompileError::Memory(mib) }
}

/// Why the compiler process ended without a result. Its standard error is searched: an allocation failure aborts the
/// process and leaves no other trace.
fn crash(status: Option<ExitStatus>, stderr: &str, limits: &CompileLimits) -> CompileError {
    // The line of a panic's location comes before its message and does not help users.
    let mut lines = stderr.lines().filter(|line| !line.trim().is_empty() && !line.contains("panicked at"));
    let line = lines.next().unwrap_or("no message on standard error");
    // The messages of Rust's standard library, of wasmtime, and of rayon, on whose threads it compiles.
    let out_of_memory_texts =
        ["memory allocation of", "Cannot allocate memory", "out of memory", "Resource temporarily unavailable"];
    match status.and_then(|status| status.signal()) {
        Some(SIGXCPU) => CompileError::CpuTime(limits.cpu),
        _ if out_of_memory_texts.iter().any(|text| stderr.contains(text)) => out_of_memory(limits),
        // By the kernel, which was out of memory: no other process kills it.
        Some(SIGKILL) => out_of_memory(limits),
        Some(SIGABRT) if stderr.contains("overflowed its stack") => {
            CompileError::Crashed("the component is nested too deeply".to_owned())
        }
        Some(signal) => CompileError::Crashed(format!("signal {signal}: {}", shortened(line, MAX_ENGINE_TEXT))),
        None => CompileError::Crashed(shortened(line, MAX_ENGINE_TEXT).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_a_complete_result_within_the_limit() {
        let result = |length: u64, content: &[u8]| [&[COMPILED], &length.to_le_bytes()[..], content].concat();
        assert_eq!(read_result(&*result(4, b"code"), 4), Some((COMPILED, b"code".to_vec())));
        assert_eq!(read_result(&*result(4, b"cod"), 4), None);
        assert_eq!(read_result(&*result(5, b"code!"), 4), Some((TOO_LARGE, Vec::new())));
        assert_eq!(read_result(&*result(u64::MAX, b"code"), 4), Some((TOO_LARGE, Vec::new())));
        assert_eq!(read_result(&b"C123"[..], 4), None);
        assert_eq!(read_result(&b""[..], 4), None);
    }
}
