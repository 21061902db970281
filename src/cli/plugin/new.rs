//! `plugin new`: a project to begin with.

use std::{ffi::OsStr, fs, io, path::PathBuf, process::ExitCode};

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
    /// A folder that is empty but for `.git`, or not there yet; the plugin is named after it
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

/// Whether a folder with nothing else in it is a fresh repository.
fn is_of_version_control(name: &OsStr) -> bool {
    [".git", ".hg", ".jj", ".svn"].iter().any(|known| name == *known)
}

/// Writes the project, and overwrites nothing.
pub fn new(args: &Args) -> Result<ExitCode, CommandError> {
    let directory = &args.directory;
    match fs::read_dir(directory)
        .map(|entries| entries.flatten().any(|entry| !is_of_version_control(&entry.file_name())))
    {
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
    fs::create_dir_all(directory).map_err(|source| CommandError::Write { file: directory.clone(), source })?;
    // `.` has no name of its own.
    let whole = fs::canonicalize(directory).map_err(|source| CommandError::Read { file: directory.clone(), source })?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    for (path, text) in authoring::project(language, &name) {
        files::write(&directory.join(path), text.as_bytes())?;
    }
    output::write(|out| {
        writeln!(out, "Written to {}. Its README.md says what it needs; then: make test", directory.display())
    })?;
    Ok(ExitCode::SUCCESS)
}
