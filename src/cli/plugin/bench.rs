//! `plugin bench`: benchmarks a plugin.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{files, output, test};
use crate::{
    authoring::{self, Percentiles},
    cli::CommandError,
};

/// The arguments of `plugin bench`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The plugin
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// Use the image uses of this case file, with the configuration of its first case
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
}

/// Prints the median and the 99th percentile of each step.
pub fn bench(args: &Args) -> Result<ExitCode, CommandError> {
    let cases = args.cases.as_deref().map(test::read_cases).transpose()?.unwrap_or_default();
    let plugin = files::plugin(&args.plugin)?;
    let timing = authoring::time(&plugin, &cases)
        .map_err(|source| CommandError::Timing { file: args.plugin.clone(), source })?;
    output::write(|out| {
        writeln!(out, "{:<26}{:>12}{:>12}", "", "median", "p99")?;
        line(out, "instantiate", timing.instantiate)?;
        line(out, "instantiate and configure", timing.start)?;
        timing.calls.iter().try_for_each(|(hook, spread)| match spread {
            Some(spread) => line(out, hook.name(), *spread),
            None => writeln!(out, "{:<26}not timed: every case expects an error", hook.name()),
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

fn line(out: &mut dyn Write, what: &str, spread: Percentiles) -> io::Result<()> {
    let [median, p99] = [spread.median, spread.p99].map(|time| format!("{:.1} µs", time.as_secs_f64() * 1e6));
    writeln!(out, "{what:<26}{median:>12}{p99:>12}")
}
