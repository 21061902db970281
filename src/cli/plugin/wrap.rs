//! `plugin wrap`: converts a core module into a plugin.

use std::{path::PathBuf, process::ExitCode};

use super::files;
use crate::{
    authoring::{self, WrapOptions},
    cli::CommandError,
};

/// The arguments of `plugin wrap`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The core module, binary or as text
    #[arg(value_name = "CORE.wasm")]
    module: PathBuf,
    /// The plugin to write
    #[arg(short, long, value_name = "PLUGIN.wasm")]
    output: PathBuf,
    /// The world of the contract that it was built for [default: one with the hooks that it exports]
    #[arg(long, value_name = "NAME")]
    world: Option<String>,
    /// The module uses UTF-16 strings
    #[arg(long)]
    utf16: bool,
}

/// Reads the module and writes the plugin.
pub fn wrap(args: &Args) -> Result<ExitCode, CommandError> {
    let module = files::read(&args.module)?;
    let options = WrapOptions { world: args.world.clone(), utf16: args.utf16 };
    let failed = |source| CommandError::Wrap { file: args.module.clone(), source };
    files::write(&args.output, &authoring::wrap(&module, &options).map_err(failed)?)?;
    Ok(ExitCode::SUCCESS)
}
