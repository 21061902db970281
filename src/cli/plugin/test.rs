//! `plugin test`: what a plugin answers, beside what it should.

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

/// Which plugin and which cases.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The plugin
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// The image uses and the expected answers
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
}

/// Tries all cases. 1 where an answer is another than expected.
pub fn test(args: &Args) -> Result<ExitCode, CommandError> {
    let cases = read_cases(&args.cases)?;
    let probe = files::plugin(&args.plugin)?;
    let results = authoring::run_cases(&probe, &cases);
    output::write(|out| report(out, &results))?;
    let passed = results.iter().all(|result| result.differences.is_empty());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cases of a file.
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
