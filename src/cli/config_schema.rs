//! `config schema`: the JSON schema of the configuration file.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{CommandError, args::ConfigCommand};
use crate::config;

pub fn config(command: &ConfigCommand) -> Result<ExitCode, CommandError> {
    let ConfigCommand::Schema = command;
    // `{:#}` is the format of docs/config.schema.json.
    match writeln!(io::stdout().lock(), "{:#}", config::schema()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
