//! The compiling process: takes a module on standard input, and hands over on standard output what became of it.

use std::{
    fs,
    io::{self, Read, Write},
    num::ParseIntError,
    process, thread,
};

use rlimit::Resource;
use wasmtime::Engine;

use super::{super::engine_config::engine_config, check};

/// The first argument of a compiling process; its memory in bytes and its seconds of CPU time follow. No subcommand: it is
/// of no use to people.
pub const ARGUMENT: &str = "compile-component-and-exit";

/// What an answer begins with; its length follows, and then itself.
pub const COMPILED: u8 = b'C';
pub const REFUSED: u8 = b'R';
/// The length, in bytes.
pub const LENGTH: usize = 8;

/// What the compiler may take of address space besides its memory: the program's file, and what allocators reserve.
const ADDRESSES: u64 = 1 << 30;
const STACK: usize = 8 << 20;

/// Why a compiling process does nothing; nobody but a defect or somebody curious gets to see it.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("this is for the program's own use: it compiles a component that it is handed on standard input")]
    Usage,
    #[error("the limits {0:?} are no numbers: {1}")]
    Number(String, ParseIntError),
    #[error("the compiler's limits can't be set: {0}")]
    Limits(io::Error),
    #[error("{0}")]
    Pipe(#[from] io::Error),
    #[error("the compiler broke down")]
    Panic,
}

/// Compiles one component, if `arguments` (without the program's name) ask for it; the exit code, then.
pub fn compile_as_child(mut arguments: impl Iterator<Item = String>) -> Option<u8> {
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return None;
    }
    let done = compile(&arguments.collect::<Vec<_>>());
    Some(match done {
        Ok(()) => 0,
        Err(error) => {
            // Whoever started this reads it, or is gone.
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    })
}

fn compile(arguments: &[String]) -> Result<(), ChildError> {
    let [memory, cpu] = arguments else { return Err(ChildError::Usage) };
    let number = |text: &String| text.parse().map_err(|error| ChildError::Number(text.clone(), error));
    limit(number(memory)?, number(cpu)?).map_err(ChildError::Limits)?;
    let module = read(&mut io::stdin())?;
    // Who waits for the answer holds the other end until it is there.
    thread::Builder::new().stack_size(1 << 16).spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    })?;
    let compiling = thread::Builder::new().stack_size(STACK).spawn(move || {
        check::check(&module).map_err(|unfit| unfit.to_string())?;
        let engine = Engine::new(&engine_config()).map_err(|error| format!("{error:#}"))?;
        engine.precompile_component(&module).map_err(|error| format!("{error:#}"))
    })?;
    let mut out = io::stdout().lock();
    match compiling.join().map_err(|_| ChildError::Panic)? {
        Ok(compiled) => answer(&mut out, COMPILED, &compiled)?,
        Err(text) => answer(&mut out, REFUSED, text.as_bytes())?,
    }
    Ok(())
}

/// From here on the kernel ends this process where it takes more.
fn limit(memory: u64, cpu: u64) -> io::Result<()> {
    Resource::CORE.set(0, 0)?;
    // Two limits, so that it is SIGXCPU that tells of the first, and not SIGKILL at once.
    Resource::CPU.set(cpu, cpu.saturating_add(1))?;
    // What is allocated; reserved addresses cost nothing. Where a kernel does not count the one, the other is a bound.
    Resource::DATA.set(memory, memory)?;
    let addresses = memory.saturating_add(ADDRESSES);
    Resource::AS.set(addresses, addresses)?;
    // Should the memory of all run out nevertheless, it is this process that has to go. Not to be had everywhere.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

fn read(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut module = Vec::new();
    module.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    input.take(length).read_to_end(&mut module)?;
    Ok(module)
}

fn answer(out: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    out.write_all(&[kind])?;
    out.write_all(&u64::try_from(content.len()).unwrap_or(u64::MAX).to_le_bytes())?;
    out.write_all(content)?;
    out.flush()
}
