//! `plugin wrap`: a plugin of a core module.

use std::{path::PathBuf, process::ExitCode};

use super::files;
use crate::{
    authoring::{self, WrapOptions},
    cli::CommandError,
};

/// What is made of what.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The core module, as the compiler wrote it, or as text
    #[arg(value_name = "CORE.wasm")]
    module: PathBuf,
    /// Where the plugin is written
    #[arg(short, long, value_name = "PLUGIN.wasm")]
    output: PathBuf,
    /// The world of the contract that it was built for [default: made of the hooks that it exports]
    #[arg(long, value_name = "NAME")]
    world: Option<String>,
    /// Its strings are UTF-16
    #[arg(long)]
    utf16: bool,
}

/// Reads the module and writes the plugin.
pub fn wrap(args: &Args) -> Result<ExitCode, CommandError> {
    let module = files::read(&args.module)?;
    let options = WrapOptions { world: args.world.clone(), utf16: args.utf16 };
    let refused = |source| CommandError::Wrap { file: args.module.clone(), source };
    files::write(&args.output, &authoring::wrap(&module, &options).map_err(refused)?)?;
    Ok(ExitCode::SUCCESS)
}
