//! `plan`: shows where each image would go and why. Contacts no registry.

mod decided;
mod json;
mod names;
mod reasons;
mod text;
mod wide;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

pub use decided::DecidedUses;

use clap::ValueEnum;

use super::{CommandError, build, collect, terminal};
use crate::config::Config;

/// The format of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// A table that fits the terminal, with the reasons below its rows.
    Text,
    /// A table with one line for each destination, however long it is.
    Wide,
    /// One JSON object per line.
    Json,
}

/// A problem that a plan can fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Different images claim one destination.
    Conflict,
    /// An image cannot be decided.
    Undecided,
}

/// Decides on the images in the cluster or in manifest files, and prints the decisions. Exit code 1 if there is something to
/// `fail_on`.
pub async fn plan(
    config: &Config,
    files: &[PathBuf],
    output: PlanFormat,
    timings: bool,
    fail_on: &[FailOn],
) -> Result<ExitCode, CommandError> {
    let (policy, _) = build::policy(config, Arc::new(())).await?;
    let uses = collect::image_uses(config, files).await?;
    let decisions = policy.decide(uses.clone()).await;
    // Plugins may log when they are dropped: before the plan is printed.
    drop(policy);
    let decided = DecidedUses::new(uses.into_iter().zip(decisions).collect());
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match output {
        PlanFormat::Json => json::write(&mut out, &decided),
        PlanFormat::Text => text::write(&mut out, &decided, timings, terminal::stdout_width()),
        PlanFormat::Wide => wide::write(&mut out, &decided, timings),
    };
    match written.and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(CommandError::Output(error)),
        _ => {}
    }
    let failures = failures(&decided, fail_on);
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // A closed standard error is not a failure.
    let _ = writeln!(io::stderr(), "{}", failures.join(", "));
    Ok(ExitCode::FAILURE)
}

/// A text for each kind of problem in `fail_on` that was found.
fn failures(decided: &DecidedUses, fail_on: &[FailOn]) -> Vec<String> {
    let failures = [
        decided.conflicts_summary().filter(|_| fail_on.contains(&FailOn::Conflict)),
        decided.undecided_summary().filter(|_| fail_on.contains(&FailOn::Undecided)),
    ];
    failures.into_iter().flatten().collect()
}
