//! The configuration files.

use std::{
    fs::File,
    io::{self, Read},
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
    let text = match text_of(file) {
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

fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > MOST_BYTES) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}
