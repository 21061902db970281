//! Errors in the configuration, with their locations.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::PluginConfig;

/// Where a setting was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLocation {
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(&'static str),
    /// A whole file, or a folder.
    File(PathBuf),
    /// A key of a YAML file.
    Key {
        /// The file.
        file: Arc<Path>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// As `registryCredentials[0].registry`; empty for the whole document.
        path: String,
    },
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Key { file, line, column, path } => {
                write!(f, "{}:{line}:{column}", file.display())?;
                if path.is_empty() { Ok(()) } else { write!(f, ": {path}") }
            }
        }
    }
}

/// One error. It contains no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The location of the setting.
    pub location: SourceLocation,
    /// What was found and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// All errors, one per line: flags and variables first, then the files from top to bottom. A retry does not help.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    plugins: Vec<PluginConfig>,
    files: Vec<PathBuf>,
}

impl ConfigErrors {
    /// At least one error, with the plugins that were found and the files that were read.
    pub(super) fn new(mut errors: Vec<ConfigError>, plugins: Vec<PluginConfig>, files: Vec<PathBuf>) -> Self {
        errors.sort_by_key(|error| match &error.location {
            SourceLocation::Key { file, line, column, .. } => Some((Arc::clone(file), *line, *column)),
            SourceLocation::Variable(_) | SourceLocation::Flag(_) | SourceLocation::File(_) => None,
        });
        Self { errors, plugins, files }
    }

    /// All errors in order.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    /// The plugins whose files were found: loading them may show further errors.
    pub fn plugins(&self) -> &[PluginConfig] {
        &self.plugins
    }

    /// The files and folders that were read or looked for.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
