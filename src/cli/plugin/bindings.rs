//! `plugin bindings`: the contract as source code.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::{files, hook::HookName};
use crate::{
    authoring::{self, BindingsLanguage},
    cli::CommandError,
};

/// For which language and which hooks.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The language; for Zig take those of C
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The hooks that the plugin answers
    #[arg(long, value_name = "HOOK", value_delimiter = ',', default_values_t = HookName::ALL)]
    hooks: Vec<HookName>,
    /// The plugin takes a configuration: it exports `lifecycle`
    #[arg(long)]
    configured: bool,
    /// The folder to write them to
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    C,
    Go,
}

/// Writes the files of the bindings.
pub fn bindings(args: &Args) -> Result<ExitCode, CommandError> {
    let language = match args.lang {
        Language::C => BindingsLanguage::C,
        Language::Go => BindingsLanguage::Go,
    };
    let hooks: Vec<_> = args.hooks.iter().map(|name| name.hook()).collect();
    for (name, content) in authoring::bindings(language, &hooks, args.configured)? {
        let file = args.output.join(&name);
        // Go's module is its author's: the version of the runtime package, and further packages, stand there.
        if name != "go.mod" || !file.exists() {
            files::write(&file, &content)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
