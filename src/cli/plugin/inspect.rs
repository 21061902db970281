//! `plugin inspect`: shows the properties of a plugin.

use std::{path::PathBuf, process::ExitCode};

use super::output;
use crate::{
    authoring::{self, Size},
    cli::CommandError,
};

/// The arguments of `plugin inspect`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The plugin, uncompressed or compressed with gzip
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints the size, then the properties of the plugin, or why the file is not a plugin.
pub fn inspect(args: &Args) -> Result<ExitCode, CommandError> {
    let file = &args.file;
    let size = Size::of(file).map_err(|source| CommandError::Read { file: file.clone(), source })?;
    output::write(|out| {
        writeln!(out, "size      {} bytes", size.bytes)?;
        writeln!(out, "gzip      {} bytes", size.gzip_bytes)
    })?;
    let plugin = authoring::inspect(file).map_err(|source| CommandError::PluginFile { file: file.clone(), source })?;
    let hooks: Vec<_> = plugin.hooks.iter().map(|hook| hook.name()).collect();
    output::write(|out| {
        writeln!(out, "contract  k8s-copycat:policy@{}", plugin.contract)?;
        writeln!(out, "hooks     {}", hooks.join(", "))?;
        writeln!(out, "config    {}", if plugin.takes_config { "taken" } else { "none" })?;
        let nothing = if plugin.imports.is_empty() { "nothing" } else { "" };
        writeln!(out, "imports   {}{nothing}", plugin.imports.join(", "))?;
        writeln!(out, "compile   {:.1} ms", plugin.compile.as_secs_f64() * 1e3)
    })?;
    Ok(ExitCode::SUCCESS)
}
