//! Reads files and standard input into YAML or JSON values.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use serde_yaml::MessageFormatter as _;

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

    /// Its documents with their numbers, and an error for each broken one.
    pub fn documents(&self) -> (Vec<(usize, Value)>, Vec<ManifestError>) {
        let (documents, faults) = match self.text() {
            Ok(text) => self.parse(&text),
            Err(source) => return (Vec::new(), vec![ManifestError::Read { file: self.name(), source }]),
        };
        let error = |Fault { document, message }| ManifestError::Syntax { file: self.name(), document, message };
        (documents, faults.into_iter().map(error).collect())
    }

    fn text(&self) -> io::Result<String> {
        match self {
            Self::File(path) => fs::read_to_string(path),
            Self::Stdin => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).map(|_| text)
            }
        }
    }

    fn parse(&self, text: &str) -> Parsed {
        let is_json = matches!(self, Self::File(path) if path.extension().is_some_and(|end| end == "json"));
        if is_json || text.trim_start().starts_with('{') {
            let (values, faults) = json(text);
            // YAML may start with a brace too.
            if is_json || faults.is_empty() {
                return (values, faults);
            }
        }
        yaml(text)
    }
}

/// Documents with their numbers, from 1, and what is wrong with the others.
type Parsed = (Vec<(usize, Value)>, Vec<Fault>);

/// What is wrong with a document.
struct Fault {
    document: usize,
    message: String,
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

/// What follows a syntax error can't be read.
fn json(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (value, document) in serde_json::Deserializer::from_str(text).into_iter::<Value>().zip(1..) {
        match value {
            Ok(value) => parsed.0.push((document, value)),
            Err(error) => {
                parsed.1.push(Fault { document, message: error.to_string() });
                break;
            }
        }
    }
    parsed
}

fn yaml(text: &str) -> Parsed {
    match parse_yaml(text) {
        Ok(values) => ((1..).zip(values).collect(), Vec::new()),
        Err(error) => {
            let parsed = yaml_one_by_one(text);
            // What is wrong shows only in the whole, as with a directive before its document.
            if parsed.1.is_empty() {
                let fault = Fault { document: parsed.0.len().max(1), message: message(&error, 0) };
                return (Vec::new(), vec![fault]);
            }
            parsed
        }
    }
}

/// Reads each document by itself: the parser does not go on after an error.
fn yaml_one_by_one(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut document, mut lines_before) = (1, 0);
    for part in split_documents(text) {
        match parse_yaml(part) {
            Ok(values) => {
                for value in values {
                    parsed.0.push((document, value));
                    document += 1;
                }
            }
            Err(error) => {
                parsed.1.push(Fault { document, message: message(&error, lines_before) });
                document += 1;
            }
        }
        lines_before += part.lines().count();
    }
    parsed
}

/// Splits before each line that begins a document: `---`, wherever it is, as YAML demands.
fn split_documents(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        let is_marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker {
            parts.extend(text.get(start..end));
            start = end;
        }
        end += line.len();
    }
    parts.extend(text.get(start..));
    parts
}

/// The parser's message without the surrounding lines, which may be a Secret's. The text begins after `lines_before` lines
/// of its file.
fn message(error: &serde_yaml::Error, lines_before: usize) -> String {
    let error = error.without_snippet();
    match error.location() {
        Some(location) if location.line() > 0 => {
            let line = location.line().saturating_add(lines_before.try_into().unwrap_or(u64::MAX));
            let message = serde_yaml::UserMessageFormatter.format_message(error);
            format!("{message} at line {line}, column {}", location.column())
        }
        _ => error.render_with_formatter(&serde_yaml::UserMessageFormatter),
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
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
    serde_yaml::read_with_options::<_, Value>(&mut bytes, options).collect()
}
