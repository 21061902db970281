//! `plugin new`: a project to begin with.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::{files, output};
use crate::{
    authoring::{self, ProjectLanguage},
    cli::CommandError,
};

/// In which language, and where.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The language
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// A folder that is empty, or not there yet
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    C,
    Js,
    Python,
    Go,
    Zig,
}

/// Writes the project, and overwrites nothing.
pub fn new(args: &Args) -> Result<ExitCode, CommandError> {
    let directory = &args.directory;
    match fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(CommandError::NotEmpty(directory.clone())),
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(CommandError::Read { file: directory.clone(), source });
        }
        Ok(false) | Err(_) => {}
    }
    let language = match args.lang {
        Language::Rust => ProjectLanguage::Rust,
        Language::C => ProjectLanguage::C,
        Language::Js => ProjectLanguage::Js,
        Language::Python => ProjectLanguage::Python,
        Language::Go => ProjectLanguage::Go,
        Language::Zig => ProjectLanguage::Zig,
    };
    for (path, text) in authoring::project(language) {
        files::write(&directory.join(path), text.as_bytes())?;
    }
    output::write(|out| {
        writeln!(out, "Written to {}. Its README.md says what it needs; then: make test", directory.display())
    })?;
    Ok(ExitCode::SUCCESS)
}
