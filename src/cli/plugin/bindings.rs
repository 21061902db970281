//! `plugin bindings`: generates bindings for the contract.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::files;
use crate::{
    authoring::{self, BindingsLanguage},
    cli::CommandError,
    model::Hook,
};

/// The arguments of `plugin bindings`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The language; for Zig use c
    #[arg(long, value_name = "LANGUAGE", value_parser = language())]
    lang: BindingsLanguage,
    /// The hooks that the plugin implements
    #[arg(long, value_name = "HOOK", value_delimiter = ',', value_parser = hook(), default_values_t = Hook::ALL)]
    hooks: Vec<Hook>,
    /// The plugin has a configuration: it exports `lifecycle`
    #[arg(long)]
    configured: bool,
    /// The folder for the bindings
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

fn language() -> impl TypedValueParser<Value = BindingsLanguage> {
    PossibleValuesParser::new(["c", "go"])
        .map(|name| if name == "c" { BindingsLanguage::C } else { BindingsLanguage::Go })
}

/// A hook, by the name of its interface.
fn hook() -> impl TypedValueParser<Value = Hook> {
    PossibleValuesParser::new(Hook::ALL.map(Hook::name))
        .try_map(|name| Hook::ALL.into_iter().find(|hook| hook.name() == name).ok_or("unknown hook"))
}

/// Writes the bindings.
pub fn bindings(args: &Args) -> Result<ExitCode, CommandError> {
    for (name, content) in authoring::bindings(args.lang, &args.hooks, args.configured)? {
        let file = args.output.join(&name);
        // An existing go.mod is kept: the author adds packages to it.
        if name != "go.mod" || !file.exists() {
            files::write(&file, &content)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
