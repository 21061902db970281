//! Starts the compiling process, hands it the module, and waits for the answer: not for ever.

use std::{
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{stop::is_stopped, text::shortened},
    allowance::Allowance,
    child::{ARGUMENT, COMPILED, LENGTH, REFUSED},
};

/// This program, even when its file has been replaced.
const SELF: &str = "/proc/self/exe";
/// How often the wait looks up.
const TICK: Duration = Duration::from_millis(20);
/// How long a process that said nothing may take to be gone.
const LONGEST_ENDING: Duration = Duration::from_secs(5);
/// In bytes.
const LONGEST_TEXT: usize = 512;

const ABORTED: i32 = 6;
const KILLED: i32 = 9;
const OUT_OF_CPU_TIME: i32 = 24;

/// Why there is no code for a component.
#[derive(Debug, thiserror::Error)]
pub enum CompileFault {
    /// The compiler says why.
    #[error("{0}")]
    Refused(String),
    /// It would have taken more memory than a module of its length needs, in MiB.
    #[error("compiling it takes more than {0} MiB of memory")]
    Memory(u64),
    /// It would have taken more memory than there is here, in MiB.
    #[error("compiling it takes more than the {0} MiB of memory that are left here; raise the program's memory limit")]
    ScarceMemory(u64),
    /// It would have taken more CPU time than a module of its length needs, in seconds.
    #[error("compiling it takes more than {0} s of CPU time")]
    CpuTime(u64),
    /// Whatever it did, it took too long.
    #[error("compiling it takes longer than {0:?}")]
    Deadline(Duration),
    /// The compiler ended otherwise than it should.
    #[error("the compiler broke down over it: {0}")]
    Broke(String),
    /// There is no process to be had.
    #[error("the compiler can't be started: {0}")]
    Start(#[source] io::Error),
    /// The program is ending.
    #[error("the program is ending")]
    Stopped,
}

impl CompileFault {
    /// In the compiler's words, which quote names out of the component: on one line, and short.
    pub(super) fn refused(text: &str) -> Self {
        Self::Refused(shortened(text, LONGEST_TEXT).into_owned())
    }
}

/// The code for the component in `bytes`, compiled in another process.
pub fn compile(bytes: &[u8]) -> Result<Vec<u8>, CompileFault> {
    if is_stopped() {
        return Err(CompileFault::Stopped);
    }
    let allowance = Allowance::of(bytes.len()).map_err(|left| CompileFault::ScarceMemory(left >> 20))?;
    let child = start(&allowance).map_err(CompileFault::Start)?;
    converse(child, bytes, &allowance)
}

/// Without this process's environment, which holds credentials, and out of the reach of what a terminal's keys send.
fn start(allowance: &Allowance) -> io::Result<Ended> {
    let mut command = Command::new(SELF);
    command.args([ARGUMENT, &allowance.memory.to_string(), &allowance.cpu.to_string()]);
    command.env_clear().env("RAYON_NUM_THREADS", allowance.threads.to_string()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(Ended)
}

/// A process that is gone when this is.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn converse(mut child: Ended, module: &[u8], allowance: &Allowance) -> Result<Vec<u8>, CompileFault> {
    let begun = Instant::now();
    let no_pipe = || CompileFault::Start(io::Error::other("it has no pipes"));
    let mut stdin = child.0.stdin.take().ok_or_else(no_pipe)?;
    let stdout = child.0.stdout.take().ok_or_else(no_pipe)?;
    let stderr = child.0.stderr.take().ok_or_else(no_pipe)?;
    thread::scope(|scope| {
        // Dropped before the scope waits for its threads: their pipes end with it.
        let mut child = child;
        let (sender, answer) = mpsc::channel();
        // A third of what the child may have is what was kept for taking the result over.
        let longest = allowance.memory / 3;
        scope.spawn(move || {
            // It may end before it has read everything; its answer says why. It ends when its input does.
            let length = u64::try_from(module.len()).unwrap_or(u64::MAX);
            let _ = stdin.write_all(&length.to_le_bytes()).and_then(|()| stdin.write_all(module));
            let _ = sender.send(read_answer(stdout, longest));
            drop(stdin);
        });
        let said = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.take(1 << 14).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let answer = loop {
            match answer.recv_timeout(TICK) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) if is_stopped() => return Err(CompileFault::Stopped),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > allowance.deadline => {
                    return Err(CompileFault::Deadline(allowance.deadline));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        match answer {
            Some((COMPILED, compiled)) => Ok(compiled),
            Some((TOO_LONG, _)) => Err(no_memory(allowance)),
            Some((REFUSED, text)) => Err(CompileFault::refused(&String::from_utf8_lossy(&text))),
            _ => {
                let status = ending(&mut child.0);
                drop(child);
                Err(breakdown(status, &said.join().unwrap_or_default(), allowance))
            }
        }
    })
}

/// In place of an answer's kind: there is no room for it.
const TOO_LONG: u8 = 0;

/// What kind it is, and itself; none where the process ended before it was complete.
fn read_answer(mut stdout: impl Read, longest: u64) -> Option<(u8, Vec<u8>)> {
    let (mut kind, mut length) = ([0], [0; LENGTH]);
    stdout.read_exact(&mut kind).and_then(|()| stdout.read_exact(&mut length)).ok()?;
    let length = u64::from_le_bytes(length);
    if length > longest {
        return Some((TOO_LONG, Vec::new()));
    }
    let mut content = Vec::new();
    content.try_reserve_exact(usize::try_from(length).ok()?).ok()?;
    stdout.take(length).read_to_end(&mut content).ok()?;
    let [kind] = kind;
    (content.len() == usize::try_from(length).ok()?).then_some((kind, content))
}

/// How the process ended, whose output is over; none where it does not end.
fn ending(child: &mut Child) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_ENDING {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

fn no_memory(allowance: &Allowance) -> CompileFault {
    let mib = allowance.memory >> 20;
    if allowance.is_scarce { CompileFault::ScarceMemory(mib) } else { CompileFault::Memory(mib) }
}

fn breakdown(status: Option<ExitStatus>, said: &str, allowance: &Allowance) -> CompileFault {
    // Where a panic was comes before what it was, and is of no use to whoever reads this.
    let mut lines = said.lines().filter(|line| !line.trim().is_empty() && !line.contains("panicked at"));
    let line = lines.next().unwrap_or("it said nothing");
    // How Rust's library tells it; in threads of wasmtime's as well, and of the pool that it compiles in.
    let words_for_it =
        ["memory allocation of", "Cannot allocate memory", "out of memory", "Resource temporarily unavailable"];
    match status.and_then(|status| status.signal()) {
        Some(OUT_OF_CPU_TIME) => CompileFault::CpuTime(allowance.cpu),
        _ if words_for_it.iter().any(|words| said.contains(words)) => no_memory(allowance),
        // By the kernel, which had no memory left: nobody else kills it.
        Some(KILLED) => no_memory(allowance),
        Some(ABORTED) if said.contains("overflowed its stack") => {
            CompileFault::Broke("its nesting is too deep for it".to_owned())
        }
        Some(signal) => CompileFault::Broke(format!("signal {signal}: {}", shortened(line, LONGEST_TEXT))),
        None => CompileFault::Broke(shortened(line, LONGEST_TEXT).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_where_it_is_whole_and_there_is_room_for_it() {
        let answer = |length: u64, content: &[u8]| [&[COMPILED], &length.to_le_bytes()[..], content].concat();
        assert_eq!(read_answer(&*answer(4, b"code"), 4), Some((COMPILED, b"code".to_vec())));
        assert_eq!(read_answer(&*answer(4, b"cod"), 4), None);
        assert_eq!(read_answer(&*answer(5, b"code!"), 4), Some((TOO_LONG, Vec::new())));
        assert_eq!(read_answer(&*answer(u64::MAX, b"code"), 4), Some((TOO_LONG, Vec::new())));
        assert_eq!(read_answer(&b"C123"[..], 4), None);
        assert_eq!(read_answer(&b""[..], 4), None);
    }
}
