//! What is wrong in the configuration, and where.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::PluginConfig;

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an environment variable of this name.
    Variable(String),
    /// In a flag, written with its dashes.
    Flag(&'static str),
    /// A file as a whole, or a folder.
    File(PathBuf),
    /// At a key of a YAML file.
    Key {
        /// The file.
        file: Arc<Path>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// As `registryCredentials[0].registry`; empty for the document as a whole.
        path: String,
    },
}

impl fmt::Display for Place {
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

/// One thing to put right. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What was found, and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All that is wrong, one line each: flags and variables first, then the files from top to bottom. Trying again does
/// not help.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistakes {
    mistakes: Vec<Mistake>,
    plugins: Vec<PluginConfig>,
    files: Vec<PathBuf>,
}

impl Mistakes {
    /// Of at least one mistake, beside which these plugins were found, and these files looked at.
    pub(super) fn new(mut mistakes: Vec<Mistake>, plugins: Vec<PluginConfig>, files: Vec<PathBuf>) -> Self {
        mistakes.sort_by_key(|mistake| match &mistake.place {
            Place::Key { file, line, column, .. } => Some((Arc::clone(file), *line, *column)),
            Place::Variable(_) | Place::Flag(_) | Place::File(_) => None,
        });
        Self { mistakes, plugins, files }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }

    /// The plugins whose files were found: loading them can show more to put right.
    pub fn plugins(&self) -> &[PluginConfig] {
        &self.plugins
    }

    /// The files and folders that were looked at, whether they are there or not.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
