//! Standard output of the subcommands of `plugin`: plain text for people.

use std::io::{self, Write};

use crate::{cli::CommandError, model::printable};

/// Writes what `text` writes, line by line, so that nothing in it acts on a terminal.
pub fn write(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let mut written = Vec::new();
    let mut out = io::stdout().lock();
    let shown = text(&mut written).and_then(|()| {
        let lines = String::from_utf8_lossy(&written);
        lines.lines().try_for_each(|line| writeln!(out, "{}", printable(line)))?;
        out.flush()
    });
    match shown {
        // Who reads only the first lines has got what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}
