//! Reads and writes files for the subcommands of `plugin`.

use std::{fs, path::Path};

use crate::{cli::CommandError, policy::TestPlugin};

/// Reads a file.
pub fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(file).map_err(|source| CommandError::Read { file: file.to_owned(), source })
}

/// Writes a file, and creates its missing parent folders.
#[cfg(feature = "authoring")]
pub fn write(file: &Path, content: &[u8]) -> Result<(), CommandError> {
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(file, content))
        .map_err(|source| CommandError::Write { file: file.to_owned(), source })
}

/// Reads and compiles a plugin.
pub fn plugin(file: &Path) -> Result<TestPlugin, CommandError> {
    TestPlugin::read(file).map_err(|source| CommandError::PluginFile { file: file.to_owned(), source })
}
