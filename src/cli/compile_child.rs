//! Compiles plugins in child processes of this program.

use std::{ffi::OsString, process::ExitCode};

use crate::policy;

/// If this process is a child that compiles one plugin, compiles it and returns the exit code. Otherwise plugins are compiled
/// in such children from now on. Call it before starting threads: a child has little memory.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let words = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    let code = policy::compile_as_child(words);
    if code.is_none() {
        policy::compile_in_children();
    }
    code.map(ExitCode::from)
}
