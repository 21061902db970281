//! Compiles components in a child process with limits for memory, CPU time and duration: an untrusted module can crash
//! only that process.

mod check;
mod child;
mod limits;
mod parent;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use wasmtime::{Engine, component::Component};

use super::error::{CompileError, PluginError};

pub use child::compile_as_child;

/// Set by the program itself: the child process is started from its file.
static IN_CHILDREN: AtomicBool = AtomicBool::new(false);
/// Compiling several components at once would multiply the memory.
static COMPILING: Mutex<()> = Mutex::new(());

/// Compiles all further components in child processes. Only for the program itself: it starts its own file again, which
/// must call [`compile_as_child`]. Without this, as in tests of the library, components are compiled in this process,
/// after the same check.
pub fn compile_in_children() {
    IN_CHILDREN.store(true, Ordering::Relaxed);
}

/// To be held while a module is read and compiled.
pub fn lock_compiler() -> MutexGuard<'static, ()> {
    COMPILING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks and compiles a component.
pub fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, PluginError> {
    // The magic number, the version, and the layer: 0 for core modules, 1 for components.
    match (bytes.get(..4), bytes.get(6..8)) {
        (Some(b"\0asm"), Some([1, 0])) => {}
        (Some(b"\0asm"), Some([0, 0])) => return Err(PluginError::CoreModule),
        _ => return Err(PluginError::NotWasm),
    }
    if IN_CHILDREN.load(Ordering::Relaxed) {
        let compiled = parent::compile(bytes)?;
        return deserialize(engine, &compiled);
    }
    check::check(bytes).map_err(|error| CompileError::rejected(&error.to_string()))?;
    Component::from_binary(engine, bytes).map_err(|error| CompileError::rejected(&format!("{error:#}")).into())
}

/// Loads code that this program compiled itself: at build time, or in a child process.
#[expect(unsafe_code, reason = "the only way to load code that was compiled elsewhere")]
pub fn deserialize(engine: &Engine, compiled: &[u8]) -> Result<Component, PluginError> {
    // SAFETY: wasmtime wrote the bytes, either in the build script, which embedded them in this program, or in a child
    // of this process, which runs this program's own file (/proc/self/exe, which stays the same when the file is
    // replaced) and sent them through a pipe that no other process has. They are as trustworthy as code that the same
    // compiler writes in this process; bytes from users never get here. wasmtime rejects code of another version of
    // itself, or of another configuration.
    unsafe { Component::deserialize(engine, compiled) }
        .map_err(|error| CompileError::rejected(&format!("{error:#}")).into())
}
