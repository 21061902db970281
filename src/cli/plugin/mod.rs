//! `plugin`: tools for plugin authors. They read no settings and contact no cluster; only `push` contacts a registry.

mod bench;
#[cfg(feature = "authoring")]
mod bindings;
mod files;
mod inspect;
#[cfg(feature = "authoring")]
mod new;
mod output;
mod push;
mod test;
#[cfg(not(feature = "authoring"))]
mod unavailable;
#[cfg(feature = "authoring")]
mod wrap;

use std::process::ExitCode;

use clap::Subcommand;

use super::CommandError;

/// The subcommands of `plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PluginCommand {
    /// Create a plugin project that builds and passes its tests
    #[cfg(feature = "authoring")]
    New(new::Args),
    /// Generate bindings for the plugin contract, for languages without component support
    #[cfg(feature = "authoring")]
    Bindings(bindings::Args),
    /// Convert a core WebAssembly module into a plugin; its WASI imports are stubbed out
    #[cfg(feature = "authoring")]
    Wrap(wrap::Args),
    /// Not in this build
    #[cfg(not(feature = "authoring"))]
    #[command(name = "new", aliases = ["bindings", "wrap"], hide = true)]
    Unavailable(unavailable::Args),
    /// Show the hooks, imports and size of a plugin; exit code 1 if the file is not a plugin
    Inspect(inspect::Args),
    /// Test a plugin against a case file; exit code 1 for unexpected answers, 2 for an invalid case file
    Test(test::Args),
    /// Push a plugin to a registry; prints the reference for `oci:`
    Push(push::Args),
    /// Benchmark the start and the answers of a plugin
    Bench(bench::Args),
}

/// Runs a subcommand.
pub async fn plugin(command: &PluginCommand) -> Result<ExitCode, CommandError> {
    match command {
        #[cfg(feature = "authoring")]
        PluginCommand::New(args) => new::new(args),
        #[cfg(feature = "authoring")]
        PluginCommand::Bindings(args) => bindings::bindings(args),
        #[cfg(feature = "authoring")]
        PluginCommand::Wrap(args) => wrap::wrap(args),
        #[cfg(not(feature = "authoring"))]
        PluginCommand::Unavailable(_) => Err(CommandError::NoAuthoringTools),
        PluginCommand::Inspect(args) => inspect::inspect(args),
        PluginCommand::Test(args) => test::test(args),
        PluginCommand::Push(args) => push::push(args).await,
        PluginCommand::Bench(args) => bench::bench(args),
    }
}
