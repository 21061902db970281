//! `restore`: writes what makes nodes pull from the mirror, from the decisions, and tells what that covers. Contacts no registry.

mod args;
mod decisions;
mod error;
mod folder;
mod mirrors;
mod text;

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub use args::{ReportFormat, RestoreArgs};
pub use error::RestoreError;
pub use folder::{FolderError, read_list};

use super::{CommandError, terminal};
use crate::{
    config::Config,
    model::printable_json,
    restore::{Restored, Wanted, restore as restored},
};

/// Writes the files into a folder and prints the report. Exit code 1 if images are uncovered and `strict` is set.
pub async fn restore(config: &Config, args: &RestoreArgs) -> Result<ExitCode, CommandError> {
    let runtime = args.runtime;
    if args.digest_only && !runtime.can_leave_tags() {
        return Err(RestoreError::TagsToo(runtime.name()).into());
    }
    let candidates = mirrors::candidates(config, args.target.as_deref())?;
    let uses = decisions::decided_uses(config, &args.files).await?;
    if uses.is_empty() {
        return Err(RestoreError::NoImages.into());
    }
    let candidates = mirrors::with_sources(config, candidates, &uses);
    let some_platforms = config.copy.platforms.is_some();
    let wanted = Wanted { runtime, digest_only: args.digest_only, some_platforms };
    let Restored { report, files } = restored(wanted, &candidates, &uses).ok_or(RestoreError::NoRegistry)?;
    let written = folder::write(&args.directory, &report, &files, args.force).map_err(RestoreError::from)?;
    let mut out = io::stdout().lock();
    let printed = match args.output {
        ReportFormat::Text => text::write(&mut out, &report, &args.directory, &written, terminal::stdout_width()),
        ReportFormat::Json => printable_json(&report).map_err(io::Error::from).and_then(|json| writeln!(out, "{json}")),
    };
    match printed.and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(CommandError::Output(error)),
        _ => {}
    }
    let is_failure = args.strict && report.summary.uncovered > 0;
    Ok(if is_failure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
