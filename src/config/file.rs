//! The configuration files.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    mistake::Place,
    reader::Reader,
    yaml::{self, Fault, Node},
};

/// As much as a ConfigMap can hold.
const MOST_BYTES: u64 = 1 << 20;

/// The document of a file; none where the file is empty, can't be read, or is missing (`must_exist`: a mistake).
pub(super) fn read_tree(reader: &mut Reader<'_>, file: &Path, must_exist: bool) -> Option<Node> {
    reader.looks_at(file);
    let place = Place::File(file.to_owned());
    let text = match text_of(file, must_exist) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return None,
        Err(error) => {
            reader.refuse(&place, format!("can't be read: {error}"));
            reader.file_is_known = false;
            return None;
        }
    };
    tree_of(reader, file, &text)
}

/// The document in a file's text.
pub(super) fn tree_of(reader: &mut Reader<'_>, file: &Path, text: &str) -> Option<Node> {
    let at = |fault: &Fault| Place::Key {
        file: file.into(),
        line: fault.mark.line,
        column: fault.mark.column,
        path: String::new(),
    };
    match yaml::parse(text) {
        Ok((document, faults)) => {
            for fault in faults {
                reader.refuse(&at(&fault), fault.message);
            }
            document
        }
        Err(fault) => {
            reader.refuse(&at(&fault), fault.message);
            reader.file_is_known = false;
            None
        }
    }
}

/// Who names a file may name a pipe of their shell's. What merely lies there is not waited for: a FIFO would be, until
/// somebody writes to it.
fn text_of(file: &Path, is_named: bool) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true);
    if !is_named {
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(file)?;
    if !is_named && !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > MOST_BYTES) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}
