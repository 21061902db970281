//! From a module's bytes to a component that can be instantiated. The compiler works in a process of its own, which may
//! take only so much memory and time: whatever a stranger's module makes of it ends with that process.

mod allowance;
mod check;
mod child;
mod parent;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use wasmtime::{Engine, component::Component};

use super::component::LoadFault;

pub use child::compile_as_child;
pub use parent::CompileFault;

/// Set by the program, whose own file a compiling process is started from.
static IN_CHILDREN: AtomicBool = AtomicBool::new(false);
/// Several at once would want the memory of several.
static ONE: Mutex<()> = Mutex::new(());

/// From now on components are compiled in processes of their own. Only for the program itself: its file is started
/// again, with [`ARGUMENT`], and has to answer that with [`compile_as_child`]. Without this, as in tests of the library,
/// they are compiled where they are loaded, after the same look at them.
pub fn compile_in_children() {
    IN_CHILDREN.store(true, Ordering::Relaxed);
}

/// Who holds this is the only one to read and compile a module.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles a component, after a look at it.
pub fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadFault> {
    // The magic number, and behind it the version and the layer: 0 for core modules, 1 for components.
    match (bytes.get(..4), bytes.get(6..8)) {
        (Some(b"\0asm"), Some([1, 0])) => {}
        (Some(b"\0asm"), Some([0, 0])) => return Err(LoadFault::CoreModule),
        _ => return Err(LoadFault::NotWasm),
    }
    if IN_CHILDREN.load(Ordering::Relaxed) {
        let compiled = parent::compile(bytes)?;
        return take_in(engine, &compiled);
    }
    check::check(bytes).map_err(|unfit| CompileFault::refused(&unfit.to_string()))?;
    Component::from_binary(engine, bytes).map_err(|error| CompileFault::refused(&format!("{error:#}")).into())
}

/// Takes in what this very program compiled: at its build, or in a child just now.
#[expect(unsafe_code, reason = "the only way to load code that was compiled elsewhere")]
pub fn take_in(engine: &Engine, compiled: &[u8]) -> Result<Component, LoadFault> {
    // SAFETY: the bytes were written by wasmtime itself, either in the build script, and are part of this program since,
    // or in a child of this process, which was started from this program's own file (/proc/self/exe, which stays the
    // same when the file is replaced) and handed them over in a pipe that nobody else holds. They are as trustworthy as
    // what the same compiler would have made in this process; what users supply never comes here. wasmtime refuses what
    // another version of it, or another configuration, has compiled.
    unsafe { Component::deserialize(engine, compiled) }
        .map_err(|error| CompileFault::refused(&format!("{error:#}")).into())
}
