//! `completion`: scripts that complete commands and flags in a shell.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap_complete::Shell;

use super::{
    CommandError,
    args::{self, ProgramName},
};

/// Prints the script for a shell.
pub fn print(shell: Shell, name: &ProgramName) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(name), name.file.clone(), &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
