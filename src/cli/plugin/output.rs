//! Standard output of the subcommands of `plugin`: plain text for people.

use std::io::{self, BufWriter, Write};

use crate::cli::CommandError;

/// Writes what `text` writes.
pub fn write(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match text(&mut out).and_then(|()| out.flush()) {
        // Who reads only the first lines has got what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}
