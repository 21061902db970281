//! Reads configuration files.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    error::SourceLocation,
    reader::Reader,
    yaml::{self, Node, YamlError},
};

/// The maximum size of a ConfigMap.
const MAX_BYTES: u64 = 1 << 20;

/// The document of a file. None: the file is empty, can't be read, or is missing (an error if `must_exist`).
pub(super) fn read_yaml(reader: &mut Reader<'_>, file: &Path, must_exist: bool) -> Option<Node> {
    reader.track_file(file);
    let location = SourceLocation::File(file.to_owned());
    let text = match read_text(file, must_exist) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return None,
        Err(error) => {
            reader.reject(&location, format!("can't be read: {error}"));
            reader.config_is_readable = false;
            return None;
        }
    };
    parse_yaml(reader, file, &text)
}

/// The document in the text of a file.
pub(super) fn parse_yaml(reader: &mut Reader<'_>, file: &Path, text: &str) -> Option<Node> {
    let at = |error: &YamlError| SourceLocation::Key {
        file: file.into(),
        line: error.position.line,
        column: error.position.column,
        path: String::new(),
    };
    match yaml::parse(text) {
        Ok((document, errors)) => {
            for error in errors {
                reader.reject(&at(&error), error.message);
            }
            document
        }
        Err(error) => {
            reader.reject(&at(&error), error.message);
            reader.config_is_readable = false;
            None
        }
    }
}

/// A file named by a flag may be a pipe of the shell. Other files must be regular: opening a FIFO would block.
pub(super) fn read_text(file: &Path, is_named: bool) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true);
    if !is_named {
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(file)?;
    if !is_named && !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}
