//! Files that the subcommands of `plugin` read and write, and what is said when that fails.

use std::{fs, path::Path};

use crate::{cli::CommandError, policy::Probe};

/// The bytes of a file.
pub fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(file).map_err(|source| CommandError::Read { file: file.to_owned(), source })
}

/// Writes a file, and the folders above it where they are missing.
pub fn write(file: &Path, content: &[u8]) -> Result<(), CommandError> {
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(file, content))
        .map_err(|source| CommandError::Write { file: file.to_owned(), source })
}

/// A compiled plugin.
pub fn plugin(file: &Path) -> Result<Probe, CommandError> {
    Probe::read(file).map_err(|source| CommandError::Probe { file: file.to_owned(), source })
}
