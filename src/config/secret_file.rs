//! User names, passwords and tokens in files of their own, such as a mounted Secret. A changed file is read again with the
//! configuration.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::reader::{Reader, Spanned};

/// Many times the longest token.
const MAX_BYTES: u64 = 64 << 10;

/// The text of the file that `file` names, without line breaks at its end. If it can't be read, that is reported, and the
/// empty text stands for it, so that nothing else is reported as missing.
pub(super) fn read_secret(reader: &mut Reader<'_>, file: &Spanned) -> Spanned {
    let name = file.value.trim();
    let path = Path::new(name);
    reader.track_file(path);
    let value = read_text(path).unwrap_or_else(|error| {
        // What does not look like a path may be the secret itself.
        let message = if name.starts_with(['/', '.']) {
            format!("{name} can't be read: {error}")
        } else {
            format!("the file can't be read: {error}; write its path from / (any other is not shown here)")
        };
        reader.reject(&file.location, message);
        String::new()
    });
    Spanned { value, location: file.location.clone() }
}

/// Reads regular files only: opening a FIFO would block.
fn read_text(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::other("it is empty")),
        text => Ok(text.to_owned()),
    }
}
