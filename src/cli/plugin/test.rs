//! `plugin test`: compares the answers of a plugin with the expected ones.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{files, output};
use crate::{
    authoring::{self, Case, CaseResult},
    cli::CommandError,
    model::printable,
};

/// The arguments of `plugin test`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The plugin
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// The case file: image uses and expected answers
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
}

/// Runs all cases. Exit code 1 for unexpected answers.
pub fn test(args: &Args) -> Result<ExitCode, CommandError> {
    let cases = read_cases(&args.cases)?;
    let plugin = files::plugin(&args.plugin)?;
    let results = authoring::run_cases(&plugin, &cases);
    output::write(|out| report(out, &results))?;
    let passed = results.iter().all(|result| result.differences.is_empty());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads a case file.
pub fn read_cases(file: &Path) -> Result<Vec<Case>, CommandError> {
    let text = String::from_utf8_lossy(&files::read(file)?).into_owned();
    authoring::read_cases(&text).map_err(|fault| CommandError::Cases { file: file.to_owned(), source: fault.into() })
}

fn report(out: &mut dyn Write, results: &[CaseResult]) -> io::Result<()> {
    let mut failed = 0;
    for result in results {
        if result.differences.is_empty() {
            writeln!(out, "ok    {}", printable(&result.name))?;
            continue;
        }
        failed += 1;
        writeln!(out, "FAIL  {}", printable(&result.name))?;
        for difference in &result.differences {
            writeln!(out, "      {}", printable(&difference.question))?;
            writeln!(out, "        expected  {}", printable(&difference.expected))?;
            writeln!(out, "        got       {}", printable(&difference.got))?;
        }
        for line in &result.log {
            writeln!(out, "      log: {}", printable(line))?;
        }
    }
    writeln!(out, "{} passed, {failed} failed", results.len() - failed)
}
