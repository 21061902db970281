//! Standard output of the subcommands of `plugin`.

use std::io::{self, Write};

use crate::{cli::CommandError, model::printable};

/// Writes the output of `text`, with control characters escaped except line breaks.
pub fn write(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let mut written = Vec::new();
    let mut out = io::stdout().lock();
    let result = text(&mut written).and_then(|()| {
        let lines = String::from_utf8_lossy(&written);
        lines.lines().try_for_each(|line| writeln!(out, "{}", printable(line)))?;
        out.flush()
    });
    match result {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}
