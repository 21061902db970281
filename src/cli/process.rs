//! What only the process itself can see to: it starts its own file anew to compile plugins.

use std::{ffi::OsString, process::ExitCode};

use crate::policy;

/// The exit code, if this process was started to compile one plugin; it has done so then. Otherwise plugins are compiled
/// in such processes from now on. To be called before there are threads: a compiling process has little memory.
pub fn compiled_as_child(arguments: &[OsString]) -> Option<ExitCode> {
    let words = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    let code = policy::compile_as_child(words);
    if code.is_none() {
        policy::compile_in_children();
    }
    code.map(ExitCode::from)
}
