//! The compiler process: reads a module from standard input and writes the result to standard output.

use std::{
    fs,
    io::{self, Read, Write},
    num::ParseIntError,
    process, thread,
};

use rlimit::Resource;
use wasmtime::Engine;

use super::{super::engine::config::engine_config, check};

/// The first argument of a compiler process; its memory in bytes and its CPU time in seconds follow. Not a subcommand,
/// as users have no use for it.
pub const ARGUMENT: &str = "compile-component-and-exit";

/// The first byte of a result. Its length and its content follow.
pub const COMPILED: u8 = b'C';
pub const REJECTED: u8 = b'R';
/// The size of the length field, in bytes.
pub const LENGTH: usize = 8;

/// Address space besides the memory limit: for the program's file, and for what allocators reserve.
const EXTRA_ADDRESS_SPACE: u64 = 1 << 30;
const STACK: usize = 8 << 20;

/// Why a compiler process gave no result. Seen only after a bug, or by somebody who starts it by hand.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("for internal use: compiles the component on standard input")]
    Usage,
    #[error("invalid limit {0:?}: {1}")]
    Number(String, ParseIntError),
    #[error("the compiler's limits can't be set: {0}")]
    Limits(io::Error),
    #[error("{0}")]
    Pipe(#[from] io::Error),
    #[error("the compiler panicked")]
    Panic,
}

/// Compiles one component and returns the exit code. None: `arguments` (without the program's name) are not those of a
/// compiler process.
pub fn compile_as_child(mut arguments: impl Iterator<Item = String>) -> Option<u8> {
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return None;
    }
    let result = compile(&arguments.collect::<Vec<_>>());
    Some(match result {
        Ok(()) => 0,
        Err(error) => {
            // Fails if the parent process is gone.
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
    // Ends this process with its parent, which keeps the pipe open until it has the result.
    thread::Builder::new().stack_size(1 << 16).spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    })?;
    let compiling = thread::Builder::new().stack_size(STACK).spawn(move || {
        check::check(&module).map_err(|error| error.to_string())?;
        let engine = Engine::new(&engine_config()).map_err(|error| format!("{error:#}"))?;
        engine.precompile_component(&module).map_err(|error| format!("{error:#}"))
    })?;
    let mut out = io::stdout().lock();
    match compiling.join().map_err(|_| ChildError::Panic)? {
        Ok(compiled) => write_result(&mut out, COMPILED, &compiled)?,
        Err(text) => write_result(&mut out, REJECTED, text.as_bytes())?,
    }
    Ok(())
}

/// Sets the limits of this process; the kernel enforces them.
fn limit(memory: u64, cpu: u64) -> io::Result<()> {
    Resource::CORE.set(0, 0)?;
    // With a higher hard limit, the kernel sends SIGXCPU, and not SIGKILL at once.
    Resource::CPU.set(cpu, cpu.saturating_add(1))?;
    // DATA limits allocations; reserved addresses cost nothing. AS is the limit on kernels that do not count DATA.
    Resource::DATA.set(memory, memory)?;
    let addresses = memory.saturating_add(EXTRA_ADDRESS_SPACE);
    Resource::AS.set(addresses, addresses)?;
    // If memory runs out nevertheless, the kernel should kill this process. Not permitted everywhere.
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

fn write_result(out: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    out.write_all(&[kind])?;
    out.write_all(&u64::try_from(content.len()).unwrap_or(u64::MAX).to_le_bytes())?;
    out.write_all(content)?;
    out.flush()
}
