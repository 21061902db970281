//! `plugin`: what is of use to who writes plugins. No setting is read, and no cluster or registry is asked.

mod bindings;
mod files;
mod hook;
mod wrap;

use std::process::ExitCode;

use clap::Subcommand;

use super::CommandError;

/// The subcommands of `plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PluginCommand {
    /// Make a plugin of a core WebAssembly module; what it wants of WASI is stubbed out
    Wrap(wrap::Args),
    /// Write the contract as source code
    Bindings(bindings::Args),
}

/// Does what was asked for.
pub fn plugin(command: &PluginCommand) -> Result<ExitCode, CommandError> {
    match command {
        PluginCommand::Wrap(args) => wrap::wrap(args),
        PluginCommand::Bindings(args) => bindings::bindings(args),
    }
}
