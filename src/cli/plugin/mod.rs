//! `plugin`: what is of use to who writes plugins. No setting is read, and no cluster asked; `push` alone
//! speaks to a registry.

mod bench;
mod bindings;
mod files;
mod hook;
mod inspect;
mod new;
mod output;
mod push;
mod test;
mod wrap;

use std::process::ExitCode;

use clap::Subcommand;

use super::CommandError;

/// The subcommands of `plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PluginCommand {
    /// Write a project to begin with, which builds and passes its cases as it is
    New(new::Args),
    /// Write the contract as source code, for languages whose compilers know nothing of components
    Bindings(bindings::Args),
    /// Make a plugin of a core WebAssembly module; what it wants of WASI is stubbed out
    Wrap(wrap::Args),
    /// Say what a file is: its hooks, its imports, its size; exit code 1: it is no plugin
    Inspect(inspect::Args),
    /// Ask a plugin about the image uses of a case file; exit code 1: other answers than expected, 2: a broken case file
    Test(test::Args),
    /// Store a plugin in a registry; prints the reference for `oci:`
    Push(push::Args),
    /// Measure how long a plugin takes to start and to answer
    Bench(bench::Args),
}

/// Does what was asked for.
pub async fn plugin(command: &PluginCommand) -> Result<ExitCode, CommandError> {
    match command {
        PluginCommand::New(args) => new::new(args),
        PluginCommand::Bindings(args) => bindings::bindings(args),
        PluginCommand::Wrap(args) => wrap::wrap(args),
        PluginCommand::Inspect(args) => inspect::inspect(args),
        PluginCommand::Test(args) => test::test(args),
        PluginCommand::Push(args) => push::push(args).await,
        PluginCommand::Bench(args) => bench::bench(args),
    }
}
