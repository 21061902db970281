//! `plugin new`: creates a plugin project.

use std::{ffi::OsStr, fs, io, path::PathBuf, process::ExitCode};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{files, output};
use crate::{
    authoring::{self, ProjectLanguage},
    cli::CommandError,
};

/// The arguments of `plugin new`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The language
    #[arg(long, value_name = "LANGUAGE", value_parser = language())]
    lang: ProjectLanguage,
    /// A new folder, or one that is empty except for .git; the plugin gets its name
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

const LANGUAGES: [(&str, ProjectLanguage); 6] = [
    ("rust", ProjectLanguage::Rust),
    ("c", ProjectLanguage::C),
    ("js", ProjectLanguage::Js),
    ("python", ProjectLanguage::Python),
    ("go", ProjectLanguage::Go),
    ("zig", ProjectLanguage::Zig),
];

fn language() -> impl TypedValueParser<Value = ProjectLanguage> {
    PossibleValuesParser::new(LANGUAGES.map(|(name, _)| name)).try_map(|given| {
        LANGUAGES.iter().find(|(name, _)| *name == given).map(|(_, language)| *language).ok_or("unknown language")
    })
}

/// The folder of a version control system does not count as content.
fn is_version_control(name: &OsStr) -> bool {
    [".git", ".hg", ".jj", ".svn"].iter().any(|folder| name == *folder)
}

/// Writes the project; existing files are not overwritten.
pub fn new(args: &Args) -> Result<ExitCode, CommandError> {
    let directory = &args.directory;
    match fs::read_dir(directory).map(|entries| entries.flatten().any(|entry| !is_version_control(&entry.file_name())))
    {
        Ok(true) => return Err(CommandError::NotEmpty(directory.clone())),
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(CommandError::Read { file: directory.clone(), source });
        }
        Ok(false) | Err(_) => {}
    }
    fs::create_dir_all(directory).map_err(|source| CommandError::Write { file: directory.clone(), source })?;
    // The path may be `.`, which has no name.
    let absolute =
        fs::canonicalize(directory).map_err(|source| CommandError::Read { file: directory.clone(), source })?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    for (path, text) in authoring::project(args.lang, &name) {
        files::write(&directory.join(path), text.as_bytes())?;
    }
    output::write(|out| {
        let directory = directory.display();
        writeln!(out, "Created the project in {directory}. See its README.md for the requirements, then run: make test")
    })?;
    Ok(ExitCode::SUCCESS)
}
