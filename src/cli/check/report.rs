//! Prints findings: text group by group as they are known, JSON at the end.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::finding::{CheckResult, Finding};
use crate::{
    cli::CommandError,
    model::{printable, printable_json},
};

/// The format of the result of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// All findings so far.
pub struct Report {
    format: CheckFormat,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Page<'f> {
    checks: &'f [Finding],
    summary: Summary,
}

#[derive(Default, Serialize)]
struct Summary {
    ok: usize,
    warning: usize,
    failed: usize,
}

impl Report {
    pub fn new(format: CheckFormat) -> Self {
        Self { format, findings: Vec::new() }
    }

    /// Adds the findings of one group.
    pub fn add(&mut self, findings: Vec<Finding>) -> Result<(), CommandError> {
        if self.format == CheckFormat::Text {
            write(|out| write_group(out, &findings))?;
        }
        self.findings.extend(findings);
        Ok(())
    }

    /// Prints what is left to print.
    pub fn end(&self) -> Result<(), CommandError> {
        let summary = self.summary();
        match self.format {
            CheckFormat::Text => write(|out| {
                let Summary { ok, warning, failed } = summary;
                writeln!(out, "\n{ok} ok, {warning} warning, {failed} failed")
            }),
            CheckFormat::Json => {
                write(|out| writeln!(out, "{}", printable_json(&Page { checks: &self.findings, summary })?))
            }
        }
    }

    pub fn has_failures(&self) -> bool {
        self.findings.iter().any(|finding| finding.result == CheckResult::Failed)
    }

    fn summary(&self) -> Summary {
        let count = |result| self.findings.iter().filter(|finding| finding.result == result).count();
        Summary { ok: count(CheckResult::Ok), warning: count(CheckResult::Warning), failed: count(CheckResult::Failed) }
    }
}

fn write(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

fn write_group(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    let Some(first) = findings.first() else { return Ok(()) };
    writeln!(out, "{}", first.group.name())?;
    let subjects: Vec<_> = findings.iter().map(|finding| printable(&finding.subject)).collect();
    let width = subjects.iter().map(|subject| subject.chars().count()).max().unwrap_or_default();
    for (finding, subject) in findings.iter().zip(&subjects) {
        let (result, found) = (finding.result.name(), printable(&finding.found));
        write!(out, "  {result:7}  {subject:width$}  {found}")?;
        match &finding.remedy {
            Some(remedy) => writeln!(out, "; {}", printable(remedy))?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Group, *};

    #[test]
    fn lines_are_aligned_and_escaped() {
        let findings = [
            Group::Sources.ok("quay.io", "reached"),
            Group::Sources.failed("registry.example.com", "the name does not\nresolve", "correct it"),
        ];
        let mut text = Vec::new();
        write_group(&mut text, &findings).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "sources\n  ok       quay.io               reached\n  failed   registry.example.com  the name does \
             not\\nresolve; correct it\n"
        );
    }
}
