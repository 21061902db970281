//! Reads files and standard input into YAML or JSON values.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::ManifestError;

/// The limits of one document. A dump of a large cluster is one document of tens of megabytes; the parser's own limits are
/// for untrusted input. Its limits on aliases stay in force.
const DOCUMENT_BYTES: usize = 1 << 30;
const DOCUMENT_NODES: usize = 50_000_000;
/// Schemas in CustomResourceDefinitions nest deeper than the parser's default of 64.
const DOCUMENT_DEPTH: usize = 256;

pub(in crate::workload) enum Source {
    File(PathBuf),
    Stdin,
}

impl Source {
    /// The files at a path, in the order of their names.
    pub fn find(path: &Path) -> Result<Vec<Self>, ManifestError> {
        if path == Path::new("-") {
            return Ok(vec![Self::Stdin]);
        }
        let is_dir = fs::metadata(path).map_err(|source| unreadable(path, source))?.is_dir();
        if !is_dir {
            return Ok(vec![Self::File(path.to_owned())]);
        }
        let mut files = Vec::new();
        search(path, &mut files)?;
        if files.is_empty() {
            return Err(ManifestError::Empty(path.display().to_string()));
        }
        files.sort();
        Ok(files.into_iter().map(Self::File).collect())
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    pub fn values(&self) -> Result<Vec<Value>, ManifestError> {
        let read = match self {
            Self::File(path) => fs::read_to_string(path),
            Self::Stdin => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).map(|_| text)
            }
        };
        let text = read.map_err(|source| ManifestError::Read { file: self.name(), source })?;
        let is_json = matches!(self, Self::File(path) if path.extension().is_some_and(|end| end == "json"));
        if is_json || text.trim_start().starts_with('{') {
            let values = json(&text);
            // YAML may start with a brace too.
            if is_json || values.is_ok() {
                return values.map_err(|fault| self.fault(fault));
            }
        }
        yaml(&text).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, (document, message): (usize, String)) -> ManifestError {
        ManifestError::Syntax { file: self.name(), document, message }
    }
}

fn unreadable(path: &Path, source: io::Error) -> ManifestError {
    ManifestError::Read { file: path.display().to_string(), source }
}

fn search(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ManifestError> {
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let path = entry.path();
        // A mounted ConfigMap has its files a second time in a hidden folder.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
        if kind.is_dir() {
            search(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn json(text: &str) -> Result<Vec<Value>, (usize, String)> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.zip(1..).map(|(value, document)| value.map_err(|error| (document, error.to_string()))).collect()
}

/// The parser's message without the surrounding lines, which may be a Secret's.
fn message(error: &serde_yaml::Error) -> String {
    error.without_snippet().render_with_formatter(&serde_yaml::UserMessageFormatter)
}

fn yaml(text: &str) -> Result<Vec<Value>, (usize, String)> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_reader_input_bytes: None,
            max_events: 2 * DOCUMENT_NODES,
            max_nodes: DOCUMENT_NODES,
            max_documents: usize::MAX,
            max_depth: DOCUMENT_DEPTH,
            max_total_scalar_bytes: DOCUMENT_BYTES,
            max_total_comment_bytes: DOCUMENT_BYTES,
        },
        emit_comments: false,
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let mut bytes = text.as_bytes();
    let values = serde_yaml::read_with_options::<_, Value>(&mut bytes, options);
    values.zip(1..).map(|(value, document)| value.map_err(|error| (document, message(&error)))).collect()
}
