//! `config schema`: the JSON schema of the configuration file.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Subcommand;

use super::CommandError;
use crate::config;

/// The subcommands of `config`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON schema of the configuration file, for editors
    Schema,
}

pub fn config(command: &ConfigCommand) -> Result<ExitCode, CommandError> {
    let ConfigCommand::Schema = command;
    // `{:#}` is the format of docs/config.schema.json.
    match writeln!(io::stdout().lock(), "{:#}", config::schema()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
